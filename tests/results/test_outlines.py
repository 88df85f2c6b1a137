"""Outlines by pixels."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from napari_cellinterp.movies.masks import FoundMasks
from napari_cellinterp.results import outlines
from napari_cellinterp.results.outlines import Outlines, edges
from napari_cellinterp.results.table import Classification

LABELS = np.zeros((2, 12, 16), np.int32)
LABELS[0, 2:9, 1:8] = 4
LABELS[0, 2:9, 8:15] = 9
LABELS[1, 3:5, 3:5] = 4


class CountedMasks(FoundMasks):
    def __init__(self, labels):
        super().__init__(labels.shape)
        self.read = []
        for t, frame in enumerate(labels):
            self.set_frame(t, frame)

    def frame(self, t):
        self.read.append(t)
        return super().frame(t)


@pytest.fixture
def classification():
    rows = pd.DataFrame({"track_id": [1, 2, 1], "frame": [0, 0, 1], "label": [4, 9, 4]})
    return Classification(rows, ("a", "b"), CountedMasks(LABELS), 1.0, "", "", "sparse", np.zeros((3, 2), np.float32))


def test_edges_are_two_pixels_wide_and_inside():
    expected = LABELS[0] > 0
    expected[4:7, 3:6] = expected[4:7, 10:13] = False
    np.testing.assert_array_equal(edges(LABELS[0]), expected)


def test_a_small_nucleus_is_all_edge():
    np.testing.assert_array_equal(edges(LABELS[1]), LABELS[1] > 0)


def test_touching_nuclei_are_told_apart(classification):
    found = Outlines(classification).paint(0, np.array([3, 0, 7]))
    np.testing.assert_array_equal(found, np.where(edges(LABELS[0]) & (LABELS[0] == 4), 3, 0))
    assert found.dtype == np.uint8


def test_masks_are_read_once(classification, monkeypatch):
    found = Outlines(classification)
    for value in (1, 2):
        assert found.paint(1, np.array([0, 0, value])).max() == value
    assert classification.masks.read == [1]
    monkeypatch.setattr(outlines, "N_KEPT", 1)
    found.paint(0, np.zeros(3, int))
    found.paint(1, np.zeros(3, int))
    assert classification.masks.read == [1, 0, 1]


def test_other_states_have_the_same_outlines(classification):
    found = Outlines(classification)
    assert found.are_of(classification)
    assert not found.are_of(SimpleNamespace(masks=FoundMasks((2, 12, 16))))
