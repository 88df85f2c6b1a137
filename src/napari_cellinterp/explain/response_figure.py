"""Figures of responses and decision boundaries, with decoded nuclei along the axes."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from napari_cellinterp.explain.figure_parts import plain
from napari_cellinterp.explain.response import N_TILES
from napari_cellinterp.explain.topology import latent_label, neuron_name
from napari_cellinterp.results.colours import UNDEFINED_COLOUR, state_colour

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from napari_cellinterp.explain.response import DecisionMap, ResponseMap
    from napari_cellinterp.models.bundle import ModelBundle

WIDTH_INCHES, HEIGHT_INCHES, LEGEND_INCHES = 5.6, 4.9, 0.6
"""Of a figure, and what it is higher by with a legend."""

FRAME = (1.4, 1.25, 3.25, 3.25)
"""Left, bottom, width and height of the map, inches; nuclei stand left of it and below."""

TILE = FRAME[2] / N_TILES
"""Side of a nucleus beside the map, inches."""

GAP = 0.42
"""Between the map and the nuclei along it, where the numbers stand, inches."""

N_ARROWS = 9
"""Along each axis."""

N_LEVELS = 12

PALENESS = 1.6
"""The colours go so many times further than the response: its largest values aren't too dark for arrows."""

MAX_POINTS = 800
"""Nuclei of the population that are drawn, evenly chosen."""


def response_figure(found: ResponseMap, last_layer: int, titles: Mapping[int, str], classes: Sequence[str]) -> Figure:
    """Draw a response over one input as a curve, over two as a map with contours and arrows uphill.

    Parameters
    ----------
    found : ResponseMap
        What is drawn.
    last_layer : int
        Of the head.
    titles : mapping of int to str
        What latents are called.
    classes : sequence of str
        Of the model.
    """
    figure, axes = _framed(HEIGHT_INCHES)
    units = ["no unit" if place.layer else "SD of the prior" for place in found.inputs]
    inputs = (neuron_name(place, last_layer, titles, classes) for place in found.inputs)
    names = [f"{of_input} ({unit})" for of_input, unit in zip(inputs, units, strict=True)]
    name = neuron_name(found.neuron, last_layer, titles, classes)
    if len(found.inputs) == 1:
        _draw_curve(axes, found)
    else:
        _draw_map(figure, axes, found)
        _draw_tiles(figure, found.tiles[1], "left")
        _label_left(figure, names[1])
    _draw_tiles(figure, found.tiles[0], "below")
    _label_below(figure, names[0])
    axes.set_title(plain(f"Response of {name}"), fontsize=10)
    return figure


def fixed_words(fixed: Mapping[str, float]) -> str:
    """Say which inputs are held fixed, for a caption; nothing where there are none."""
    held = ", ".join(f"{name} = {value:.2f}" for name, value in fixed.items())
    return f"Held at the population's median: {held}." if held else ""


def _framed(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH_INCHES, height))
    FigureCanvasAgg(figure)
    return figure, _axes(figure, *FRAME)


def _axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Add axes at a place in inches."""
    all_width, all_height = figure.get_size_inches()
    return figure.add_axes((left / all_width, bottom / all_height, width / all_width, height / all_height))


def _draw_curve(axes: Axes, found: ResponseMap) -> None:
    x, response = found.axes[0], found.response
    axes.plot(x, response, color="0.15")
    axes.axhline(0, color="0.5", linewidth=0.8, linestyle="--")
    axes.set_xlim(x[0], x[-1])
    axes.set_ylabel("response (no unit)")


def _draw_map(figure: Figure, axes: Axes, found: ResponseMap) -> None:
    x, y = found.axes
    if np.ptp(found.response) < 1e-9 * max(1.0, float(np.abs(found.response).max())):
        axes.text(0.5, 0.5, f"{found.response.mean():.3g} everywhere", ha="center", transform=axes.transAxes)
        axes.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
        return
    reach = PALENESS * float(np.abs(found.response).max())
    filled = axes.contourf(x, y, found.response, N_LEVELS, cmap="RdBu", vmin=-reach, vmax=reach, alpha=0.85)
    lines = axes.contour(x, y, found.response, filled.levels, colors="0.25", linewidths=0.6)
    axes.clabel(lines, np.asarray(lines.levels)[1::2], fontsize=7, fmt="%.3g")
    _draw_arrows(axes, found)
    left, bottom, width, height = FRAME
    bar = figure.colorbar(filled, cax=_axes(figure, left + width + 0.12, bottom, 0.14, height))
    bar.set_label("response (no unit)", fontsize=8)
    bar.ax.tick_params(labelsize=7)


def _draw_arrows(axes: Axes, found: ResponseMap) -> None:
    """Draw the gradient, in units of the axes' lengths so that steep ways look steep whatever the units."""
    x, y = found.axes
    rows = np.linspace(0, len(y) - 1, N_ARROWS + 2).round().astype(int)[1:-1]
    columns = np.linspace(0, len(x) - 1, N_ARROWS + 2).round().astype(int)[1:-1]
    cut = np.ix_(rows, columns)
    right, up = (slope[cut] * np.ptp(axis) for slope, axis in zip(found.gradient, found.axes, strict=True))
    longest = float(np.hypot(right, up).max()) or 1.0
    axes.quiver(x[columns], y[rows], right / longest, up / longest, color="0.3", scale=13, width=0.005, pivot="mid")


