"""Symbolic regression with the embedded engine (pyoperon): formulas over a few latents, and their Pareto front.

The engine fits a margin by squared error; then the constants of its formulas are refined on the hinge loss, and loss,
accuracy and complexity are measured with our own evaluation.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize

from napari_cellinterp.errors import ExpressionError
from napari_cellinterp.models.expression import Expression
from napari_cellinterp.models.expression_nodes import Binary, Constant, Latent, Unary, walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_cellinterp.config import SymbolicConfig
    from napari_cellinterp.models.expression_nodes import Node

    Floats = NDArray[np.float64]

SYMBOLS = "add,sub,mul,div,square,exp,log,sin,sqrt,abs,constant,variable"
MARGIN = 1.5
"""Scores that the engine fits are clipped here: far from the boundary their size doesn't matter."""

UNDEFINED_LOSS = 10.0
DIGITS = 3


@dataclass(frozen=True)
class Candidate:
    """A formula with its figures on the training crops."""

    expression: Expression
    loss: float
    accuracy: float

    @property
    def complexity(self) -> int:
        """Complexity of the formula, as the paper counts it."""
        return self.expression.complexity


def search_formulas(
    latents: Floats, target: Floats, margin: Floats, inputs: Sequence[int], config: SymbolicConfig
) -> list[Candidate]:
    """Search for formulas that tell the classes apart; return their Pareto front, simplest first.

    Parameters
    ----------
    latents : (n, n_latents) float64
        Mean latents of the training crops.
    target : (n,) float64
        -1 or +1.
    margin : (n,) float64
        Scores of a network head, whose clipped values the engine fits.
    inputs : sequence of int
        Latents that formulas may use: those that the sparse heads kept.
    config : SymbolicConfig
        Settings.
    """
    from pyoperon.sklearn import SymbolicRegressor

    engine = SymbolicRegressor(
        allowed_symbols=SYMBOLS,
        objectives=["mse", "length"],
        offspring_generator="basic",
        reinserter="keep-best",
        max_length=config.max_size,
        generations=config.n_generations,
        population_size=config.population,
        pool_size=config.population,
        max_evaluations=10**9,
        optimizer_iterations=3,
        epsilon=1e-5,
        random_state=config.seed,
    )
    chosen = np.ascontiguousarray(latents[:, list(inputs)], np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the engine tells of its own scale term
        engine.fit(chosen, np.clip(margin, -MARGIN, MARGIN).astype(np.float64))
    texts = {engine.get_model_string(found["tree"], 6) for found in engine.pareto_front_}
    return refine([_named(text, inputs) for text in sorted(texts)], latents, target, config)


def _named(text: str, inputs: Sequence[int]) -> str:
    """Turn the engine's X1, X2, ... into latents; the highest first, lest X1 eat into X10."""
    for i in range(len(inputs), 0, -1):
        text = text.replace(f"X{i}", f"z{inputs[i - 1]}")
    return text


def refine(texts: Sequence[str], latents: Floats, target: Floats, config: SymbolicConfig) -> list[Candidate]:
    """Refine the constants of formulas on the hinge loss, and return the Pareto front of what results."""
    found = []
    for text in texts:
        try:
            expression = folded(Expression.parse(text))
        except ExpressionError:  # beyond the depth that we read; a simpler one will do
            continue
        candidate = _refined(expression, latents, target, config.interphase_weight)
        if candidate.complexity <= config.max_size:
            found.append(candidate)
    return pareto_front(found)


def hinge(scores: Floats, target: Floats, interphase_weight: float = 1.0) -> float:
    """Mean of max(0, 1 - y f), weighted by class; undefined scores count as a large loss."""
    loss = np.where(np.isfinite(scores), np.maximum(0, 1 - target * scores), UNDEFINED_LOSS)
    return float(np.average(loss, weights=np.where(target < 0, interphase_weight, 1.0)))


def _refined(expression: Expression, latents: Floats, target: Floats, interphase_weight: float) -> Candidate:
    start = np.array([node.value for node in walk(expression.root) if isinstance(node, Constant)])
    best = expression
    if len(start):
        result = minimize(
            lambda values: hinge(with_constants(expression, values).evaluate(latents), target, interphase_weight),
            start,
            method="Nelder-Mead",
            options={"maxfev": 100 * len(start)},
        )
        rounded = [float(f"{value:.{DIGITS}g}") for value in result.x]
        best = with_constants(expression, rounded)
    scores = best.evaluate(latents)
    return Candidate(best, hinge(scores, target, interphase_weight), float(((scores >= 0) == (target > 0)).mean()))


def with_constants(expression: Expression, values: Sequence[float] | Floats) -> Expression:
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


def folded(expression: Expression) -> Expression:
    """Return the formula with operations on constants alone carried out: the engine leaves many.

    Constant factors of a product, and constant terms of a sum, become one: ``2*(3*z0)`` is ``6*z0``.
    """
    return Expression(_fold(expression.root))


def _fold(node: Node) -> Node:
    if isinstance(node, Unary):
        node = Unary(node.operator, _fold(node.argument))
    elif isinstance(node, Binary):
        node = _gathered(Binary(node.operator, _fold(node.left), _fold(node.right)))
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


def pareto_front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates that no other beats in both complexity and loss, simplest first."""
    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.complexity, c.loss)):
        if not front or candidate.loss < front[-1].loss:
            front.append(candidate)
    return front
