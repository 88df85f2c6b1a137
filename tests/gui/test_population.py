"""The Population widget in a real viewer, driven as a person does."""

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QShortcut
from qtpy.QtWidgets import QApplication

from napari_cellinterp.config import ClassifyConfig
from napari_cellinterp.errors import QuestionError
from napari_cellinterp.events import Progressed
from napari_cellinterp.explain.embedding import Embedding, principal_components
from napari_cellinterp.gui import agreement_page, map_page
from napari_cellinterp.gui.agreement_page import TOO_FEW
from napari_cellinterp.gui.gallery import ALL, BY_CONFIDENCE, BY_NOVELTY, HIGHLIGHTED
from napari_cellinterp.gui.highlight_box import NONE_YET
from napari_cellinterp.gui.layers import DISAGREEMENT
from napari_cellinterp.gui.layers import HIGHLIGHTED as HIGHLIGHTED_LAYER
from napari_cellinterp.gui.map_page import AGREEMENT, COMPONENTS, LATENTS, SCORE, SCORES, UMAP
from napari_cellinterp.gui.population import CLASSIFY_FIRST, PopulationWidget
from napari_cellinterp.models.bundle import load_bundle, save_bundle
from napari_cellinterp.relabelling import relabel
from napari_cellinterp.results.outlines import Outlines, edges
from napari_cellinterp.workflows import classify_movie

pytestmark = pytest.mark.viewer

TIMEOUT_MS = 60_000


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def widget(viewer):
    widget = PopulationWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Population")
    return widget


@pytest.fixture
def asked(widget, classify, qtbot):
    classify()
    qtbot.waitUntil(lambda: bool(widget.opinions.by_head), timeout=TIMEOUT_MS)
    return widget


@pytest.fixture
def five(random_bundle, tmp_path):
    """Return the folder of a model of five classes."""
    classes = ("interphase", "prometaphase", "metaphase", "anaphase", "apoptosis")
    return save_bundle(random_bundle(classes=classes), tmp_path / "five")


def lasso(widget, corners):
    """Draw a line around points of the map, as a mouse does."""
    plot = widget.map.plot
    places = [plot._box.mapFromView(QPointF(*corner)) for corner in (*corners, corners[0])]
    for i in range(1, len(places)):
        plot._box.mouseDragEvent(drag(places, i))


def drag(places, i):
    return SimpleNamespace(
        button=lambda: Qt.MouseButton.LeftButton,
        accept=lambda: None,
        isStart=lambda: i == 1,
        isFinish=lambda: i == len(places) - 1,
        buttonDownPos=lambda: places[0],
        pos=lambda: places[i],
    )


def around(positions):
    """Return a box around points, a little larger."""
    (left, bottom), (right, top) = positions.min(axis=0) - 1e-4, positions.max(axis=0) + 1e-4
    return [(left, bottom), (right, bottom), (right, top), (left, top)]


def outlined(widget, role, frame):
    return np.asarray(widget.selection.layers.layer(role).data[frame])


def test_opens_without_torch():
    code = "import sys, napari_cellinterp.gui.population; print({'torch', 'umap'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"


def test_says_what_to_do_first(widget, asked, qtbot):
    assert widget.pages.message.text() != CLASSIFY_FIRST
    widget.session.clear()
    assert widget.pages.message.text() == CLASSIFY_FIRST
    assert widget.pages.classify.isVisibleTo(widget)


def test_every_page_fits_a_narrow_dock(asked):
    for page in (asked.densities, asked.map, asked.gallery, asked.agreement):
        assert page.minimumSizeHint().width() <= 400  # beside a scroll bar


def test_latents_by_state(asked, classification):
    page = asked.densities
    counts = classification.counts()
    assert all(f"{name}&nbsp;({n})" in page.legend.text() for name, n in counts.items())
    n_lines = len(page.plot.listDataItems())
    page.training.setChecked(False)
    assert n_lines - len(page.plot.listDataItems()) == len(counts)
    assert "(z" in page.plot.getAxis("bottom").labelText
    asked.selection.go_to(3)
    latent = page.latent.currentData()
    assert page.plot.cursor.value() == pytest.approx(float(classification.latents[3, latent]))
    assert "track" in page.note.text()


