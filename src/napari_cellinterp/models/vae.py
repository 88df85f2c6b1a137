"""The beta-TCVAE's networks: an image becomes 32 latents, latents become an image (Soelistyo & Lowe, appendix B)."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_cellinterp.config import PATCH_PX
from napari_cellinterp.models.activation import Mish

if TYPE_CHECKING:
    from collections.abc import Sequence

FILTERS = (8, 16, 32, 64)
N_HIDDEN = 256
N_LATENTS = 32


class Encoder(nn.Module):
    """Four convolutions of stride 2 (64 -> 4 pixels), a hidden layer of 256, then mean and log-variance.

    Kernels of 4x4, stride 2 and padding 1 are our choice: with the mean layer and a head they come nearest to the
    paper's 316,000 parameters.
    """

    def __init__(self, n_channels: int = 1, n_latents: int = N_LATENTS, filters: Sequence[int] = FILTERS) -> None:
        super().__init__()
        self.n_channels, self.n_latents, self.filters = n_channels, n_latents, tuple(filters)
        self.convolutions = convolutions(n_channels, filters)
        n_flat = filters[-1] * (PATCH_PX >> len(filters)) ** 2
        self.hidden = nn.Sequential(nn.Linear(n_flat, N_HIDDEN), Mish())
        self.mean = nn.Linear(N_HIDDEN, n_latents)
        self.log_variance = nn.Linear(N_HIDDEN, n_latents)

    def features(self, x: Tensor) -> Tensor:
        """Return the last hidden layer, (n, 256), of patches (n, n_channels, 64, 64)."""
        features: Tensor = self.hidden(self.convolutions(x).flatten(1))
        return features

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of the latents, each (n, n_latents), of patches (n, n_channels, 64, 64)."""
        features = self.features(x)
        return self.mean(features), self.log_variance(features)

    def encode(self, x: Tensor) -> Tensor:
        """Return only the mean of the latents, (n, n_latents): what the heads read."""
        mean: Tensor = self.mean(self.features(x))
        return mean


class Decoder(nn.Module):
    """The encoder in reverse, with upsampling layers; the image is in [0, 1]."""

    def __init__(self, n_channels: int = 1, n_latents: int = N_LATENTS, filters: Sequence[int] = FILTERS) -> None:
        super().__init__()
        self.smallest = (filters[-1], PATCH_PX >> len(filters), PATCH_PX >> len(filters))
        n_flat = self.smallest[0] * self.smallest[1] * self.smallest[2]
        self.hidden = nn.Sequential(nn.Linear(n_latents, N_HIDDEN), Mish(), nn.Linear(N_HIDDEN, n_flat), Mish())
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise([*reversed(filters), n_channels]):
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(n_in, n_out, 3, padding=1), Mish()]
        self.convolutions = nn.Sequential(*layers[:-1])
        # on the processor some 2.5 times faster
        self.convolutions.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def logits(self, z: Tensor) -> Tensor:
        """Return the image before the sigmoid, (n, n_channels, 64, 64), of latents (n, n_latents)."""
        logits: Tensor = self.convolutions(self.hidden(z).unflatten(1, self.smallest))
        return logits

    def forward(self, z: Tensor) -> Tensor:
        """Return images (n, n_channels, 64, 64) in [0, 1] of latents (n, n_latents)."""
        return torch.sigmoid(self.logits(z))


def convolutions(n_channels: int, filters: Sequence[int], *, batch_norm: bool = False) -> nn.Sequential:
    """Return the stack of strided convolutions that the encoder and the CNN share."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise([n_channels, *filters]):
        layers.append(nn.Conv2d(n_in, n_out, 4, stride=2, padding=1))
        layers += [nn.BatchNorm2d(n_out)] if batch_norm else []
        layers.append(Mish())
    return nn.Sequential(*layers)
