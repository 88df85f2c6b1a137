"""Outlines of nuclei as latents are taught them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from napari_cellinterp.models.latent_names import CENTRAL
from napari_cellinterp.training.datasets import simulate_scene_crops
from napari_cellinterp.training.fit import N_TURNS, turned
from napari_cellinterp.training.guides import GUIDES, LIMIT, guide_error, no_outlines, outlines, turned_outlines

SIZE, ELONGATION, DIAGONAL, RAGGEDNESS = range(4)


def ellipse(length: float, width: float, angle: float, side: int = 128) -> np.ndarray:
    """Half axes in pixels; the angle anticlockwise from the x axis as one sees it, y pointing down."""
    ticks = np.arange(side) - (side - 1) / 2
    x, y = ticks[None], -ticks[:, None]
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return ((u / length) ** 2 + (v / width) ** 2 <= 1).astype(np.int32)


def measured(mask: np.ndarray, zoom: float = 1.0) -> np.ndarray:
    (values,) = outlines(mask, np.array([1]), zoom)
    return values * [guide.unit for guide in GUIDES] + [guide.middle for guide in GUIDES]


@pytest.mark.parametrize("angle", [0, 0.3, np.pi / 4, np.pi / 2, 2.5])
def test_an_ellipse_has_the_area_and_moments_of_an_ellipse(angle):
    found = measured(ellipse(40, 16, angle))
    assert found[SIZE] == pytest.approx(math.log(math.pi * 40 * 16), abs=0.01)
    long = (40**2 - 16**2) / (40**2 + 16**2)
    assert found[ELONGATION] == pytest.approx(long * np.cos(2 * angle), abs=0.01)
    assert found[DIAGONAL] == pytest.approx(long * np.sin(2 * angle), abs=0.01)
    assert found[RAGGEDNESS] < math.log(0.04)


def test_a_notch_makes_it_ragged():
    mask = ellipse(40, 30, 0)
    mask[:, 60:68] = 0
    mask[60:68] = ellipse(40, 30, 0)[60:68]
    assert measured(mask)[RAGGEDNESS] > measured(ellipse(40, 30, 0))[RAGGEDNESS] + 1


def test_size_is_in_model_pixels_and_the_rest_does_not_depend_on_scale():
    small, large = measured(ellipse(20, 10, 0.3), zoom=2), measured(ellipse(40, 20, 0.3))
    np.testing.assert_allclose(small[:3], large[:3], atol=0.02)
    assert large[SIZE] > measured(ellipse(20, 10, 0.3))[SIZE] + 1


def test_ids_come_in_the_order_asked_for_and_missing_ones_are_unknown():
    labels = ellipse(20, 10, 0, 64) * 7
    labels[:8, :8] = 3
    found = outlines(labels, np.array([3, 9, 7]), 1)
    assert found.shape == (3, len(GUIDES))
    assert found.dtype == np.float32
    assert np.isfinite(found).all(axis=1).tolist() == [True, False, True]
    assert found[0, SIZE] < found[2, SIZE]
    assert outlines(np.zeros((9, 9), int), np.array([1]), 1).shape == (1, len(GUIDES))
    assert np.isnan(no_outlines(3)).all()


def test_outlines_turn_with_their_images():
    mask = ellipse(20, 8, 0.4, 64)
    own = torch.from_numpy(outlines(mask, np.array([1]), 1))
    for turn in range(N_TURNS):
        image = turned(torch.from_numpy(mask)[None, None].float(), turn)[0, 0].numpy().astype(int)
        expected = outlines(image, np.array([1]), 1)
        np.testing.assert_allclose(turned_outlines(own, torch.tensor([turn])), expected, atol=1e-4)


def test_the_error_is_a_gaussian_likelihood_of_what_is_known():
    mean = torch.zeros(2, 6, requires_grad=True)
    outline = torch.tensor([[0.2, 0, 0, -0.4], [torch.nan] * 4])
    error = guide_error(mean, outline, 0.1)
    assert error.item() == pytest.approx((2**2 + 4**2) / 2 / 2)
    error.backward()
    assert mean.grad.isfinite().all()
    assert (mean.grad[1] == 0).all()
    assert (mean.grad[0, 4:] == 0).all()


def test_simulated_nuclei_are_near_standard_normal():
    found = np.concatenate([simulate_scene_crops(seed).outline for seed in range(3)])
    assert np.isfinite(found).all()
    # the middle of raggedness lies between smooth interphase nuclei, which are the most, and plates
    assert np.abs(np.median(found, axis=0)).max() < 2
    assert 0.3 < found.std(axis=0).min() < found.std(axis=0).max() < 1.7


def test_debris_is_not_far_from_all_else():
    labels = np.zeros((64, 64), int)
    labels[5, 5] = 1
    assert outlines(labels, np.array([1]), 1)[0, SIZE] == -LIMIT


def test_all_that_is_taught_is_about_the_central_nucleus():
    assert {guide.name for guide in GUIDES} <= set(CENTRAL)
