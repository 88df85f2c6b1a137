"""Formulas: refined, folded, sorted, and found on a tiny problem."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_cellinterp.config import SymbolicConfig
from napari_cellinterp.models.expression import Expression
from napari_cellinterp.models.expression_nodes import Constant, walk
from napari_cellinterp.training.symbolic import (
    Candidate,
    folded,
    hinge,
    pareto_front,
    refine,
    search_formulas,
    with_constants,
)


def test_hinge_loss():
    scores, target = np.array([2.0, 0.25, 0, -3]), np.array([1.0, 1, -1, 1])
    assert hinge(scores, target) == pytest.approx((0 + 0.75 + 1 + 4) / 4)
    assert hinge(np.array([np.nan, 5]), np.array([1.0, 1])) == pytest.approx(5)
    assert hinge(np.array([np.inf, 5]), np.array([1.0, 1])) == pytest.approx(5)


numbers = st.floats(-9, 9).map(lambda value: f"({value:.3g})")
leaves = numbers | st.sampled_from(["z0", "z1", "z2"])


def grown(children):
    pairs = st.tuples(children, st.sampled_from("+-*/"), children).map(lambda t: f"({t[0]} {t[1]} {t[2]})")
    names = st.sampled_from(["sin", "exp", "square", "abs", "sqrt", "log"])
    return pairs | st.tuples(names, children).map(lambda t: f"{t[0]}({t[1]})")


formulas = st.recursive(leaves, grown, max_leaves=8).map(Expression.parse)
LATENTS = np.random.default_rng(0).normal(size=(30, 3))


@given(formulas)
def test_folding_changes_no_value(expression):
    after = folded(expression)
    np.testing.assert_allclose(after.evaluate(LATENTS), expression.evaluate(LATENTS), rtol=1e-9, atol=1e-12)
    assert after.size <= expression.size
    assert folded(after) == after


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("2*3 + z0", "6 + z0"),
        ("exp(0)*z1 - sin(0)", "1*z1 - 0"),
        ("z0 + 1 + 2", "3 + z0"),
        ("z0 + (1 + 2)", "z0 + 3"),
        ("log(0 - 1) + z0", None),
    ],
)
def test_what_is_folded(text, result):
    expression = Expression.parse(text)
    if result is None:
        assert np.isnan(folded(expression).evaluate(LATENTS)).all()
    else:
        assert folded(expression) == Expression.parse(result)


@given(formulas)
def test_constants_are_replaced_in_the_order_of_the_tree(expression):
    values = [node.value for node in walk(expression.root) if isinstance(node, Constant)]
    assert with_constants(expression, values) == expression
    doubled = with_constants(expression, [value + 7 for value in values])
    assert [n.value for n in walk(doubled.root) if isinstance(n, Constant)] == [value + 7 for value in values]
    assert doubled.size == expression.size
    assert doubled.latents == expression.latents


def candidate(text: str, loss: float) -> Candidate:
    return Candidate(Expression.parse(text), loss, 0.5)


def test_the_pareto_front():
    best = [candidate("z0", 0.9), candidate("z0 + z1", 0.5), candidate("z0*z1 + z2", 0.2)]
    beaten = [
        candidate("z1", 0.95),
        candidate("z0 - z1", 0.6),
        candidate("z0*z1 - z2", 0.5),
        candidate("exp(z0)*z1", 0.7),
    ]
    assert pareto_front([*beaten, *best]) == best
    assert pareto_front([]) == []


@given(
    st.lists(st.tuples(st.sampled_from(["z0", "z0 + z1", "exp(z0)", "z0*z1*z2", "1"]), st.floats(0, 2)), max_size=12)
)
def test_nothing_on_the_front_is_beaten_and_all_else_is(pairs):
    candidates = [candidate(text, loss) for text, loss in pairs]
    front = pareto_front(candidates)
    for c in candidates:
        beaten = any(f.complexity <= c.complexity and f.loss <= c.loss for f in front)
        assert beaten
    for one in front:
        for other in front:
            assert one is other or one.complexity > other.complexity or one.loss > other.loss


def test_constants_are_refined_on_the_hinge_loss():
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(300, 2))
    target = np.sign(latents[:, 0] - 0.8)
    (start,) = (c for c in [Candidate(Expression.parse("z0 + 0.1"), hinge(latents[:, 0] + 0.1, target), 0)])
    (found,) = refine(["z0 + 0.1"], latents, target, SymbolicConfig())
    assert found.loss < start.loss
    assert found.expression.size == 3
    (scaled,) = refine(["3*z0 + 0.1"], latents, target, SymbolicConfig())
    assert scaled.accuracy > 0.97
    constants = [node.value for node in walk(scaled.expression.root) if isinstance(node, Constant)]
    assert all(float(f"{value:.3g}") == value for value in constants)


def test_what_cannot_be_read_or_is_too_large_is_left_out():
    latents, target = np.random.default_rng(0).normal(size=(50, 3)), np.ones(50)
    config = SymbolicConfig(max_size=5)
    found = refine(["z0 +", "z0*z1*z2 + 1", "z1 + 2"], latents, target, config)
    assert [c.expression.latents for c in found] == [(1,)]


@pytest.mark.parametrize("rule", ["product", "line"])
def test_a_rule_is_found_with_the_allowed_inputs_only(rule):
    rng = np.random.default_rng(1)
    latents = rng.normal(size=(400, 14))
    margin = 2 * latents[:, 3] * latents[:, 12] if rule == "product" else 2 * (latents[:, 3] - latents[:, 12])
    latents[:, 5] = margin  # a leak that nobody may use
    target = np.where(margin > 0, 1.0, -1.0)
    inputs = [12, 0, 3, 1, 2, 4, 6, 7, 8, 9, 10]
    config = SymbolicConfig(n_generations=30, population=300, max_size=12)
    front = search_formulas(latents, target, margin, inputs, config)
    assert max(c.accuracy for c in front) > 0.95
    assert set().union(*(c.expression.latents for c in front)) <= set(inputs)
    assert all(c.complexity <= 12 for c in front)
    assert all(a.complexity < b.complexity and a.loss > b.loss for a, b in pairwise(front))
    for c in front:
        assert hinge(c.expression.evaluate(latents), target) == pytest.approx(c.loss)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2*(3*z0)", "6*z0"),
        ("30 + (-4*(10*z1*(-0.5*z3)))", "30 + 20*(z1*z3)"),
        ("(z0 + 1) + 2", "3 + z0"),
        ("(2 + z0) + (3 + z1)", "5 + (z0 + z1)"),
        ("2*z0 + 3*z1", "2*z0 + 3*z1"),
        ("exp(2*3)*z0", f"{float(np.exp(6))!r}*z0"),
    ],
)
def test_folding_gathers_constants(text, expected):
    assert folded(Expression.parse(text)) == Expression.parse(expected)
