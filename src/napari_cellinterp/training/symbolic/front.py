"""Candidates for a symbolic head: how they are measured, how their constants are refined, and their Pareto front."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from scipy.optimize import minimize

from napari_cellinterp.errors import ExpressionError
from napari_cellinterp.events import EpochFinished
from napari_cellinterp.models.expression import Expression
from napari_cellinterp.training.symbolic.rewriting import constants, folded, with_constants, without_a_part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_cellinterp.config import SymbolicConfig
    from napari_cellinterp.events import Job

    Floats = NDArray[np.float64]

T = TypeVar("T")

UNDEFINED_LOSS = 10.0
"""What an undefined score counts; for the squared error, times the mean square of the wanted scores."""

DIGITS = 3
"""Significant digits of refined constants."""

EVALUATIONS = 50
"""Of a formula, for each of its constants."""

N_OF_A_COMPLEXITY = 3
"""So many formulas of each complexity are refined: the best one before need not be the best one after."""

SPARE = 6
"""So much more complex a formula may be before needless constants are dropped from it."""


@dataclass(frozen=True)
class Candidate:
    """A formula with its figures on the training crops.

    Attributes
    ----------
    expression : Expression
        The formula.
    loss : float
        Hinge loss, or squared error.
    accuracy : float
        Share of right states, weighted as the loss is; NaN where it was never measured.
    target : {'hinge', 'squared'}
        Which loss that is.
    """

    expression: Expression
    loss: float
    accuracy: float
    target: Literal["hinge", "squared"] = "hinge"

    @property
    def complexity(self) -> int:
        """Complexity of the formula, as the paper counts it."""
        return self.expression.complexity


@dataclass(frozen=True, eq=False)
class Goal:
    """What formulas are searched for: the crops, what is wanted of them, and how errors count.

    Attributes
    ----------
    latents : (n, n_latents) float64
        Mean latents of the training crops.
    sign : (n,) float64
        -1 or +1, the side that each crop is on.
    scores : (n,) float64
        Scores of a network head.
    weights : (n,) float64
        How much each crop counts.
    target : {'hinge', 'squared'}
        Hinge loss on the sides, or squared error against the scores.
    """

    latents: Floats
    sign: Floats
    scores: Floats
    weights: Floats
    target: Literal["hinge", "squared"]

    def loss(self, values: Floats) -> float:
        """Loss of scores (n,) that a formula gives."""
        if self.target == "hinge":
            return hinge(values, self.sign, self.weights)
        return squared(values, self.scores, self.weights)

    def measured(self, expression: Expression) -> Candidate:
        """Return a formula with its figures; an undefined score is a wrong state."""
        values = expression.evaluate(self.latents)
        right = np.isfinite(values) & ((values >= 0) == (self.sign > 0))
        accuracy = float(np.average(right, weights=self.weights))
        return Candidate(expression, self.loss(values), accuracy, self.target)


def hinge(scores: Floats, sign: Floats, weights: Floats | None = None) -> float:
    """Weighted mean of max(0, 1 - y f), y being -1 or +1; undefined scores count as a large loss."""
    loss = np.where(np.isfinite(scores), np.maximum(0, 1 - sign * scores), UNDEFINED_LOSS)
    with np.errstate(over="ignore"):
        return float(np.average(loss, weights=weights))


def squared(scores: Floats, wanted: Floats, weights: Floats | None = None) -> float:
    """Weighted mean of (f - wanted)**2; undefined scores count as a large loss."""
    undefined = UNDEFINED_LOSS * np.mean(wanted**2)
    with np.errstate(over="ignore"):
        loss = np.where(np.isfinite(scores), (scores - wanted) ** 2, undefined)
        return float(np.average(loss, weights=weights))


def pareto_front(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return the candidates that no other beats in both complexity and loss, simplest first."""
    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.complexity, c.loss)):
        if not front or candidate.loss < front[-1].loss:
            front.append(candidate)
    return front


def refine(texts: Iterable[str], goal: Goal, config: SymbolicConfig) -> Job[list[Candidate]]:
    """Refine the constants of formulas on the goal's loss, drop those that don't pay, and return the Pareto front.

    Parameters
    ----------
    texts : iterable of str
        Formulas as an engine wrote them; what can't be read or is too complex is left out.
    goal : Goal
        What is wanted of them.
    config : SymbolicConfig
        Largest complexity, and the parsimony that a constant must win back.

    Yields
    ------
    EpochFinished
        After each formula.
    """
    limit = config.max_size + SPARE
    known = {expression for expression in _readable(texts) if expression.complexity <= limit}
    refined = yield from _one_by_one("constants", lambda one: [_refined(one, goal)], _promising(known, goal))
    shorten = partial(_shortened, goal=goal, parsimony=config.parsimony)
    shortened = yield from _one_by_one("simplification", shorten, pareto_front(refined))
    return [candidate for candidate in pareto_front([*refined, *shortened]) if candidate.complexity <= config.max_size]


def _one_by_one(name: str, work: Callable[[T], list[Candidate]], items: Sequence[T]) -> Job[list[Candidate]]:
    found: list[Candidate] = []
    for n_done, item in enumerate(items, 1):
        found += work(item)
        best = min(candidate.loss for candidate in found)
        yield EpochFinished(n_done, len(items), name, (("loss", best),))
    return found


def _readable(texts: Iterable[str]) -> Iterator[Expression]:
    for text in texts:
        try:
            yield folded(Expression.parse(text))
        except ExpressionError:  # beyond the depth that we read; a simpler one will do
            continue


def _promising(expressions: Iterable[Expression], goal: Goal) -> list[Expression]:
    """Return the best few of each complexity."""
    # the text settles ties, lest the order of a set does
    measured = sorted(map(goal.measured, expressions), key=lambda c: (c.complexity, c.loss, str(c.expression)))
    groups = groupby(measured, key=lambda c: c.complexity)
    return [candidate.expression for _, group in groups for candidate in list(group)[:N_OF_A_COMPLEXITY]]


def _refined(expression: Expression, goal: Goal) -> Candidate:
    start = constants(expression)
    if not len(start):
        return goal.measured(expression)
    result = minimize(
        lambda values: goal.loss(with_constants(expression, values).evaluate(goal.latents)),
        start,
        method="Nelder-Mead",
        options={"maxfev": EVALUATIONS * len(start)},
    )
    rounded = [float(f"{value:.{DIGITS}g}") for value in result.x]
    return goal.measured(folded(with_constants(expression, rounded)))


def _shortened(candidate: Candidate, goal: Goal, parsimony: float) -> list[Candidate]:
    """Drop constant factors and small terms as long as that costs less loss than it saves; return each step."""
    steps = [candidate]
    while True:
        shorter = [_refined(folded(expression), goal) for expression in without_a_part(steps[-1].expression)]
        best = min([steps[-1], *shorter], key=lambda c: c.loss + parsimony * c.complexity)
        if best is steps[-1]:
            return steps
        steps.append(best)
