"""A whole sparse training against a trainer in plain Python: algorithm 1, with no torch in what decides anything.

Lists and floats only: forward, backward, Adam, Erdos-Renyi counts, drop and grow, and the pruning after training. What
the two share is what they start from: the first weights and the order of the batches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_cellinterp.config import RiglConfig
from napari_cellinterp.models.heads import NetworkHead
from napari_cellinterp.training.fit import N_TURNS, fit_sparse
from napari_cellinterp.workflows import finish

if TYPE_CHECKING:
    from collections.abc import Iterator

N_LATENTS, N_CROPS = 6, 48


@dataclass
class PlainLayer:
    """A layer of lists: weights and mask [to][from], biases [to], and Adam's two moments of each."""

    weight: list[list[float]]
    bias: list[float]

    def __post_init__(self) -> None:
        self.mask = [[True] * len(row) for row in self.weight]
        self.moments = {(j, i): (0.0, 0.0) for j, row in enumerate(self.weight) for i in range(-1, len(row))}

    def places(self) -> list[tuple[int, int]]:
        return [(j, i) for j, row in enumerate(self.weight) for i in range(len(row))]

    def __call__(self, x: list[float]) -> list[float]:
        return [
            b + sum(w * v for w, on, v in zip(row, mask, x, strict=True) if on)
            for row, mask, b in zip(self.weight, self.mask, self.bias, strict=True)
        ]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def mish(x: float) -> float:
    return x * math.tanh(math.log1p(math.exp(x)))


def mish_slope(x: float) -> float:
    t = math.tanh(math.log1p(math.exp(x)))
    return t + x * sigmoid(x) * (1 - t * t)


def gradients(layers: list[PlainLayer], xs: list[list[float]], states: list[int]) -> list[dict]:
    """Mean cross-entropy's gradient by every weight (to, from), on or off, and by every bias (to, -1)."""
    found: list[dict] = [dict.fromkeys(layer.moments, 0.0) for layer in layers]
    for x, state in zip(xs, states, strict=True):
        inputs, sums = [x], []
        for layer in layers:
            sums.append(layer(inputs[-1]))
            inputs.append([mish(v) for v in sums[-1]])
        delta = [(sigmoid(sums[-1][0]) - state) / len(xs)]
        for n in reversed(range(len(layers))):
            layer, into = layers[n], inputs[n]
            for j, d in enumerate(delta):
                found[n][j, -1] += d
                for i, v in enumerate(into):
                    found[n][j, i] += d * v
            if n:
                back = [
                    sum(d * layer.weight[j][i] for j, d in enumerate(delta) if layer.mask[j][i])
                    for i in range(len(into))
                ]
                delta = [b * mish_slope(v) for b, v in zip(back, sums[n - 1], strict=True)]
    return found


def adam_step(layers: list[PlainLayer], found: list[dict], n_steps: int, rate: float) -> None:
    """Adam as published; weights that are off get a gradient of 0."""
    for layer, gradient in zip(layers, found, strict=True):
        for (j, i), (first, second) in layer.moments.items():
            g = gradient[j, i] if i < 0 or layer.mask[j][i] else 0.0
            first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g
            layer.moments[j, i] = first, second
            change = rate * (first / (1 - 0.9**n_steps)) / (math.sqrt(second / (1 - 0.999**n_steps)) + 1e-8)
            if i < 0:
                layer.bias[j] -= change
            elif layer.mask[j][i]:
                layer.weight[j][i] -= change


def erdos_renyi(layers: list[PlainLayer], sparsity: float) -> list[int]:
    """(1 - s_l) N_l, whole: s_l in proportion to 1 - (n_in + n_out) / (n_in n_out), where that isn't negative."""
    sides = [(len(layer.weight[0]), len(layer.weight)) for layer in layers]
    sizes = [a * b for a, b in sides]
    ratios = [max(0.0, 1 - (a + b) / (a * b)) for a, b in sides]
    n_zero = sum(sizes) - round((1 - sparsity) * sum(sizes))
    scale = n_zero / sum(r * n for r, n in zip(ratios, sizes, strict=True))
    exact = [n * (1 - scale * r) for r, n in zip(ratios, sizes, strict=True)]
    assert min(exact) > 0, "this plain rule knows no layer that runs empty"
    counts = [int(e) for e in exact]
    while sum(counts) < sum(sizes) - n_zero:
        counts[max(range(len(counts)), key=lambda n: exact[n] - counts[n])] += 1
    return counts


