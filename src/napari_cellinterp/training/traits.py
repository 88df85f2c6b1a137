"""Traits of the central nucleus in fixed units, which the first latents can be taught to hold.

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
from scipy.ndimage import distance_transform_edt, gaussian_filter, minimum
from skimage.measure import regionprops, regionprops_table

from napari_cellinterp.config import REFERENCE_DIAMETER_PX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_cellinterp.config import VaeConfig

    Traits = NDArray[np.float32]
    Floats = NDArray[np.floating]

MIN_CONCAVITY, MIN_UNEVENNESS, MIN_LOPSIDEDNESS = 0.01, 0.02, 0.01
"""Of a nucleus without dents, of one of even brightness, and of a symmetric one; the logarithm needs one."""

LIMIT = 3.5
"""Traits farther out than so many units are cut: debris and merged nuclei shall not pull all others together."""

SMOOTHING_PX = 0.7
"""Of the image before brightness is measured, model pixels: the camera's noise shall not count as chromatin."""

REACH_PX, PARTNER_PX = 12, 6.0
"""So far from a nucleus a partner is looked for, and over such a gap it counts e times less, model pixels."""


class Trait(NamedTuple):
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


OUTLINE = (
    Trait("size", math.log(math.pi / 4 * REFERENCE_DIAMETER_PX**2), 0.5),
    Trait("elongation", 0.0, 0.4),
    Trait("diagonal elongation", 0.0, 0.4),
    Trait("raggedness", -2.3, 0.7),
)
"""Traits that the mask alone tells.

They are of the logarithm of the area in model pixels; of the difference of the second moments along x and y divided by
their sum; of the same along the diagonals, positive where the nucleus points up to the right; and of the logarithm of
the share of its convex hull that the nucleus doesn't fill. Middles and units bring nuclei in culture near the standard
normal distribution that the beta-TCVAE expects.
"""

TRAITS = (
    *OUTLINE,
    Trait("unevenness", -1.45, 0.25),
    Trait("rim", 0.78, 0.11),
    Trait("thickness", 0.77, 0.13),
    Trait("lopsidedness", -2.2, 0.9),
    Trait("partner", 0.25, 0.22),
)
"""All traits, in the order of the latents: the first latent is taught the first.

Those after the outline are of the logarithm of the coefficient of variation of brightness; of the brightness of the
outer half of the nucleus over that of its inner half, the halves by the distance to the outline; of the radius of the
largest circle within it over that of a circle of its area; of the logarithm of its odd moments,
`lopsidedness`; and of how near another nucleus is that is as bright: exp(-gap / `PARTNER_PX`) times the fainter one's
brightness over the brighter one's, of the nucleus for which that is largest. Brightness is above the crop's background.
"""


def taught_names(config: VaeConfig) -> dict[int, str]:
    """Return the trait that each latent is taught; none where ``guide_sd`` isn't set."""
    taught = {"outline": OUTLINE, "all": TRAITS}[config.taught] if config.guide_sd is not None else ()
    return {latent: trait.name for latent, trait in enumerate(taught)}


def measure_traits(
    image: NDArray[np.generic], labels: NDArray[np.generic], ids: NDArray[np.integer], zoom: float, background: Floats
) -> Traits:
    """Measure nuclei by their masks and their light.

    Parameters
    ----------
    image : (height, width) array
        Nuclear stain.
    labels : (height, width) int
        Label image.
    ids : (n,) int
        Which of its labels.
    zoom : float
        Model pixels per pixel of the image.
    background : (n,) array
        Of the crops around them, in units of the image.

    Returns
    -------
    (n, 9) float32
        What `TRAITS` lists, in its units; NaN for an id that isn't in the image.
    """
    background_of = dict(zip(ids.tolist(), background.tolist(), strict=True))
    measured = pd.concat([_of_masks(labels, zoom), _of_light(image, labels, background_of, zoom)], axis=1)
    values = (measured - [trait.middle for trait in TRAITS]) / [trait.unit for trait in TRAITS]
    found: Traits = values.clip(-LIMIT, LIMIT).reindex(ids).to_numpy(np.float32)
    return found


def _of_masks(labels: NDArray[np.generic], zoom: float) -> pd.DataFrame:
    """Measure the outlines of all nuclei; indexed by their labels."""
    table = pd.DataFrame(regionprops_table(labels, properties=("label", "area", "inertia_tensor", "solidity")))
    # the inertia tensor's first axis is y: its diagonal holds the moments along the *other* axis
    across_y, across_x, mixed = (table[f"inertia_tensor-{i}"] for i in ("0-0", "1-1", "0-1"))
    total = across_y + across_x
    measured = {
        "size": np.log(table["area"] * zoom**2),
        "elongation": (across_y - across_x) / total,
        "diagonal elongation": 2 * mixed / total,
        "raggedness": np.log(np.maximum(1 - table["solidity"], MIN_CONCAVITY)),
    }
    return pd.DataFrame(measured).set_index(table["label"])


