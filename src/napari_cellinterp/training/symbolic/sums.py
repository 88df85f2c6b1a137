"""Sums of more and more terms: where a genetic search begins, so that it ends no worse than they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_cellinterp.training.symbolic.front import Floats


def growing_sums(latents: Floats, wanted: Floats, weights: Floats, inputs: Sequence[int], most: int) -> list[str]:
    """Fit sums of one latent or its square, of two, and so on; each takes what helps most to those before.

    Parameters
    ----------
    latents : (n, n_latents) float64
        Of the crops.
    wanted : (n,) float64
        What the sums should be.
    weights : (n,) float64
        How much the squared error of each crop counts.
    inputs : sequence of int
        Latents that the sums may read.
    most : int
        The largest number of terms.

    Returns
    -------
    list of str
        Formulas, the shortest first.
    """
    root = np.sqrt(weights)
    columns: dict[str, Floats] = {"": np.ones(len(latents))}
    columns |= {f"z{index}": latents[:, index] for index in inputs}
    columns |= {f"z{index}**2": latents[:, index] ** 2 for index in inputs}

    def fit(chosen: Sequence[str]) -> tuple[float, Floats]:
        terms = np.column_stack([columns[term] for term in chosen])
        factors: Floats = np.linalg.lstsq(terms * root[:, None], wanted * root, rcond=None)[0]
        return float(np.square((terms @ factors - wanted) * root).sum()), factors

    chosen = [""]
    formulas = []
    while len(chosen) <= min(most, 2 * len(inputs)):
        left = [term for term in columns if term not in chosen]
        chosen.append(min(left, key=lambda term: fit([*chosen, term])[0]))
        constant, *factors = fit(chosen)[1]
        terms = [f"({factor:.6g}) * {term}" for factor, term in zip(factors, chosen[1:], strict=True)]
        formulas.append(" + ".join([f"({constant:.6g})", *terms]))
    return formulas
