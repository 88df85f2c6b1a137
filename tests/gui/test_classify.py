"""The Classify widget in a real viewer, driven as a person does."""

import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tifffile
from napari.layers import Labels, Points, Tracks

from napari_cellinterp import workflows
from napari_cellinterp.events import FrameSearched, Warned
from napari_cellinterp.gui.classify import ClassifyWidget
from napari_cellinterp.gui.layers import SELECTED, STATES, TRACKS
from napari_cellinterp.models.bundle import load_bundle
from napari_cellinterp.models.expression import Expression
from napari_cellinterp.relabelling import relabel

pytestmark = pytest.mark.viewer

PLACE = {"scale": (6, 0.37, 0.37), "units": ("min", "um", "um"), "axis_labels": ("t", "y", "x")}
TIMEOUT_MS = 60_000


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def widget(viewer, model_path):
    widget = ClassifyWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Classify")
    widget.setup.model.add_folder(model_path)
    widget.setup.model.head.setCurrentIndex(widget.setup.model.head.findData("symbolic"))
    return widget


@pytest.fixture
def image(viewer, simulated):
    return viewer.add_image(simulated.images, name="cells", **PLACE)


@pytest.fixture
def run(widget, qtbot):
    def run():
        assert widget.run_bar.button.isEnabled()
        widget.run_bar.button.click()
        qtbot.waitUntil(lambda: not widget.run_bar.is_running, timeout=TIMEOUT_MS)

    return run


@pytest.fixture
def classified(widget, image, run):
    run()
    return widget


def source(widget, title):
    widget.setup.source.setCurrentText(title)


def assert_shows(widget, result):
    """The layers and the legend show this classification."""
    states, tracks = widget.layers.layer(STATES), widget.layers.layer(TRACKS)
    for t in range(result.n_frames):
        np.testing.assert_array_equal(np.asarray(states.data[t]), result.paint(t))
    rows = result.rows.sort_values(["track_id", "frame"])
    np.testing.assert_allclose(tracks.data, rows[["track_id", "frame", "y", "x"]])
    np.testing.assert_array_equal(tracks.features["score"], rows["score"])
    assert {name: total for name, (_, total) in widget.states.legend.counts().items()} == {
        name: f"{n:,}" for name, n in widget.session.counts().items() if name != "undefined"
    }


def test_opens_without_torch():
    code = "import sys, napari_cellinterp.gui.classify; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_nothing_to_classify_yet(widget):
    assert widget.setup.hint.isVisibleTo(widget.setup)
    assert not widget.run_bar.button.isEnabled()
    assert [widget.tabs.isTabEnabled(i) for i in range(4)] == [True, False, False, False]


def test_classify(classified, image, simulated, config, viewer):
    from napari_cellinterp.gui.layers import movie_from_layer

    expected = workflows.classify_movie(movie_from_layer(image), config)
    pd.testing.assert_frame_equal(classified.session.classification.rows, expected.rows)
    assert_shows(classified, expected)
    assert [layer.name for layer in viewer.layers] == ["cells", "cells states", "cells tracks"]
    for layer in viewer.layers:
        assert layer.units == image.units
        np.testing.assert_allclose(layer.scale, image.scale)
    assert classified.tabs.currentIndex() == 1
    assert classified.run_bar.button.text() == "Classify"
    assert "nuclei in 5 frames" in classified.run_bar.status.text()


def test_again_replaces_its_layers(classified, run, viewer):
    first = list(viewer.layers)
    classified.session.select(0)
    assert len(viewer.layers) == 4
    classified.setup.model.head.setCurrentIndex(0)
    run()
    assert [layer.name for layer in viewer.layers] == ["cells", "cells states", "cells tracks"]
    assert not set(first[1:]) & set(viewer.layers)
    assert_shows(classified, classified.session.classification)


