"""The outline of the central nucleus in fixed units, which the first latents can be taught to hold.

A beta-TCVAE without supervision describes what varies most in the pixels; which latent holds what, and how exactly, is
left to chance. Where the masks of nuclei are known, as they are in simulation and in segmented movies, the means of the
first latents can be drawn towards what is measured of them, as Locatello et al. 2020 ("Disentangling factors of
variation using few labels") draw theirs towards known factors. No state of a nucleus is used.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch
from skimage.measure import regionprops_table

from napari_cellinterp.config import REFERENCE_DIAMETER_PX

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Outlines = NDArray[np.float32]

MIN_CONCAVITY = 0.01
"""Of a nucleus without dents; the logarithm needs one."""

LIMIT = 3.5
"""Outlines farther out than so many units are cut: debris and merged nuclei shall not pull all others together."""


class Guide(NamedTuple):
    """What a latent is taught to hold: (measured - middle) / unit.

    Attributes
    ----------
    name : str
        What is measured.
    middle, unit : float
        The measured value that a latent of 0 stands for, and the difference that one of 1 does.
    """

    name: str
    middle: float
    unit: float


GUIDES = (
    Guide("size", math.log(math.pi / 4 * REFERENCE_DIAMETER_PX**2), 0.5),
    Guide("elongation", 0.0, 0.4),
    Guide("diagonal elongation", 0.0, 0.4),
    Guide("raggedness", -2.3, 0.7),
)
"""In the order of the latents: the first latent is guided by the first.

They are of the logarithm of the area in model pixels; of the difference of the second moments along x and y divided by
their sum; of the same along the diagonals, positive where the nucleus points up to the right; and of the logarithm of
the share of its convex hull that the nucleus doesn't fill. Middles and units bring nuclei in culture near the standard
normal distribution that the beta-TCVAE expects.
"""


def outlines(labels: NDArray[np.generic], ids: NDArray[np.integer], zoom: float) -> Outlines:
    """Measure nuclei by their masks.

    Parameters
    ----------
    labels : (height, width) int
        Label image.
    ids : (n,) int
        Which of its labels.
    zoom : float
        Model pixels per pixel of the image.

    Returns
    -------
    (n, 4) float32
        What `GUIDES` lists, in its units; NaN for an id that isn't in the image.
    """
    table = pd.DataFrame(regionprops_table(labels, properties=("label", "area", "inertia_tensor", "solidity")))
    # the inertia tensor's first axis is y: its diagonal holds the moments along the *other* axis
    across_y, across_x, mixed = (table[f"inertia_tensor-{i}"] for i in ("0-0", "1-1", "0-1"))
    total = across_y + across_x
    measured = pd.DataFrame(
        {
            "size": np.log(table["area"] * zoom**2),
            "elongation": (across_y - across_x) / total,
            "diagonal elongation": 2 * mixed / total,
            "raggedness": np.log(np.maximum(1 - table["solidity"], MIN_CONCAVITY)),
        }
    )
    values = (measured - [guide.middle for guide in GUIDES]) / [guide.unit for guide in GUIDES]
    found: Outlines = values.clip(-LIMIT, LIMIT).set_index(table["label"]).reindex(ids).to_numpy(np.float32)
    return found


def no_outlines(n: int) -> Outlines:
    """Return the outlines of n nuclei whose masks aren't known, (n, 4)."""
    return np.full((n, len(GUIDES)), np.nan, np.float32)


def turned_outlines(outline: Tensor, turns: Tensor) -> Tensor:
    """Return outlines (n, 4) of nuclei that are each flipped and turned, by ``turns`` (n,) as `fit.turned` does it."""
    quarter = torch.where(turns % 2 == 1, -1.0, 1.0)
    flip = torch.where(turns >= 4, -1.0, 1.0)
    signs = torch.ones_like(outline)
    signs[:, 1], signs[:, 2] = quarter, quarter * flip
    return outline * signs


def guide_error(mean: Tensor, outline: Tensor, guide_sd: float) -> Tensor:
    """Return how far the first latents are from what they are taught, in nats: a Gaussian likelihood, as of pixels.

    Parameters
    ----------
    mean : (n, n_latents) Tensor
        Of the latents.
    outline : (n, 4) Tensor
        What the first of them should be; NaN where it isn't known, which costs nothing.
    guide_sd : float
        Error that counts as one standard deviation.

    Returns
    -------
    () Tensor
        Mean over the n images.
    """
    error = torch.where(outline.isfinite(), mean[:, : outline.shape[1]] - outline, 0)
    return (error / guide_sd).square().sum(dim=1).mean() / 2
