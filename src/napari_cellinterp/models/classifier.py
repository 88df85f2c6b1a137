"""Turn patches into scores, states, probabilities and novelty with one head of a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_cellinterp.errors import PatchesError
from napari_cellinterp.models.compiled import BATCH, CompiledEncoder, is_available
from napari_cellinterp.models.heads import UNDEFINED, states_of
from napari_cellinterp.models.novelty import crop_statistics

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_cellinterp.config import HeadName
    from napari_cellinterp.models.bundle import ModelBundle
    from napari_cellinterp.movies.patches import Patches

    Array = NDArray[np.float32]


@dataclass(frozen=True)
class Answer:
    """What a head answers to n nuclei.

    Attributes
    ----------
    scores : (n, n_scores) float32
        One score for two classes, else one a class; NaN where it is undefined.
    state : (n,) int64
        Index into the bundle's classes; `UNDEFINED` where the score is.
    probability : (n,) float32
        Of that state, calibrated; NaN where the score is undefined.
    """

    scores: Array
    state: NDArray[np.int64]
    probability: Array

    @property
    def score(self) -> Array:
        """The one score, or the winner's, (n,) float32."""
        if self.scores.shape[1] == 1:
            return self.scores[:, 0]
        winner = np.maximum(self.state, 0)
        return np.where(self.state == UNDEFINED, np.nan, self.scores[np.arange(len(winner)), winner]).astype(np.float32)


@dataclass(frozen=True)
class Scores(Answer):
    """What a head answers to n patches, and what else the model says of them.

    Attributes
    ----------
    latents : (n, n_latents) float32
        Mean of the latents.
    novelty : (n,) float32
        See `napari_cellinterp.models.novelty`.
    flag : (n,) int8
        Index into `napari_cellinterp.models.novelty.FLAGS`.
    reconstruction_error : (n,) float32 or None
        Mean squared error of the decoded patch, where it was asked for.
    """

    latents: Array
    novelty: Array
    flag: NDArray[np.int8]
    reconstruction_error: Array | None = None


class Classifier:
    """A bundle with one of its heads, ready for patches.

    Parameters
    ----------
    bundle : ModelBundle
        The model.
    head : str
        Scheme of the head that gives the states.
    reconstruct : bool
        Also decode, and report the reconstruction error.

    Raises
    ------
    BundleError
        If the bundle doesn't have the head.
    """

    def __init__(self, bundle: ModelBundle, head: HeadName, *, reconstruct: bool = False) -> None:
        self.bundle, self.head_name, self.reconstruct = bundle, head, reconstruct
        self._head = bundle.head(head)
        self._compiled = CompiledEncoder(bundle.encoder, torch.get_num_threads()) if is_available() else None
        self._calibration = bundle.info.heads[head].calibration
        self._novelty = bundle.novelty_model()

    def __call__(self, patches: Patches) -> Scores:
        """Classify patches.

        Raises
        ------
        PatchesError
            If they have another number of channels than the model.
        """
        n_channels = self.bundle.info.n_channels
        if patches.x.shape[1] != n_channels:
            raise PatchesError(
                f"The patches have {patches.x.shape[1]} channels, but the model {self.bundle.info.name!r} reads "
                f"{n_channels}.",
                "Choose a model for these channels, or give only the chromatin channel.",
            )
        scores, latents, errors = self._forward(patches.x)
        scores[~patches.is_finite] = np.nan
        state, probability = decide(scores, np.array([(c.slope, c.offset) for c in self._calibration]))
        statistics = crop_statistics(patches)
        novelty = self._novelty.novelty(latents, statistics)
        flag = self._novelty.flags(patches, statistics, novelty)
        return Scores(scores, state, probability, latents, novelty, flag, errors)

    @torch.inference_mode()
    def encode(self, x: Array) -> Array:
        """Return the mean of the latents, (n, n_latents) float32, of patches (n, n_channels, 64, 64) float32."""
        if self._compiled is not None:
            return self._compiled(x)
        return _in_batches(self.bundle.encoder.encode, x, self.bundle.info.n_latents)

    @torch.inference_mode()
    def _forward(self, x: Array) -> tuple[Array, Array, Array | None]:
        latents = self.encode(x)
        if self.head_name == "cnn":
            scores = _in_batches(self._head, x, self.bundle.info.n_scores)
        else:
            scores = self._head(torch.from_numpy(latents)).numpy()
        return scores, latents, self._reconstruction_errors(x, latents) if self.reconstruct else None

    def _reconstruction_errors(self, x: Array, latents: Array) -> Array:
        errors = np.empty(len(x), np.float32)
        for start in range(0, len(x), BATCH):
            rows = slice(start, start + BATCH)
            decoded = self.bundle.decoder(torch.from_numpy(latents[rows])).numpy()
            errors[rows] = np.square(decoded - x[rows]).mean(axis=(1, 2, 3))
        return errors


def _in_batches(network: Callable[[torch.Tensor], torch.Tensor], x: Array, n_outputs: int) -> Array:
    """Return what a network says of each row of x, (n, n_outputs) float32."""
    outputs = np.empty((len(x), n_outputs), np.float32)
    for start in range(0, len(x), BATCH):
        rows = slice(start, start + BATCH)
        outputs[rows] = network(torch.from_numpy(x[rows])).numpy()
    return outputs


def decide(scores: Array, calibration: NDArray[np.float64]) -> tuple[NDArray[np.int64], Array]:
    """Turn scores into states and their probabilities.

    The state is the head's answer alone: the upper class where the one score is >= 0, or the class of the largest
    score. The probability never moves it.

    Parameters
    ----------
    scores : (n, n_scores) float32
        NaN where undefined.
    calibration : (n_scores, 2) float
        Slope and offset of each score's logistic calibration.

    Returns
    -------
    state : (n,) int64
        Index of the class, `UNDEFINED` where any score is.
    probability : (n,) float32
        Of that state.
    """
    state = states_of(scores)
    probability = class_probabilities(scores, calibration)[np.arange(len(state)), state]
    return state, probability.astype(np.float32)


def class_probabilities(scores: Array, calibration: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability of each class, (n, n_classes), NaN where a score is undefined; parameters as in `decide`.

    One score is the logit of the second class; several are the logits of a softmax.
    """
    defined = np.isfinite(scores).all(axis=1, keepdims=True)
    logit = np.where(defined, scores, 0) * calibration[:, 0] + calibration[:, 1]
    if scores.shape[1] == 1:
        logit = np.concatenate([np.zeros_like(logit), logit], axis=1)
    odds = np.exp(logit - logit.max(axis=1, keepdims=True))
    return np.where(defined, odds / odds.sum(axis=1, keepdims=True), np.nan)