def test_a_click_on_the_densities_goes_to_the_nearest_nucleus(asked, classification):
    page = asked.densities
    page.latent.setCurrentIndex(2)
    values = classification.latents[:, page.latent.currentData()]
    page.plot.clicked.emit(float(values[5]) + 1e-5)
    assert asked.session.row == int(np.abs(values - values[5] - 1e-5).argmin())
    assert asked.selection.layers.frame() == asked.session.nucleus()["frame"]


def test_constant_latents_are_said_to_be(widget, classify, classification, qtbot):
    classify(replace(classification, latents=np.full_like(classification.latents, 0.5)))
    qtbot.waitUntil(lambda: bool(widget.opinions.by_head), timeout=TIMEOUT_MS)
    widget.densities.training.setChecked(False)
    assert "All nuclei have the same value, 0.50." in widget.densities.note.text()
    assert len(widget.map.plot._positions) == len(classification)
    lasso(widget, [(-1, -1), (1, -1), (1, 1), (-1, 1)])
    assert len(widget.session.highlighted_rows) == len(classification)


def test_the_map_is_of_principal_components_at_first(asked, classification):
    expected = principal_components(classification.latents[:, asked._questioned.order])
    assert asked.map.what.currentText() == COMPONENTS
    np.testing.assert_array_equal(asked.map.plot._positions, expected.positions)


def test_a_click_on_the_map_picks_the_nucleus(asked, classification, qtbot):
    plot = asked.map.plot
    asked.tabs.setCurrentIndex(1)
    row = int(plot._positions[:, 0].argmax())
    place = plot._box.mapViewToScene(QPointF(*plot._positions[row].tolist()))
    click = SimpleNamespace(button=lambda: Qt.MouseButton.LeftButton, double=lambda: False, scenePos=lambda: place)
    plot.scene().sigMouseClicked.emit(click)
    assert asked.session.row == row
    assert asked.selection.layers.frame() == classification.rows["frame"].iloc[row]
    assert f"track {classification.rows['track_id'].iloc[row]}" in asked.map.picked.facts.text()
    assert not asked.map.picked.crop.pixmap().isNull()
    np.testing.assert_allclose(plot._ring.getData(), plot._positions[row][:, None])


def test_a_nucleus_picked_in_the_viewer_is_ringed(asked):
    asked.session.select(4)
    np.testing.assert_allclose(asked.map.plot._ring.getData(), asked.map.plot._positions[4][:, None])
    asked.session.select(None)
    assert len(asked.map.plot._ring.getData()[0]) == 0


def test_a_lasso_highlights_in_the_viewer_in_every_frame(asked, classification, qtbot):
    asked.tabs.setCurrentIndex(1)
    chosen = np.argsort(asked.map.plot._positions[:, 0])[-15:]
    corners = around(asked.map.plot._positions[chosen])
    lasso(asked, corners)
    rows = asked.session.highlighted_rows
    assert set(chosen) <= set(rows)
    for t in range(classification.n_frames):
        here = rows[classification.rows["frame"].to_numpy()[rows] == t]
        expected = np.isin(classification.masks.frame(t), classification.rows["label"].to_numpy()[here])
        shown = edges(classification.masks.frame(t)) & expected
        np.testing.assert_array_equal(outlined(asked, HIGHLIGHTED_LAYER, t) > 0, shown)
    assert f"{len(rows):,} nuclei" in asked.map.highlight.counts.text()
    np.testing.assert_array_equal(asked.map.plot._focus, rows)
    lasso(asked, around(asked.map.plot._positions[:1]))
    assert asked.session.highlighted_rows.tolist() == [0]
    labels = classification.masks.frame(0)
    expected = edges(labels) & (labels == classification.rows["label"].iloc[0])
    np.testing.assert_array_equal(outlined(asked, HIGHLIGHTED_LAYER, 0) > 0, expected)


def test_highlighting_goes_with_esc_and_with_another_classification(asked, classify, viewer, qtbot):
    asked.tabs.setCurrentIndex(1)
    asked.session.highlight(np.arange(9))
    assert asked.selection.layers.layer(HIGHLIGHTED_LAYER) is not None
    escape = next(one for one in asked.findChildren(QShortcut) if one.key().toString() == "Esc")
    escape.activated.emit()
    assert asked.selection.layers.layer(HIGHLIGHTED_LAYER) is None
    assert asked.map.highlight.counts.text() == NONE_YET
    asked.session.highlight(np.arange(9))
    asked.map.highlight.clear.click()
    assert not len(asked.session.highlighted_rows)
    asked.session.highlight(np.arange(9))
    classify()
    assert HIGHLIGHTED_LAYER not in [layer.name for layer in viewer.layers]


