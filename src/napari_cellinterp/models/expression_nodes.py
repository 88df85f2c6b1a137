"""The nodes of a formula's tree, and for each operator what it costs, what it computes and how steep it is.

The tree is kept as it was written: nothing is rearranged or simplified, because the size of a formula is reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Values: TypeAlias = NDArray[np.float64]
    Slopes: TypeAlias = dict[int, Values]


@dataclass(frozen=True, slots=True)
class Constant:
    """A number; a literal negative number is one node too."""

    value: float


@dataclass(frozen=True, slots=True)
class Latent:
    """The latent ``z`` of that index."""

    index: int


@dataclass(frozen=True, slots=True)
class Unary:
    """An operator of `UNARY` applied to one argument."""

    operator: str
    argument: Node


@dataclass(frozen=True, slots=True)
class Binary:
    """An operator of `BINARY` applied to two arguments."""

    operator: str
    left: Node
    right: Node


Node: TypeAlias = Constant | Latent | Unary | Binary


@dataclass(frozen=True, slots=True)
class UnaryOperator:
    """What a unary operator costs and does.

    Attributes
    ----------
    cost : int
        Complexity of the node (appendix B.4 of the paper).
    apply : callable
        ``(xp, a)`` to the value, where ``xp`` is the module numpy or torch.
    slope : callable
        ``(a, value)`` to the derivative by ``a``, in NumPy.
    """

    cost: int
    apply: Callable[[Any, Any], Any]
    slope: Callable[[Values, Values], Values]


@dataclass(frozen=True, slots=True)
class BinaryOperator:
    """What a binary operator does; all cost 1.

    Attributes
    ----------
    apply : callable
        ``(xp, a, b)`` to the value, where ``xp`` is the module numpy or torch.
    slopes : callable
        ``(a, b, value)`` to the derivatives by ``a`` and by ``b``, in NumPy.
    """

    apply: Callable[[Any, Any, Any], Any]
    slopes: Callable[[Values, Values, Values], tuple[Values | float, Values | float]]


def _power(xp: Any, a: Any, b: Any) -> Any:
    # nan**0 and 1**nan would be 1: an undefined argument must stay undefined
    return xp.where(xp.isnan(a) | xp.isnan(b), xp.nan, a**b)


def _power_slopes(a: Values, b: Values, value: Values) -> tuple[Values, Values]:
    return np.where(b == 0, 0.0, b * a ** (b - 1)), np.where(value == 0, 0.0, value * np.log(a))


UNARY: dict[str, UnaryOperator] = {
    "neg": UnaryOperator(1, lambda xp, a: -a, lambda a, value: np.full_like(a, -1.0)),
    "square": UnaryOperator(1, lambda xp, a: a * a, lambda a, value: 2.0 * a),
    "exp": UnaryOperator(2, lambda xp, a: xp.exp(a), lambda a, value: value),
    "log": UnaryOperator(2, lambda xp, a: xp.log(a), lambda a, value: 1.0 / a),
    "sin": UnaryOperator(3, lambda xp, a: xp.sin(a), lambda a, value: np.cos(a)),
    "sqrt": UnaryOperator(1, lambda xp, a: xp.sqrt(a), lambda a, value: 0.5 / value),
    "abs": UnaryOperator(1, lambda xp, a: xp.abs(a), lambda a, value: np.sign(a)),
}

BINARY: dict[str, BinaryOperator] = {
    "+": BinaryOperator(lambda xp, a, b: a + b, lambda a, b, value: (1.0, 1.0)),
    "-": BinaryOperator(lambda xp, a, b: a - b, lambda a, b, value: (1.0, -1.0)),
    "*": BinaryOperator(lambda xp, a, b: a * b, lambda a, b, value: (b, a)),
    "/": BinaryOperator(lambda xp, a, b: a / b, lambda a, b, value: (1.0 / b, -value / b)),
    "**": BinaryOperator(_power, _power_slopes),
}


def negative(node: Node) -> Node:
    """Minus ``node``: a constant changes its sign, anything else becomes the argument of one more node."""
    return Constant(-node.value) if isinstance(node, Constant) else Unary("neg", node)


def power(base: Node, exponent: Node) -> Node:
    """Raise ``base`` to the ``exponent``; the second power is the paper's unary square."""
    return Unary("square", base) if exponent == Constant(2.0) else Binary("**", base, exponent)


def children(node: Node) -> tuple[Node, ...]:
    """List the arguments of a node."""
    match node:
        case Unary():
            return (node.argument,)
        case Binary():
            return (node.left, node.right)
    return ()


