"""The only place where napari layers become our types, and our results become layers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Points, Tracks
from napari.utils.colormaps import Colormap
from pint import DimensionalityError

from napari_cellinterp.errors import MovieError, TracksError
from napari_cellinterp.gui.painting import numbered_colours, painted
from napari_cellinterp.results.colours import UNDEFINED_COLOUR, state_colour

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from napari.layers import Layer
    from numpy.typing import NDArray

    from napari_cellinterp.movies.stack import Movie
    from napari_cellinterp.movies.track_table import TrackTable
    from napari_cellinterp.results.table import Classification

METADATA_KEY = "napari-cellinterp"
"""Key of a layer's metadata under which what we know about it is kept."""

STATES, TRACKS, SELECTED = "states", "tracks", "selected nucleus"
HIGHLIGHTED, DISAGREEMENT = "highlighted nuclei", "disagreement of heads"
"""Roles of the layers that we make."""

FEATURES = ("state", "state_index", "score", "probability", "novelty", "is_novel", "flag", "label")
"""Columns of a classification that a Tracks layer carries; more where the model has several scores."""


@dataclass(frozen=True)
class Result:
    """What a layer that we made shows, kept in its metadata.

    Attributes
    ----------
    role : str
        `STATES`, `TRACKS`, `SELECTED`, `HIGHLIGHTED` or `DISAGREEMENT`.
    classification : Classification
        What it shows.
    pixel_size_um, frame_interval_min : float or None
        Of the movie.
    placement : Placement
        Where it lies.
    """

    role: str
    classification: Classification
    pixel_size_um: float | None
    frame_interval_min: float | None
    placement: Placement


class IndexColormap(Colormap):
    """A colormap that is asked for whole numbers: the i-th colour for i."""

    def map(self, values: Any) -> NDArray[np.float32]:
        """Return the colours of indices, (n, 4)."""
        index = np.asarray(values).astype(np.int64)
        return np.asarray(self.colors)[np.clip(index, 0, len(self.colors) - 1)]


@dataclass(frozen=True)
class Placement:
    """Where the layers made from an image layer lie: one letter and one transform an axis, time first.

    Attributes
    ----------
    axes : str
        One letter an axis, such as TYX or TCYX.
    shape : tuple of int
        Size of each axis.
    channel : int
        Which channel was classified, where there is a channel axis.
    transform : dict
        ``scale``, ``translate``, ``units``, ``axis_labels`` and what else a layer takes.
    """

    axes: str
    shape: tuple[int, ...]
    channel: int
    transform: dict[str, Any]

    def position(self, frame: Any, y: Any, x: Any) -> NDArray[np.float64]:
        """Coordinates in the layer, (n, n_axes)."""
        parts = {"T": frame, "C": np.full(np.shape(y), self.channel), "Y": y, "X": x}
        columns = [np.asarray(parts.get(axis, np.zeros(np.shape(y))), np.float64) for axis in self.axes]
        return np.stack(columns, axis=-1)


def movie_from_layer(layer: Image) -> Movie:
    """Make a movie of an image layer, without reading its pixels.

    Raises
    ------
    MovieError
        The layer is a colour image, has a Z axis, or axes in an order that can't be used.
    """
    from dataclasses import replace

    from napari_cellinterp.movies.stack import movie_from_array

    axes = _axes(layer)
    data = layer.data[0] if layer.multiscale else layer.data
    movie = movie_from_array(
        data,
        axes=axes,
        pixel_size_um=_pixel_size_um(layer),
        frame_interval_min=_frame_interval_min(layer, axes),
        source=layer.source.path,
    )
    if "C" not in axes:
        movie = replace(movie, channel_names=(layer.name,))
    _require_order(axes, layer)
    return movie


def labels_from_layer(layer: Labels) -> Any:
    """Give the ids of a Labels layer as a lazy or plain array (T, Y, X); an axis between time and Y is taken at 0."""
    data = layer.data[0] if layer.multiscale else layer.data
    while data.ndim > 3:
        data = data[:, 0]
    return data


