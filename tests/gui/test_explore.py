"""The Explore widget in a real viewer, driven as a person does."""

import subprocess
import sys

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_cellinterp.config import ClassifyConfig
from napari_cellinterp.gui import explore
from napari_cellinterp.gui.explore import CHANGED, CLASSIFY_FIRST, CLICK_FIRST, ORIGINAL, RECONSTRUCTION, ExploreWidget
from napari_cellinterp.models import latent_names

pytestmark = pytest.mark.viewer

TIMEOUT_MS = 60_000


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def widget(viewer):
    widget = ExploreWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Explore")
    return widget


@pytest.fixture
def explored(widget, classify, qtbot):
    classify()
    qtbot.waitUntil(lambda: widget.exploration is not None, timeout=TIMEOUT_MS)
    widget.selection.go_to(0)
    return widget


def drawn(widget, qtbot):
    qtbot.waitUntil(lambda: not widget._refresh.isActive(), timeout=TIMEOUT_MS)


def test_opens_without_torch():
    code = "import sys, napari_cellinterp.gui.explore; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_says_what_to_do_first(widget, classify, qtbot, viewer):
    assert widget.pages.message.text() == CLASSIFY_FIRST
    assert widget.pages.classify.isVisibleTo(widget)
    widget.step_nucleus(1)
    classify()
    qtbot.waitUntil(lambda: widget.pages.message.text() == CLICK_FIRST, timeout=TIMEOUT_MS)
    assert not widget.pages.classify.isVisibleTo(widget)


def test_a_picked_nucleus_comes_as_sliders_and_images(explored, random_bundle, movie, classification):
    from napari_cellinterp.explain.traversal import decode_images, encode_crop
    from napari_cellinterp.gui.crops import cut_crop

    crop = cut_crop(movie, classification, 0, range(1))
    bundle = random_bundle()
    latents = encode_crop(bundle, crop)
    np.testing.assert_allclose(explored.exploration.start, latents, atol=1e-5)
    np.testing.assert_array_equal(explored.images.layer(ORIGINAL).data, crop[0])
    expected = decode_images(bundle, latents[None])[0, 0]
    np.testing.assert_allclose(explored.images.layer(RECONSTRUCTION).data, expected, atol=1e-5)
    np.testing.assert_allclose(explored.images.layer(CHANGED).data, expected, atol=1e-5)
    shown = {i: row.value.value() for i, row in explored.latents.rows.items()}
    assert shown == {i: pytest.approx(float(latents[i]), abs=0.006) for i in range(32)}


def test_readable_heads_latents_come_first_and_are_marked(explored):
    order = list(explored.latents.rows)
    marks = [explored.latents.rows[i].marks.text() for i in order]
    assert set(order[:2]) == {0, 1}
    assert marks[:2] == ["S F", "S F"]
    assert set(marks[2:]) == {"S"}


def test_dragging_changes_image_scores_and_label(explored, qtbot):
    row = explored.latents.rows[0]
    before = explored.images.layer(CHANGED).data.copy()
    texts = explored.latents.scores.texts()
    qtbot.mousePress(row.slider, Qt.MouseButton.LeftButton, pos=row.slider.rect().center())
    for x in range(5, row.slider.width() - 6, 12):
        qtbot.mouseMove(row.slider, row.slider.rect().topLeft() + type(row.slider.pos())(x, 10))
    qtbot.mouseRelease(row.slider, Qt.MouseButton.LeftButton)
    drawn(explored, qtbot)
    now = explored.exploration.decoded()
    assert row.value.value() == pytest.approx(float(explored.exploration.latents[0]), abs=0.006)
    assert explored.exploration.is_changed
    np.testing.assert_array_equal(explored.images.layer(CHANGED).data, now.images[0, 0])
    assert (explored.images.layer(CHANGED).data != before).any()
    after = explored.latents.scores.texts()
    assert all(after[head] != texts[head] for head in ("sparse", "symbolic", "dense", "cnn"))
    assert after["symbolic"][0] == f"{float(now.scores['symbolic'][0, 0]):+.2f}"
    state = "metaphase" if now.scores["symbolic"][0, 0] >= 0 else "interphase"
    assert after["symbolic"][1] == state


def test_of_many_moves_only_the_newest_is_decoded(explored, qtbot, monkeypatch):
    drawn(explored, qtbot)
    decoded = []
    real = type(explored.exploration).decoded
    monkeypatch.setattr(
        type(explored.exploration), "decoded", lambda self: decoded.append(self.latents[4]) or real(self)
    )
    for value in np.linspace(-2, 2, 30):
        explored.latents.rows[4].moved.emit(4, float(value))
    drawn(explored, qtbot)
    assert decoded == [2.0]


