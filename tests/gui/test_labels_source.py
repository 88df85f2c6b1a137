"""A person's labels find their nuclei; no viewer needed."""

import numpy as np
import pandas as pd
import pytest
from napari.layers import Image, Labels, Points, Tracks

from napari_cellinterp.errors import QuestionError, TracksError
from napari_cellinterp.events import finish
from napari_cellinterp.gui.labels_source import layer_labels, table_job, text_columns
from napari_cellinterp.gui.layers import placement_of, states_layer

PLACE = {"scale": (6, 0.37, 0.37), "translate": (0, 5, 0)}


@pytest.fixture
def reference(classification, movie, simulated):
    return states_layer(classification, placement_of(Image(simulated.images, **PLACE), 0), movie, "states")


def test_a_table(classification, tmp_path):
    classification.rows[["track_id", "frame", "state"]].iloc[3:9].to_csv(tmp_path / "labels.csv", index=False)
    found = finish(table_job(classification, tmp_path / "labels.csv"))
    assert found[3:9].tolist() == classification.rows["state"].iloc[3:9].tolist()
    assert not found[:3].any()


def test_a_table_with_a_column_called_label(classification, tmp_path):
    table = classification.rows[["track_id", "frame"]].assign(label="metaphase")
    table.to_csv(tmp_path / "labels.csv", index=False)
    assert (finish(table_job(classification, tmp_path / "labels.csv")) == "metaphase").all()
    table.assign(label=1).to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(TracksError, match="no column state; it has: track_id, frame, label"):
        finish(table_job(classification, tmp_path / "labels.csv"))


def test_points_lie_on_nuclei(classification, reference):
    rows = classification.rows.iloc[[2, 7, 11]]
    places = np.column_stack([rows["frame"], rows["y"] + 5 / 0.37, rows["x"]])
    far = [[0, -99, -99], [99, 5, 5]]
    layer = Points(
        np.concatenate([places, far]),
        features={"state": ["metaphase", "interphase", None, "metaphase", "interphase"]},
        scale=PLACE["scale"],
    )
    found = layer_labels(layer, "state", reference)(classification)
    assert found[[2, 7, 11]].tolist() == ["metaphase", "interphase", ""]
    assert (found != "").sum() == 2


def test_points_beside_all_nuclei(classification, reference):
    layer = Points([[0, -99, -99]], features={"kind": ["metaphase"]}, name="mine")
    with pytest.raises(QuestionError, match="None of the 1 points of the layer 'mine'"):
        layer_labels(layer, "kind", reference)(classification)


def test_tracks(classification, reference):
    rows = classification.rows.iloc[::3].sort_values(["track_id", "frame"])
    layer = Tracks(rows[["track_id", "frame", "y", "x"]].to_numpy(), features={"state": rows["state"].to_numpy()})
    found = layer_labels(layer, "state", reference)(classification)
    assert found[::3].tolist() == classification.rows["state"].iloc[::3].tolist()
    assert (found != "").sum() == len(rows)


def test_labels_by_mask_and_by_frame(classification, simulated, reference):
    mask, frame = (int(classification.rows[name].iloc[4]) for name in ("label", "frame"))
    layer = Labels(simulated.labels, features={"index": [0, mask], "state": ["", "metaphase"]})
    of_mask = classification.rows["label"].to_numpy() == mask
    np.testing.assert_array_equal(layer_labels(layer, "state", reference)(classification) == "metaphase", of_mask)
    layer.features = pd.DataFrame({"index": [mask], "frame": [frame], "state": ["metaphase"]})
    found = layer_labels(layer, "state", reference)(classification)
    assert np.flatnonzero(found != "").tolist() == [4]


def test_columns_that_may_be_labels():
    layer = Points(np.zeros((2, 3)), features={"area": [1.0, 2], "who": ["a", "b"], "my state": ["m", "i"]})
    assert text_columns(layer) == ["my state", "who"]
    assert text_columns(None) == []
