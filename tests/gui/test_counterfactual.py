"""The counterfactual widget, driven as a person does: in real viewers, and, where no window matters, on their model."""

import dataclasses
import shutil
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel

from napari_cellinterp.config import CounterfactualConfig
from napari_cellinterp.explain.counterfactual import counterfactual, find_flip
from napari_cellinterp.gui import counterfactual as gui
from napari_cellinterp.gui import counterfactual_questions as questions
from napari_cellinterp.gui.counterfactual import CLASSIFY_FIRST, CLICK_FIRST, NO_PLACE, CounterfactualWidget
from napari_cellinterp.gui.counterfactual_pictures import (
    AFTER,
    BEFORE,
    DIFFERENCE,
    RECONSTRUCTION,
    RECONSTRUCTION_AFTER,
)
from napari_cellinterp.gui.crops import cut_crop
from napari_cellinterp.gui.layers import is_ours
from napari_cellinterp.models.bundle import save_bundle
from napari_cellinterp.models.bundle_info import LatentInfo
from napari_cellinterp.models.expression import Expression
from napari_cellinterp.models.heads import SymbolicHead

pytestmark = pytest.mark.viewer

PLACE = {"scale": (6, 0.37, 0.37), "units": ("min", "um", "um"), "axis_labels": ("t", "y", "x")}
TIMEOUT_MS = 60_000
FARTHEST = {"image": 0.3, "latent": 3.0}


@pytest.fixture(scope="module")
def bundle(random_bundle):
    """A bundle whose latents have names, so that none has to be measured: the formula reads those of the nucleus."""
    bundle = random_bundle()
    kinds = ["size", "elongation", *(f"neighbourhood {i}" for i in range(2, 32))]
    latents = tuple(LatentInfo(index=i, name=name, mean_kl=1.0) for i, name in enumerate(kinds))
    return dataclasses.replace(bundle, info=bundle.info.model_copy(update={"latents": latents}))


@pytest.fixture
def settings(config, bundle, tmp_path):
    """Settings of a classification with the bundle, or with a changed one."""

    def settings(**changes):
        path = save_bundle(dataclasses.replace(bundle, **changes), tmp_path / f"model{len(list(tmp_path.iterdir()))}")
        return config.model_copy(update={"model": str(path)})

    return settings


in_a_window = pytest.mark.parametrize("viewer", ["window"], indirect=True)


@pytest.fixture
def viewer(request):
    """A viewer's model, which is much faster than a window; with `in_a_window` a real viewer."""
    return request.getfixturevalue("make_napari_viewer")() if hasattr(request, "param") else ViewerModel()


@pytest.fixture
def widget(viewer, qtbot):
    widget = CounterfactualWidget(viewer)
    if hasattr(viewer, "window"):
        viewer.window.add_dock_widget(widget, name="Counterfactuals")
    else:
        qtbot.addWidget(widget)
    return widget


@pytest.fixture
def classify(widget, viewer, simulated, movie, classification, settings):
    """Put a classification into the viewer, as the Classify widget does."""

    def classify(**changes):
        if "cells" not in viewer.layers:
            viewer.add_image(simulated.images, name="cells", **PLACE)
        widget.session.set_result(movie, settings(**changes), classification)
        widget.selection.layers.show_result(viewer.layers["cells"])

    return classify


@pytest.fixture
def settled(widget, qtbot):
    """Wait until nothing is looked for or asked any more."""

    def settled():
        timers = widget._search_soon, widget._ask_soon
        jobs = widget._searching, widget._asking, widget._saving
        qtbot.waitUntil(
            lambda: not any(timer.isActive() for timer in timers) and not any(job.is_running for job in jobs),
            timeout=TIMEOUT_MS,
        )

    return settled


@pytest.fixture
def row(classification):
    """The least sure metaphase of the formula: both attacks flip it."""
    rows = classification.rows
    return int(rows["score"].where(rows["state"] == "metaphase").idxmin())


@pytest.fixture
def picked(widget, classify, settled, row):
    classify()
    widget.selection.go_to(row)
    settled()
    return widget