def test_this_frame_only_follows_the_viewer(asked, classification):
    asked.map.frame_only.setChecked(True)
    for t in (3, 1):
        asked.selection.layers.go_to(t)
        rows = classification.frame_rows(t)
        np.testing.assert_array_equal(asked.map.plot._focus, np.arange(rows.start, rows.stop))
    asked.session.highlight(np.array([rows.start, rows.stop + 1]))
    assert asked.map.plot._focus.tolist() == [rows.start]
    asked.map.frame_only.setChecked(False)
    assert len(asked.map.plot._focus) == 2


def test_the_map_draws_all_points_in_their_colours(asked, classification):
    plot = asked.map.plot
    plot.draw()
    drawn = plot._all.image
    assert drawn.shape[2] == 4
    assert (drawn[..., 3] > 0).sum() > len(classification)
    seen = {tuple(colour) for colour in drawn[drawn[..., 3] > 0].tolist()}
    assert seen == {tuple(colour) for colour in plot._colours.tolist()}


def test_two_latents_and_two_scores(asked, classification):
    page = asked.map
    page.what.setCurrentText(LATENTS)
    page.y.setCurrentIndex(4)
    axes = [page.x.currentData(), page.y.currentData()]
    np.testing.assert_array_equal(page.plot._positions, classification.latents[:, axes])
    page.what.setCurrentText(SCORES)
    expected = [asked.opinions.by_head[head].score for head in ("sparse", "symbolic")]
    np.testing.assert_array_equal(page.plot._positions, np.transpose(expected))
    assert "sparse network" in page.plot.getAxis("bottom").labelText


def test_colours_follow_the_choice_and_other_states(asked, classification, model_path):
    before = asked.map.plot._colours.copy()
    asked.session.relabel(relabel(classification, load_bundle(model_path), "dense"))
    assert (asked.map.plot._colours != before).any()
    for what, said in ((SCORE, "-"), (AGREEMENT, "all&nbsp;agree")):
        asked.map.colour.setCurrentText(what)
        assert said in asked.map.legend.text.text()


def test_nuclei_without_a_score_are_not_on_the_map_of_scores(asked, qtbot):
    opinion = asked.opinions.by_head["symbolic"]
    score, state = opinion.score.copy(), opinion.state.copy()
    score[:4], state[:4] = np.nan, 0
    asked.opinions.add({"symbolic": replace(opinion, score=score, state=state)})
    asked.map.what.setCurrentText(SCORES)
    asked.map.plot.draw()
    asked.session.select(1)
    assert len(asked.map.plot._ring.getData()[0]) == 0
    lasso(asked, around(asked.map.plot._positions[4:]))
    assert asked.session.highlighted_rows.min() >= 4
    assert "4 are left out" in asked.agreement.note.text()


def learn(positions, steps):
    def job(latents):
        for i in range(steps):
            yield Progressed(i, steps)
        return Embedding(("UMAP 1", "UMAP 2"), positions)

    return job


def test_umap_comes_from_a_job_and_is_kept(asked, classification, qtbot, monkeypatch):
    positions = np.random.default_rng(1).normal(size=(len(classification), 2)).astype(np.float32)
    calls = []
    monkeypatch.setattr(map_page, "umap_job", lambda latents: calls.append(latents) or learn(positions, 3)(latents))
    asked.map.what.setCurrentText(UMAP)
    qtbot.waitUntil(lambda: not asked.map._jobs.is_running, timeout=TIMEOUT_MS)
    np.testing.assert_array_equal(asked.map.plot._positions, positions)
    assert not asked.map.progress.isVisibleTo(asked)
    asked.map.what.setCurrentText(COMPONENTS)
    asked.map.what.setCurrentText(UMAP)
    np.testing.assert_array_equal(asked.map.plot._positions, positions)
    assert len(calls) == 1
    assert calls[0].shape == (len(classification), len(asked._questioned.order))


