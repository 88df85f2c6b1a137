"""Linear scores of more and more latents: where a genetic search begins, so that it ends no worse than they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_cellinterp.training.symbolic.front import Floats


def linear_scores(latents: Floats, wanted: Floats, weights: Floats, inputs: Sequence[int], most: int) -> list[str]:
    """Fit linear scores of one latent, of two, and so on; each takes the latent that helps most to those before.

    Parameters
    ----------
    latents : (n, n_latents) float64
        Of the crops.
    wanted : (n,) float64
        What the scores should be.
    weights : (n,) float64
        How much the squared error of each crop counts.
    inputs : sequence of int
        Latents that the scores may read.
    most : int
        The largest number of latents.

    Returns
    -------
    list of str
        Formulas, the shortest first.
    """
    root = np.sqrt(weights)

    def fit(chosen: Sequence[int]) -> tuple[float, Floats]:
        columns = np.column_stack([np.ones(len(latents)), latents[:, list(chosen)]])
        factors: Floats = np.linalg.lstsq(columns * root[:, None], wanted * root, rcond=None)[0]
        return float(np.square((columns @ factors - wanted) * root).sum()), factors

    chosen: list[int] = []
    formulas = []
    while len(chosen) < min(most, len(inputs)):
        left = [index for index in inputs if index not in chosen]
        chosen.append(min(left, key=lambda index: fit([*chosen, index])[0]))
        constant, *factors = fit(chosen)[1]
        terms = [f"({factor:.6g}) * z{index}" for factor, index in zip(factors, chosen, strict=True)]
        formulas.append(" + ".join([f"({constant:.6g})", *terms]))
    return formulas
