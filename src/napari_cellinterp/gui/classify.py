"""The Classify widget: label every nucleus of a movie, and look at the result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari.utils.theme import get_theme
from qtpy.QtWidgets import QFileDialog, QTabWidget, QVBoxLayout, QWidget

from napari_cellinterp.errors import CellInterpError
from napari_cellinterp.events import FileWritten
from napari_cellinterp.gui.gallery import GalleryPage
from napari_cellinterp.gui.links import Links
from napari_cellinterp.gui.notices import show_problem
from napari_cellinterp.gui.nucleus_page import NucleusPage
from napari_cellinterp.gui.run_bar import RunBar
from napari_cellinterp.gui.scrolling import scrolled
from napari_cellinterp.gui.selection import join_selection
from napari_cellinterp.gui.setup_page import SetupPage
from napari_cellinterp.gui.states_page import StatesPage
from napari_cellinterp.gui.worker import Jobs

if TYPE_CHECKING:
    import napari.viewer

    from napari_cellinterp.events import Event, Job
    from napari_cellinterp.gui.setup_page import Request
    from napari_cellinterp.results.table import Classification

MIN_WIDTH_PX = 380
"""Below this the facts of a nucleus don't fit beside its crop."""


class ClassifyWidget(QWidget):
    """Set up, run, and look at states, single nuclei and galleries.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        The viewer that it belongs to.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer = napari_viewer
        self.selection = join_selection(viewer)
        session = self.session = self.selection.session
        self.layers = self.selection.layers
        self._jobs, self._exports = Jobs(), Jobs()
        self.setup, self.states = SetupPage(viewer), StatesPage(session)
        self.nucleus, self.gallery = NucleusPage(session), GalleryPage(session)
        self.tabs, self.run_bar = QTabWidget(), RunBar()
        pages = {"Set up": self.setup, "States": self.states, "Nucleus": self.nucleus, "Gallery": self.gallery}
        for title, page in pages.items():
            self.tabs.addTab(scrolled(page), title)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.run_bar)
        self.setMinimumWidth(MIN_WIDTH_PX)
        self._connect()
        self._show_theme()
        self._show_result()
        self._show_ready()

    def run(self) -> None:
        """Classify what is chosen; problems are told in notifications."""
        if self._jobs.is_running:
            return
        try:
            request = self.setup.request()
        except CellInterpError as error:
            self._on_error(error)
            return
        self.run_bar.set_running(True)
        self.session.status = "Loading the model…"

        def make_job() -> Job[Classification]:
            from napari_cellinterp.workflows import classify_movie_job

            return classify_movie_job(request.movie, request.config, labels=request.labels, tracks=request.tracks)

        self._jobs.start(
            make_job,
            self._on_event,
            lambda result: self._on_result(request, result),
            self._on_error,
            self._on_cancelled,
        )

    def cancel(self) -> None:
        """Ask the running job to stop."""
        self.run_bar.set_cancelling()
        self.session.status = "Cancelling…"
        self._jobs.cancel()

    def export(self, folder: Path) -> None:
        """Write all files of the classification into a folder."""
        session = self.session

        def make_job() -> Job[None]:
            from napari_cellinterp.workflows import export_job

            return export_job(session.movie, session.classification, session.config, folder)

        self.states.export_button.setEnabled(False)
        self._exports.start(
            make_job, self._on_file, lambda _: self._end_export(f"Exported to {folder}."), self._on_not_exported, list
        )

    def _connect(self) -> None:
        self.setup.changed.connect(self._show_ready)
        self.run_bar.run_clicked.connect(self.run)
        self.run_bar.cancel_clicked.connect(self.cancel)
        for page in (self.states, self.nucleus):
            page.frame_wanted.connect(self.layers.go_to)
        self.states.export_wanted.connect(self._choose_folder)
        self.gallery.row_clicked.connect(self.selection.go_to)
        session, viewer = self.session, self._viewer
        links = Links(self)
        links.at_end(self.selection.leave)
        links.tie(session.classified, self._show_result)
        links.tie(session.relabelled, self._show_relabelled)
        links.tie(session.selected, self._show_selected)
        links.tie(session.highlighted, self.gallery.show_highlighted)
        links.tie(session.status_changed, self._show_status)
        links.tie(viewer.events.theme, self._show_theme)
        links.tie(self.selection.frame_changed, self._show_frame)
        links.tie(self.selection.clicked, self._on_clicked)
        for end in (self._jobs.drop, self._exports.drop, self.gallery.stop, self.setup.disconnect_viewer):
            links.at_end(end)

    def _show_ready(self) -> None:
        self.run_bar.set_can_run(self.setup.is_ready)

    def _show_theme(self) -> None:
        colour = get_theme(self._viewer.theme).text.as_hex()
        for plot in (self.states.plot, self.nucleus.plot):
            plot.set_colour(colour)

    def _show_status(self, text: str) -> None:
        self.run_bar.status.setText(text)

    def _show_result(self) -> None:
        there = self.session.classification is not None
        for index in range(1, self.tabs.count()):
            self.tabs.setTabEnabled(index, there)
        self.states.show_result()
        self.gallery.show_result()
        self._show_frame()

    def _show_relabelled(self) -> None:
        self.states.show_result()
        self.gallery.refresh()
        self.nucleus.show_selected()
        self._show_frame()

    def _show_selected(self) -> None:
        self.nucleus.show_selected()
        self.gallery.show_selected()

    def _show_frame(self) -> None:
        frame = self.layers.frame()
        if frame is not None:
            self.states.show_frame(frame)

    def _on_clicked(self) -> None:
        self.tabs.setCurrentIndex(2)

    def _on_event(self, event: Event) -> None:
        said = self.run_bar.show_event(event)
        if said is not None and self.run_bar.button.isEnabled():
            self.session.status = said

    def _on_result(self, request: Request, result: Classification) -> None:
        from napari_cellinterp.models.bundle_info import find_bundle, read_info

        n_channels = read_info(find_bundle(request.config.model)).n_channels
        self.session.set_result(request.movie, request.config, result, n_channels)
        self.layers.show_result(request.image)
        self._show_frame()
        self.tabs.setCurrentIndex(1)
        self._end_run(f"{len(result):,} nuclei in {result.n_frames} frames have a state.")

    def _on_error(self, error: Exception) -> None:
        show_problem(error)
        self._end_run(f"⚠ {error}")

    def _on_cancelled(self) -> None:
        self._end_run("Cancelled.")

    def _end_run(self, status: str) -> None:
        self.run_bar.set_running(False)
        self.session.status = status

    def _choose_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for nuclei.csv and states.ome.tif")
        if folder:
            self.export(Path(folder))

    def _on_file(self, event: Event) -> None:
        if isinstance(event, FileWritten):
            self.session.status = f"Written: {event.path.name}"

    def _on_not_exported(self, error: Exception) -> None:
        show_problem(error)
        self._end_export("Not everything was exported.")

    def _end_export(self, status: str) -> None:
        self.states.export_button.setEnabled(True)
        self.session.status = status
