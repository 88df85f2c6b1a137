"""The track table: what it refuses, what it keeps, and the files of other programs."""

from __future__ import annotations

import json

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_cellinterp.errors import OutputError, TracksError
from napari_cellinterp.movies.stack import movie_from_array
from napari_cellinterp.movies.tracks import COLUMNS, TrackTable, measure_labels, read_tracks, write_tracks

ROWS = pd.DataFrame({"track_id": [2, 1, 1], "frame": [1, 1, 0], "y": [5.0, 2.0, 1.0], "x": [6.0, 3.0, 2.0]})


def is_table(table, expected):
    pd.testing.assert_frame_equal(table.rows, pd.DataFrame(expected, columns=list(COLUMNS)), check_dtype=False)
    assert [dtype.name for dtype in table.rows.dtypes] == ["int64", "int64", "float64", "float64", "int64", "int64"]


def written(tmp_path, text, name="t.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_rows_are_sorted_typed_and_filled_in():
    table = TrackTable.from_rows(ROWS.assign(frame=ROWS["frame"].astype(float), colour="red"))
    is_table(table, [(1, 0, 1, 2, 0, 0), (1, 1, 2, 3, 0, 0), (2, 1, 5, 6, 0, 0)])
    assert (len(table), table.n_tracks) == (3, 2)


def test_no_nuclei_are_a_table_too():
    table = TrackTable.from_rows(pd.DataFrame(columns=list(COLUMNS)))
    assert (len(table), table.n_tracks) == (0, 0)
    assert table.check_fits(movie_from_array(np.zeros((2, 4, 4)))).shape == (0,)
    assert table.to_napari_tracks()[0].shape == (0, 4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"y": [1.0, np.nan, 2.0]}, ["Row 1", "y nan", "finite"]),
        ({"x": [1.0, 2.0, np.inf]}, ["Row 2", "x inf"]),
        ({"frame": [1, -1, 0]}, ["Row 1", "frame -1", "negative"]),
        ({"frame": [1.5, 1, 0]}, ["Row 0", "frame 1.5", "whole"]),
        ({"track_id": [1, 2.5, 3]}, ["track_id 2.5", "whole"]),
        ({"track_id": ["a", 1, 2]}, ["track_id a"]),
        ({"track_id": [1, 1e30, 2]}, ["1e+30", "too large"]),
        ({"track_id": [1, 1, 1]}, ["Track 1", "twice", "frame 1"]),
        ({"label": [1, 1, -4]}, ["label -4"]),
        ({"parent_track_id": [2, 0, 0]}, ["track itself"]),
        ({"parent_track_id": [0, 7, 8]}, ["Track 1", "7", "8"]),
    ],
)
def test_impossible_rows_are_named(change, words):
    with pytest.raises(TracksError) as caught:
        TrackTable.from_rows(ROWS.assign(**change))
    assert all(word in str(caught.value) for word in words)


def test_a_missing_column_is_named_with_the_nearest():
    with pytest.raises(TracksError, match=r"no column track_id \(did you mean trak_id\?\)"):
        TrackTable.from_rows(ROWS.rename(columns={"track_id": "trak_id"}))


def test_a_parent_given_once_holds_for_the_track():
    table = TrackTable.from_rows(ROWS.assign(parent_track_id=[0, 0, 9]))
    assert table.rows["parent_track_id"].tolist() == [9, 9, 0]


def test_fit_to_a_movie():
    movie = movie_from_array(np.zeros((2, 4, 5)))
    table = TrackTable.from_rows(ROWS.assign(y=[3.4, 3.6, -0.5], x=[4.4, 0, 4.5]))
    assert table.check_fits(movie).tolist() == [False, False, True]
    with pytest.raises(TracksError, match=r"frame 1, .* 1 frames \(0 to 0\)"):
        table.check_fits(movie_from_array(np.zeros((1, 4, 5))))
    with pytest.raises(TracksError, match="outside the image of 4 x 5"):
        TrackTable.from_rows(ROWS.assign(y=100)).check_fits(movie)


# napari


