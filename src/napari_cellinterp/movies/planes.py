"""Read single planes of anything that slices like an array."""

from __future__ import annotations

import threading
import uuid
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from napari_cellinterp.errors import CellInterpError, MovieError
from napari_cellinterp.movies.axes import arrange, movie_shape
from napari_cellinterp.movies.metadata import Calibration

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Source:
    """An image as its file holds it, not yet read.

    Attributes
    ----------
    array : object
        Slices like an array; has ``shape`` and ``dtype``.
    axes : str
        One letter an axis, Q or I where the file doesn't name it.
    calibration : Calibration
        Pixel size, frame interval and channel names.
    notes : tuple of str
        What was assumed when opening it.
    path : Path or None
        Where it comes from.
    """

    array: Any
    axes: str
    calibration: Calibration = field(default_factory=Calibration)
    notes: tuple[str, ...] = ()
    path: Path | None = None


class Reopening:
    """An array on disk that opens again after it was sent to another process.

    Parameters
    ----------
    opener : callable
        Takes no argument; returns the opened array and what closes its file. Must be picklable.
    """

    def __init__(self, opener: Callable[[], tuple[Any, Callable[[], None]]]) -> None:
        self._opener = opener
        self._array: Any = None
        self._lock = threading.Lock()
        self.shape: tuple[int, ...] = tuple(self.array.shape)
        self.dtype: np.dtype[Any] = self.array.dtype

    @property
    def array(self) -> Any:
        """The opened array."""
        with self._lock:
            if self._array is None:
                self._array, close = self._opener()
                weakref.finalize(self, close)
            return self._array

    def __getitem__(self, index: Any) -> Any:
        return self.array[index]

    def __getstate__(self) -> dict[str, Any]:
        return {"opener": self._opener, "shape": self.shape, "dtype": self.dtype}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._opener, self.shape, self.dtype = state["opener"], state["shape"], state["dtype"]
        self._array, self._lock = None, threading.Lock()


class Planes:
    """The planes of a source, by frame and channel.

    Slices like a (T, C, Y, X) array, so that dask can take it in. Numbers come in the machine's byte order, and True
    and False as uint8.

    Raises
    ------
    MovieError
        The numbers aren't real and finite in size, on construction; a plane can't be read, later.
    """

    ndim = 4

    def __init__(self, array: Any, axes: str, path: Path | None) -> None:
        self._array, self._axes, self._path = array, axes, path
        self.shape = movie_shape(axes, array.shape)
        self.dtype = _plain_dtype(np.dtype(array.dtype), path)

    def read(self, frame: int, channel: int) -> NDArray[Any]:
        """Read one plane, (Y, X)."""
        at = {"T": slice(frame, frame + 1), "C": slice(channel, channel + 1)}
        whole = slice(None)
        try:
            block = np.asarray(self._array[tuple(at.get(letter, whole) for letter in self._axes)])
        except CellInterpError:
            raise
        except Exception as error:
            raise MovieError(
                f"Frame {frame}, channel {channel} of {self._path or 'the array'} can't be read ({error}).",
                "The file may be incomplete or damaged, or may have changed since it was opened; copy it again.",
            ) from error
        plane: NDArray[Any] = arrange(block, self._axes)[0, 0]
        return plane.astype(self.dtype, copy=False)

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[Any]:
        frames, channels = (np.arange(n)[i] for n, i in zip(self.shape[:2], index[:2], strict=True))
        block = np.stack([[self.read(int(t), int(c)) for c in np.ravel(channels)] for t in np.ravel(frames)])
        kept = tuple(0 if np.ndim(chosen) == 0 else slice(None) for chosen in (frames, channels))
        part: NDArray[Any] = block[kept + tuple(index[2:])]
        return part

    def as_dask(self) -> Any:
        """Dask array (T, C, Y, X), one plane a chunk; nothing is read."""
        empty = np.empty((0,) * self.ndim, self.dtype)
        name = f"movie-{uuid.uuid4().hex}"
        return da.from_array(self, chunks=(1, 1, *self.shape[2:]), name=name, meta=empty, fancy=False)


def _plain_dtype(dtype: np.dtype[Any], path: Path | None) -> np.dtype[Any]:
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind not in "uif":
        raise MovieError(
            f"{path or 'The array'} holds numbers of type {dtype}, which aren't intensities.",
            "Save the movie as integers or real numbers, such as uint16 or float32.",
        )
    return dtype.newbyteorder("=")
