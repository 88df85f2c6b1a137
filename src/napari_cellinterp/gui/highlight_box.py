"""The highlighted nuclei: how many of which state, and files of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QFileDialog, QGroupBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout

from napari_cellinterp.events import FileWritten
from napari_cellinterp.gui.legend_bar import swatches
from napari_cellinterp.gui.map_colours import state_entries
from napari_cellinterp.gui.notices import show_problem
from napari_cellinterp.gui.worker import Jobs

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

    from napari_cellinterp.events import Job
    from napari_cellinterp.gui.session import Session

NONE_YET = "Draw around nuclei on the map: they are outlined in white in the movie, in all frames."


class HighlightBox(QGroupBox):
    """Counts of the highlighted nuclei by state, and buttons that clear and save them.

    Parameters
    ----------
    session : Session
        Whose highlighting.
    """

    def __init__(self, session: Session) -> None:
        super().__init__("Highlighted nuclei")
        self._session, self._jobs = session, Jobs()
        self.counts, self.status = QLabel(), QLabel()
        self.clear, self.save_table = QPushButton("Clear"), QPushButton("Save CSV…")
        self.save_crops = QPushButton("Save patches…")
        self.clear.setToolTip("Highlight none (Esc).")
        self.save_table.setToolTip("Track, frame, position, state, score and latents of the highlighted nuclei.")
        self.save_crops.setToolTip("Crops of the highlighted nuclei as the model sees them, as patches.npz.")
        buttons = QHBoxLayout()
        for button in (self.clear, self.save_table, self.save_crops):
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.addWidget(self.counts)
        layout.addLayout(buttons)
        layout.addWidget(self.status)
        for label in (self.counts, self.status):
            label.setWordWrap(True)
        self.clear.clicked.connect(self._clear)
        self.save_table.clicked.connect(lambda: self._choose_file("highlighted.csv", self.write_table))
        self.save_crops.clicked.connect(lambda: self._choose_file("patches.npz", self.write_crops))
        self.show_highlighted()

    def listen(self, widget: QWidget) -> None:
        """Clear on Esc, wherever in a widget it is pressed."""
        shortcut = QShortcut(QKeySequence(Qt.Key.Key_Escape), widget)
        shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        shortcut.activated.connect(self._clear)

    def show_highlighted(self) -> None:
        """Say how many nuclei of which state are highlighted."""
        rows = self._session.highlighted_rows
        self._say("")
        self._enable()
        if not len(rows):
            self.counts.setText(NONE_YET)
            return
        result = self._session.classification
        entries = [entry for entry in state_entries(result.state_index[rows], result.classes) if entry[2]]
        self.counts.setText(f"{len(rows):,} nuclei: &nbsp; {swatches(entries)}")

    def write_table(self, path: Path) -> None:
        """Write the highlighted nuclei with their latents as CSV."""
        classification, rows = self._session.classification, self._session.highlighted_rows

        def job() -> Job[Path]:
            from napari_cellinterp.results.export import write_latents_csv

            write_latents_csv(classification, rows, path)
            yield FileWritten(path)
            return path

        self._start(job)

    def write_crops(self, path: Path) -> None:
        """Write crops of the highlighted nuclei as npz."""
        session, rows = self._session, self._session.highlighted_rows
        movie, classification, channels = session.movie, session.classification, session.channels

        def job() -> Job[Path]:
            from napari_cellinterp.workflows import export_patches_job

            return export_patches_job(movie, classification, rows, path, channels)

        self._start(job)

    def stop(self) -> None:
        """Stop saving."""
        self._jobs.drop()

    def _start(self, job: Callable[[], Job[Path]]) -> None:
        self._say("Saving…")
        self._jobs.start(job, lambda _: None, self._on_saved, self._on_not_saved, self._enable)
        self._enable()

    def _on_saved(self, path: Path) -> None:
        self._say(f"Saved {path.name}.")
        self._enable()

    def _on_not_saved(self, error: Exception) -> None:
        self._say("Nothing was saved.")
        show_problem(error)
        self._enable()

    def _say(self, text: str) -> None:
        self.status.setText(text)
        self.status.setVisible(bool(text))

    def _enable(self) -> None:
        there = len(self._session.highlighted_rows) > 0
        self.clear.setEnabled(there)
        for button in (self.save_table, self.save_crops):
            button.setEnabled(there and not self._jobs.is_running)

    def _clear(self) -> None:
        self._session.highlight(np.empty(0, np.int64))

    def _choose_file(self, name: str, write: Callable[[Path], None]) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save the highlighted nuclei", name, f"*{Path(name).suffix}")
        if path:
            write(Path(path).with_suffix(Path(name).suffix))