@pytest.fixture
def crop(movie, classification, row):
    return cut_crop(movie, classification, row, range(1))


def pixels(widget, title):
    return widget.pictures.side.layer(title).data


def test_opens_without_torch():
    code = "import sys, napari_cellinterp.gui.counterfactual; print({'torch', 'matplotlib.figure'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"


def test_says_what_to_do_first(widget, viewer, classify, settled, row):
    assert widget.pages.message.text() == CLASSIFY_FIRST
    assert widget.pages.classify.isVisibleTo(widget)
    classify()
    assert widget.pages.message.text() == CLICK_FIRST
    assert not widget.pages.classify.isVisibleTo(widget)
    widget.selection.go_to(row)
    settled()
    assert widget.page.isVisibleTo(widget)
    widget.session.select(None)
    assert widget.pages.message.text() == CLICK_FIRST
    assert [layer for layer in viewer.layers if layer.name.startswith("counterfactual")] == []
    widget.session.clear()
    assert widget.pages.message.text() == CLASSIFY_FIRST


@in_a_window
def test_smallest_flips_and_going_there(picked, bundle, crop, classification, row, settled):
    texts = picked.page.table.texts()
    assert list(texts) == ["sparse", "symbolic", "dense", "cnn"]
    assert texts["symbolic"][0] == classification.rows["state"][row]
    for head, (_, *cells) in texts.items():
        for space, text in zip(questions.SPACES, cells, strict=True):
            if (head, space) == ("cnn", "latent"):
                assert text == "n/a: reads pixels"
                continue
            flip = find_flip(bundle, head, crop, space, FARTHEST[space])
            expected = f"no flip up to {FARTHEST[space]:g}" if flip.epsilon is None else f"{flip.epsilon:.3g}"
            assert text == expected
    assert any("no flip" not in cell for _, *cells in texts.values() for cell in cells)
    page = picked.page
    for space in questions.SPACES:
        picked.choose("symbolic", space)
        page.epsilon.button.click()
        settled()
        flip = find_flip(bundle, "symbolic", crop, space, FARTHEST[space])
        assert flip.epsilon < picked.inquiry.epsilons[space] < 1.02 * flip.epsilon
        assert page.epsilon.number.value() == pytest.approx(picked.inquiry.epsilons[space], abs=1e-3)
        assert page.plots[space].cursor.value() == pytest.approx(picked.inquiry.epsilons[space])
        found = counterfactual(bundle, "symbolic", crop, picked.inquiry.epsilons[space], space)
        assert "would call it interphase" in page.sentence.text()
        assert f"{found.scores_after[0]:+.2f}" in page.sentence.text()
        clipped = f"{found.clipped_share:.0%} of the pixels stop at 0 or 1"
        assert (clipped in page.sentence.text()) == (space == "image" and found.clipped_share > 0)
        np.testing.assert_allclose(pixels(picked, AFTER[space]), found.after[0], atol=1e-5)
        np.testing.assert_allclose(pixels(picked, DIFFERENCE[space]), found.difference[0], atol=1e-5)
    np.testing.assert_array_equal(pixels(picked, BEFORE), crop[0])
    np.testing.assert_allclose(pixels(picked, RECONSTRUCTION), found.reconstruction_before[0], atol=1e-5)
    grey = [picked.pictures.side.layer(title) for title in (BEFORE, RECONSTRUCTION, *AFTER.values())]
    assert {tuple(layer.contrast_limits) for layer in grey} == {(0, 1)}
    low, high = picked.pictures.side.layer(DIFFERENCE["image"]).contrast_limits
    assert -low == high >= np.abs(pixels(picked, DIFFERENCE["image"])).max()
    assert f"±{high:g} (image)" in page.legend.text()


