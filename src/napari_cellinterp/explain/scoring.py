"""The score of a head as a function of what is changed: the image, or the latents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import torch

from napari_cellinterp.errors import QuestionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from napari_cellinterp.config import HeadName
    from napari_cellinterp.models.bundle import ModelBundle

Space = Literal["image", "latent"]
"""What is changed: patches (n, n_channels, 64, 64) in [0, 1], or latents (n, n_latents) in standard deviations of the
prior."""

SPACES: tuple[Space, ...] = get_args(Space)


def score_function(bundle: ModelBundle, head: HeadName, space: Space) -> Callable[[Tensor], Tensor]:
    """Return a differentiable function from n images or latents to the head's scores, (n, n_scores).

    An image is scored through the encoder (the mean of the latents), but for the CNN, which reads it itself.

    Raises
    ------
    BundleError
        If the bundle doesn't have the head.
    QuestionError
        If the CNN is asked about latents.
    """
    network = bundle.head(head)
    if head != "cnn":
        return network if space == "latent" else lambda x: network(bundle.encoder.encode(x))
    if space == "latent":
        raise QuestionError(
            "The CNN reads pixels and has no latents.", "Change the image instead, or choose another head."
        )
    return network


def margins(scores: Tensor, state: Tensor) -> Tensor:
    """Return how far each nucleus is from losing its state, (n,): positive as long as it has it.

    Parameters
    ----------
    scores : (n, n_scores) Tensor
        Of a head.
    state : (n,) int64 Tensor
        Class of each, from 0.

    Returns
    -------
    Tensor
        y f(x) of one score, with y = +1 for the second class and -1 for the first; of several, the score of the class
        minus the largest other.
    """
    if scores.shape[1] == 1:
        return scores[:, 0] * (2 * state - 1)
    own = scores.gather(1, state[:, None])
    others = scores.scatter(1, state[:, None], -torch.inf)
    return own[:, 0] - others.amax(dim=1)


@torch.no_grad()
def score_latents(bundle: ModelBundle, latents: Tensor, decoded: Tensor) -> dict[HeadName, Tensor]:
    """Return the scores of all heads, (n, n_scores) each.

    Parameters
    ----------
    bundle : ModelBundle
        The model.
    latents : (n, n_latents) Tensor
        What all heads but the CNN read.
    decoded : (n, n_channels, 64, 64) Tensor
        The images decoded from them, which the CNN reads.
    """
    return {name: head(decoded if name == "cnn" else latents) for name, head in bundle.heads.items()}
