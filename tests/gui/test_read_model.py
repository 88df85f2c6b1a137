"""The Read the model widget in a real viewer, driven as a person does."""

import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from napari.utils.theme import get_theme
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QStyle

from napari_cellinterp.config import ClassifyConfig
from napari_cellinterp.gui import boundary_box, network_page, nucleus_terms, read_model, response_page
from napari_cellinterp.gui.read_model import ReadModelWidget
from napari_cellinterp.gui.session import session_of
from napari_cellinterp.models.bundle import load_bundle, save_bundle
from napari_cellinterp.models.bundle_info import Formula, Run
from napari_cellinterp.models.expression import Expression
from napari_cellinterp.models.heads import SymbolicHead
from napari_cellinterp.workflows import classify_movie

pytestmark = pytest.mark.viewer

TIMEOUT_MS = 60_000

NETWORK, RESPONSE, FORMULA, MODELS = range(4)

WEIGHTS = {
    0: {(0, 0): 2.0, (0, 1): -1.0, (1, 2): 0.5},
    1: {(3, 0): 1.5, (4, 1): -0.5},
    2: {(5, 3): 1.0, (5, 4): -3.0},
    3: {(0, 5): -0.25},
}
"""Of a sparse head in which z0 and z1 flow through h1.0, and z2 through h1.1."""

OWN = "z0 - 2*z1**2"
FRONT = [("z0", 1, 0.7), ("z1", 1, 0.6), ("z0 - 0.5", 3, 0.8), ("z0/z2 + z1", 5, 0.85)]


def thin(bundle, weights):
    """Leave some weights of a sparse head only."""
    for number, layer in enumerate(bundle.head("sparse").linear_layers()):
        layer.mask.zero_()
        for (target, source), weight in weights.get(number, {}).items():
            layer.mask[target, source] = 1
            layer.weight[target, source] = weight
    return bundle


def with_front(bundle, front=FRONT):
    formulas = tuple(
        Formula(expression=text, complexity=size, size=size, loss=0.1, accuracy=accuracy, target="hinge")
        for text, size, accuracy in front
    )
    runs = {
        "sparse": (Run(seed=0, accuracy=0.9, expression_size=81, latents=(0, 1, 2)),),
        "dense": (Run(seed=0, accuracy=0.92, expression_size=8641, latents=tuple(range(32))),),
    }
    heads = {name: head.model_copy(update={"runs": runs.get(name, ())}) for name, head in bundle.info.heads.items()}
    heads["symbolic"] = heads["symbolic"].model_copy(update={"front": formulas})
    return replace(bundle, info=bundle.info.model_copy(update={"heads": heads}))


def without(bundle, *names):
    """Take heads out of a bundle."""
    heads = {name: head for name, head in bundle.heads.items() if name not in names}
    infos = {name: head for name, head in bundle.info.heads.items() if name not in names}
    return replace(bundle, heads=heads, info=bundle.info.model_copy(update={"heads": infos}))


@pytest.fixture(scope="module")
def path(random_bundle, tmp_path_factory):
    bundle = with_front(thin(random_bundle(), WEIGHTS))
    return save_bundle(bundle, tmp_path_factory.mktemp("models") / "readable")


@pytest.fixture(scope="module")
def config(path):
    return ClassifyConfig(model=str(path), head="sparse")


@pytest.fixture(scope="module")
def classification(movie, simulated, config):
    return classify_movie(movie, config, labels=simulated.labels, tracks=simulated.tracks)


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def open_widget(viewer, qtbot):
    """Return a function that opens the widget, and reads a bundle where one is given."""

    def open_widget(path=None):
        widget = ReadModelWidget(viewer)
        viewer.window.add_dock_widget(widget, name="Read the model")
        loaded(widget, qtbot)
        if path is not None:
            widget.model.add_folder(path)
            loaded(widget, qtbot)
        return widget

    return open_widget


@pytest.fixture
def widget(open_widget, path):
    return open_widget(path)


@pytest.fixture
def labelled(widget, classify, qtbot):
    """The widget with a classified movie, at its formula."""
    classify()
    loaded(widget, qtbot)
    go_to(widget, FORMULA)
    return widget


