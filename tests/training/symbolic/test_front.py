"""Candidates: measured, refined and sorted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_cellinterp.config import SymbolicConfig
from napari_cellinterp.events import finish
from napari_cellinterp.models.expression import Expression
from napari_cellinterp.models.expression_nodes import Constant, walk
from napari_cellinterp.training.symbolic import Candidate, Goal, hinge, pareto_front, refine, squared


def goal_of(latents, sign, scores=None):
    target = "hinge" if scores is None else "squared"
    return Goal(latents, sign, sign if scores is None else scores, np.ones(len(sign)), target)


def test_hinge_loss():
    scores, sign = np.array([2.0, 0.25, 0, -3]), np.array([1.0, 1, -1, 1])
    assert hinge(scores, sign) == pytest.approx((0 + 0.75 + 1 + 4) / 4)
    assert hinge(scores, sign, np.array([1.0, 1, 5, 1])) == pytest.approx((0 + 0.75 + 5 + 4) / 8)
    assert hinge(np.array([np.nan, 5]), np.array([1.0, 1])) == pytest.approx(5)
    assert hinge(np.array([np.inf, 5]), np.array([1.0, 1])) == pytest.approx(5)


def test_squared_error():
    scores, wanted = np.array([2.0, 0, 1]), np.array([1.0, 2, 1])
    assert squared(scores, wanted) == pytest.approx((1 + 4 + 0) / 3)
    assert squared(scores, wanted, np.array([3.0, 1, 1])) == pytest.approx((3 + 4 + 0) / 5)
    assert squared(np.array([np.nan, 2, 1]), wanted) == pytest.approx(10 * 2 / 3)


def test_a_goal_measures_by_its_target():
    latents = np.array([[1.0], [-1], [4]])
    sign, scores = np.array([1.0, 1, -1]), np.array([1.0, 0, 2])
    goals = [Goal(latents, sign, scores, np.array([1.0, 1, 2]), target) for target in ("hinge", "squared")]
    by_hinge, by_square = (goal.measured(Expression.parse("z0")) for goal in goals)
    assert by_hinge.loss == pytest.approx((0 + 2 + 2 * 5) / 4)
    assert by_square.loss == pytest.approx((0 + 1 + 2 * 4) / 4)
    assert by_hinge.accuracy == by_square.accuracy == pytest.approx(1 / 4), "the one that is right is one of four"
    assert (by_hinge.target, by_square.target) == ("hinge", "squared")


def test_an_undefined_score_is_a_wrong_state():
    goal = goal_of(np.array([[-1.0], [4]]), np.array([-1.0, 1]))
    assert goal.measured(Expression.parse("sqrt(z0)")).accuracy == 0.5


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
    latents = np.random.default_rng(0).normal(size=(300, 2))
    goal = goal_of(latents, np.sign(latents[:, 0] - 0.8))
    start = goal.measured(Expression.parse("z0 + 0.1"))
    (found,) = finish(refine(["z0 + 0.1"], goal, SymbolicConfig()))
    assert found.loss < start.loss
    assert found.expression.size == 3
    scaled = finish(refine(["3*z0 + 0.1"], goal, SymbolicConfig()))[-1]
    assert scaled.accuracy > 0.97
    values = [node.value for node in walk(scaled.expression.root) if isinstance(node, Constant)]
    assert all(float(f"{value:.3g}") == value for value in values)


def test_constants_are_refined_on_the_squared_error():
    latents = np.random.default_rng(0).normal(size=(300, 2))
    scores = 2.5 * latents[:, 0] ** 2 - 1.25
    goal = goal_of(latents, np.sign(scores), scores)
    found = finish(refine(["z0**2*1.1 - 0.5"], goal, SymbolicConfig()))[-1]
    assert found.expression == Expression.parse("z0**2*2.5 - 1.25")
    assert found.loss < 1e-9


def test_constants_that_do_not_pay_are_dropped():
    latents = np.random.default_rng(0).normal(size=(300, 2))
    scores = latents[:, 0] * latents[:, 1]
    goal = goal_of(latents, np.sign(scores), scores)
    text = "0.1 + 0.9*(z0*z1/1.1 - 0.2)"
    simplest, *_ = finish(refine([text], goal, SymbolicConfig()))
    assert simplest.expression == Expression.parse("z0*z1")
    (kept,) = finish(refine([text], goal, SymbolicConfig(parsimony=0)))
    assert kept.loss < 1e-4


def test_a_latent_that_does_not_pay_is_dropped():
    latents = np.random.default_rng(0).normal(size=(300, 2))
    scores = 2 * latents[:, 0] - 1
    goal = goal_of(latents, np.sign(scores), scores)
    simplest, *_ = finish(refine(["2*z0 + (-0.001*z1) - 1"], goal, SymbolicConfig()))
    assert str(simplest.expression) == "2*z0 - 1"


def test_formulas_on_the_way_of_dropping_terms_are_kept():
    latents = np.random.default_rng(0).normal(size=(300, 3))
    scores = 2 * latents[:, 0] + 0.1 * latents[:, 1] + 0.01 * latents[:, 2]
    goal = goal_of(latents, np.sign(scores), scores)
    found = finish(refine(["2*z0 + 0.1*z1 + 0.01*z2"], goal, SymbolicConfig(parsimony=0.01)))
    assert [str(one.expression) for one in found] == ["2*z0", "2*z0 + 0.1*z1", "2*z0 + 0.1*z1 + 0.01*z2"]


def test_what_cannot_be_read_or_is_too_large_is_left_out():
    goal = goal_of(np.random.default_rng(0).normal(size=(50, 3)), np.ones(50))
    found = finish(refine(["z0 +", "z0*z1*z2 + 1", "z1 + 2"], goal, SymbolicConfig(max_size=5)))
    assert {c.expression.latents for c in found} == {(1,)}


def test_the_order_of_the_texts_does_not_matter():
    latents = np.random.default_rng(0).normal(size=(60, 3))
    goal = goal_of(latents, np.sign(latents[:, 0] + latents[:, 1]))
    texts = ["z0 + 0.1", "z1 + 0.1", "z0*z1", "z0 + z1", "z1 + z0", "abs(z2)"]
    assert finish(refine(texts, goal, SymbolicConfig())) == finish(refine(texts[::-1], goal, SymbolicConfig()))
