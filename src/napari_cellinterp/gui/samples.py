"""The sample data in napari's menu."""

from __future__ import annotations

from typing import Any

SAMPLE_NAME = "Simulated dividing cells"


def sample_image() -> list[tuple[Any, dict[str, Any], str]]:
    """Give the simulated movie as an image layer."""
    from napari_cellinterp.gui.reader import movie_layers
    from napari_cellinterp.movies.sample import sample_movie

    return movie_layers(sample_movie(), SAMPLE_NAME)


def sample_image_and_labels() -> list[tuple[Any, dict[str, Any], str]]:
    """Give the simulated movie, and the true masks of its nuclei as a Labels layer; its ids are tracks."""
    from napari_cellinterp.gui.reader import placement
    from napari_cellinterp.movies.sample import sample_labels, sample_movie

    options = {"name": f"{SAMPLE_NAME}: nuclei", "opacity": 0.4, **placement(sample_movie())}
    return [*sample_image(), (sample_labels(), options, "labels")]