def loaded(widget, qtbot):
    qtbot.waitUntil(lambda: widget.subject is not None, timeout=TIMEOUT_MS)


def go_to(widget, page):
    widget.tabs.setCurrentIndex(page)


def settled(widget, qtbot):
    timers = (widget._soon, widget.formula._draw_soon, widget.formula._settle)
    qtbot.waitUntil(lambda: not any(timer.isActive() for timer in timers), timeout=TIMEOUT_MS)


def click(view, x, y, qtbot):
    """Click a figure at a position of its axes."""
    qtbot.mouseClick(view.sheet, Qt.MouseButton.LeftButton, pos=at(view, x, y))


def at(view, x, y):
    view.sheet.draw()
    across, up = view.figure.axes[0].transData.transform((x, y))
    return QPoint(round(across), round(view.figure.bbox.height - up))


def move_to(sheet, position):
    """Move the mouse over a figure that may be hidden, as it is in a test."""
    no = Qt.MouseButton.NoButton, Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier
    event = QMouseEvent(QEvent.Type.MouseMove, QPointF(position), QPointF(position), *no)
    QApplication.sendEvent(sheet, event)


def place(layer, number):
    from napari_cellinterp.explain.topology import Place

    return Place(layer, number)


def click_neuron(widget, neuron, qtbot):
    click(widget.network.view, *widget.network._positions[neuron], qtbot)


def written(label):
    return label.text().replace("<b>", "").replace("</b>", "")


def texts(view):
    return [text.get_text() for text in view.figure.texts]


def test_opens_without_torch():
    code = "import sys, napari_cellinterp.gui.read_model; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_the_shipped_model_is_read_without_a_movie(open_widget):
    widget = open_widget()
    assert widget.subject.bundle.info.name == "chromatin-64"
    assert widget.model.about.text().startswith("Classes: interphase, metaphase. Heads: sparse network, symbolic")
    assert widget.network.view.figure is not None
    assert not widget.formula.live.isEnabled()


# --- network


def test_clicked_latents_are_followed_and_let_go(widget, qtbot):
    page = widget.network
    click_neuron(widget, place(0, 2), qtbot)
    assert written(page.words) == "4 of 8 weights are fed by z2 diagonal elongation."
    click_neuron(widget, place(0, 0), qtbot)
    assert written(page.words).startswith("7 of 8 weights are fed by z2 diagonal elongation, z0 size")
    for number in (2, 0):
        click_neuron(widget, place(0, number), qtbot)
    assert written(page.words) == network_page.HINT


def test_a_clicked_neuron_is_cut_out_and_back(widget, qtbot):
    page = widget.network
    click_neuron(widget, place(0, 2), qtbot)
    click_neuron(widget, place(0, 0), qtbot)
    click_neuron(widget, place(2, 3), qtbot)
    assert {edge.target for edge in page.part.edges} == {place(1, 0), place(2, 3)}
    assert written(page.words) == "2 of 3 weights are fed by z0 size."
    assert page.where.text() == "Leads to h2.3"
    click_neuron(widget, place(1, 0), qtbot)
    assert page.where.text() == "Leads to h1.0 ◂ h2.3"
    page.back.click()
    assert page.where.text() == "Leads to h2.3"
    page.whole.click()
    assert len(page.part.edges) == 8
    assert not page.whole.isEnabled()


def test_a_click_beside_all_neurons_does_nothing(widget, qtbot):
    figure = widget.network.view.figure
    click(widget.network.view, 0.01, -3.5, qtbot)
    assert widget.network.view.figure is figure


def test_the_mouse_over_a_neuron_tells_of_it(widget, qtbot, monkeypatch):
    said = []
    monkeypatch.setattr(network_page.QToolTip, "showText", lambda _pos, text, _widget: said.append(text))
    positions = widget.network._positions
    view = widget.network.view
    for neuron in (place(3, 5), place(3, 5), place(2, 3)):
        move_to(view.sheet, at(view, *positions[neuron]))
    assert [text.splitlines()[0] for text in said] == ["h3.5", "h2.3"]
    assert "from h2.4: -3" in said[0]
    assert "to score (metaphase): -0.25" in said[0]