def test_the_newest_epsilon_wins_and_a_cell_chooses(picked, settled, bundle, crop, monkeypatch):
    asked = []
    answer = questions.answer_job
    monkeypatch.setattr(gui, "answer_job", lambda open_: asked.append(open_) or answer(open_))
    picked.choose("dense", "image")
    settled()
    asked.clear()
    for step in range(0, 2001, 10):
        picked.page.epsilon.slider.setValue(step)
    settled()
    assert len(asked) <= 2
    found = counterfactual(bundle, "dense", crop, 0.3, "image")
    np.testing.assert_allclose(pixels(picked, AFTER["image"]), found.after[0], atol=1e-5)
    picked.page.plots["latent"].clicked.emit(99.0)
    settled()
    assert picked.inquiry.space == "latent"
    assert picked.inquiry.epsilons == {"image": 0.3, "latent": 3.0}
    picked.page.epsilon.number.setValue(0.5)
    settled()
    found = counterfactual(bundle, "dense", crop, 0.5, "latent")
    np.testing.assert_allclose(pixels(picked, AFTER["latent"]), found.after[0], atol=1e-5)
    table = picked.page.table
    table.setCurrentCell(2, 3)
    assert (picked.inquiry.head, picked.inquiry.space) == ("dense", "latent")
    table.cellClicked.emit(0, 0)
    assert (picked.inquiry.head, picked.inquiry.space) == ("sparse", "latent")
    settled()
    assert picked.pictures.side.layer(AFTER["latent"]) is not None
    table.cellClicked.emit(3, 1)
    settled()
    assert (picked.inquiry.head, picked.inquiry.space) == ("cnn", "image")
    assert (table.currentRow(), table.currentColumn()) == (3, 2)
    assert picked.page._effect.title() == "Image attack on the CNN"
    for title in (AFTER["latent"], DIFFERENCE["latent"]):
        assert picked.pictures.side.layer(title) is None
    assert picked.pictures.side.layer(RECONSTRUCTION_AFTER) is not None
    assert not picked.page.plots["latent"].isEnabled()


def test_latents_held_fixed_and_more_steps(picked, settled, bundle, crop):
    form, table = picked.page.form, picked.page.table
    picked.choose("symbolic", "latent")
    form.hold.setCurrentIndex(form.hold.findData("central"))
    settled()
    assert table.texts()["symbolic"][2] == "no flip up to 3"
    assert not picked.page.epsilon.button.isEnabled()
    assert "2 of 32 latents" in picked.page.held.text()
    assert "doesn't change its mind up to 3 SD" in picked.page.sentence.text()
    form.hold.setCurrentIndex(form.hold.findData("neighbourhood"))
    form.steps.setValue(3)
    form.farthest["latent"].setValue(5)
    settled()
    fixed = tuple(range(2, 32))
    flip = find_flip(bundle, "dense", crop, "latent", 5.0, fixed, n_steps=3)
    assert table.texts()["dense"][2] == ("no flip up to 5" if flip.epsilon is None else f"{flip.epsilon:.3g}")
    picked.set_epsilon(5.0, "latent")
    settled()
    found = counterfactual(bundle, "symbolic", crop, 5.0, "latent", fixed, n_steps=3)
    np.testing.assert_allclose(pixels(picked, AFTER["latent"]), found.after[0], atol=1e-5)
    form.farthest["latent"].setValue(2)
    settled()
    assert picked.inquiry.epsilons["latent"] == 2


def test_exports(picked, settled, viewer, tmp_path, bundle, crop, classification, row, notices):
    picked.choose("symbolic", "image")
    picked.go_to_flip()
    settled()
    nucleus, epsilon = classification.rows.iloc[row], picked.inquiry.epsilons["image"]
    n_before = len(viewer.layers)
    picked.page.keep.click()
    facts = f"track {nucleus['track_id']}, frame {nucleus['frame']}, symbolic, ε {epsilon:.3g}"
    kept = viewer.layers[f"{AFTER['image']}: {facts}"]
    assert len(viewer.layers) == n_before + 7
    assert kept.extent.world[0, 0] > picked.pictures.side.layer(RECONSTRUCTION).extent.world[1, 0]
    assert is_ours(kept)
    was = kept.data.copy()
    picked.set_epsilon(0.2, "image")
    settled()
    np.testing.assert_array_equal(kept.data, was)
    picked.save_curves(tmp_path / "curves.csv")
    settled()
    table = pd.read_csv(tmp_path / "curves.csv")
    assert set(zip(table["head"], table["space"], strict=True)) == {
        (head, space) for head in bundle.heads for space in questions.spaces_of(head)
    }
    here = table[(table["head"] == "symbolic") & (table["space"] == "image")]
    flip = find_flip(bundle, "symbolic", crop, "image", 0.3)
    np.testing.assert_allclose(here["epsilon"], [0, *flip.epsilons], atol=1e-5)
    np.testing.assert_allclose(here["score"], [flip.score_at_zero[0], *flip.scores[:, 0]], atol=1e-4)
    assert here["flip_epsilon"].iloc[0] == pytest.approx(flip.epsilon, rel=1e-3)
    assert here["state"].iloc[0] == "metaphase"
    picked.save_figure(tmp_path / "figure.png")
    settled()
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert "figure.png" in picked.page.status.text()
    (tmp_path / "file").touch()
    picked.save_curves(tmp_path / "file" / "curves.csv")
    settled()
    assert "can't be written" in notices()[-1]
    assert picked.page.save_csv.isEnabled()


