"""How unlike the training population a nucleus is.

A number (Mahalanobis distance from the population, in the latents and two statistics of the crop), and flags for crops
in which there is nothing to classify: blank, saturated, out of focus, or with pixels that aren't numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_cellinterp.models.bundle_info import NoveltyLimits
    from napari_cellinterp.movies.patches import Patches

    Array = NDArray[np.float32]

FLAGS = ("", "not_finite", "blank", "saturated", "blurred", "unlike_training")
"""What may be said of a crop; the first that holds, in this order."""

MIN_SHARPNESS = 1e-3
SHRINKAGE = 0.05


@dataclass(frozen=True)
class Population:
    """Held-out crops that a bundle carries as its measure of what is usual.

    Attributes
    ----------
    latents : (n, n_latents) float32
        Mean of the latents.
    state : (n,) int64
        Class of each crop, in the bundle's order.
    statistics : (n, 2) float32
        Sharpness and contrast of each crop, see `crop_statistics`.
    quantiles : (n_quantiles, n_latents) float32
        Quantiles of each latent, 0 to 1 in equal steps.
    """

    latents: Array
    state: NDArray[np.int64]
    statistics: Array
    quantiles: Array


def crop_statistics(patches: Patches) -> Array:
    """Return sharpness and contrast of each patch, (n, 2) float32."""
    return np.stack([patches.sharpness, patches.contrast], axis=1)


class NoveltyModel:
    """Novelty against a population.

    Parameters
    ----------
    population : Population
        What is usual.
    limits : NoveltyLimits
        Where unusual begins.
    """

    def __init__(self, population: Population, limits: NoveltyLimits) -> None:
        self.limits = limits
        features = _features(population.latents, population.statistics)
        self._mean = features.mean(axis=0)
        covariance = np.cov(features, rowvar=False)
        # Inactive latents hardly vary; the shrinkage keeps their tiny variances from ruling the distance.
        typical = np.trace(covariance) / len(covariance)
        covariance += SHRINKAGE * typical * np.eye(len(covariance))
        self._whiten = torch.from_numpy(np.linalg.inv(np.linalg.cholesky(covariance)).T.astype(np.float32))

    def novelty(self, latents: Array, statistics: Array) -> Array:
        """Return the root mean square of the whitened features, (n,) float32: about 1 for a usual nucleus."""
        centred = (_features(latents, statistics) - self._mean).astype(np.float32)
        # torch's product: numpy's keeps all cores spinning for a matrix this small
        whitened = torch.from_numpy(centred) @ self._whiten
        return np.asarray(whitened.square().mean(dim=1).sqrt().numpy(), np.float32)

    def flags(self, patches: Patches, statistics: Array, novelty: Array) -> NDArray[np.int8]:
        """Return an index into `FLAGS` for each patch, (n,) int8; 0 where there is nothing to say."""
        sharpness, contrast = statistics.T
        conditions = [
            ~patches.is_finite,
            (patches.signal <= 0) | (contrast < self.limits.min_contrast),
            patches.top_share > self.limits.max_top_share,
            sharpness < self.limits.min_sharpness,
            novelty > self.limits.max_novelty,
        ]
        return np.select(conditions, range(1, len(FLAGS)), 0).astype(np.int8)


def _features(latents: Array, statistics: Array) -> Array:
    sharpness, contrast = statistics.T
    columns = np.stack([np.log(np.maximum(sharpness, MIN_SHARPNESS)), contrast], axis=1)
    features: Array = np.concatenate([latents, columns], axis=1)
    return features