def test_napari_tracks_and_back():
    data = np.array([[1, 0, 2.5, 3], [1, 1, 2, 3], [2, 2, 1, 1], [3, 2, 4, 4]])
    graph = {2: [1], 3: [1]}
    table = TrackTable.from_napari_tracks(data, graph)
    assert table.rows["parent_track_id"].tolist() == [0, 0, 1, 1]
    back, back_graph = table.to_napari_tracks()
    np.testing.assert_array_equal(back, data)
    assert back_graph == graph


def test_a_track_0_moves_up_only_where_there_are_parents():
    data = [[0, 0, 1, 1], [1, 1, 1, 1]]
    assert TrackTable.from_napari_tracks(data).rows["track_id"].tolist() == [0, 1]
    moved = TrackTable.from_napari_tracks(data, {1: 0}).rows
    assert moved["track_id"].tolist() == [1, 2]
    assert moved["parent_track_id"].tolist() == [0, 1]


def test_parents_without_rows_stay_out_of_the_graph():
    table = TrackTable.from_rows(ROWS.assign(parent_track_id=[9, 0, 0]))
    assert table.to_napari_tracks()[1] == {}


def test_one_z_is_dropped_and_several_refused():
    flat = [[1, 0, 7, 2, 3], [1, 1, 7, 4, 5]]
    assert TrackTable.from_napari_tracks(flat).rows[["y", "x"]].to_numpy().tolist() == [[2, 3], [4, 5]]
    with pytest.raises(TracksError, match="7 to 8"):
        TrackTable.from_napari_tracks([[1, 0, 7, 2, 3], [1, 1, 8, 4, 5]])


@pytest.mark.parametrize("data", [[[1, 2, 3]], [1, 2, 3, 4], np.zeros((2, 6)), [["a", 0, 1, 1]]])
def test_arrays_that_are_no_tracks(data):
    with pytest.raises(TracksError):
        TrackTable.from_napari_tracks(data)


def test_merges_are_refused():
    with pytest.raises(TracksError, match="2 parents"):
        TrackTable.from_napari_tracks([[1, 0, 1, 1]], {1: [2, 3]})


def test_points_are_tracks_of_their_own():
    is_table(TrackTable.from_points([[1, 5, 6], [0, 2, 3]]), [(2, 0, 2, 3, 0, 0), (1, 1, 5, 6, 0, 0)])
    is_table(TrackTable.from_points([[5, 6]]), [(1, 0, 5, 6, 0, 0)])
    with pytest.raises(TracksError, match="points"):
        TrackTable.from_points(np.zeros((2, 5)))


# label images


@pytest.mark.parametrize("factor", [1, 10**12], ids=["small ids", "large ids"])
def test_measured_labels(factor):
    frame = np.zeros((9, 11), np.int64)
    frame[1:4, 2:5] = 3 * factor
    frame[6, 5:9] = 7 * factor
    frame[2, 3] = 0
    measured = measure_labels(frame)
    assert measured["label"].tolist() == [3 * factor, 7 * factor]
    assert measured["area_px"].tolist() == [8, 4]
    np.testing.assert_allclose(measured[["y", "x"]], [[2, 3], [6, 6.5]])
    np.testing.assert_allclose(measured["diameter_px"], 2 * np.sqrt(np.array([8, 4]) / np.pi))


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12))
def test_measured_labels_are_means_of_coordinates(seed, height, width):
    frame = np.random.default_rng(seed).integers(0, 4, (height, width)).astype(np.uint16)
    measured = measure_labels(frame).set_index("label")
    assert measured.index.tolist() == [i for i in np.unique(frame).tolist() if i]
    for label, row in measured.iterrows():
        y, x = np.nonzero(frame == label)
        np.testing.assert_allclose(row[["y", "x", "area_px"]], [y.mean(), x.mean(), len(y)])


@pytest.mark.parametrize("frame", [np.zeros((3, 3)), np.full((3, 3), -1)])
def test_labels_that_are_no_ids(frame):
    with pytest.raises(TracksError):
        measure_labels(frame)


