"""A small movie, a model that nobody trained (its scores vary), and their classification."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from napari_cellinterp.config import ClassifyConfig, TimelapseConfig

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_cellinterp.movies.track_table import TrackTable
    from napari_cellinterp.results.table import Classification

PIXEL_SIZE_UM, INTERVAL_MIN = 0.37, 6.0


class Simulated(NamedTuple):
    images: NDArray[np.uint16]
    labels: NDArray[np.uint16]
    tracks: TrackTable


@pytest.fixture(scope="session")
def simulated() -> Simulated:
    from napari_cellinterp.movies.timelapse import simulate_movie

    config = TimelapseConfig(n_frames=5, height=160, width=192, n_nuclei=12, share_dividing=0.6)
    return Simulated(*simulate_movie(config)[:3])


@pytest.fixture(scope="session")
def model_path(random_bundle, tmp_path_factory) -> Path:
    from napari_cellinterp.models.bundle import save_bundle

    return save_bundle(random_bundle(), tmp_path_factory.mktemp("models") / "random")


@pytest.fixture(scope="session")
def config(model_path) -> ClassifyConfig:
    return ClassifyConfig(model=str(model_path), head="symbolic")


@pytest.fixture(scope="session")
def movie(simulated):
    from napari_cellinterp.movies.stack import movie_from_array

    return movie_from_array(simulated.images, pixel_size_um=PIXEL_SIZE_UM, frame_interval_min=INTERVAL_MIN)


@pytest.fixture(scope="session")
def classification(movie, simulated, config) -> Classification:
    from napari_cellinterp.workflows import classify_movie

    result = classify_movie(movie, config, labels=simulated.labels, tracks=simulated.tracks)
    assert min(result.counts().values()) > 3
    return result


@pytest.fixture
def classify(viewer, simulated, movie, config, classification):
    """Return a function that puts a classification into the viewer, as the Classify widget does."""

    def classify(result=classification, settings=config):
        from napari_cellinterp.gui.selection import join_selection
        from napari_cellinterp.gui.session import session_of

        if "cells" not in viewer.layers:
            viewer.add_image(simulated.images, name="cells", scale=(INTERVAL_MIN, PIXEL_SIZE_UM, PIXEL_SIZE_UM))
        session = session_of(viewer)
        session.set_result(movie, settings, result)
        selection = join_selection(viewer)
        selection.layers.show_result(viewer.layers["cells"])
        selection.leave()
        return session

    return classify


@pytest.fixture
def notices():
    """Return a function that gives the texts of the notifications so far."""
    from napari.utils.notifications import notification_manager

    before = len(notification_manager.records)
    return lambda: [record.message for record in notification_manager.records[before:]]
