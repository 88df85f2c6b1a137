"""Files of a counterfactual: one picture of both attacks on a nucleus, and the scores of all heads as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from napari_cellinterp.config import CounterfactualConfig
from napari_cellinterp.models.heads import states_of
from napari_cellinterp.results.colours import state_colour
from napari_cellinterp.results.export import write_table
from napari_cellinterp.results.files import written_beside

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

N_PICTURES = 5
PICTURE_INCHES, CURVE_INCHES, ROW_INCHES = 1.5, 3.2, 2.35

DIFFERENCE_COLOURS = "RdBu_r"
FLIP_COLOUR = "#d55e00"


@dataclass(frozen=True, eq=False)
class ScoreCurve:
    """Scores of a head against epsilon.

    Attributes
    ----------
    head, space : str
        Whose, and what is changed: ``image`` or ``latent``.
    epsilons : (n,) float32
        The first is 0.
    scores : (n, n_scores) float32
        NaN where undefined.
    flip : float or None
        The smallest epsilon that changes the state.
    """

    head: str
    space: str
    epsilons: Array
    scores: Array
    flip: float | None


@dataclass(frozen=True, eq=False)
class AttackedNucleus:
    """One attack on a nucleus, to be drawn.

    Attributes
    ----------
    sentence : str
        What it does.
    epsilon : float
        Its length.
    before, after : (n_channels, 64, 64) float32
        What was changed, in [0, 1].
    others : mapping of str to (n_channels, 64, 64) float32
        More pictures, by caption.
    curve : ScoreCurve
        Of the attacked head.
    """

    sentence: str
    epsilon: float
    before: Array
    after: Array
    others: Mapping[str, Array]
    curve: ScoreCurve


def epsilon_unit(space: str) -> str:
    """Return the unit of epsilon in words, by what is changed."""
    extra = CounterfactualConfig.model_fields[f"max_epsilon_{space}"].json_schema_extra
    assert isinstance(extra, dict)
    return str(extra["unit"])


def difference_scale(difference: Array) -> float:
    """Return the smallest 1, 2 or 5 times a power of ten that no change exceeds, from 0.001 to 1.

    Steps, so that the size of a change can be seen as long as it stays within one.
    """
    steps = np.outer(10.0 ** np.arange(-3, 0), [1, 2, 5]).ravel()
    return float(next((step for step in steps if np.abs(difference).max() <= step * 1.001), 1.0))


def curve_table(curves: Sequence[ScoreCurve], classes: Sequence[str], track_id: int, frame: int) -> pd.DataFrame:
    """Return one row an epsilon of each curve: scores, and the state that they mean."""
    names = ["score"] if len(classes) == 2 else [f"score_{name}" for name in classes]
    states = np.array([*classes, ""])  # the last one for undefined scores, whose state is -1
    parts = [
        pd.DataFrame(
            {
                "track_id": track_id,
                "frame": frame,
                "head": curve.head,
                "space": curve.space,
                "unit": epsilon_unit(curve.space),
                "epsilon": curve.epsilons,
                **dict(zip(names, curve.scores.T, strict=True)),
                "state": states[states_of(curve.scores)],
                "flip_epsilon": np.nan if curve.flip is None else curve.flip,
            }
        )
        for curve in curves
    ]
    return pd.concat(parts, ignore_index=True)


def write_curves(curves: Sequence[ScoreCurve], classes: Sequence[str], track_id: int, frame: int, path: Path) -> None:
    """Write the scores of all heads against epsilon as CSV.

    Raises
    ------
    OutputError
        If the file can't be written.
    """
    write_table(curve_table(curves, classes, track_id, frame), path)


def counterfactual_figure(attacks: Sequence[AttackedNucleus], classes: Sequence[str], title: str) -> Figure:
    """Draw one row an attack: before, after, difference, what else there is, and the score against epsilon."""
    width = N_PICTURES * PICTURE_INCHES + CURVE_INCHES
    figure = Figure(figsize=(width, ROW_INCHES * len(attacks) + 0.4), dpi=150)
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained")
    figure.suptitle(title, fontsize=10)
    rows = figure.subfigures(len(attacks), 1, squeeze=False)[:, 0]
    for row, attacked in zip(rows, attacks, strict=True):
        _draw_attack(row, attacked, classes)
    return figure


def write_figure(attacks: Sequence[AttackedNucleus], classes: Sequence[str], title: str, path: Path) -> None:
    """Write the picture as PNG.

    Raises
    ------
    OutputError
        If the file can't be written.
    """
    figure = counterfactual_figure(attacks, classes, title)
    with written_beside(path) as beside:
        figure.savefig(beside, format="png")


def _draw_attack(row: SubFigure, attacked: AttackedNucleus, classes: Sequence[str]) -> None:
    row.suptitle(attacked.sentence, fontsize=9)
    ratios = [*[PICTURE_INCHES] * N_PICTURES, CURVE_INCHES]
    *places, curve = row.subplots(1, N_PICTURES + 1, width_ratios=ratios)
    for axes in places:
        axes.set_axis_off()
    decoded = "decoded, " if attacked.curve.space == "latent" else ""
    _draw_picture(places[0], attacked.before, f"{decoded}before")
    _draw_picture(places[1], attacked.after, f"{decoded}after, ε = {attacked.epsilon:.3g}")
    _draw_difference(row, places[2], attacked.after - attacked.before)
    for axes, (caption, picture) in zip(places[3:], attacked.others.items(), strict=False):
        _draw_picture(axes, picture, caption)
    _draw_curve(curve, attacked, classes)


def _draw_picture(axes: Axes, picture: Array, caption: str) -> None:
    axes.imshow(_side_by_side(picture), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(caption, fontsize=8)


def _draw_difference(row: SubFigure, axes: Axes, difference: Array) -> None:
    scale = difference_scale(difference)
    picture = _side_by_side(difference)
    shown = axes.imshow(picture, cmap=DIFFERENCE_COLOURS, vmin=-scale, vmax=scale, interpolation="nearest")
    axes.set_title("difference", fontsize=8)
    bar = row.colorbar(shown, cax=axes.inset_axes((0.1, -0.1, 0.8, 0.05)), orientation="horizontal")
    bar.set_ticks([-scale, 0, scale])
    bar.ax.tick_params(labelsize=7)


def _draw_curve(axes: Axes, attacked: AttackedNucleus, classes: Sequence[str]) -> None:
    curve = attacked.curve
    if len(classes) == 2:
        axes.axhline(0, color="#909090", linewidth=1)
        axes.plot(curve.epsilons, curve.scores[:, 0], color="#404040", linewidth=1.5)
        label = f"score, {classes[1]} from 0"
    else:
        for i, name in enumerate(classes):
            axes.plot(curve.epsilons, curve.scores[:, i], color=state_colour(i), linewidth=1.5, label=name)
        axes.legend(fontsize=7, frameon=False)
        label = "score"
    axes.axvline(attacked.epsilon, color="#404040", linewidth=1, linestyle="--")
    if curve.flip is not None:
        height = 0.0 if len(classes) == 2 else float(np.interp(curve.flip, curve.epsilons, curve.scores.max(axis=1)))
        axes.plot(curve.flip, height, "D", color=FLIP_COLOUR, markersize=6)
        axes.annotate(f" {curve.flip:.3g}", (curve.flip, height), fontsize=8, xytext=(5, 4), textcoords="offset points")
    axes.set_xlabel(f"ε ({epsilon_unit(curve.space)})", fontsize=8)
    axes.set_ylabel(label, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def _side_by_side(picture: Array) -> Array:
    """Put the channels (n_channels, 64, 64) beside each other."""
    return np.concatenate(list(picture), axis=1)