def test_other_states_of_the_same_nuclei(classified, model_path, viewer):
    session = classified.session
    before, layers = session.classification, list(viewer.layers)
    session.select(3)
    after = relabel(before, load_bundle(str(model_path)), Expression.parse("z1 - 0.5"))
    assert 0 < (after.rows["state"] != before.rows["state"]).sum()
    colours = classified.layers.layer(TRACKS).track_colors.copy()
    session.relabel(after)
    assert [layer for layer in viewer.layers if layer.name != SELECTED] == layers
    assert_shows(classified, after)
    assert (classified.layers.layer(TRACKS).track_colors != colours).any()
    assert session.row == 3
    state = after.rows["state"].iloc[3]
    assert state in classified.nucleus.facts["State"].text()
    assert "z1 - 0.5" in classified.states.about.text()
    session.relabel(before)
    assert_shows(classified, before)


@pytest.mark.parametrize("kind", ["labels", "tracked labels", "tracks", "points"])
def test_nuclei_from_a_layer(widget, image, viewer, simulated, run, kind):
    table = simulated.tracks
    if "labels" in kind:
        viewer.add_labels(simulated.labels, **PLACE)
        source(widget, "From a Labels layer")
        widget.setup.ids_are_tracks.setChecked(kind == "tracked labels")
    elif kind == "tracks":
        data, graph = table.to_napari_tracks()
        viewer.add_layer(Tracks(data, graph=graph, **PLACE))
        source(widget, "From a Tracks layer")
    else:
        viewer.add_layer(Points(table.rows[["frame", "y", "x"]], **PLACE))
        source(widget, "From a Points layer")
    run()
    result = widget.session.classification
    assert_shows(widget, result)
    if kind == "tracked labels":
        assert set(result.rows["track_id"]) == set(np.unique(simulated.labels)) - {0}
    if kind == "tracks":
        assert result.rows["parent_track_id"].max() > 0
    if kind == "points":
        assert result.rows["track_id"].is_unique


def test_a_layer_has_to_be_there(widget, image, viewer):
    source(widget, "From a Labels layer")
    assert not widget.run_bar.button.isEnabled()
    labels = viewer.add_layer(Labels(np.ones((5, 160, 192), int)))
    assert widget.run_bar.button.isEnabled()
    viewer.layers.remove(labels)
    assert not widget.run_bar.button.isEnabled()


def test_channel_of_several(widget, viewer, simulated, run):
    empty = np.zeros_like(simulated.images)
    viewer.add_image(np.stack([empty, simulated.images], axis=1), name="two")
    assert widget.setup.channel.count() == 2
    widget.setup.channel.setCurrentIndex(1)
    run()
    assert widget.session.classification is not None
    assert widget.layers.layer(STATES).data.shape == (5, 2, 160, 192)
    assert widget.session.channels == range(1, 2)


def test_settings_reach_the_job(widget, image, monkeypatch, run):
    asked = []

    def job(movie, config, **given):
        asked.append((config, given))
        raise RuntimeError("seen enough")
        yield

    monkeypatch.setattr(workflows, "classify_movie_job", job)
    widget.setup.scale.mode.setCurrentText("Nuclear diameter")
    widget.setup.scale.boxes["nucleus_diameter_px"].setValue(26)
    widget.setup.nuclei.fields["split_touching"].setChecked(False)
    widget.setup.linking.fields["max_gap_frames"].setValue(3)
    run()
    ((config, given),) = asked
    assert config.scale.nucleus_diameter_px == 26
    assert not config.nuclei.split_touching
    assert config.linking.max_gap_frames == 3
    assert given == {"labels": None, "tracks": None}


def test_click_selects_the_nucleus(classified, viewer):
    session = classified.session
    for row in (0, len(session.classification) - 1):
        nucleus = session.classification.rows.iloc[row]
        states = classified.layers.layer(STATES)
        world = states.data_to_world((nucleus["frame"], nucleus["y"], nucleus["x"]))
        click(viewer, world)
        assert session.row == row
        assert classified.nucleus.facts["Track"].text() == str(nucleus["track_id"])
        assert nucleus["state"] in classified.nucleus.facts["State"].text()
        assert classified.nucleus.crop.pixmap().height() == 128
        ring = classified.layers.layer(SELECTED)
        assert len(ring.data) == len(session.track_rows(row))
    assert classified.tabs.currentIndex() == 2