@pytest.mark.parametrize("wrap", [np.asarray, da.from_array])
def test_label_images(wrap):
    labels = np.zeros((2, 4, 4), np.uint8)
    labels[:, 1, 1] = 5
    labels[1, 2:4, 3] = 2
    tracked = TrackTable.from_label_image(wrap(labels), tracked=True)
    is_table(tracked, [(5, 0, 1, 1, 5, 0), (2, 1, 2.5, 3, 2, 0), (5, 1, 1, 1, 5, 0)])
    loose = TrackTable.from_label_image(wrap(labels), tracked=False)
    assert loose.rows["track_id"].tolist() == [1, 2, 3]
    assert loose.rows["label"].tolist() == [5, 2, 5]


def test_blank_label_image():
    assert len(TrackTable.from_label_image(np.zeros((2, 4, 4), int), tracked=True)) == 0


# files

numbers = st.floats(allow_nan=False, allow_infinity=False)
ids = st.integers(0, 2**63 - 1)


@st.composite
def tables(draw):
    keys = draw(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 9)), unique=True, min_size=1, max_size=12))
    parents = draw(st.fixed_dictionaries({i: st.integers(6, 2**63 - 1) | st.just(0) for i in range(1, 6)}))
    rows = [(t, f, draw(numbers), draw(numbers), draw(ids), parents[t]) for t, f in keys]
    return TrackTable.from_rows(pd.DataFrame(rows, columns=list(COLUMNS)))


@settings(deadline=None)
@given(tables())
def test_written_tables_come_back_exactly(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("tables") / "t.csv"
    write_tracks(table, path)
    pd.testing.assert_frame_equal(read_tracks(path).rows, table.rows, check_exact=True)
    assert [inside.name for inside in path.parent.iterdir()] == ["t.csv"]


@settings(deadline=None)
@given(tables())
def test_napari_keeps_positions_and_known_parents(table):
    data, graph = table.to_napari_tracks()
    again = TrackTable.from_napari_tracks(data, graph)
    columns = ["track_id", "frame", "y", "x"]
    pd.testing.assert_frame_equal(again.rows[columns], table.rows[columns], check_exact=True)


def test_writing_into_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OutputError, match="nowhere"):
        write_tracks(TrackTable.from_rows(ROWS), tmp_path / "nowhere" / "t.csv")


@pytest.mark.parametrize(
    "text",
    [
        "ID,t,y,x\n1.0,0.0,5.5,6.5\n1.0,1.0,5,6\n",
        "TrackID,Frame,X,Y\n1,0,6.5,5.5\n1,1,6,5\n",
        "track, t, centroid-0, centroid-1\n1, 0, 5.5, 6.5\n1, 1, 5, 6\n",
        "label,track_id,FRAME,y,x\n,1,0,5.5,6.5\n,1,1,5,6\n",
    ],
)
def test_names_of_other_programs(tmp_path, text):
    is_table(read_tracks(written(tmp_path, text)), [(1, 0, 5.5, 6.5, 0, 0), (1, 1, 5, 6, 0, 0)])


@pytest.mark.parametrize("none", ["0", "-1", "1", ""], ids=["0", "-1", "own", "empty"])
def test_ways_to_say_no_parent(tmp_path, none):
    path = written(tmp_path, f"track_id,frame,y,x,parent\n1,0,1,1,{none}\n2,1,1,1,1\n")
    assert read_tracks(path).rows["parent_track_id"].tolist() == [0, 1]


def test_track_0_as_a_parent(tmp_path):
    path = written(tmp_path, "track_id,frame,y,x,parent\n0,0,1,1,-1\n3,1,1,1,0\n")
    rows = read_tracks(path).rows
    assert rows["track_id"].tolist() == [1, 4]
    assert rows["parent_track_id"].tolist() == [0, 1]


