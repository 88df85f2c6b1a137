"""Traits of nuclei as latents are taught them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import rotate

from napari_cellinterp.config import VaeConfig
from napari_cellinterp.models.latent_names import AROUND, CENTRAL
from napari_cellinterp.training.datasets import simulate_scene_crops
from napari_cellinterp.training.fit import N_TURNS, turned
from napari_cellinterp.training.traits import (
    LIMIT,
    OUTLINE,
    PARTNER_PX,
    TRAITS,
    guide_error,
    lopsidedness,
    measure_traits,
    taught_names,
    turned_traits,
    unknown_traits,
)

SIZE, ELONGATION, DIAGONAL, RAGGEDNESS, UNEVENNESS, RIM, THICKNESS, LOPSIDEDNESS, PARTNER = range(9)


def ellipse(length: float, width: float, angle: float, side: int = 128) -> np.ndarray:
    """Half axes in pixels; the angle anticlockwise from the x axis as one sees it, y pointing down."""
    ticks = np.arange(side) - (side - 1) / 2
    x, y = ticks[None], -ticks[:, None]
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return ((u / length) ** 2 + (v / width) ** 2 <= 1).astype(np.int32)


def traits_of(labels: np.ndarray, ids: list[int], zoom: float = 1.0, image: np.ndarray | None = None) -> np.ndarray:
    """Traits in their units; without an image, of nuclei that are all evenly bright."""
    image = (labels > 0) * 1000.0 if image is None else image
    return measure_traits(image, labels, np.array(ids), zoom, np.zeros(len(ids)))


def measured(mask: np.ndarray, zoom: float = 1.0, image: np.ndarray | None = None) -> np.ndarray:
    """What was measured of nucleus 1, before it is put into units."""
    return in_own_units(traits_of(mask, [1], zoom, image))[0]


def in_own_units(traits: np.ndarray) -> np.ndarray:
    return traits * [trait.unit for trait in TRAITS] + [trait.middle for trait in TRAITS]


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
    found = traits_of(labels, [3, 9, 7])
    assert found.shape == (3, len(TRAITS))
    assert found.dtype == np.float32
    assert np.isfinite(found).all(axis=1).tolist() == [True, False, True]
    assert found[0, SIZE] < found[2, SIZE]
    assert np.isnan(traits_of(np.zeros((9, 9), int), [1])).all()
    assert np.isnan(unknown_traits(3)).all()


def test_traits_turn_with_their_images():
    mask = ellipse(20, 8, 0.4, 64)
    own = torch.from_numpy(traits_of(mask, [1]))
    for turn in range(N_TURNS):
        image = turned(torch.from_numpy(mask)[None, None].float(), turn)[0, 0].numpy().astype(int)
        expected = traits_of(image, [1])
        np.testing.assert_allclose(turned_traits(own, torch.tensor([turn])), expected, atol=1e-4)


def test_the_error_is_a_gaussian_likelihood_of_what_is_known():
    mean = torch.zeros(2, 6, requires_grad=True)
    traits = torch.tensor([[0.2, 0, 0, -0.4], [torch.nan] * 4])
    error = guide_error(mean, traits, 0.1)
    assert error.item() == pytest.approx((2**2 + 4**2) / 2 / 2)
    error.backward()
    assert mean.grad.isfinite().all()
    assert (mean.grad[1] == 0).all()
    assert (mean.grad[0, 4:] == 0).all()


def test_simulated_nuclei_are_near_standard_normal():
    found = np.concatenate([simulate_scene_crops(seed).traits for seed in range(3)])
    assert np.isfinite(found).all()
    # the middle of raggedness lies between smooth interphase nuclei, which are the most, and plates
    assert np.abs(np.median(found, axis=0)).max() < 2
    assert 0.3 < found.std(axis=0).min() < found.std(axis=0).max() < 1.7


def test_debris_is_not_far_from_all_else():
    labels = np.zeros((64, 64), int)
    labels[5, 5] = 1
    assert traits_of(labels, [1])[0, SIZE] == -LIMIT


def test_all_that_is_taught_but_the_partner_is_about_the_central_nucleus():
    assert {trait.name for trait in TRAITS} - {"partner"} <= set(CENTRAL)
    assert "partner" in AROUND


def test_a_nucleus_of_two_brightnesses_is_as_uneven_as_they_differ():
    mask = ellipse(40, 30, 0)
    image = np.where(np.arange(128) < 64, 300.0, 100.0) * mask
    bright, dim = measured(mask, image=image), measured(mask, image=np.where(mask, 100, 0.0))
    assert bright[UNEVENNESS] == pytest.approx(math.log(0.5), abs=0.05)
    assert dim[UNEVENNESS] < -2.3


def test_a_bright_rim_is_told_from_a_bright_middle():
    mask = ellipse(40, 40, 0)
    inner = ellipse(40 / math.sqrt(2), 40 / math.sqrt(2), 0)
    ring, core = (np.where(inner, middle, 100.0) * mask for middle in (80, 125))
    rims = [measured(mask, image=image)[RIM] for image in (ring, core)]
    assert rims == pytest.approx([1.25, 0.8], abs=0.1)  # a little light leaves the outline as the image is smoothed


def test_thickness_is_that_of_an_ellipse():
    assert measured(ellipse(40, 40, 0))[THICKNESS] == pytest.approx(1, abs=0.03)
    assert measured(ellipse(40, 16, 0.3))[THICKNESS] == pytest.approx(math.sqrt(16 / 40), abs=0.03)


def test_only_what_looks_other_upside_down_is_lopsided():
    half = ellipse(40, 40, 0).astype(bool) & (np.arange(128) < 64)
    assert lopsidedness(ellipse(40, 16, 0.5).astype(bool)) == pytest.approx(0, abs=1e-9)
    assert lopsidedness(np.ones((1, 1), bool)) == 0
    assert lopsidedness(half) > 0.2
    turned_half = rotate(half.astype(float), 30, reshape=False, order=1) > 0.5
    assert lopsidedness(turned_half) == pytest.approx(lopsidedness(half), abs=0.02)


@pytest.mark.parametrize(("gap", "brightness"), [(3, 1.0), (5, 1.0), (3, 0.5)])
def test_a_partner_counts_by_its_gap_and_how_alike_it_is(gap, brightness):
    labels = np.zeros((64, 96), int)
    labels[20:40, 20:40], labels[20:40, 39 + gap : 59 + gap] = 1, 2
    image = np.where(labels == 2, 1000 * brightness, 1000.0) * (labels > 0)
    # the gap is counted between pixels, twice as wide in model pixels
    near, other = in_own_units(traits_of(labels, [1, 2], 2.0, image))[:, PARTNER]
    assert near == pytest.approx(math.exp(-2 * gap / PARTNER_PX) * brightness, abs=0.03)
    assert other == pytest.approx(near, abs=1e-5)
    assert measured(ellipse(20, 10, 0))[PARTNER] == pytest.approx(0, abs=1e-6)  # it is alone


def test_neither_offset_nor_gain_of_the_camera_counts():
    crops = ellipse(20, 12, 0.4, 64)
    light = np.random.default_rng(0).uniform(100, 300, crops.shape) * crops
    dark = measure_traits(light, crops, np.array([1]), 1.0, np.zeros(1))
    offset = measure_traits(500 + 3 * light, crops, np.array([1]), 1.0, np.full(1, 500.0))
    np.testing.assert_allclose(offset, dark, atol=1e-4)


def test_only_the_outline_is_taught_unless_all_is():
    assert taught_names(VaeConfig()) == {}
    assert list(taught_names(VaeConfig(guide_sd=0.1)).values()) == [trait.name for trait in OUTLINE]
    assert list(taught_names(VaeConfig(guide_sd=0.1, taught="all")).values()) == [trait.name for trait in TRAITS]