def test_drag_and_background_select_nothing(classified, viewer):
    nucleus = classified.session.classification.rows.iloc[0]
    world = classified.layers.layer(STATES).data_to_world((nucleus["frame"], nucleus["y"], nucleus["x"]))
    click(viewer, world, moved=20)
    assert classified.session.row is None
    rows = classified.session.classification.rows
    here = rows.loc[rows["frame"] == 0, ["y", "x"]].to_numpy()
    pixels = np.argwhere(classified.session.classification.paint(0) == 0)
    empty = max(pixels, key=lambda pixel: np.hypot(*(here - pixel).T).min())
    click(viewer, classified.layers.layer(STATES).data_to_world((0, *empty)))
    assert classified.session.row is None


def test_crop_is_what_the_model_sees(classified, movie):
    from napari_cellinterp.gui.crops import cut_crop
    from napari_cellinterp.models.bundle import load_bundle

    result = classified.session.classification
    model = load_bundle(classified.setup.model.model)
    crops = np.stack([cut_crop(movie, result, row, range(1)) for row in range(20)])
    images = workflows.classify_patches(crops, workflows.ClassifyConfig(head="symbolic"), bundle=model)
    np.testing.assert_allclose(images["score"], result.rows["score"][:20], atol=2e-2)


def test_follows_the_frame(classified, viewer):
    session = classified.session
    row = int(np.flatnonzero(session.classification.rows["frame"] == 0)[0])
    classified.selection.go_to(row)
    viewer.dims.set_point(0, 6 * 3)
    assert classified.states.plot.cursor.value() == pytest.approx(18)
    now = {name: shown for name, (shown, _) in classified.states.legend.counts().items()}
    assert now == {name: f"{n:,}" for name, n in session.counts(3).items() if name != "undefined"}
    track = session.track_rows(row)
    here = [r for r in track if session.classification.rows["frame"][r] == 3]
    assert [session.row] == (here or [row])
    classified.states.plot.frame_clicked.emit(1)
    assert viewer.dims.point[0] == pytest.approx(6)


def test_gallery(classified, qtbot, tmp_path):
    session, gallery = classified.session, classified.gallery
    classified.tabs.setCurrentIndex(3)
    state = session.classification.classes[1]
    gallery.what.setCurrentText(f"State: {state}")
    gallery.order.setCurrentText("By score")
    expected = session.state_rows(state)
    scores = session.classification.rows["score"].to_numpy()
    assert sorted(gallery.rows()) == sorted(expected)
    assert (np.diff(scores[gallery.rows()]) <= 0).all()
    gallery.refresh()
    gallery._fill()
    assert gallery.grid.count() == len(expected)
    gallery.grid.itemClicked.emit(gallery.grid.item(0))
    assert session.row == gallery.rows()[0]
    gallery.save(tmp_path / "patches.npz")
    qtbot.waitUntil(lambda: (tmp_path / "patches.npz").exists(), timeout=TIMEOUT_MS)
    qtbot.waitUntil(gallery.save_button.isEnabled)
    with np.load(tmp_path / "patches.npz") as saved:
        assert saved["x"].shape == (len(expected), 1, 64, 64)
    gallery.what.setCurrentText("Track of the selected nucleus")
    np.testing.assert_array_equal(np.sort(gallery.rows()), session.track_rows(session.row))


def test_export_equals_the_screen(classified, qtbot, tmp_path):
    classified.export(tmp_path)
    qtbot.waitUntil(lambda: classified.states.export_button.isEnabled(), timeout=TIMEOUT_MS)
    assert {"nuclei.csv", "states.ome.tif"} <= {path.name for path in tmp_path.iterdir()}
    states = tifffile.imread(tmp_path / "states.ome.tif")
    np.testing.assert_array_equal(states, np.asarray(classified.layers.layer(STATES).data))
    table = pd.read_csv(tmp_path / "nuclei.csv").sort_values(["track_id", "frame"])
    tracks = classified.layers.layer(TRACKS)
    np.testing.assert_allclose(table[["track_id", "frame", "y", "x"]], tracks.data)
    assert table["state"].tolist() == tracks.features["state"].tolist()


