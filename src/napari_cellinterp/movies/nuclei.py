"""Find nuclei in a frame: background, threshold, split touching ones. All lengths follow the nuclear diameter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.measure import label as label_regions
from skimage.segmentation import watershed

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_cellinterp.config import NucleiConfig

    Array = NDArray[np.float32]

SMOOTHING_PX = 1.0
OWN_LEVEL = 0.4
"""A pixel belongs to a nucleus if it is at least this bright, relative to the nucleus's bright parts."""


def find_nuclei(image: ArrayLike, config: NucleiConfig, diameter_px: float | None = None) -> NDArray[np.int32]:
    """Find the nuclei of one frame.

    Parameters
    ----------
    image : (height, width) array of numbers
        One frame; non-finite pixels count as background.
    config : NucleiConfig
        Settings.
    diameter_px : float, optional
        Median diameter of a nucleus; measured on the frame where it isn't given.

    Returns
    -------
    (height, width) int32
        Label image: 0 background, nuclei from 1; all zeros where there are none.
    """
    signal, noise = _flatten(image, diameter_px or 40.0)
    if noise <= 0 or not (signal > config.min_contrast * noise).any():
        return np.zeros(signal.shape, np.int32)
    mask = _foreground(signal, config.min_contrast * noise)
    diameter = diameter_px or diameter_of(mask)
    if diameter is None:
        return np.zeros(signal.shape, np.int32)
    regions = _split(mask, signal, diameter) if config.split_touching else label_regions(mask, connectivity=1)
    return _tidy(regions, signal, config.min_area_fraction * np.pi / 4 * diameter**2)


def estimate_diameter(image: ArrayLike, config: NucleiConfig) -> float | None:
    """Estimate the median diameter of the nuclei of one frame, pixels; None where there are none."""
    signal, noise = _flatten(image, 40.0)
    if noise <= 0 or not (signal > config.min_contrast * noise).any():
        return None
    return diameter_of(_foreground(signal, config.min_contrast * noise))


def _flatten(image: ArrayLike, diameter_px: float) -> tuple[Array, float]:
    """Take background and pixel noise out: the signal above the local background, and the noise left in it."""
    pixels = np.asarray(image)
    finite = np.isfinite(pixels)
    lowest = pixels[finite].min() if finite.any() else 0
    # A large offset of the camera goes before single precision would round the signal.
    raw = np.subtract(np.where(finite, pixels, lowest), lowest, dtype=np.float64).astype(np.float32)
    smooth = ndimage.gaussian_filter(raw, SMOOTHING_PX)
    # The background is the lower envelope on a coarse grid: minimum, then smooth.
    step = max(2, int(diameter_px / 8))  # at every pixel, small nuclei would take ten times as long
    window = max(3, round(3 * diameter_px / step))
    low = ndimage.percentile_filter(smooth[::step, ::step], 5, size=window, mode="nearest")
    low = ndimage.gaussian_filter(low, window / 2)
    background = ndimage.zoom(low, [n / m for n, m in zip(raw.shape, low.shape, strict=True)], order=1)
    noise = _noise(raw) / (2 * np.sqrt(np.pi) * SMOOTHING_PX)
    # The 5th percentile of noise lies 1.64 standard deviations below the background that it surrounds.
    return smooth - background - 1.64 * noise, noise


def _noise(raw: Array) -> float:
    """Estimate the SD of a frame's pixel noise from second differences, in which smooth structure drops out."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    second = ndimage.convolve(raw, kernel, mode="reflect")
    sd = float(np.median(np.abs(second)) / 0.6745 / 6)
    # Images without noise (drawn, or with few grey levels) still need a scale.
    return max(sd, 0.002 * float(np.ptp(raw)))


def _foreground(signal: Array, floor: float) -> NDArray[np.bool_]:
    """Threshold between background and nuclei; on square roots, lest a few bright plates hide all others."""
    root = np.sqrt(np.clip(signal, 0, None))
    threshold = max(float(threshold_otsu(root)) ** 2 * 0.7, floor)
    mask: NDArray[np.bool_] = ndimage.binary_fill_holes(ndimage.binary_opening(signal > threshold))
    return mask


def diameter_of(mask: NDArray[np.bool_]) -> float | None:
    """Return the typical diameter of the blobs of a mask, pixels, touching or not; None where there are none.

    Twice the distance to the outline at its peaks, each peak weighted by the area that it stands for.
    """
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask).astype(np.float32), 1)
    peaks = peak_local_max(depth, min_distance=3, threshold_abs=1.5, exclude_border=False)
    if not len(peaks):
        return None
    diameters = np.sort(2 * depth[tuple(peaks.T)])
    weight = np.cumsum(diameters**2)
    return float(diameters[np.searchsorted(weight, weight[-1] / 2)]) * 1.08  # depth falls short by its smoothing


def _split(mask: NDArray[np.bool_], signal: Array, diameter: float) -> NDArray[np.int32]:
    """Watershed from the peaks of depth and brightness together."""
    depth = ndimage.distance_transform_edt(mask).astype(np.float32)
    bright = ndimage.gaussian_filter(signal, diameter / 10)
    local = ndimage.maximum_filter(bright, size=max(3, int(diameter)))
    height = ndimage.gaussian_filter(depth, diameter / 14) / (diameter / 2) + 0.5 * bright / np.maximum(local, 1e-6)
    height = np.where(mask, height, 0)
    spots = peak_local_max(
        height, min_distance=max(2, round(0.33 * diameter)), labels=label_regions(mask), exclude_border=False
    )
    markers = np.zeros(mask.shape, np.int32)
    markers[tuple(spots.T)] = np.arange(1, len(spots) + 1)
    regions: NDArray[np.int32] = watershed(-height, markers, mask=mask)
    return regions


def _tidy(regions: NDArray[np.int32], signal: Array, min_area_px: float) -> NDArray[np.int32]:
    """Trim each region to its own bright part, drop what is too small, number from 1."""
    n = int(regions.max())
    if n == 0:
        return regions.astype(np.int32)
    index = np.arange(n + 1)
    mean = ndimage.mean(signal, regions, index)
    bright = ndimage.mean(signal, np.where(signal >= mean[regions], regions, 0), index)
    trimmed = np.where(signal >= OWN_LEVEL * bright[regions], regions, 0)
    trimmed = _largest_pieces(trimmed)
    area = np.bincount(trimmed.ravel(), minlength=n + 1)
    keep = area >= min_area_px
    keep[0] = False
    number = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    result: NDArray[np.int32] = number[trimmed]
    return result


def _largest_pieces(regions: NDArray[np.int32]) -> NDArray[np.int32]:
    """Keep only the largest connected piece of each region."""
    pieces = label_regions(regions, connectivity=1)
    area = np.bincount(pieces.ravel())
    owner = np.zeros(len(area), np.int64)
    owner[pieces.ravel()] = regions.ravel()
    area[0] = 0
    order = np.lexsort((area, owner))
    last = np.append(owner[order][1:] != owner[order][:-1], True)
    best = np.zeros(len(area), bool)
    best[order[last]] = True
    best[0] = False
    result: NDArray[np.int32] = np.where(best[pieces], regions, 0)
    return result
