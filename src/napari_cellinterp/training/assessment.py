"""How good trained heads are, and how large; which one of a scheme is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import minimize

from napari_cellinterp.models.bundle_info import Calibration, Formula, HeadInfo, Run
from napari_cellinterp.models.complexity import dense_expression_size, n_weights, sparse_expression_size, tree_size
from napari_cellinterp.models.heads import (
    Cnn,
    MaskedLinear,
    NetworkHead,
    SymbolicHead,
    active_weights,
    read_latents,
    states_of,
)
from napari_cellinterp.training.symbolic import pareto_front

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from napari_cellinterp.models.bundle_info import FormulaTarget
    from napari_cellinterp.models.expression import Expression
    from napari_cellinterp.training.symbolic import Candidate, Searched

    Floats = NDArray[np.float64]

ACCURACY_FOR_SIMPLICITY = 0.002
"""A simpler formula is preferred where it costs at most so much accuracy of two classes that count alike."""


@dataclass(frozen=True)
class Judged:
    """Inputs of heads whose classes are known, and which no head was trained on.

    Attributes
    ----------
    images : (n, n_channels, 64, 64) uint8
        Normalised patches times 255.
    latents : (n, n_latents) Tensor
        Their mean latents.
    state : (n,) int64
        Class of each, from 0.
    """

    images: NDArray[np.uint8]
    latents: Tensor
    state: NDArray[np.int64]

    def scores(self, head: nn.Module) -> Floats:
        """Return the scores of a head, or of a CNN, (n, n_scores)."""
        inputs = torch.from_numpy(self.images).float() / 255 if isinstance(head, Cnn) else self.latents
        return scores_of(head, inputs)

    def accuracy(self, head: nn.Module, interphase_weight: float = 1.0) -> float:
        """Share of right states, each crop in interphase counting so much; an undefined score is wrong."""
        weights = np.where(self.state == 0, interphase_weight, 1.0)
        return float(np.average(states_of(self.scores(head)) == self.state, weights=weights))


@torch.no_grad()
def scores_of(head: nn.Module, inputs: Tensor) -> Floats:
    """Return the scores of each input, (n, n_scores) float64."""
    return torch.cat([head(chunk) for chunk in torch.split(inputs, 512)]).double().numpy()


def keep_best(
    heads: Sequence[nn.Module],
    validation: Judged,
    test: Judged,
    targets: Sequence[FormulaTarget | None],
    interphase_weight: float = 1.0,
) -> tuple[nn.Module, HeadInfo]:
    """Choose and calibrate the run of a scheme on ``validation``; measure all runs on ``test``.

    Parameters
    ----------
    heads : sequence of Module
        The runs, in order of their seeds.
    validation, test : Judged
        Crops of different scenes.
    targets : sequence of str or None
        Loss that each run's formulas were searched with; None for networks.
    interphase_weight : float
        How much interphase counts in the choice: as much as it did in the training.

    Returns
    -------
    head : Module
        The run of the best accuracy on ``validation``; of formulas the simplest that isn't much worse.
    info : HeadInfo
        Its calibration, and the figures of all.
    """
    runs = [
        describe(head).model_copy(update={"seed": i, "accuracy": test.accuracy(head), "target": target})
        for i, (head, target) in enumerate(zip(heads, targets, strict=True))
    ]
    found = [validation.accuracy(head, interphase_weight) for head in heads]
    if isinstance(heads[0], SymbolicHead):
        good = _near_the_best(found, interphase_weight)
        best = min(good, key=lambda i: (runs[i].expression_size, -found[i]))
    else:
        best = int(np.argmax(found))
    return heads[best], HeadInfo(calibration=calibrated(validation.scores(heads[best]), validation.state), runs=runs)


def describe(head: nn.Module) -> Run:
    """Return weights, sizes and latents of a head; the accuracy isn't known yet."""
    match head:
        case SymbolicHead():
            size = sum(expression.size for expression in head.expressions)
            sizes = {"expression_size": size, "tree_size": size}
        case Cnn():
            masks = _all_on([layer.weight.shape for layer in head.layers if isinstance(layer, torch.nn.Linear)])
            size = dense_expression_size(_sizes(masks), batch_norm=True)
            sizes = {
                "n_weights": n_weights(masks),
                "expression_size": size,
                "tree_size": tree_size(masks, batch_norm=True),
            }
        case NetworkHead():
            masks = active_weights(head)
            dense = not isinstance(head.linear_layers()[0], MaskedLinear)
            size = dense_expression_size(_sizes(masks)) if dense else sparse_expression_size(masks)
            sizes = {"n_weights": n_weights(masks), "expression_size": size, "tree_size": tree_size(masks)}
        case _:
            raise TypeError(f"{type(head).__name__} is no head")
    latents = None if isinstance(head, Cnn) else read_latents(head)
    return Run(seed=0, accuracy=0, latents=latents, **sizes)


