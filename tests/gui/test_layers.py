"""napari layers become our types, and results become layers; no viewer needed."""

import dask.array as da
import numpy as np
import pytest
from napari.layers import Image, Labels, Points, Tracks

from napari_cellinterp.errors import MovieError, TracksError
from napari_cellinterp.gui.layers import (
    HIGHLIGHTED,
    frame_position,
    frame_to_world,
    labels_from_layer,
    movie_from_layer,
    placement_of,
    result_of,
    selected_layer,
    states_layer,
    tracks_from_layer,
    tracks_layer,
)
from napari_cellinterp.gui.outline_layers import outline_layer, show_outlined
from napari_cellinterp.results.colours import state_colour
from napari_cellinterp.results.outlines import Outlines, edges

PLACE = {"scale": (6, 0.37, 0.37), "units": ("min", "um", "um")}
NAMED = {**PLACE, "axis_labels": ("t", "y", "x")}


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((8, 9), (1, 1, 8, 9)), ((4, 8, 9), (4, 1, 8, 9)), ((4, 2, 8, 9), (4, 2, 8, 9))],
)
def test_movie_by_number_of_axes(shape, expected):
    pixels = np.random.default_rng(1).integers(0, 99, shape)
    movie = movie_from_layer(Image(pixels))
    assert movie.data.shape == expected
    assert movie.pixel_size_um is None
    assert movie.frame_interval_min is None
    np.testing.assert_array_equal(np.asarray(movie.data), pixels.reshape(expected))


def test_movie_with_named_axes():
    movie = movie_from_layer(Image(np.zeros((3, 8, 9)), axis_labels=("c", "y", "x")))
    assert (movie.n_frames, movie.n_channels) == (1, 3)


@pytest.mark.parametrize(
    ("scale", "units", "size", "interval"),
    [
        ((6, 0.37, 0.37), ("min", "um", "um"), 0.37, 6),
        ((360, 370, 370), ("s", "nm", "nm"), 0.37, 6),
        ((6, 0.37, 0.37), ("pixel", "pixel", "pixel"), None, None),
        ((1, 0.37, 0.5), ("pixel", "um", "um"), None, None),
    ],
)
def test_calibration(scale, units, size, interval):
    movie = movie_from_layer(Image(np.zeros((2, 8, 9)), scale=scale, units=units))
    assert movie.pixel_size_um == pytest.approx(size)
    assert movie.frame_interval_min == pytest.approx(interval)


def test_movie_stays_lazy():
    def refuse(block):
        raise AssertionError("read")

    pixels = da.zeros((4, 8, 9), chunks=(1, 8, 9)).map_blocks(refuse, dtype=float, meta=np.empty((0, 0, 0)))
    layer = Image(da.zeros((4, 8, 9), chunks=(1, 8, 9)), contrast_limits=(0, 1))
    layer._data = pixels
    assert movie_from_layer(layer).data.shape == (4, 1, 8, 9)


def test_multiscale_takes_the_finest():
    movie = movie_from_layer(Image([np.ones((2, 16, 16)), np.ones((2, 8, 8))], multiscale=True))
    assert movie.data.shape == (2, 1, 16, 16)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: Image(np.zeros((8, 9, 3), np.uint8), rgb=True, name="photo"), r"'photo' is a colour \(RGB\) image"),
        (lambda: Image(np.zeros((5, 8, 9)), axis_labels=("z", "y", "x")), "Z"),
        (lambda: Image(np.zeros((5, 8, 9)), units=("um", "um", "um")), "Z"),
        (lambda: Image(np.zeros((5, 4, 8, 9)), units=("s", "um", "um", "um")), "Z"),
        (lambda: Image(np.zeros((2, 2, 2, 8, 9))), "has 5 axes"),
        (lambda: Image(np.zeros((2, 3, 8, 9)), axis_labels=("c", "t", "y", "x")), "are C, T, Y, X"),
    ],
)
def test_refused(layer, message):
    with pytest.raises(MovieError, match=message):
        movie_from_layer(layer())


def test_labels():
    ids = np.arange(4 * 8 * 9).reshape(4, 8, 9)
    assert labels_from_layer(Labels(ids)) is not None
    np.testing.assert_array_equal(labels_from_layer(Labels(ids[:, None])), ids)
    np.testing.assert_array_equal(labels_from_layer(Labels(ids[0])), ids[0])


def test_tracks_with_graph(simulated):
    data, graph = simulated.tracks.to_napari_tracks()
    table = tracks_from_layer(Tracks(data, graph=graph, **PLACE), Image(simulated.images, **PLACE))
    expected = simulated.tracks.rows.assign(label=0)
    np.testing.assert_allclose(table.rows.to_numpy(), expected.to_numpy(), atol=1e-9)


def test_points_of_another_scale():
    image = Image(np.zeros((3, 50, 60)), **PLACE)
    points = Points([[6.1, 3.7, 7.4], [0, 0.37, 0]], units=PLACE["units"])
    rows = tracks_from_layer(points, image).rows
    np.testing.assert_allclose(rows[["frame", "y", "x"]], [[0, 1, 0], [1, 10, 20]], atol=1e-6)


def test_points_over_an_image_with_channels():
    points = Points([[2, 0, 5, 6], [1, 1, 7, 8]])
    rows = tracks_from_layer(points, Image(np.zeros((3, 2, 50, 60)))).rows
    np.testing.assert_allclose(rows[["frame", "y", "x"]], [[1, 7, 8], [2, 5, 6]])


