"""Open movies in the viewer: TIFF, folders of TIFF files and OME-Zarr, lazily, with scale, units and axis labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellinterp.errors import MovieError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_cellinterp.movies.planes import Source
    from napari_cellinterp.movies.stack import Movie

    LayerTuple = tuple[Any, dict[str, Any], str]

CHANNEL_COLOURS = ("green", "magenta", "cyan", "yellow", "bop orange", "bop blue")


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[LayerTuple]] | None:
    """Return the reader, or None where the path can't be a movie of ours.

    Parameters
    ----------
    path : str or sequence of str
        One file or folder; several aren't stacked.
    """
    from napari_cellinterp.movies.omezarr import is_zarr
    from napari_cellinterp.movies.sequence import is_sequence
    from napari_cellinterp.movies.tiff import TIFF_SUFFIXES

    one = _only(path)
    if one is None:
        return None
    suffix = one.suffix.lower()
    if one.is_dir():
        return read_layers if is_zarr(one) or suffix == ".zarr" or is_sequence(one) else None
    return read_layers if suffix in TIFF_SUFFIXES else None


def read_layers(path: str | Sequence[str]) -> list[LayerTuple]:
    """Open a file as image layers, one a channel; what was assumed is told in notifications.

    What is no movie of planes, such as a Z stack or a colour image, becomes one plain layer with named axes.

    Raises
    ------
    MovieError
        The file is missing or damaged.
    """
    from napari.utils.notifications import show_info

    from napari_cellinterp.movies.stack import open_movie, open_source

    one = _only(path)
    if one is None:
        raise MovieError(f"{len(path)} files were given at once.", "Open one movie at a time.")
    try:
        movie = open_movie(one)
    except MovieError:
        # Either the file can't be read, and then it can't here; or it is a sound image of another kind.
        if not one.exists():
            raise
        return [plain_layer(open_source(one), one)]
    for note in movie.notes:
        show_info(note)
    return movie_layers(movie, one.name.split(".")[0])


def movie_layers(movie: Movie, name: str) -> list[LayerTuple]:
    """Give a movie as image layers (T, Y, X), one a channel.

    Parameters
    ----------
    movie : Movie
        The movie; its pixels stay lazy.
    name : str
        Of the layers; with several channels their names are added.
    """
    several = movie.n_channels > 1
    layers: list[LayerTuple] = []
    for channel in range(movie.n_channels):
        plane = movie.plane(0, channel)
        options = {
            "name": f"{name} {movie.channel_names[channel]}" if several else name,
            "contrast_limits": contrast_of(plane),
            "colormap": CHANNEL_COLOURS[channel % len(CHANNEL_COLOURS)] if several else "gray",
            "blending": "additive" if several else "translucent",
            **placement(movie),
        }
        layers.append((movie.data[:, channel], options, "image"))
    return layers


def placement(movie: Movie) -> dict[str, Any]:
    """Scale, units and axis labels of a layer (T, Y, X) of a movie; pixels where a size is unknown."""
    size, interval = movie.pixel_size_um, movie.frame_interval_min
    return {
        "scale": (interval or 1.0, size or 1.0, size or 1.0),
        "units": ("min" if interval else "pixel", *(["um" if size else "pixel"] * 2)),
        "axis_labels": ("t", "y", "x"),
    }


def contrast_of(plane: Any) -> tuple[float, float]:
    """Limits that show nuclei well: background to the brightest thousandth of a plane."""
    finite = plane[np.isfinite(plane)] if plane.dtype.kind == "f" else plane.ravel()
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(finite[:: max(1, finite.size // 500_000)], [1, 99.9]))
    return (low, high) if high > low else (low, low + 1)


def plain_layer(source: Source, path: Path) -> LayerTuple:
    """Give an image that is no movie of planes as one layer with named axes."""
    import dask.array as da

    array, axes = source.array, source.axes
    rgb = axes.endswith("S") and array.shape[-1] in (3, 4)
    labels = tuple(axes[:-1].lower() if rgb else axes.lower())
    n_plane = 3 if rgb else 2
    chunks = (*([1] * (len(array.shape) - n_plane)), *array.shape[-n_plane:])
    empty = np.empty((0,) * len(array.shape), array.dtype)
    data = da.from_array(array, chunks=chunks, meta=empty, name=False, fancy=False)
    size = source.calibration.pixel_size_um
    scale = [size if size and label in "yx" else 1.0 for label in labels]
    units = ["um" if size and label in "yx" else "pixel" for label in labels]
    options = {"name": path.name.split(".")[0], "rgb": rgb, "scale": scale, "units": units, "axis_labels": labels}
    return data, options, "image"


def _only(path: str | Sequence[str]) -> Path | None:
    if isinstance(path, str):
        return Path(path)
    return Path(path[0]) if len(path) == 1 else None
