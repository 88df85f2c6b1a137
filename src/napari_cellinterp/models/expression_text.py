"""From the text of a formula to its tree, and from the tree to text and LaTeX.

The text is first cut into known tokens, and only then given to Python's own grammar (`ast`); nothing is ever evaluated.
"""

from __future__ import annotations

import ast
import difflib
import math
import re
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from napari_cellinterp.errors import ExpressionError
from napari_cellinterp.models.expression_nodes import Binary, Constant, Latent, Unary, negative, power, walk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_cellinterp.models.expression_nodes import Node

MAX_CHARACTERS = 80_000
"""Longest text that is looked at."""

MAX_NODES = 2_000
"""Largest tree; the paper's formulas have at most 22 nodes."""

MAX_DEPTH = 100
"""Deepest tree, far below Python's own limit of nested calls."""

FUNCTIONS = {"square": "square", "exp": "exp", "log": "log", "sin": "sin", "sqrt": "sqrt", "abs": "abs", "Abs": "abs"}
"""Spelling of each function, in PySR or sympy, and its operator."""

_OPERATORS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_LATENT = re.compile(r"[zx]_?(\d{1,4})")
_TOKEN = re.compile(
    r"(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<operator>\*\*|[-+*/^()])", re.ASCII
)


class _Token(NamedTuple):
    python: str
    written: str
    position: int


def read(text: str) -> Node:
    """Tree of a formula.

    Parameters
    ----------
    text : str
        Such as ``z29*(z17**2 + z21**2) - exp(exp(z3))``.

    Returns
    -------
    Node
        Root of the tree.

    Raises
    ------
    ExpressionError
        Where the text is anything but a formula of known names, naming the token and its position (from 1).
    """
    if len(text) > MAX_CHARACTERS:
        raise ExpressionError(
            f"The formula has {len(text)} characters; at most {MAX_CHARACTERS} are read.", "Give a shorter one."
        )
    tokens = _tokens(text)
    if not tokens:
        raise ExpressionError("The formula is empty.", "Write one such as z29*(z17**2 + z21**2) - 2.88.")
    tree = _Reader(tokens).read()
    size = sum(1 for _ in walk(tree))
    if size > MAX_NODES:
        raise ExpressionError(f"The formula has {size} nodes; at most {MAX_NODES} are read.", "Give a smaller one.")
    return tree


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        match = _TOKEN.match(text, position)
        if match is None:
            _refuse(
                text[position], position, "is not part of a formula", "Use numbers, latents and + - * / ** ( ) only."
            )
        tokens.append(_token(match))
        position = match.end()
        if match["number"] and text[position : position + 1].isidentifier():
            _refuse(match[0], match.start(), f"runs into {text[position]!r}", "Write products with *, such as 2*z3.")
    return tokens


def _token(match: re.Match[str]) -> _Token:
    word, position = match[0], match.start()
    if match["number"] and math.isinf(float(word)):
        _refuse(word, position, "is too large a number", "Keep numbers below 1e308.")
    if match["number"]:
        return _Token(repr(float(word)), word, position)
    if match["name"]:
        return _Token(_known_name(word, position), word, position)
    return _Token("**" if word == "^" else word, word, position)


def _known_name(name: str, position: int) -> str:
    latent = _LATENT.fullmatch(name)
    if latent:
        return f"z{int(latent[1])}"
    if name in FUNCTIONS:
        return FUNCTIONS[name]
    _refuse(name, position, "is not a known name", _nearest(name))


def _nearest(name: str) -> str:
    number = re.fullmatch(r"\D*?(\d{1,4})", name, re.ASCII)
    if number:
        return f"Did you mean z{int(number[1])}?"
    close = difflib.get_close_matches(name.lower(), FUNCTIONS, n=1, cutoff=0.5)
    return f"Did you mean {close[0]}?" if close else f"Known are z0, z1, ... and {', '.join(FUNCTIONS)}."


def _refuse(word: str, position: int, problem: str, advice: str) -> NoReturn:
    raise ExpressionError(f"{word[:40]!r} at position {position + 1} of the formula {problem}.", advice)


def _too_deep() -> ExpressionError:
    return ExpressionError("The formula is nested too deeply.", f"At most {MAX_DEPTH} levels are read.")


class _Reader:
    """Reads tokens into a tree; the starts of the joined tokens lead back to the text as written."""

    def __init__(self, tokens: list[_Token]) -> None:
        self.python = " ".join(token.python for token in tokens)
        self.by_start: dict[int, _Token] = {}
        start = 0
        for token in tokens:
            self.by_start[start] = token
            start += len(token.python) + 1

    def read(self) -> Node:
        try:
            tree = ast.parse(self.python, mode="eval").body
        except SyntaxError as error:
            if "nested" in error.msg:
                raise _too_deep() from None
            self.refuse((error.offset or 1) - 1, "is not expected there", "Look at the brackets and operators near it.")
        except (MemoryError, RecursionError, ValueError):
            raise _too_deep() from None
        return self.convert(tree, 1)

    def convert(self, tree: ast.expr, depth: int) -> Node:
        if depth > MAX_DEPTH:
            self.refuse(tree.col_offset, f"lies more than {MAX_DEPTH} levels deep", "Give a flatter formula.")
        match tree:
            case ast.Constant(value=float(number)):
                return Constant(number)
            case ast.Name(id=name) if name not in FUNCTIONS:
                return Latent(int(name[1:]))
            case ast.UnaryOp(op=sign, operand=operand):
                inner = self.convert(operand, depth + 1)
                return negative(inner) if isinstance(sign, ast.USub) else inner
            case ast.BinOp(op=operator, left=left, right=right):
                sides = self.convert(left, depth + 1), self.convert(right, depth + 1)
                return power(*sides) if isinstance(operator, ast.Pow) else Binary(_OPERATORS[type(operator)], *sides)
            case ast.Call(func=ast.Name(id=name), args=[argument]) if name in FUNCTIONS:
                return Unary(name, self.convert(argument, depth + 1))
        return self.refuse(tree.col_offset, "can't stand there", "A function needs one argument, such as sin(z3).")

    def refuse(self, start: int, problem: str, advice: str) -> NoReturn:
        # the grammar may point between two tokens, or past the last
        nearest = max((s for s in self.by_start if s <= start), default=0)
        token = self.by_start[nearest]
        _refuse(token.written, token.position, problem, advice)


