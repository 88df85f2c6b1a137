"""The figures of an audit, as PNG; light background, one colour a head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from napari_cellinterp.config import PATCH_PX
from napari_cellinterp.explain.counterfactual import mean_and_sd
from napari_cellinterp.explain.figure_parts import COLOURS, SCHEMES, WIDTH_INCHES, wide_figure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from napari_cellinterp.config import HeadName
    from napari_cellinterp.explain.audit import Audit
    from napari_cellinterp.explain.counterfactual import Counterfactual

    Array = NDArray[np.float32]

TILE_PX = PATCH_PX + 6
"""Side of an image with its white border."""


def by_head(audits: Sequence[Audit]) -> dict[HeadName, list[Audit]]:
    """Return the audits of each head, in the order of the schemes."""
    return {head: found for head in SCHEMES if (found := [audit for audit in audits if audit.head == head])}  # type: ignore[misc]


def image_figure(audits: Sequence[Audit]) -> Figure:
    """Draw accuracy under attacks on the image, and how many nuclei flip up to an epsilon."""
    figure = wide_figure(3.8)
    left, right = figure.subplots(1, 2)
    _draw_curves(left, audits, "image")
    left.set(title="Accuracy under attack", xlabel="epsilon (image goes from 0 to 1)", ylabel="accuracy")
    config = audits[0].config
    for head, found in by_head(audits).items():
        flips = np.sort(np.concatenate([audit.image.flips for audit in found]))
        share = np.arange(1, len(flips) + 1) / len(flips)
        known = np.isfinite(flips)
        right.step(flips[known], share[known], where="post", color=COLOURS[head], label=SCHEMES[head])
    limit = config.attack.max_epsilon_image
    right.axvline(
        config.small_epsilon_image, color="0.4", linestyle=":", label=f"epsilon {config.small_epsilon_image:g}"
    )
    right.set(xscale="log", xlim=(limit / 300, limit), ylim=(0, 1.02), title="Smallest flips")
    right.set(xlabel="epsilon (image goes from 0 to 1)", ylabel="nuclei that flip up to there")
    right.yaxis.set_major_formatter(PercentFormatter(1))
    right.legend(fontsize=8)
    return figure


def latent_figure(audits: Sequence[Audit]) -> Figure:
    """Draw accuracy under attacks on all latents, all but the central ones, and only those of the neighbourhood."""
    figure = wide_figure(3.8)
    panels = figure.subplots(1, 3, sharey=True)
    attacks = (
        ("All latents", "all_latents"),
        ("All but the central ones", "beside_central"),
        ("Only those of the neighbourhood", "neighbourhood"),
    )
    for axes, (title, name) in zip(panels, attacks, strict=True):
        _draw_curves(axes, audits, name)
        axes.axvline(audits[0].config.usual_epsilon_latent, color="0.4", linestyle=":")
        axes.set(title=title, xlabel="epsilon (SD of the prior)")
    panels[0].set_ylabel("accuracy")
    return figure


def _draw_curves(axes: Axes, audits: Sequence[Audit], name: str) -> None:
    """Draw the accuracies under one kind of attack, a field of `Audit`: mean and SD over the models of each head."""
    for head, found in by_head(audits).items():
        curves = [attack.curve for audit in found if (attack := getattr(audit, name)) is not None]
        if not curves:
            continue
        mean, sd = mean_and_sd(curves)
        axes.plot(curves[0].epsilons, mean, ".-", color=COLOURS[head], label=SCHEMES[head])
        axes.fill_between(curves[0].epsilons, mean - sd, mean + sd, color=COLOURS[head], alpha=0.2, linewidth=0)
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    if axes.lines:
        axes.legend(fontsize=8)
    else:
        axes.text(0.5, 0.5, "no such latents to attack", ha="center", transform=axes.transAxes, color="0.4")


def landing_figure(audits: Sequence[Audit]) -> Figure:
    """Draw where in the crop, and how, attacks on the image landed."""
    figure = wide_figure(3.6)
    panels = figure.subplots(1, 4)
    measures = (
        ("Energy on the central nucleus", "share, relative to its area's", _relative_energy, 1.0),
        ("Effect of the part on it", "share of the score's move", lambda audit: audit.image.landing.effect_share, None),
        ("Coherence of the change", "correlation of neighbours", lambda audit: audit.image.landing.coherence, 0.0),
        ("Seen by the beta-TCVAE", "RMS after / RMS before", lambda audit: audit.image.landing.seen, None),
    )
    for axes, (title, label, values_of, line) in zip(panels, measures, strict=True):
        _draw_boxes(axes, audits, values_of)
        axes.set_title(title, fontsize=9)
        axes.set_ylabel(label, fontsize=8)
        if line is not None:
            axes.axhline(line, color="0.5", linestyle=":", zorder=0)
    return figure


def _relative_energy(audit: Audit) -> Array:
    landing = audit.image.landing
    return landing.energy_share / landing.area_share


def moves_figure(audits: Sequence[Audit]) -> Figure:
    """Draw how far scores move under turns, and as neighbours are erased."""
    figure = wide_figure(3.6)
    panels = figure.subplots(1, 3, sharey=True)
    measures: tuple[tuple[str, Callable[[Audit], Array]], ...] = (
        ("Turned: the largest of seven moves", _largest_turn),
        ("Neighbours erased", lambda audit: np.abs(audit.erased.with_neighbours.move)),
        ("Erased where there were none", lambda audit: np.abs(audit.erased.without.move)),
    )
    for axes, (title, values_of) in zip(panels, measures, strict=True):
        _draw_boxes(axes, audits, values_of)
        axes.set_title(title, fontsize=9)
        axes.axhline(1, color="0.5", linestyle=":", zorder=0)
    panels[0].set_ylabel("move of the score (typical margins)")
    panels[0].set_ylim(0, None)
    return figure


def _largest_turn(audit: Audit) -> Array:
    return np.asarray(np.nanmax(np.abs([moved.move for moved in audit.turned]), axis=0))


def _draw_boxes(axes: Axes, audits: Sequence[Audit], values_of: Callable[[Audit], Array]) -> None:
    """Draw a box a head: quartiles and median, whiskers from the 5th to the 95th percentile."""
    groups = by_head(audits)
    values = [np.concatenate([values_of(audit) for audit in found]) for found in groups.values()]
    boxes = axes.boxplot(
        [v[np.isfinite(v)] for v in values], whis=(5, 95), showfliers=False, patch_artist=True, widths=0.6
    )
    for box, median, head in zip(boxes["boxes"], boxes["medians"], groups, strict=True):
        box.set(facecolor=COLOURS[head], alpha=0.6)
        median.set(color="black")
    axes.set_xticks(range(1, len(groups) + 1), list(groups), fontsize=8)


def examples_figure(audit: Audit) -> Figure | None:
    """Draw what flips one nucleus of each state; None where nothing did."""
    rows = [
        (example, name, found)
        for example in audit.examples
        for name, found in (
            ("image, smallest flip", example.image),
            ("latents, smallest flip", example.latents),
            ("neighbourhood's latents", example.neighbourhood),
        )
        if found is not None
    ]
    if not rows:
        return None
    row_inches, title_inches, words_share = 1.7, 0.3, 0.15
    height = row_inches * len(rows) + title_inches
    figure = Figure(figsize=(WIDTH_INCHES, height))
    FigureCanvasAgg(figure)
    # one image of all tiles: an axes for each would take seconds to lay out
    axes = figure.add_axes((words_share, 0, 1 - words_share, 1 - title_inches / height))
    axes.imshow(np.concatenate([_tiles(found) for _, _, found in rows]), interpolation="nearest")
    for i, (example, _, found) in enumerate(rows):
        _draw_outlines(axes, example.central, i)
        if found.space == "latent":
            axes.text(
                4 * TILE_PX,
                (i + 0.5) * TILE_PX,
                "before and after are decoded",
                ha="center",
                va="center",
                fontsize=8,
                color="0.4",
            )
    words = [_in_words(name, found, audit.classes) for _, name, found in rows]
    axes.set_yticks((np.arange(len(rows)) + 0.5) * TILE_PX, words, fontsize=8)
    titles = ("before", "after", "change (red: brighter)", "reconstruction before", "and after")
    axes.set_xticks((np.arange(5) + 0.5) * TILE_PX, titles, fontsize=9)
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    return figure


def _tiles(found: Counterfactual) -> NDArray[np.float64]:
    """Return the five images of one row, (TILE_PX, 5 TILE_PX, 3); changes are scaled to the row's largest."""
    change = found.difference[0] / _reach(found)
    images = [_grey(found.before), _grey(found.after), colormaps["RdBu_r"]((change + 1) / 2)[..., :3]]
    if found.space == "image":  # else the decoded images are there already
        images += [_grey(found.reconstruction_before), _grey(found.reconstruction_after)]
    row = np.ones((TILE_PX, 5 * TILE_PX, 3))
    for i, image in enumerate(images):
        row[3 : 3 + PATCH_PX, 3 + i * TILE_PX : 3 + i * TILE_PX + PATCH_PX] = image
    return row


