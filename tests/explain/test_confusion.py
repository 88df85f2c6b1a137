"""The confusion matrix by numbers, and labels that find their nuclei."""

import numpy as np
import pandas as pd
import pytest

from napari_cellinterp.errors import QuestionError
from napari_cellinterp.explain.confusion import confusion, labels_of_rows

CLASSES = ("interphase", "metaphase")
ROWS = pd.DataFrame({"track_id": [1, 2, 1, 2], "frame": [0, 0, 1, 1], "label": [4, 5, 4, 6]})


def test_by_hand():
    truth = np.array(["interphase"] * 6 + ["Metaphase"] * 4 + [""], object)
    state = np.array([1, 1, 1, 1, 1, 2, 2, 2, 2, 1, 2])
    found = confusion(truth, state, CLASSES)
    assert found.counts.tolist() == [[5, 1], [1, 3]]
    assert found.n == 10
    assert found.accuracy == pytest.approx(0.8)
    assert found.balanced_accuracy == pytest.approx((5 / 6 + 3 / 4) / 2)
    assert found.rows(1, 0).tolist() == [9]


def test_states_the_model_does_not_know_and_undefined_scores():
    truth = np.array(["interphase", "anaphase", "anaphase", "metaphase"], object)
    found = confusion(truth, np.array([1, 2, 1, 0]), CLASSES)
    assert found.truth_names == ("interphase", "metaphase", "anaphase")
    assert found.state_names == ("interphase", "metaphase", "undefined")
    assert found.counts.tolist() == [[1, 0, 0], [0, 0, 1], [1, 1, 0]]
    assert (found.n, found.accuracy, found.balanced_accuracy) == (2, 0.5, 0.5)


def test_no_known_label_has_no_accuracy():
    found = confusion(np.array(["", "anaphase"], object), np.array([1, 1]), CLASSES)
    assert found.n == 0
    assert np.isnan([found.accuracy, found.balanced_accuracy]).all()


def test_labels_by_track_and_frame():
    labels = pd.DataFrame({"track_id": [2.0, 1, 9], "frame": [1, 0, 0], "state": [" metaphase", None, "interphase"]})
    assert labels_of_rows(ROWS, labels, "labels.csv").tolist() == ["", "", "", "metaphase"]


def test_labels_by_mask():
    labels = pd.DataFrame({"label": [4, 6], "state": ["metaphase", "interphase"]})
    assert labels_of_rows(ROWS, labels, "a layer").tolist() == ["metaphase", "", "metaphase", "interphase"]


def test_labels_of_another_movie():
    labels = pd.DataFrame({"track_id": [70, 80], "frame": [0, 3], "state": ["metaphase", "metaphase"]})
    with pytest.raises(QuestionError, match=r"None of the 2 labels in x.csv .*track_id 70 to 80, frame 0 to 3.*1 to 2"):
        labels_of_rows(ROWS, labels, "x.csv")
    with pytest.raises(QuestionError, match="None of the 0 labels"):
        labels_of_rows(ROWS, labels.assign(state=""), "x.csv")