def test_a_drag_leaves_what_is_being_typed_at_another_latent(explored, qtbot):
    typed = explored.latents.rows[4].value.lineEdit()
    typed.setText("1.2")
    explored.latents.rows[0].moved.emit(0, 1.0)
    drawn(explored, qtbot)
    assert explored.latents.rows[0].value.value() == pytest.approx(1.0)
    assert typed.text() == "1.2"


def test_undo_redo_and_resets(explored, qtbot):
    page, exploration = explored.latents, explored.exploration
    for i in (3, 4):
        page.rows[i].value.setValue(1.5)
        page.rows[i].settled.emit()
    drawn(explored, qtbot)
    page.undo.click()
    drawn(explored, qtbot)
    assert page.rows[4].value.value() == pytest.approx(float(exploration.start[4]), abs=0.006)
    assert page.rows[3].value.value() == pytest.approx(1.5)
    page.redo.click()
    page.rows[3].reset.click()
    drawn(explored, qtbot)
    assert exploration.latents[3] == exploration.start[3]
    assert exploration.latents[4] == pytest.approx(1.5)
    page.reset_all.click()
    drawn(explored, qtbot)
    assert not exploration.is_changed
    assert not page.reset_all.isEnabled()


def test_the_filmstrip_goes_where_it_is_clicked(explored, qtbot):
    page = explored.latents
    page.choose(6)
    values = page._strip_values()
    page.strip.clicked.emit(7)
    assert explored.exploration.latents[6] == pytest.approx(values[7], abs=1e-5)
    page.head.setCurrentIndex(page.head.findData("symbolic"))
    page.choose(0)
    z = explored.exploration.latents
    expected = [f"{v - 2 * float(z[1]) ** 2:+.1f}" for v in page._strip_values()]
    assert page.strip.scores() == expected


def test_playing_runs_the_range_and_comes_back(explored, qtbot, monkeypatch):
    page, seen = explored.latents, []
    monkeypatch.setattr("napari_cellinterp.gui.latents_page.PLAY_MS", 1)
    page.choose(2)
    start = float(explored.exploration.latents[2])
    explored.exploration.changed.connect(lambda: seen.append(float(explored.exploration.latents[2])))
    page.play.click()
    qtbot.waitUntil(lambda: not page._playing.isActive(), timeout=TIMEOUT_MS)
    assert min(seen) <= -2.7
    assert max(seen) >= 2.7
    assert explored.exploration.latents[2] == pytest.approx(start)
    assert page.play.text() == "▶ Play"


def test_keys_choose_and_nudge(explored, viewer):
    for keys in ("Alt-Left", "Alt-Right", "Alt-Up", "Alt-Down"):
        assert any(str(bound) == keys.replace("-", "+") for bound in viewer.keymap)
    explored.latents.choose_next(1)
    first = explored.latents.current
    explored.latents.choose_next(1)
    assert explored.latents.current != first
    explored.latents.choose_next(-1)
    assert explored.latents.current == first
    before = float(explored.exploration.latents[first])
    explored.latents.nudge(1)
    assert explored.exploration.latents[first] == pytest.approx(before + 0.1, abs=1e-5)


def test_next_nucleus_stays_in_the_frame(explored, classification):
    rows = classification.frame_rows(0)
    explored.step_nucleus(-1)
    assert explored.session.row == rows.stop - 1
    explored.step_nucleus(1)
    assert explored.session.row == rows.start
    assert explored.exploration.row == rows.start


def test_a_track_is_followed(explored, qtbot, classification, random_bundle, movie):
    from napari_cellinterp.explain.traversal import encode_crop
    from napari_cellinterp.gui.crops import cut_crop

    rows = classification.rows
    daughter = int(rows.index[rows["parent_track_id"] > 0][0])
    explored.selection.go_to(daughter)
    expected = explored.session.track_rows(daughter)
    qtbot.waitUntil(
        lambda: (
            explored.track.track is not None
            and len(explored.track.track.frames) == len(expected)
            and f"daughter of track {rows['parent_track_id'][daughter]}" in explored.track.note.text()
        ),
        timeout=TIMEOUT_MS,
    )
    np.testing.assert_array_equal(explored.track.track.frames, rows["frame"].to_numpy()[expected])
    last = cut_crop(movie, classification, int(expected[-1]), range(1))
    np.testing.assert_allclose(explored.track.track.latents[-1], encode_crop(random_bundle(), last), atol=1e-4)
    explored.track.plot.frame_clicked.emit(4)
    assert explored.selection.layers.frame() == 4