def update_topology(layer: PlainLayer, gradient: dict, n_active: int, k: int) -> int:
    """Keep the largest, grow the steepest of all others from 0; how many were off and are on."""
    on = [(j, i) for j, i in layer.places() if layer.mask[j][i]]
    keep = set(sorted(on, key=lambda at: -abs(layer.weight[at[0]][at[1]]))[: n_active - k])
    others = [at for at in layer.places() if at not in keep]
    grow = set(sorted(others, key=lambda at: -abs(gradient[at]))[:k])
    for j, i in others:
        layer.weight[j][i] = 0.0
        layer.mask[j][i] = (j, i) in grow
    return len(grow - set(on))


def prune(layers: list[PlainLayer]) -> None:
    """Leaves first, from the last layer back; then what comes out of neurons without inputs, into the biases."""
    for layer, after in reversed(list(pairwise(layers))):
        for j in range(len(layer.weight)):
            if not any(mask[j] for mask in after.mask):
                layer.mask[j] = [False] * len(layer.mask[j])
    for layer, after in pairwise(layers):
        for i in range(len(layer.weight)):
            if any(layer.mask[i]):
                continue
            for j in range(len(after.weight)):
                if after.mask[j][i]:
                    after.bias[j] += after.weight[j][i] * mish(layer.bias[i])
                    after.mask[j][i] = False


def train(
    layers: list[PlainLayer], batches: Iterator[tuple[list, list]], config: RiglConfig, per_epoch: int
) -> list[int]:
    """Algorithm 1; how many weights each update grew that were off."""
    n_active, grown, n_steps = erdos_renyi(layers, config.sparsity), [], 0
    t_end = config.end_fraction * (config.n_epochs - config.warm_up_epochs) * per_epoch
    for t, (xs, states) in enumerate(batches):
        found = gradients(layers, xs, states)
        since = t - config.warm_up_epochs * per_epoch
        if since >= 0 and since % config.update_interval_steps == 0 and since < t_end:
            decay = config.update_fraction / 2 * (1 + math.cos(since * math.pi / t_end))
            grown.append(0)
            for layer, gradient, n in zip(layers, found, n_active, strict=True):
                grown[-1] += update_topology(layer, gradient, n, round(decay * n) if since else 0)
        else:
            n_steps += 1
            adam_step(layers, found, n_steps, config.learning_rate)
    prune(layers)
    return grown


def batches_of(turned: torch.Tensor, state: torch.Tensor, config: RiglConfig) -> Iterator[tuple[list, list]]:
    """The batches that `fit_sparse` draws for this seed."""
    rng = np.random.default_rng(config.seed)
    for _ in range(config.n_epochs):
        order = rng.permutation(len(state))
        for rows in order[: len(order) - len(order) % config.batch].reshape(-1, config.batch):
            turns = rng.integers(0, N_TURNS, len(rows))
            yield turned[turns, rows].tolist(), state[rows].tolist()


@pytest.fixture
def double():
    """Both sides in float64, so that not even a near tie is decided by rounding."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(
    ("seed", "sparsity", "interval", "fraction", "warm_up", "end"),
    [(0, 0.85, 5, 0.758, 2, 0.75), (1, 0.9, 3, 0.9, 3, 1.0), (2, 0.8, 4, 0.5, 0, 0.5)],
)
def test_a_training_ends_where_the_plain_one_does(seed, sparsity, interval, fraction, warm_up, end):
    config = RiglConfig(
        sparsity=sparsity,
        update_interval_steps=interval,
        update_fraction=fraction,
        end_fraction=end,
        n_epochs=12,
        warm_up_epochs=warm_up,
        batch=2,
        learning_rate=0.01,
        seed=seed,
    )
    turned = torch.randn(N_TURNS, N_CROPS + 1, N_LATENTS, generator=torch.Generator().manual_seed(seed))
    state = (turned.mean(dim=0)[:, 1] > 0.1).long()
    torch.manual_seed(seed)
    fresh = NetworkHead(N_LATENTS, sparse=True).linear_layers()
    plain = [PlainLayer(layer.weight.tolist(), layer.bias.tolist()) for layer in fresh]
    grown = train(plain, batches_of(turned, state, config), config, per_epoch=N_CROPS // config.batch)
    assert len(grown) >= 8
    assert not grown[0]
    assert sum(n > 0 for n in grown) >= 5, "the case moves too little to tell anything"

    layers = finish(fit_sparse(turned, state, config)).linear_layers()
    for layer, expected in zip(layers, plain, strict=True):
        assert layer.mask.bool().tolist() == expected.mask
        weights = torch.tensor(expected.weight) * torch.tensor(expected.mask)
        torch.testing.assert_close(layer.weight.detach(), weights, atol=1e-9, rtol=0)
        torch.testing.assert_close(layer.bias.detach(), torch.tensor(expected.bias), atol=1e-9, rtol=0)
    assert sum(map(sum, plain[0].mask)) > 3
