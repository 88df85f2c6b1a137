"""What latents are about: which known factor each encodes, and how well a few of them tell the classes apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_cellinterp.training.benchmark import SHAPE_FACTORS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from napari_cellinterp.training.assessment import Judged

MAX_CROPS = 2000
"""Mutual information is estimated from at most so many crops; its cost grows with their square."""

N_BEST = 6
"""So many latents are chosen."""


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


@dataclass(frozen=True)
class BestLatents:
    """The latents from which a strong classifier tells the classes best, chosen one after the other.

    Attributes
    ----------
    latents : tuple of int
        In the order they were chosen.
    accuracy : tuple of float
        On the test crops, with the first, the first two, ...
    """

    latents: tuple[int, ...]
    accuracy: tuple[float, ...]


def best_latents(train: Judged, validation: Judged, test: Judged, candidates: Sequence[int]) -> BestLatents:
    """Choose latents greedily by cubic logistic regression: what the representation allows, whatever head is used.

    Parameters
    ----------
    train, validation, test : Judged
        Crops to fit on, to choose on, and to measure on.
    candidates : sequence of int
        Latents to choose from; at most `N_BEST` are chosen.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    chosen: list[int] = []
    accuracy = []
    for _ in range(min(N_BEST, len(candidates))):
        fits = []
        for latent in (i for i in candidates if i not in chosen):
            columns = [*chosen, latent]
            model = make_pipeline(PolynomialFeatures(3), StandardScaler(), LogisticRegression(max_iter=300))
            model.fit(train.latents[:, columns].numpy(), train.state)
            fits.append((model.score(validation.latents[:, columns].numpy(), validation.state), latent, model))
        _, latent, model = max(fits, key=lambda fit: fit[0])
        chosen.append(latent)
        accuracy.append(float(model.score(test.latents[:, chosen].numpy(), test.state)))
    return BestLatents(tuple(chosen), tuple(accuracy))
