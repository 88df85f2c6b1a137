"""The Read the model widget: its network, what its neurons answer, its formula, and how large all of it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.utils.theme import get_theme
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QLabel, QSizePolicy, QTabWidget, QVBoxLayout, QWidget

from napari_cellinterp.errors import CellInterpError
from napari_cellinterp.events import Progressed
from napari_cellinterp.gui.formula_page import FormulaPage
from napari_cellinterp.gui.labelling import Labelling, prepare_job
from napari_cellinterp.gui.links import Links
from napari_cellinterp.gui.model_form import HEAD_TITLES, BundleForm
from napari_cellinterp.gui.models_page import ModelsPage
from napari_cellinterp.gui.network_page import NetworkPage
from napari_cellinterp.gui.notices import show_problem
from napari_cellinterp.gui.response_page import ResponsePage
from napari_cellinterp.gui.scrolling import scrolled
from napari_cellinterp.gui.selection import join_selection
from napari_cellinterp.gui.worker import Jobs

if TYPE_CHECKING:
    import napari.viewer
    import numpy as np
    from numpy.typing import NDArray

    from napari_cellinterp.config import HeadName
    from napari_cellinterp.events import Job
    from napari_cellinterp.explain.explain_report import Subject
    from napari_cellinterp.gui.opening import Listed, Opening
    from napari_cellinterp.models.bundle import ModelBundle
    from napari_cellinterp.models.bundle_info import BundleInfo
    from napari_cellinterp.models.expression import Expression

MIN_WIDTH_PX = 420

SETTLE_MS = 80
"""After so long without another selection the nucleus is shown."""

LOADING = "Loading the model…"
OF_MOVIE = "The model that classified the movie; without a classification another one can be chosen."


def read_job(model: str) -> Job[Subject]:
    """Load a model, and find out what its latents are called."""
    from napari_cellinterp.explain.explain_report import Subject
    from napari_cellinterp.models.bundle import load_bundle

    subject = Subject(load_bundle(model))
    yield Progressed(1, 2)
    assert subject.titles is not None  # measured here, where it may take its time
    return subject


class ReadForm(BundleForm):
    """A bundle to read; says which heads it has."""

    def _show_info(self, info: BundleInfo | None) -> None:
        super()._show_info(info)
        if info is not None:
            heads = ", ".join(title for name, title in HEAD_TITLES.items() if name in info.heads)
            self.about.setText(f"Classes: {', '.join(info.classes)}. Heads: {heads}.")
            self.about.setToolTip(info.description)


class ReadModelWidget(QWidget):
    """Reads the model of the viewer's classification, or any other one as long as there is none.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        The viewer that it belongs to.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer = napari_viewer
        self.selection = join_selection(viewer)
        self.session = self.selection.session
        self.labelling = Labelling(self.session)
        self.subject: Subject | None = None
        self._loading, self._preparing = Jobs(), Jobs()
        self._soon = QTimer(self)
        self.model, self.message, self.tabs = ReadForm(), QLabel(), QTabWidget()
        self.network, self.response = NetworkPage(), ResponsePage()
        self.formula, self.models = FormulaPage(), ModelsPage()
        self._pages = (self.network, self.response, self.formula, self.models)
        self._build()
        self._connect()
        self._show_theme()
        self._show_result()

    def label(self, head: HeadName | Expression) -> None:
        """Label the movie by a head of the model, or by a formula; what goes wrong is shown."""
        try:
            self.labelling.label(self.subject.bundle, head)
        except CellInterpError as error:
            self.formula.live.setChecked(False)
            show_problem(error)

    @property
    def _has_classified(self) -> bool:
        """Whether the model that is read classified the viewer's movie."""
        result = self.session.classification
        return None not in (result, self.subject) and result.bundle_hash == self.subject.bundle.hash

    def _show_result(self) -> None:
        """Follow the session to another classification, and so perhaps another model."""
        self.labelling.begin()
        is_free = self.session.classification is None
        for part in (self.model.bundle, self.model.browse):
            part.setEnabled(is_free)
            part.setToolTip("" if is_free else OF_MOVIE)
        self._load()

    def _load(self) -> None:
        """Load the model of the classification, or the chosen one."""
        model = self.model.model if self.session.classification is None else self.session.config.model
        if model is None:
            return
        self.subject = None
        self._preparing.drop()
        self.response.drop()
        self.tabs.setEnabled(False)
        self._say(LOADING)
        self._loading.start(lambda: read_job(model), lambda _: None, self._on_loaded, self._on_error, list)

    def _on_loaded(self, subject: Subject) -> None:
        self.subject = subject
        if self.session.classification is not None:
            self._show_model_of_movie(self.session.config.model)
        for page in (self.network, self.formula, self.models):
            page.set_subject(subject)
        formula = self.formula.expression if subject.bundle.info.n_scores == 1 else None
        self.response.set_subject(subject, formula)
        self._say("")
        self.tabs.setEnabled(True)
        self.tabs.show()
        self._show_states()
        self._take_nucleus()
        self._refresh()
        if self._has_classified:
            self._prepare(subject.bundle, [step.formula for step in self.formula.steps])

    def _prepare(self, bundle: ModelBundle, formulas: list[str]) -> None:
        self._preparing.start(lambda: prepare_job(bundle, formulas), lambda _: None, lambda _: None, show_problem, list)

    def _on_error(self, error: Exception) -> None:
        self._say(f"⚠ {error}")
        self.tabs.hide()
        show_problem(error)

    def _show_model_of_movie(self, model: str) -> None:
        """Choose the model of the classification in the form, without loading it again."""
        self.model.blockSignals(True)
        if self.model.bundle.findData(model) < 0:
            self.model.add_folder(model)
        self.model.bundle.setCurrentIndex(self.model.bundle.findData(model))
        self.model.blockSignals(False)

    def _show_states(self) -> None:
        """Show by what the movie is labelled, and whether the pages may change that."""
        latents, first = None, ""
        if self._has_classified:
            result = self.session.classification
            latents, first = result.latents, HEAD_TITLES[self.labelling.first.head]
            if result.formula != str(self.formula.expression):
                self.formula.stop_labelling()
        self.formula.set_movie(latents, first, is_first=self.labelling.is_first)
        self.models.set_classified(is_classified=self._has_classified)

    def _take_nucleus(self) -> None:
        """Give the selected nucleus to the pages."""
        row = self.session.row
        known = self._has_classified and row is not None
        nucleus: NDArray[np.float32] | None = self.session.classification.latents[row] if known else None
        self.formula.set_nucleus(nucleus)
        self.response.boundary.set_nucleus(nucleus)
        self._soon.start()

    def _refresh(self) -> None:
        """Draw what is out of date on the page that is shown."""
        if self.subject is not None:
            self._pages[self.tabs.currentIndex()].refresh()

    def _open(self, listed: Listed, opening: Opening) -> None:
        """Do what the person asked for with a trained model."""
        match opening.action:
            case "read":
                self.model.add_folder(listed.folder)
            case "formula":
                self._show_formula(listed)
            case "label":
                self.label(listed.model.head)
                self.models.status.setText(f"The movie is labelled by the {HEAD_TITLES[listed.model.head]}.")

    def _show_formula(self, listed: Listed) -> None:
        from napari_cellinterp.explain.formula_steps import own_formula

        own = own_formula(self.subject.bundle)
        self.formula.show_formula(listed.model if listed.model.formula else own)
        self.tabs.setCurrentIndex(self._pages.index(self.formula))

    def _say(self, text: str) -> None:
        self.message.setText(text)
        self.message.setVisible(bool(text))

    def _show_theme(self) -> None:
        self.formula.front.plot.set_colour(get_theme(self._viewer.theme).text.as_hex())

    def _build(self) -> None:
        self._soon.setSingleShot(True)
        self._soon.setInterval(SETTLE_MS)
        self.message.setWordWrap(True)
        for title, page in zip(("Network", "Response", "Formula", "Models"), self._pages, strict=True):
            self.tabs.addTab(scrolled(page), title)
        self.tabs.setEnabled(False)
        head, layout = QVBoxLayout(), QVBoxLayout(self)
        head.setContentsMargins(8, 4, 8, 0)
        head.addWidget(self.model)
        head.addWidget(self.message)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(head)
        layout.addWidget(self.tabs, 1)
        self.setMinimumWidth(MIN_WIDTH_PX)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self.model.show_bundle()

    def _connect(self) -> None:
        self.model.changed.connect(self._load)
        self.tabs.currentChanged.connect(self._refresh)
        self._soon.timeout.connect(self._refresh)
        self.network.neuron_chosen.connect(self.response.response.choose)
        self.formula.formula_changed.connect(self.response.boundary.set_formula)
        self.formula.label_wanted.connect(self.label)
        self.formula.back_wanted.connect(self.labelling.restore)
        self.models.open_wanted.connect(self._open)
        links = Links(self)
        links.at_end(self.selection.leave)
        links.tie(self.session.classified, self._show_result)
        links.tie(self.session.relabelled, self._show_states)
        links.tie(self.session.selected, self._take_nucleus)
        links.tie(self._viewer.events.theme, self._show_theme)
        for end in (self._loading.drop, self._preparing.drop, self.response.drop, self.models.jobs.drop):
            links.at_end(end)
