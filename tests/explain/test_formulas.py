"""Formulas in other languages give the same numbers; terms and undefined parts."""

from __future__ import annotations

import ctypes
import math
import re
import shutil
import subprocess
from itertools import pairwise

import numpy as np
import pytest
import sympy
import torch

from napari_cellinterp.errors import ExpressionError
from napari_cellinterp.explain.figure_parts import NARROW_INCHES, WIDTH_INCHES, png
from napari_cellinterp.explain.formula_figures import formula_figure, terms_by_state_figure, terms_figure
from napari_cellinterp.explain.formulas import (
    Undefined,
    c_code,
    excel_formula,
    exports,
    numpy_code,
    sympy_text,
    term_values,
    torch_code,
    undefined_parts,
    with_values,
)
from napari_cellinterp.models.expression import Expression

N_LATENTS = 32

FORMULAS = [
    "z29*(z17**2 + z21**2) - exp(exp(z3))",  # the paper's H1
    "(z29 - z3)*(abs(z17) + z21**2) - 2.88",
    "z17**2 + z21**2 + z29 - 6*exp(sin(z3))",
    "4.46*z29 - 3.16*(0.56*z3 + 1)**2",
    "-z3**2",
    "-(z3*z17)**2 - -z29",
    "2**-z3 - z17**(z21 + 1)",
    "z3 - (z17 - (z21 - z29))",
    "z3/(z17/z21)/-2",
    "1e-7*z3 - 1e20",
    "log(z3)/sqrt(z17) + z26 + z0",
    "1/(z3 - z3) + z17",
    "z17/exp(1000*z3)",
    "exp(-exp(exp(3*z3)))",
    "(z17 - z17)**(1/z3 - 1/z3)",
    "sqrt(z3)**0*z17",
    "exp(log(z3 - z3)) + z17",
    "2.5",
    "1/0",
    "z3 + exp(0.5)*sqrt(-1)",
    "-(-z3) - (-0.5)**3",
    "abs(-z3)*exp(0.5) + square(1.5)",
    "(z3**3)**2 - (z17**2)**2 + z3**2**-1",
    "abs(z0) + (z1 + 2)**z0 - sin(z1)**2*sqrt(abs(z1 - z0))",
]


@pytest.fixture(scope="module")
def latents():
    values = np.random.default_rng(1).normal(0, 1.5, (60, N_LATENTS))
    values[:3] = [[0.0], [1.0], [-1.0]]
    return values


def same(found, expression, latents, rtol=1e-12):
    expected = expression.evaluate(latents)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-300)


def function(code):
    names = {}
    exec(code, names)
    return names["score"]


@pytest.mark.parametrize("text", FORMULAS)
def test_numpy_code(text, latents):
    expression = Expression.parse(text)
    same(function(numpy_code(expression))(latents), expression, latents)


@pytest.mark.parametrize("text", FORMULAS)
def test_torch_code(text, latents):
    expression = Expression.parse(text)
    same(function(torch_code(expression))(torch.from_numpy(latents)).numpy(), expression, latents)


def test_torch_code_is_differentiable(latents):
    expression = Expression.parse(FORMULAS[0])
    z = torch.from_numpy(latents).requires_grad_()
    function(torch_code(expression))(z).nansum().backward()
    known = ~np.isnan(expression.evaluate(latents))
    np.testing.assert_allclose(z.grad.numpy()[known], expression.gradient(latents)[known])


@pytest.mark.parametrize("text", [text for text in FORMULAS if "1/0" not in text and "sqrt(-1)" not in text])
def test_sympy_text(text, latents):
    expression = Expression.parse(text)
    read = sympy.sympify(sympy_text(expression), rational=False)
    symbols = sorted(read.free_symbols, key=str)
    for row, score in zip(latents[:25], expression.evaluate(latents[:25]), strict=True):
        if np.isnan(score):
            continue
        value = read.subs({symbol: sympy.Float(float(row[int(str(symbol)[1:])]), 30) for symbol in symbols}).evalf()
        assert float(value) == pytest.approx(score, rel=1e-9, abs=1e-12)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Compile all formulas as one library, with every warning an error."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler (cc or gcc) here")
    folder = tmp_path_factory.mktemp("c")
    names = ("score", "defined", "power", "square")
    sources = []
    for i, text in enumerate(FORMULAS):
        code = c_code(Expression.parse(text))
        for name in names:
            code = re.sub(rf"\b{name}\(", f"{name}_{i}(", code)
        sources.append(code)
    (folder / "all.c").write_text("\n".join(sources))
    options = ["-std=c99", "-O1", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([compiler, *options, "all.c", "-o", "all.so", "-lm"], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "all.so"))


@pytest.mark.parametrize("i", range(len(FORMULAS)), ids=FORMULAS)
def test_c_function(i, compiled, latents):
    score = getattr(compiled, f"score_{i}")
    score.restype = ctypes.c_double
    row_type = ctypes.c_double * N_LATENTS
    same(np.array([score(row_type(*row)) for row in latents]), Expression.parse(FORMULAS[i]), latents)


