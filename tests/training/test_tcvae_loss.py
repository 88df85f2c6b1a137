"""The decomposed loss against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_cellinterp.training.tcvae_loss import (
    TcvaeLoss,
    decompose,
    log_gaussian,
    log_importance_weights,
    pixel_weights,
    reconstruction_error,
)


@given(n_batch=st.integers(2, 60), factor=st.integers(1, 10_000))
def test_stratified_weights(n_batch, factor):
    n_dataset = n_batch * factor
    weights = log_importance_weights(n_batch, n_dataset, "stratified").exp().numpy()
    np.testing.assert_allclose(np.diag(weights), 1 / n_dataset, rtol=1e-12)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)
    stand_in = (n_dataset - n_batch + 1) / (n_dataset * (n_batch - 1))
    for row in range(n_batch):
        off = np.sort(np.delete(weights[row], row))
        np.testing.assert_allclose(off[:1], stand_in, rtol=1e-9)
        np.testing.assert_allclose(off[1:], 1 / (n_batch - 1), rtol=1e-12)


def test_weighted_weights():
    weights = log_importance_weights(4, 100, "weighted").exp()
    torch.testing.assert_close(weights, torch.full((4, 4), 1 / 400, dtype=torch.float64))


def test_log_gaussian_is_the_density():
    normal = torch.distributions.Normal(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.5]))
    z = torch.tensor([0.3, -1.0])
    torch.testing.assert_close(log_gaussian(z, normal.loc, 2 * normal.scale.log()), normal.log_prob(z))


def sampled(covariance, noise_sd: float, n: int, seed: int = 0):
    """Posteriors N(x_i, noise_sd^2) of correlated Gaussian x, and a sample of each."""
    rng = np.random.default_rng(seed)
    mean = torch.from_numpy(rng.multivariate_normal(np.zeros(len(covariance)), covariance, n))
    log_variance = torch.full_like(mean, 2 * math.log(noise_sd))
    return mean + noise_sd * torch.from_numpy(rng.normal(size=mean.shape)), mean, log_variance


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8, -0.9])
def test_total_correlation_of_a_gaussian(correlation):
    covariance, noise_sd, n = np.array([[1, correlation], [correlation, 1]]), 0.4, 1500
    mi, tc, kl = decompose(*sampled(covariance, noise_sd, n), n)
    mixture = covariance + noise_sd**2 * np.eye(2)
    r = mixture[0, 1] / mixture[0, 0]
    variance = mixture[0, 0]
    assert float(tc) == pytest.approx(-0.5 * math.log(1 - r**2), abs=0.06)
    assert float(kl) == pytest.approx(2 * 0.5 * (variance - 1 - math.log(variance)), abs=0.08)
    assert float(mi) == pytest.approx(0.5 * (np.linalg.slogdet(mixture)[1] - 4 * math.log(noise_sd)), abs=0.12)


@pytest.mark.parametrize("n_dataset", [100, 2_100_000])
def test_the_weighted_estimate_is_off_by_constants(n_dataset):
    """Its weights sum to 1 / N, so each density is N times too small: one for q(z), one for each latent."""
    covariance, noise_sd, n = np.array([[1, 0.8], [0.8, 1]]), 0.4, 1500
    mi, tc, kl = decompose(*sampled(covariance, noise_sd, n), n_dataset, "weighted")
    mixture = covariance + noise_sd**2 * np.eye(2)
    variance, off = mixture[0, 0], math.log(n_dataset)
    assert float(tc) - off == pytest.approx(-0.5 * math.log(1 - (mixture[0, 1] / variance) ** 2), abs=0.06)
    assert float(kl) + 2 * off == pytest.approx(variance - 1 - math.log(variance), abs=0.08)
    assert float(mi) - off == pytest.approx(0.5 * (np.linalg.slogdet(mixture)[1] - 4 * math.log(noise_sd)), abs=0.12)


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_a_batch_of_an_endless_data_set_tells_its_total_correlation(correlation):
    """The image's own density then hardly counts, so the estimate rests on its neighbours in the batch."""
    covariance, noise_sd = np.array([[1, correlation], [correlation, 1]]), 0.8
    _, tc, _ = decompose(*sampled(covariance, noise_sd, 1500), 2_100_000)
    r = correlation / (1 + noise_sd**2)
    assert float(tc) == pytest.approx(-0.5 * math.log(1 - r**2), abs=0.06)