def test_two_nuclei_are_compared(explored, qtbot):
    first = explored.exploration.start
    explored.compare.keep.click()
    explored.step_nucleus(1)
    second = explored.exploration.start
    biggest = int(np.argmax(np.abs(second - first)))
    assert f"(z{biggest})" in explored.compare.table.text()
    assert f"<b>{second[biggest] - first[biggest]:+.2f}</b>" in explored.compare.table.text()
    explored.compare.strip.clicked.emit(4)
    np.testing.assert_allclose(explored.exploration.latents, (first + second) / 2, atol=1e-5)


def test_a_latent_gets_a_name_of_ones_own(explored, qtbot, tmp_path, monkeypatch):
    monkeypatch.setattr(latent_names, "user_config_path", lambda _name: tmp_path)
    row = explored.latents.rows[0]
    row.name.setText("roundness")
    row.name.editingFinished.emit()
    assert latent_names.read_user_names(explored.exploration.bundle.hash) == {0: "roundness"}
    assert "roundness" in explored.track.legend.text()
    row.name.setText("")
    row.name.editingFinished.emit()
    assert row.name.text() not in ("", "roundness")


def test_layers_that_the_person_changes_are_no_trouble(explored, viewer, qtbot):
    explored.images.layer(RECONSTRUCTION).name = "mine"
    viewer.layers.remove(explored.images.layer(CHANGED))
    viewer.layers.reverse()
    explored.latents.rows[0].moved.emit(0, 1.0)
    drawn(explored, qtbot)
    explored.step_nucleus(1)
    assert explored.images.layer(CHANGED) is not None
    assert explored.images.layer(RECONSTRUCTION).name == "mine"
    for layer in list(viewer.layers):
        viewer.layers.remove(layer)
    explored.latents.rows[0].moved.emit(0, 0.5)
    drawn(explored, qtbot)
    explored.session.select(2)
    assert explored.exploration.row == 2


def test_another_classification_takes_over(explored, classify, qtbot, random_bundle, tmp_path, movie, simulated):
    from napari_cellinterp.models.bundle import save_bundle
    from napari_cellinterp.workflows import classify_movie

    path = save_bundle(random_bundle(classes=("round", "long", "odd")), tmp_path / "three")
    settings = ClassifyConfig(model=str(path), head="dense")
    result = classify_movie(movie, settings, labels=simulated.labels)
    old = explored.exploration
    session = classify(result, settings)
    qtbot.waitUntil(lambda: explored.exploration not in (None, old), timeout=TIMEOUT_MS)
    session.select(1)
    drawn(explored, qtbot)
    assert explored.exploration.bundle.info.classes == ("round", "long", "odd")
    assert {state for _, state in explored.latents.scores.texts().values()} <= {"round", "long", "odd"}
    assert "highest" in explored.latents.scores_box.title(), "no threshold decides between three"


def test_a_model_that_is_gone_is_said(widget, classify, classification, config, qtbot, notices):
    classify(classification, config.model_copy(update={"model": "no-such-model"}))
    qtbot.waitUntil(lambda: "no-such-model" in widget.pages.message.text(), timeout=TIMEOUT_MS)
    assert any("no-such-model" in text for text in notices())


def test_two_viewers_have_their_own(explored, make_napari_viewer, qtbot):
    other = make_napari_viewer()
    second = ExploreWidget(other)
    other.window.add_dock_widget(second, name="Explore")
    assert second.pages.message.text() == CLASSIFY_FIRST
    explored.step_nucleus(1)
    assert second.exploration is None


def test_closing_lets_go_of_the_viewer(viewer, classify, qtbot):
    callbacks, keys = list(viewer.mouse_drag_callbacks), dict(viewer.keymap)
    widget = ExploreWidget(viewer)
    dock = viewer.window.add_dock_widget(widget, name="Explore")
    session = classify()
    assert len(viewer.mouse_drag_callbacks) == len(callbacks) + 1
    viewer.window.remove_dock_widget(dock)
    widget.deleteLater()
    qtbot.waitUntil(lambda: list(viewer.mouse_drag_callbacks) == callbacks, timeout=TIMEOUT_MS)
    assert dict(viewer.keymap) == keys
    session.select(3)


def test_fits_the_screen(explored):
    assert explored.minimumSizeHint().width() <= explore.MIN_WIDTH_PX
    assert explored.minimumSizeHint().height() < 720
