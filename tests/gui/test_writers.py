"""What is saved is what is on screen."""

import numpy as np
import pandas as pd
import pytest
import tifffile
from napari.layers import Image, Labels, Tracks

from napari_cellinterp.errors import OutputError
from napari_cellinterp.gui.layers import placement_of, states_layer, tracks_layer
from napari_cellinterp.gui.writers import write_labels, write_tracks_csv
from napari_cellinterp.movies.stack import open_movie
from napari_cellinterp.movies.tracks import read_tracks

PLACE = {"scale": (6, 0.37, 0.37), "units": ("min", "um", "um"), "axis_labels": ("t", "y", "x")}


@pytest.fixture
def placement(simulated):
    return placement_of(Image(simulated.images, **PLACE), 0)


def test_states_there_and_back(tmp_path, classification, placement, movie):
    layer = states_layer(classification, placement, movie, "states")
    data, attributes, _ = layer.as_layer_data_tuple()
    path = str(tmp_path / "states.ome.tif")
    assert write_labels(path, data, attributes) == [path]
    back = open_movie(path)
    np.testing.assert_array_equal(np.asarray(back.data)[:, 0], np.asarray(layer.data))
    assert back.pixel_size_um == pytest.approx(0.37)
    assert back.frame_interval_min == pytest.approx(6)
    with tifffile.TiffFile(path) as tif:
        assert all(name in tif.ome_metadata for name in classification.classes)


def test_tracks_there_and_back(tmp_path, classification, placement, movie):
    layer = tracks_layer(classification, placement, movie, "tracks")
    data, attributes, _ = layer.as_layer_data_tuple()
    path = str(tmp_path / "nuclei.csv")
    assert write_tracks_csv(path, data, attributes) == [path]
    table = pd.read_csv(path).sort_values(["track_id", "frame"])
    assert list(table) == list(classification.rows)
    np.testing.assert_allclose(table[["track_id", "frame", "y", "x"]], layer.data)
    np.testing.assert_allclose(table["score"], layer.features["score"], atol=1e-6)
    assert table["state"].tolist() == layer.features["state"].tolist()


@pytest.mark.parametrize("shape", [(8, 9), (3, 8, 9), (3, 2, 8, 9)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_other_labels(tmp_path, shape, dtype):
    ids = np.random.default_rng(1).integers(0, 200, shape).astype(dtype)
    data, attributes, _ = Labels(ids).as_layer_data_tuple()
    path = str(tmp_path / "mine.ome.tif")
    write_labels(path, data, attributes)
    np.testing.assert_array_equal(np.squeeze(tifffile.imread(path)), ids)


def test_ids_too_large(tmp_path):
    ids = np.array([[0, 2**40]])
    with pytest.raises(OutputError, match="1099511627776"):
        write_labels(str(tmp_path / "mine.ome.tif"), ids, {})
    assert list(tmp_path.iterdir()) == []


def test_other_tracks(tmp_path, simulated):
    data, graph = simulated.tracks.to_napari_tracks()
    layer = Tracks(data, graph=graph)
    path = tmp_path / "mine.csv"
    write_tracks_csv(str(path), *layer.as_layer_data_tuple()[:2])
    pd.testing.assert_frame_equal(read_tracks(path).rows, simulated.tracks.rows.assign(label=0))


def test_folder_that_cant_be_written(tmp_path, classification, placement, movie):
    (tmp_path / "file").write_text("in the way")
    layer = states_layer(classification, placement, movie, "states")
    with pytest.raises(OutputError, match="can't be written"):
        write_labels(str(tmp_path / "file" / "states.ome.tif"), *layer.as_layer_data_tuple()[:2])
