"""How accurate heads are for their size: all trained models of bundles, their Pareto front, and sizes in figures.

Many models of one accuracy and of many sizes are the Rashomon set of Soelistyo & Lowe, section 6: of those that are
right as often, the smallest is the easiest to read. Sizes are those of the paper's appendix C.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter
from torch import nn

from napari_cellinterp.explain.figure_parts import COLOURS, SCHEMES, WIDTH_INCHES, plain, wide_figure
from napari_cellinterp.explain.topology import head_topology
from napari_cellinterp.models.complexity import (
    dense_expression_size,
    n_weights,
    sparse_expression_size,
    tree_size,
)
from napari_cellinterp.models.heads import Cnn, NetworkHead, SymbolicHead, active_weights, read_latents

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from napari_cellinterp.config import HeadName
    from napari_cellinterp.models.bundle import ModelBundle
    from napari_cellinterp.models.bundle_info import BundleInfo, Run

MARKERS = "os^Dv<>P*X"
"""One a bundle; of more bundles than these all look alike."""

MANY_MODELS = 500
"""More than these are drawn small, and as pixels in vector figures."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained head, or a formula of a Pareto front.

    Attributes
    ----------
    model : str
        Name of the bundle.
    head : str
        Its scheme.
    accuracy : float
        On held-out crops, 0 to 1.
    expression_size : int
        Nodes of the equivalent formula, as the paper counts them.
    latents : tuple of int or None
        What it reads, where that is known.
    formula : str
        Of a formula of the front; empty for a run.
    """

    model: str
    head: HeadName
    accuracy: float
    expression_size: int
    latents: tuple[int, ...] | None = None
    formula: str = ""


@dataclass(frozen=True)
class HeadSize:
    """How large a head of a bundle is.

    Attributes
    ----------
    n_weights : int or None
        Active weights, without biases, as in the paper's Table 1; None of a formula.
    n_parameters : int or None
        With biases and batch normalisation; of a sparse head those of connected neurons only.
    n_with_encoder : int
        Parameters of all that leads from the crop to the score.
    expression_size : int
        As the paper counts it: its eq. 11, 13 and 14.
    tree_size : int
        Nodes of the trees that the paper's appendix C draws.
    latents : tuple of int or None
        What it reads; None of the CNN.
    """

    n_weights: int | None
    n_parameters: int | None
    n_with_encoder: int
    expression_size: int
    tree_size: int
    latents: tuple[int, ...] | None

    def is_of(self, run: Run | TrainedModel) -> bool:
        """Whether a run has this size and these latents; a bundle doesn't say which of its runs it holds."""
        return (run.expression_size, run.latents) == (self.expression_size, self.latents)


def trained_models(bundles: Iterable[BundleInfo]) -> tuple[tuple[TrainedModel, ...], int]:
    """Return every run and formula of some bundles whose size is known, and how many runs have none.

    Formulas of several scores aren't alone the answer of a head, and are left out.
    """
    found: list[TrainedModel] = []
    n_unknown = 0
    for info in bundles:
        for name, head in info.heads.items():
            for run in head.runs:
                if run.expression_size is None:
                    n_unknown += 1
                else:
                    found.append(TrainedModel(info.name, name, run.accuracy, run.expression_size, run.latents))
            for formula in head.front if info.n_scores == 1 else ():
                found.append(TrainedModel(info.name, name, formula.accuracy, formula.size, formula=formula.expression))
    return tuple(found), n_unknown


def pareto_front(models: Iterable[TrainedModel]) -> tuple[TrainedModel, ...]:
    """Return the models than which none is at least as small and more accurate, or as accurate and smaller."""
    front: list[TrainedModel] = []
    for model in sorted(models, key=lambda model: (model.expression_size, -model.accuracy)):
        if not front or model.accuracy > front[-1].accuracy:
            front.append(model)
    return tuple(front)


