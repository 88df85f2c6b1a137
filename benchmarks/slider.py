"""How long a person waits while a latent is dragged, for a grid of traversals, and for a counterfactual.

``python benchmarks/slider.py --json OUT [--quick]``; needs a screen, real or virtual. Beside each way stands the one
that other tools take: to decode one point at a time, and to draw every event that comes. On a virtual screen the
processor draws every pixel, so events are timed in a window of napari's first size, and in a large one.
"""

from __future__ import annotations

import os

# threads that spin while they wait cost far more than a small network needs
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import time
from typing import TYPE_CHECKING

import napari
import numpy as np
import torch
from qtpy.QtWidgets import QApplication

from _common import in_turns, write_figures
from napari_cellinterp.config import ClassifyConfig, CounterfactualConfig, TimelapseConfig
from napari_cellinterp.explain.counterfactual import attack, find_flip
from napari_cellinterp.explain.traversal import decode, decode_images, latent_ranges, traversal_grid
from napari_cellinterp.gui.explore import CHANGED, ExploreWidget
from napari_cellinterp.gui.layers import movie_from_layer
from napari_cellinterp.models.bundle import load_bundle
from napari_cellinterp.movies.timelapse import simulate_movie
from napari_cellinterp.workflows import classify_movie

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_cellinterp.models.bundle import ModelBundle

MODEL = "chromatin-64"
HEAD = "sparse"
FIRST_WINDOW = (800, 600)
"""As napari opens it the first time; it grows with the dock."""

LARGE_WINDOW = (1300, 850)
EVENTS_AT_ONCE = 3
"""So many events of a fast drag arrive while one is drawn."""

N_DECODED = 20
"""Images that are decoded one after the other: one alone is too short to be timed."""


def explored() -> ExploreWidget:
    """Open a viewer with a classified movie, in a window as large as napari's first, and pick a nucleus."""
    config = ClassifyConfig(model=MODEL, head=HEAD)
    images, labels, *_ = simulate_movie(TimelapseConfig(n_frames=3))
    viewer = napari.Viewer(show=True)
    viewer.window.resize(*FIRST_WINDOW)
    layer = viewer.add_image(images, name="cells")
    widget = ExploreWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Explore latents", area="right")
    movie = movie_from_layer(layer)
    widget.session.set_result(movie, config, classify_movie(movie, config, labels=labels))
    widget.selection.layers.show_result(layer)
    while widget.exploration is None:
        QApplication.processEvents()
    widget.selection.go_to(0)
    settle(1.0)
    return widget


def settle(seconds: float) -> None:
    """Let Qt draw what is left."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        QApplication.processEvents()


def drag(widget: ExploreWidget, n: int, at_once: int, *, newest_only: bool) -> NDArray[np.float64]:
    """Drag a slider; return from the last event of each burst to its drawn pixels, ms.

    ``newest_only`` is the widget's way; else every event is decoded and drawn, as a slider without more would.
    """
    row = next(iter(widget.latents.rows.values()))
    values, times = np.sin(np.linspace(0, 12, n * at_once)) * 2, []
    for burst in values.reshape(n, at_once):
        start = time.perf_counter()
        for value in burst:
            row.moved.emit(row.index, float(value))
            if not newest_only:
                QApplication.processEvents()
        QApplication.processEvents()
        times.append(1e3 * (time.perf_counter() - start))
    assert widget.images.layer(CHANGED) is not None
    return np.array(times)


def napari_alone(n: int, window: tuple[int, int]) -> NDArray[np.float64]:
    """How long napari needs for new pixels of one small image, in a window of that size without any widget, ms."""
    viewer = napari.Viewer(show=True)
    viewer.window.resize(*window)
    images = np.random.default_rng(0).random((n, 64, 64), np.float32)
    layer, times = viewer.add_image(images[0]), []
    settle(1.0)
    for image in images:
        start = time.perf_counter()
        layer.data = image
        QApplication.processEvents()
        times.append(1e3 * (time.perf_counter() - start))
    viewer.close()
    return np.array(times)


def one_by_one(bundle: ModelBundle, latents: NDArray[np.float32], n_steps: int) -> None:
    """Decode a grid of traversals point by point."""
    for i, span in enumerate(latent_ranges(bundle)):
        for value in np.linspace(span.low, span.high, n_steps):
            point = latents.copy()
            point[i] = value
            decode_images(bundle, point[None])


def figures(quick: bool) -> dict[str, float]:
    bundle, attacks = load_bundle(MODEL), CounterfactualConfig()
    rng = np.random.default_rng(0)
    widget = explored()
    n = 20 if quick else 150
    drag(widget, 5, 1, newest_only=True)
    window = widget._viewer.window
    opened = window.geometry()[2:]
    single = drag(widget, n, 1, newest_only=True)
    newest, every = (drag(widget, n, EVENTS_AT_ONCE, newest_only=newest_only) for newest_only in (True, False))
    window.resize(*LARGE_WINDOW)
    settle(1.0)
    large = drag(widget, n, 1, newest_only=True)
    latents = bundle.population.latents
    crop = widget.exploration.crop
    many = torch.from_numpy(rng.random((100 if quick else 1000, *crop.shape), np.float32))
    torch.set_num_threads(1)
    times = {
        name: float(np.median(found)) * 1e3
        for name, found in in_turns(
            {
                "decode": lambda: [decode_images(bundle, latents[:1]) for _ in range(N_DECODED)],
                "decode_and_score": lambda: [decode(bundle, latents[:1]) for _ in range(N_DECODED)],
                "grid": lambda: traversal_grid(bundle, latents[0]),
                "grid_one_by_one": lambda: one_by_one(bundle, latents[0], 11),
                "flip": lambda: find_flip(bundle, HEAD, crop, "image", attacks.max_epsilon_image),
                "thousand": lambda: attack(bundle, HEAD, many, 0.1, "image"),
            }
        ).items()
    }
    widget._viewer.close()
    drags = {
        "": single,
        "napari_alone_": napari_alone(n, opened),
        "large_window_": large,
        "large_window_napari_alone_": napari_alone(n, LARGE_WINDOW),
    }
    return {
        **{f"{name}event_to_pixels_p95_ms": float(np.percentile(found, 95)) for name, found in drags.items()},
        **{f"{name}event_to_pixels_median_ms": float(np.median(found)) for name, found in drags.items()},
        "window_width_px": opened[0],
        "window_height_px": opened[1],
        "burst_of_3_median_ms": float(np.median(newest)),
        "burst_of_3_drawing_every_event_median_ms": float(np.median(every)),
        "decode_median_ms": times["decode"] / N_DECODED,
        "decode_and_score_all_heads_median_ms": times["decode_and_score"] / N_DECODED,
        "traversal_grid_ms": times["grid"],
        "traversal_grid_one_by_one_ms": times["grid_one_by_one"],
        "counterfactual_ms": times["flip"],
        "attack_of_1000_ms": times["thousand"] * (10 if quick else 1),
    }


if __name__ == "__main__":
    write_figures(__doc__, figures)
