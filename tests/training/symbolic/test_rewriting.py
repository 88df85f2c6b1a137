"""Formulas folded, with other constants, and with a part less."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_cellinterp.models.expression import Expression
from napari_cellinterp.training.symbolic.rewriting import constants, folded, with_constants, without_a_part

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
        ("exp(0)*z1 - sin(0)", "z1"),
        ("0 + 1*(z0 + 0*z1)", "z0"),
        ("z0/1 - 0", "z0"),
        ("0*log(z0)", "0*log(z0)"),
        ("0 - z0", "0 - z0"),
        ("1/z0", "1/z0"),
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
    values = constants(expression)
    assert with_constants(expression, values) == expression
    moved = with_constants(expression, values + 7)
    np.testing.assert_array_equal(constants(moved), values + 7)
    assert moved.size == expression.size
    assert moved.latents == expression.latents


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2*(3*z0)", "6*z0"),
        ("30 + (-4*(10*z1*(-0.5*z3)))", "30 + 20*(z1*z3)"),
        ("(z0 + 1) + 2", "3 + z0"),
        ("(2 + z0) + (3 + z1)", "5 + (z0 + z1)"),
        ("2*z0 + 3*z1", "2*z0 + 3*z1"),
        ("z0 + (-2*z1)", "z0 - 2*z1"),
        ("z0 - (-2*z1)", "z0 + 2*z1"),
        ("z0 - (-2/z1)", "z0 + 2/z1"),
        ("z0 - (-2)", "z0 + 2"),
        ("3 + z0 - (-2)", "5 + z0"),
        ("3 + z0 + (-3)", "z0"),
        ("-2*z0 + z1", "-2*z0 + z1"),
        ("z0 + (-2 + z1)", "z0 + (-2 + z1)"),
        ("0 + (-2*z1)", "-2*z1"),
        ("exp(2*3)*z0", f"{float(np.exp(6))!r}*z0"),
    ],
)
def test_folding_gathers_constants(text, expected):
    assert folded(Expression.parse(text)) == Expression.parse(expected)


@pytest.mark.parametrize(
    ("text", "shorter"),
    [
        ("2*z0 + 1", ["2*z0", "z0 + 1"]),
        ("exp(z0/3 - 4)", ["exp(z0/3)", "exp(z0 - 4)"]),
        ("1 - z0", []),
        ("2/z0", []),
        ("z0 + z1", []),
        ("3", []),
        ("1 + 2*z0 - 3*z1", ["1 + 2*z0", "2*z0 - 3*z1", "1 + z0 - 3*z1", "1 + 2*z0 - z1"]),
        ("exp(2*z0) - z1*3", ["exp(2*z0)", "exp(z0) - z1*3", "exp(2*z0) - z1"]),
    ],
)
def test_a_part_less(text, shorter):
    found = without_a_part(Expression.parse(text))
    assert found == [Expression.parse(other) for other in shorter]
