"""Verdicts on real nuclei: shares and intervals as by hand, and keys that count what they should."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_cellinterp.models.expression import Expression
from napari_cellinterp.models.heads import SymbolicHead
from napari_cellinterp.movies.patches import patches_from_images
from napari_cellinterp.training.real_images import labelled_crops
from napari_cellinterp.training.validation import (
    MITOTIC,
    OTHER_PHASES,
    PLATE_REACH_PX,
    PLATES,
    TwoSided,
    called_mitotic,
    judge_jurkat,
    judge_labelled,
    judge_migration,
    judge_release,
    shown_mitotic,
    states_right,
    two_sided,
)


def bounds(result: TwoSided) -> tuple[float, float]:
    return result.low, result.high


def test_perfect_calls_leave_no_doubt():
    mitotic = np.arange(60) % 3 == 0
    result = two_sided(mitotic, mitotic, np.arange(60) // 6)
    assert result == TwoSided(1, 1, 1, 1, 60)
    assert two_sided(~mitotic, mitotic, np.arange(60) // 6) == TwoSided(0, 0, 0, 0, 60)


def test_half_right():
    mitotic, called = np.arange(80) % 2 == 0, np.arange(80) % 4 < 2
    result = two_sided(called, mitotic, np.arange(80))
    assert (result.sensitivity, result.specificity, result.balanced_accuracy, result.n) == (0.5, 0.5, 0.5, 80)
    assert result.low < 0.5 < result.high


def test_the_sides_count_alike_whatever_their_numbers():
    mitotic = np.arange(1000) < 10
    called = np.zeros(1000, bool)
    called[:4] = called[10:109] = True
    result = two_sided(called, mitotic, np.zeros(1000))
    assert (result.sensitivity, result.specificity) == (0.4, 0.9)
    assert result.balanced_accuracy == pytest.approx(0.65)


def test_crops_that_are_groups_of_their_own_have_the_interval_of_a_share():
    mitotic = np.arange(800) % 2 == 0
    called = mitotic ^ (np.arange(800) % 10 < 2)
    result = two_sided(called, mitotic, np.arange(800))
    error = np.sqrt(2 * 0.8 * 0.2 / 400) / 2
    assert result.balanced_accuracy == pytest.approx(0.8)
    np.testing.assert_allclose(bounds(result), [0.8 - 1.96 * error, 0.8 + 1.96 * error], atol=0.005)


def test_groups_are_drawn_whole():
    rng = np.random.default_rng(0)
    mitotic, called = rng.random((2, 2000)) < 0.5
    one = two_sided(called, mitotic, np.full(2000, "the only movie"))
    assert bounds(one) == pytest.approx((one.balanced_accuracy,) * 2), "of one group nothing is known of others"
    # one movie is all right and the other all wrong: many crops of each say no more than one would
    movie = np.arange(2000) % 2
    result = two_sided(np.where(movie, mitotic, ~mitotic), mitotic, movie)
    assert bounds(result) == (0, 1)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 3)), max_size=30))
def test_the_interval_holds_for_any_calls(rows):
    called, mitotic, group = (np.array(column) for column in zip(*rows, (0, 1, 4), (0, 0, 4), strict=True))
    result = two_sided(called.astype(bool), mitotic.astype(bool), group)
    assert 0 <= result.low <= result.high <= 1
    assert two_sided(called.astype(bool), mitotic.astype(bool), np.array(list("abcde"))[group]) == result


def rows_of(*spots: tuple[int, float, float, str]) -> pd.DataFrame:
    return pd.DataFrame(spots, columns=["frame", "y", "x", "state"])


INTERPHASE = [(0, 150, 150, "interphase"), (5, 20, 20, "interphase"), (20, 150, 30, "interphase")]
"""Far from all that the key names."""


def test_plates_are_found_and_other_phases_are_not_scored():
    plates = [(*spot, "metaphase") for spot in PLATES]
    others = [(*spot, "metaphase") for spot in OTHER_PHASES]
    result = judge_migration(rows_of(*plates, *others, *INTERPHASE))
    assert (result.n_plates, result.n_false, result.n_interphase) == (4, 0, 3)
    missed = [(*spot, "interphase") for spot in PLATES[1:]]
    result = judge_migration(rows_of(plates[0], *missed, *others, *INTERPHASE, (0, 90, 90, "metaphase")))
    assert (result.n_plates, result.n_false, result.n_interphase) == (1, 1, 4)


@pytest.mark.parametrize("axis", [1, 2])
def test_a_plate_is_found_where_it_is_and_when_it_is(axis):
    def moved(by: int) -> pd.DataFrame:
        spot = list(PLATES[0])
        spot[axis] += by
        return rows_of((*spot, "metaphase"))

    for by in (-PLATE_REACH_PX, PLATE_REACH_PX):
        assert judge_migration(moved(by)).n_plates == 1
    for by in (-PLATE_REACH_PX - 1, PLATE_REACH_PX + 1):
        result = judge_migration(moved(by))
        assert (result.n_plates, result.n_false, result.n_interphase) == (0, 1, 1)
    frame, y, x = PLATES[0]
    result = judge_migration(rows_of((frame - 3, y, x, "metaphase")))
    assert (result.n_plates, result.n_false, result.n_interphase) == (0, 1, 1)


def test_two_calls_on_one_plate_count_once_and_none_is_false():
    frame, y, x = PLATES[2]
    result = judge_migration(rows_of((frame, y, x, "metaphase"), (frame, y + 3, x - 3, "metaphase")))
    assert (result.n_plates, result.n_false, result.n_interphase) == (1, 0, 0)


def test_frames_that_were_not_read_are_not_scored():
    result = judge_migration(rows_of((24, 150, 150, "metaphase"), (28, 9, 9, "interphase"), (29, 9, 9, "interphase")))
    assert (result.n_false, result.n_interphase) == (0, 1)


def assert_in_range(result: TwoSided, n: int) -> None:
    assert result.n == n
    assert 0 <= result.low <= result.balanced_accuracy <= result.high <= 1
    assert 0 <= result.sensitivity <= 1
    assert 0 <= result.specificity <= 1


@pytest.mark.parametrize("head", ["sparse", "symbolic"])
def test_crops_of_the_mitotic_release(real_data, tiny_bundle, head):
    assert_in_range(judge_release(real_data / "mitotic_release_half", tiny_bundle, head, called_mitotic), 561)


def test_cells_in_flow(real_data, tiny_bundle, tmp_path):
    """On a part of them: all take several seconds."""
    with np.load(real_data / "jurkat_ifc" / "jurkat_patches_40px.npz") as archive:
        x, phase = archive["x"], archive["y"]
    rows = np.concatenate([np.flatnonzero(phase == name)[:40] for name in np.unique(phase)])
    np.savez(tmp_path / "jurkat_patches_40px.npz", x=x[rows], y=phase[rows])
    result = judge_jurkat(tmp_path, tiny_bundle, "sparse", called_mitotic)
    assert_in_range(result, result.n)
    assert result.n == 4 * 40


def test_nuclei_labelled_by_eye(real_data, tiny_bundle):
    held_out = labelled_crops(real_data, "test", 1, 0)
    known = held_out.of_classes(tiny_bundle.info.classes)
    assert 0 < len(known) < len(held_out), "the bundle knows only some of the states"
    assert_in_range(judge_labelled(held_out, tiny_bundle, "sparse", called_mitotic), len(known))
    shares = states_right(held_out, tiny_bundle, "sparse")
    assert list(shares) == list(tiny_bundle.info.classes)
    assert all(0 <= share <= 1 for share in shares.values())
    assert set(MITOTIC) & set(shares)


@pytest.fixture
def mitotic_by(random_bundle):
    """Say whether patches with given scores of interphase, prometaphase, metaphase and apoptosis are called mitotic."""
    bundle = random_bundle(classes=("interphase", "prometaphase", "metaphase", "apoptosis"))
    patches = patches_from_images(np.random.default_rng(0).random((4, 64, 64)), 1.0)

    def called(rule, *scores: float) -> set[bool]:
        head = SymbolicHead([Expression.parse(f"{score} + 0*z0") for score in scores])
        made = replace(bundle, heads=bundle.heads | {"symbolic": head})
        return set(rule(made, "symbolic", patches).tolist())

    return called


def test_states_of_mitosis_are_called_mitotic_together(mitotic_by):
    assert mitotic_by(called_mitotic, 1.0, 0.8, 0.8, -3.0) == {True}, "less likely than mitosis"
    assert mitotic_by(called_mitotic, 1.0, 0.8, -3.0, -3.0) == {False}
    assert mitotic_by(called_mitotic, 0.0, 1.0, -3.0, -3.0) == {True}
    assert mitotic_by(called_mitotic, 0.0, 1.0, -3.0, 5.0) == {True}, "apoptosis is neither side"
    assert mitotic_by(called_mitotic, 1.0, 0.0, -3.0, 5.0) == {False}


def test_a_shown_state_is_mitotic_or_it_is_not(mitotic_by):
    assert mitotic_by(shown_mitotic, 1.0, 0.8, 0.8, -3.0) == {False}
    assert mitotic_by(shown_mitotic, 0.0, 1.0, -3.0, -3.0) == {True}
    assert mitotic_by(shown_mitotic, 0.0, 1.0, -3.0, 5.0) == {False}


def test_one_side_alone_has_no_balanced_accuracy():
    result = two_sided(np.array([True, False]), np.array([False, False]), np.array([0, 1]))
    assert np.isnan(result.sensitivity)
    assert np.isnan(result.balanced_accuracy)
    assert result.specificity == 0.5