def _of_light(
    image: NDArray[np.generic], labels: NDArray[np.generic], background: Mapping[int, float], zoom: float
) -> pd.DataFrame:
    """Measure what the outline alone doesn't tell, of the nuclei whose background is known; indexed by their labels."""
    smooth = gaussian_filter(image.astype(np.float32), SMOOTHING_PX / zoom)
    regions = {region.label: region for region in regionprops(labels)}
    mean = np.zeros(max(regions, default=0) + 1)
    for number, region in regions.items():
        mean[number] = smooth[tuple(region.coords.T)].mean()
    reach = math.ceil(REACH_PX / zoom)
    rows = {}
    for number in background.keys() & regions.keys():
        top, left, bottom, right = regions[number].bbox
        window = np.s_[max(top - reach, 0) : bottom + reach, max(left - reach, 0) : right + reach]
        mask = labels[window] == number
        above = np.maximum(mean - background[number], 1e-6)
        rows[number] = {
            **_chromatin(np.maximum(smooth[window] - background[number], 1e-6), mask),
            "lopsidedness": math.log(max(lopsidedness(mask), MIN_LOPSIDEDNESS)),
            "partner": _partner(mask, np.where(mask, 0, labels[window]), above / above[number], zoom),
        }
    names = [trait.name for trait in TRAITS[len(OUTLINE) :]]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names, dtype=float)


def _chromatin(light: NDArray[np.float32], mask: NDArray[np.bool_]) -> dict[str, float]:
    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1][mask]
    values, outer = light[mask], depth <= np.median(depth)
    inner = values[~outer] if not outer.all() else values
    return {
        "unevenness": math.log(max(values.std() / values.mean(), MIN_UNEVENNESS)),
        "rim": values[outer].mean() / inner.mean(),
        "thickness": depth.max() / math.sqrt(mask.sum() / math.pi),
    }


def lopsidedness(mask: NDArray[np.bool_]) -> float:
    """Return how far a shape is from looking the same upside down, 0 to about 1.

    Its third moments, |sum r^3 exp(i a)| and |sum r^3 exp(3i a)| with r and a the distance and direction of a pixel
    from the middle, as the root of their sum of squares over sum r^3; both vanish where each pixel has one opposite.

    Parameters
    ----------
    mask : (height, width) bool
        One pixel or more.
    """
    y, x = (axis - axis.mean() for axis in np.nonzero(mask))
    r, direction = np.hypot(y, x), np.arctan2(y, x)
    moments = [abs((r**3 * np.exp(1j * n * direction)).sum()) for n in (1, 3)]
    return float(np.hypot(*moments) / max((r**3).sum(), 1e-6))


def _partner(mask: NDArray[np.bool_], others: NDArray[np.generic], ratio: Floats, zoom: float) -> float:
    """How near a nucleus as bright as this one is; ``ratio`` by label, of a nucleus's brightness over this one's."""
    found = np.unique(others).astype(int)
    found = found[found > 0]
    if not len(found):
        return 0.0
    gap_px = np.asarray(minimum(distance_transform_edt(~mask), others, found)) * zoom
    alike = np.minimum(ratio[found], 1 / ratio[found])
    return float((np.exp(-gap_px / PARTNER_PX) * alike).max())


def unknown_traits(n: int) -> Traits:
    """Return the traits of n nuclei whose masks aren't known, (n, 9)."""
    return np.full((n, len(TRAITS)), np.nan, np.float32)


def turned_traits(traits: Tensor, turns: Tensor) -> Tensor:
    """Return traits (n, 9) of nuclei that are each flipped and turned, by ``turns`` (n,) as `fit.turned` does it."""
    quarter = torch.where(turns % 2 == 1, -1.0, 1.0)
    flip = torch.where(turns >= 4, -1.0, 1.0)
    signs = torch.ones_like(traits)
    signs[:, 1], signs[:, 2] = quarter, quarter * flip
    return traits * signs


def guide_error(mean: Tensor, traits: Tensor, guide_sd: float) -> Tensor:
    """Return how far the first latents are from what they are taught, in nats: a Gaussian likelihood, as of pixels.

    Parameters
    ----------
    mean : (n, n_latents) Tensor
        Of the latents.
    traits : (n, n_taught) Tensor
        What the first of them should be; NaN where it isn't known, which costs nothing.
    guide_sd : float
        Error that counts as one standard deviation.

    Returns
    -------
    () Tensor
        Mean over the n images.
    """
    error = torch.where(traits.isfinite(), mean[:, : traits.shape[1]] - traits, 0)
    return (error / guide_sd).square().sum(dim=1).mean() / 2
