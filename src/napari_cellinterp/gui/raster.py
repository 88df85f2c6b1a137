"""Many points as an image: quick where a graphics item for each would be slow. Knows no Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def draw_points(
    pixels: NDArray[np.floating], colours: NDArray[np.uint8], shape: tuple[int, int], radius_px: int
) -> NDArray[np.uint8]:
    """Draw disks; nearer to their middles they cover others, and of pixels as near later points cover earlier ones.

    Parameters
    ----------
    pixels : (n, 2) float
        Column and row of each point; those that aren't finite, or whose middle is outside, aren't drawn.
    colours : (n, 4) uint8
        Red, green, blue, opacity.
    shape : tuple of int
        Height and width of the image.
    radius_px : int
        Of the disks.

    Returns
    -------
    (height, width, 4) uint8
        Transparent where there is no point.
    """
    height, width = shape
    inside = ((pixels >= 0) & (pixels < (width, height))).all(axis=1)
    column, row = pixels[inside].astype(np.int64).T
    packed = np.ascontiguousarray(colours[inside]).view(np.uint32)[:, 0]
    step = width + 2 * radius_px
    canvas = np.zeros((height + 2 * radius_px, step), np.uint32)
    place, flat = (row + radius_px) * step + column + radius_px, canvas.reshape(-1)
    for dy, dx in _disk(radius_px):
        flat[place + (dy * step + dx)] = packed
    cropped = canvas[radius_px : radius_px + height, radius_px : radius_px + width]
    return np.ascontiguousarray(cropped).view(np.uint8).reshape(height, width, 4)


def _disk(radius_px: int) -> list[tuple[int, int]]:
    """Return the pixels of a disk around its middle, those farthest out first."""
    side = range(-radius_px, radius_px + 1)
    offsets = [(dy, dx) for dy in side for dx in side if dy**2 + dx**2 <= (radius_px + 0.5) ** 2]
    return sorted(offsets, key=lambda offset: -(offset[0] ** 2 + offset[1] ** 2))
