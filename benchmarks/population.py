"""How long a person waits after drawing around nuclei on a map of 100,000, until map and viewer show which they are.

The map draws first (`brush_p95_ms`), then the viewer outlines the nuclei (`brush_to_viewer_p95_ms`).

``python benchmarks/population.py --json OUT [--quick]``; needs a screen, real or virtual. Beside it stands the plain
way: a scatter plot of pyqtgraph with one spot a nucleus, which gets new colours for each brush, and no viewer.
"""

from __future__ import annotations

import os

# threads that spin while they wait cost far more than a small network needs
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import napari
import numpy as np
import pandas as pd
import pyqtgraph as pg
from qtpy.QtWidgets import QApplication

from _common import write_figures
from napari_cellinterp.config import ClassifyConfig, TimelapseConfig
from napari_cellinterp.explain.embedding import inside_lasso
from napari_cellinterp.gui.layers import HIGHLIGHTED, movie_from_layer
from napari_cellinterp.gui.map_page import AGREEMENT
from napari_cellinterp.gui.population import PopulationWidget
from napari_cellinterp.movies.masks import GivenMasks
from napari_cellinterp.movies.timelapse import simulate_movie
from napari_cellinterp.workflows import classify_movie

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_cellinterp.results.table import Classification

MODEL = "chromatin-64"
WINDOW = (1300, 850)
N_NUCLEI = 100_000
TIMELAPSE = TimelapseConfig(n_frames=2, height=1024, width=1024, n_nuclei=500)
N_CORNERS = 120
"""Of a lasso: about as many as a mouse gives."""


def long_movie(config: ClassifyConfig, n: int) -> tuple[NDArray[np.uint16], Classification]:
    """Return a movie of n nuclei: two simulated frames again and again, their latents a little different each time."""
    images, labels, *_ = simulate_movie(TIMELAPSE)
    once = classify_movie(images, config, labels=labels)
    n_times = -(-n // len(once))
    images, labels = (np.tile(stack, (n_times, 1, 1)) for stack in (images, labels))
    rng = np.random.default_rng(0)
    shift = np.repeat(np.arange(n_times) * once.n_frames, len(once))
    rows = pd.concat([once.rows] * n_times, ignore_index=True)
    rows["frame"] += shift
    latents = np.tile(once.latents, (n_times, 1))
    latents += rng.normal(0, 0.3, latents.shape).astype(np.float32)
    return images, replace(once, rows=rows, masks=GivenMasks(_lazy(labels)), latents=latents)


def _lazy(labels: NDArray[np.uint16]) -> object:
    import dask.array as da

    return da.from_array(labels, chunks=(1, *labels.shape[1:]))


def populated(n: int) -> PopulationWidget:
    """Open a viewer with a movie of n nuclei, and their map."""
    config = ClassifyConfig(model=MODEL, head="sparse")
    images, classification = long_movie(config, n)
    viewer = napari.Viewer(show=True)
    viewer.window.resize(*WINDOW)
    layer = viewer.add_image(images, name="cells", contrast_limits=(0, int(images[0].max())))
    widget = PopulationWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Population", area="right")
    widget.session.set_result(movie_from_layer(layer), config, classification)
    widget.selection.layers.show_result(layer)
    widget.tabs.setCurrentIndex(1)
    while not widget.opinions.by_head:
        QApplication.processEvents()
    widget.map.colour.setCurrentText(AGREEMENT)
    settle(1.5)
    return widget


def settle(seconds: float) -> None:
    """Let Qt draw what is left."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        QApplication.processEvents()


def lassos(positions: NDArray[np.float32], n: int) -> list[NDArray[np.float64]]:
    """Return lines around a tenth to a half of the map, at places that differ."""
    rng = np.random.default_rng(1)
    angle = np.linspace(0, 2 * np.pi, N_CORNERS, endpoint=False)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    middles = positions[rng.integers(0, len(positions), n)]
    return [middle + circle * positions.std(axis=0) * rng.uniform(0.4, 1.2) for middle in middles]


def brush(widget: PopulationWidget, lines: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Draw lassos; return the times from each release until the map is drawn, and until the viewer is, (n, 2) ms."""
    times, session = [], widget.session
    highlight, drawn = session.highlight, []

    def note_and_highlight(rows: NDArray[np.int64]) -> None:
        drawn.append(time.perf_counter())  # the map has drawn before it tells the session
        highlight(rows)

    session.highlight = note_and_highlight
    for line in lines:
        start = time.perf_counter()
        widget.map.plot._box.drawn.emit(line, True)
        QApplication.processEvents()
        times.append((1e3 * (drawn[-1] - start), 1e3 * (time.perf_counter() - start)))
        assert widget.selection.layers.layer(HIGHLIGHTED) is not None
        settle(0.05)
    session.highlight = highlight
    return np.array(times)


def redraw(widget: PopulationWidget, n: int) -> NDArray[np.float64]:
    """Zoom the viewer a little; return how long it takes to draw, ms: a part of each brush, and most without a GPU."""
    times = []
    for _ in range(n):
        start = time.perf_counter()
        widget._viewer.scene.camera.zoom *= 1.001
        QApplication.processEvents()
        times.append(1e3 * (time.perf_counter() - start))
        settle(0.05)
    return np.array(times)


def brush_spots(positions: NDArray[np.float32], lines: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Do the same in a plot with one spot a nucleus; return the times, ms."""
    plot = pg.PlotWidget()
    plot.resize(400, 330)
    spots = pg.ScatterPlotItem(*positions.T, size=4, pen=None, brush="#56b4e9")
    plot.addItem(spots)
    plot.show()
    settle(1.0)
    chosen, others = pg.mkBrush("#e69f00"), pg.mkBrush("#56b4e930")
    times = []
    for line in lines:
        start = time.perf_counter()
        spots.setBrush([chosen if inside else others for inside in inside_lasso(positions, line)])
        QApplication.processEvents()
        times.append(1e3 * (time.perf_counter() - start))
    plot.close()
    return np.array(times)


def figures(quick: bool) -> dict[str, float]:
    n = 5_000 if quick else N_NUCLEI
    widget = populated(n)
    positions = widget.map.plot._positions
    lines = lassos(positions, 6 if quick else 40)
    brush(widget, lines[:2])
    ours, viewer_alone = brush(widget, lines), redraw(widget, len(lines))
    spots = brush_spots(positions, lines[:3] if quick else lines[:10])
    widget._viewer.close()
    return {
        "nuclei": len(positions),
        "brush_p95_ms": float(np.percentile(ours[:, 0], 95)),
        "brush_median_ms": float(np.median(ours[:, 0])),
        "brush_to_viewer_p95_ms": float(np.percentile(ours[:, 1], 95)),
        "viewer_redraw_median_ms": float(np.median(viewer_alone)),
        "spots_median_ms": float(np.median(spots)),
        "spots_over_brush": float(np.median(spots) / np.median(ours[:, 0])),
    }


if __name__ == "__main__":
    write_figures(__doc__, figures)
