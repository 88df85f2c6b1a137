"""A formula for other programs, its terms for a nucleus, and where it is undefined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_cellinterp.errors import ExpressionError
from napari_cellinterp.models.expression import Expression
from napari_cellinterp.models.expression_nodes import Binary, Constant, Latent, Unary, children, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import ArrayLike, NDArray

    from napari_cellinterp.models.expression_nodes import Node

MAX_EXCEL_CHARACTERS = 8192
"""Longest formula that Excel takes."""

EXCEL_ROW = 2
"""Row of the latents in a sheet whose first row holds their names: z0 in A2, z1 in B2, ..."""


@dataclass(frozen=True)
class Dialect:
    """How a language writes formulas.

    Attributes
    ----------
    templates : dict of str to str
        Of the operators but ``+ - * /`` and the sign: ``{a}`` and ``{b}`` are the arguments, ``{A}`` and ``{B}`` the
        same in brackets where they need them.
    latent : callable
        From the number of a latent to its text.
    number : callable
        From a finite number to its text.
    undefined : str
        The number that isn't one.
    checks : bool
        Whether the text computes on with infinity, which `Expression.evaluate` calls undefined: then parts that could
        become finite again stand in ``defined(...)``, and parts without a latent are computed beforehand, because
        Python would stop at a division by zero.
    """

    templates: dict[str, str]
    latent: Callable[[int], str]
    number: Callable[[float], str]
    undefined: str = ""
    checks: bool = False


def _functions(prefix: str, **others: str) -> dict[str, str]:
    return {name: f"{prefix}{name}({{a}})" for name in ("square", "exp", "log", "sin", "sqrt", "abs")} | others


def _plain(value: float) -> str:
    return repr(value).removesuffix(".0")


def _cell(cells: Mapping[int, str] | None, index: int) -> str:
    if cells is not None and index in cells:
        return cells[index]
    letters, rest = "", index + 1
    while rest:
        rest, letter = divmod(rest - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return f"{letters}{EXCEL_ROW}"


_NUMPY = Dialect(
    _functions("np.") | {"**": "power({a}, {b})"}, "z[:, {}]".format, repr, undefined="np.nan", checks=True
)
_TORCH = Dialect(
    _functions("torch.") | {"**": "power({a}, {b})"}, "z[:, {}]".format, repr, undefined="torch.nan", checks=True
)
_C = Dialect(
    _functions("", abs="fabs({a})") | {"**": "power({a}, {b})"}, "z[{}]".format, repr, undefined="NAN", checks=True
)
# Excel takes a sign before a power, unlike mathematics, so each power stands in brackets of its own
_EXCEL_TEMPLATES = {
    "square": "({A}^2)",
    "**": "({A}^{B})",
    "exp": "EXP({a})",
    "log": "LN({a})",
    "sin": "SIN({a})",
    "sqrt": "SQRT({a})",
    "abs": "ABS({a})",
}

_SUM, _PRODUCT, _SIGN, _ATOM = range(1, 5)
_PRECEDENCE = {"+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT, "neg": _SIGN}


def sympy_text(expression: Expression) -> str:
    """Return the formula as ``sympy.sympify`` reads it, with symbols z0, z1, ..."""
    return str(expression).replace("abs(", "Abs(")


def numpy_code(expression: Expression) -> str:
    """Return Python code of a function ``score(z)``: latents (n, n_latents) to scores (n,) float64.

    Like `Expression.evaluate` it gives NaN where any part is undefined or infinite, for latents below 1e100.
    """
    score = _checked(expression, _NUMPY)
    formula = f"np.full(len(z), {score})" if not expression.latents else score
    helpers = {
        "defined(": "def defined(x):\n    return np.where(np.isfinite(x), x, np.nan)\n\n\n",
        "power(": "def power(x, y):\n    return np.where(np.isnan(x) | np.isnan(y), np.nan, np.power(x, y))\n\n\n",
    }
    return (
        f"import numpy as np\n\n\n{_used(helpers, score)}def score(z):\n"
        f"    z = np.asarray(z, dtype=np.float64)\n"
        f'    with np.errstate(all="ignore"):\n        return {formula}\n'
    )


def torch_code(expression: Expression) -> str:
    """Return Python code of a function ``score(z)``: a tensor (n, n_latents) to scores (n,), differentiable."""
    score = _checked(expression, _TORCH)
    formula = f"z.new_full((len(z),), {score})" if not expression.latents else score
    helpers = {
        "defined(": "def defined(x):\n    return torch.where(torch.isfinite(x), x, torch.nan)\n\n\n",
        "power(": (
            "def power(x, y):\n    unknown = torch.isnan(torch.as_tensor(x)) | torch.isnan(torch.as_tensor(y))\n"
            "    return torch.where(unknown, torch.nan, x**y)\n\n\n"
        ),
    }
    return f"import torch\n\n\n{_used(helpers, score)}def score(z):\n    return {formula}\n"


def c_code(expression: Expression) -> str:
    """Return a C99 function ``double score(const double *z)`` of one nucleus's latents."""
    score = _checked(expression, _C)
    helpers = {
        "defined(": "static double defined(double x) { return isfinite(x) ? x : NAN; }\n",
        "power(": "static double power(double x, double y) { return isnan(x) || isnan(y) ? NAN : pow(x, y); }\n",
        "square(": "static double square(double x) { return x * x; }\n",
    }
    return (
        f"#include <math.h>\n\n{_used(helpers, score)}\n"
        f"double score(const double *z)\n{{\n    (void)z;\n    return {score};\n}}\n"
    )


