"""A head drawn as a network, after the paper's Figures 5 and 6."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from napari_cellinterp.explain.figure_parts import WIDTH_INCHES, plain, wide_figure
from napari_cellinterp.explain.topology import latent_label

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from napari_cellinterp.explain.topology import Edge, Neuron, Place, Topology

POSITIVE, NEGATIVE, BESIDE = "#2166ac", "#c0282d", "#d9d9d9"
"""Colours of weights, and of those outside a stream."""

MAX_WIDTH_POINTS, MIN_WIDTH_POINTS = 5.0, 0.6

MANY_EDGES = 150
"""With more weights than these all lines are thin."""

LEVEL_NAME_INCHES, LAYER_NAME_INCHES = 0.9, 1.3
"""With less room than this for each latent or score their names stand upright; what the names of layers take."""

N_BIASES_AN_INCH = 2
"""Layers of more neurons have no room for biases."""

LAYER_INCHES = 1.15

N_SWEEPS = 8


def topology_figure(
    topology: Topology,
    titles: Mapping[int, str],
    classes: Sequence[str],
    stream: Collection[Edge] | None = None,
    width: float = WIDTH_INCHES,
) -> Figure:
    """Draw a head from its latents at the top to its score at the bottom.

    Blue weights are positive and red ones negative, wider the larger they are; biases stand above their neurons.

    Parameters
    ----------
    topology : Topology
        Of a head, or of a sub-network.
    titles : mapping of int to str
        What latents are called.
    classes : sequence of str
        Of the model.
    stream : collection of Edge, optional
        Weights that are drawn in colour, the others in grey; all by default.
    width : float
        Of the figure, inches.
    """
    layers = _layers(topology)
    drawn = [number for number, neurons in enumerate(layers) if neurons]
    figure = wide_figure(LAYER_INCHES * (drawn[-1] - drawn[0] + 1) + 1.2, width)
    axes = figure.add_subplot()
    positions = neuron_positions(topology)
    _draw_edges(axes, topology, positions, stream)
    for neuron in topology.neurons:
        n_beside = len(layers[neuron.place.layer])
        upright = n_beside > 1 and width - LAYER_NAME_INCHES < LEVEL_NAME_INCHES * n_beside
        _draw_neuron(axes, neuron, positions[neuron.place], n_beside / width)
        _name_neuron(axes, neuron.place, positions[neuron.place], topology.last_layer, titles, classes, upright)
    names = {0: "latents", topology.last_layer: "score" if len(classes) == 2 else "scores"}
    for number in drawn:
        axes.text(-0.09, -number, names.get(number, f"hidden layer {number}"), ha="right", va="center", color="0.35")
    if not topology.edges:
        message = "No connection is left: the score is the same for every nucleus."
        axes.text(0.5, -drawn[-1] + 0.5, message, ha="center", color="0.35")
    axes.set(xlim=(-0.24, 1.06), ylim=(-drawn[-1] - 0.55, -drawn[0] + 0.75))
    axes.set_axis_off()
    if topology.edges:
        handles = _legend(topology, stream)
        ncols = len(handles) if width == WIDTH_INCHES else 2
        figure.legend(handles=handles, loc="outside lower center", fontsize=9, frameon=False, ncols=ncols)
    return figure


def _layers(topology: Topology) -> list[tuple[Neuron, ...]]:
    return [topology.layer(i) for i in range(topology.last_layer + 1)]


def neuron_positions(topology: Topology) -> dict[Place, tuple[float, float]]:
    """Place the neurons of each layer side by side, near those that they are connected to.

    Returns
    -------
    dict of Place to (float, float)
        x and y in the axes of `topology_figure`.
    """
    layers = _layers(topology)
    beside: dict[Place, list[tuple[Place, float]]] = defaultdict(list)
    for edge in topology.edges:
        beside[edge.source].append((edge.target, abs(edge.weight)))
        beside[edge.target].append((edge.source, abs(edge.weight)))
    x = {neuron.place: at for neurons in layers for neuron, at in zip(neurons, _spread(len(neurons)), strict=True)}
    for sweep in range(N_SWEEPS):
        for neurons in layers if sweep % 2 else reversed(layers):
            wish = {neuron.place: _middle(beside[neuron.place], x, x[neuron.place]) for neuron in neurons}
            order = sorted(wish, key=wish.__getitem__)
            x.update(zip(order, _spread(len(order)), strict=True))
    return {place: (at, -place.layer) for place, at in x.items()}


def _spread(n: int) -> list[float]:
    return [(i + 0.5) / n for i in range(n)]


def _middle(beside: Sequence[tuple[Place, float]], x: Mapping[Place, float], own: float) -> float:
    total = sum(weight for _, weight in beside)
    return sum(weight * x[place] for place, weight in beside) / total if total else own


def _draw_edges(
    axes: Axes, topology: Topology, positions: Mapping[Place, tuple[float, float]], stream: Collection[Edge] | None
) -> None:
    edges = sorted(topology.edges, key=lambda edge: (stream is None or edge in stream, abs(edge.weight)))
    colours = [
        BESIDE if stream is not None and edge not in stream else POSITIVE if edge.weight > 0 else NEGATIVE
        for edge in edges
    ]
    lines = LineCollection(
        [(positions[edge.source], positions[edge.target]) for edge in edges],
        colors=colours,
        linewidths=_widths([edge.weight for edge in edges]),
        alpha=0.85 if len(edges) <= MANY_EDGES else 0.5,
        zorder=1,
        capstyle="round",
    )
    axes.add_collection(lines)


def _widths(weights: Sequence[float]) -> list[float]:
    """Return the width of each line, points: in proportion to the weight, but never invisible."""
    largest = max((abs(weight) for weight in weights), default=1.0) or 1.0
    thickest = MAX_WIDTH_POINTS if len(weights) <= MANY_EDGES else MAX_WIDTH_POINTS / 4
    thinnest = min(MIN_WIDTH_POINTS, thickest / 5)
    return [max(thickest * abs(weight) / largest, thinnest) for weight in weights]


def _draw_neuron(axes: Axes, neuron: Neuron, position: tuple[float, float], n_an_inch: float) -> None:
    size = np.clip(0.5 * 72 / n_an_inch, 6, 15)
    face = "#fff3d6" if neuron.bias is None else "white"
    axes.plot(*position, "o", markersize=size, markerfacecolor=face, markeredgecolor="0.2", zorder=2)
    if neuron.bias is not None and n_an_inch <= N_BIASES_AN_INCH:
        x, y = position
        text = axes.text(x, y + 0.16, f"{neuron.bias:+.2f}", ha="center", va="bottom", fontsize=8, zorder=4)
        text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])


def _name_neuron(
    axes: Axes,
    place: Place,
    position: tuple[float, float],
    last_layer: int,
    titles: Mapping[int, str],
    classes: Sequence[str],
    upright: bool,
) -> None:
    (layer, index), (x, y), rotation = place, position, 90 if upright else 0
    if layer == 0:
        text = plain(latent_label(index, titles))
        text = text if upright else text.replace(" ", "\n")
        axes.text(x, y + 0.17, text, ha="center", va="bottom", fontsize=8.5, rotation=rotation)
    elif layer < last_layer:
        axes.text(x, y, str(index), ha="center", va="center", fontsize=7, zorder=4)
    else:
        states = f"{classes[1]} where it is 0 or more" if len(classes) == 2 else classes[index]
        axes.text(x, y - 0.17, plain(states), ha="center", va="top", fontsize=9, rotation=rotation)


def _legend(topology: Topology, stream: Collection[Edge] | None) -> list[Line2D]:
    largest = max(abs(edge.weight) for edge in topology.edges)
    width = max(_widths([edge.weight for edge in topology.edges]))
    lines = [
        Line2D([], [], color=POSITIVE, linewidth=width, label=f"positive weight (this wide: {largest:.2g})"),
        Line2D([], [], color=NEGATIVE, linewidth=width, label="negative weight"),
    ]
    if stream is not None:
        lines.append(Line2D([], [], color=BESIDE, linewidth=width, label="not in the stream"))
    return [*lines, Line2D([], [], linestyle="", label="number above a neuron: its bias")]