def _draw_tiles(figure: Figure, tiles: NDArray[np.float32], where: str) -> None:
    """Draw nuclei along an axis of the map, each at its value."""
    left, bottom, width, height = FRAME
    if where == "below":
        axes = _axes(figure, left, bottom - GAP - TILE, width, TILE)
        row, extent = np.concatenate(tiles, axis=1), (0, N_TILES, 0, 1)
    else:
        axes = _axes(figure, left - GAP - TILE, bottom, TILE, height)
        row, extent = np.concatenate(tiles[::-1], axis=0), (0, 1, 0, N_TILES)
    axes.imshow(row, cmap="gray", vmin=0, vmax=1, extent=extent, aspect="auto", interpolation="nearest")
    axes.set(xticks=[], yticks=[])


def _label_below(figure: Figure, name: str) -> None:
    left, bottom, width, _ = FRAME
    _write(figure, left + width / 2, bottom - GAP - TILE - 0.1, name, ha="center", va="top")


def _label_left(figure: Figure, name: str) -> None:
    left, bottom, _, height = FRAME
    _write(figure, left - GAP - TILE - 0.1, bottom + height / 2, name, ha="right", va="center", rotation=90)


def _write(figure: Figure, x: float, y: float, text: str, **style: Any) -> None:
    """Write at a place in inches."""
    width, height = figure.get_size_inches()
    figure.text(x / width, y / height, plain(text), fontsize=10, **style)


def decision_figure(
    found: DecisionMap,
    bundle: ModelBundle,
    titles: Mapping[int, str],
    name: str,
    nucleus: NDArray[np.floating] | None = None,
) -> Figure:
    """Draw where a head changes its mind, and the population of the bundle as it is labelled.

    Parameters
    ----------
    found : DecisionMap
        What is drawn.
    bundle : ModelBundle
        The model.
    titles : mapping of int to str
        What latents are called.
    name : str
        What the head is called in the title.
    nucleus : (n_latents,) array, optional
        Latents of a nucleus that is marked.
    """
    figure, axes = _framed(HEIGHT_INCHES + LEGEND_INCHES)
    x, y = found.axes
    states, classes = found.states, bundle.info.classes
    for k in range(len(classes)):
        axes.contourf(x, y, states == k, [0.5, 1.5], colors=[state_colour(k)], alpha=0.22)
    if (states < 0).any():
        axes.contourf(x, y, states < 0, [0.5, 1.5], colors=[UNDEFINED_COLOUR], alpha=0.5, hatches=["///"])
    _draw_boundary(axes, found)
    handles: list[Artist] = [
        *_draw_population(axes, bundle, found.latents),
        Line2D([], [], color="black", label="boundary"),
    ]
    if (states < 0).any():
        handles.append(Patch(facecolor=UNDEFINED_COLOUR, hatch="///", label="undefined"))
    axes.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    if nucleus is not None:
        handles.append(_mark(axes, nucleus[list(found.latents)]))
    axes.set_title(plain(fill(name, 60)), fontsize=10)
    _draw_tiles(figure, found.tiles[0], "below")
    _draw_tiles(figure, found.tiles[1], "left")
    _label_below(figure, f"{latent_label(found.latents[0], titles)} (SD of the prior)")
    _label_left(figure, f"{latent_label(found.latents[1], titles)} (SD of the prior)")
    left, bottom, width, height = FRAME
    middle, above = (left + width / 2) / WIDTH_INCHES, (bottom + height + 0.35) / (HEIGHT_INCHES + LEGEND_INCHES)
    figure.legend(
        handles=handles, loc="lower center", bbox_to_anchor=(middle, above), ncols=3, fontsize=8, frameon=False
    )
    return figure


def _mark(axes: Axes, point: NDArray[np.floating]) -> Line2D:
    """Mark a nucleus; one beyond the axes is marked where they end."""
    low, high = (np.array(ends) for ends in zip(axes.get_xlim(), axes.get_ylim(), strict=True))
    style: dict[str, Any] = {"marker": "*", "markersize": 15, "markerfacecolor": "white", "markeredgecolor": "black"}
    axes.plot(*np.clip(point, low, high), linestyle="", clip_on=False, zorder=5, **style)
    return Line2D([], [], linestyle="", label="selected nucleus", **style | {"markersize": 10})


def _draw_boundary(axes: Axes, found: DecisionMap) -> None:
    """Draw the line on which the score is 0, or on which the two largest are equal."""
    x, y = found.axes
    if found.scores.shape[-1] == 1:
        margins = [found.scores[..., 0]]
    else:
        margins = [
            score - np.delete(found.scores, k, axis=-1).max(axis=-1)
            for k, score in enumerate(np.moveaxis(found.scores, -1, 0))
        ]
    for margin in margins:
        known = margin[np.isfinite(margin)]
        if len(known) and known.min() < 0 <= known.max():
            axes.contour(x, y, margin, [0.0], colors="black", linewidths=1.5)


def _draw_population(axes: Axes, bundle: ModelBundle, latents: tuple[int, int]) -> list[Line2D]:
    population = bundle.population
    rows = np.linspace(0, len(population.state) - 1, min(MAX_POINTS, len(population.state))).round().astype(int)
    points, state = population.latents[rows][:, list(latents)], population.state[rows]
    handles = []
    for k, name in enumerate(bundle.info.classes):
        axes.plot(*points[state == k].T, "o", markersize=3, color=state_colour(k), alpha=0.75, markeredgewidth=0)
        handles.append(Line2D([], [], linestyle="", marker="o", color=state_colour(k), label=plain(name)))
    return handles