_SUM, _PRODUCT, _SIGN, _POWER, _ATOM = range(1, 6)
_PRECEDENCE = {"+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT, "neg": _SIGN, "square": _POWER, "**": _POWER}


def _precedence(node: Node) -> int:
    match node:
        case Constant():
            return _SIGN if math.copysign(1.0, node.value) < 0 else _ATOM
        case Unary() | Binary():
            return _PRECEDENCE.get(node.operator, _ATOM)
    return _ATOM


def write(node: Node) -> str:
    """Text of a tree, which `read` turns into an equal tree."""
    match node:
        case Constant():
            return _number(node.value)
        case Latent():
            return f"z{node.index}"
        case Unary(operator="neg"):
            return "-" + _bracketed(node.argument, _POWER)
        case Unary(operator="square"):
            return _bracketed(node.argument, _ATOM) + "**2"
        case Unary():
            return f"{node.operator}({write(node.argument)})"
    own = _precedence(node)
    left = _bracketed(node.left, _ATOM if own == _POWER else own)
    right = _unsigned(_bracketed(node.right, _ATOM if own == _POWER else own + 1))
    return f"{left} {node.operator} {right}" if own == _SUM else f"{left}{node.operator}{right}"


def _bracketed(node: Node, least: int) -> str:
    return write(node) if _precedence(node) >= least else f"({write(node)})"


def _unsigned(text: str, brackets: str = "({})") -> str:
    return brackets.format(text) if text.startswith("-") else text


def _number(value: float) -> str:
    return repr(value).removesuffix(".0")


_LATEX_FUNCTIONS = {
    "exp": "e^{{{}}}",
    "sqrt": r"\sqrt{{{}}}",
    "abs": r"\left|{}\right|",
    "log": r"\log\left({}\right)",
    "sin": r"\sin\left({}\right)",
}
_LATEX_BRACKETS = r"\left({}\right)"
_LATEX_ESCAPES = str.maketrans(
    {c: "\\" + c for c in "&%$#_{} "} | {"\\": r"\backslash ", "~": r"\sim ", "^": r"\wedge "}
)


def latex(node: Node, names: Mapping[int, str], digits: int) -> str:
    r"""LaTeX of a tree, for LaTeX, MathJax and matplotlib alike.

    Parameters
    ----------
    node : Node
        Root of the tree.
    names : mapping of int to str
        Plain names of latents, set upright; others are set as ``z_{29}``.
    digits : int
        Significant digits of the constants.

    Returns
    -------
    str
        Without dollar signs.
    """

    def inner(child: Node, least: int) -> str:
        text = latex(child, names, digits)
        return text if _latex_precedence(child, digits) >= least else _LATEX_BRACKETS.format(text)

    match node:
        case Constant():
            return _latex_number(node.value, digits)
        case Latent():
            name = names.get(node.index)
            return rf"\mathrm{{{name.translate(_LATEX_ESCAPES)}}}" if name else f"z_{{{node.index}}}"
        case Unary(operator="neg"):
            return "-" + _unsigned(inner(node.argument, _PRODUCT), _LATEX_BRACKETS)
        case Unary(operator="square"):
            return f"{inner(node.argument, _ATOM)}^{{2}}"
        case Unary():
            return _LATEX_FUNCTIONS[node.operator].format(latex(node.argument, names, digits))
        case Binary(operator="/"):
            return rf"\frac{{{latex(node.left, names, digits)}}}{{{latex(node.right, names, digits)}}}"
        case Binary(operator="**"):
            return f"{inner(node.left, _ATOM)}^{{{latex(node.right, names, digits)}}}"
        case Binary(operator="*"):
            return _latex_product(inner(node.left, _PRODUCT), inner(node.right, _POWER))
    sign, right = node.operator, inner(node.right, _SUM if node.operator == "+" else _PRODUCT)
    if right.startswith("-"):  # of the whole term, or of the first of those that are added: two signs become one
        sign, right = "-" if sign == "+" else "+", right[1:]
    return f"{inner(node.left, _SUM)} {sign} {right}"


def _latex_precedence(node: Node, digits: int) -> int:
    match node:
        case Unary(operator="exp"):
            return _POWER
        case Binary(operator="/"):
            return _POWER
        case Constant() if r"\cdot" in _latex_number(node.value, digits):
            return _SUM
    return _precedence(node)


def _latex_product(left: str, right: str) -> str:
    upright = right.startswith(r"\mathrm")
    return left + (r" \cdot " if right[0].isdigit() or upright else " ") + right


def _latex_number(value: float, digits: int) -> str:
    mantissa, _, exponent = f"{value:.{digits}g}".partition("e")
    return rf"{mantissa} \cdot 10^{{{int(exponent)}}}" if exponent else mantissa
