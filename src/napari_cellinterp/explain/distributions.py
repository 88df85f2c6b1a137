"""How a number is distributed among nuclei: histogram and smooth density, quick for hundreds of thousands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

N_BINS = 48
N_POINTS = 241

MARGIN = 0.06
"""Room at both ends of the axis, as a share of the values' range."""

CONSTANT = 1e-6
"""Values that differ by less, as a share of their size, are one."""


@dataclass(frozen=True, eq=False)
class Distribution:
    """One number of some nuclei; both curves have the area 1, and are 0 where there is no nucleus.

    Attributes
    ----------
    n : int
        Nuclei with a finite value.
    edges : (N_BINS + 1,) float64
        Of the histogram's bins.
    histogram : (N_BINS,) float64
        Density in each bin.
    x, density : (N_POINTS,) float64
        The kernel density estimate.
    """

    n: int
    edges: Floats
    histogram: Floats
    x: Floats
    density: Floats


def shared_axis(*groups: ArrayLike) -> tuple[float, float] | None:
    """Return the ends of an axis that shows all finite values; None where there are none, or all are one."""
    known = np.concatenate([np.ravel(group)[np.isfinite(np.ravel(group))] for group in groups])
    if not len(known):
        return None
    low, high = float(known.min()), float(known.max())
    if high - low <= CONSTANT * max(1.0, abs(low), abs(high)):
        return None
    room = MARGIN * (high - low)
    return low - room, high + room


def distribution(values: ArrayLike, axis: tuple[float, float]) -> Distribution:
    """Estimate the distribution of values along an axis.

    The kernel is Gaussian, its width by Silverman's rule ("Density Estimation", 1986, eq. 3.31), summed over fine bins.

    Parameters
    ----------
    values : (n,) array of float
        One number a nucleus; those that aren't finite are left out.
    axis : tuple of float
        Its ends, see `shared_axis`.
    """
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    edges: Floats = np.linspace(*axis, N_BINS + 1, dtype=np.float64)
    x: Floats = np.linspace(*axis, N_POINTS, dtype=np.float64)
    if not len(known):
        return Distribution(0, edges, np.zeros(N_BINS), x, np.zeros(N_POINTS))
    histogram = np.histogram(known, edges)[0] / (len(known) * (edges[1] - edges[0]))
    return Distribution(len(known), edges, histogram, x, _density(known, x))


def _density(values: Floats, x: Floats) -> Floats:
    step = x[1] - x[0]
    width = max(_kernel_width(values), step)
    counts = np.bincount(np.clip(np.rint((values - x[0]) / step).astype(int), 0, len(x) - 1), minlength=len(x))
    kernel = np.exp(-0.5 * ((x[:, None] - x) / width) ** 2) / (width * np.sqrt(2 * np.pi))
    density: Floats = kernel @ counts / len(values)
    return density


def _kernel_width(values: Floats) -> float:
    quarter, three_quarters = np.quantile(values, [0.25, 0.75])
    spreads = [spread for spread in (values.std(), (three_quarters - quarter) / 1.34) if spread > 0]
    return float(0.9 * min(spreads, default=0.0) * len(values) ** -0.2)
