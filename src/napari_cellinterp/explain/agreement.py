"""Where heads agree about nuclei, and where one stands alone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

AGREE = 0
"""Pattern of nuclei of which all heads say the same, or some say nothing."""

NONE_ALONE = "no head alone"


@dataclass(frozen=True, eq=False)
class Opinion:
    """What a head says of n nuclei.

    Attributes
    ----------
    score : (n,) float32
        The one score, or the winner's; NaN where it is undefined.
    state : (n,) int64
        As painted: 0 undefined, 1 the first class, and so on.
    probability : (n,) float32
        Of that state; NaN where the score is undefined.
    """

    score: NDArray[np.float32]
    state: NDArray[np.int64]
    probability: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Disagreement:
    """Nuclei of which heads say different things.

    Attributes
    ----------
    pattern : (n,) uint8
        0 where all heads agree or one has no score; i + 1 where the i-th of ``titles`` holds.
    titles : tuple of str
        Name of each pattern: a head that stands alone against the others, `NONE_ALONE` last; of two heads, that they
        differ.
    sureness : (n,) float32
        Of the two heads that differ most firmly, the probability that the less sure one gives its state; 0 where all
        agree.
    n_undefined : int
        Nuclei left out, because some head has no score.
    """

    pattern: NDArray[np.uint8]
    titles: tuple[str, ...]
    sureness: NDArray[np.float32]
    n_undefined: int

    @property
    def rows(self) -> NDArray[np.int64]:
        """Nuclei of which heads disagree, the firmest disagreement first."""
        rows = np.flatnonzero(self.pattern)
        return rows[np.argsort(-self.sureness[rows], kind="stable")]

    @property
    def counts(self) -> NDArray[np.int64]:
        """Nuclei of each pattern, (n_patterns,)."""
        return np.bincount(self.pattern, minlength=len(self.titles) + 1)[1:]


def pairwise_agreement(opinions: Mapping[str, Opinion]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Compare each head with each other.

    Returns
    -------
    share : (n_heads, n_heads) float64
        Of the nuclei of which both say the same; NaN where there are none to compare.
    n : (n_heads, n_heads) int64
        Nuclei that both have a score for.
    """
    states = np.stack([opinion.state for opinion in opinions.values()])
    known = (states > 0).astype(np.int64)
    n = known @ known.T
    same = np.array([[np.sum((a == b) & (a > 0)) for b in states] for a in states])
    return np.where(n > 0, same / np.maximum(n, 1), np.nan), n


def disagreement(opinions: Mapping[str, Opinion]) -> Disagreement:
    """Find the nuclei of which two or more heads say different things, and who stands alone.

    Parameters
    ----------
    opinions : mapping of str to Opinion
        By the heads' names.
    """
    heads = list(opinions)
    states = np.stack([opinion.state for opinion in opinions.values()])
    known = (states > 0).all(axis=0)
    differ = known & (states != states[0]).any(axis=0)
    pattern = np.where(differ, len(heads) + 1, AGREE).astype(np.uint8)
    for i in range(len(heads)):
        others = np.delete(states, i, axis=0)
        if len(others) > 1:
            pattern[differ & (others == others[0]).all(axis=0)] = i + 1
    titles = tuple(f"{head} alone" for head in heads)
    if len(heads) == 2:
        pattern[differ] = 1
        titles = (f"{heads[0]} and {heads[1]} differ",)
    elif len(heads) > 2:
        titles += (NONE_ALONE,)
    return Disagreement(pattern, titles, _sureness(list(opinions.values()), differ), int(np.sum(~known)))


def _sureness(opinions: list[Opinion], differ: NDArray[np.bool_]) -> NDArray[np.float32]:
    sureness = np.zeros(len(differ), np.float32)
    for a, b in combinations(opinions, 2):
        of_two = np.where(differ & (a.state != b.state), np.fmin(a.probability, b.probability), 0)
        sureness = np.maximum(sureness, of_two)
    return sureness
