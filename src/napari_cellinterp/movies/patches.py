"""Crop 64x64 patches around nuclei, at the model's scale and with the camera's gain and offset taken out.

A frame is resampled once, then all its windows are gathered at once: hundreds of times faster than warping each patch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_cellinterp.config import PATCH_PX
from napari_cellinterp.errors import PatchesError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float32]

BACKGROUND_PERCENTILE = 1.0
SIGNAL_PERCENTILE = 99.8
_LAST = PATCH_PX**2 - 1
RANKS = (round(_LAST * BACKGROUND_PERCENTILE / 100), round(_LAST * SIGNAL_PERCENTILE / 100))
"""Of the pixels of a crop that become 0 and 1."""

FADING_PX = (8.0, 18.0)
"""How far beyond the edge of an image the outermost pixels begin and end to fade, model pixels."""

_BEYOND = (np.arange(PATCH_PX // 2 + 1) - FADING_PX[0]) / (FADING_PX[1] - FADING_PX[0])
FADING = np.asarray(0.5 + 0.5 * np.cos(np.pi * np.clip(_BEYOND, 0, 1)), np.float32)
"""Weight of the outermost pixels, by how many pixels beyond the edge: 1 near it, falling to 0 along a cosine."""

SAME_SCALE = 0.01
"""Relative difference of scale that isn't worth a resampling."""

STATISTICS = ("background", "signal", "top_share", "sharpness", "contrast", "is_finite")