def test_the_network_is_exported(widget, tmp_path, notices):
    widget.network.choose(place(2, 3))
    for ending, start in ((".svg", b"<?xml"), (".png", b"\x89PNG"), (".pdf", b"%PDF")):
        widget.network.export.save(tmp_path / f"net{ending}")
        assert (tmp_path / f"net{ending}").read_bytes().startswith(start)
    widget.network.export.save(tmp_path / "net.graphml")
    graph = ElementTree.parse(tmp_path / "net.graphml").getroot()
    assert len(graph.findall(".//{*}edge")) == 3
    (tmp_path / "file").touch()
    widget.network.export.save(tmp_path / "file" / "net.svg")
    assert "can't be written" in notices()[-1]


@pytest.mark.parametrize(
    ("change", "sentence", "neuron"),
    [
        (lambda bundle: without(bundle, "sparse"), network_page.NO_HEAD, response_page.NO_NEURON),
        (lambda bundle: thin(bundle, {}), network_page.NO_WEIGHT, response_page.NO_NEURON),
        (lambda bundle: thin(bundle, {3: {(0, 5): 1.0}}), network_page.HINT, response_page.NO_NEURON),
    ],
)
def test_networks_that_can_not_be_read_are_said(open_widget, random_bundle, tmp_path, qtbot, change, sentence, neuron):
    widget = open_widget(save_bundle(change(random_bundle()), tmp_path / "odd"))
    assert widget.network.words.text() == sentence
    go_to(widget, RESPONSE)
    assert widget.response.response.status.text() == neuron
    go_to(widget, MODELS)
    assert widget.models.view.figure is not None


def test_a_neuron_that_nothing_flows_into_is_not_cut_out(open_widget, random_bundle, tmp_path):
    widget = open_widget(save_bundle(thin(random_bundle(), {3: {(0, 5): 1.0}}), tmp_path / "odd"))
    widget.network.choose(place(3, 5))
    assert widget.network.words.text() == "Nothing flows into h3.5: it has one value for all nuclei."
    assert len(widget.network.part.edges) == 1


def test_a_dense_network_of_many_classes_is_drawn(open_widget, random_bundle, tmp_path):
    widget = open_widget(save_bundle(random_bundle(classes=("a", "b", "c", "d", "e")), tmp_path / "five"))
    assert len(widget.network.part.edges) == 1104
    widget.network.choose(place(4, 3))
    assert widget.network.where.text() == "Leads to score (d)"


# --- response


def test_the_response_of_the_clicked_neuron_is_mapped(widget, qtbot):
    from napari_cellinterp.explain.response import response_map

    widget.network.choose(place(1, 0))
    go_to(widget, RESPONSE)
    box = widget.response.response
    qtbot.waitUntil(lambda: box.view.figure is not None, timeout=TIMEOUT_MS)
    assert box.neuron.currentText() == "h1.0"
    assert box.view.figure.axes[0].get_title() == "Response of h1.0"
    expected = response_map(widget.subject.bundle, "sparse", place(1, 0))
    assert {widget.subject.name(one) for one in expected.inputs} == {"z0 size", "z1 elongation"}
    box.neuron.setCurrentIndex(box.neuron.findText("h1.1"))
    qtbot.waitUntil(lambda: "h1.1" in box.view.figure.axes[0].get_title(), timeout=TIMEOUT_MS)


def mapped(widget, qtbot):
    box = widget.response.boundary
    qtbot.waitUntil(lambda: not box.jobs.is_running and box.view.figure is not None, timeout=TIMEOUT_MS)
    return box


def test_the_boundary_of_any_head_is_mapped(widget, qtbot):
    go_to(widget, RESPONSE)
    box = mapped(widget, qtbot)
    for head in ("symbolic", "cnn", "dense"):
        box.head.setCurrentIndex(box.head.findData(head))
        mapped(widget, qtbot)
        assert box._found.name == head
    assert (box.x.currentData(), box.y.currentData()) == box._found.latents
    box.x.setCurrentIndex(7)
    box.y.setCurrentIndex(9)
    mapped(widget, qtbot)
    assert box._found.latents == (7, 9)


