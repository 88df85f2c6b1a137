"""Traversals as a filmstrip: a row a latent, with the scores of the heads under each nucleus."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from napari_cellinterp.config import PATCH_PX
from napari_cellinterp.explain.figure_parts import COLOURS, WIDTH_INCHES, plain
from napari_cellinterp.explain.topology import latent_label
from napari_cellinterp.explain.traversal import latent_ranges, traverse
from napari_cellinterp.models.heads import states_of
from napari_cellinterp.results.colours import UNDEFINED_COLOUR, state_colour

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from napari_cellinterp.config import HeadName
    from napari_cellinterp.explain.traversal import Traversal
    from napari_cellinterp.models.bundle import ModelBundle

N_STEPS = 9

FRAME_PX = 4
"""Width of the frame in the colour of a state."""

WORDS_PX = 34
"""Height of the room for scores under a nucleus."""

COLUMN_PX, ROW_PX = PATCH_PX + 2 * FRAME_PX + 6, PATCH_PX + 2 * FRAME_PX + WORDS_PX

NAMES_SHARE = 0.16
"""Share of the figure's width for the names of the latents."""


def filmstrip_figure(
    bundle: ModelBundle, latents: Sequence[int], heads: Sequence[HeadName], titles: Mapping[int, str]
) -> Figure:
    """Draw traversals of latents from the population's median nucleus.

    Parameters
    ----------
    bundle : ModelBundle
        The model.
    latents : sequence of int
        A row each; at least one.
    heads : sequence of str
        Whose scores stand under the nuclei, at most two; the first one's state colours their frames.
    titles : mapping of int to str
        What latents are called.
    """
    nucleus = np.median(bundle.population.latents, axis=0).astype(np.float32)
    ranges = latent_ranges(bundle)
    values = [np.linspace(ranges[i].low, ranges[i].high, N_STEPS, dtype=np.float32) for i in latents]
    rows = [traverse(bundle, nucleus, i, steps) for i, steps in zip(latents, values, strict=True)]
    canvas = np.concatenate([_strip(row, heads[0]) for row in rows])
    above = 0.75
    height = WIDTH_INCHES * (1 - NAMES_SHARE) * canvas.shape[0] / canvas.shape[1]
    figure = Figure(figsize=(WIDTH_INCHES, height + above))
    FigureCanvasAgg(figure)
    # one image of all nuclei: an axes for each would take seconds to lay out
    axes = figure.add_axes((NAMES_SHARE, 0, 1 - NAMES_SHARE, height / (height + above)))
    axes.imshow(canvas, interpolation="nearest", aspect="auto")
    for r, (row, steps) in enumerate(zip(rows, values, strict=True)):
        _draw_words(axes, r, row, steps, heads)
    names = [plain(latent_label(i, titles)).replace(" ", "\n", 1) for i in latents]
    axes.set_yticks(np.arange(len(rows)) * ROW_PX + PATCH_PX / 2, names, fontsize=9)
    axes.tick_params(length=0)
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    patches = [Patch(color=state_colour(k), label=plain(name)) for k, name in enumerate(bundle.info.classes)]
    title = f"frame: state by the {heads[0]} head"
    figure.legend(handles=patches, title=title, loc="upper center", ncols=len(patches), fontsize=9, frameon=False)
    return figure


def _strip(row: Traversal, head: HeadName) -> NDArray[np.float64]:
    """Return the nuclei of a row side by side, framed by state, (ROW_PX, N_STEPS * COLUMN_PX, 3)."""
    strip = np.ones((ROW_PX, N_STEPS * COLUMN_PX, 3))
    side = PATCH_PX + 2 * FRAME_PX
    for i, (image, state) in enumerate(zip(row.images, states_of(row.scores[head]), strict=True)):
        left = i * COLUMN_PX
        strip[:side, left : left + side] = to_rgb(state_colour(int(state)) if state >= 0 else UNDEFINED_COLOUR)
        inner = slice(FRAME_PX, FRAME_PX + PATCH_PX)
        strip[inner, left + FRAME_PX : left + FRAME_PX + PATCH_PX] = np.clip(image.mean(axis=0), 0, 1)[..., None]
    return strip


def _draw_words(axes: Axes, r: int, row: Traversal, steps: NDArray[np.float32], heads: Sequence[HeadName]) -> None:
    """Write the value of the latent on each nucleus, and the scores under it."""
    top = r * ROW_PX
    for i, value in enumerate(steps):
        middle = i * COLUMN_PX + FRAME_PX + PATCH_PX / 2
        axes.text(
            i * COLUMN_PX + FRAME_PX + 3,
            top + FRAME_PX + 3,
            f"{round(float(value), 1) + 0.0:.1f}",
            color="white",
            fontsize=7,
            va="top",
        )
        for k, head in enumerate(heads[:2]):
            words = score_words(row.scores[head][i])
            y = top + PATCH_PX + 2 * FRAME_PX + 3 + 12 * k
            axes.text(middle, y, f"{head} {words}", color=COLOURS[head], fontsize=7, ha="center", va="top")


def score_words(scores: NDArray[np.float32]) -> str:
    """Return the score of a nucleus in words, or of several scores (n_scores,) the largest one."""
    if not np.isfinite(scores).all():
        return "undefined"
    return f"{float(scores.max()):+.2f}"