def test_export_to_nowhere(classified, qtbot, tmp_path, notices):
    (tmp_path / "file").write_text("in the way")
    classified.export(tmp_path / "file" / "out")
    qtbot.waitUntil(lambda: classified.states.export_button.isEnabled(), timeout=TIMEOUT_MS)
    assert "can't be written" in notices()[-1]


def test_cancel(widget, image, monkeypatch, qtbot, run):
    whole = workflows.classify_movie_job
    closed = []

    def slow(*args, **kwargs):
        try:
            for i in range(10_000):
                time.sleep(0.002)
                yield FrameSearched(i % 50 + 1, 100, 1)
        finally:
            closed.append(True)

    monkeypatch.setattr(workflows, "classify_movie_job", slow)
    widget.run_bar.button.click()
    assert widget.run_bar.button.text() == "Cancel"
    qtbot.waitUntil(lambda: widget.run_bar.bar.value() > 0, timeout=TIMEOUT_MS)
    assert widget.run_bar.status.text().startswith("Finding nuclei")
    widget.run_bar.button.click()
    qtbot.waitUntil(lambda: not widget.run_bar.is_running, timeout=TIMEOUT_MS)
    assert closed == [True]
    assert widget.session.classification is None
    assert widget.run_bar.status.text() == "Cancelled."
    monkeypatch.setattr(workflows, "classify_movie_job", whole)
    run()
    assert widget.session.classification is not None


def test_runtime_error_is_told(widget, image, monkeypatch, run, notices):
    def job(*args, **kwargs):
        yield Warned("odd", "something was odd")
        raise RuntimeError("as torch's are")

    monkeypatch.setattr(workflows, "classify_movie_job", job)
    run()
    assert any("as torch's are" in text for text in notices())
    assert "something was odd" in widget.run_bar.warnings.toPlainText()
    assert widget.run_bar.button.text() == "Classify"
    assert widget.run_bar.button.isEnabled()


def test_no_nuclei(widget, viewer, run, notices):
    viewer.add_image(np.zeros((3, 96, 96), np.uint16), contrast_limits=(0, 1))
    run()
    assert "No nuclei were found" in notices()[-1]
    assert widget.run_bar.button.isEnabled()


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((96, 96, 3), {"rgb": True}, "colour (RGB)"),
        ((3, 96, 96), {"axis_labels": ("z", "y", "x")}, "Z"),
    ],
)
def test_layer_that_cant_be_used(widget, viewer, simulated, run, notices, shape, options, message):
    viewer.add_image(np.zeros(shape, np.uint8), **options)
    assert message in widget.setup.about_movie.text()
    run()
    assert message in notices()[-1]
    good = viewer.add_image(simulated.images)
    widget.setup.image.layer = good
    run()
    assert widget.session.classification is not None


def test_labels_of_another_shape(widget, image, viewer, run, notices):
    viewer.add_labels(np.ones((5, 40, 40), int))
    source(widget, "From a Labels layer")
    run()
    assert "label image" in notices()[-1]


def test_layers_deleted_while_open(classified, viewer, run, simulated):
    classified.session.select(0)
    viewer.layers.clear()
    viewer.dims.set_point(0, 0)
    assert not classified.run_bar.button.isEnabled()
    classified.session.select(1)
    viewer.add_image(simulated.images, name="again", **PLACE)
    run()
    assert [layer.name for layer in viewer.layers][:3] == ["again", "again states", "again tracks"]


def test_image_deleted_during_the_job(widget, image, viewer, qtbot):
    widget.run_bar.button.click()
    viewer.layers.remove(image)
    qtbot.waitUntil(lambda: not widget.run_bar.is_running, timeout=TIMEOUT_MS)
    assert_shows(widget, widget.session.classification)