def walk(node: Node) -> Iterator[Node]:
    """Every node of the tree: a node before its arguments, left before right."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(children(node)))


def cost(node: Node) -> int:
    """Complexity of the node alone."""
    return UNARY[node.operator].cost if isinstance(node, Unary) else 1


def additive_terms(node: Node) -> Iterator[Node]:
    """List the terms whose sum is the tree, from left to right, each with its own sign."""
    match node:
        case Binary(operator="+" | "-" as operator, left=left, right=right):
            yield from additive_terms(left)
            yield from additive_terms(right if operator == "+" else _minus(right))
        case Unary(operator="neg", argument=Binary(operator="+" | "-" as operator, left=left, right=right)):
            yield from additive_terms(_minus(left))
            yield from additive_terms(_minus(right) if operator == "+" else right)
        case (
            Binary(operator="*", left=Constant(factor), right=total)
            | Binary(operator="*", left=total, right=Constant(factor))
        ):
            terms = list(additive_terms(total))
            yield from [node] if len(terms) == 1 else (_times(factor, term) for term in terms)
        case _:
            yield node


def _times(factor: float, term: Node) -> Node:
    match term:
        case Unary(operator="neg", argument=argument):
            return _times(-factor, argument)
        case Binary(operator="*", left=Constant(number), right=rest):
            return Binary("*", Constant(_rounded(factor * number)), rest)
        case Binary(operator="/", left=rest, right=Constant(number)) if number:
            return Binary("*", Constant(_rounded(factor / number)), rest)
    return Binary("*", Constant(factor), term)


def _rounded(number: float) -> float:
    """Without the digits that only come from binary fractions."""
    return float(f"{number:.12g}")


def _minus(node: Node) -> Node:
    match node:
        case Unary(operator="neg", argument=argument):
            return argument
        case Binary(operator="*" | "/" as operator, left=left, right=right):
            turned = _minus(left)
            if not (isinstance(turned, Unary) and turned.operator == "neg"):
                return Binary(operator, turned, right)
    return negative(node)


def value(node: Node, xp: Any, latents: Any, constant: Callable[[float], Any]) -> Any:
    """Value of the tree for every row of ``latents``, NaN where any part of it is undefined or infinite.

    Parameters
    ----------
    node : Node
        Root of the tree.
    xp : module
        numpy or torch.
    latents : array or Tensor
        (n, n_latents) floating point.
    constant : callable
        Makes the (n,) array of a number.

    Returns
    -------
    array or Tensor
        (n,), of the type of ``latents``.
    """
    arguments = [value(child, xp, latents, constant) for child in children(node)]
    return _apply(node, arguments, xp, latents, constant)


def value_and_slopes(node: Node, latents: Values) -> tuple[Values, Slopes]:
    """Value of the tree and its derivative by each latent in it, forward through the tree.

    Parameters
    ----------
    node : Node
        Root of the tree.
    latents : ndarray
        (n, n_latents) float64.

    Returns
    -------
    value : ndarray
        (n,) float64.
    slopes : dict of int to ndarray
        By latent, (n,) float64.
    """
    arguments = [value_and_slopes(child, latents) for child in children(node)]
    values = [argument for argument, _ in arguments]
    here = _apply(node, values, np, latents, lambda number: np.full(len(latents), number))
    if isinstance(node, Latent):
        return here, {node.index: np.ones_like(here)}
    slopes: Slopes = {}
    for factor, (_, inner) in zip(_factors(node, values, here), arguments, strict=True):
        for index, slope in inner.items():
            slopes[index] = slopes.get(index, 0.0) + factor * slope
    return here, slopes


def _apply(node: Node, arguments: list[Any], xp: Any, latents: Any, constant: Callable[[float], Any]) -> Any:
    match node:
        case Constant():
            result = constant(node.value)
        case Latent():
            result = latents[:, node.index]
        case Unary():
            result = UNARY[node.operator].apply(xp, *arguments)
        case Binary():
            result = BINARY[node.operator].apply(xp, *arguments)
    return xp.where(xp.isfinite(result), result, xp.nan)


def _factors(node: Node, arguments: list[Values], here: Values) -> tuple[Values | float, ...]:
    match node:
        case Unary():
            return (UNARY[node.operator].slope(arguments[0], here),)
        case Binary():
            return BINARY[node.operator].slopes(arguments[0], arguments[1], here)
    return ()
