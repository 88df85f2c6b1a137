"""Which known factor each latent encodes: only where the factors are known, as in the benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_cellinterp.training.benchmark import SHAPE_FACTORS

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

MAX_CROPS = 2000
"""Mutual information is estimated from at most so many crops; its cost grows with their square."""


@dataclass(frozen=True)
class LatentMeaning:
    """What a latent is about.

    Attributes
    ----------
    latent : int
        Index.
    information : dict of str to float
        Mutual information with each factor, nats.
    """

    latent: int
    information: dict[str, float]

    @property
    def factor(self) -> str:
        """The factor with the largest mutual information."""
        return max(self.information, key=self.information.__getitem__)

    @property
    def is_central(self) -> bool:
        """Whether that is a factor of the central nucleus's shape."""
        return self.factor in SHAPE_FACTORS


def latent_meanings(latents: NDArray[np.float32], factors: pd.DataFrame, seed: int = 0) -> list[LatentMeaning]:
    """Estimate the mutual information of each latent with each factor, by nearest neighbours (Kraskov et al. 2004).

    Parameters
    ----------
    latents : (n, n_latents) float32
        Mean latents of n crops.
    factors : pandas.DataFrame
        Known factors of the same crops, one column each.
    seed : int
        Which crops are used where there are many.
    """
    from sklearn.feature_selection import mutual_info_regression

    rows = np.random.default_rng(seed).permutation(len(latents))[:MAX_CROPS]
    by_factor = {
        name: mutual_info_regression(latents[rows], values.to_numpy()[rows], random_state=seed)
        for name, values in factors.items()
    }
    return [
        LatentMeaning(i, {str(name): float(values[i]) for name, values in by_factor.items()})
        for i in range(latents.shape[1])
    ]
