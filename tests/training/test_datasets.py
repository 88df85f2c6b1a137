"""Crops to train on: with the states that were simulated, centred, and repeatable."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_cellinterp.errors import TrainingError
from napari_cellinterp.movies.patches import normalise, patches_from_images
from napari_cellinterp.movies.shapes import STATES
from napari_cellinterp.training.datasets import (
    MERGED_SHARE,
    UNKNOWN,
    WIDEST_MARGIN_PX,
    LabelledCrops,
    in_smaller_windows,
    simulate_crops,
    simulate_scene_crops,
    with_merged_pairs,
)
from napari_cellinterp.training.guides import no_outlines


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


def crops_of(state: list[int], scene: list[int] | None = None) -> LabelledCrops:
    """Blank crops, one a state."""
    n = len(state)
    patches = normalise(np.zeros((n, 1, 64, 64), np.float32))
    return LabelledCrops(patches, np.array(state), np.array(scene or range(n)), no_outlines(n))


def test_rare_states_can_be_made_frequent():
    apoptosis = STATES.index("apoptosis")
    crops = LabelledCrops.concatenate(list(simulate_crops(60, 5, 1, {0: 0.5, apoptosis: 0.5})))
    assert set(crops.state) == {0, apoptosis}


def test_some_touching_nuclei_in_interphase_are_one_crop():
    labels = np.zeros((60, 400), np.int32)
    for i in range(40):  # 20 pairs of neighbours
        labels[5:25, 10 * i : 10 * i + 10 - i % 2] = i + 1
    labels[40:50, :20], labels[50:60, :20] = 41, 42
    state = np.full(42, STATES.index("interphase"))
    state[30:40] = np.tile([STATES.index("interphase"), STATES.index("metaphase")], 5)
    state[40:] = STATES.index("anaphase")
    merged = [with_merged_pairs(labels, state, np.random.default_rng(seed)) for seed in range(40)]
    counts = np.array(
        [[len(np.unique(found[labels > 0])), len(np.unique(found[:, 300:][labels[:, 300:] > 0]))] for found in merged]
    )
    assert all((found > 0).tolist() == (labels > 0).tolist() for found in merged)
    assert (counts[:, 1] == 10).all(), "interphase beside metaphase stays two"
    assert (42 - counts[:, 0]).mean() == pytest.approx(MERGED_SHARE * 16, abs=1.2), (
        "15 pairs in interphase, one of anaphase"
    )
    assert any(len(np.unique(found[40:])) == 2 for found in merged), "sisters may be one"
    assert all(len(np.unique(labels[found == one])) <= 2 for found in merged for one in np.unique(found)[1:])


def test_as_many_scenes_are_simulated_whatever_the_processes():
    one, two = ([crops.scene[0] for crops in simulate_crops(300, 5, n)] for n in (1, 2))
    assert one == two == list(range(5, 5 + len(one)))


def test_smaller_windows_look_as_smaller_patches_do(crops):
    shown = in_smaller_windows(crops, 0.5, 3)
    np.testing.assert_array_equal(shown.state, crops.state)
    np.testing.assert_array_equal(shown.outline, crops.outline)
    same = (shown.patches.x == crops.patches.x).all(axis=(1, 2, 3))
    assert 0.3 < same.mean() < 0.7
    for image, before in zip(shown.patches.x[~same], crops.patches.x[~same], strict=True):
        assert any(
            np.allclose(image, patches_from_images(before[None, :, w:-w, w:-w], 1.0).x[0], atol=1e-6)
            for w in range(1, WIDEST_MARGIN_PX + 1)
        )


def test_classes_are_chosen_and_counted_anew():
    found = crops_of([0, 1, 2, 3, 4, UNKNOWN]).of_classes(("metaphase", "interphase"))
    np.testing.assert_array_equal(found.state, [1, 0])
    np.testing.assert_array_equal(found.scene, [0, 2])


def test_a_balanced_set_has_as_many_of_each_class():
    crops = crops_of([0] * 9 + [1] * 5 + [2] * 7 + [UNKNOWN] * 4)
    np.testing.assert_array_equal(np.bincount(crops.balanced(6, 0).state), [5, 5, 5])
    np.testing.assert_array_equal(np.bincount(crops.balanced(3, 0).state), [3, 3, 3])
    chosen = crops.balanced(3, 0).scene
    assert len(set(chosen)) == 9, "a crop is drawn once"
    np.testing.assert_array_equal(chosen, crops.balanced(3, 0).scene)
    assert set(chosen) != set(crops.balanced(3, 1).scene)


@given(n_scenes=st.integers(2, 40), share=st.floats(0.01, 0.99), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_no_scene_is_on_both_sides_of_a_split(n_scenes, share, seed):
    scene = np.random.default_rng(0).integers(0, n_scenes, 80)
    scene[:2] = 0, 1
    crops = crops_of([0] * 80, list(scene))
    first, second = crops.split(share, seed)
    assert len(first)
    assert len(second)
    assert len(first) + len(second) == 80
    assert not set(first.scene) & set(second.scene)


@pytest.mark.parametrize("seed", range(5))
def test_a_rare_state_is_on_both_sides_of_a_split(seed):
    first, second = crops_of([0] * 40 + [1, 1], [*range(40), 7, 50]).split(0.1, seed)
    assert set(first.state) == set(second.state) == {0, 1}


def test_one_scene_can_not_be_split():
    with pytest.raises(TrainingError, match="one movie and track"):
        crops_of([0, 1], [3, 3]).split(0.5, 0)


def test_rows_stay_together(crops):
    rows = np.flatnonzero(crops.state == 2)
    parts = LabelledCrops.concatenate([crops[rows], crops[:3]])
    assert len(parts) == len(rows) + 3
    assert (parts.state[: len(rows)] == 2).all()
    np.testing.assert_array_equal(parts.patches.x[-3:], crops.patches.x[:3])