def test_closed_during_the_job(widget, image, viewer, monkeypatch, qtbot):
    closed = []

    def slow(*args, **kwargs):
        try:
            for i in range(10_000):
                time.sleep(0.002)
                yield FrameSearched(i % 50 + 1, 100, 1)
        finally:
            closed.append(True)

    monkeypatch.setattr(workflows, "classify_movie_job", slow)
    widget.run_bar.button.click()
    qtbot.waitUntil(lambda: widget.run_bar.bar.value() > 0, timeout=TIMEOUT_MS)
    viewer.close()
    qtbot.waitUntil(lambda: closed == [True], timeout=TIMEOUT_MS)
    qtbot.wait(50)


def test_dock_closed_lets_go_of_the_viewer(viewer, model_path, qtbot, simulated):
    before = list(viewer.mouse_drag_callbacks)
    widget = ClassifyWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Classify")
    viewer.add_image(simulated.images, **PLACE)
    assert len(viewer.mouse_drag_callbacks) == len(before) + 1
    viewer.window.remove_dock_widget(widget)
    widget.deleteLater()
    qtbot.wait(50)
    viewer.dims.set_point(0, 6)
    viewer.theme = "light"
    viewer.add_image(simulated.images)
    assert viewer.mouse_drag_callbacks == before


def test_opens_files(widget, viewer, tmp_path, simulated, notices):
    tifffile.imwrite(tmp_path / "cells.tif", simulated.images, photometric="minisblack", metadata={"axes": "TYX"})
    widget.setup.open_movie(tmp_path / "cells.tif")
    assert widget.setup.image.layer.name == "cells"
    assert not widget.setup.hint.isVisibleTo(widget.setup)
    whole = (tmp_path / "cells.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: len(whole) // 2])
    widget.setup.open_movie(tmp_path / "cut.tif")
    assert "cut.tif" in notices()[-1]
    widget.setup.open_movie(tmp_path / "missing.tif")
    assert "missing.tif" in notices()[-1]
    widget.setup.open_movie(tmp_path)
    assert "(cells.tif, cut.tif) aren't named alike but for a number" in notices()[-1]
    assert len(viewer.layers) == 1
    (tmp_path / "frames").mkdir()
    for i, frame in enumerate(simulated.images):
        tifffile.imwrite(tmp_path / "frames" / f"t{i}.tif", frame)
    widget.setup.open_movie(tmp_path / "frames")
    assert widget.setup.image.layer.name == "frames"


def test_opens_the_sample(widget, viewer):
    widget.setup.sample_button.click()
    assert widget.setup.image.layer is viewer.layers[0]
    assert widget.run_bar.button.isEnabled()


def test_saves_through_napari(classified, viewer, tmp_path):
    states, tracks = classified.layers.layer(STATES), classified.layers.layer(TRACKS)
    assert states.save(str(tmp_path / "s.ome.tif"), plugin="napari-cellinterp")
    assert tracks.save(str(tmp_path / "n.csv"), plugin="napari-cellinterp")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "s.ome.tif"), np.asarray(states.data))
    assert len(pd.read_csv(tmp_path / "n.csv")) == len(tracks.data)


def test_fits_the_screen(classified, qtbot):
    assert classified.minimumSizeHint().height() < 500
    assert classified.minimumSizeHint().width() <= 420
    for page in (classified.setup, classified.states, classified.nucleus, classified.gallery):
        assert page.minimumSizeHint().width() <= 380


def click(viewer, world, moved=0):
    """Press and release the left button over a position, as napari's canvas tells it."""
    for callback in list(viewer.mouse_drag_callbacks):
        event = SimpleNamespace(type="mouse_press", button=1, position=tuple(world), pos=np.zeros(2), modifiers=())
        steps = callback(viewer, event)
        next(steps, None)
        event.pos = np.full(2, moved)
        event.type = "mouse_release"
        next(steps, None)