def test_the_order_of_a_batch_does_not_matter_to_the_weighted_estimate():
    batch, order = sampled(np.eye(3), 0.5, 20), torch.randperm(20)
    shuffled = [tensor[order] for tensor in batch]
    for one, two in zip(decompose(*batch, 1000, "weighted"), decompose(*shuffled, 1000, "weighted"), strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("n_batch", [2, 5, 128])
def test_rows_of_weighted_weights_sum_to_one_over_the_data_set(n_batch):
    sums = log_importance_weights(n_batch, 2_100_000, "weighted").exp().sum(1)
    torch.testing.assert_close(sums, torch.full((n_batch,), 1 / 2_100_000, dtype=torch.float64))


def test_the_smallest_batch_of_a_data_set_of_its_size():
    """Both images count alike: the stand-in for all others then stands for one."""
    torch.testing.assert_close(log_importance_weights(2, 2, "stratified").exp(), torch.full((2, 2), 0.5).double())


def test_total_correlation_of_three_latents():
    covariance = np.array([[1, 0.6, 0.3], [0.6, 1, -0.2], [0.3, -0.2, 1]])
    _, tc, _ = decompose(*sampled(covariance, 0.5, 1500), 1500)
    mixture = covariance + 0.25 * np.eye(3)
    scale = np.sqrt(np.diag(mixture))
    assert float(tc) == pytest.approx(-0.5 * np.linalg.slogdet(mixture / scale / scale[:, None])[1], abs=0.08)


@pytest.mark.parametrize("estimator", ["weighted", "stratified"])
@pytest.mark.parametrize("n_dataset", [32, 10_000])
def test_the_three_terms_sum_to_the_kl_of_the_posteriors(estimator, n_dataset):
    z, mean, log_variance = sampled(np.eye(5), 0.3, 32)
    total = sum(decompose(z, mean, log_variance, n_dataset, estimator))
    zeros = torch.zeros_like(z)
    expected = (log_gaussian(z, mean, log_variance) - log_gaussian(z, zeros, zeros)).sum(1).mean()
    torch.testing.assert_close(total, expected)


def test_a_collapsed_posterior_costs_nothing():
    z = torch.randn(64, 6, dtype=torch.float64)
    zeros = torch.zeros_like(z)
    for term in decompose(z, zeros, zeros, 64):
        assert float(term) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_no_term_is_negative_beyond_chance(seed):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(4, 4))
    for term in decompose(*sampled(a @ a.T, 0.7, 800, seed), 800):
        assert float(term) > -0.05


def test_mutual_information_of_well_separated_images_is_the_log_of_their_number():
    mean = 100 * torch.arange(50, dtype=torch.float64)[:, None].expand(50, 2)
    zeros = torch.zeros_like(mean)
    mi, _, _ = decompose(mean, mean, zeros, 50)
    assert float(mi) == pytest.approx(math.log(50))


def test_gradients_reach_mean_and_variance():
    z, mean, log_variance = (tensor.float() for tensor in sampled(np.eye(3), 0.5, 16))
    mean.requires_grad_()
    log_variance.requires_grad_()
    noise = (z - mean.detach()) / 0.5
    sum(decompose(mean + noise * (0.5 * log_variance).exp(), mean, log_variance, 2_100_000)).backward()
    assert mean.grad.abs().sum() > 0
    assert log_variance.grad.isfinite().all()


def test_the_total_weighs_the_terms():
    loss = TcvaeLoss(*(torch.tensor(value) for value in (1.0, 10.0, 100.0, 1000.0, 50.0)))
    assert loss.total(2, 3, 4).item() == 1 + 20 + 300 + 4000 + 50


def test_pixel_weights():
    weights = pixel_weights(64, 14.0, 0.15)
    assert weights.mean().item() == pytest.approx(1)
    torch.testing.assert_close(weights, weights.flip(0))
    torch.testing.assert_close(weights, weights.T)
    at = [0.15 + 0.85 * math.exp(-(2 * d**2) / (2 * 14**2)) for d in (0.5, 31.5)]
    assert (weights[32, 32] / weights[0, 0]).item() == pytest.approx(at[0] / at[1], rel=1e-4)
    flat = pixel_weights(64, 14.0, 0.15, 3.0)
    on_edge = 32 + round(14 * math.sqrt(2))
    assert flat[32, 40] == pytest.approx(float(flat[32, 32]), rel=0.02), "flat in the middle"
    assert flat[32, on_edge - 5] / flat[32, on_edge + 5] > weights[32, on_edge - 5] / weights[32, on_edge + 5]
    torch.testing.assert_close(pixel_weights(8, math.inf, 0.15), torch.ones(8, 8))


def test_reconstruction_error():
    x, decoded = torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    decoded[0, 0, 1, 1], decoded[1, 0, 2, 3] = 0.5, 1.0
    weights = torch.ones(4, 4)
    weights[2, 3] = 3
    assert reconstruction_error(decoded, x, weights, 0.5).item() == pytest.approx((0.25 + 3) / 2 / (2 * 0.25))
