"""Loops over the pixels of crops, compiled when they are first called: one pass through the cache for each crop.

Imported where they are called, since importing numba takes a third of a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numba import njit

from napari_cellinterp.config import PATCH_PX

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

F = TypeVar("F", bound=Callable[..., Any])

N_PIXELS = PATCH_PX * PATCH_PX
N_FINE = PATCH_PX // 2
N_COLUMNS = 128
"""Columns into which a crop's pixels are dealt in search of a percentile; wide enough to be compared as vectors."""

BACKGROUND, SIGNAL, TOP_SHARE, SHARPNESS, CONTRAST, IS_FINITE = range(6)
"""Columns of statistics, as `napari_cellinterp.movies.patches.STATISTICS` names them."""

INFINITY = np.float32(np.inf)
ZERO, ONE, QUARTER = np.float32(0), np.float32(1), np.float32(0.25)
SMALLEST_SPAN = np.float32(1e-5)
"""Relative; a crop is constant where its span is lost in the rounding of float32."""


def compiled(function: F) -> F:
    """Compile without the interpreter's lock; the machine code is kept on disk where there is a place to write."""
    try:
        kept: F = njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # numba finds no folder that it may write to
        kept = njit(nogil=True, error_model="numpy")(function)
    return kept


@compiled
def cut_windows(planes: Array, background: Array, fading: Array, corners: NDArray[np.int64], windows: Array) -> None:
    """Cut a window at each position; beyond the edge the outermost pixels go on and fade into the background.

    Parameters
    ----------
    planes : (n_channels, height, width) float32
        A frame at the model's scale.
    background : (n_channels,) float32
        What pixels fade into.
    fading : (margin + 1,) float32
        Weight of the outermost pixels, by how far beyond the edge a pixel lies.
    corners : (n, 2) int64
        First row and column of each window; negative where it begins beyond the edge.
    windows : (n, n_channels, 64, 64) float32
        Filled.
    """
    for i in range(len(corners)):
        _cut(planes, background, fading, corners[i], windows[i])


@compiled
def normalise_windows(
    planes: Array,
    background: Array,
    fading: Array,
    corners: NDArray[np.int64],
    ranks: tuple[int, int],
    x: Array,
    statistics: Array,
) -> None:
    """Cut a window at each position, as `cut_windows` does, and normalise it, as `normalise_crops` does."""
    window = np.empty(x.shape[1:], np.float32)
    work = np.empty((3, N_PIXELS + 1), np.float32)
    for i in range(len(corners)):
        _cut(planes, background, fading, corners[i], window)
        _normalise(window, ranks, work, x[i], statistics[i])


@compiled
def normalise_crops(crops: Array, ranks: tuple[int, int], x: Array, statistics: Array) -> None:
    """Normalise each crop, and measure it.

    Parameters
    ----------
    crops : (n, n_channels, 64, 64) float32
        Raw crops.
    ranks : int, int
        Ranks of the pixels that become 0 and 1.
    x : (n, n_channels, 64, 64) float32
        Filled with the crops, normalised and clipped to [0, 1].
    statistics : (n, 6) float32
        Filled with the columns of `napari_cellinterp.movies.patches.STATISTICS`.
    """
    work = np.empty((3, N_PIXELS + 1), np.float32)
    for i in range(len(crops)):
        _normalise(crops[i], ranks, work, x[i], statistics[i])


@compiled
def _cut(planes: Array, background: Array, fading: Array, corner: NDArray[np.int64], window: Array) -> None:
    n_channels, height, width = planes.shape
    top, left = corner[0], corner[1]
    is_inside = top >= 0 and left >= 0 and top + PATCH_PX <= height and left + PATCH_PX <= width
    for channel in range(n_channels):
        dark = background[channel]
        for row in range(PATCH_PX):
            y = min(max(top + row, 0), height - 1)
            source, target = planes[channel, y], window[channel, row]
            if is_inside:
                source = source[left : left + PATCH_PX]
                for column in range(PATCH_PX):
                    target[column] = source[column]
                continue
            row_weight = fading[abs(top + row - y)]
            for column in range(PATCH_PX):
                x = min(max(left + column, 0), width - 1)
                value = source[x]
                if y != top + row or x != left + column:
                    value = dark + (value - dark) * (row_weight * fading[abs(left + column - x)])
                target[column] = value


