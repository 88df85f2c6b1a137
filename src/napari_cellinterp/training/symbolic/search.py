"""The search for symbolic heads, whichever engine there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_cellinterp.errors import TrainingError
from napari_cellinterp.training.symbolic import operon, pysr_engine
from napari_cellinterp.training.symbolic.front import Candidate, Goal
from napari_cellinterp.training.symbolic.together import LEAST_COMPLEXITY, fit_together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_cellinterp.config import SymbolicConfig
    from napari_cellinterp.events import Job

    Floats = NDArray[np.float64]


class Searched(NamedTuple):
    """What a search for a head found.

    Attributes
    ----------
    fronts : list of list of Candidate
        A Pareto front a score, simplest first.
    head : list of Candidate
        The formula of each score.
    """

    fronts: list[list[Candidate]]
    head: list[Candidate]


def search_formulas(
    latents: Floats, target: Floats, scores: Floats, inputs: Sequence[int], config: SymbolicConfig
) -> Job[list[Candidate]]:
    """Search for formulas that tell two classes apart; return their Pareto front, simplest first.

    Parameters
    ----------
    latents : (n, n_latents) float64
        Mean latents of the training crops.
    target : (n,) float64
        -1 or +1.
    scores : (n,) float64
        Scores of a network head: what the formulas should give where the config's target is 'squared', a help for the
        engine operon where it is 'hinge'.
    inputs : sequence of int
        Latents that formulas may use: those that the sparse heads kept.
    config : SymbolicConfig
        Settings.

    Yields
    ------
    EpochFinished
        As the search goes on, with the best loss that the engine knows.

    Raises
    ------
    TrainingError
        If the engine isn't there or fails, or there are no inputs.
    """
    weights = np.where(target < 0, config.interphase_weight, 1.0)
    return (yield from _search(Goal(latents, target, scores, weights, config.target), inputs, config))


def search_each_class(
    latents: Floats,
    state: NDArray[np.int64],
    scores: Floats,
    inputs: Sequence[int],
    config: SymbolicConfig,
    n_classes: int,
) -> Job[Searched]:
    """Search for one formula a class, of which the largest score wins.

    Each class is searched against all others, weighted so that both sides count alike whatever their numbers. Then the
    formulas of the head are fitted together (`fit_together`), of the terms that were found and of others.

    Parameters
    ----------
    latents : (n, n_latents) float64
        Mean latents of the training crops.
    state : (n,) int64
        Class of each crop, from 0.
    scores : (n, n_classes) float64
        Scores of a network head.
    inputs : sequence of int
        Latents that formulas may use.
    config : SymbolicConfig
        Settings; the weight of interphase is for what is fitted together.
    n_classes : int
        Number of classes.

    Yields
    ------
    EpochFinished
        As each search goes on.

    Raises
    ------
    TrainingError
        As in `search_formulas`, or where a class has all crops or none, or formulas must be too simple for a sum.
    """
    if config.max_size < LEAST_COMPLEXITY:
        raise TrainingError(
            f"Formulas of several classes can't be of complexity {config.max_size} (max_size) at most.",
            f"Allow {LEAST_COMPLEXITY} or more: a latent, its factor and a constant.",
        )
    goals, fronts = [], []
    for index in range(n_classes):
        sign = np.where(state == index, 1.0, -1.0)
        wanted = scores[:, index] if config.target == "squared" else _margin(scores, index)
        goals.append(Goal(latents, sign, wanted, _balanced(sign, index), config.target))
        fronts.append((yield from _search(goals[-1], inputs, config)))
    found = [front[-1].expression for front in fronts]
    together = yield from fit_together(latents, state, found, inputs, config)
    return Searched(fronts, [goal.measured(formula) for goal, formula in zip(goals, together, strict=True)])


def _margin(scores: Floats, index: int) -> Floats:
    """How far the score of a class lies above the best other one."""
    margin: Floats = scores[:, index] - np.delete(scores, index, axis=1).max(axis=1)
    return margin


def _balanced(sign: Floats, index: int) -> Floats:
    """Weights that sum to half the crops on each side."""
    n_in, n_all = int((sign > 0).sum()), len(sign)
    if n_in in (0, n_all):
        raise TrainingError(
            f"Class {index} has {n_in} of the {n_all} crops, so it can't be told from the others.",
            "Label crops of every class.",
        )
    return np.where(sign > 0, n_all / (2 * n_in), n_all / (2 * (n_all - n_in)))


def _search(goal: Goal, inputs: Sequence[int], config: SymbolicConfig) -> Job[list[Candidate]]:
    if not len(inputs):
        raise TrainingError(
            "There are no latents to make formulas of.", "Give some: those that the sparse heads read are a good start."
        )
    engine = config.engine
    if engine == "auto":
        engine = "operon" if pysr_engine.julia_problem() else "pysr"
    search = pysr_engine.search if engine == "pysr" else operon.search
    return (yield from search(goal, inputs, config))
