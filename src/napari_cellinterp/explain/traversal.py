"""Traversals: how the decoded nucleus and its scores change along one latent, or between two nuclei."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_cellinterp.errors import QuestionError
from napari_cellinterp.explain.scoring import score_latents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_cellinterp.config import HeadName
    from napari_cellinterp.models.bundle import ModelBundle

    Array = NDArray[np.float32]

PAPER_RANGE = (-3.0, 3.0)
"""Range of traversals in Soelistyo & Lowe, standard deviations of the prior."""

POPULATION_SHARES = (0.001, 0.999)
"""The range is widened to these quantiles of the population."""

BATCH = 64
"""Images decoded in one pass; those of larger ones fall out of the cache."""

TICK_SHARES = (0.05, 0.5, 0.95)
"""Quantiles of each state that are marked on a slider."""


@dataclass(frozen=True)
class LatentRange:
    """Where a latent's slider begins and ends, and what is usual in each state.

    Attributes
    ----------
    low, high : float
        Ends, standard deviations of the prior.
    ticks : dict of str to tuple of float
        The 5, 50 and 95 % quantiles of the population's crops of each state.
    """

    low: float
    high: float
    ticks: dict[str, tuple[float, ...]]

    def holding(self, value: float) -> LatentRange:
        """Return the range widened so that a value lies in it."""
        return LatentRange(min(self.low, value), max(self.high, value), self.ticks)


@dataclass(frozen=True, eq=False)
class Traversal:
    """Decoded images along a way through the latents, and their scores.

    Attributes
    ----------
    latents : (n, n_latents) float32
        The points on the way.
    images : (n, n_channels, 64, 64) float32
        Decoded, in [0, 1].
    scores : dict of str to (n, n_scores) float32
        Of each head; the CNN's are of the decoded images.
    """

    latents: Array
    images: Array
    scores: dict[HeadName, Array]


def latent_ranges(bundle: ModelBundle) -> list[LatentRange]:
    """Return the range of each latent: [-3, 3], widened to 0.1-99.9 % of the population."""
    latents, state = bundle.population.latents, bundle.population.state
    low, high = np.quantile(latents, POPULATION_SHARES, axis=0)
    of_states = {name: latents[state == i] for i, name in enumerate(bundle.info.classes)}
    ticks = {name: np.quantile(rows, TICK_SHARES, axis=0) for name, rows in of_states.items() if len(rows)}
    return [
        LatentRange(
            min(PAPER_RANGE[0], float(low[i])),
            max(PAPER_RANGE[1], float(high[i])),
            {name: tuple(float(value) for value in quantiles[:, i]) for name, quantiles in ticks.items()},
        )
        for i in range(bundle.info.n_latents)
    ]


def traverse(bundle: ModelBundle, latents: Array, index: int, values: Sequence[float] | Array) -> Traversal:
    """Set one latent of a nucleus to each of some values, and decode.

    Parameters
    ----------
    bundle : ModelBundle
        The model.
    latents : (n_latents,) float32
        Of the nucleus.
    index : int
        Which latent.
    values : (n,) sequence of float
        Standard deviations of the prior.

    Raises
    ------
    QuestionError
        If there is no such latent, or the nucleus has another number of them.
    """
    _check(bundle, latents, index)
    points = np.repeat(np.asarray(latents, np.float32)[None], len(values), axis=0)
    points[:, index] = values
    return decode(bundle, points)


def traversal_grid(bundle: ModelBundle, latents: Array, n_steps: int = 11) -> Array:
    """Decode all latents over their ranges, each with the others as they are.

    Parameters
    ----------
    bundle : ModelBundle
        The model.
    latents : (n_latents,) float32
        Of the nucleus.
    n_steps : int
        Values of each latent.

    Returns
    -------
    (n_latents, n_steps, n_channels, 64, 64) float32
        In the order of the latents' indices.
    """
    _check(bundle, latents, 0)
    ranges = latent_ranges(bundle)
    n = bundle.info.n_latents
    points = np.tile(np.asarray(latents, np.float32), (n, n_steps, 1))
    for i, span in enumerate(ranges):
        points[i, :, i] = np.linspace(span.low, span.high, n_steps)
    images = decode_images(bundle, points.reshape(n * n_steps, n))
    return images.reshape(n, n_steps, *images.shape[1:])


def path(bundle: ModelBundle, start: Array, end: Array, n_steps: int = 11) -> Traversal:
    """Walk straight from one nucleus's latents to another's, (n_latents,) each, ends included."""
    for latents in (start, end):
        _check(bundle, latents, 0)
    share = np.linspace(0, 1, n_steps, dtype=np.float32)[:, None]
    return decode(bundle, (1 - share) * np.asarray(start, np.float32) + share * np.asarray(end, np.float32))


def decode(bundle: ModelBundle, latents: Array) -> Traversal:
    """Decode and score latents (n, n_latents)."""
    images = decode_images(bundle, latents)
    scores = score_latents(bundle, torch.from_numpy(latents), torch.from_numpy(images))
    return Traversal(latents, images, {name: found.numpy() for name, found in scores.items()})


@torch.inference_mode()
def decode_images(bundle: ModelBundle, latents: Array) -> Array:
    """Decode latents (n, n_latents) to images (n, n_channels, 64, 64) in [0, 1]."""
    batches = torch.split(torch.from_numpy(np.ascontiguousarray(latents, np.float32)), BATCH)
    images: Array = torch.cat([bundle.decoder(batch) for batch in batches]).numpy()
    return images


@torch.inference_mode()
def encode_crop(bundle: ModelBundle, crop: Array) -> Array:
    """Return the mean latents (n_latents,) of a crop (n_channels, 64, 64) in [0, 1].

    Raises
    ------
    QuestionError
        If the crop has another shape than the model reads.
    """
    info = bundle.info
    expected = (info.n_channels, info.patch_px, info.patch_px)
    if crop.shape != expected:
        raise QuestionError(
            f"The crop has the shape {crop.shape}, but the model {info.name!r} reads {expected}.",
            "Choose a model for this movie's channels, and classify with it first.",
        )
    latents: Array = bundle.encoder.encode(torch.from_numpy(crop[None])).numpy()[0]
    return latents


def _check(bundle: ModelBundle, latents: Array, index: int) -> None:
    n = bundle.info.n_latents
    if np.shape(latents) != (n,):
        raise QuestionError(
            f"The nucleus has latents of shape {np.shape(latents)}, but the model {bundle.info.name!r} has {n}.",
            "Encode it with this model.",
        )
    if not 0 <= index < n:
        raise QuestionError(f"There is no latent z{index}.", f"The model {bundle.info.name!r} has z0 to z{n - 1}.")