TRACKMATE = """LABEL,ID,TRACK_ID,QUALITY,POSITION_X,POSITION_Y,POSITION_Z,POSITION_T,FRAME
Label,Spot ID,Track ID,Quality,X,Y,Z,T,Frame
Label,Spot ID,Track ID,Quality,X,Y,Z,T,Frame
,,,(quality),({unit}),({unit}),({unit}),(sec),
ID10,10,0,1.5,6.0,5.0,0.0,0.0,0
ID11,11,0,1.5,7.0,5.0,0.0,60.0,1
ID12,12,,1.5,1.0,2.0,0.0,60.0,1
"""


def test_trackmate_spots(tmp_path):
    table = read_tracks(written(tmp_path, TRACKMATE.format(unit="pixel")))
    is_table(table, [(0, 0, 5, 6, 0, 0), (0, 1, 5, 7, 0, 0), (1, 1, 2, 1, 0, 0)])


def test_trackmate_spots_in_um_need_the_pixel_size(tmp_path):
    path = written(tmp_path, TRACKMATE.format(unit="micron"))
    with pytest.raises(TracksError, match="micron"):
        read_tracks(path)
    assert read_tracks(path, pixel_size_um=0.5).rows["y"].tolist() == [10, 10, 4]


TRACKS = "ID,t,y,x\n1,0,1,1\n2,1,1,1\n3,1,2,2\n"


def test_btrack_properties_and_graph(tmp_path):
    path = written(tmp_path, TRACKS, "tracks.csv")
    assert read_tracks(path).rows["parent_track_id"].tolist() == [0, 0, 0]
    written(tmp_path, json.dumps({"2": [1]}), "graph.json")
    assert read_tracks(path).rows["parent_track_id"].tolist() == [0, 1, 0]
    written(tmp_path, "t,state,generation,root,parent\n0,0,0,1,1\n1,0,1,1,1\n1,0,1,1,1\n", "properties.csv")
    assert read_tracks(path).rows["parent_track_id"].tolist() == [0, 1, 1]
    assert read_tracks(written(tmp_path, TRACKS)).rows["parent_track_id"].tolist() == [0, 0, 0]


def test_btrack_properties_of_another_file(tmp_path):
    path = written(tmp_path, TRACKS, "tracks.csv")
    written(tmp_path, "t,parent\n0,1\n", "properties.csv")
    with pytest.raises(TracksError, match=r"1 rows .* have 3"):
        read_tracks(path)


def test_damaged_graph(tmp_path):
    path = written(tmp_path, TRACKS, "tracks.csv")
    written(tmp_path, "[1, 2", "graph.json")
    with pytest.raises(TracksError, match=r"graph\.json"):
        read_tracks(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["t.csv"]),
        ("track_id,frame,y,x\n", ["no rows"]),
        ("a,b\n1,2\n", ["no column track_id, frame, y, x", "a, b"]),
        ("trak,frame,y,x\n1,2,3,4\n", ["did you mean trak?"]),
        ("track_id,frame,y,x\n1,0,1,1\n1,0,2,2\n", ["t.csv", "twice"]),
        ("track_id,frame,y,x\n1,0,1,oops\n", ["Row 0", "x oops"]),
        ("track_id,frame,y,x\n1,0,1,1,9,9\n", ["more values"]),
        ("track_id,frame,y,x,parent\n3,0,1,1,1\n3,1,2,2,2\n", ["Track 3", "1, 2"]),
        ('track_id,frame,y,x\n1,0,"1,1\n', ["can't be read"]),
    ],
)
def test_files_that_cannot_be_read(tmp_path, text, words):
    with pytest.raises(TracksError) as caught:
        read_tracks(written(tmp_path, text))
    assert all(word in str(caught.value) for word in words)


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(TracksError, match="no file"):
        read_tracks(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(bytes(range(256)))
    with pytest.raises(TracksError, match=r"b\.csv"):
        read_tracks(tmp_path / "b.csv")


def test_real_btrack_tracks(real_data):
    folder = real_data / "mdck_btrack"
    table = read_tracks(folder / "tracks.csv")
    assert (len(table), table.n_tracks) == (52_678, 409)
    graph = {int(child): parents for child, parents in json.loads((folder / "graph.json").read_text()).items()}
    assert table.to_napari_tracks()[1] == graph
