"""Training loops of network heads on the latents, and of the CNN.

Two classes share one score, the second class's where it is >= 0; more have one score each.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from napari_cellinterp.events import EpochFinished
from napari_cellinterp.models.heads import Cnn, MaskedLinear, NetworkHead
from napari_cellinterp.models.latent_names import ACTIVE_KL
from napari_cellinterp.training.guides import GUIDES
from napari_cellinterp.training.rigl import Rigl
from napari_cellinterp.training.schedule import learning_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from napari_cellinterp.config import CnnConfig, HeadConfig, RiglConfig
    from napari_cellinterp.events import Event, Job
    from napari_cellinterp.models.vae import Encoder

N_TURNS = 8
"""Flips and quarter turns of a square."""

FEWEST_STEPS, FEWEST_CNN_STEPS = 20, 5
"""Steps in an epoch, at least, of heads on latents and of CNNs, which take longer: few crops come several times."""

N_MOVES = 3
"""Moved copies of a crop under each turn that dense heads see; more gain little."""

N_TO_CALIBRATE = 1000
"""Crops that batch norms are set by."""

MIN_VARIANCE = 1 - math.exp(-2 * ACTIVE_KL)
"""Variance of a latent's mean where its KL divergence from the prior is `ACTIVE_KL`."""


def turned(x: Tensor, turn: int) -> Tensor:
    """Return images (n, n_channels, h, w) under one of the eight flips and quarter turns."""
    x = torch.rot90(x, turn % 4, dims=(2, 3))
    return x.flip(3) if turn >= 4 else x


def turned_each(images: Tensor, turns: NDArray[np.int64]) -> Tensor:
    """Return images (n, n_channels, h, h), each under its own of the eight flips and quarter turns, ``turns`` (n,)."""
    found, of = torch.empty_like(images), torch.from_numpy(turns)
    for turn in range(N_TURNS):
        rows = of == turn
        found[rows] = turned(images[rows], turn)
    return found


