"""Traversals change what they say, over ranges that hold the population, with the scores of all heads."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_cellinterp.errors import QuestionError
from napari_cellinterp.explain.traversal import (
    decode,
    decode_images,
    encode_crop,
    latent_ranges,
    path,
    traversal_grid,
    traverse,
)


@pytest.fixture(scope="module")
def bundle(random_bundle):
    return random_bundle()


@pytest.fixture(scope="module")
def nucleus(bundle):
    return bundle.population.latents[3]


def test_ranges_hold_the_papers_and_the_population(bundle):
    population = bundle.population
    population.latents[0, 5], population.latents[:, 6] = -9, 0
    ranges = latent_ranges(bundle)
    assert ranges[6].low == -3
    assert ranges[6].high == 3
    assert ranges[5].low == pytest.approx(np.quantile(population.latents[:, 5], 0.001))
    assert ranges[5].low < -3
    median = np.median(population.latents[population.state == 1][:, 5])
    assert ranges[5].ticks["metaphase"][1] == pytest.approx(median)
    assert ranges[6].holding(4.5).high == 4.5
    assert ranges[6].holding(1.0) == ranges[6]


def test_a_traversal_changes_one_latent_only(bundle, nucleus):
    values = [-3, 0, 2.5]
    found = traverse(bundle, nucleus, 4, values)
    np.testing.assert_allclose(found.latents[:, 4], values)
    np.testing.assert_array_equal(np.delete(found.latents, 4, axis=1), np.tile(np.delete(nucleus, 4), (3, 1)))
    assert found.images.shape == (3, 1, 64, 64)
    assert 0 <= found.images.min() <= found.images.max() <= 1


def test_scores_are_those_of_each_head(bundle, nucleus):
    found = traverse(bundle, nucleus, 0, [-1, 1])
    np.testing.assert_allclose(found.scores["symbolic"][:, 0], found.latents[:, 0] - 2 * nucleus[1] ** 2, rtol=1e-5)
    with torch.no_grad():
        sparse = bundle.heads["sparse"](torch.from_numpy(found.latents))
        cnn = bundle.heads["cnn"](torch.from_numpy(found.images))
    np.testing.assert_allclose(found.scores["sparse"], sparse, rtol=1e-5)
    np.testing.assert_allclose(found.scores["cnn"], cnn, rtol=1e-5)


def test_the_grid_is_the_traversals_of_all_latents(bundle, nucleus):
    grid = traversal_grid(bundle, nucleus, 5)
    assert grid.shape == (32, 5, 1, 64, 64)
    span = latent_ranges(bundle)[7]
    row = traverse(bundle, nucleus, 7, np.linspace(span.low, span.high, 5))
    np.testing.assert_allclose(grid[7], row.images, atol=1e-6)


def test_a_path_goes_straight_from_one_nucleus_to_the_other(bundle, nucleus):
    other = bundle.population.latents[8]
    found = path(bundle, nucleus, other, 3)
    np.testing.assert_allclose(found.latents, [nucleus, (nucleus + other) / 2, other], atol=1e-6)


def test_a_crop_is_encoded_as_the_classifier_does(bundle):
    crop = np.random.default_rng(0).random((1, 64, 64), np.float32)
    with torch.no_grad():
        expected = bundle.encoder.encode(torch.from_numpy(crop[None]))[0]
    np.testing.assert_allclose(encode_crop(bundle, crop), expected, atol=1e-5)
    assert decode(bundle, encode_crop(bundle, crop)[None]).images.shape == (1, 1, 64, 64)
    assert decode_images(bundle, np.zeros((0, 32), np.float32)).shape == (0, 1, 64, 64)


def test_what_does_not_fit_the_model_is_said(bundle, nucleus):
    with pytest.raises(QuestionError, match="no latent z32"):
        traverse(bundle, nucleus, 32, [0])
    with pytest.raises(QuestionError, match=r"shape \(4,\)"):
        traverse(bundle, nucleus[:4], 0, [0])
    with pytest.raises(QuestionError, match=r"shape \(2, 64, 64\)"):
        encode_crop(bundle, np.zeros((2, 64, 64), np.float32))