@compiled
def _normalise(crop: Array, ranks: tuple[int, int], work: Array, x: Array, statistics: Array) -> None:
    """One crop of `normalise_crops`; ``work`` is (3, 4097) float32 to work in."""
    if not _is_finite(crop):
        for channel in range(len(x)):
            for p in range(N_PIXELS):
                x[channel, p // PATCH_PX, p % PATCH_PX] = ZERO
        for j in range(len(statistics)):
            statistics[j] = ONE if j == TOP_SHARE else ZERO  # all of the zeros are at the top
        return
    statistics[IS_FINITE] = ONE
    for channel in range(len(crop)):
        pixels, values = crop[channel].reshape(N_PIXELS), x[channel].reshape(N_PIXELS)
        low, high, top = _levels(pixels, ranks, work)
        span = high - low
        gain = ONE / span if span > SMALLEST_SPAN * max(abs(low), abs(high)) else ZERO
        _scale(pixels, low, gain, values)
        if channel == 0:
            statistics[BACKGROUND], statistics[SIGNAL] = low, span
            statistics[TOP_SHARE] = _count(pixels, top) / N_PIXELS
            statistics[SHARPNESS], statistics[CONTRAST] = _sharpness_and_contrast(values, work)


@compiled
def _scale(pixels: Array, low: np.float32, gain: np.float32, values: Array) -> None:
    for p in range(N_PIXELS):
        values[p] = min(max((pixels[p] - low) * gain, ZERO), ONE)


@compiled
def _count(pixels: Array, value: np.float32) -> np.int32:
    n = np.int32(0)
    for p in range(N_PIXELS):
        n += np.int32(pixels[p] == value)
    return n


@compiled
def _is_finite(crop: Array) -> bool:
    n = np.int32(0)
    for channel in range(len(crop)):
        pixels = crop[channel].reshape(N_PIXELS)
        for p in range(N_PIXELS):
            n += np.int32(abs(pixels[p]) < INFINITY)
    return n == len(crop) * N_PIXELS


@compiled
def _levels(pixels: Array, ranks: tuple[int, int], work: Array) -> tuple[np.float32, np.float32, np.float32]:
    """Pixels of two ranks, and the largest."""
    least, negated = work[0, :N_COLUMNS], work[1, :N_COLUMNS]
    _extremes_of_columns(pixels, least, negated)
    top = negated[0]
    for j in range(N_COLUMNS):
        top = min(top, negated[j])
    low = _of_rank(pixels, ONE, least, ranks[0], work[2])
    high = -_of_rank(pixels, -ONE, negated, N_PIXELS - 1 - ranks[1], work[2])
    return low, high, -top


@compiled
def _extremes_of_columns(pixels: Array, least: Array, negated: Array) -> None:
    """Smallest pixel of each column, and smallest of the negated pixels."""
    for j in range(N_COLUMNS):
        least[j], negated[j] = pixels[j], -pixels[j]
    for start in range(N_COLUMNS, N_PIXELS, N_COLUMNS):
        for j in range(N_COLUMNS):
            value = pixels[start + j]
            least[j] = value if value < least[j] else least[j]
            negated[j] = -value if -value < negated[j] else negated[j]


@compiled
def _of_rank(pixels: Array, sign: np.float32, least: Array, rank: int, chosen: Array) -> np.float32:
    """Value of a rank among the pixels times ``sign``, given the smallest of each column.

    At least ``rank + 1`` pixels aren't above the columns' own value of that rank, so only pixels below it compete.
    """
    for j in range(N_COLUMNS):
        chosen[j] = least[j]
    bound = _select(chosen, N_COLUMNS, rank)
    n = 0
    for j in range(N_COLUMNS):
        if least[j] < bound:
            for start in range(0, N_PIXELS, N_COLUMNS):
                value = sign * pixels[start + j]
                chosen[n] = value
                n += value < bound
    return _select(chosen, n, rank) if rank < n else bound


@compiled
def _select(values: Array, n: int, rank: int) -> np.float32:
    """Value of a rank among the first n, which are reordered (Hoare's selection)."""
    left, right = 0, n - 1
    while left < right:
        pivot = values[(left + right) // 2]
        i, j = left, right
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if rank <= j:
            right = j
        elif rank >= i:
            left = i
        else:
            break
    return values[rank]


@compiled
def _sharpness_and_contrast(values: Array, work: Array) -> tuple[np.float32, np.float32]:
    """Steepest change between means of 2x2 pixels, and range of the means of 8x8 pixels."""
    fine, steepest, side = work[0], work[1, :N_FINE], N_FINE
    _halve(values, PATCH_PX, fine)
    for x in range(side):
        steepest[x] = ZERO
    for y in range(side):
        row = fine[y * side : (y + 1) * side]
        for x in range(side - 1):
            change = abs(row[x + 1] - row[x])
            steepest[x] = change if change > steepest[x] else steepest[x]
        if y:
            above = fine[(y - 1) * side : y * side]
            for x in range(side):
                change = abs(row[x] - above[x])
                steepest[x] = change if change > steepest[x] else steepest[x]
    sharpness = ZERO
    for x in range(side):
        sharpness = max(sharpness, steepest[x])
    halved, coarse = work[1], work[2]
    _halve(fine, side, halved)
    _halve(halved, side // 2, coarse)
    least, most = coarse[0], coarse[0]
    for p in range((side // 4) ** 2):
        least, most = min(least, coarse[p]), max(most, coarse[p])
    return sharpness, most - least


@compiled
def _halve(values: Array, side: int, means: Array) -> None:
    """Means of 2x2 pixels of an image, (side * side,)."""
    half = side // 2
    for y in range(half):
        upper, lower = values[2 * y * side : (2 * y + 1) * side], values[(2 * y + 1) * side : (2 * y + 2) * side]
        row = means[y * half : (y + 1) * half]
        for x in range(half):
            row[x] = ((upper[2 * x] + lower[2 * x]) + (upper[2 * x + 1] + lower[2 * x + 1])) * QUARTER