class Sheet:
    """Excel's rules, as far as the formulas need: a sign binds tighter than ^, powers go from left to right."""

    TOKEN = re.compile(r"\d+\.?\d*(?:E[+-]?\d+)?|[A-Z]+\d+|[A-Z]+|[-+*/^()]")

    def __init__(self, cells):
        self.cells = cells

    def value(self, formula):
        assert formula.startswith("=")
        body = formula[1:].replace(" ", "")
        self.tokens = self.TOKEN.findall(body)
        assert "".join(self.tokens) == body
        try:
            value = self.sum()
        except (ZeroDivisionError, OverflowError, ValueError):
            return math.nan  # #DIV/0! and #NUM!
        assert not self.tokens
        return value if isinstance(value, float) and math.isfinite(value) else math.nan

    def take(self, *wanted):
        return self.tokens.pop(0) if self.tokens and self.tokens[0] in wanted else None

    def sum(self):
        value = self.product()
        while sign := self.take("+", "-"):
            value = value + self.product() if sign == "+" else value - self.product()
        return value

    def product(self):
        value = self.power()
        while sign := self.take("*", "/"):
            value = value * self.power() if sign == "*" else value / self.power()
        return value

    def power(self):
        value = self.signed()
        while self.take("^"):
            value = math.pow(value, self.signed())
        return value

    def signed(self):
        return -self.signed() if self.take("-") else self.atom()

    def atom(self):
        token = self.tokens.pop(0)
        if token == "(":
            value = self.sum()
            assert self.take(")")
            return value
        if token in ("EXP", "LN", "SIN", "SQRT", "ABS"):
            assert self.tokens[0] == "("
            functions = {"EXP": math.exp, "LN": math.log, "SIN": math.sin, "SQRT": math.sqrt, "ABS": abs}
            return functions[token](self.atom())
        return self.cells[token] if token in self.cells else float(token)


