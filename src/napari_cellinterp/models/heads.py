"""Heads that turn latents into a score: dense, sparse and symbolic; and the CNN with its own dense head.

A head for two classes gives one score per nucleus, (n, 1), metaphase where it is >= 0; for more classes it gives one
score a class, and the largest wins.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from napari_cellinterp.models.activation import Mish
from napari_cellinterp.models.vae import FILTERS, N_HIDDEN, N_LATENTS, convolutions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_cellinterp.models.expression import Expression

HIDDEN_SIZES = (16, 16, 16)
N_CNN_FEATURES = 32

UNDEFINED = -1
"""State of a nucleus whose score is undefined."""


class MaskedLinear(nn.Linear):
    """A linear layer with some weights switched off; ``mask`` is (n_out, n_in), 1 where a weight is active.

    While training, ``dense_gradient`` holds the last backward pass's gradient by all weights, as if all were active.
    """

    mask: Tensor

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out)
        self.register_buffer("mask", torch.ones(n_out, n_in))
        self.dense_gradient: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x @ (weight * mask).T + bias``."""
        effective = self.weight * self.mask
        if self.training and effective.requires_grad:
            effective.register_hook(self._keep_gradient)  # type: ignore[no-untyped-call]
        return linear(x, effective, self.bias)

    def _keep_gradient(self, gradient: Tensor) -> None:
        self.dense_gradient = gradient


def perceptron(
    sizes: Sequence[int], *, batch_norm: bool = False, dropout: float = 0.0, layer: type[nn.Linear] = nn.Linear
) -> nn.Sequential:
    """Return fully connected layers with Mish between them, and none after the last."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes[:-1]):
        layers.append(layer(n_in, n_out))
        layers += [nn.BatchNorm1d(n_out)] if batch_norm else []
        layers.append(Mish())
        layers.append(nn.Dropout(dropout))
    layers.append(layer(sizes[-2], sizes[-1]))
    return nn.Sequential(*layers)


class NetworkHead(nn.Module):
    """Fully connected head 32 -> 16 -> 16 -> 16 -> 1 on the mean of the latents.

    Dense (scheme 2) has dropout while it is trained; sparse (scheme 3) has masks instead.
    """

    def __init__(
        self, n_latents: int = N_LATENTS, n_scores: int = 1, *, sparse: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        sizes = (n_latents, *HIDDEN_SIZES, n_scores)
        self.layers = perceptron(sizes, dropout=dropout, layer=MaskedLinear if sparse else nn.Linear)

    def linear_layers(self) -> list[nn.Linear]:
        """Return the fully connected layers, first to last."""
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]

    def forward(self, z: Tensor) -> Tensor:
        """Return scores (n, n_scores) of latents (n, n_latents)."""
        scores: Tensor = self.layers(z)
        return scores


class SymbolicHead(nn.Module):
    """One formula a score (scheme 4); undefined scores are NaN."""

    def __init__(self, expressions: Sequence[Expression]) -> None:
        super().__init__()
        self.expressions = tuple(expressions)

    def forward(self, z: Tensor) -> Tensor:
        """Return scores (n, n_scores) of latents (n, n_latents)."""
        return torch.stack([expression.torch_score(z) for expression in self.expressions], dim=1)


class Cnn(nn.Module):
    """Scheme 1: the encoder's convolutions with batch norm, 32 features, and a dense head with batch norm."""

    def __init__(
        self, n_channels: int = 1, n_scores: int = 1, filters: Sequence[int] = FILTERS, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.convolutions = convolutions(n_channels, filters, batch_norm=True)
        n_flat = filters[-1] * (64 >> len(filters)) ** 2
        self.features = nn.Sequential(
            nn.Linear(n_flat, N_HIDDEN),
            nn.BatchNorm1d(N_HIDDEN),
            Mish(),
            nn.Dropout(dropout),
            nn.Linear(N_HIDDEN, N_CNN_FEATURES),
        )
        self.layers = perceptron((N_CNN_FEATURES, *HIDDEN_SIZES, n_scores), batch_norm=True, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (n, n_scores) of patches (n, n_channels, 64, 64)."""
        scores: Tensor = self.layers(self.features(self.convolutions(x).flatten(1)))
        return scores


def states_of(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the class of each row of scores (n, n_scores): a head's answer.

    Of one score the second class where it is >= 0; of several the class of the largest; `UNDEFINED` where any isn't
    finite.
    """
    undefined = ~np.isfinite(scores).all(axis=1)
    known = np.where(undefined[:, None], 0, scores)
    state = (known[:, 0] >= 0).astype(np.int64) if scores.shape[1] == 1 else known.argmax(axis=1)
    return np.where(undefined, UNDEFINED, state)


def active_weights(head: NetworkHead) -> list[NDArray[np.bool_]]:
    """Return which weights of each layer are active, (n_out, n_in) each."""
    return [
        layer.mask.numpy().astype(bool) if isinstance(layer, MaskedLinear) else np.ones(layer.weight.shape, bool)
        for layer in head.linear_layers()
    ]


def read_latents(head: nn.Module) -> tuple[int, ...]:
    """Return the latents that a dense, sparse or symbolic head reads, in order."""
    if isinstance(head, SymbolicHead):
        return tuple(sorted({latent for expression in head.expressions for latent in expression.latents}))
    assert isinstance(head, NetworkHead)
    return tuple(int(i) for i in np.flatnonzero(active_weights(head)[0].any(axis=0)))