def tracks_from_layer(layer: Tracks | Points, image: Image) -> TrackTable:
    """Make a track table of a Tracks or Points layer, in pixels of an image layer.

    Raises
    ------
    TracksError
        The positions can't be used.
    """
    from napari_cellinterp.movies.track_table import TrackTable

    if len(layer.data) == 0:
        raise TracksError(f"The layer {layer.name!r} is empty.", "Give one with a point for each nucleus.")
    is_tracks = isinstance(layer, Tracks)
    data = np.asarray(layer.data, np.float64)
    ids, positions = (data[:, :1], data[:, 1:]) if is_tracks else (data[:, :0], data)
    positions = _in_pixels_of(image, positions, layer)
    if positions.shape[1] > 3:
        positions = positions[:, [0, -2, -1]]
    if positions.shape[1] == 3:
        positions[:, 0] = np.rint(positions[:, 0])
    table = np.column_stack([ids, positions])
    return TrackTable.from_napari_tracks(table, layer.graph) if is_tracks else TrackTable.from_points(table)


def placement_of(layer: Image, channel: int) -> Placement:
    """Say where layers that belong to an image layer lie."""
    axes, data = _axes(layer), layer.data[0] if layer.multiscale else layer.data
    shape = tuple(int(n) for n in data.shape)
    transform: dict[str, Any] = {
        "scale": tuple(layer.scale),
        "translate": tuple(layer.translate),
        "units": tuple(str(unit) for unit in layer.units),
        "axis_labels": tuple(layer.axis_labels),
    }
    if axes[0] == "T":
        transform |= {"rotate": layer.rotate, "shear": layer.shear, "affine": layer.affine}
        return Placement(axes, shape, channel, transform)
    first: dict[str, Any] = {"scale": 1.0, "translate": 0.0, "units": "pixel", "axis_labels": "t"}
    transform = {name: (first[name], *value) for name, value in transform.items()}
    return Placement("T" + axes, (1, *shape), channel, transform)


def states_layer(classification: Classification, placement: Placement, movie: Movie, name: str) -> Labels:
    """Make the Labels layer of states, painted frame by frame when it is looked at."""
    layer = Labels(
        painted(classification.paint, classification, placement),
        name=name,
        opacity=0.5,
        features=_state_features(classification),
        colormap=numbered_colours([state_colour(i) for i in range(len(classification.classes))]),
        metadata={METADATA_KEY: result_mark(STATES, classification, placement, movie)},
        **placement.transform,
    )
    layer.editable = False
    return layer


def tracks_layer(classification: Classification, placement: Placement, movie: Movie, name: str) -> Tracks:
    """Make the Tracks layer, coloured by state."""
    from napari_cellinterp.movies.track_table import TrackTable

    rows = classification.rows
    order = np.lexsort((rows["frame"], rows["track_id"]))
    ordered = rows.iloc[order]
    positions = placement.position(ordered["frame"], ordered["y"], ordered["x"])
    _, graph = TrackTable(rows).to_napari_tracks()
    layer = Tracks(
        np.column_stack([ordered["track_id"], positions]),
        name=name,
        graph=graph,
        features=_track_features(classification, order),
        color_by="state_index",
        colormaps_dict={"state_index": _track_colours(classification.classes)},
        tail_length=8,
        tail_width=2,
        blending="translucent",
        metadata={METADATA_KEY: result_mark(TRACKS, classification, placement, movie)},
        **placement.transform,
    )
    return layer


def show_states(layer: Layer, classification: Classification) -> None:
    """Show other states of the same nuclei in a layer that we made."""
    shown = result_of(layer)
    layer.metadata = layer.metadata | {METADATA_KEY: replace(shown, classification=classification)}
    if shown.role == STATES:
        layer.features = _state_features(classification)
        layer.data = painted(classification.paint, classification, shown.placement)
    elif shown.role == TRACKS:
        layer.features = _track_features(classification, layer.features["row"].to_numpy())
        layer.color_by = layer.color_by  # else the colours stay those of the states before


def selected_layer(
    classification: Classification, placement: Placement, movie: Movie, rows: NDArray[np.int64], name: str
) -> Points:
    """Make the Points layer that rings the selected nucleus in all frames of its track."""
    from napari_cellinterp.config import PATCH_PX

    chosen = classification.rows.iloc[rows]
    return Points(
        placement.position(chosen["frame"], chosen["y"], chosen["x"]),
        name=name,
        size=0.8 * PATCH_PX / classification.zoom,
        face_color="transparent",
        border_color="white",
        border_width=0.05,
        metadata={METADATA_KEY: result_mark(SELECTED, classification, placement, movie)},
        **placement.transform,
    )


def result_of(layer: Layer) -> Result | None:
    """Return what a layer that we made shows, or None for another layer."""
    kept = layer.metadata.get(METADATA_KEY)
    return kept if isinstance(kept, Result) else None