def column(i):
    return (chr(ord("A") + i // 26 - 1) if i >= 26 else "") + chr(ord("A") + i % 26)


@pytest.mark.parametrize("text", FORMULAS)
def test_excel_formula(text, latents):
    expression = Expression.parse(text)
    formula = excel_formula(expression)
    found = [Sheet({f"{column(i)}2": value for i, value in enumerate(row)}).value(formula) for row in latents.tolist()]
    same(np.array(found), expression, latents)


def test_excel_takes_the_cells_that_it_is_given():
    assert excel_formula(Expression.parse("-z3**2 + z30"), {3: "$B$7"}) == "=-($B$7^2) + AE2"


def test_excel_has_a_longest_formula():
    long = Expression.parse(" + ".join(f"{i}.123456789*z{i % 32}" for i in range(90)))
    assert excel_formula(long)
    text = "z0"
    for _ in range(8):
        text = f"({text})*1.2345678901234567 + ({text})*7.654321"
    longer = Expression.parse(text)
    with pytest.raises(ExpressionError, match="Excel takes 8192"):
        excel_formula(longer)
    assert "Export a smaller one" in next(value for key, value in exports(longer).items() if key.startswith("Excel"))


def test_simple_formulas_stay_simple():
    expression = Expression.parse("z29 - 6*exp(sin(z3))")
    assert "defined(z[:, 29] - 6.0*np.exp(np.sin(z[:, 3])))" in numpy_code(expression)
    assert sympy_text(expression) == "z29 - 6*exp(sin(z3))"
    plain = numpy_code(Expression.parse("z1*z2 - 1"))
    assert "defined" not in plain
    assert "power" not in plain
    assert "square(double" not in c_code(Expression.parse("z1*z2 - 1"))


def test_exports_hold_every_language():
    titles = list(exports(Expression.parse("z1"), {1: "size"}))
    assert [title.split(" ")[0] for title in titles] == ["As", "LaTeX", "SymPy", "NumPy", "PyTorch", "C", "Excel"]
    assert exports(Expression.parse("z1"), {1: "size"})["LaTeX"] == r"\mathrm{size}"


@pytest.mark.parametrize("text", ["z3**2 - (z17 - 2*z21) - 1.5", "-(z3 + exp(z17))", "z3*z17", "4"])
def test_terms_sum_to_the_score(text, latents):
    expression = Expression.parse(text)
    values = term_values(expression, latents)
    assert values.shape == (len(latents), len(expression.terms()))
    np.testing.assert_allclose(values.sum(axis=1), expression.evaluate(latents))


def test_a_nucleus_is_put_into_the_formula():
    expression = Expression.parse("z0 - 2*abs(z1)**2 + log(z0)")
    filled = with_values(expression, np.array([1.234, -0.567]))
    assert filled == Expression.parse("1.23 - 2*abs(-0.57)**2 + log(1.23)")


@pytest.mark.parametrize(
    ("text", "part", "reason", "count"),
    [
        ("1 + z0/z1", "z0/z1", "division by zero", 2),
        ("log(z0) - z1", "log(z0)", "logarithm of a negative number", 1),
        ("log(z1)", "log(z1)", "logarithm of zero", 2),
        ("sqrt(z0)*2", "sqrt(z0)", "square root of a negative number", 1),
        ("z0**0.5", "z0**0.5", "power of a negative number", 1),
        ("z1**-1", "z1**(-1)", "division by zero", 2),
        ("exp(exp(z2))", "exp(exp(z2))", "overflow", 1),
        ("sin(log(z0)**2)", "log(z0)", "logarithm of a negative number", 1),
    ],
)
def test_undefined_parts_are_named_and_counted(text, part, reason, count):
    latents = np.array([[-1.0, 0.0, 1.0], [1.0, 0.0, 2.0], [2.0, 3.0, 50.0]])
    assert Undefined(part, reason, count) in undefined_parts(Expression.parse(text), latents)


def test_every_undefined_nucleus_has_a_reason():
    latents = np.array([[-1.0, 0.0], [1.0, 0.0], [np.nan, 3.0], [-2.0, -1.0]])
    found = undefined_parts(Expression.parse("log(z0)/z1"), latents)
    assert found == (
        Undefined("log(z0)/z1", "division by zero", 1),
        Undefined("log(z0)", "logarithm of a negative number", 2),
        Undefined("z0", "no finite latent", 1),
    )
    assert undefined_parts(Expression.parse("z1 + 1"), latents) == ()


TITLES = {3: "size", 17: "elongation", 29: "z29"}


def test_the_formula_is_drawn_with_names():
    expression = Expression.parse(FORMULAS[0])
    figure = formula_figure(expression, TITLES)
    texts = [text.get_text() for text in figure.texts]
    assert texts == [
        f"score  =  ${expression.to_latex({3: 'size', 17: 'elongation'}, 3)}$",
        "size: z3, elongation: z17",
    ]
    assert png(figure).startswith(b"\x89PNG")
    assert figure.texts[0].get_window_extent().x1 <= figure.bbox.width


@pytest.mark.parametrize("width", [WIDTH_INCHES, NARROW_INCHES])
def test_a_long_formula_has_a_line_a_term_and_still_fits(width):
    expression = Expression.parse(" - ".join(f"{i}.12345*sin(z{i})" for i in range(1, 12)))
    figure = formula_figure(expression, {i: f"a long name of latent {i}" for i in range(12)}, width=width)
    assert len(figure.texts) == 12
    places = [text.get_window_extent() for text in figure.texts]
    assert max(place.x1 for place in places) <= figure.bbox.width
    assert all(above.y0 >= below.y1 for above, below in pairwise(places)), "no line lies over another one"
    assert all("-" in text.get_text() for text in figure.texts[1:-1])


@pytest.mark.parametrize("title", ["a$b", "50 % {of} \\it_", "größe", "^~#&"])
def test_odd_names_are_drawn(title):
    assert png(formula_figure(Expression.parse("z3/2 - 1"), {3: title})).startswith(b"\x89PNG")


def bars(axes):
    return [patch.get_width() for patch in axes.patches]


def test_terms_of_a_nucleus_are_bars_that_sum_to_the_last():
    expression = Expression.parse("z3**2 - 2*z17 - 1.5")
    nucleus = np.zeros(N_LATENTS)
    nucleus[[3, 17]] = 2, -1
    figure = terms_figure(expression, nucleus, TITLES)
    assert bars(figure.axes[0]) == pytest.approx([4, 2, -1.5, 4.5])
    assert "z3 size = 2.00" in figure.axes[0].get_xlabel()


def test_an_undefined_term_is_said():
    figure = terms_figure(Expression.parse("log(z3) + z17"), np.full(N_LATENTS, -1.0), TITLES)
    assert [text.get_text().strip() for text in figure.axes[0].texts] == ["undefined", "-1", "undefined"]


def test_terms_over_a_population_are_boxes_by_state(latents):
    expression = Expression.parse("z3 - log(z17)")
    state = np.arange(len(latents)) % 2
    figure = terms_by_state_figure(expression, latents, state, ("interphase", "metaphase"), TITLES)
    axes = figure.axes[0]
    assert len(axes.patches) == 6
    upright = (line.get_xdata() for line in axes.lines)
    medians = [x[0] for x in upright if len(set(x)) == 1]
    values = np.column_stack([term_values(expression, latents), expression.evaluate(latents)])
    for k in (0, 1):
        for column in values[state == k].T:
            assert any(np.isclose(np.nanmedian(column), found) for found in medians)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["interphase", "metaphase"]


def test_many_terms_and_an_empty_state_are_drawn():
    expression = Expression.parse(" + ".join(f"{i}*z{i}" for i in range(31)))
    figure = terms_by_state_figure(expression, np.ones((4, N_LATENTS)), np.zeros(4, int), ("a", "b"), {})
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[-2:] == ["7 more terms", "score"]
    assert png(figure).startswith(b"\x89PNG")
