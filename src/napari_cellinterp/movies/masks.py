"""Label images frame by frame: found ones are kept compressed, given ones stay where they are."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Labels = NDArray[np.int64] | NDArray[np.int32]


MAX_INT32 = np.iinfo(np.int32).max


class FrameMasks(Protocol):
    """Label ids of a movie, one frame at a time."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Frames, height and width."""

    def frame(self, t: int) -> Labels:
        """Return the label image of a frame, (height, width) integers."""


class FoundMasks:
    """Label images that were found or painted, compressed in memory (about 1 % of their size).

    Parameters
    ----------
    shape : tuple of int
        Frames, height and width; all background until frames are set.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = shape
        self._packed: dict[int, tuple[bytes, type[np.int32 | np.int64]]] = {}

    def set_frame(self, t: int, labels: Labels) -> None:
        """Keep the label image of a frame, (height, width) integers."""
        dtype = np.int32 if labels.max(initial=0) <= MAX_INT32 else np.int64
        self._packed[t] = zlib.compress(np.ascontiguousarray(labels, dtype).tobytes(), level=1), dtype

    def frame(self, t: int) -> Labels:
        """Return the label image of a frame, (height, width) int32, or int64 where an id needs it."""
        if t not in self._packed:
            return np.zeros(self.shape[1:], np.int32)
        packed, dtype = self._packed[t]
        labels: Labels = np.frombuffer(zlib.decompress(packed), dtype).reshape(self.shape[1:])
        return labels


class GivenMasks:
    """Label images that were given, read when they are asked for.

    Parameters
    ----------
    labels : dask array
        (T, Y, X) integers.
    """

    def __init__(self, labels: Any) -> None:
        self.labels = labels
        self.shape = (int(labels.shape[0]), int(labels.shape[1]), int(labels.shape[2]))

    def frame(self, t: int) -> Labels:
        """Return the label image of a frame, (height, width) integers."""
        return np.asarray(self.labels[t].compute(scheduler="synchronous"))


def claim_nuclei(labels: Labels, y: ArrayLike, x: ArrayLike, diameter_px: float) -> tuple[Labels, NDArray[np.int64]]:
    """Give each point the nucleus under it; where there is none, or another point has it, a disk of its own.

    Parameters
    ----------
    labels : (height, width) int
        Nuclei that were found.
    y, x : (n,) array of float
        Points inside the image.
    diameter_px : float
        Diameter of the disks.

    Returns
    -------
    labels : (height, width) int64
        Nuclei and disks; disks don't cover nuclei that are there.
    ids : (n,) int64
        Label of each point; 0 where a disk found no free pixel.
    """
    labels = np.array(labels, np.int64)
    y, x = np.asarray(y, float), np.asarray(x, float)
    rows, columns = (np.rint(p).astype(int).clip(0, s - 1) for p, s in zip((y, x), labels.shape, strict=True))
    ids = labels[rows, columns].astype(np.int64)
    repeated = np.ones(len(ids), bool)
    repeated[np.unique(ids, return_index=True)[1]] = False
    ids[repeated] = 0
    for i in np.flatnonzero(ids == 0):
        disk = _disk(labels.shape, y[i], x[i], diameter_px / 2)
        free = labels[disk] == 0
        if free.any():
            ids[i] = labels.max() + 1
            labels[disk[0][free], disk[1][free]] = ids[i]
    return labels, ids


def _disk(shape: tuple[int, ...], y: float, x: float, radius: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    top, bottom = max(0, int(y - radius)), min(shape[0], int(y + radius) + 2)
    left, right = max(0, int(x - radius)), min(shape[1], int(x + radius) + 2)
    rows, columns = np.mgrid[top:bottom, left:right]
    inside = (rows - y) ** 2 + (columns - x) ** 2 <= max(radius, 0.71) ** 2
    return rows[inside], columns[inside]
