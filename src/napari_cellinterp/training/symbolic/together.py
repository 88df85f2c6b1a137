"""Formulas of several classes fitted together, so that the largest of their scores is right.

A search tells one class from the rest; which of several such scores is larger says little. So each class's score is
made anew as a sum of few terms: latents, their squares, and the terms of what the searches found. All factors are those
of one softmax, and the difference of two scores is therefore the logarithm of the odds of the two classes. The term
that helps least goes, one after the other, as in optimal brain surgeon (Hassibi & Stork 1992).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_cellinterp.events import EpochFinished
from napari_cellinterp.models.expression import Expression
from napari_cellinterp.models.expression_nodes import (
    Binary,
    Constant,
    Latent,
    Node,
    Unary,
    additive_terms,
    walk,
)
from napari_cellinterp.training.symbolic.front import DIGITS
from napari_cellinterp.training.symbolic.rewriting import folded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_cellinterp.config import SymbolicConfig
    from napari_cellinterp.events import Job
    from napari_cellinterp.training.symbolic.front import Floats

    Bools = NDArray[np.bool_]

RIDGE = 1e-4
"""Penalty on squared factors, of terms in units of their spread: without it, those of separable classes never end."""

FACTOR_COMPLEXITY = 2
"""What a term costs in a formula, besides itself and its factor: plus and times."""

LEAST_COMPLEXITY = 5
"""Of a constant and a latent with its factor."""

ONE_BY_ONE = 120
"""Of more terms, a tenth goes at a time."""

NEWTON_STEPS, ENOUGH = 12, 1e-7
"""Steps of one fit at most, and the gain in loss below which it ends."""


def fit_together(
    latents: Floats,
    state: NDArray[np.int64],
    found: Iterable[Expression],
    inputs: Sequence[int],
    config: SymbolicConfig,
) -> Job[list[Expression]]:
    """Fit one formula a class, all together.

    Parameters
    ----------
    latents : (n, n_latents) float64
        Mean latents of the training crops.
    state : (n,) int64
        Class of each crop, from 0; each has at least one.
    found : iterable of Expression
        Formulas whose terms may be used.
    inputs : sequence of int
        Latents that may be used.
    config : SymbolicConfig
        Largest complexity of a formula, at least `LEAST_COMPLEXITY`; the parsimony: the cross-entropy, in nats, that
        one more unit of complexity must win back; and how much a crop in interphase, class 0, counts.

    Yields
    ------
    EpochFinished
        As terms go.

    Returns
    -------
    list of Expression
        In order of the classes.
    """
    measured = [(term, term.evaluate(latents)) for term in _terms(found, inputs)]
    usable = [(term, value) for term, value in measured if np.isfinite(value).all() and value.std() > 0]
    terms, values = [term for term, _ in usable], np.column_stack([value for _, value in usable])
    mean, spread = values.mean(axis=0), values.std(axis=0)
    softmax = _Softmax.of((values - mean) / spread, state, np.where(state == 0, config.interphase_weight, 1.0))
    costs = np.array([1 + FACTOR_COMPLEXITY + term.complexity for term in terms])
    factors, chosen = yield from _eliminate(softmax, costs, config)
    factors[:, 1:] /= spread
    factors[:, 0] -= factors[:, 1:] @ mean
    order = np.argsort(-np.abs(factors[:, 1:] * spread), axis=1)  # the terms that matter most come first
    return [
        _sum_of(factors[k, 0], [(factors[k, 1 + i], terms[i]) for i in order[k] if chosen[k, 1 + i]])
        for k in range(len(factors))
    ]


def _terms(found: Iterable[Expression], inputs: Sequence[int]) -> list[Expression]:
    """List latents, their squares and the terms of formulas, each once."""
    nodes: list[Node] = [Latent(i) for i in inputs]
    nodes += [Expression.parse(f"z{i}**2").root for i in inputs]
    nodes += [_without_factor(term) for expression in found for term in additive_terms(expression.root)]
    varying = [node for node in nodes if any(isinstance(part, Latent) for part in walk(node))]
    return [Expression(node) for node in dict.fromkeys(varying)]


def _without_factor(node: Node) -> Node:
    match node:
        case (
            Unary(operator="neg", argument=rest)
            | Binary(operator="*", left=Constant(), right=rest)
            | Binary(operator="*" | "/", left=rest, right=Constant())
        ):
            return _without_factor(rest)
    return node


def _sum_of(constant: float, terms: Sequence[tuple[float, Expression]]) -> Expression:
    node: Node = _rounded(constant)
    for factor, term in terms:
        node = Binary("+", node, Binary("*", _rounded(factor), term.root))
    return folded(Expression(node))


def _rounded(value: float) -> Constant:
    return Constant(float(f"{value:.{DIGITS}g}"))


def _eliminate(softmax: _Softmax, costs: NDArray[np.int64], config: SymbolicConfig) -> Job[tuple[Floats, Bools]]:
    """Drop terms as long as that costs less loss than it saves, or a formula is too complex."""
    chosen = np.ones((softmax.n_classes, 1 + len(costs)), bool)
    factors: Floats = np.zeros(chosen.shape)
    n_all = softmax.n_classes * len(costs)
    while True:
        factors, loss, losses = softmax.fit(factors, chosen)
        n_left = int(chosen[:, 1:].sum())
        yield EpochFinished(n_all - n_left, n_all, "formulas together", (("cross-entropy", loss),))
        price = np.where(chosen[:, 1:], losses[:, 1:] - config.parsimony * costs, np.inf)
        too_complex = 1 + (chosen[:, 1:] * costs).sum(axis=1) > config.max_size
        if price.min(initial=np.inf) > 0:
            price[~too_complex] = np.inf
        n_going = min(n_left // 10, int((price < 0).sum())) if n_left > ONE_BY_ONE else 1
        cheapest = np.argsort(price, axis=None)[: max(1, n_going)]
        cheapest = cheapest[np.isfinite(price.flat[cheapest])]
        if not len(cheapest):
            return factors, chosen
        chosen[:, 1:].flat[cheapest] = False
        factors = np.where(chosen, factors, 0)


@dataclass(frozen=True, eq=False)
class _Softmax:
    """Softmax regression.

    Attributes
    ----------
    columns : (n, 1 + n_terms) float64
        Ones, and the terms.
    wanted : (n, n_classes) float64
        1 where a crop is of a class, else 0.
    weights : (n,) float64
        What each crop counts; their sum is 1.
    """

    columns: Floats
    wanted: Floats
    weights: Floats

    @staticmethod
    def of(values: Floats, state: NDArray[np.int64], weights: Floats) -> _Softmax:
        columns = np.column_stack([np.ones(len(values)), values])
        return _Softmax(columns, np.eye(state.max() + 1)[state], weights / weights.sum())

    @property
    def n_classes(self) -> int:
        return self.wanted.shape[1]

    def fit(self, factors: Floats, chosen: Bools) -> tuple[Floats, float, Floats]:
        """Fit the chosen factors by Newton's method; return them, the loss, and what the loss would gain without each.

        The last is a second-order estimate, infinite for those that aren't chosen.
        """
        loss, shares = self._loss(factors)
        for _ in range(NEWTON_STEPS):
            before, hessian = loss, self._hessian(shares, chosen)
            slope = ((shares - self.wanted) * self.weights[:, None]).T @ self.columns + RIDGE * factors
            step = np.zeros_like(factors)
            step[chosen] = np.linalg.solve(hessian, slope[chosen])
            for scale in (1.0, 0.5, 0.25, 0.125, 0.0):
                loss, shares = self._loss(factors - scale * step)
                if loss <= before:
                    break
            factors = factors - scale * step
            if before - loss < ENOUGH:
                break
        gains = np.full(factors.shape, np.inf)
        gains[chosen] = factors[chosen] ** 2 / (2 * np.diag(np.linalg.inv(self._hessian(shares, chosen))))
        return factors, loss, gains

    def _loss(self, factors: Floats) -> tuple[float, Floats]:
        """Cross-entropy and penalty, and the probabilities (n, n_classes)."""
        scores = self.columns @ factors.T
        scores -= scores.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(scores).sum(axis=1, keepdims=True))
        entropy = -float(self.weights @ ((scores - log_sum) * self.wanted).sum(axis=1))
        return entropy + RIDGE / 2 * float((factors**2).sum()), np.exp(scores - log_sum)

    def _hessian(self, shares: Floats, chosen: Bools) -> Floats:
        """Second derivatives of the loss by the chosen factors, class by class."""
        columns = [self.columns[:, of] for of in chosen]
        ends = np.cumsum([0, *chosen.sum(axis=1)])
        hessian = RIDGE * np.eye(ends[-1])
        for a, b in self._pairs():
            curvature = self.weights * shares[:, a] * (float(a == b) - shares[:, b])
            block = (columns[a] * curvature[:, None]).T @ columns[b]
            hessian[ends[a] : ends[a + 1], ends[b] : ends[b + 1]] += block
            if a != b:
                hessian[ends[b] : ends[b + 1], ends[a] : ends[a + 1]] += block.T
        return hessian

    def _pairs(self) -> Iterator[tuple[int, int]]:
        return ((a, b) for a in range(self.n_classes) for b in range(a, self.n_classes))