def _grey(image: Array) -> Array:
    return np.repeat(np.clip(image[0], 0, 1)[..., None], 3, axis=2)


def _reach(found: Counterfactual) -> float:
    return max(float(np.abs(found.difference[0]).max()), 0.001)


def _draw_outlines(axes: Axes, central: NDArray[np.bool_], row: int) -> None:
    """Outline the central nucleus in the first and the third image of a row."""
    if not central.any():
        return
    ticks = np.arange(PATCH_PX) + 3
    for column in (0, 2):
        x, y = ticks + column * TILE_PX, ticks + row * TILE_PX
        axes.contour(x, y, central, [0.5], colors="#f0a000", linewidths=0.8)


def _in_words(name: str, found: Counterfactual, classes: tuple[str, ...]) -> str:
    after = "undefined" if found.state_after < 0 else classes[found.state_after]
    scores = f"{_score(found.scores_before, found.state)} to {_score(found.scores_after, found.state)}"
    change = f"largest change {np.abs(found.difference[0]).max():.2g}"
    return f"{name}\n{classes[found.state]} to {after}\nscore {scores}\nepsilon {found.epsilon:.3g}\n{change}"


def _score(scores: Array, state: int) -> str:
    return f"{round(float(scores[0 if len(scores) == 1 else state]), 2) + 0.0:g}"  # no minus before a zero