@dataclass(frozen=True)
class Patches:
    """Patches as the networks see them, and what they looked like before.

    Attributes
    ----------
    x : (n, n_channels, 64, 64) float32
        Normalised per crop and channel: the 1st percentile is 0, the 99.8th is 1, clipped to [0, 1].
    background, signal : (n,) float32
        Of the first channel, camera units: the 1st percentile, and how far the 99.8th rises above it.
    top_share : (n,) float32
        Share of the first channel's pixels at the crop's very top value; large where the camera saturates.
    sharpness : (n,) float32
        Steepest change of the first channel between neighbouring 2x2 blocks, after normalisation; 0 in a blank crop.
    contrast : (n,) float32
        Range of the means of the first channel's 8x8 blocks, after normalisation: near 1 where there is a nucleus,
        small where there is only noise.
    is_finite : (n,) bool
        Whether all pixels were finite numbers; crops that aren't are all zeros.
    """

    x: Array
    background: Array
    signal: Array
    top_share: Array
    sharpness: Array
    contrast: Array
    is_finite: NDArray[np.bool_]

    def __len__(self) -> int:
        """Return the number of patches."""
        return len(self.x)

    def __getitem__(self, rows: slice | NDArray[np.int64] | NDArray[np.bool_]) -> Patches:
        """Return the chosen patches."""
        return Patches(self.x[rows], **{name: getattr(self, name)[rows] for name in STATISTICS})

    @staticmethod
    def concatenate(parts: list[Patches]) -> Patches:
        """Return the patches of several sets as one, in order."""
        names = ("x", *STATISTICS)
        return Patches(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def normalise(crops: ArrayLike) -> Patches:
    """Turn raw crops at the model's scale into patches.

    Gain and offset of the camera drop out: ``a * crops + b`` with a > 0 gives the same patches.

    Parameters
    ----------
    crops : (n, n_channels, 64, 64) array of numbers
        Raw crops.
    """
    from napari_cellinterp.movies.compiled_loops import normalise_crops

    raw = _single(crops)
    x, statistics = _room(*raw.shape[:2])
    normalise_crops(raw, RANKS, x, statistics)
    return _patches(x, statistics)


def _room(n: int, n_channels: int) -> tuple[Array, Array]:
    """Room for n patches and their statistics."""
    return np.empty((n, n_channels, PATCH_PX, PATCH_PX), np.float32), np.empty((n, len(STATISTICS)), np.float32)


def _patches(x: Array, statistics: Array) -> Patches:
    columns = dict(zip(STATISTICS, np.ascontiguousarray(statistics.T), strict=True))
    return Patches(x, **columns | {"is_finite": columns["is_finite"] > 0})


def _single(values: ArrayLike) -> Array:
    """Return numbers as contiguous float32; those beyond its range become infinite."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, np.float32)


def resample(planes: ArrayLike, zoom: float) -> Array:
    """Resample images to the model's scale, without aliasing.

    Parameters
    ----------
    planes : (n_channels, height, width) array of numbers
        Images; non-finite pixels spread to their neighbours.
    zoom : float
        Model pixels per pixel of the images.

    Returns
    -------
    (n_channels, height * zoom, width * zoom) float32
        Position ``p`` of the images lies at ``(p + 0.5) * zoom - 0.5``.
    """
    planes = _single(planes)
    if abs(zoom - 1) <= SAME_SCALE:
        return planes
    import torch
    from torch.nn.functional import interpolate

    # torch takes no negative steps, which numpy calls contiguous where there is one row or column
    batch = torch.from_numpy(planes if planes.flags.writeable and min(planes.strides) > 0 else planes.copy())[None]
    size = tuple(max(1, round(side * zoom)) for side in planes.shape[1:])
    with torch.inference_mode():
        scaled = interpolate(batch, size=size, mode="bilinear", antialias=zoom < 1, align_corners=False)
    result: Array = scaled[0].numpy()
    return result


class ScaledFrame:
    """One frame at the model's scale, from which windows are cut, with a margin in which cut nuclei go on.

    A nucleus that a plain border cuts in two looks like a metaphase plate, and so does a mirrored sliver. In the margin
    the outermost pixels therefore go on for about a third of a nucleus, and then fade into the background.

    Parameters
    ----------
    planes : (n_channels, height, width) array of numbers
        One frame.
    zoom : float
        Model pixels per pixel of the frame.
    """

    def __init__(self, planes: ArrayLike, zoom: float) -> None:
        planes = np.asarray(planes)
        self._planes, self._background = resample(planes, zoom), _background(planes)
        # the size is rounded to whole pixels
        self._ratio = np.array(self._planes.shape[1:]) / np.array(planes.shape[1:])

    def crop(self, y: ArrayLike, x: ArrayLike) -> Array:
        """Cut a window around each position; see `crop_frame`."""
        from napari_cellinterp.movies.compiled_loops import cut_windows

        corners = self._corners(y, x)
        windows = np.empty((len(corners), len(self._planes), PATCH_PX, PATCH_PX), np.float32)
        cut_windows(self._planes, self._background, FADING, corners, windows)
        return windows

    def normalise_into(self, y: ArrayLike, x: ArrayLike, values: Array, statistics: Array) -> None:
        """Cut a window around each position and normalise it, as `normalise` does, into room that is there already.

        Parameters
        ----------
        y, x : (n,) array of float
            Centres, pixels of the frame.
        values : (n, n_channels, 64, 64) float32
            Filled with patches.
        statistics : (n, 6) float32
            Filled with their `STATISTICS`.
        """
        from napari_cellinterp.movies.compiled_loops import normalise_windows

        corners = self._corners(y, x)
        normalise_windows(self._planes, self._background, FADING, corners, RANKS, values, statistics)

    def _corners(self, y: ArrayLike, x: ArrayLike) -> NDArray[np.int64]:
        """First row and column of the windows around positions, (n, 2)."""
        position = np.stack([np.asarray(y, float), np.asarray(x, float)], axis=1)
        # halves go up, not to the even number: neighbouring nuclei are cut alike
        centres = np.floor((position + 0.5) * self._ratio + 0.5).astype(np.int64)
        corners: NDArray[np.int64] = centres.clip(0, self._planes.shape[1:]) - PATCH_PX // 2
        return corners


class PatchBlock:
    """Room for patches, which frames fill one after the other.

    A window is cut and normalised while it is in the cache, and lands where it stays.

    Parameters
    ----------
    size : int
        Room for this many.
    n_channels : int
        Channels of a patch.
    """

    def __init__(self, size: int, n_channels: int) -> None:
        self._x, self._statistics = _room(size, n_channels)
        self._n = 0

    @property
    def left(self) -> int:
        """How many more patches there is room for."""
        return len(self._x) - self._n

    def add(self, frame: ScaledFrame, y: ArrayLike, x: ArrayLike) -> None:
        """Add the patch around each position of a frame; see `crop_frame` and `normalise`."""
        rows = slice(self._n, self._n + len(np.asarray(y)))
        frame.normalise_into(y, x, self._x[rows], self._statistics[rows])
        self._n = rows.stop

    def clear(self) -> None:
        """Make room again where those stand that were added."""
        self._n = 0

    def patches(self) -> Patches:
        """Return those that were added."""
        return _patches(self._x[: self._n], self._statistics[: self._n])


def crop_frame(planes: ArrayLike, y: ArrayLike, x: ArrayLike, zoom: float) -> Array:
    """Cut a window around each position of one frame, at the model's scale.

    Beyond the edge of the image its outermost pixels go on and fade into the background (its 1st percentile).

    Parameters
    ----------
    planes : (n_channels, height, width) array of numbers
        One frame.
    y, x : (n,) array of float
        Centres, pixels of the frame.
    zoom : float
        Model pixels per pixel of the frame.

    Returns
    -------
    (n, n_channels, 64, 64) float32
        Raw crops, for `normalise`.
    """
    return ScaledFrame(planes, zoom).crop(y, x)


def _background(planes: NDArray[np.generic]) -> Array:
    """Low percentile of each plane, from at most about 65,000 of its pixels; non-finite pixels don't count."""
    step = max(1, int(np.sqrt(planes.shape[1] * planes.shape[2] / 65536)))
    sample = planes[:, ::step, ::step].reshape(len(planes), -1).astype(np.float32)
    sample[~np.isfinite(sample)] = np.inf
    rank = round((sample.shape[1] - 1) * BACKGROUND_PERCENTILE / 100)
    low = np.partition(sample, rank, axis=1)[:, rank]
    return np.where(np.isfinite(low), low, 0).astype(np.float32)


def patches_from_images(images: ArrayLike, zoom: float) -> Patches:
    """Turn ready single-nucleus images of any size into patches.

    Parameters
    ----------
    images : (n, height, width) or (n, n_channels, height, width) array of numbers
        One nucleus in the middle of each.
    zoom : float
        Model pixels per pixel of the images.

    Raises
    ------
    PatchesError
        If the array has another number of axes, no pixels or no numbers in it.
    """
    array = np.asarray(images)
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim != 4 or 0 in array.shape[1:] or array.dtype.kind not in "uif":
        raise PatchesError(
            f"Crops must be an array of numbers of shape (n, height, width) or (n, channels, height, width), "
            f"not {np.asarray(images).dtype} {np.asarray(images).shape}.",
            "Stack the crops into one array named x.",
        )
    n, n_channels = array.shape[:2]
    flat = array.reshape(n * n_channels, *array.shape[2:])
    chunks = [_fit(resample(flat[i : i + 256], zoom)) for i in range(0, len(flat), 256)]
    fitted = np.concatenate(chunks) if chunks else np.empty((0, PATCH_PX, PATCH_PX), np.float32)
    return normalise(fitted.reshape(n, n_channels, PATCH_PX, PATCH_PX))


def _fit(images: Array) -> Array:
    """Crop or pad to 64x64 around the middle, with background like the border's."""
    n, height, width = images.shape
    edges = [images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]]
    # Neighbours may touch the border; the background is its darker part.
    border = np.sort(np.concatenate(edges, axis=1), axis=1)
    background = border[:, (border.shape[1] - 1) // 4]
    fitted = np.empty((n, PATCH_PX, PATCH_PX), np.float32)
    fitted[:] = background[:, None, None]
    source, target = [], []
    for side in (height, width):
        # the middle pixel of an odd side comes to 31, as in `ScaledFrame`
        start, offset = max(0, (side - PATCH_PX + 1) // 2), max(0, (PATCH_PX - side) // 2)
        length = min(side, PATCH_PX)
        source.append(slice(start, start + length))
        target.append(slice(offset, offset + length))
    fitted[:, target[0], target[1]] = images[:, source[0], source[1]]
    return fitted
