"""Open TIFF, OME-TIFF, folders of TIFF files and OME-Zarr lazily as (T, C, Y, X)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from napari_cellinterp.errors import MovieError, TracksError
from napari_cellinterp.movies.axes import DEFAULT_AXES, arrange, resolve_axes, say_shape
from napari_cellinterp.movies.omezarr import is_zarr, open_zarr
from napari_cellinterp.movies.planes import Planes, Source
from napari_cellinterp.movies.sequence import open_sequence
from napari_cellinterp.movies.tiff import TIFF_SUFFIXES, open_tiff

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import NDArray

    from napari_cellinterp.movies.metadata import Calibration


@dataclass(frozen=True, eq=False)
class Movie:
    """A timelapse whose planes are read when they are asked for.

    Attributes
    ----------
    data : dask.array.Array
        (T, C, Y, X), one plane a chunk.
    pixel_size_um : float or None
        Side of a pixel in um; None where it is unknown.
    frame_interval_min : float or None
        Minutes between frames; None where they are unknown.
    channel_names : tuple of str
        One name a channel.
    source : Path or None
        File or folder that it comes from.
    notes : tuple of str
        What was assumed when opening it, in words for the user.
    """

    data: Any
    pixel_size_um: float | None
    frame_interval_min: float | None
    channel_names: tuple[str, ...]
    source: Path | None
    notes: tuple[str, ...] = ()
    _planes: Planes | None = field(default=None, repr=False)
    _data_of_planes: Any = field(default=None, repr=False)

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return int(self.data.shape[0])

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return int(self.data.shape[1])

    @property
    def height(self) -> int:
        """Height of a frame in pixels."""
        return int(self.data.shape[2])

    @property
    def width(self) -> int:
        """Width of a frame in pixels."""
        return int(self.data.shape[3])

    def plane(self, frame: int, channel: int) -> NDArray[Any]:
        """Read one plane.

        Parameters
        ----------
        frame, channel : int
            Counted from 0.

        Returns
        -------
        ndarray
            (Y, X), in the movie's own dtype.

        Raises
        ------
        MovieError
            There is no such plane, or it can't be read.
        """
        self.check_channel(channel)
        if not 0 <= frame < self.n_frames:
            raise MovieError(
                f"There is no frame {frame} in a movie with {_count(self.n_frames, 'frame')}.",
                "Frames are counted from 0.",
            )
        if self._planes is not None and self._data_of_planes is self.data:
            return self._planes.read(frame, channel)
        return np.asarray(self.data[frame, channel].compute(scheduler="synchronous"))

    def check_channel(self, channel: int) -> None:
        """Make sure that a channel exists.

        Raises
        ------
        MovieError
            It doesn't.
        """
        if not 0 <= channel < self.n_channels:
            names = ", ".join(self.channel_names)
            raise MovieError(
                f"There is no channel {channel} in a movie with {_count(self.n_channels, 'channel')}.",
                f"Channels are counted from 0; this movie has: {names}.",
            )


def open_movie(
    path: str | PathLike[str],
    *,
    axes: str | None = None,
    pixel_size_um: float | None = None,
    frame_interval_min: float | None = None,
) -> Movie:
    """Open a movie without reading its planes.

    Parameters
    ----------
    path : path-like
        TIFF, OME-TIFF or ImageJ TIFF (BigTIFF too), a folder of numbered TIFF files with one frame each, an OME-Zarr
        image (v0.4, v0.5) or a Zarr array.
    axes : str, optional
        Meaning of the file's axes, one letter each from T, C, Z, Y, X; default: the file's own. An unnamed third axis
        is read as time, and a note says so.
    pixel_size_um, frame_interval_min : float, optional
        Side of a pixel in um and time between frames in minutes; default: the file's own, where it gives a physical
        unit.

    Returns
    -------
    Movie
        With lazy data (T, C, Y, X).

    Raises
    ------
    MovieError
        The file is missing, damaged, of another format, or no movie of planes.
    """
    source = open_source(Path(path))
    return _movie(source, axes, pixel_size_um, frame_interval_min)


def open_source(path: Path) -> Source:
    """Open an image as its file or folder holds it, whether or not it is a movie of planes.

    Raises
    ------
    MovieError
        It is missing, damaged or of another format.
    """
    if not path.exists():
        raise MovieError(f"There is no file {path}.", "Check the path for typing errors.")
    if path.is_dir():
        return open_zarr(path) if is_zarr(path) else open_sequence(path)
    if path.suffix.lower() in TIFF_SUFFIXES:
        return open_tiff(path)
    raise MovieError(
        f"{path} has the suffix {path.suffix or '(none)'!r}, which isn't supported.",
        "Convert it to OME-TIFF or OME-Zarr, for example with Fiji or bioformats2raw.",
    )


def movie_from_array(
    array: Any,
    *,
    axes: str | None = None,
    pixel_size_um: float | None = None,
    frame_interval_min: float | None = None,
    source: str | PathLike[str] | None = None,
) -> Movie:
    """Make a movie of an array that is already at hand.

    Parameters
    ----------
    array : numpy, dask or zarr array
        Pixels; nothing is computed or copied.
    axes : str, optional
        One letter an axis from T, C, Z, Y, X; default: YX, TYX or TCYX, by the number of axes.
    pixel_size_um, frame_interval_min : float, optional
        Side of a pixel in um, and time between frames in minutes.
    source : path-like, optional
        Where the pixels come from.

    Returns
    -------
    Movie
        With lazy data (T, C, Y, X).

    Raises
    ------
    MovieError
        The array is no movie of planes.
    """
    if not hasattr(array, "shape") or not hasattr(array, "dtype"):
        array = np.asarray(array)
    if axes is None and array.ndim not in DEFAULT_AXES:
        raise MovieError(
            f"An array of shape {say_shape(array.shape) or '()'} has {array.ndim} axes.",
            "Give one of 2 to 4 axes (YX, TYX or TCYX), or say what the axes mean, such as TCZYX.",
        )
    found = axes or DEFAULT_AXES[array.ndim]
    path = None if source is None else Path(source)
    return _movie(Source(array, found, path=path), axes, pixel_size_um, frame_interval_min)


def open_labels(path: str | PathLike[str], movie: Movie, *, axes: str | None = None) -> Any:
    """Open the label image of a movie without reading it.

    Parameters
    ----------
    path : path-like
        Any file that `open_movie` opens.
    movie : Movie
        The movie that the labels belong to.
    axes : str, optional
        Meaning of the label image's axes; default: the file's own.

    Returns
    -------
    dask.array.Array
        (T, Y, X) integer ids, 0 where there is no nucleus, one frame a chunk.

    Raises
    ------
    TracksError
        It can't be opened, doesn't fit the movie, or holds no integer ids.
    """
    try:
        source = open_source(Path(path))
        _require_ids(np.dtype(source.array.dtype), str(path))
        labels = _movie(source, axes, None, None)
    except MovieError as error:
        raise TracksError(f"The label image can't be used: {error.problem}", error.advice) from error
    if labels.n_channels > 1:
        raise TracksError(
            f"The label image {path} has {labels.n_channels} channels.",
            "Give a label image of one channel; if the channels are really frames, say so with the axes TYX.",
        )
    return check_labels(labels.data[:, 0], movie)


def check_labels(array: Any, movie: Movie) -> Any:
    """Make sure that label ids fit a movie.

    Parameters
    ----------
    array : numpy, dask or zarr array
        (T, Y, X) integer ids, or (Y, X) for a movie of one frame.
    movie : Movie
        The movie that they belong to.

    Returns
    -------
    dask.array.Array
        (T, Y, X), one frame a chunk; nothing is computed.

    Raises
    ------
    TracksError
        The shape isn't the movie's, or the ids aren't integers.
    """
    _require_ids(np.dtype(array.dtype), "The label image")
    labels = da.asarray(array)
    if labels.ndim == 2:
        labels = labels[None]
    expected = (movie.n_frames, movie.height, movie.width)
    if labels.shape != expected:
        raise TracksError(
            f"The label image has {_say_frames(labels.shape)} and the movie {_say_frames(expected)}.",
            "Give labels that were made from this movie, one for each of its frames.",
        )
    return labels.rechunk((1, movie.height, movie.width))


def _movie(source: Source, axes: str | None, pixel_size_um: float | None, frame_interval_min: float | None) -> Movie:
    found, notes = resolve_axes(source.axes, source.array.shape, axes)
    calibration = source.calibration
    planes = Planes(source.array, found, source.path)
    lazy = isinstance(source.array, da.Array)
    data = _of_dask(source.array, found, planes) if lazy else planes.as_dask()
    return Movie(
        data,
        _positive(pixel_size_um, "pixel size", "um") or calibration.pixel_size_um,
        _positive(frame_interval_min, "frame interval", "min") or calibration.frame_interval_min,
        _channel_names(calibration, planes.shape[1]),
        source.path,
        (*source.notes, *(() if pixel_size_um else calibration.notes), *notes),
        None if lazy else planes,
        data,
    )


def _of_dask(array: Any, axes: str, planes: Planes) -> Any:
    return arrange(array, axes).astype(planes.dtype).rechunk((1, 1, *planes.shape[2:]))


def _channel_names(calibration: Calibration, n_channels: int) -> tuple[str, ...]:
    if len(calibration.channel_names) == n_channels:
        return calibration.channel_names
    return tuple(f"channel {index}" for index in range(n_channels))


def _positive(value: float | None, name: str, unit: str) -> float | None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise MovieError(f"A {name} of {value} {unit} is impossible.", f"Give a number of {unit} above 0.")
    return value


def _require_ids(dtype: np.dtype[Any], name: str) -> None:
    if dtype.kind in "ui":
        return
    if dtype.kind == "b":
        advice = "A mask has no ids: label it first, for example with skimage.measure.label."
    else:
        advice = "Save the ids as integers, such as uint16 or int32."
    raise TracksError(f"{name} holds numbers of type {dtype}; label ids are integers.", advice)


def _say_frames(shape: tuple[int, ...]) -> str:
    if len(shape) != 3:
        return f"the shape {say_shape(shape)}"
    return f"{shape[0]} {'frame' if shape[0] == 1 else 'frames'} of {shape[1]} x {shape[2]} pixels"


def _count(n: int, thing: str) -> str:
    return f"1 {thing} (0)" if n == 1 else f"{n} {thing}s (0 to {n - 1})"
