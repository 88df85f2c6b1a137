"""The sample that comes with the package: a short simulated movie of dividing cells, made when it is asked for."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from napari_cellinterp.config import TimelapseConfig
from napari_cellinterp.movies.stack import Movie, movie_from_array
from napari_cellinterp.movies.timelapse import simulate_movie

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from napari_cellinterp.movies.track_table import TrackTable

SAMPLE = TimelapseConfig()

DEMO_FILE = "movie.ome.tif"
"""Name of the sample's file in the folder of the demo."""


@cache
def _simulated() -> tuple[NDArray[np.uint16], NDArray[np.uint16], TrackTable, pd.Series[str]]:
    return simulate_movie(SAMPLE)


def sample_movie() -> Movie:
    """Return the sample as a movie, with pixel size and frame interval."""
    images = _simulated()[0]
    return movie_from_array(
        images, axes="TYX", pixel_size_um=SAMPLE.pixel_size_um, frame_interval_min=SAMPLE.frame_interval_min
    )


def sample_labels() -> NDArray[np.uint16]:
    """Return the sample's true masks, (T, Y, X) uint16; ids are tracks."""
    return _simulated()[1]


def sample_truth() -> tuple[TrackTable, pd.Series[str]]:
    """Return the sample's true tracks, and the true state of each of their rows."""
    _, _, tracks, states = _simulated()
    return tracks, states
