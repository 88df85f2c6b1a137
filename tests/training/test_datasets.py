"""Crops to train on: with the states that were simulated, centred, and repeatable."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from napari_cellinterp.movies.shapes import STATES
from napari_cellinterp.training.datasets import LabelledCrops, binary_target, real_crops, simulate_scene_crops


@pytest.fixture(scope="module")
def crops() -> LabelledCrops:
    return simulate_scene_crops(11)


def test_a_scene_is_the_same_for_the_same_seed(crops):
    again = simulate_scene_crops(11)
    np.testing.assert_array_equal(crops.patches.x, again.patches.x)
    np.testing.assert_array_equal(crops.state, again.state)
    assert set(crops.scene) == {11}
    assert crops.patches.x[:5].tobytes() != simulate_scene_crops(12).patches.x[:5].tobytes()


def test_crops_are_patches_with_a_nucleus_in_the_middle(crops):
    assert len(crops) > 50
    assert crops.patches.x.shape[1:] == (1, 64, 64)
    interphase = crops.patches.x[crops.state == STATES.index("interphase"), 0]
    assert np.median(interphase[:, 28:36, 28:36].mean(axis=(1, 2))) > 2 * np.median(interphase[:, :, [0, -1]])


def test_all_states_occur_and_plates_are_longer(crops):
    assert set(crops.state) <= set(range(len(STATES)))
    assert {STATES.index("interphase"), STATES.index("metaphase")} <= set(crops.state)


def test_only_interphase_and_metaphase_are_targets():
    np.testing.assert_array_equal(binary_target(np.array([0, 1, 2, 3, 4, -1])), [-1, 0, 1, 0, 0, 0])


def test_rows_stay_together(crops):
    rows = np.flatnonzero(crops.state == 2)
    parts = LabelledCrops.concatenate([crops[rows], crops[:3]])
    assert len(parts) == len(rows) + 3
    assert (parts.state[: len(rows)] == 2).all()
    np.testing.assert_array_equal(parts.patches.x[-3:], crops.patches.x[:3])


def test_real_images_and_movies_with_masks(tmp_path):
    rows, columns = np.ogrid[:120, :160]
    labels = np.zeros((120, 160), np.uint16)
    for i, (y, x) in enumerate([(30, 30), (30, 80), (80, 40), (85, 120)]):
        labels[(rows - y) ** 2 + (columns - x) ** 2 < 12**2] = i + 1
    image = (200 * (labels > 0) + 20).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a_img.tif", image)
    tifffile.imwrite(tmp_path / "a_lab.tif", labels)
    tifffile.imwrite(tmp_path / "b_img.tif", image)
    tifffile.imwrite(tmp_path / "b_lab.tif", np.where(labels < 3, labels, 0).astype(np.uint16))
    found = real_crops(tmp_path, seed=0)
    assert len(found) == 4, "an image of two nuclei tells no scale"
    assert (found.state == -1).all()
    tifffile.imwrite(tmp_path / "movie.tif", np.stack([image] * 2), photometric="minisblack")
    tifffile.imwrite(tmp_path / "labels.tif", np.stack([labels] * 2), photometric="minisblack")
    found = real_crops(tmp_path, seed=0)
    assert len(found) == 12
    assert len(set(found.scene)) == 2
    assert (found.scene < 0).all()
    assert (found.patches.x[:, 0, 30:34, 30:34] > 0.9).all()
    inside = (found.patches.x[:, 0] > 0.5).sum(axis=(1, 2))
    assert np.median(inside) == pytest.approx(np.pi * 14.5**2, rel=0.3)
