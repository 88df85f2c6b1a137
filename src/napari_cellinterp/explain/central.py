"""The central nucleus of a crop without masks, what is beside it, and the crop with that erased."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import distance_transform_edt

from napari_cellinterp.config import REFERENCE_DIAMETER_PX, NucleiConfig
from napari_cellinterp.movies.nuclei import find_nuclei

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Masks = NDArray[np.bool_]

MAX_OFFSET_PX = 6.0
"""A crop's nucleus reaches at least this near to its middle."""

MARGIN_PX = 3.0
"""So far around the central nucleus, light is still its own (blur)."""

FADING_PX = 4.0
"""Beyond the margin the image fades to the background over this distance."""


def nuclei_of_crops(x: Array, diameter_px: float = REFERENCE_DIAMETER_PX) -> tuple[Masks, Masks]:
    """Find the central nucleus of each crop, and the others, as nuclei of a movie are found (Otsu, then splitting).

    Parameters
    ----------
    x : (n, n_channels, 64, 64) float32
        Patches; the first channel is looked at.
    diameter_px : float
        Median diameter of an interphase nucleus at the model's scale.

    Returns
    -------
    central : (n, 64, 64) bool
        The nucleus nearest to the middle; empty where there is none near it.
    others : (n, 64, 64) bool
        All others.
    """
    central, others = np.zeros((2, len(x), *x.shape[2:]), bool)
    for i, crop in enumerate(x):
        labels = find_nuclei(crop[0], NucleiConfig(), diameter_px)
        number = _nearest_to_middle(labels)
        central[i], others[i] = (labels == number) & (number > 0), (labels > 0) & (labels != number)
    return central, others


def _nearest_to_middle(labels: NDArray[np.int32]) -> int:
    """Return the label nearest to the middle; 0 where none is near."""
    y, x = np.indices(labels.shape) - (np.array(labels.shape)[:, None, None] - 1) / 2
    distance = np.where(labels > 0, np.hypot(y, x), np.inf)
    nearest = int(distance.argmin())
    return int(labels.flat[nearest]) if distance.flat[nearest] <= MAX_OFFSET_PX else 0


def surroundings(central: Masks) -> Array:
    """Return how much each pixel is of the surroundings, (n, 64, 64) float32: 0 on the nucleus, 1 far from it."""
    distance = np.stack(
        [distance_transform_edt(~mask) if mask.any() else np.full(mask.shape, np.inf) for mask in central]
    )
    fraction = np.clip((distance - MARGIN_PX) / FADING_PX, 0, 1)
    return (0.5 - 0.5 * np.cos(np.pi * fraction)).astype(np.float32)


def without_neighbours(x: Array, central: Masks) -> Array:
    """Return crops in which all but the central nucleus is background.

    Parameters
    ----------
    x : (n, n_channels, 64, 64) float32
        Patches; their background is 0.
    central : (n, 64, 64) bool
        The central nuclei.

    Returns
    -------
    (n, n_channels, 64, 64) float32
        Not normalised anew: the nucleus stays as it is, bit for bit, and fades out beyond its margin.
    """
    return x * (1 - surroundings(central))[:, None]