def rashomon_figure(models: Sequence[TrainedModel], width: float = WIDTH_INCHES) -> Figure:
    """Draw accuracy against expression size on a log axis, and the Pareto front.

    A colour a scheme; hollow: formulas on the way to the symbolic heads; a marker a bundle where there are several.

    Parameters
    ----------
    models : sequence of TrainedModel
        What is drawn.
    width : float
        Of the figure, inches; the legend stands below where it is narrower than a report.
    """
    figure = wide_figure(5.0, width)
    axes = figure.add_subplot()
    axes.set(xlabel="expression size (nodes; the smaller, the easier to read)", ylabel="accuracy on held-out crops")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    if not models:
        message = "The bundle tells of no trained models with their sizes."
        axes.text(0.5, 0.5, message, ha="center", transform=axes.transAxes, color="0.4")
        return figure
    axes.set(xscale="log", title="Accuracy against size of all trained models")
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    front = pareto_front(models)
    axes.step(*_points(front), where="post", color="0.3", linewidth=1.2, label="Pareto front", zorder=1)
    names = list(dict.fromkeys(model.model for model in models))
    markers = dict(zip(names, MARKERS, strict=False)) if len(names) <= len(MARKERS) else {}
    groups: dict[tuple[HeadName, str, bool], list[TrainedModel]] = {}
    for model in models:
        marker = markers.get(model.model, MARKERS[0])
        groups.setdefault((model.head, marker, bool(model.formula)), []).append(model)
    for (head, marker, is_formula), group in groups.items():
        sizes, accuracies = _points(group)
        axes.scatter(
            sizes,
            accuracies,
            s=36 if len(models) <= MANY_MODELS else 9,
            marker=marker,
            facecolors="none" if is_formula else COLOURS[head],
            edgecolors=COLOURS[head],
            alpha=0.75,
            rasterized=len(models) > MANY_MODELS,
        )
    place = {"loc": "outside right upper"} if width == WIDTH_INCHES else {"loc": "outside lower center", "ncols": 2}
    figure.legend(handles=_legend(models, markers), fontsize=9, frameon=False, **place)
    return figure


def _points(models: Sequence[TrainedModel]) -> NDArray[np.float64]:
    """Return sizes and accuracies, (2, n): matplotlib takes seconds for long lists."""
    return np.array([(model.expression_size, model.accuracy) for model in models], np.float64).T


def _legend(models: Sequence[TrainedModel], markers: Mapping[str, str]) -> list[Line2D]:
    def marker(label: str, colour: str, shape: str = "o", face: str | None = None) -> Line2D:
        face = colour if face is None else face
        return Line2D([], [], linestyle="", marker=shape, color=colour, markerfacecolor=face, label=label)

    heads = {model.head for model in models}
    handles = [marker(f"scheme {words}", COLOURS[head]) for head, words in SCHEMES.items() if head in heads]
    if any(model.formula for model in models):
        handles.append(marker("formulas of the symbolic\nregression's own front", COLOURS["symbolic"], face="none"))
    if len(markers) > 1:
        handles += [marker(plain(name), "0.4", shape) for name, shape in markers.items()]
    return [*handles, Line2D([], [], color="0.3", linewidth=1.2, label="Pareto front")]


def head_size(bundle: ModelBundle, name: HeadName) -> HeadSize:
    """Measure a head of a bundle.

    Raises
    ------
    BundleError
        If the bundle doesn't have it.
    """
    head = bundle.head(name)
    encoder = _n_parameters(bundle.encoder)
    if isinstance(head, SymbolicHead):
        size = sum(expression.size for expression in head.expressions)
        return HeadSize(None, None, encoder, size, size, read_latents(head))
    if isinstance(head, Cnn):
        layers = [layer for layer in head.layers if isinstance(layer, nn.Linear)]
        weights = sum(layer.weight.numel() for layer in layers)
        sizes = [layers[0].in_features, *(layer.out_features for layer in layers)]
        size = dense_expression_size(sizes, batch_norm=True)
        return HeadSize(weights, _n_parameters(head.layers), _n_parameters(head), size, size, None)
    assert isinstance(head, NetworkHead)
    masks, graph = active_weights(head), head_topology(head)
    n_parameters = len(graph.edges) + sum(neuron.bias is not None for neuron in graph.neurons)
    size = sparse_expression_size(masks) if name == "sparse" else tree_size(masks)
    return HeadSize(n_weights(masks), n_parameters, encoder + n_parameters, size, tree_size(masks), read_latents(head))


def _n_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def n_runs_like(info: BundleInfo, name: HeadName, size: HeadSize) -> int:
    """Return how many runs of a scheme have the size and the latents of the bundle's head."""
    return sum(size.is_of(run) for run in info.heads[name].runs)


def mean_accuracy(info: BundleInfo, name: HeadName) -> tuple[float, float, int] | None:
    """Return mean and standard deviation of the accuracy of a scheme's runs, and their number; None without runs."""
    accuracies = [run.accuracy for run in info.heads[name].runs]
    if not accuracies:
        return None
    sd = float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else 0.0
    return float(np.mean(accuracies)), sd, len(accuracies)