def is_ours(layer: Layer) -> bool:
    """Whether we made a layer to show something, so that it is no movie and no label image of the person's."""
    return METADATA_KEY in layer.metadata


def frame_position(layer: Layer, world: Sequence[float]) -> tuple[int, float, float]:
    """Turn a position in the viewer into frame, y and x of a layer that we made; the frame may lie outside."""
    data = layer.world_to_data(world[-layer.ndim :])
    return round(float(data[0])), float(data[-2]), float(data[-1])


def frame_to_world(layer: Layer, frame: int) -> float:
    """Return the viewer's coordinate of a frame of a layer that we made."""
    return float(layer.data_to_world((frame, *([0] * (layer.ndim - 1))))[0])


def _axes(layer: Image) -> str:
    """One letter an axis of an image layer, from its labels and units, else by their number.

    Raises
    ------
    MovieError
        The layer is a colour image.
    """
    from napari_cellinterp.movies.axes import DEFAULT_AXES, letters_of

    if layer.rgb:
        raise MovieError(
            f"The layer {layer.name!r} is a colour (RGB) image.",
            "Split it into its channels (right-click on the layer, Split RGB) and choose the one with the nuclei.",
        )
    named = letters_of(layer.axis_labels)
    if named is not None:
        return named
    axes = DEFAULT_AXES.get(layer.ndim)
    if axes is None:
        raise MovieError(
            f"The layer {layer.name!r} has {layer.ndim} axes.",
            "Choose one with 2 to 4 axes (YX, TYX or TCYX), or name its axes.",
        )
    place = layer.ndim - 3
    if place >= 0 and _in(layer.units[place], "um") is not None:
        return axes[:place] + "Z" + axes[place + 1 :]
    return axes


def _require_order(axes: str, layer: Image) -> None:
    if axes[-2:] != "YX" or "T" in axes[1:]:
        raise MovieError(
            f"The axes of the layer {layer.name!r} are {', '.join(axes)}.",
            "Order them as T, C, Y, X: time first, Y and X last.",
        )


def _in(unit: Any, wanted: str) -> float | None:
    """How many of the wanted units a pint unit is; None where they measure different things."""
    try:
        return float((1 * unit).to(wanted).magnitude)
    except DimensionalityError:
        return None


def _pixel_size_um(layer: Layer) -> float | None:
    sizes = [_in(unit, "um") for unit in layer.units[-2:]]
    if None in sizes:
        return None
    y, x = (abs(float(size * scale)) for size, scale in zip(sizes, layer.scale[-2:], strict=True))
    return x if abs(x - y) <= 0.01 * x else None


def _frame_interval_min(layer: Layer, axes: str) -> float | None:
    if "T" not in axes:
        return None
    at = axes.index("T")
    minutes = _in(layer.units[at], "min")
    return None if minutes is None else minutes * abs(float(layer.scale[at]))


def _in_pixels_of(image: Image, positions: NDArray[np.float64], layer: Layer) -> NDArray[np.float64]:
    """Positions of a layer as positions of an image layer; both may be scaled and moved."""
    n = min(layer.ndim, image.ndim)
    world = positions[:, -n:] * layer.scale[-n:] + layer.translate[-n:]
    inside = (world - image.translate[-n:]) / image.scale[-n:]
    return np.column_stack([positions[:, :-n], inside])


def _state_features(classification: Classification) -> pd.DataFrame:
    import pandas as pd

    counts = classification.counts()
    names = list(classification.classes)
    return pd.DataFrame(
        {
            "index": np.arange(len(names) + 1),
            "state": ["background", *names],
            "n_nuclei": [0, *(counts[name] for name in names)],
        }
    )


def _track_features(classification: Classification, order: NDArray[np.int64]) -> pd.DataFrame:
    rows = classification.rows.assign(state_index=classification.state_index)
    more = [name for name in rows if name.startswith("score_") or name == "reconstruction_error"]
    features = rows[[*FEATURES, *more]].iloc[order].reset_index(drop=True)
    return features.assign(is_novel=features["is_novel"].astype(np.int64), row=order)


def _track_colours(classes: Sequence[str]) -> IndexColormap:
    colours = [UNDEFINED_COLOUR, *(state_colour(i) for i in range(len(classes)))]
    return IndexColormap(colors=colours, name="states")


def result_mark(role: str, classification: Classification, placement: Placement, movie: Movie) -> Result:
    """Say what a layer shows, for its metadata."""
    return Result(role, classification, movie.pixel_size_um, movie.frame_interval_min, placement)