def excel_formula(expression: Expression, cells: Mapping[int, str] | None = None) -> str:
    """Return the formula for a cell of a sheet; an undefined score is an error value there, and so is 0^0.

    Parameters
    ----------
    expression : Expression
        The formula.
    cells : mapping of int to str, optional
        Cell of each latent; by default z0 stands in A2, z1 in B2, and so on.

    Raises
    ------
    ExpressionError
        If it is longer than Excel takes.
    """
    dialect = Dialect(_EXCEL_TEMPLATES, lambda index: _cell(cells, index), lambda value: _plain(value).upper())
    text = "=" + _write(expression.root, dialect)[0]
    if len(text) > MAX_EXCEL_CHARACTERS:
        raise ExpressionError(
            f"The formula has {len(text)} characters; Excel takes {MAX_EXCEL_CHARACTERS}.", "Export a smaller one."
        )
    return text


def exports(expression: Expression, names: Mapping[int, str] | None = None) -> dict[str, str]:
    """Return the formula in all languages, by title."""
    try:
        excel = excel_formula(expression)
    except ExpressionError as error:
        excel = str(error)
    return {
        "As written": str(expression),
        "LaTeX": expression.to_latex(names),
        "SymPy": sympy_text(expression),
        "NumPy": numpy_code(expression),
        "PyTorch": torch_code(expression),
        "C": c_code(expression),
        f"Excel (z0 in A{EXCEL_ROW}, z1 in B{EXCEL_ROW}, ...)": excel,
    }


def _used(helpers: Mapping[str, str], text: str) -> str:
    # a name that ends another one, such as np.square(, is no call of the helper
    return "".join(code for call, code in helpers.items() if any(part + call in f" {text}" for part in " (-*/"))


def _checked(expression: Expression, dialect: Dialect) -> str:
    root = _folded(expression.root, dialect)
    text, _ = _write(root, dialect)
    return f"defined({text})" if _may_be_infinite(root) else text


def _folded(node: Node, dialect: Dialect) -> Node:
    """Replace a part without a latent by its value, where the dialect asks for that."""
    if not dialect.checks or isinstance(node, Constant) or any(isinstance(part, Latent) for part in walk(node)):
        return node
    return Constant(float(Expression(node).evaluate(np.zeros((1, 1)))[0]))


def _may_be_infinite(node: Node) -> bool:
    """Whether usual latents can make a part infinite."""
    return any(isinstance(part, Unary | Binary) and part.operator in ("exp", "log", "/", "**") for part in walk(node))


def _write(node: Node, dialect: Dialect) -> tuple[str, int]:
    """Return the text of a tree, and how tightly it holds together."""
    node = _folded(node, dialect)
    match node:
        case Constant(value) if not np.isfinite(value):
            return dialect.undefined, _ATOM
        case Constant(value):
            return dialect.number(value), _SIGN if np.signbit(value) else _ATOM
        case Latent(index):
            return dialect.latent(index), _ATOM
    parts = [_argument(node, i, dialect) for i in range(len(children(node)))]
    own = _PRECEDENCE.get(node.operator, _ATOM)
    if isinstance(node, Unary) and own == _SIGN:
        return f"-{_held(parts[0], _ATOM)}", own
    if own < _SIGN:
        left, right = _held(parts[0], own), _held(parts[1], own + 1)
        return f"{left} {node.operator} {right}" if own == _SUM else f"{left}{node.operator}{right}", own
    plain = dict(zip("ab", (text for text, _ in parts), strict=False))
    held = dict(zip("AB", (_held(part, _ATOM) for part in parts), strict=False))
    return dialect.templates[node.operator].format(**plain, **held), _ATOM


