"""A person's labels of nuclei, from a table or from a layer's features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from napari.layers import Labels, Points, Tracks

from napari_cellinterp.errors import QuestionError
from napari_cellinterp.events import Progressed
from napari_cellinterp.explain.confusion import labels_of_rows
from napari_cellinterp.gui.layers import frame_position

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari.layers import Layer
    from numpy.typing import NDArray

    from napari_cellinterp.events import Job
    from napari_cellinterp.results.table import Classification

    Found = NDArray[np.object_]

LABELLED = (Labels, Tracks, Points)
"""Layers whose features may hold labels."""


def text_columns(layer: Layer | None) -> list[str]:
    """Return the columns of a layer's features that hold texts; those that are called like labels first."""
    if layer is None:
        return []
    features = layer.features
    texts = [name for name in features if not pd.api.types.is_numeric_dtype(features[name])]
    return sorted(texts, key=lambda name: ("state" not in str(name).lower(), "label" not in str(name).lower()))


def table_job(classification: Classification, path: Path) -> Job[Found]:
    """Read the labels of a CSV table, by track and frame.

    Raises
    ------
    TracksError, QuestionError
        If the table can't be read, or none of its labels belongs to a nucleus.
    """
    from napari_cellinterp.movies.state_table import read_states

    table = read_states(path).reset_index()[["track_id", "frame", "state"]]
    yield Progressed(1, 1)
    return labels_of_rows(classification.rows, table, path.name)


def layer_labels(layer: Layer, column: str, reference: Layer) -> Callable[[Classification], Found]:
    """Take labels from a layer; what returns finds the nuclei that they belong to, and can run in a thread.

    Tracks are found by track and frame, Labels by the id of the mask (and ``frame``, where the features have it),
    Points by the nucleus that they lie on.

    Parameters
    ----------
    layer : Layer
        Labels, Tracks or Points.
    column : str
        Of its features.
    reference : Layer
        One that shows the classification.
    """
    state, source = layer.features[column].astype(object).to_numpy(), f"the layer {layer.name!r}"
    if isinstance(layer, Points):
        places = [frame_position(reference, layer.data_to_world(point)) for point in layer.data]
        return lambda classification: _at_places(classification, np.reshape(places, (-1, 3)), state, source)
    if isinstance(layer, Tracks):
        table = pd.DataFrame({"track_id": layer.data[:, 0], "frame": layer.data[:, 1], "state": state})
    else:
        features = layer.features
        ids = features["index"] if "index" in features else features.index
        frame = {"frame": features["frame"].to_numpy()} if "frame" in features else {}
        table = pd.DataFrame({"label": np.asarray(ids), **frame, "state": state})
    return lambda classification: labels_of_rows(classification.rows, table, source)


def layer_job(classification: Classification, find: Callable[[Classification], Found]) -> Job[Found]:
    """Find the nuclei of a layer's labels."""
    yield Progressed(0, 1)
    return find(classification)


def _at_places(classification: Classification, places: NDArray[np.float64], state: NDArray[Any], source: str) -> Found:
    """Label the nuclei whose masks lie under places (n, 3): frame, y and x."""
    found = np.full(len(classification), "", object)
    _, height, width = classification.masks.shape
    ids = classification.rows["label"].to_numpy()
    frame, y, x = np.rint(places).astype(np.int64).T
    inside = (frame >= 0) & (frame < classification.n_frames) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    for t in np.unique(frame[inside]):
        rows, here = classification.frame_rows(int(t)), np.flatnonzero(inside & (frame == t))
        number = {int(i): rows.start + k for k, i in enumerate(ids[rows]) if i}
        under = classification.masks.frame(int(t))[y[here], x[here]]
        for place, mask in zip(here, under, strict=True):
            if int(mask) in number and pd.notna(state[place]):
                found[number[int(mask)]] = str(state[place]).strip()
    if not (found != "").any():
        raise QuestionError(
            f"None of the {len(places):,} points of {source} that have a label lies on a nucleus.",
            "Put points on nuclei, in their frames.",
        )
    return found