def test_layers_renamed_moved_deleted(picked, settled, viewer, bundle, crop):
    side = picked.pictures.side
    side.layer(AFTER["image"]).name = "mine"
    viewer.layers.remove(side.layer(BEFORE))
    viewer.layers.remove(side.layer(""))
    viewer.layers.move(len(viewer.layers) - 1, 0)
    picked.set_epsilon(0.1, "image")
    settled()
    found = counterfactual(bundle, "symbolic", crop, 0.1, "image")
    np.testing.assert_allclose(viewer.layers["mine"].data, found.after[0], atol=1e-5)
    np.testing.assert_array_equal(pixels(picked, BEFORE), crop[0])
    viewer.layers.clear()
    picked.set_epsilon(0.2, "image")
    settled()
    assert picked.page.legend.text() == NO_PLACE
    assert "At ε = 0.2" in picked.page.sentence.text()
    picked.keep_layers()
    assert len(viewer.layers) == 0


def test_follows_selection_and_another_model(picked, classify, settled, bundle, classification, viewer):
    rows = classification.rows
    edge = int(rows[["y", "x"]].min(axis=1).idxmin())
    other = int(rows.index[rows["frame"] == 2][0])
    picked.selection.go_to(other)
    picked.selection.go_to(edge)
    settled()
    assert picked.page.about.text() == f"Track {rows['track_id'][edge]}, frame {rows['frame'][edge]}"
    assert picked.inquiry.subject.row == edge
    picked.choose("dense", "latent")
    heads = {name: bundle.heads[name] for name in ("sparse", "symbolic")}
    info = bundle.info.model_copy(update={"heads": {name: bundle.info.heads[name] for name in heads}})
    classify(heads=heads, info=info)
    assert picked.pages.message.text() == CLICK_FIRST
    picked.selection.go_to(other)
    settled()
    assert list(picked.page.table.texts()) == ["sparse", "symbolic"]
    assert picked.inquiry.head == "symbolic"
    assert picked.pictures.side.layer(AFTER["latent"]) is not None


def test_undefined_scores(widget, classify, settled, bundle, row, notices):
    text = "log(0 - 1 - z0**2)"
    infos = bundle.info.heads | {"symbolic": bundle.info.heads["symbolic"].model_copy(update={"expressions": (text,)})}
    classify(
        heads=bundle.heads | {"symbolic": SymbolicHead([Expression.parse(text)])},
        info=bundle.info.model_copy(update={"heads": infos}),
    )
    widget.selection.go_to(row)
    settled()
    assert widget.page.table.texts()["symbolic"] == ("undefined", "no answer", "no answer")
    assert widget.page.sentence.text().startswith("⚠ The symbolic head's score of this nucleus is undefined")
    assert not widget.page.save_png.isEnabled()
    assert widget.page.save_csv.isEnabled()
    assert widget.pictures.side.layer(BEFORE) is None
    widget.choose("sparse", "image")
    settled()
    assert "Unchanged, the sparse head calls it" in widget.page.sentence.text()
    assert widget.pictures.side.layer(BEFORE) is not None
    assert notices() == []