def _argument(node: Unary | Binary, i: int, dialect: Dialect) -> tuple[str, int]:
    """Write an argument; checked where infinity in it would become finite again."""
    child = _folded(children(node)[i], dialect)
    text, hold = _write(child, dialect)
    tames = node.operator in ("exp", "**") or (node.operator == "/" and i == 1)
    return (f"defined({text})", _ATOM) if dialect.checks and tames and _may_be_infinite(child) else (text, hold)


def _held(part: tuple[str, int], least: int) -> str:
    text, hold = part
    return text if hold >= least else f"({text})"


@dataclass(frozen=True)
class Undefined:
    """A part of a formula that is undefined for some nuclei, though all in it is defined.

    Attributes
    ----------
    part : str
        The part, as a formula.
    reason : str
        Such as ``division by zero``.
    count : int
        For how many nuclei.
    """

    part: str
    reason: str
    count: int


def undefined_parts(expression: Expression, latents: ArrayLike) -> tuple[Undefined, ...]:
    """Find where a formula is undefined, and why.

    Parameters
    ----------
    expression : Expression
        The formula.
    latents : (n, n_latents) array_like
        Of a population.

    Returns
    -------
    tuple of Undefined
        Outer parts first; none where all scores are defined.
    """
    values = np.asarray(latents, np.float64)
    found: dict[tuple[str, str], int] = {}
    for node in dict.fromkeys(walk(expression.root)):
        arguments = [Expression(child).evaluate(values) for child in children(node)]
        unknown = np.isnan(Expression(node).evaluate(values))
        for argument in arguments:
            unknown &= ~np.isnan(argument)
        for reason, where in _reasons(node, arguments):
            if count := int((unknown & where).sum()):
                found[str(Expression(node)), reason] = count
            unknown = unknown & np.logical_not(where)
    return tuple(Undefined(part, reason, count) for (part, reason), count in found.items())


def _reasons(node: Node, arguments: list[NDArray[np.float64]]) -> Iterator[tuple[str, NDArray[np.bool_] | bool]]:
    """Name what may be wrong with a node, the first that holds; NaN never compares as true."""
    match node:
        case Latent():
            yield "no finite latent", True
        case Binary(operator="/"):
            yield "division by zero", arguments[1] == 0
        case Binary(operator="**"):
            yield "division by zero", (arguments[0] == 0) & (arguments[1] < 0)
            yield "power of a negative number", arguments[0] < 0
        case Unary(operator="log"):
            yield "logarithm of zero", arguments[0] == 0
            yield "logarithm of a negative number", arguments[0] < 0
        case Unary(operator="sqrt"):
            yield "square root of a negative number", arguments[0] < 0
    yield "overflow", True


def with_values(expression: Expression, nucleus: NDArray[np.floating]) -> Expression:
    """Return the formula with the values of a nucleus's latents (n_latents,) in their places, to two decimals."""
    return Expression(_filled(expression.root, nucleus))


def _filled(node: Node, nucleus: NDArray[np.floating]) -> Node:
    match node:
        case Latent(index):
            return Constant(round(float(nucleus[index]), 2))
        case Unary():
            return Unary(node.operator, _filled(node.argument, nucleus))
        case Binary():
            return Binary(node.operator, _filled(node.left, nucleus), _filled(node.right, nucleus))
    return node


def term_values(expression: Expression, latents: ArrayLike) -> NDArray[np.float64]:
    """Return what each top-level term adds to the score.

    Parameters
    ----------
    expression : Expression
        The formula.
    latents : (n, n_latents) array_like
        Of nuclei.

    Returns
    -------
    (n, n_terms) float64
        In the order of `Expression.terms`; their sum is the score. NaN where a term is undefined.
    """
    return np.stack([term.evaluate(latents) for term in expression.terms()], axis=1)