def test_umap_can_be_cancelled(asked, classification, qtbot, monkeypatch):
    monkeypatch.setattr(map_page, "umap_job", learn(None, 10_000_000))
    before = asked.map.plot._positions
    asked.map.what.setCurrentText(UMAP)
    qtbot.waitUntil(lambda: asked.map.progress.bar.maximum() > 0, timeout=TIMEOUT_MS)
    asked.map.progress.cancel.click()
    assert asked.map.what.currentText() == COMPONENTS
    np.testing.assert_array_equal(asked.map.plot._positions, before)
    assert not asked.map._jobs.is_running


def test_umap_that_is_not_installed(asked, qtbot, monkeypatch, notices):
    def missing(latents):
        yield Progressed(0, 1)
        raise QuestionError("UMAP isn't installed.", 'pip install "napari-cellinterp[embed]"')

    monkeypatch.setattr(map_page, "umap_job", missing)
    asked.map.what.setCurrentText(UMAP)
    qtbot.waitUntil(lambda: asked.map.what.currentText() == COMPONENTS, timeout=TIMEOUT_MS)
    assert "napari-cellinterp[embed]" in notices()[-1]


def test_saving_the_highlighted(asked, classification, qtbot, tmp_path):
    box = asked.map.highlight
    assert not box.save_table.isEnabled()
    rows = np.array([3, 8, 20])
    asked.session.highlight(rows)
    box.write_table(tmp_path / "some.csv")
    qtbot.waitUntil(lambda: box.status.text() == "Saved some.csv.", timeout=TIMEOUT_MS)
    table = pd.read_csv(tmp_path / "some.csv")
    assert table.columns[:7].tolist() == ["track_id", "frame", "y", "x", "state", "score", "z0"]
    assert table["state"].tolist() == classification.rows["state"].iloc[rows].tolist()
    latents = table[[f"z{i}" for i in range(32)]]
    np.testing.assert_allclose(latents, classification.latents[rows], atol=1e-6)
    box.write_crops(tmp_path / "some.npz")
    qtbot.waitUntil(lambda: box.status.text() == "Saved some.npz.", timeout=TIMEOUT_MS)
    with np.load(tmp_path / "some.npz") as saved:
        assert saved["x"].shape == (3, 1, 64, 64)
        assert saved["track_id"].tolist() == classification.rows["track_id"].iloc[rows].tolist()


def test_saving_to_nowhere(asked, qtbot, tmp_path, notices):
    (tmp_path / "file").write_text("in the way")
    asked.session.highlight(np.array([1]))
    asked.map.highlight.write_table(tmp_path / "file" / "some.csv")
    qtbot.waitUntil(lambda: asked.map.highlight.status.text() == "Nothing was saved.", timeout=TIMEOUT_MS)
    assert "can't be written" in notices()[-1]


def test_the_gallery_orders_and_the_highlighted(asked, classification):
    gallery, table = asked.gallery, classification.rows
    gallery.what.setCurrentText(ALL)
    gallery.order.setCurrentText(BY_CONFIDENCE)
    assert (np.diff(table["probability"].to_numpy()[gallery.rows()]) >= 0).all()
    gallery.reverse.click()
    assert (np.diff(table["probability"].to_numpy()[gallery.rows()]) <= 0).all()
    gallery.reverse.click()
    gallery.order.setCurrentText(BY_NOVELTY)
    assert (np.diff(table["novelty"].to_numpy()[gallery.rows()]) <= 0).all()
    gallery.what.setCurrentText(HIGHLIGHTED)
    assert not len(gallery.rows())
    asked.tabs.setCurrentIndex(2)
    asked.session.highlight(np.array([2, 5]))
    gallery._fill()
    assert sorted(gallery.rows()) == [2, 5]
    assert gallery.about.text() == "2 crops, most novel first. Below each: frame and novelty."


def test_agreement_is_counted(asked):
    page, by_head = asked.agreement, asked.opinions.by_head
    same = np.mean(by_head["sparse"].state == by_head["symbolic"].state)
    assert page.matrix.item(0, 1).text() == f"{100 * same:.1f} %"
    found = asked.opinions.disagreement
    assert page.table.nuclei.rowCount() == (found.pattern > 0).sum()
    assert f"{(found.pattern > 0).sum():,} of {len(found.pattern):,} nuclei" in page.note.text()
    page.heads["dense"].click()
    assert page.matrix.rowCount() == 2
    page.heads["symbolic"].click()
    assert page.note.text() == TOO_FEW


