"""Sparse training: modified RigL (Soelistyo & Lowe, algorithm 1; Evci et al. 2020)."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import mish

from napari_cellinterp.models.heads import MaskedLinear

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

    from napari_cellinterp.config import RiglConfig, Scaled


def erdos_renyi_counts(shapes: Sequence[tuple[int, int]], sparsity: float, scaled: Scaled = "sparsity") -> list[int]:
    """Return how many weights of each layer stay active, so that the total sparsity is hit to the nearest weight.

    Layer sparsities are c * max(0, 1 - (n_in + n_out) / (n_in * n_out)), as the paper's sentence says, and at most 1;
    or layer densities are c * (n_in + n_out) / (n_in * n_out), at most 1, as in RigL's own code (Evci et al. 2020),
    which leaves more weights to the first layer. Fractions of a weight go to the layers with the largest remainders.
    Layers that the first rule leaves dense lose weights only after all others are empty.

    Parameters
    ----------
    shapes : sequence of (n_out, n_in)
        Shapes of the weight matrices.
    sparsity : float
        Share of all weights that shall be zero.
    scaled : str
        ``sparsity`` or ``density``: which of the two the rule is for.
    """
    sizes = [n_out * n_in for n_out, n_in in shapes]
    factors = [(n_out + n_in) / (n_out * n_in) for n_out, n_in in shapes]
    n_active = round((1 - sparsity) * sum(sizes))
    if scaled == "density":
        exact = [n - left for n, left in zip(sizes, _spread(sizes, factors, n_active), strict=True)]
    else:
        exact = _spread(sizes, [max(0.0, 1 - factor) for factor in factors], sum(sizes) - n_active)
    counts = [math.floor(e) for e in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: exact[i] - counts[i], reverse=True)
    for i in by_remainder[: n_active - sum(counts)]:
        counts[i] += 1
    return counts


def _spread(sizes: Sequence[int], ratios: Sequence[float], n_zero: float) -> list[float]:
    """Return what is left of each layer, not rounded, as ``n_zero`` go by ratios; where one is empty, others give."""
    off = [0.0] * len(sizes)
    while (rest := n_zero - sum(off)) > 1e-9:
        room = [n - z for n, z in zip(sizes, off, strict=True)]
        weights = [r * n if left > 1e-9 else 0.0 for r, n, left in zip(ratios, sizes, room, strict=True)]
        if not any(weights):
            weights = [left if left > 1e-9 else 0.0 for left in room]
        share = rest / sum(weights)
        off = [z + min(left, share * w) for z, left, w in zip(off, room, weights, strict=True)]
    return [n - z for n, z in zip(sizes, off, strict=True)]


def update_share(step: int, end_step: float, fraction: float) -> float:
    """Return the share of active weights that an update moves, fraction / 2 (1 + cos(pi t / T_end)) (eq. 8)."""
    return fraction / 2 * (1 + math.cos(math.pi * step / end_step))


class Rigl:
    """Trains the masks of a stack of masked linear layers: dense warm-up, then drop and grow.

    The warm-up ends with a pruning by magnitude, as in the paper, or begins one that takes ``config.prune_epochs``:
    what is left falls from all weights to the wanted number along a cubic curve (Zhu & Gupta 2018), and nothing grows
    until that is done. Meanwhile, weights that lead nowhere or come from nowhere go before any other, so that those
    that are counted are those that work. Weights that are off from the beginning stay off.

    Call `update` after the gradients of a step are there; where it returns True, the topology was updated and the
    optimiser takes no step (algorithm 1).

    Parameters
    ----------
    layers : sequence of MaskedLinear
        First to last; each layer's outputs are the next one's inputs.
    config : RiglConfig
        Settings.
    steps_per_epoch : int
        Turns the config's epochs into steps.
    activation : callable
        Between the layers, value by value.
    """

    def __init__(
        self,
        layers: Sequence[nn.Linear],
        config: RiglConfig,
        steps_per_epoch: int,
        activation: Callable[[Tensor], Tensor] = mish,
    ) -> None:
        self.layers = [layer for layer in layers if isinstance(layer, MaskedLinear)]
        self.config, self.activation = config, activation
        self.warm_up_steps = config.warm_up_epochs * steps_per_epoch
        self.end_step = config.end_fraction * (config.n_epochs - config.warm_up_epochs) * steps_per_epoch
        self.prune_steps = config.prune_epochs * steps_per_epoch
        self.allowed = [layer.mask.bool() for layer in self.layers]
        shapes = [(layer.out_features, layer.in_features) for layer in self.layers]
        counts = erdos_renyi_counts(shapes, config.sparsity, config.scaled)
        self.n_active = [min(n, int(on.sum())) for n, on in zip(counts, self.allowed, strict=True)]
        self._step = 0

    @torch.no_grad()
    def update(self) -> bool:
        """Count a step; prune at the end of the warm-up, and drop and grow when it is time."""
        step = self._step - self.warm_up_steps
        self._step += 1
        if step < 0 or step >= self.end_step or step % self.config.update_interval_steps:
            return False
        share = update_share(step, self.end_step, self.config.update_fraction)
        # nothing is grown into a network that is still pruned
        grows = share > 0 and step > 0 and step >= self.prune_steps
        # from the last layer back, so that what leads nowhere since is the first to go in the layers before
        for layer, allowed, n_end in reversed(list(zip(self.layers, self.allowed, self.n_active, strict=True))):
            if self.prune_steps and not grows:
                self._drop_idle()
            n_active, n_on = self._n_left(step, int(allowed.sum()), n_end), int(layer.mask.sum())
            if grows:  # also what went as idle
                drop_and_grow(layer, n_active, max(round(share * n_active), n_active - n_on), allowed)
            else:
                drop_and_grow(layer, min(n_active, n_on), 0, allowed)
        return True

    def _n_left(self, step: int, n_start: int, n_end: int) -> int:
        """Return how many weights of a layer are left at a step of the sparse phase."""
        if step >= self.prune_steps:
            return n_end
        return round(n_end + (n_start - n_end) * (1 - step / self.prune_steps) ** 3)

    @torch.no_grad()
    def prune(self) -> None:
        """Remove weights that lead nowhere or come from nowhere, and set all that are off to 0; the outputs stay."""
        self._drop_idle()
        for layer in self.layers:
            layer.weight.mul_(layer.mask)

    def _drop_idle(self) -> None:
        prune_leaves(self.layers)
        fold_constant_neurons(self.layers, self.activation)


@torch.no_grad()
def drop_and_grow(layer: MaskedLinear, n_active: int, n_moved: int, allowed: Tensor) -> None:
    """Keep the largest ``n_active - n_moved`` active weights, grow ``n_moved`` by gradient, from zero.

    Growth chooses among all allowed weights outside the kept set, so one just dropped may return.

    Parameters
    ----------
    layer : MaskedLinear
        After a backward pass.
    n_active : int
        Active weights afterwards.
    n_moved : int
        How many of them grow.
    allowed : (n_out, n_in) bool Tensor
        Weights that may be active at all; at least ``n_active``.
    """
    magnitude = torch.where(layer.mask.bool(), layer.weight.abs(), -torch.ones_like(layer.weight))
    kept = torch.zeros(layer.weight.numel(), dtype=torch.bool)
    kept[magnitude.flatten().topk(n_active - n_moved).indices] = True
    grown = torch.zeros_like(kept)
    if n_moved:
        gradient = dense_gradient(layer).abs().flatten().masked_fill(kept | ~allowed.flatten(), -1.0)
        grown[gradient.topk(n_moved).indices] = True
    layer.weight.copy_(torch.where(kept.view_as(layer.weight), layer.weight, torch.zeros_like(layer.weight)))
    layer.mask.copy_((kept | grown).view_as(layer.mask).to(layer.mask))


def dense_gradient(layer: MaskedLinear) -> Tensor:
    """Return the gradient of the loss by every weight, inactive ones included."""
    if layer.dense_gradient is None:
        raise ValueError("run a backward pass before the topology is updated")
    return layer.dense_gradient


@torch.no_grad()
def prune_leaves(layers: Sequence[MaskedLinear]) -> None:
    """Switch off weights into neurons that have no way out, from the last layer back."""
    for layer, following in zip(reversed(layers[:-1]), reversed(layers[1:]), strict=True):
        has_way_out = following.mask.any(dim=0)
        layer.mask *= has_way_out[:, None]


@torch.no_grad()
def fold_constant_neurons(layers: Sequence[MaskedLinear], activation: Callable[[Tensor], Tensor]) -> None:
    """Switch off weights out of neurons without inputs; what they add goes into the target's bias."""
    for layer, following in pairwise(layers):
        constant = ~layer.mask.any(dim=1)
        value = activation(layer.bias) * constant
        following.bias.add_((following.weight * following.mask) @ value)
        following.mask *= ~constant[None, :]
