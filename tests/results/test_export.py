"""Files of a classification: round trips, and what is left when writing fails."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_cellinterp.errors import OutputError
from napari_cellinterp.movies.masks import FoundMasks
from napari_cellinterp.movies.stack import movie_from_array
from napari_cellinterp.results.export import write_nuclei_csv, write_patches, write_states
from napari_cellinterp.results.files import check_writable, written_beside
from napari_cellinterp.results.overlay import outlined, overlay_figure, telling_frame, write_overlay
from napari_cellinterp.results.table import Classification


@pytest.fixture
def classification():
    """Two frames: nuclei 1 and 5, then 5 alone as metaphase and 7 undefined."""
    masks = FoundMasks((2, 20, 30))
    for t, ids in ((0, (1, 5)), (1, (5, 7))):
        labels = np.zeros((20, 30), np.int32)
        labels[2:8, 3:9], labels[10:16, 15:25] = ids
        masks.set_frame(t, labels)
    rows = pd.DataFrame(
        {
            "track_id": [1, 2, 1, 2],
            "frame": [0, 0, 1, 1],
            "y": [4.5, 12.5, 4.5, 12.5],
            "x": [5.5, 19.5, 5.5, 19.5],
            "label": [1, 5, 5, 7],
            "parent_track_id": 0,
            "score": np.array([-1.5, -0.25, 2.125, np.nan], np.float32),
            "state": ["interphase", "interphase", "metaphase", ""],
            "probability": np.array([0.9, 0.6, 0.95, np.nan], np.float32),
            "novelty": np.array([1, 1, 1, 9], np.float32),
            "is_novel": [False, False, False, True],
            "flag": ["", "", "", "not_finite"],
        }
    )
    return Classification(
        rows, ("interphase", "metaphase"), masks, 1.0, "tiny", "0" * 64, "sparse", np.zeros((4, 2), np.float32)
    )


def test_states_round_trip_with_legend_and_scale(classification, tmp_path):
    path = tmp_path / "states.ome.tif"
    write_states(classification, path, pixel_size_um=0.5, frame_interval_min=4)
    with tifffile.TiffFile(path) as file:
        assert file.series[0].axes == "TYX"
        states, xml = file.asarray(), file.ome_metadata
    assert states.dtype == np.uint8
    for t in range(2):
        np.testing.assert_array_equal(states[t], classification.paint(t))
    assert states[0, 4, 5] == 1
    assert states[1, 4, 5] == 2
    assert states[1, 12, 19] == 0, "an undefined state has no colour"
    assert '<M K="1">interphase</M>' in xml
    assert '<M K="2">metaphase</M>' in xml
    assert 'PhysicalSizeX="0.5"' in xml
    assert 'TimeIncrement="4' in xml


def test_a_movie_of_one_frame_keeps_its_time_axis(classification, tmp_path):
    masks = FoundMasks((1, 20, 30))
    masks.set_frame(0, classification.masks.frame(0))
    single = Classification(
        classification.rows[:2],
        classification.classes,
        masks,
        1.0,
        "tiny",
        "0" * 64,
        "sparse",
        np.zeros((4, 2), np.float32),
    )
    write_states(single, tmp_path / "s.ome.tif")
    assert tifffile.imread(tmp_path / "s.ome.tif").reshape(1, 20, 30).max() == 1


def test_csv_has_empty_cells_where_the_score_is_undefined(classification, tmp_path):
    write_nuclei_csv(classification, tmp_path / "nuclei.csv")
    lines = (tmp_path / "nuclei.csv").read_text().splitlines()
    assert lines[0].startswith("track_id,frame,y,x,label,parent_track_id,score,state,probability,novelty,is_novel")
    assert lines[1] == "1,0,4.5,5.5,1,0,-1.5,interphase,0.9,1.0,False,"
    assert lines[4] == "2,1,12.5,19.5,7,0,,,,9.0,True,not_finite"


def test_overlay_shows_the_frame_of_the_rarest_state(classification, tmp_path):
    assert telling_frame(classification) == 1
    movie = movie_from_array(np.random.default_rng(0).integers(0, 99, (2, 20, 30), np.uint16))
    write_overlay(classification, movie, 0, tmp_path / "overlay.png")
    assert (tmp_path / "overlay.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("n", [2, 40, 20_000])
def test_numbers_of_nuclei_can_be_read_from_the_plot(classification, n, monkeypatch):
    counts = np.array([[n, 0], [n - 1, 1]])
    monkeypatch.setattr(type(classification), "counts_over_time", lambda _: counts)
    movie = movie_from_array(np.zeros((2, 20, 30), np.uint16))
    axes = overlay_figure(classification, movie, 0).axes[1]
    low, high = axes.get_ylim()
    told = [tick for tick in axes.get_yticks() if low <= tick <= high]
    assert told[0] == 0 and max(told) * 2.5 >= n and len(told) >= 3
    assert axes.get_ylabel() == ("nuclei" if n == 2 else "nuclei (logarithmic above 10)")


def test_outlines_have_the_colours_of_their_states(classification):
    picture = outlined(np.zeros((20, 30)), classification.paint(1), classification.masks.frame(1))
    orange = np.array([0xE6, 0x9F, 0x00]) / 255
    np.testing.assert_allclose(picture[2, 5], orange, atol=0.01)
    assert (picture[5, 5] == 0).all(), "only the outline is drawn"


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError), written_beside(path) as beside:
        beside.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_patches_that_end_early_leave_nothing(tmp_path):
    def blocks():
        raise OSError(28, "No space left on device")
        yield

    with pytest.raises(OutputError, match="No space left"):
        list(write_patches(blocks(), 3, tmp_path / "patches.npz", np.arange(3), np.arange(3)))
    assert not any(tmp_path.iterdir())


def test_an_output_folder_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(OutputError, match="out"):
        check_writable(tmp_path / "out")
