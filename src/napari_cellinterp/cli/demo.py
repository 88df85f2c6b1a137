"""The demo: the simulated sample as a file, how well it was classified, and a look at it in napari."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import tifffile

from napari_cellinterp.movies.sample import DEMO_FILE, sample_movie, sample_truth
from napari_cellinterp.results.files import written_beside

if TYPE_CHECKING:
    from pathlib import Path

    from napari_cellinterp.results.table import Classification

MATCH_PX = 8.0
"""A found nucleus is the true one nearest to it, if that is within this distance."""


def write_sample(folder: Path) -> Path:
    """Write the sample movie as OME-TIFF; return its path."""
    movie = sample_movie()
    metadata = {
        "axes": "TYX",
        "PhysicalSizeX": movie.pixel_size_um,
        "PhysicalSizeY": movie.pixel_size_um,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeYUnit": "µm",
        "TimeIncrement": movie.frame_interval_min,
        "TimeIncrementUnit": "min",
        "Channel": {"Name": ["H2B (simulated)"]},
    }
    path = folder / DEMO_FILE
    with written_beside(path) as beside:
        tifffile.imwrite(beside, np.asarray(movie.data[:, 0]), ome=True, metadata=metadata, photometric="minisblack")
    return path


def agreement(result: Classification) -> str:
    """Say how many of the sample's nuclei were found, and how many states are the true ones."""
    tracks, states = sample_truth()
    known = states.isin(result.classes).to_numpy()
    n_found = n_right = 0
    for t in range(result.n_frames):
        true = tracks.rows[(tracks.rows["frame"] == t).to_numpy() & known]
        found = result.rows[result.frame_rows(t)]
        distance = np.hypot(*(true[a].to_numpy()[:, None] - found[a].to_numpy() for a in "yx"))
        nearest = distance.argmin(axis=1)
        near = distance.min(axis=1) <= MATCH_PX
        n_found += int(near.sum())
        n_right += int((found["state"].to_numpy()[nearest] == states[true.index].to_numpy())[near].sum())
    return (
        f"Against the truth of the simulation: {n_found} of {int(known.sum())} {' and '.join(result.classes)} nuclei "
        f"found, {n_right} of them ({n_right / max(1, n_found):.1%}) with the true state."
    )


def open_in_napari(folder: Path) -> str:
    """Open the demo's files in a viewer of its own process; say so, or why not."""
    if importlib.util.find_spec("napari") is None:
        return 'To look at it, install the viewer: pip install "napari-cellinterp[all]"'
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return f"There is no screen here; on one, see it with: napari --with napari-cellinterp {folder / DEMO_FILE}"
    subprocess.Popen([sys.executable, "-m", "napari_cellinterp.gui.demo", str(folder)], start_new_session=True)
    return "Opening napari ..."