def _all_on(shapes: Iterable[tuple[int, ...]]) -> list[NDArray[np.bool_]]:
    return [np.ones(shape, bool) for shape in shapes]


def _sizes(masks: Sequence[NDArray[np.bool_]]) -> list[int]:
    return [masks[0].shape[1], *(mask.shape[0] for mask in masks)]


def calibrated(scores: Floats, state: NDArray[np.int64]) -> tuple[Calibration, ...]:
    """Fit slope and offset of each score's logistic calibration by maximum likelihood.

    Of several scores all are fitted together, as the logits of one softmax with one slope, and all classes count alike:
    the probabilities are those where no class is rarer than another, however many crops there are of each.
    """
    good = np.isfinite(scores).all(axis=1)
    n_scores = scores.shape[1]
    if not good.any():
        return (Calibration(slope=1.0, offset=0.0),) * n_scores
    # in units of their spread, which the fit's tolerances are made for
    spread = max(float(scores[good].std()), 1e-12)
    scores, state = scores[good] / spread, state[good]
    weight = np.ones(len(state)) if n_scores == 1 else 1 / np.bincount(state)[state]

    def loss(parameters: Floats) -> float:
        logits = parameters[0] * scores + parameters[1:]
        if n_scores == 1:
            logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
        largest = logits.max(axis=1)
        normaliser = largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1))
        return float(np.average(normaliser - logits[np.arange(len(state)), state], weights=weight))

    slope, *offsets = minimize(loss, [1.0] + [0.0] * n_scores, method="Nelder-Mead", options={"maxfev": 4000}).x
    return tuple(Calibration(slope=float(slope / spread), offset=float(offset)) for offset in offsets)


def chosen_formula(front: Sequence[Candidate], interphase_weight: float = 1.0) -> Candidate:
    """Return the simplest formula of a front whose training accuracy, so weighted, is near the front's best."""
    return front[_near_the_best([candidate.accuracy for candidate in front], interphase_weight)[0]]


def _near_the_best(accuracies: Sequence[float], interphase_weight: float) -> list[int]:
    """Where accuracies are near the best: so many metaphases may be lost, however little they weigh."""
    allowed = ACCURACY_FOR_SIMPLICITY * 2 / (1 + interphase_weight)
    return [i for i, accuracy in enumerate(accuracies) if accuracy >= max(accuracies) - allowed]


def with_front(info: HeadInfo, head: SymbolicHead, runs: Sequence[Searched], test: Judged) -> HeadInfo:
    """Add the head's formulas, and the Pareto fronts of all runs together, one a score and a loss.

    What the head reads stands among them even where a formula of another run is as short and has less loss.
    """
    front = []
    n_scores = len(head.expressions)
    for score_index, own in enumerate(head.expressions):
        found = [candidate for run in runs for candidate in (*run.fronts[score_index], run.head[score_index])]
        shown = [c for target in ("hinge", "squared") for c in pareto_front(c for c in found if c.target == target)]
        if own not in [candidate.expression for candidate in shown]:
            shown += [candidate for candidate in found if candidate.expression == own][:1]
        front += [_formula(candidate, score_index, n_scores, test) for candidate in shown]
    expressions = tuple(str(expression) for expression in head.expressions)
    return info.model_copy(update={"expressions": expressions, "front": tuple(front)})


def _formula(candidate: Candidate, score_index: int, n_scores: int, test: Judged) -> Formula:
    """Describe a formula; its accuracy is that of its own side against the rest."""
    is_class = test.state == (1 if n_scores == 1 else score_index)
    right = _positive(candidate.expression, test.latents) == is_class
    return Formula(
        expression=str(candidate.expression),
        complexity=candidate.complexity,
        size=candidate.expression.size,
        loss=candidate.loss,
        accuracy=float(right.mean()),
        target=target_name(candidate.target),
        score_index=score_index,
    )


def _positive(expression: Expression, latents: Tensor) -> NDArray[np.float64]:
    """1 where the score is >= 0, 0 where it is negative, NaN where it is undefined."""
    values = expression.evaluate(latents.double().numpy())
    return np.where(np.isfinite(values), values >= 0, np.nan)


def target_name(target: str) -> FormulaTarget:
    """Return what bundles call the loss of a search."""
    return "hinge" if target == "hinge" else "squared_error"