def test_a_model_that_is_gone(widget, classify, settled, row, notices):
    classify()
    shutil.rmtree(widget.session.config.model)
    widget.selection.go_to(row)
    settled()
    assert widget.pages.message.text().startswith("⚠")
    assert len(notices()) == 1
    classify()
    widget.selection.go_to(row)
    settled()
    assert widget.page.isVisibleTo(widget)


@in_a_window
def test_two_viewers_and_closing_while_it_works(picked, make_napari_viewer, viewer, settled, monkeypatch, qtbot):
    second = make_napari_viewer()
    other = CounterfactualWidget(second)
    second.window.add_dock_widget(other)
    opened = []
    monkeypatch.setattr(second.window, "add_plugin_dock_widget", lambda *names: opened.append(names))
    other.pages.classify.click()
    assert opened == [("napari-cellinterp", "Classify nuclei")]
    second.window.remove_dock_widget(other)
    other.deleteLater()
    qtbot.wait(50)
    go_on, search = threading.Event(), questions.search_job

    def slow(*args):
        go_on.wait(60)
        yield from search(*args)

    monkeypatch.setattr(gui, "search_job", slow)
    picked.search()
    viewer.close()
    go_on.set()
    qtbot.wait(100)


@in_a_window
def test_fits_the_dock_and_lets_go_of_the_viewer(picked, viewer, qtbot):
    assert picked.minimumSizeHint().width() <= 380
    assert picked.page.minimumSizeHint().width() <= 366
    colour = picked.page.plots["image"].getAxis("left").textPen().color().name()
    viewer.theme = "light"
    assert picked.page.plots["image"].getAxis("left").textPen().color().name() != colour
    kept = [layer.name for layer in viewer.layers if not layer.name.startswith("counterfactual")]
    n_callbacks = len(viewer.mouse_drag_callbacks)
    viewer.window.remove_dock_widget(picked)
    picked.deleteLater()
    qtbot.wait(50)
    assert [layer.name for layer in viewer.layers] == kept
    viewer.dims.set_point(0, 6)
    assert len(viewer.mouse_drag_callbacks) == n_callbacks - 1


def test_several_classes(random_bundle, crop, qtbot):
    """One line a class, the largest wins."""
    from napari_cellinterp.events import finish
    from napari_cellinterp.gui.counterfactual_inquiry import Inquiry
    from napari_cellinterp.gui.counterfactual_page import CounterfactualPage
    from napari_cellinterp.gui.counterfactual_questions import FlipFound, LazyModel, answer_job, search_job
    from napari_cellinterp.results.counterfactual_export import counterfactual_figure, curve_table

    classes = ("interphase", "metaphase", "anaphase")
    model, inquiry, events = LazyModel(""), Inquiry(), []
    model.bundle = random_bundle(classes=classes)
    finish(search_job(model, 0, lambda: crop, "nothing", CounterfactualConfig(), "dense"), events.append)
    inquiry.take(events[0])
    inquiry.choose("dense", "latent")
    page = CounterfactualPage(inquiry)
    qtbot.addWidget(page)
    page.show_subject(1, 0)
    for found in (event for event in events if isinstance(event, FlipFound)):
        inquiry.keep_flip(found)
        page.show_flip(found)
    flip = inquiry.flip("latent")
    inquiry.epsilons["latent"] = flip.epsilon * 1.01
    finish(answer_job(inquiry.open_questions()), inquiry.keep_answer)
    page.show_sentence()
    before, after = (
        classes[int(scores.argmax())] for scores in (flip.score_at_zero, inquiry.found("latent").scores_after)
    )
    assert before != after
    assert f"would call it {after}" in page.sentence.text()
    assert f"not {before}" in page.sentence.text()
    assert page.table.texts()["dense"][0] == before
    table = curve_table(inquiry.curves(), classes, 1, 0)
    assert set(table["state"]) <= set(classes)
    assert {f"score_{name}" for name in classes} <= set(table)
    figure = counterfactual_figure(inquiry.attacks(), classes, "three")
    assert len(figure.subfigs) == 2
