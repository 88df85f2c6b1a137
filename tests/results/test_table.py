"""The classification: painted states, counts and columns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_cellinterp.models.classifier import Scores
from napari_cellinterp.movies.masks import FoundMasks
from napari_cellinterp.movies.track_table import TrackTable
from napari_cellinterp.results.table import MAX_TABLE_ID, Classification, classification_rows, paint, score_columns

CLASSES = ("interphase", "metaphase")


def scores(values: list[float], n_scores: int = 1) -> Scores:
    array = np.array(values, np.float32).reshape(-1, n_scores)
    n = len(array)
    undefined = np.isnan(array).any(axis=1)
    state = (array[:, 0] >= 0).astype(int) if n_scores == 1 else np.nan_to_num(array).argmax(axis=1)
    zeros = np.zeros(n, np.float32)
    state = np.where(undefined, -1, state)
    return Scores(array, state, zeros + 0.75, np.zeros((n, 4), np.float32), zeros + 1, np.arange(n, dtype=np.int8) % 6)


def painted_slowly(labels, ids, values):
    image = np.zeros(labels.shape, np.uint8)
    for label, value in zip(ids, values, strict=True):
        if label > 0:
            image[labels == label] = value
    return image


BIG = 2**31 - 9


@given(
    data=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5)), max_size=12, unique_by=lambda pair: pair[0]),
    scale=st.sampled_from([1, 1000, MAX_TABLE_ID // 3, BIG // 12]),
    seed=st.integers(0, 99),
)
@settings(max_examples=80, deadline=None)
def test_painting_is_what_a_naive_loop_does(data, scale, seed):
    labels = np.random.default_rng(seed).integers(0, 9, (7, 11)) * scale
    ids, values = np.array([(i * scale, v) for i, v in data], np.int64).reshape(-1, 2).T
    for dtype in (np.int32, np.int64, np.uint32):
        painted = paint(labels.astype(dtype), ids, values)
        assert painted.dtype == np.uint8
        np.testing.assert_array_equal(painted, painted_slowly(labels, ids, values))


@pytest.mark.parametrize("top", [5, MAX_TABLE_ID, MAX_TABLE_ID + 1, 2**40])
def test_ids_that_are_missing_on_either_side(top):
    labels = np.array([[0, 3, 4], [top, 0, 3]])
    ids, values = np.array([0, 3, top, top + 1]), np.array([9, 1, 2, 7])
    np.testing.assert_array_equal(paint(labels, ids, values), [[0, 1, 0], [2, 0, 1]])
    assert not paint(labels, np.empty(0, np.int64), np.empty(0, np.int64)).any()


def test_an_empty_image():
    assert paint(np.zeros((0, 4), np.int32), np.array([1]), np.array([1])).shape == (0, 4)


@pytest.fixture
def classification() -> Classification:
    """Three frames: two nuclei, none, and three of which one is undefined."""
    table = TrackTable.from_rows(
        pd.DataFrame(
            {
                "track_id": [1, 2, 1, 2, 3],
                "frame": [0, 0, 2, 2, 2],
                "y": 1.0,
                "x": 1.0,
                "label": [5, 9, 1, 2, 70_000],
                "parent_track_id": [0, 0, 0, 0, 2],
            }
        )
    )
    masks = FoundMasks((3, 2, 4))
    masks.set_frame(0, np.array([[5, 5, 0, 0], [0, 9, 9, 4]]))
    masks.set_frame(2, np.array([[1, 0, 2, 2], [70_000, 0, 0, 0]]))
    rows = classification_rows(table, score_columns(scores([-1, 0, 2, np.nan, -3]), CLASSES))
    return Classification(rows, CLASSES, masks, 1.0, "tiny", "0" * 64, "dense", np.zeros((len(rows), 2), np.float32))


def test_states_are_painted_from_1_and_undefined_ones_not_at_all(classification):
    np.testing.assert_array_equal(classification.paint(0), [[1, 1, 0, 0], [0, 2, 2, 0]])
    assert not classification.paint(1).any()
    np.testing.assert_array_equal(classification.paint(2), [[2, 0, 0, 0], [1, 0, 0, 0]])


def test_counts(classification):
    assert len(classification) == 5
    assert classification.n_frames == 3
    assert classification.counts() == {"interphase": 2, "metaphase": 2, "undefined": 1}
    assert classification.counts_over_time().tolist() == [[1, 1], [0, 0], [1, 1]]
    assert [classification.frame_rows(t) for t in range(3)] == [slice(0, 2), slice(2, 2), slice(2, 5)]
    assert classification.state_index.tolist() == [1, 2, 2, 0, 1]


def test_counts_leave_out_undefined_where_there_is_none(classification):
    rows = classification.rows.iloc[:2]
    some = Classification(
        rows, CLASSES, classification.masks, 1.0, "tiny", "", "dense", np.zeros((len(rows), 2), np.float32)
    )
    assert some.counts() == {"interphase": 1, "metaphase": 1}


def test_columns_of_two_classes(classification):
    names = ["track_id", "frame", "y", "x", "label", "parent_track_id"]
    names += ["score", "state", "probability", "novelty", "is_novel", "flag"]
    assert list(classification.rows.columns) == names
    assert classification.rows["state"].tolist() == ["interphase", "metaphase", "metaphase", "", "interphase"]
    flags = ["", "not_finite", "blank", "saturated", "blurred"]
    assert classification.rows["flag"].tolist() == flags
    assert classification.rows["is_novel"].tolist() == [False, True, True, True, True]


def test_columns_of_three_classes_and_of_a_reconstruction():
    three = scores([0, 2, 1, 5, 4, 3, np.nan, 1, 2], 3)
    three = Scores(**{**vars(three), "reconstruction_error": np.array([0.1, 0.2, 0.3], np.float32)})
    table = score_columns(three, ("a", "b", "c"))
    assert table["state"].tolist() == ["b", "a", ""]
    np.testing.assert_array_equal(table["score"], np.array([2, 5, np.nan], np.float32))
    assert table[["score_a", "score_b", "score_c"]].iloc[1].tolist() == [5, 4, 3]
    np.testing.assert_array_equal(table["reconstruction_error"], three.reconstruction_error)
