"""Counterfactuals against closed forms: linear scores, formulas, masks, limits, several classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from napari_cellinterp.errors import BundleError, CellInterpError, QuestionError
from napari_cellinterp.explain.counterfactual import (
    GRID,
    AttackCurve,
    attack,
    attack_curve,
    counterfactual,
    find_flip,
    find_flip_job,
    find_flips,
    mean_and_sd,
)
from napari_cellinterp.models.expression import Expression
from napari_cellinterp.models.heads import UNDEFINED, SymbolicHead

ALL_BUT_Z0 = tuple(range(1, 32))


class LinearOfPixels(nn.Module):
    """A score that is linear in the pixels."""

    def __init__(self, weight: torch.Tensor, offset: float) -> None:
        super().__init__()
        self.weight, self.offset = weight, offset

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x.flatten(1) @ self.weight + self.offset)[:, None]


def linear_head(weight: torch.Tensor, offset: torch.Tensor | float = 0.0) -> nn.Linear:
    head = nn.Linear(32, weight.shape[0] if weight.ndim == 2 else 1)
    head.weight.data = weight.reshape(head.weight.shape).float()
    head.bias.data = torch.as_tensor(offset).expand(len(head.bias)).clone().float()
    return head.requires_grad_(False)


@pytest.fixture
def formula(random_bundle):
    """Make bundles whose symbolic head is a given formula, or several."""

    def make(*texts: str, **changes):
        bundle = random_bundle(**changes)
        return replace(bundle, heads={"symbolic": SymbolicHead([Expression.parse(text) for text in texts])})

    return make


def grey(n: int = 1, n_channels: int = 1) -> np.ndarray:
    """Images whose pixels lie far from 0 and 1."""
    return np.random.default_rng(3).uniform(0.4, 0.6, (n, n_channels, 64, 64)).astype(np.float32)


def test_the_smallest_flip_of_a_linear_score_of_pixels(random_bundle):
    weight = torch.from_numpy(np.random.default_rng(0).normal(size=64 * 64).astype(np.float32))
    x = grey(5)
    scores = x.reshape(5, -1) @ weight.numpy()
    bundle = replace(random_bundle(), heads={"cnn": LinearOfPixels(weight, 40 - float(scores.min()))})
    expected = (scores + 40 - scores.min()) / weight.abs().sum().item()
    np.testing.assert_allclose(find_flips(bundle, "cnn", x, "image", 0.3), expected, rtol=1e-3)
    flip = find_flip(bundle, "cnn", x[0], "image", 0.3)
    assert flip.epsilon == pytest.approx(expected[0], rel=1e-3)
    at_flip = counterfactual(bundle, "cnn", x[0], flip.epsilon, "image")
    assert (at_flip.state, at_flip.state_after) == (1, 0)
    assert counterfactual(bundle, "cnn", x[0], flip.epsilon * 0.999, "image").state_after == 1


def test_the_smallest_flip_of_a_linear_score_of_latents(random_bundle):
    weight = torch.linspace(-2, 3, 32)
    bundle = replace(random_bundle(), heads={"dense": linear_head(weight)})
    z = np.random.default_rng(1).normal(size=32).astype(np.float32)
    score = float(z @ weight.numpy())
    flip = find_flip(bundle, "dense", grey()[0], "latent", 3.0, latents=z)
    assert flip.epsilon == pytest.approx(abs(score) / weight.abs().sum().item(), rel=1e-3)
    assert flip.score_at_zero == pytest.approx(score, rel=1e-4)
    assert flip.epsilons == pytest.approx(np.arange(1, GRID + 1) * 3 / 64)
    along = score - np.sign(score) * flip.epsilons * weight.abs().sum().item()
    np.testing.assert_allclose(flip.scores[:, 0], along, rtol=1e-3, atol=1e-3)


def test_fixed_latents_stay_bit_for_bit_and_the_others_move_by_epsilon(random_bundle):
    bundle = random_bundle()
    z = torch.randn(6, 32, generator=torch.Generator().manual_seed(2))
    fixed = [0, 3, 31]
    for n_steps in (1, 7):
        changed = attack(bundle, "dense", z, 0.5, "latent", fixed=fixed, n_steps=n_steps)
        assert torch.equal(changed[:, fixed], z[:, fixed])
        assert (changed - z).abs().max() <= 0.5 + 1e-6
    free = [i for i in range(32) if i not in fixed]
    single = attack(bundle, "dense", z, torch.linspace(0, 1, 6), "latent", fixed=fixed)
    moved = (single - z).abs()[:, free]
    torch.testing.assert_close(moved, torch.linspace(0, 1, 6)[:, None].expand(6, 29), atol=1e-6, rtol=0)


@pytest.mark.parametrize("head", ["cnn", "dense", "sparse", "symbolic"])
def test_an_attack_lowers_the_margin_of_each_nucleus_alone(random_bundle, head):
    bundle, x = random_bundle(), torch.from_numpy(grey(4))
    together = attack(bundle, head, x, 0.01, "image")
    alone = torch.cat([attack(bundle, head, one[None], 0.01, "image") for one in x])
    torch.testing.assert_close(together, alone)
    for one in x.numpy():
        found = counterfactual(bundle, head, one, 0.01, "image")
        sign = 2 * found.state - 1
        assert sign * found.scores_after[0] < sign * found.scores_before[0]


def test_images_stay_within_their_limits_and_the_clipped_share_is_told(random_bundle):
    weight = torch.ones(64 * 64)
    weight[: 64 * 32] = -1
    bundle = replace(random_bundle(), heads={"cnn": LinearOfPixels(weight, -1000.0)})
    x = np.full((1, 64, 64), 0.5, np.float32)
    x[0, :16] = 0.05  # interphase: the upper half falls, the lower half rises
    found = counterfactual(bundle, "cnn", x, 0.2, "image")
    assert found.state == 0
    assert found.after.min() == 0
    assert found.after.max() == pytest.approx(0.7)
    assert found.clipped_share == 0.25
    np.testing.assert_allclose(found.difference[0, :16], -0.05, atol=1e-6)
    np.testing.assert_array_equal(found.before, x)
    assert counterfactual(bundle, "cnn", x, 0.01, "image").clipped_share == 0


def test_a_flip_and_back_is_found_at_its_first_interval(formula):
    # positive only from 1 to 1.25 and beyond 2: the score rises, falls and rises again
    bundle = formula("(z0 - 1) * (z0 - 1.25) * (z0 - 2)")
    z = np.zeros(32, np.float32)
    flip = find_flip(bundle, "symbolic", grey()[0], "latent", 3.0, latents=z)
    assert flip.epsilon == pytest.approx(1, abs=1e-3)
    flipped = flip.epsilons[flip.scores[:, 0] >= 0]
    assert ((flipped >= 1) & (flipped <= 1.25) | (flipped >= 2)).all()
    assert (flipped < 1.25).any() and (flipped > 2).any()


def test_iterated_steps_follow_the_score_round_a_bend(formula):
    # from z0 = 0.1 one straight step goes up in z0 and down in z1; the score gains more when z1 turns round
    bundle = formula("z0 * z1 - 1")
    z = torch.zeros(1, 32)
    z[0, :2] = torch.tensor([0.3, -0.1])
    score = bundle.heads["symbolic"]
    once = score(attack(bundle, "symbolic", z, 1.0, "latent"))
    often = score(attack(bundle, "symbolic", z, 1.0, "latent", n_steps=20))
    assert once == pytest.approx(-0.7 * 0.9 - 1, abs=1e-5)
    assert often > once


def test_no_flip_up_to_the_largest_epsilon(formula):
    bundle = formula("z0 - 5")
    z = np.zeros(32, np.float32)
    flip = find_flip(bundle, "symbolic", grey()[0], "latent", 3.0, latents=z)
    assert flip.epsilon is None
    assert flip.max_epsilon == 3
    assert flip.scores[-1, 0] == pytest.approx(-2)
    assert np.isnan(find_flips(bundle, "symbolic", grey(3), "latent", 0.5)).all()


def test_an_undefined_score_is_no_flip_and_is_counted(formula):
    bundle = formula("log(1 - z0) - 1")  # -1 at 0; z0 falls to flip at 1 - e
    z = np.zeros(32, np.float32)
    flip = find_flip(bundle, "symbolic", grey()[0], "latent", 3.0, latents=z)
    assert flip.epsilon == pytest.approx(np.e - 1, abs=1e-3)
    upwards = formula("1 + sqrt(1 - z0)")  # 2 at 0; z0 rises, and the root is undefined beyond 1
    flip = find_flip(upwards, "symbolic", grey()[0], "latent", 3.0, latents=z)
    assert flip.epsilon is None
    assert flip.n_undefined == (flip.epsilons > 1).sum() > 0
    after = counterfactual(upwards, "symbolic", grey()[0], 2.0, "latent", latents=z)
    assert after.state_after == UNDEFINED
    assert np.isnan(after.scores_after).all()
    curve = attack_curve(upwards, "symbolic", grey(4), np.ones(4), [0, 50], "latent")
    assert curve.accuracy.tolist() == [1, 0]
    assert curve.undefined.tolist() == [0, 1]


def test_nuclei_without_a_score_are_told_or_passed_over(formula):
    bundle = formula("log(0 - 1 - z0**2)")
    with pytest.raises(QuestionError, match="undefined"):
        find_flip(bundle, "symbolic", grey()[0], "image", 0.3)
    with pytest.raises(QuestionError, match="undefined"):
        counterfactual(bundle, "symbolic", grey()[0], 0.3, "latent")
    assert np.isnan(find_flips(bundle, "symbolic", grey(2), "image", 0.3)).all()


def test_an_undefined_gradient_moves_nothing(formula):
    bundle = formula("1 + sqrt(z0)")
    z = torch.zeros(1, 32)
    z[0, 0] = -1
    assert torch.equal(attack(bundle, "symbolic", z, 1.0, "latent"), z)
    assert torch.equal(attack(formula("2"), "symbolic", z, 1.0, "latent"), z)


def test_of_several_classes_the_nearest_other_takes_over(random_bundle):
    weight = torch.zeros(3, 32)
    weight[0, 0], weight[1, 1], weight[2, 2] = 1, 1, 4
    bundle = replace(random_bundle(classes=("a", "b", "c")), heads={"dense": linear_head(weight)})
    z = np.zeros(32, np.float32)
    z[:3] = 2, 1, 0
    found = counterfactual(bundle, "dense", grey()[0], 0.25, "latent", latents=z)
    np.testing.assert_allclose(found.latents_after[:3], [1.75, 1.25, 0])  # only the margin to b counts here
    assert find_flip(bundle, "dense", grey()[0], "latent", 3.0, latents=z).epsilon == pytest.approx(0.5, abs=1e-3)


def test_a_latent_counterfactual_shows_decoded_images(random_bundle):
    bundle, x = random_bundle(n_channels=2), grey(n_channels=2)[0]
    found = counterfactual(bundle, "sparse", x, 0.4, "latent", fixed=[2])
    with torch.no_grad():
        z = bundle.encoder.encode(torch.from_numpy(x)[None])
        decoded = bundle.decoder(z)[0].numpy()
    np.testing.assert_allclose(found.latents_before, z[0].numpy(), atol=1e-6)
    np.testing.assert_allclose(found.before, decoded, atol=1e-6)
    np.testing.assert_array_equal(found.before, found.reconstruction_before)
    np.testing.assert_allclose(found.difference, found.after - found.before)
    assert found.before.shape == found.after.shape == (2, 64, 64)
    assert found.before.dtype == found.difference.dtype == found.latents_after.dtype == np.float32
    assert found.clipped_share == 0


def test_an_image_counterfactual_shows_what_the_encoder_saw(random_bundle):
    bundle, x = random_bundle(), grey()[0]
    found = counterfactual(bundle, "cnn", x, 0.05, "image")
    with torch.no_grad():
        z = bundle.encoder.encode(torch.from_numpy(found.after)[None])
        np.testing.assert_allclose(found.latents_after, z[0].numpy(), atol=1e-5)
        np.testing.assert_allclose(found.reconstruction_after, bundle.decoder(z)[0].numpy(), atol=1e-5)
        np.testing.assert_allclose(found.scores_after, bundle.heads["cnn"](torch.from_numpy(found.after)[None])[0])


def test_many_flips_are_those_of_each_alone(random_bundle):
    bundle, x = random_bundle(), grey(5)
    for space, largest in (("image", 0.3), ("latent", 3.0)):
        together = find_flips(bundle, "dense", x, space, largest, n_steps=3)
        alone = [find_flip(bundle, "dense", one, space, largest, n_steps=3).epsilon for one in x]
        np.testing.assert_allclose(together, [np.nan if one is None else one for one in alone], rtol=1e-3)
    assert find_flips(bundle, "dense", x[:0], "image", 0.3).shape == (0,)


def test_accuracy_against_epsilon_of_a_linear_score(random_bundle):
    bundle = replace(random_bundle(), heads={"dense": linear_head(torch.eye(32)[0])})
    x = grey(8)
    with torch.no_grad():
        z0 = bundle.encoder.encode(torch.from_numpy(x))[:, 0].numpy()
    state = (z0 >= 0).astype(int)
    state[0] = 1 - state[0]  # the head is wrong about one, which stays so
    epsilons = [0, float(np.median(np.abs(z0))), 100]
    curve = attack_curve(bundle, "dense", x, state, epsilons, "latent")
    own = np.abs(z0[1:])
    assert curve.accuracy == pytest.approx([7 / 8, (own > epsilons[1]).sum() / 8, 0])
    held = attack_curve(bundle, "dense", x, state, epsilons, "latent", fixed=[0])
    assert held.accuracy == pytest.approx([7 / 8] * 3)
    assert held.undefined == pytest.approx([0, 0, 0])


def test_mean_and_sd_of_several_models():
    curves = [AttackCurve(np.zeros(2), np.array(accuracy), np.zeros(2)) for accuracy in ([1.0, 0.5], [0.8, 0.5])]
    mean, sd = mean_and_sd(curves)
    assert mean == pytest.approx([0.9, 0.5])
    assert sd == pytest.approx([0.1, 0])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"head": "cnn", "space": "latent"}, QuestionError, "no latents"),
        ({"head": "sparse", "without": "sparse"}, BundleError, "no sparse head"),
        ({"space": "latent", "fixed": range(32)}, QuestionError, "All latents are held fixed"),
        ({"space": "latent", "fixed": [32]}, QuestionError, "no latents z32"),
        ({"fixed": [1]}, QuestionError, "can't be held fixed"),
        ({"x": np.zeros((1, 32, 32))}, QuestionError, r"shape \(1, 32, 32\).*reads \(1, 64, 64\)"),
        ({"x": np.zeros((2, 64, 64))}, QuestionError, r"reads \(1, 64, 64\)"),
        ({"x": np.full((1, 64, 64), 300.0)}, QuestionError, "from 300 to 300"),
        ({"x": np.full((1, 64, 64), np.nan)}, QuestionError, "undefined"),
        ({"max_epsilon": 0}, QuestionError, "largest epsilon is 0"),
        ({"max_epsilon": np.nan}, QuestionError, "largest epsilon is nan"),
        ({"n_steps": 0}, QuestionError, "0 steps"),
        ({"latents": np.zeros(32)}, QuestionError, "start of an attack on the image"),
        ({"space": "latent", "latents": np.zeros(5)}, QuestionError, r"shape \(5,\)"),
    ],
)
def test_questions_that_cannot_be_answered(random_bundle, changes, error, message):
    bundle = random_bundle()
    bundle.heads.pop(changes.pop("without", None), None)
    question = {"head": "dense", "x": grey()[0], "space": "image", "max_epsilon": 0.3} | changes
    with pytest.raises(error, match=message):
        find_flip(bundle, **question)


def test_numbers_that_do_not_fit_the_inputs(random_bundle):
    bundle, x = random_bundle(), torch.from_numpy(grey(3))
    for change in (
        {"epsilon": -1.0},
        {"epsilon": torch.ones(2)},
        {"state": torch.zeros(2)},
        {"state": torch.ones(3) * 2},
    ):
        with pytest.raises(CellInterpError):
            attack(bundle, "dense", **{"inputs": x, "epsilon": 0.1, "space": "image"} | change)
    with pytest.raises(QuestionError, match="no nuclei"):
        attack_curve(bundle, "dense", grey(0), [], [0.1], "image")


class CountedPasses(LinearOfPixels):
    """Counts how often it is asked for a score."""

    n_passes = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.n_passes += 1
        return super().forward(x)


def test_a_search_of_many_steps_can_be_left_after_each(random_bundle):
    head = CountedPasses(torch.linspace(-1, 1, 4096), -1.0)
    bundle = replace(random_bundle(), heads={"cnn": head})
    x, how = grey()[0], ("image", 0.3, (), 5)
    job = find_flip_job(bundle, "cnn", x, *how)
    for _ in range(3):
        next(job)
    n_passes = head.n_passes
    job.close()
    assert head.n_passes == n_passes
    whole = find_flip(bundle, "cnn", x, *how)
    assert whole.epsilon is not None
    assert head.n_passes > 5 * n_passes, "three of many steps were taken"
