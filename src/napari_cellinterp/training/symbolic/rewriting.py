"""Formulas turned into others: with other constants, with constants gathered, with a constant or a term less."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from napari_cellinterp.models.expression import Expression
from napari_cellinterp.models.expression_nodes import Binary, Constant, Latent, Unary, walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_cellinterp.models.expression_nodes import Node


def constants(expression: Expression) -> NDArray[np.float64]:
    """Return the constants of a formula, in the order in which the tree is walked."""
    return np.array([node.value for node in walk(expression.root) if isinstance(node, Constant)], np.float64)


def with_constants(expression: Expression, values: Sequence[float] | NDArray[np.float64]) -> Expression:
    """Return the formula with other constants, in the order in which the tree is walked."""
    remaining = iter(values)
    return Expression(_rebuild(expression.root, remaining))


def _rebuild(node: Node, remaining: Iterator[float]) -> Node:
    """Copy a tree, its constants replaced in the order of `walk`: a node before its arguments, left before right."""
    match node:
        case Constant():
            return Constant(float(next(remaining)))
        case Unary():
            return Unary(node.operator, _rebuild(node.argument, remaining))
        case Binary():
            left = _rebuild(node.left, remaining)
            return Binary(node.operator, left, _rebuild(node.right, remaining))
    return node


def without_a_part(expression: Expression) -> list[Expression]:
    """Return the formulas that have one factor or term less, where that is a constant or a latent times one."""
    return [Expression(node) for node in _shorter(expression.root)]


def _shorter(node: Node) -> Iterator[Node]:
    match node:
        case Unary():
            yield from (Unary(node.operator, argument) for argument in _shorter(node.argument))
        case Binary():
            if node.operator in ("+", "*") and _may_go(node.left, node.right, node.operator):
                yield node.right
            if node.operator in ("+", "-", "*", "/") and _may_go(node.right, node.left, node.operator):
                yield node.left
            yield from (Binary(node.operator, left, node.right) for left in _shorter(node.left))
            yield from (Binary(node.operator, node.left, right) for right in _shorter(node.right))


def _may_go(part: Node, rest: Node, operator: str) -> bool:
    """Whether a part is a constant; or a latent times one, in a sum that is more than a constant without it."""
    if isinstance(part, Constant) or isinstance(rest, Constant):
        return isinstance(part, Constant)
    if not isinstance(part, Binary) or part.operator != "*":
        return False
    return {type(part.left), type(part.right)} == {Constant, Latent} and operator in ("+", "-")


def folded(expression: Expression) -> Expression:
    """Return the formula with operations on constants alone carried out: the engine leaves many.

    Constant factors of a product, and constant terms of a sum, become one: ``2*(3*z0)`` is ``6*z0``. What changes
    nothing goes: ``0 + 1*z0`` is ``z0``. A negative factor after a plus or a minus turns it: ``z0 + (-2*z1)`` is
    ``z0 - 2*z1``.
    """
    return Expression(_fold(expression.root))


def _fold(node: Node) -> Node:
    if isinstance(node, Unary):
        node = Unary(node.operator, _fold(node.argument))
    elif isinstance(node, Binary):
        node = _turned(Binary(node.operator, _fold(node.left), _fold(node.right)), "-")
        for rewrite in (_gathered, _without_neutral, partial(_turned, sign="+")):
            node = rewrite(node) if isinstance(node, Binary) else node
    if isinstance(node, Constant | Latent) or any(isinstance(n, Latent) for n in walk(node)):
        return node
    value = float(Expression(node).evaluate(np.zeros((1, 1)))[0])
    return Constant(value) if np.isfinite(value) else node


def _gathered(node: Binary) -> Node:
    """Bring the constants of a product of products, or of a sum of sums, into one at its front."""
    if node.operator not in ("*", "+"):
        return node
    parts = [_apart(side, node.operator) for side in (node.left, node.right)]
    constants = [constant for constant, _ in parts if constant is not None]
    rests = [rest for _, rest in parts if rest is not None]
    if len(constants) < 2 or not rests:
        return node
    value = constants[0] * constants[1] if node.operator == "*" else constants[0] + constants[1]
    rest = rests[0] if len(rests) == 1 else Binary(node.operator, *rests)
    return Binary(node.operator, Constant(value), rest) if np.isfinite(value) else node


def _without_neutral(node: Binary) -> Node:
    """Leave out a term 0 or a factor 1, and a latent times 0."""
    neutral = Constant(0.0 if node.operator in ("+", "-") else 1.0)
    match node:
        case Binary("+" | "-" | "*" | "/", rest, right) if right == neutral:
            return rest
        case Binary("+" | "*", left, rest) if left == neutral:
            return rest
        case Binary("*", Constant(0.0), Latent()) | Binary("*", Latent(), Constant(0.0)):
            return Constant(0.0)  # of a latent only: anything else may be undefined
    return node


def _turned(node: Binary, sign: str) -> Binary:
    """Turn a plus or a minus before a negative constant, or before a product of one."""
    opposite = _opposite(node.right)
    if node.operator != sign or opposite is None:
        return node
    return Binary({"+": "-", "-": "+"}[sign], node.left, opposite)


def _opposite(node: Node) -> Node | None:
    """Return a term that begins with a negative constant without its minus; None where there is none."""
    match node:
        case Constant(value) if value < 0:
            return Constant(-value)
        case Binary("*" | "/", Constant(value), rest) if value < 0:
            return Binary(node.operator, Constant(-value), rest)
    return None


def _apart(node: Node, operator: str) -> tuple[float | None, Node | None]:
    """Constant of a product or sum, and what is left without it; None for what isn't there."""
    if isinstance(node, Constant):
        return node.value, None
    if isinstance(node, Binary) and node.operator == operator:
        if isinstance(node.left, Constant):
            return node.left.value, node.right
        if isinstance(node.right, Constant):
            return node.right.value, node.left
    return None, node