def test_two_equal_latents_are_refused_and_the_map_stays(widget, qtbot, notices):
    go_to(widget, RESPONSE)
    box = mapped(widget, qtbot)
    figure = box.view.figure
    box.x.setCurrentIndex(box.y.currentIndex())
    qtbot.waitUntil(lambda: "not in" in box.status.text(), timeout=TIMEOUT_MS)
    assert "A boundary is drawn in two latents" in notices()[-1]
    assert box.view.figure is figure


def test_a_head_that_reads_nothing_has_no_boundary(open_widget, random_bundle, tmp_path, qtbot):
    widget = open_widget(save_bundle(thin(random_bundle(), {}), tmp_path / "none"))
    go_to(widget, RESPONSE)
    box = widget.response.boundary
    qtbot.waitUntil(lambda: box.status.text() == boundary_box.CONSTANT, timeout=TIMEOUT_MS)
    assert box.view.figure is None
    assert not box.x.isEnabled()


def test_the_selected_nucleus_is_marked_and_held(widget, classify, qtbot, classification):
    session = classify()
    loaded(widget, qtbot)
    go_to(widget, RESPONSE)
    box = mapped(widget, qtbot)
    assert not box.hold.isEnabled()
    session.select(4)
    settled(widget, qtbot)
    stars = [line for line in box.view.figure.axes[0].lines if line.get_marker() == "*"]
    np.testing.assert_allclose(stars[0].get_xydata()[0], classification.latents[4][list(box._found.latents)], atol=1e-5)
    box.hold.setChecked(True)
    mapped(widget, qtbot)
    assert box._found.fixed == {i: pytest.approx(float(classification.latents[4, i])) for i in box._found.fixed}


def test_the_formula_that_is_shown_has_a_boundary(widget, qtbot):
    go_to(widget, FORMULA)
    widget.formula.front.slider.setValue(1)
    go_to(widget, RESPONSE)
    box = mapped(widget, qtbot)
    box.head.setCurrentIndex(box.head.findData(boundary_box.SHOWN))
    mapped(widget, qtbot)
    assert box._found.name == "z0 - 0.5"
    widget.formula.front.slider.setValue(0)
    box.refresh()
    qtbot.waitUntil(lambda: box._found is not None and box._found.name == "z0", timeout=TIMEOUT_MS)


# --- formula


def test_the_slider_steps_from_short_to_accurate(widget, qtbot):
    go_to(widget, FORMULA)
    page = widget.formula
    shown = []
    for i in range(page.front.slider.maximum() + 1):
        page.front.slider.setValue(i)
        shown.append((str(page.expression), written(page.front.words).split(": ", 1)[1]))
    settled(widget, qtbot)
    assert [text for text, _ in shown] == ["z0", "z0 - 0.5", "z0/z2 + z1", OWN]
    assert shown[1][1] == "3 nodes, 80.0 % of held-out crops right."
    assert shown[3][1].endswith("; the model's own.")
    assert "score (metaphase)" in texts(page.view)[0]
    page.front.plot.clicked.emit(2.8)
    assert str(page.expression) == "z0 - 0.5"


def test_the_movie_follows_the_slider_and_goes_back(labelled, qtbot, classification, viewer):
    page, session = labelled.formula, labelled.session
    bundle = labelled.subject.bundle
    before = session.classification
    page.front.slider.setValue(0)
    assert session.classification is before
    page.live.setChecked(True)
    assert session.classification.formula == "z0"
    page.front.slider.setValue(1)
    assert session.classification.formula == "z0 - 0.5"
    assert (
        session.classification.rows["state"].eq("metaphase").tolist() == (classification.latents[:, 0] >= 0.5).tolist()
    )
    shown = labelled.selection.layers.layer("states")
    np.testing.assert_array_equal(np.asarray(shown.data[0]), session.classification.paint(0))
    assert page.back.text() == "Back to the sparse network"
    page.back.click()
    assert session.classification is classification
    assert not page.live.isChecked()
    assert not page.back.isEnabled()
    assert bundle.hash == classification.bundle_hash


