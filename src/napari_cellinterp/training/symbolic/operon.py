"""The embedded engine: pyoperon.

It fits scores by squared error only. For the hinge loss it gets a network's margin, clipped, because far from the
boundary its size doesn't matter, and then the whole margin; constants are refined on the hinge loss afterwards. Sums of
few latents and squares, which a genetic search easily misses, are fitted to the same and take part as they are.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellinterp.errors import TrainingError
from napari_cellinterp.events import EpochFinished
from napari_cellinterp.training.symbolic.front import Candidate, Goal, refine
from napari_cellinterp.training.symbolic.sums import growing_sums

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_cellinterp.config import SymbolicConfig
    from napari_cellinterp.events import Job
    from napari_cellinterp.training.symbolic.front import Floats

SYMBOLS = "add,sub,mul,div,square,exp,log,sin,sqrt,abs,constant,variable"
MARGIN = 1.5
"""Margins are clipped here."""

LEAST_LENGTH = 5
"""Below this the engine may make no tree at all; formulas that are too complex are dropped afterwards."""

STAGE_GENERATIONS = 10
"""After so many generations the front is put into the archive, and the search may be cancelled."""


def search(goal: Goal, inputs: Sequence[int], config: SymbolicConfig) -> Job[list[Candidate]]:
    """Search for formulas; see `search_formulas`."""
    archive = {f"z{index}" for index in inputs}  # the engine gives each latent a factor
    chosen = np.ascontiguousarray(goal.latents[:, list(inputs)], np.float64)
    # a constant, and four nodes a latent; more than fit may still fit once needless constants are gone
    most = config.max_size // 4 + 1
    first = 0
    for wanted, n_generations in _restarts(goal, config.n_generations):
        archive.update(growing_sums(goal.latents, wanted, goal.weights, inputs, most))
        engine, end = _engine(config), first + n_generations
        for start in range(first, end, STAGE_GENERATIONS):
            done = min(start + STAGE_GENERATIONS, end)
            engine.set_params(generations=done - start, random_state=config.seed * config.n_generations + start)
            best, texts = _fit(engine, chosen, wanted)
            archive |= {_named(text, inputs) for text in texts}
            yield EpochFinished(done, config.n_generations, "operon", (("loss", best),))
        first = end
    return (yield from refine(archive, goal, config))


def _restarts(goal: Goal, n_generations: int) -> list[tuple[Floats, int]]:
    """List what the engine is to fit, and for how long: clipped margins and whole ones lead to different formulas."""
    if goal.target == "squared":
        return [(goal.scores, n_generations)]
    half = n_generations // 2
    return [(np.clip(goal.scores, -MARGIN, MARGIN), n_generations - half), (goal.scores, half)]


def _fit(engine: Any, latents: Floats, wanted: Floats) -> tuple[float, list[str]]:
    """Carry the engine's search on; return its best squared error and its front."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it tells of its own scale term, and of constants
        engine.fit(latents, wanted)
        texts = [engine.get_model_string(found["tree"], 6) for found in engine.pareto_front_]
    return float(min(found["mean_squared_error"] for found in engine.pareto_front_)), texts


def _engine(config: SymbolicConfig) -> Any:
    try:
        from pyoperon.sklearn import SymbolicRegressor
    except ImportError as error:
        raise TrainingError(
            f"The engine operon can't be used: {error}.",
            "Install pyoperon (it has wheels for Linux on x86-64, macOS on arm64 and Windows), or use the engine pysr.",
        ) from None
    return SymbolicRegressor(
        allowed_symbols=SYMBOLS,
        objectives=["mse", "length"],
        offspring_generator="basic",
        reinserter="keep-best",
        max_length=max(LEAST_LENGTH, config.max_size),
        population_size=config.population,
        pool_size=config.population,
        max_evaluations=10**9,
        optimizer_iterations=3,
        epsilon=1e-5,
        warm_start=True,
    )


def _named(text: str, inputs: Sequence[int]) -> str:
    """Turn the engine's X1, X2, ... into latents; the highest first, lest X1 eat into X10."""
    for i in range(len(inputs), 0, -1):
        text = text.replace(f"X{i}", f"z{inputs[i - 1]}")
    return text