def moved_each(images: NDArray[np.uint8], shifts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return images (n, n_channels, h, w), each moved up and left by its own ``shifts`` (n, 2); edges are repeated."""
    n, n_channels, height, width = images.shape
    y = (np.arange(height) + shifts[:, :1]).clip(0, height - 1)
    x = (np.arange(width) + shifts[:, 1:]).clip(0, width - 1)
    image, channel = np.arange(n)[:, None, None, None], np.arange(n_channels)[:, None, None]
    found: NDArray[np.uint8] = images[image, channel, y[:, None, :, None], x[:, None, None, :]]
    return found


@torch.no_grad()
def encode_all(encoder: Encoder, images: NDArray[np.uint8], turn: int = 0) -> tuple[Tensor, Tensor]:
    """Return mean and log-variance, (n, n_latents) each, of images (n, n_channels, 64, 64) uint8, turned."""
    means, log_variances = [], []
    for chunk in np.array_split(images, max(1, len(images) // 512)):
        mean, log_variance = encoder(turned(torch.from_numpy(chunk).float() / 255, turn))
        means.append(mean)
        log_variances.append(log_variance)
    return torch.cat(means), torch.cat(log_variances)


def encode_turns(encoder: Encoder, images: NDArray[np.uint8]) -> Tensor:
    """Return the latents of images under all flips and quarter turns, (8, n, n_latents)."""
    return torch.stack([encode_all(encoder, images, turn)[0] for turn in range(N_TURNS)])


def encode_moved(encoder: Encoder, images: NDArray[np.uint8], max_shift_px: int, seed: int) -> Tensor:
    """Return the latents of images that are turned and moved, (24, n, n_latents).

    Each turn comes three times, and each time all images are moved along both axes by up to ``max_shift_px``, each by
    its own random shift.
    """
    rng = np.random.default_rng(seed)
    shifts = rng.integers(-max_shift_px, max_shift_px + 1, (N_MOVES * N_TURNS, len(images), 2))
    return torch.stack(
        [encode_all(encoder, moved_each(images, shift), i % N_TURNS)[0] for i, shift in enumerate(shifts)]
    )


def _epoch_size(n_crops: int, batch: int, fewest_steps: int) -> int:
    """Crops of an epoch; few come several times, as passes over them alone would end before much is learned."""
    return n_crops * max(1, math.ceil(fewest_steps * batch / n_crops))


def _batches(n_crops: int, size: int, batch: int, rng: np.random.Generator) -> Iterator[Tensor]:
    order = torch.from_numpy(rng.permutation(size) % n_crops)
    for start in range(0, size - size % batch, batch):
        yield order[start : start + batch]


def n_scores_of(n_classes: int) -> int:
    """Return how many scores a head gives for so many classes."""
    return 1 if n_classes == 2 else n_classes


def _score_loss(scores: Tensor, state: Tensor, interphase_weight: float) -> Tensor:
    """Cross-entropy of the scores (n, n_scores); states count from 0, and state 0 is interphase."""
    weight = torch.where(state == 0, interphase_weight, 1.0)
    if scores.shape[1] == 1:
        return binary_cross_entropy_with_logits(scores[:, 0], state.to(scores), weight / weight.mean())
    return (cross_entropy(scores, state, reduction="none") * weight).mean() / weight.mean()


def _fit(
    name: str,
    model: nn.Module,
    batch_of: Callable[[Tensor, np.random.Generator], Tensor],
    state: Tensor,
    config: HeadConfig | RiglConfig,
    fewest_steps: int = FEWEST_STEPS,
    rigl: Rigl | None = None,
) -> Iterator[Event]:
    rng = np.random.default_rng(config.seed)
    optimiser = torch.optim.Adam(model.parameters(), config.learning_rate, fused=True)
    size = _epoch_size(len(state), config.batch, fewest_steps)
    n_steps, step = config.n_epochs * (size // config.batch), 0
    for epoch in range(1, config.n_epochs + 1):
        model.train()
        total = 0.0
        for rows in _batches(len(state), size, config.batch, rng):
            step += 1
            if rigl is None:  # a network that is pruned needs the full rate to make up for the weights that go
                optimiser.param_groups[0]["lr"] = learning_rate(step, n_steps, config.learning_rate)
            scores = model(batch_of(rows, rng))
            loss = _score_loss(scores, state[rows], config.interphase_weight)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            if rigl is None or not rigl.update():
                optimiser.step()
            total += float(loss.detach())
        mean_loss = total / (size // config.batch)
        yield EpochFinished(epoch, config.n_epochs, name, (("loss", mean_loss),))
    model.eval()


def fit_dense(turned_latents: Tensor, state: Tensor, config: HeadConfig, n_classes: int = 2) -> Job[NetworkHead]:
    """Train a dense head (scheme 2).

    Parameters
    ----------
    turned_latents : (n_views, n, n_latents) Tensor
        Latents of the crops under all flips and quarter turns, perhaps moved too; each time a crop comes, one of them
        is drawn.
    state : (n,) int64 Tensor
        Class of each crop, from 0; of two classes, interphase and metaphase.
    config : HeadConfig
        Settings.
    n_classes : int
        How many classes there are.
    """
    torch.manual_seed(config.seed)
    head = NetworkHead(turned_latents.shape[2], n_scores_of(n_classes), dropout=config.dropout)
    yield from _fit("dense", head, partial(_latents_of, turned_latents), state, config)
    return head


def fit_sparse(turned_latents: Tensor, state: Tensor, config: RiglConfig, n_classes: int = 2) -> Job[NetworkHead]:
    """Train a sparse head (scheme 3) with modified RigL; parameters as in `fit_dense`.

    Latents that say nothing of the crop stay off from the beginning: they hardly vary, so their weights may grow large
    without any effect, and pruning by magnitude would keep them.
    """
    torch.manual_seed(config.seed)
    head = NetworkHead(turned_latents.shape[2], n_scores_of(n_classes), sparse=True)
    first = head.linear_layers()[0]
    assert isinstance(first, MaskedLinear)
    first.mask *= _readable(turned_latents, config)
    steps_per_epoch = _epoch_size(len(state), config.batch, FEWEST_STEPS) // config.batch
    rigl = Rigl(head.linear_layers(), config, steps_per_epoch)
    yield from _fit("sparse", head, partial(_latents_of, turned_latents), state, config, rigl=rigl)
    rigl.prune()
    return head


def _latents_of(turned_latents: Tensor, rows: Tensor, rng: np.random.Generator) -> Tensor:
    return turned_latents[torch.from_numpy(rng.integers(0, len(turned_latents), len(rows))), rows]


def _readable(turned_latents: Tensor, config: RiglConfig) -> Tensor:
    """Which latents a sparse head may read, (n_latents,) bool."""
    readable = torch.ones(turned_latents.shape[2], dtype=torch.bool)
    if config.reads == "taught":
        readable[len(GUIDES) :] = False
    varying = readable & (turned_latents.var(dim=(0, 1)) >= MIN_VARIANCE)
    return varying if varying.any() else readable


@torch.no_grad()
def begin_as_encoder(model: Cnn, encoder: Encoder, images: NDArray[np.uint8]) -> None:
    """Give a CNN an encoder's weights, so that its features are the means of the latents.

    The batch norms, which the encoder has not, get the mean and the variance of what comes into them as shift and
    scale, so that they change nothing at first.

    Parameters
    ----------
    model : Cnn
        Gets them.
    encoder : Encoder
        Of the same convolutions; where it has another number of latents than the CNN has features, these stay random.
    images : (n, n_channels, 64, 64) uint8
        Crops to measure mean and variance on.
    """
    x = torch.from_numpy(images[:: max(1, len(images) // N_TO_CALIBRATE)]).float() / 255
    given = [layer for layer in encoder.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    for layer in (*model.convolutions, nn.Flatten(), *model.features):
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer.weight.shape == (source := given.pop(0)).weight.shape:
            layer.load_state_dict(source.state_dict())
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            variance, mean = torch.var_mean(x, [axis for axis in range(x.ndim) if axis != 1], correction=0)
            layer.load_state_dict(
                layer.state_dict()
                | {"weight": (variance + layer.eps).sqrt(), "bias": mean, "running_mean": mean, "running_var": variance}
            )
        elif not isinstance(layer, nn.Dropout):
            x = layer(x)


def fit_cnn(
    images: NDArray[np.uint8], state: Tensor, config: CnnConfig, n_classes: int = 2, encoder: Encoder | None = None
) -> Job[Cnn]:
    """Train a CNN on patches (scheme 1); each time a patch comes, it is turned and moved anew.

    Parameters
    ----------
    images : (n, n_channels, 64, 64) uint8
        Normalised patches times 255.
    state : (n,) int64 Tensor
        Class of each crop, from 0; of two classes, interphase and metaphase.
    config : CnnConfig
        Settings.
    n_classes : int
        How many classes there are.
    encoder : Encoder, optional
        Whose weights it begins with, all but the head's; by default they are random.
    """
    torch.manual_seed(config.seed)
    model = Cnn(images.shape[1], n_scores_of(n_classes), dropout=config.dropout)
    if encoder is not None:
        begin_as_encoder(model, encoder, images)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def batch_of(rows: Tensor, rng: np.random.Generator) -> Tensor:
        reach = config.max_shift_px
        moved = moved_each(images[rows.numpy()], rng.integers(-reach, reach + 1, (len(rows), 2)))
        x = turned_each(torch.from_numpy(moved), rng.integers(0, N_TURNS, len(rows)))
        return (x.float() / 255).contiguous(memory_format=torch.channels_last)

    yield from _fit("cnn", model, batch_of, state, config, FEWEST_CNN_STEPS)
    return model