def test_unchecking_leaves_the_labels(labelled):
    page = labelled.formula
    page.front.slider.setValue(0)
    page.live.setChecked(True)
    page.live.setChecked(False)
    page.front.slider.setValue(1)
    assert labelled.session.classification.formula == "z0"


def test_another_widget_that_labels_takes_over(labelled):
    from napari_cellinterp.relabelling import relabel

    page, session = labelled.formula, labelled.session
    page.live.setChecked(True)
    session.relabel(relabel(session.classification, labelled.subject.bundle, "dense"))
    assert not page.live.isChecked()
    assert page.back.isEnabled()
    page.front.slider.setValue(0)
    assert session.classification.head == "dense"


def test_the_selected_nucleus_is_put_into_the_formula(labelled, qtbot, classification):
    page = labelled.formula
    assert page.nucleus.words.text() == nucleus_terms.SELECT_FIRST
    labelled.session.select(3)
    settled(labelled, qtbot)
    z0, z1 = (float(value) for value in classification.latents[3, :2])
    score = z0 - 2 * z1**2
    state = "metaphase" if score >= 0 else "interphase"
    assert written(page.nucleus.words).startswith(f"Score {score:+.3g}: {state} (metaphase where")
    assert f"{z0:.2f}".lstrip("-") in "".join(texts(page.nucleus.numbers))
    bars = [bar.get_width() for bar in page.nucleus.terms.figure.axes[0].patches]
    assert bars == pytest.approx([z0, -2 * z1**2, score], rel=1e-5)
    labelled.session.select(None)
    settled(labelled, qtbot)
    assert page.nucleus.terms.figure is None


def test_undefined_parts_are_named_and_counted(open_widget, random_bundle, tmp_path, movie, simulated, classify, qtbot):
    bundle = with_front(random_bundle())
    text = "log(z0) + z1"
    info = bundle.info.heads["symbolic"].model_copy(update={"expressions": (text,)})
    bundle = replace(
        bundle,
        heads=bundle.heads | {"symbolic": SymbolicHead([Expression.parse(text)])},
        info=bundle.info.model_copy(update={"heads": bundle.info.heads | {"symbolic": info}}),
    )
    path = save_bundle(bundle, tmp_path / "log")
    widget = open_widget(path)
    config = ClassifyConfig(model=str(path), head="symbolic")
    found = classify_movie(movie, config, labels=simulated.labels)
    session = classify(found, config)
    loaded(widget, qtbot)
    go_to(widget, FORMULA)
    negative = found.latents[:, 0] < 0
    assert f"undefined for {negative.sum()} of {len(found)} nuclei of the movie" in widget.formula.words.text()
    assert f"logarithm of a negative number in log(z0) ({negative.sum()})" in widget.formula.words.text()
    session.select(int(np.flatnonzero(negative)[0]))
    settled(widget, qtbot)
    assert widget.formula.nucleus.words.text() == "Undefined: logarithm of a negative number in log(z0)."
    assert texts(widget.formula.nucleus.numbers)[0].startswith("undefined")


def test_formulas_are_copied_and_saved(widget, tmp_path):
    go_to(widget, FORMULA)
    page = widget.formula
    page.copy.menu().aboutToShow.emit()
    actions = {action.text(): action for action in page.copy.menu().actions()}
    assert {"LaTeX", "SymPy", "NumPy", "PyTorch", "C"} < set(actions)
    actions["As written"].trigger()
    assert QApplication.clipboard().text() == OWN
    page.export.save(tmp_path / "formula.txt")
    assert "double score(const double *z)" in (tmp_path / "formula.txt").read_text()
    page.export.save(tmp_path / "formula.svg")
    assert (tmp_path / "formula.svg").read_bytes().startswith(b"<?xml")