def test_empty_points():
    with pytest.raises(TracksError, match="is empty"):
        tracks_from_layer(Points(np.empty((0, 3)), name="none"), Image(np.zeros((3, 9, 9))))


def test_states_layer_is_what_was_classified(classification, movie, simulated):
    image = Image(simulated.images, **NAMED)
    layer = states_layer(classification, placement_of(image, 0), movie, "states")
    for t in range(movie.n_frames):
        np.testing.assert_array_equal(np.asarray(layer.data[t]), classification.paint(t))
    np.testing.assert_allclose(layer.scale, image.scale)
    assert layer.units == image.units
    assert layer.axis_labels == image.axis_labels == ("t", "y", "x")
    assert layer.features["state"].tolist() == ["background", *classification.classes]
    assert layer.features["n_nuclei"].tolist() == [0, *classification.counts().values()]
    colours = layer.colormap.map(np.array([0, 1, 2], np.uint8))
    expected = [[int(state_colour(i)[j : j + 2], 16) / 255 for j in (1, 3, 5)] for i in range(2)]
    assert colours[0, 3] == 0
    np.testing.assert_allclose(colours[1:, :3], expected, atol=1e-6)


def test_tracks_layer_is_what_was_classified(classification, movie, simulated):
    image = Image(simulated.images, **NAMED)
    layer = tracks_layer(classification, placement_of(image, 0), movie, "tracks")
    rows = classification.rows.sort_values(["track_id", "frame"])
    np.testing.assert_allclose(layer.data, rows[["track_id", "frame", "y", "x"]])
    for name in ("score", "state", "probability", "novelty", "label"):
        np.testing.assert_array_equal(layer.features[name], rows[name])
    np.testing.assert_array_equal(classification.rows["score"].to_numpy()[layer.features["row"]], rows["score"])
    divided = rows.loc[rows["parent_track_id"] > 0].drop_duplicates("track_id")
    assert layer.graph == {int(r.track_id): [int(r.parent_track_id)] for r in divided.itertuples()}
    assert len(layer.graph) > 0
    assert layer.color_by == "state_index"
    first = state_colour(int(layer.features["state_index"][0]) - 1)
    np.testing.assert_allclose(
        layer.track_colors[0][:3], [int(first[j : j + 2], 16) / 255 for j in (1, 3, 5)], atol=1e-6
    )
    assert layer.units == image.units
    assert result_of(layer).classification is classification


def test_over_an_image_with_channels(classification, movie):
    image = Image(np.zeros((5, 2, 160, 192)), scale=(6, 1, 0.37, 0.37), units=("min", "pixel", "um", "um"))
    place = placement_of(image, 1)
    states = states_layer(classification, place, movie, "states")
    assert states.data.shape == image.data.shape
    np.testing.assert_array_equal(np.asarray(states.data[2, 0]), np.asarray(states.data[2, 1]))
    tracks = tracks_layer(classification, place, movie, "tracks")
    assert (tracks.data[:, 2] == 1).all()


def test_over_a_single_frame(classification, movie):
    place = placement_of(Image(np.zeros((160, 192)), scale=(0.37, 0.37), units=("um", "um")), 0)
    assert place.axes == "TYX"
    assert place.transform["scale"] == (1, 0.37, 0.37)
    assert place.transform["units"] == ("pixel", "micrometer", "micrometer")


def test_positions_there_and_back(classification, movie, simulated):
    image = Image(simulated.images, translate=(0, 5, -3), **NAMED)
    layer = selected_layer(classification, placement_of(image, 0), movie, np.array([2]), "selected")
    assert frame_to_world(layer, 3) == pytest.approx(18)
    assert frame_position(layer, (99, *layer.data_to_world((3, 10, 20)))) == pytest.approx((3, 10, 20))


@pytest.mark.parametrize("shape", [(5, 160, 192), (5, 2, 160, 192)])
def test_outlines_are_painted_frame_by_frame(classification, movie, shape, monkeypatch):
    placement, outlines = placement_of(Image(np.zeros(shape, np.uint8)), 0), Outlines(classification)
    painted = []
    real = Outlines.paint
    monkeypatch.setattr(Outlines, "paint", lambda self, t, values: painted.append(t) or real(self, t, values))
    values = np.zeros(len(classification), np.uint8)
    row = classification.frame_rows(3).start + 1
    values[row] = 2
    layer = outline_layer(classification, placement, movie, HIGHLIGHTED, outlines, values, ["#112233", "#445566"])
    painted.clear()
    frame = np.asarray(layer.data[3])
    assert set(painted) == {3}
    labels = classification.masks.frame(3)
    expected = 2 * (edges(labels) & (labels == classification.rows["label"].iloc[row]))
    np.testing.assert_array_equal(frame, np.broadcast_to(expected, shape[1:]))
    assert frame.any()
    assert result_of(layer).role == HIGHLIGHTED
    np.testing.assert_allclose(layer.colormap.color_dict[2], np.array([0x44, 0x55, 0x66, 0xFF]) / 255, atol=1e-6)
    show_outlined(layer, outlines, np.zeros_like(values), ["#112233", "#445566"])
    assert not np.asarray(layer.data[3]).any()
    show_outlined(layer, outlines, np.where(values, 1, 0), ["#ffffff", "#445566"])
    np.testing.assert_array_equal(np.asarray(layer.data[3]) > 0, frame > 0)
    np.testing.assert_allclose(layer.colormap.color_dict[1], 1)