def test_the_walk_through_disagreements(asked, viewer):
    rows = asked.opinions.disagreement.rows
    press = {str(key): act for key, act in viewer.keymap.items()}
    press["Alt+D"](viewer)
    assert asked.session.row == rows[0]
    press["Alt+D"](viewer)
    assert asked.session.row == rows[1]
    assert asked.selection.layers.frame() == asked.session.nucleus()["frame"]
    press["Shift+Alt+D" if "Shift+Alt+D" in press else "Alt+Shift+D"](viewer)
    asked.agreement.previous.click()
    assert asked.session.row == rows[-1]
    index = asked.agreement.table.nuclei.index(1, 0)
    asked.agreement.table.clicked.emit(index)
    assert asked.session.row == rows[1]
    assert asked.agreement.table.selectionModel().selectedRows()[0].row() == 1


def test_disagreements_are_outlined_by_who_stands_alone(asked, classification):
    page, found = asked.agreement, asked.opinions.disagreement
    page.outline.setChecked(True)
    for t in range(classification.n_frames):
        expected = Outlines(classification).paint(t, found.pattern)
        np.testing.assert_array_equal(outlined(asked, DISAGREEMENT, t), expected)
    page.heads["dense"].click()
    now = asked.opinions.disagreement.pattern
    assert now.max() == 1
    np.testing.assert_array_equal(outlined(asked, DISAGREEMENT, 2), Outlines(classification).paint(2, now))
    page.outline.setChecked(False)
    assert asked.selection.layers.layer(DISAGREEMENT) is None


def test_the_cnn_is_asked_on_request(asked, qtbot):
    asked.agreement.ask.click()
    qtbot.waitUntil(lambda: "cnn" in asked.opinions.by_head, timeout=TIMEOUT_MS)
    assert asked.agreement.matrix.rowCount() == 4
    assert not asked.agreement.ask.isVisibleTo(asked.agreement)
    assert asked.agreement.heads["cnn"].isVisibleTo(asked.agreement)


def test_the_cnn_can_be_cancelled(asked, qtbot, monkeypatch):
    def slow(*_):
        for i in range(10_000_000):
            yield Progressed(i, 10_000_000)

    monkeypatch.setattr(agreement_page, "cnn_job", slow)
    asked.agreement.ask.click()
    qtbot.waitUntil(lambda: asked.agreement.progress.bar.maximum() > 0, timeout=TIMEOUT_MS)
    asked.agreement.progress.cancel.click()
    qtbot.waitUntil(asked.agreement.ask.isEnabled, timeout=TIMEOUT_MS)
    assert "cnn" not in asked.opinions.by_head


def test_a_model_with_one_head(widget, classify, movie, simulated, random_bundle, tmp_path, qtbot):
    bundle = random_bundle()
    for head in ("sparse", "symbolic", "cnn"):
        del bundle.heads[head]
    info = bundle.info.model_copy(update={"heads": {"dense": bundle.info.heads["dense"]}})
    settings = ClassifyConfig(model=str(save_bundle(replace(bundle, info=info), tmp_path / "dense")), head="dense")
    classify(classify_movie(movie, settings, labels=simulated.labels, tracks=simulated.tracks), settings)
    qtbot.waitUntil(lambda: bool(widget.opinions.by_head), timeout=TIMEOUT_MS)
    assert widget.agreement.note.text() == TOO_FEW
    assert not widget.agreement.ask.isEnabled()
    assert not widget.agreement.table.isVisibleTo(widget.agreement)
    widget.agreement.step(1)
    assert widget.session.row is None


def test_five_classes(widget, classify, movie, simulated, five, qtbot):
    settings = ClassifyConfig(model=str(five), head="sparse")
    result = classify_movie(movie, settings, labels=simulated.labels, tracks=simulated.tracks)
    classify(result, settings)
    qtbot.waitUntil(lambda: bool(widget.opinions.by_head), timeout=TIMEOUT_MS)
    assert "apoptosis" in widget.densities.legend.text()
    widget.map.what.setCurrentText(SCORES)
    widget.map.colour.setCurrentText(SCORE)
    np.testing.assert_allclose(widget.map.plot._positions[:, 0], result.rows["score"], rtol=1e-4)
    model = widget.agreement.table.nuclei
    assert model.rowCount() > 0
    assert model.data(model.index(0, 2), Qt.ItemDataRole.ToolTipRole).split(":")[0] in result.classes


