"""The counterfactual widget: what would change a head's mind about a nucleus, in the image or the latents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari.utils.theme import get_theme
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QFileDialog,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_cellinterp.events import FileWritten
from napari_cellinterp.gui.counterfactual_inquiry import NAMES, Inquiry
from napari_cellinterp.gui.counterfactual_page import CounterfactualPage
from napari_cellinterp.gui.counterfactual_pictures import AttackPictures
from napari_cellinterp.gui.counterfactual_questions import Answer, FlipFound, LazyModel, Subject, answer_job, search_job
from napari_cellinterp.gui.crops import cut_crop
from napari_cellinterp.gui.links import Links
from napari_cellinterp.gui.notices import show_problem
from napari_cellinterp.gui.scrolling import scrolled
from napari_cellinterp.gui.selection import join_selection
from napari_cellinterp.gui.waiting_pages import WaitingPages
from napari_cellinterp.gui.worker import Jobs

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer

    from napari_cellinterp.config import HeadName
    from napari_cellinterp.events import Job, Stepped
    from napari_cellinterp.explain.scoring import Space

MIN_WIDTH_PX = 380

BEYOND = 1.01
"""So many times the smallest flipping epsilon is "just beyond" it."""

CLASSIFY_FIRST = "There is no nucleus to ask about yet: classify a movie first."
CLICK_FIRST = "Click a nucleus in the viewer to see what would change its state."
CLICK_A_CELL = "Click a cell to see it."
LOADING = "Loading the model…"
SEARCHING = "Looking for the smallest flips…"
MEASURING = "Measuring what each latent is about; this takes a while, and only once…"
NO_PLACE = "The layers of the classification are gone, so there is no place for pictures: classify again."


class CounterfactualWidget(QWidget):
    """Smallest flips of all heads, an epsilon to drag, curves, and pictures below the movie.

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
        self.inquiry, self.pictures = Inquiry(), AttackPictures(viewer)
        self._model: LazyModel | None = None
        self._searching, self._asking, self._saving = Jobs(), Jobs(), Jobs()
        self._search_soon, self._ask_soon = QTimer(self), QTimer(self)
        self.page = CounterfactualPage(self.inquiry)
        self.pages = WaitingPages(viewer, scrolled(self.page))
        self._build()
        self._connect()
        self._show_theme()
        self._show_result()

    def choose(self, head: HeadName, space: Space) -> None:
        """Ask about a head, and move the epsilon of a space."""
        self.inquiry.choose(head, space)
        self.page.show_choice()
        self._ask_soon.start()

    def set_epsilon(self, epsilon: float, space: Space) -> None:
        """Set the epsilon of a space, and ask what it does."""
        self.inquiry.epsilons[space] = epsilon
        if space != self.inquiry.space:
            self.choose(self.inquiry.head, space)
        self.page.show_epsilons()
        self._ask_soon.start()

    def go_to_flip(self) -> None:
        """Set epsilon just beyond the smallest one that changes the answer."""
        flip = self.inquiry.flip(self.inquiry.space)
        if flip is not None and flip.epsilon is not None:
            self.set_epsilon(min(flip.epsilon * BEYOND, flip.max_epsilon), self.inquiry.space)

    def search(self) -> None:
        """Look for the smallest flips of the selected nucleus, and no more for those of another one."""
        session, model = self.session, self._model
        movie, result, row, channels = session.movie, session.classification, session.row, session.channels
        if model is None or row is None:
            return
        hold, config, head = self.page.form.hold.currentData(), self.page.form.config(), self.inquiry.head
        self.page.table.set_searching()
        self.page.status.setText(SEARCHING if model.knows(hold) else MEASURING)
        if self.inquiry.subject is None:
            self.pages.say(LOADING)
        self._searching.start(
            lambda: search_job(model, row, lambda: cut_crop(movie, result, row, channels), hold, config, head),
            self._on_found,
            lambda _: self._end_search(),
            self._on_not_searched,
            list,
        )

    def keep_layers(self) -> None:
        """Copy the pictures to layers that stay."""
        self.pictures.keep(self.inquiry, *self._nucleus())

    def save_figure(self, path: Path) -> None:
        """Write both attacks on the nucleus as PNG."""
        attacks, bundle = self.inquiry.attacks(), self.inquiry.subject.bundle
        title = f"{self.page.about.text()}, {NAMES[self.inquiry.head]} of {bundle.info.name}"

        def write() -> None:
            from napari_cellinterp.results.counterfactual_export import write_figure

            write_figure(attacks, bundle.info.classes, title, path)

        self._save(write, path)

    def save_curves(self, path: Path) -> None:
        """Write the scores of all heads against epsilon as CSV."""
        curves, classes, nucleus = self.inquiry.curves(), self.inquiry.subject.bundle.info.classes, self._nucleus()

        def write() -> None:
            from napari_cellinterp.results.counterfactual_export import write_curves

            write_curves(curves, classes, *nucleus, path)

        self._save(write, path)

    def _show_result(self) -> None:
        """Follow the session to another classification, and so perhaps another model."""
        result = self.session.classification
        self._forget()
        self._model = None if result is None else LazyModel(self.session.config.model)
        if result is not None:
            self.inquiry.choose(result.head, self.inquiry.space)
        self._show_selected()

    def _show_selected(self) -> None:
        """Ask about the selected nucleus."""
        if self.session.row is not None:
            self._search_soon.start()
            return
        self._forget()
        self.pages.say(CLICK_FIRST if self._model is not None else CLASSIFY_FIRST, offer=self._model is None)

    def _forget(self) -> None:
        """Ask about no nucleus any more."""
        for jobs in (self._searching, self._asking):
            jobs.drop()
        self.inquiry.take(None)
        self.pictures.remove()

    def _on_found(self, event: Subject | FlipFound | Stepped) -> None:
        if isinstance(event, FlipFound):
            self.inquiry.keep_flip(event)
            self.page.show_flip(event)
        elif isinstance(event, Subject):
            self.inquiry.take(event)
            self.page.show_subject(*self._nucleus())
            self.pages.show_content()
            self._ask_soon.start()

    def _ask(self) -> None:
        """Ask what has no answer yet; of the epsilons that come while one is answered, only the newest is asked."""
        questions = self.inquiry.open_questions()
        if questions and not self._asking.is_running:
            self._asking.start(
                lambda: answer_job(questions), self._on_answer, lambda _: self._ask(), self._on_not_answered, list
            )

    def _on_answer(self, answer: Answer) -> None:
        if not self.inquiry.keep_answer(answer) or not self.inquiry.is_answered():
            return
        self.page.show_sentence()
        self.page.show_exports()
        placement = self.selection.layers.placement()
        if placement is None:
            self.page.legend.setText(NO_PLACE)
            return
        self.pictures.show(self.inquiry, placement)
        self.page.show_legend()

    def _end_search(self) -> None:
        self.page.status.setText(CLICK_A_CELL)
        self.page.show_exports()

    def _on_not_searched(self, error: Exception) -> None:
        self._forget()
        self.pages.say(f"⚠ {error}")
        show_problem(error)

    def _on_not_answered(self, error: Exception) -> None:
        self.page.sentence.setText(f"⚠ {error}")
        show_problem(error)

    def _nucleus(self) -> tuple[int, int]:
        """Return track and frame of the nucleus that is asked about."""
        nucleus = self.session.classification.rows.iloc[self.inquiry.subject.row]
        return int(nucleus["track_id"]), int(nucleus["frame"])

    def _choose_file(self, save: Callable[[Path], None], ending: str) -> None:
        track_id, frame = self._nucleus()
        name = f"counterfactual_track{track_id}_frame{frame}_{self.inquiry.head}{ending}"
        path, _ = QFileDialog.getSaveFileName(self, "Save the counterfactual", name, f"*{ending}")
        if path:
            save(Path(path).with_suffix(ending))

    def _save(self, write: Callable[[], None], path: Path) -> None:
        def job() -> Job[None]:
            write()
            yield FileWritten(path)

        self.page.set_saving(True)
        self._saving.start(
            job, lambda _: None, lambda _: self._end_saving(f"Saved {path.name}."), self._on_not_saved, list
        )

    def _on_not_saved(self, error: Exception) -> None:
        show_problem(error)
        self._end_saving("Nothing was saved.")

    def _end_saving(self, status: str) -> None:
        self.page.status.setText(status)
        self.page.set_saving(False)

    def _show_theme(self) -> None:
        self.page.set_colour(get_theme(self._viewer.theme).text.as_hex())

    def _build(self) -> None:
        for timer in (self._search_soon, self._ask_soon):
            timer.setSingleShot(True)
            timer.setInterval(0)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.pages)
        self.setMinimumWidth(MIN_WIDTH_PX)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)

    def _connect(self) -> None:
        self._search_soon.timeout.connect(self.search)
        self._ask_soon.timeout.connect(self._ask)
        self.page.table.chosen.connect(self.choose)
        self.page.form.changed.connect(self._search_soon.start)
        self.page.epsilon.changed.connect(lambda epsilon: self.set_epsilon(epsilon, self.inquiry.space))
        self.page.epsilon.flip_wanted.connect(self.go_to_flip)
        for space, plot in self.page.plots.items():
            plot.epsilon_chosen.connect(lambda epsilon, space=space: self.set_epsilon(epsilon, space))
        self.page.keep.clicked.connect(self.keep_layers)
        self.page.save_png.clicked.connect(lambda: self._choose_file(self.save_figure, ".png"))
        self.page.save_csv.clicked.connect(lambda: self._choose_file(self.save_curves, ".csv"))
        links = Links(self)
        links.at_end(self.selection.leave)
        links.tie(self.session.classified, self._show_result)
        links.tie(self.session.selected, self._show_selected)
        links.tie(self._viewer.events.theme, self._show_theme)
        links.at_end(self.pictures.remove)
        for jobs in (self._searching, self._asking, self._saving):
            links.at_end(jobs.drop)
