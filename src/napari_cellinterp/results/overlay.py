"""One picture of a classified movie: a frame with its nuclei outlined by state, and the states over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator
from skimage.segmentation import find_boundaries

from napari_cellinterp.results.colours import UNDEFINED_COLOUR, state_colour
from napari_cellinterp.results.files import written_beside

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from napari_cellinterp.movies.stack import Movie
    from napari_cellinterp.results.table import Classification

PANEL_INCHES = 5.6
SCALE_BARS_UM = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

LINEAR_UP_TO = 10
COUNT_TICKS = (0, *(n * 10**power for power in range(7) for n in (1, 2, 5)))
"""Numbers of nuclei at the axis: few mitoses and many nuclei in interphase shall both be read from one plot."""


def telling_frame(classification: Classification) -> int:
    """Return the frame with the most nuclei of the rarest state; the first of them."""
    counts = classification.counts_over_time()
    total = counts.sum(axis=0)
    seen = np.flatnonzero(total)
    return int(counts[:, seen[np.argmin(total[seen])]].argmax()) if len(seen) else 0


def overlay_figure(classification: Classification, movie: Movie, channel: int) -> Figure:
    """Draw the overlay: the most telling frame, and nuclei of each state over time.

    Parameters
    ----------
    classification : Classification
        The states.
    movie : Movie
        What was classified.
    channel : int
        Channel to show.
    """
    several = classification.n_frames > 1
    aspect = movie.height / movie.width
    image_width = PANEL_INCHES / max(aspect, 0.5)
    figure = Figure(figsize=(image_width + (4.6 if several else 0.2), max(3.6, image_width * aspect) + 0.9), dpi=130)
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained")
    panels = figure.subplots(1, 2, width_ratios=(image_width, 4.2)) if several else [figure.subplots()]
    t = telling_frame(classification)
    _draw_frame(panels[0], classification, movie, channel, t)
    if several:
        _draw_counts(panels[1], classification, movie.frame_interval_min, t)
    _draw_legend(figure, classification)
    return figure


def write_overlay(classification: Classification, movie: Movie, channel: int, path: Path) -> None:
    """Write the overlay as PNG.

    Raises
    ------
    OutputError
        If the file can't be written.
    """
    figure = overlay_figure(classification, movie, channel)
    with written_beside(path) as beside:
        figure.savefig(beside, format="png")


def outlined(image: NDArray[np.generic], states: NDArray[np.uint8], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return a grey image with outlines in the states' colours, (height, width, 3) in 0-1."""
    grey = np.nan_to_num(np.asarray(image, np.float64), posinf=0, neginf=0)
    low, high = np.percentile(grey, [1, 99.7])
    grey = np.clip((grey - low) / (high - low if high > low else 1), 0, 1) ** 0.7
    picture = np.repeat(grey[..., None], 3, axis=2)
    edge = find_boundaries(labels, mode="thick")
    for i in range(int(states.max(initial=0))):
        picture[edge & (states == i + 1)] = to_rgb(state_colour(i))
    return picture


def _draw_frame(axes: Axes, classification: Classification, movie: Movie, channel: int, t: int) -> None:
    image, labels, states = movie.plane(t, channel), classification.masks.frame(t), classification.paint(t)
    enlarge = max(1, round(900 / max(image.shape)))  # outlines stay thin on small movies
    picture = outlined(*(_enlarged(layer, enlarge) for layer in (image, states, labels)))
    axes.imshow(picture, interpolation="nearest")
    axes.set_title(f"frame {t} of {classification.n_frames} (counted from 0)", fontsize=10)
    axes.set_axis_off()
    if movie.pixel_size_um:
        _draw_scale_bar(axes, movie.pixel_size_um / enlarge, picture.shape)


def _enlarged(layer: NDArray[Any], times: int) -> NDArray[Any]:
    return layer.repeat(times, axis=0).repeat(times, axis=1)


def _draw_scale_bar(axes: Axes, pixel_size_um: float, shape: tuple[int, ...]) -> None:
    length_um = max((bar for bar in SCALE_BARS_UM if bar / pixel_size_um <= shape[1] / 4), default=SCALE_BARS_UM[0])
    length_px, x, y = length_um / pixel_size_um, 0.03 * shape[1], 0.965 * shape[0]
    axes.plot([x, x + length_px], [y, y], color="white", linewidth=3, solid_capstyle="butt")
    axes.text(
        x + length_px / 2, y - 0.012 * shape[0], f"{length_um} µm", color="white", ha="center", va="bottom", fontsize=8
    )


def _draw_counts(axes: Axes, classification: Classification, frame_interval_min: float | None, t: int) -> None:
    counts = classification.counts_over_time()
    step, unit = (frame_interval_min, "min") if frame_interval_min else (1.0, "frame")
    time = np.arange(len(counts)) * step
    for i, name in enumerate(classification.classes):
        axes.plot(time, counts[:, i], color=state_colour(i), linewidth=2, label=name)
    axes.axvline(t * step, color=UNDEFINED_COLOUR, linewidth=1, linestyle=":")
    axes.set_yscale("symlog", linthresh=LINEAR_UP_TO)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(FixedLocator(COUNT_TICKS))
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(f"time ({unit})" if unit == "min" else "frame")
    axes.set_ylabel(f"nuclei (logarithmic above {LINEAR_UP_TO})" if counts.max() > LINEAR_UP_TO else "nuclei")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_legend(figure: Figure, classification: Classification) -> None:
    handles = [
        Line2D([], [], color=state_colour(i), linewidth=4, label=f"{name} ({classification.counts().get(name, 0)})")
        for i, name in enumerate(classification.classes)
    ]
    title = f"{len(classification)} nuclei and frames, {classification.bundle_name}, {classification.head} head"
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, title=title)