def test_labels_of_a_table(asked, classification, qtbot, tmp_path):
    box = asked.agreement.confusion
    table = classification.rows[["track_id", "frame", "state"]].iloc[:20].copy()
    table["state"] = "metaphase"
    table.to_csv(tmp_path / "labels.csv", index=False)
    box.read_table(tmp_path / "labels.csv")
    qtbot.waitUntil(lambda: box.found is not None, timeout=TIMEOUT_MS)
    right = (classification.rows["state"].iloc[:20] == "metaphase").sum()
    assert f"Accuracy {100 * right / 20:.1f} %" in box.about.text()
    assert "n = 20" in box.about.text()
    box.matrix.cellClicked.emit(1, 1)
    np.testing.assert_array_equal(
        asked.session.highlighted_rows, np.flatnonzero(classification.rows["state"].iloc[:20] == "metaphase")
    )


def test_labels_of_another_movie(asked, qtbot, tmp_path, notices):
    box = asked.agreement.confusion
    pd.DataFrame({"track_id": [900], "frame": [0], "state": ["metaphase"]}).to_csv(tmp_path / "far.csv", index=False)
    box.read_table(tmp_path / "far.csv")
    qtbot.waitUntil(lambda: "900 to 900" in box.about.text(), timeout=TIMEOUT_MS)
    assert "None of the 1 labels in far.csv" in notices()[-1]
    assert not box.matrix.isVisibleTo(box)


def test_labels_of_a_layer_and_other_states(asked, classification, viewer, qtbot, model_path):
    box, rows = asked.agreement.confusion, classification.rows
    assert not box.compare.isEnabled()
    viewer.add_points(
        rows[["frame", "y", "x"]].to_numpy(),
        features={"my state": rows["state"].to_numpy()},
        scale=(6, 0.37, 0.37),
        name="mine",
    )
    assert (box.layer.layer.name, box.column.currentText()) == ("mine", "my state")
    box.compare.click()
    qtbot.waitUntil(lambda: box.found is not None, timeout=TIMEOUT_MS)
    assert box.found.accuracy > 0.95
    before = box.about.text()
    asked.session.relabel(relabel(classification, load_bundle(model_path), "dense"))
    assert box.found.accuracy < 0.95
    assert box.about.text() != before
    assert "dense head" in box.about.text()


def test_another_classification_begins_anew(asked, classify, qtbot):
    asked.agreement.outline.setChecked(True)
    asked.map.what.setCurrentText(LATENTS)
    asked.session.select(2)
    session = classify()
    assert not asked.opinions.by_head
    qtbot.waitUntil(lambda: bool(asked.opinions.by_head), timeout=TIMEOUT_MS)
    assert asked.map.what.currentText() == COMPONENTS
    assert not asked.agreement.outline.isChecked()
    assert asked.selection.layers.layer(DISAGREEMENT) is None
    assert session.row is None


def test_closing_mid_job_leaves_nothing_behind(asked, viewer, qtbot, monkeypatch):
    ended = []

    def slow(latents):
        try:
            for i in range(10_000_000):
                yield Progressed(i, 10_000_000)
        finally:
            ended.append(True)

    monkeypatch.setattr(map_page, "umap_job", slow)
    session = asked.session
    session.highlight(np.arange(4))
    asked.agreement.outline.setChecked(True)
    asked.map.what.setCurrentText(UMAP)
    qtbot.waitUntil(lambda: asked.map.progress.bar.maximum() > 0, timeout=TIMEOUT_MS)
    viewer.window.remove_dock_widget(asked)
    asked.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    qtbot.waitUntil(lambda: bool(ended), timeout=TIMEOUT_MS)
    assert not len(session.highlighted_rows)
    assert not {HIGHLIGHTED_LAYER, DISAGREEMENT} & {layer.name for layer in viewer.layers}
    assert not [keys for keys in viewer.keymap if str(keys).endswith("D")]
    session.select(1)
