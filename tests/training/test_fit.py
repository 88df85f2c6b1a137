"""Training loops learn, repeat themselves by their seed, and see all flips and turns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from napari_cellinterp.config import CnnConfig, HeadConfig, RiglConfig, TrainingConfig, VaeConfig
from napari_cellinterp.events import finish
from napari_cellinterp.models.heads import Cnn, read_latents
from napari_cellinterp.models.vae import Encoder
from napari_cellinterp.training.fit import (
    FEWEST_CNN_STEPS,
    N_TURNS,
    begin_as_encoder,
    encode_all,
    encode_moved,
    encode_turns,
    fit_cnn,
    fit_dense,
    fit_sparse,
    moved_each,
    turned,
    turned_each,
)
from napari_cellinterp.training.guides import GUIDES
from napari_cellinterp.training.vae_training import new_vae


def images(n: int = 40, seed: int = 0) -> tuple[np.ndarray, torch.Tensor]:
    """Long and round blobs, (n, 1, 64, 64) uint8, and whether they are long."""
    rng = np.random.default_rng(seed)
    ticks = np.arange(64) - 31.5
    state = np.arange(n) % 2
    angle, long = rng.uniform(0, np.pi, (n, 1, 1)), np.where(state > 0, 3.5, 1.0)[:, None, None]
    u = np.cos(angle) * ticks + np.sin(angle) * ticks[:, None]
    v = np.cos(angle) * ticks[:, None] - np.sin(angle) * ticks
    blobs = np.exp(-(u**2 / long + v**2 * long) / 120)
    return (255 * blobs[:, None]).round().astype(np.uint8), torch.from_numpy(state)


def test_the_eight_turns_are_those_of_a_square():
    x = torch.arange(18.0).reshape(1, 2, 3, 3)
    seen = {tuple(turned(x, turn).flatten().tolist()) for turn in range(N_TURNS)}
    assert len(seen) == N_TURNS == 8
    assert torch.equal(turned(x, 0), x)
    assert {tuple(turned(turned(x, 5), turn).flatten().tolist()) for turn in range(N_TURNS)} == seen


def test_each_image_is_turned_as_it_should():
    x = torch.arange(2 * 10 * 9, dtype=torch.uint8).reshape(10, 2, 3, 3)
    turns = np.array([0, 7, 3, 3, 1, 2, 6, 5, 4, 0])
    expected = torch.cat([turned(image[None], turn) for image, turn in zip(x, turns, strict=True)])
    assert torch.equal(turned_each(x, turns), expected)
    assert set(turns) == set(range(N_TURNS))


def test_each_image_is_moved_as_it_should():
    image = np.arange(2 * 16, dtype=np.uint8).reshape(1, 2, 4, 4)
    still, moved, far = moved_each(np.repeat(image, 3, axis=0), np.array([[0, 0], [1, -2], [-9, 0]]))
    np.testing.assert_array_equal(still, image[0])
    np.testing.assert_array_equal(moved, image[0][:, [1, 2, 3, 3]][:, :, [0, 0, 0, 1]])
    np.testing.assert_array_equal(far, image[0][:, [0, 0, 0, 0]])


def test_a_cnn_sees_each_crop_turned_and_moved_anew(monkeypatch):
    pixels = np.repeat(images(1)[0], 64, axis=0)
    pixels[:, :, 10:20, 40:50] = 255  # a mark that every turn and move shows
    seen, forward = [], Cnn.forward

    def watched(self: Cnn, x: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return forward(self, x)

    monkeypatch.setattr(Cnn, "forward", watched)
    finish(fit_cnn(pixels, torch.arange(64) % 2, CnnConfig(n_epochs=2, batch=64, max_shift_px=3)))
    assert len(seen) == 2 * FEWEST_CNN_STEPS  # few crops come several times in an epoch
    marks = [[(image[0] == 1).nonzero().float().mean(dim=0).round().int() for image in x] for x in seen]
    sides = [{(int(y) // 32, int(x) // 32) for y, x in batch} for batch in marks]
    places = [{(int(y), int(x)) for y, x in batch} for batch in marks]
    assert all(len(found) == 4 for found in sides)  # turned: the mark is in every corner
    assert all(len(found) > N_TURNS for found in places)  # and moved: at more places than turns alone give
    assert places[0] != places[1]


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


def test_latents_of_moved_crops():
    encoder, _ = new_vae(VaeConfig())
    pixels = np.repeat(images(1)[0], 9, axis=0)
    latents = encode_moved(encoder, pixels, 1, seed=3)
    assert latents.shape == (24, 9, 32)
    assert torch.equal(latents, encode_moved(encoder, pixels, 1, seed=3))
    assert not torch.equal(latents, encode_moved(encoder, pixels, 1, seed=4))
    reached = np.array([(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)])
    expected = encode_turns(encoder, moved_each(pixels, reached))
    for i, view in enumerate(latents):  # each row is the crop moved by one of the nine shifts, under the view's turn
        away = torch.cdist(view, expected[i % 8]).min(dim=1).values
        assert away.max() < 1e-4
    assert len(torch.unique(latents[0].mul(1e4).round(), dim=0)) > 1
    torch.testing.assert_close(encode_moved(encoder, pixels, 0, seed=3)[:8], encode_turns(encoder, pixels))


@pytest.mark.parametrize("kind", ["dense", "cnn"])
def test_heads_learn_and_end_ready_for_use(kind):
    pixels, state = images(64)
    config = HeadConfig(n_epochs=24, batch=8) if kind == "dense" else CnnConfig(n_epochs=16, batch=8)
    events = []
    if kind == "dense":
        z = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
        z[:, 4] += 4 * state - 2
        model = finish(fit_dense(z.expand(8, 64, 32), state, config), events.append)
        scores = model(z)
    else:
        model = finish(fit_cnn(pixels, state, config), events.append)
        others, state = images(32, seed=1)
        scores = model(torch.from_numpy(others).float() / 255)
    assert not model.training
    assert ((scores[:, 0] >= 0) == (state > 0)).float().mean() > 0.9
    losses = [dict(event.figures)["loss"] for event in events]
    assert len(losses) == config.n_epochs
    assert losses[-1] < 0.8 * losses[0]
    assert [event.name for event in events] == [kind] * len(events)


def test_a_cnn_that_begins_as_the_encoder_has_the_latents_as_features():
    torch.manual_seed(3)
    encoder, model = Encoder().eval(), Cnn(dropout=0.3).eval()
    pixels, _ = images(300)
    x = torch.from_numpy(pixels).float() / 255
    begin_as_encoder(model, encoder, pixels)
    with torch.no_grad():
        latents, features = encoder.encode(x), model.features(model.convolutions(x).flatten(1))
        torch.testing.assert_close(features, latents, atol=1e-5, rtol=1e-4)
        in_training = model.train().convolutions(x[:256])
        torch.testing.assert_close(in_training, encoder.convolutions(x[:256]), atol=0.05, rtol=0.1)


def test_a_cnn_begins_as_an_encoder_with_other_latents_but_for_them():
    encoder, model = Encoder(n_latents=8), Cnn()
    begin_as_encoder(model, encoder, images(20)[0])
    torch.testing.assert_close(model.features[0].weight, encoder.hidden[0].weight)
    assert model.features[4].weight.shape == (32, 256)


@pytest.mark.parametrize("sparse", [False, True])
def test_heads_of_several_classes_give_a_score_each(sparse):
    state = torch.arange(300) % 3
    z = torch.randn(300, 6, generator=torch.Generator().manual_seed(0))
    z[:, 1] += 6 * (state - 1)
    if sparse:
        config = RiglConfig(
            n_epochs=20, warm_up_epochs=8, batch=16, sparsity=0.8, update_interval_steps=20, learning_rate=1e-2
        )
        head = finish(fit_sparse(z.expand(8, 300, 6), state, config, n_classes=3))
    else:
        head = finish(fit_dense(z.expand(8, 300, 6), state, HeadConfig(n_epochs=20, batch=16), n_classes=3))
    scores = head(z)
    assert scores.shape == (300, 3)
    assert (scores.argmax(dim=1) == state).float().mean() > 0.9


def test_a_sparse_head_can_be_kept_to_the_latents_that_are_taught():
    state = torch.arange(300) % 2
    z = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    z[:, 2] += state
    z[:, 6] += 6 * state - 3
    config = RiglConfig(n_epochs=20, warm_up_epochs=8, batch=16, sparsity=0.8, update_interval_steps=20)
    read = [
        read_latents(finish(fit_sparse(z.expand(8, 300, 8), state, config.model_copy(update={"reads": reads}))))
        for reads in ("all", "taught")
    ]
    assert 6 in read[0]
    assert 2 in read[1]
    assert max(read[1]) < len(GUIDES)


def test_only_latents_that_are_taught_can_be_asked_for():
    with pytest.raises(ValidationError, match=r"none is taught; set vae\.guide_sd"):
        TrainingConfig(sparse=RiglConfig(reads="taught"))
    assert TrainingConfig(sparse=RiglConfig(reads="taught"), vae=VaeConfig(guide_sd=0.1)).sparse.reads == "taught"


@pytest.mark.parametrize(("fit", "config"), [(fit_dense, HeadConfig()), (fit_sparse, RiglConfig())])
def test_few_crops_are_enough_to_learn(fit, config):
    state = torch.arange(1000) % 2
    z = torch.randn(1000, 32, generator=torch.Generator().manual_seed(0))
    z[:, 3] += 6 * state - 3
    head = finish(fit(z[:40].expand(8, 40, 32), state[:40], config))
    assert ((head(z[40:])[:, 0] >= 0) == (state[40:] > 0)).float().mean() > 0.9


def test_interphase_can_count_more():
    state = torch.arange(200) % 2
    z = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    z[:, 0] += state
    configs = [HeadConfig(n_epochs=20, batch=16, interphase_weight=weight) for weight in (1.0, 5.0)]
    called = [finish(fit_dense(z.expand(8, 200, 4), state, config))(z) >= 0 for config in configs]
    assert called[1].sum() < 0.6 * called[0].sum()