def test_several_classes_have_a_formula_each(open_widget, random_bundle, tmp_path, movie, simulated, classify, qtbot):
    five = ("a", "b", "c", "d", "e")
    path = save_bundle(random_bundle(classes=five), tmp_path / "five")
    widget = open_widget(path)
    config = ClassifyConfig(model=str(path), head="dense")
    session = classify(classify_movie(movie, config, labels=simulated.labels), config)
    loaded(widget, qtbot)
    go_to(widget, FORMULA)
    page = widget.formula
    assert page.which.isVisibleTo(page)
    assert page.several.isVisibleTo(page)
    assert not page.front.isVisibleTo(page)
    assert not page.live.isEnabled()
    page.which.setCurrentIndex(3)
    session.select(2)
    settled(widget, qtbot)
    assert str(page.expression) == "z3 - 2*z4**2"
    assert "score (d)" in texts(page.view)[0]
    scores = [expression.evaluate(session.classification.latents[2:3])[0] for expression in page._expressions]
    assert f": {five[int(np.argmax(scores))]} (the largest score wins)" in written(page.nucleus.words)
    go_to(widget, RESPONSE)
    assert widget.response.boundary.head.findData(boundary_box.SHOWN) < 0
    mapped(widget, qtbot)


def test_a_model_without_a_formula_says_so(open_widget, random_bundle, tmp_path):
    from napari_cellinterp.gui.formula_page import NO_HEAD

    widget = open_widget(save_bundle(without(random_bundle(), "symbolic", "sparse"), tmp_path / "dense"))
    for page in range(4):
        go_to(widget, page)
    assert widget.formula.words.text() == NO_HEAD
    assert not widget.formula.front.isVisibleTo(widget.formula)
    assert widget.formula.expression is None
    assert widget.network.words.text() == network_page.NO_HEAD


# --- models


def choose_model(widget, head, formula="", name=None):
    for listed in widget.models._listed:
        model = listed.model
        if (model.head, model.formula) == (head, formula) and (name is None or model.model == name):
            widget.models.choose(listed)
            return
    raise AssertionError(f"no {head} {formula}")


def test_a_click_shows_the_model_nearby(widget, qtbot):
    go_to(widget, MODELS)
    page = widget.models
    click(page.view, 81, 0.9, qtbot)
    assert page.chosen.model.head == "sparse"
    assert "90.0 % of held-out crops right, 81 nodes" in page.about.text()
    assert "z0 size, z1 elongation, z2 diagonal elongation" in page.about.text()
    click(page.view, 30, 0.65, qtbot)
    assert page.chosen.model.head == "sparse"
    page.choose(None)
    plain = page.view.sheet.grab().toImage()
    click(page.view, 3, 0.8, qtbot)
    assert page.chosen.model.formula == "z0 - 0.5"
    assert page.view.sheet.ringed == (3, 0.8)
    assert page.view.sheet.grab().toImage() != plain


def test_a_formula_is_opened_though_it_is_not_on_the_front(widget):
    go_to(widget, MODELS)
    choose_model(widget, "symbolic", "z1")
    widget.models.open.click()
    assert widget.tabs.currentIndex() == FORMULA
    assert str(widget.formula.expression) == "z1"
    assert written(widget.formula.front.words).startswith("Formula 1 of 5: 1 nodes, 60.0 %")


def test_a_head_labels_the_movie(labelled, classification):
    go_to(labelled, MODELS)
    choose_model(labelled, "dense")
    labelled.models.open.click()
    assert labelled.session.classification.head == "dense"
    assert "labelled by the dense network" in labelled.models.status.text()
    go_to(labelled, FORMULA)
    labelled.formula.back.click()
    assert labelled.session.classification is classification


