"""Maps of the nuclei: their latents, in many dimensions, as positions in a plane."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import cKDTree

from napari_cellinterp.errors import QuestionError
from napari_cellinterp.events import Progressed

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_cellinterp.events import Job

MAX_FITTED = 4_000
"""UMAP is fitted on so many nuclei; the others are placed among them. Below 4,096 it compares all with all, and nobody
waits a minute for its search of neighbours to be compiled."""

CHUNK = 10_000
"""Nuclei that are placed at a time."""

MIN_NUCLEI = 16
N_NEIGHBOURS = 50
"""More than a nucleus has frames in which it hardly changes, else each track is an island of its own."""

N_NEAREST = 15
"""A nucleus outside of the sample is placed among so many."""

_one_at_a_time = Lock()
"""numba's threads may not bear two at once; a job that nobody waits for any more still ends."""


@dataclass(frozen=True, eq=False)
class Embedding:
    """Positions of nuclei in a plane.

    Attributes
    ----------
    titles : tuple of str
        Of the two axes.
    positions : (n, 2) float32
        NaN for nuclei that have no finite latents.
    """

    titles: tuple[str, str]
    positions: NDArray[np.float32]


def principal_components(latents: NDArray[np.float32]) -> Embedding:
    """Project latents on the two directions in which they vary most.

    Parameters
    ----------
    latents : (n, n_latents) float32
        At least one latent; with one only, the second component is 0.
    """
    known = np.isfinite(latents).all(axis=1)
    centred = latents[known].astype(np.float64)
    centred -= centred.mean(axis=0) if len(centred) else 0
    variances, directions = np.linalg.eigh(centred.T @ centred)
    chosen = directions[:, ::-1][:, :2]
    largest = np.take_along_axis(chosen, np.abs(chosen).argmax(axis=0)[None], axis=0)
    projected = centred @ (chosen * np.where(largest < 0, -1, 1))  # else the map may be mirrored from run to run
    positions = np.zeros((len(latents), 2), np.float32)
    positions[known, : projected.shape[1]] = projected
    positions[~known] = np.nan
    shares = [*(variances[::-1] / max(variances.sum(), 1e-12)), 0.0]
    first, second = (f"Principal component {i + 1} ({100 * max(shares[i], 0):.0f} %)" for i in range(2))
    return Embedding((first, second), positions)


def umap_job(latents: NDArray[np.float32], seed: int = 0) -> Job[Embedding]:
    """Place nuclei with similar latents near each other, by UMAP (McInnes et al. 2018).

    It is fitted on a sample. Each other nucleus is placed at the mean of its nearest ones there, nearer ones counting
    more: what UMAP itself begins with for new nuclei, and quick; its own way would take minutes for a long movie.

    Parameters
    ----------
    latents : (n, n_latents) float32
        Those that say something, else noise rules the map.
    seed : int
        Of the sample and of UMAP.

    Raises
    ------
    QuestionError
        If umap-learn isn't installed, or there are too few nuclei.
    """
    known = np.flatnonzero(np.isfinite(latents).all(axis=1))
    if len(known) < MIN_NUCLEI:
        raise QuestionError(
            f"UMAP needs at least {MIN_NUCLEI} nuclei; there are {len(known)}.", "Look at the principal components."
        )
    rng = np.random.default_rng(seed)
    fitted = np.sort(rng.permutation(known)[:MAX_FITTED])
    others = np.setdiff1d(known, fitted)
    positions = np.full((len(latents), 2), np.nan, np.float32)
    yield Progressed(0, len(known))
    with _one_at_a_time:
        positions[fitted] = _umap(len(fitted), seed).fit_transform(latents[fitted])
    yield Progressed(len(fitted), len(known))
    tree = cKDTree(latents[fitted])
    for start in range(0, len(others), CHUNK):
        rows = others[start : start + CHUNK]
        positions[rows] = _among(positions[fitted], *tree.query(latents[rows], N_NEAREST))
        yield Progressed(len(fitted) + start + len(rows), len(known))
    return Embedding(("UMAP 1", "UMAP 2"), positions)


def _among(
    positions: NDArray[np.float32], distances: NDArray[np.float64], nearest: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return means of positions (n_fitted, 2), given the nearest ones and their distances, (n, N_NEAREST) each."""
    beyond = distances - distances[:, :1]
    weights = np.exp(-beyond / np.maximum(beyond.mean(axis=1, keepdims=True), 1e-9))
    weights /= weights.sum(axis=1, keepdims=True)
    means: NDArray[np.float64] = np.einsum("nk,nkd->nd", weights, positions[nearest])
    return means


def _umap(n: int, seed: int) -> Any:
    try:
        from umap import UMAP  # type: ignore[import-untyped]
    except ImportError as error:
        raise QuestionError(
            "UMAP isn't installed.", 'Install it with pip install "napari-cellinterp[embed]", and restart napari.'
        ) from error
    return UMAP(n_neighbors=min(N_NEIGHBOURS, n - 1), init="pca", random_state=seed, n_jobs=1)


def inside_lasso(positions: ArrayLike, lasso: ArrayLike) -> NDArray[np.bool_]:
    """Say which positions lie inside a closed line, by the even-odd rule.

    Each side of the line meets only the positions of its own heights, so a long lasso around many nuclei is quick.

    Parameters
    ----------
    positions : (n, 2) array of float
        x and y; those that aren't finite are outside.
    lasso : (n_corners, 2) array of float
        Its corners.

    Returns
    -------
    (n,) bool
    """
    points, corners = np.asarray(positions, np.float64), np.asarray(lasso, np.float64)
    order = np.argsort(points[:, 1])
    x, y = points[order].T
    ends = np.roll(corners, -1, axis=0)
    first, last = (np.searchsorted(y, end(corners[:, 1], ends[:, 1])) for end in (np.minimum, np.maximum))
    crossed = np.zeros(len(points), bool)
    for (x0, y0), (x1, y1), i, j in zip(corners, ends, first, last, strict=True):
        if j > i:
            crossed[i:j] ^= x[i:j] < x0 + (y[i:j] - y0) * ((x1 - x0) / (y1 - y0))
    inside = np.empty_like(crossed)
    inside[order] = crossed
    return inside
