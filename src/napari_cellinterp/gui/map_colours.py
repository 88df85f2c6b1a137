"""What points of the map are coloured by: states, scores, novelty, or whether heads agree. Knows no Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_cellinterp.explain.agreement import AGREE
from napari_cellinterp.gui.opinions import SHORT_TITLES
from napari_cellinterp.results.colours import UNDEFINED_COLOUR, state_colour

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_cellinterp.explain.agreement import Disagreement
    from napari_cellinterp.results.table import Classification

AGREE_COLOUR, NONE_ALONE_COLOUR = "#999999", "#f0e442"
THRESHOLD_COLOUR = "#a0a0a0"

SMALLEST_REACH = 1.0
"""Colours of scores reach at least so far to each side of 0."""

N_COLOURS = 256
USUAL = (0.01, 0.99)
"""Quantiles between which a number is coloured; beyond them it has the last colour."""


@dataclass(frozen=True, eq=False)
class Colouring:
    """A colour for each nucleus, and what the colours mean.

    Attributes
    ----------
    colours : (n, 4) uint8
        Of the nuclei.
    entries : list of tuple
        Name, colour and number of nuclei of each kind, where there are kinds.
    scale : tuple
        Lowest and highest number, and the colours between, (N_COLOURS, 4) uint8; None where there are kinds.
    """

    colours: NDArray[np.uint8]
    entries: Sequence[tuple[str, str, int]] = ()
    scale: tuple[float, float, NDArray[np.uint8]] | None = None


def by_state(classification: Classification) -> Colouring:
    """Colour nuclei by their states."""
    colours = [UNDEFINED_COLOUR, *(state_colour(i) for i in range(len(classification.classes)))]
    table = np.array([_rgba(colour) for colour in colours], np.uint8)
    return Colouring(
        table[classification.state_index], state_entries(classification.state_index, classification.classes)
    )


def state_entries(states: NDArray[np.int64], classes: Sequence[str]) -> list[tuple[str, str, int]]:
    """Return name, colour and number of each state, 0 undefined; ``undefined`` last, where there are any."""
    n_undefined, *counts = np.bincount(states, minlength=len(classes) + 1).tolist()
    entries = [(name, state_colour(i), n) for i, (name, n) in enumerate(zip(classes, counts, strict=True))]
    return entries + ([("undefined", UNDEFINED_COLOUR, n_undefined)] if n_undefined else [])


def by_score(classification: Classification) -> Colouring:
    """Colour nuclei by score: of two classes one state's colour, grey at 0, the other's."""
    scores = classification.rows["score"].to_numpy(np.float64)
    if len(classification.classes) > 2:
        return by_number(scores)
    low, high = _usual(scores)
    low, high = min(low, -SMALLEST_REACH), max(high, SMALLEST_REACH)
    ends = np.transpose([_rgba(state_colour(0)), _rgba(THRESHOLD_COLOUR), _rgba(state_colour(1))])
    steps = np.linspace(low, high, N_COLOURS)
    table = np.stack([np.interp(steps, (low, 0, high), values) for values in ends], axis=1)
    return _on_scale(scores, low, high, table.astype(np.uint8))


def by_number(values: ArrayLike) -> Colouring:
    """Colour nuclei by a number, from blue to yellow (cividis, Nunez et al. 2018: the same to the colour-blind)."""
    from matplotlib import colormaps

    numbers = np.asarray(values, np.float64)
    return _on_scale(numbers, *_usual(numbers), colormaps["cividis"](np.arange(N_COLOURS), bytes=True))


def by_agreement(found: Disagreement) -> Colouring:
    """Colour nuclei by which head stands alone."""
    table = np.array([_rgba(colour) for colour in (AGREE_COLOUR, *pattern_colours(found))], np.uint8)
    agree = ("all agree, or one has no score", AGREE_COLOUR, int(np.sum(found.pattern == AGREE)))
    return Colouring(table[found.pattern], [agree, *pattern_entries(found)])


def pattern_entries(found: Disagreement) -> list[tuple[str, str, int]]:
    """Return name, colour and number of each pattern of disagreement that there is."""
    entries = zip(found.titles, pattern_colours(found), found.counts.tolist(), strict=True)
    return [entry for entry in entries if entry[2]]


def pattern_colours(found: Disagreement) -> list[str]:
    """Return a colour for each pattern of disagreement: that of the head that stands alone."""
    from napari_cellinterp.explain.figure_parts import COLOURS

    alone = {f"{title} alone": COLOURS[head] for head, title in SHORT_TITLES.items()}
    return [alone.get(title, NONE_ALONE_COLOUR) for title in found.titles]


def _usual(values: NDArray[np.float64]) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    low, high = np.quantile(known, USUAL).tolist() if len(known) else (0.0, 1.0)
    return low, high


def _on_scale(values: NDArray[np.float64], low: float, high: float, table: NDArray[np.uint8]) -> Colouring:
    share = (values - low) / (high - low if high > low else 1)
    known = np.isfinite(share)
    index = np.where(known, np.clip(share, 0, 1) * (N_COLOURS - 1), 0).astype(np.int64)
    colours = table[index]
    colours[~known] = _rgba(UNDEFINED_COLOUR)
    return Colouring(colours, scale=(low, high, table))


def _rgba(colour: str) -> tuple[int, int, int, int]:
    return (*bytes.fromhex(colour[1:]), 255)
