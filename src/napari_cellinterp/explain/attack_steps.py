"""Steps of an attack: which way is uphill for a head, and where steps along it lead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_cellinterp.config import PATCH_PX
from napari_cellinterp.errors import QuestionError
from napari_cellinterp.events import Stepped, finish
from napari_cellinterp.explain.scoring import Space, margins, score_function
from napari_cellinterp.models.heads import UNDEFINED, states_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike
    from torch import Tensor

    from napari_cellinterp.config import HeadName
    from napari_cellinterp.events import Job
    from napari_cellinterp.models.bundle import ModelBundle

BATCH = 128
"""Nuclei in one pass through the networks."""


class Attack:
    """How a head is attacked: what is changed, what stays, and in how many steps."""

    def __init__(
        self, bundle: ModelBundle, head: HeadName, space: Space, fixed: Sequence[int] = (), n_steps: int = 1
    ) -> None:
        if n_steps < 1:
            raise QuestionError(f"An attack of {n_steps} steps isn't one.", "Take 1 or more.")
        self.bundle, self.head, self.space, self.n_steps = bundle, head, space, n_steps
        self._score = score_function(bundle, head, space)
        self._free = _free(bundle, space, fixed)

    @torch.no_grad()
    def inputs(self, x: ArrayLike) -> Tensor:
        """Return what is changed, of patches (n, n_channels, 64, 64)."""
        images = torch.from_numpy(np.array(x, np.float32))
        _check(self.bundle, images, "image")
        if self.space == "image":
            return images
        return torch.cat([self.bundle.encoder.encode(part) for part in torch.split(images, BATCH)])

    @torch.no_grad()
    def scores_of(self, inputs: Tensor) -> Tensor:
        """Return the scores of inputs, (n, n_scores)."""
        return torch.cat([self._score(part) for part in torch.split(inputs, BATCH)])

    def uphill(self, inputs: Tensor, state: Tensor) -> Tensor:
        """Return the sign of the loss's gradient, like the inputs; 0 where it is undefined or the latent is fixed."""
        signs = []
        for part, of in zip(torch.split(inputs, BATCH), torch.split(state, BATCH), strict=True):
            with torch.enable_grad():
                leaf = part.detach().clone().requires_grad_()
                loss = -margins(self._score(leaf), of.clamp(min=0)).sum()
                # a formula may be one constant
                gradient = torch.autograd.grad(loss, leaf)[0] if loss.requires_grad else torch.zeros_like(leaf)
            signs.append(gradient.nan_to_num(nan=0.0).sign())
        return torch.cat(signs) * self._free


class Way:
    """Where an attack leads n inputs: away from their states."""

    def __init__(self, attack: Attack, start: Tensor, state: Tensor | None = None) -> None:
        _check(attack.bundle, start, attack.space)
        self.attack, self.start = attack, start
        self.scores = attack.scores_of(start)
        self.state = torch.from_numpy(states_of(self.scores.numpy())) if state is None else state
        _check_states(attack.bundle, self.state, len(start))
        self._direction = attack.uphill(start, self.state)

    def walk_job(self, epsilon: Tensor, rows: Tensor) -> Job[tuple[Tensor, Tensor]]:
        """Change some of the inputs, each by its epsilon; also return the share of pixels that were clipped."""
        inputs, state = self.start[rows], self.state[rows]
        step = (epsilon / self.attack.n_steps).view(-1, *[1] * (inputs.ndim - 1))
        clipped = torch.zeros(inputs.shape, dtype=torch.bool)
        for i in range(self.attack.n_steps):
            direction = self._direction[rows] if i == 0 else self.attack.uphill(inputs, state)
            inputs = inputs + step * direction
            if self.attack.space == "image":
                clipped |= (inputs < 0) | (inputs > 1)
                inputs = inputs.clamp(0, 1)
            yield Stepped()
        return inputs, clipped.flatten(1).float().mean(dim=1)

    def scores_job(self, epsilon: Tensor, rows: Tensor) -> Job[Tensor]:
        """Return the scores of some inputs that were changed, (n_rows, n_scores)."""
        inputs, _ = yield from self.walk_job(epsilon, rows)
        return self.attack.scores_of(inputs)

    def scores_at(self, epsilon: Tensor, rows: Tensor) -> Tensor:
        """Do as `scores_job`, at once."""
        return finish(self.scores_job(epsilon, rows))

    def is_flip(self, scores: Tensor, rows: Tensor) -> Tensor:
        """Return where scores mean another state than before, (n_rows,) bool; an undefined one is none."""
        answers = torch.from_numpy(states_of(scores.numpy()))
        return (answers != self.state[rows]) & (answers != UNDEFINED) & (self.state[rows] != UNDEFINED)


def _check(bundle: ModelBundle, inputs: Tensor, space: Space) -> None:
    """Make sure that inputs have the model's shape, and images its range."""
    info = bundle.info
    shape = (info.n_channels, PATCH_PX, PATCH_PX) if space == "image" else (info.n_latents,)
    if tuple(inputs.shape[1:]) != shape:
        what = "The image has" if space == "image" else "The latents have"
        raise QuestionError(
            f"{what} the shape {tuple(inputs.shape[1:])}, but the model {info.name!r} reads {shape}.",
            "Choose the model that fits.",
        )
    if space == "image" and bool(((inputs < 0) | (inputs > 1)).any()):
        low, high = float(inputs.min()), float(inputs.max())
        raise QuestionError(
            f"The image has values from {low:g} to {high:g}, but the model reads 0 to 1.",
            "Give patches, normalised as for classification.",
        )


def _check_states(bundle: ModelBundle, state: Tensor, n: int) -> None:
    classes = bundle.info.classes
    if tuple(state.shape) != (n,):
        raise QuestionError(f"States of shape {tuple(state.shape)} were given for {n} inputs.", "Give one each.")
    if n and int(state.max()) >= len(classes):
        raise QuestionError(
            f"State {int(state.max())} isn't one of {len(classes)}: {', '.join(classes)}.", "States count from 0."
        )


def _free(bundle: ModelBundle, space: Space, fixed: Sequence[int]) -> Tensor:
    """Return 1 for the latents that may change and 0 for the others, (1, n_latents); a single 1 for images."""
    if space == "image":
        if len(fixed):
            raise QuestionError("Latents can't be held fixed while the image is changed.", "Change the latents.")
        return torch.ones(())
    n_latents = bundle.info.n_latents
    beyond = [f"z{index}" for index in fixed if not 0 <= index < n_latents]
    if beyond:
        raise QuestionError(f"The model has no latents {', '.join(beyond)}.", f"It has z0 to z{n_latents - 1}.")
    free = torch.ones(1, n_latents)
    free[:, list(fixed)] = 0
    if not free.any():
        raise QuestionError("All latents are held fixed, so nothing can change.", "Let at least one of them change.")
    return free