def test_bundles_are_added_and_read(widget, random_bundle, tmp_path, qtbot, classify):
    go_to(widget, MODELS)
    for i in range(3):
        made = with_front(random_bundle(), [(f"z{i + 4}", 1, 0.5 + i / 10)])
        save_bundle(made, tmp_path / f"run{i}" / "bundle")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "bundle.json").write_text("{")
    n = len(widget.models._listed)
    widget.models.add_folder(tmp_path)
    qtbot.waitUntil(lambda: widget.models.status.text() != "", timeout=TIMEOUT_MS)
    assert widget.models.status.text().startswith("Added 3 models. 1 can't be read: ")
    assert "bad" in widget.models.status.text()
    assert len(widget.models._listed) == n + 9
    choose_model(widget, "symbolic", "z5")
    widget.models.open.click()
    loaded(widget, qtbot)
    assert widget.subject.bundle.hash == load_bundle(tmp_path / "run1" / "bundle").hash
    names = {listed.model.model for listed in widget.models._listed}
    assert names == {"random", "random (run0/bundle)", "random (run2/bundle)"}
    classify()
    loaded(widget, qtbot)
    choose_model(widget, "symbolic", "z4")
    assert not widget.models.open.isEnabled()
    assert "classify the movie with it" in widget.models.about.text()
    widget.models.clear.click()
    assert len(widget.models._listed) == n


def test_a_folder_without_models_is_said(widget, tmp_path, qtbot, notices):
    go_to(widget, MODELS)
    widget.models.add_folder(tmp_path)
    qtbot.waitUntil(lambda: "no model" in widget.models.status.text(), timeout=TIMEOUT_MS)
    assert widget.models.add.isEnabled()
    assert "There is no model" in notices()[-1]


# --- the widget


def test_it_follows_the_classification(open_widget, classify, path, qtbot):
    widget = open_widget()
    classify()
    loaded(widget, qtbot)
    assert widget.subject.bundle.hash == load_bundle(path).hash
    assert widget.model.model == str(path)
    assert not widget.model.bundle.isEnabled()
    widget.session.clear()
    loaded(widget, qtbot)
    assert widget.model.bundle.isEnabled()
    assert not widget.formula.live.isEnabled()
    assert not widget.formula.back.isVisibleTo(widget.formula)


def test_a_model_that_is_gone_is_said(widget, classify, classification, config, qtbot, notices):
    classify(classification, config.model_copy(update={"model": "no-such-model"}))
    qtbot.waitUntil(lambda: "no-such-model" in widget.message.text(), timeout=TIMEOUT_MS)
    assert not widget.tabs.isVisibleTo(widget)
    assert any("no-such-model" in text for text in notices())
    classify()
    loaded(widget, qtbot)
    assert widget.tabs.isVisibleTo(widget)


def test_a_bundle_that_changed_since_does_not_label(widget, classify, classification, qtbot):
    session = classify(replace(classification, bundle_hash="1" * 64))
    loaded(widget, qtbot)
    session.select(1)
    settled(widget, qtbot)
    go_to(widget, FORMULA)
    assert not widget.formula.live.isEnabled()
    assert widget.formula.nucleus.words.text() == nucleus_terms.SELECT_FIRST


def test_reads_in_every_theme(widget, viewer):
    for theme in ("light", "dark"):
        viewer.theme = theme
        colour = widget.formula.front.plot.getAxis("left").textPen().color()
        assert colour.name() == get_theme(theme).text.as_hex(format="long")


def test_closing_amid_work_lets_go_of_the_viewer(viewer, path, qtbot):
    callbacks = list(viewer.mouse_drag_callbacks)
    widget = ReadModelWidget(viewer)
    dock = viewer.window.add_dock_widget(widget, name="Read the model")
    loaded(widget, qtbot)
    go_to(widget, RESPONSE)
    widget.response.boundary.head.setCurrentIndex(widget.response.boundary.head.findData("cnn"))
    viewer.window.remove_dock_widget(dock)
    widget.deleteLater()
    qtbot.waitUntil(lambda: list(viewer.mouse_drag_callbacks) == callbacks, timeout=TIMEOUT_MS)
    session = session_of(viewer)
    session.clear()
    session.relabelled.emit(None)


def test_fits_the_screen(widget):
    assert widget.minimumSizeHint().width() <= read_model.MIN_WIDTH_PX
    assert widget.minimumSizeHint().height() < 720
    room = read_model.MIN_WIDTH_PX - widget.style().pixelMetric(QStyle.PixelMetric.PM_ScrollBarExtent)
    for page in (widget.network, widget.response, widget.formula, widget.models):
        assert page.minimumSizeHint().width() <= room
