"""Training loops learn, repeat themselves by their seed, and see all flips and turns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_cellinterp.config import HeadConfig, VaeConfig
from napari_cellinterp.training.fit import N_TURNS, encode_all, encode_turns, fit_cnn, fit_dense, turned
from napari_cellinterp.training.vae_training import new_vae
from napari_cellinterp.workflows import finish


def images(n: int = 40, seed: int = 0) -> tuple[np.ndarray, torch.Tensor]:
    """Long and round blobs, (n, 1, 64, 64) uint8, and their targets."""
    rng = np.random.default_rng(seed)
    ticks = np.arange(64) - 31.5
    target = np.where(np.arange(n) % 2, 1.0, -1.0).astype(np.float32)
    angle, long = rng.uniform(0, np.pi, (n, 1, 1)), np.where(target > 0, 3.5, 1.0)[:, None, None]
    u = np.cos(angle) * ticks + np.sin(angle) * ticks[:, None]
    v = np.cos(angle) * ticks[:, None] - np.sin(angle) * ticks
    blobs = np.exp(-(u**2 / long + v**2 * long) / 120)
    return (255 * blobs[:, None]).round().astype(np.uint8), torch.from_numpy(target)


def test_the_eight_turns_are_those_of_a_square():
    x = torch.arange(18.0).reshape(1, 2, 3, 3)
    seen = {tuple(turned(x, turn).flatten().tolist()) for turn in range(N_TURNS)}
    assert len(seen) == N_TURNS == 8
    assert torch.equal(turned(x, 0), x)
    assert {tuple(turned(turned(x, 5), turn).flatten().tolist()) for turn in range(N_TURNS)} == seen


def test_latents_under_all_turns():
    encoder, _ = new_vae(VaeConfig())
    pixels = images(5)[0]
    latents = encode_turns(encoder, pixels)
    assert latents.shape == (8, 5, 32)
    for turn in (0, 3, 6):
        x = turned(torch.from_numpy(pixels).float() / 255, turn)
        torch.testing.assert_close(latents[turn], encoder.encode(x).detach(), atol=1e-5, rtol=1e-4)
    mean, log_variance = encode_all(encoder, pixels)
    assert mean.shape == log_variance.shape == (5, 32)


@pytest.mark.parametrize("kind", ["dense", "cnn"])
def test_heads_learn_and_end_ready_for_use(kind):
    pixels, target = images(64)
    config = HeadConfig(n_epochs=12 if kind == "dense" else 6, batch=8)
    events = []
    if kind == "dense":
        z = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
        z[:, 4] += 2 * target
        model = finish(fit_dense(z.expand(8, 64, 32), target, config), events.append)
        scores = model(z)
    else:
        model = finish(fit_cnn(pixels, target, config), events.append)
        others, target = images(32, seed=1)
        scores = model(torch.from_numpy(others).float() / 255)
    assert not model.training
    assert ((scores[:, 0] >= 0) == (target > 0)).float().mean() > 0.9
    losses = [dict(event.figures)["loss"] for event in events]
    assert len(losses) == config.n_epochs
    assert losses[-1] < 0.8 * losses[0]
    assert [event.name for event in events] == [kind] * len(events)
