"""The fourth page of the Classify widget: all crops of a track or of a state side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QIcon, QPixmap
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QListView,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_cellinterp.gui.crops import colour_of_row, crop_picture, cut_crops_job
from napari_cellinterp.gui.notices import show_problem
from napari_cellinterp.gui.worker import Jobs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_cellinterp.events import Event, Progressed
    from napari_cellinterp.gui.crops import CropsCut
    from napari_cellinterp.gui.session import Session

MAX_CROPS = 300
"""Crops that are shown at a time; all are saved."""

ICON_PX = 72

TRACK = "Track of the selected nucleus"
NOVEL = "Flagged as novel"
BY_TIME, BY_SCORE = "By time", "By score"


class GalleryPage(QWidget):
    """Crops of a track or a state; a click on one selects the nucleus.

    Parameters
    ----------
    session : Session
        Whose classification.
    """

    row_clicked = Signal(int)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._jobs, self._saving = Jobs(), Jobs()
        self._items: dict[int, QListWidgetItem] = {}
        self._stale = True
        self.what, self.order, self.about = QComboBox(), QComboBox(), QLabel()
        self.order.addItems([BY_TIME, BY_SCORE])
        self.about.setWordWrap(True)
        self.grid = self._grid()
        self.save_button = QPushButton("Save as patches.npz…")
        self.save_button.setToolTip("Save all of these crops; cellinterp classify-patches gives them the same scores.")
        choices = QHBoxLayout()
        choices.addWidget(self.what, 1)
        choices.addWidget(self.order)
        layout = QVBoxLayout(self)
        layout.addLayout(choices)
        layout.addWidget(self.about)
        layout.addWidget(self.grid, 1)
        layout.addWidget(self.save_button)
        self.what.currentIndexChanged.connect(self.refresh)
        self.order.currentIndexChanged.connect(self.refresh)
        self.grid.itemClicked.connect(lambda item: self.row_clicked.emit(item.data(Qt.ItemDataRole.UserRole)))
        self.save_button.clicked.connect(self._choose_file)

    def show_result(self) -> None:
        """Offer the states of the session's classification."""
        result = self._session.classification
        self.what.blockSignals(True)
        self.what.clear()
        if result is not None:
            self.what.addItems([TRACK, *(f"State: {name}" for name in result.classes), NOVEL])
            self.what.setCurrentIndex(len(result.classes))
        self.what.blockSignals(False)
        self.refresh()

    def show_selected(self) -> None:
        """Follow the selection, where a track is shown."""
        if self.what.currentText() == TRACK and self._session.row not in self._items:
            self.refresh()
        self._mark_selected()

    def rows(self) -> NDArray[np.int64]:
        """Rows of the classification that are chosen, in order; more than are shown, perhaps."""
        session, what = self._session, self.what.currentText()
        result = session.classification
        if result is None:
            return np.empty(0, np.int64)
        if what == TRACK:
            rows = np.empty(0, np.int64) if session.row is None else session.track_rows(session.row)
        elif what == NOVEL:
            rows = np.flatnonzero(result.rows["is_novel"].to_numpy())
        else:
            rows = session.state_rows(what.removeprefix("State: "))
        if self.order.currentText() == BY_SCORE:
            scores = result.rows["score"].to_numpy()[rows]
            rows = rows[np.argsort(-scores, kind="stable")]
        return rows

    def refresh(self) -> None:
        """Cut the chosen crops, now or when the page is next looked at."""
        self._stale = True
        if self.isVisible():
            self._fill()

    def save(self, path: Path) -> None:
        """Save the patches of all chosen nuclei."""
        session, rows = self._session, self.rows()

        def make_job() -> object:
            from napari_cellinterp.workflows import export_patches_job

            return export_patches_job(session.movie, session.classification, rows, path, session.channels)

        self.save_button.setEnabled(False)
        self._saving.start(make_job, self._on_saving, self._on_saved, self._on_not_saved, self._end_saving)

    def stop(self) -> None:
        """Stop cutting and saving."""
        self._jobs.drop()
        self._saving.drop()

    def showEvent(self, event: object) -> None:
        """Cut what changed while the page was hidden."""
        super().showEvent(event)
        if self._stale:
            self._fill()

    def _grid(self) -> QListWidget:
        grid = QListWidget()
        grid.setViewMode(QListView.ViewMode.IconMode)
        grid.setResizeMode(QListView.ResizeMode.Adjust)
        grid.setMovement(QListView.Movement.Static)
        grid.setIconSize(QSize(ICON_PX, ICON_PX))
        grid.setUniformItemSizes(True)
        grid.setMinimumHeight(260)
        grid.setSpacing(2)
        return grid

    def _fill(self) -> None:
        self._stale = False
        self._jobs.drop()
        self.grid.clear()
        self._items = {}
        rows, session = self.rows(), self._session
        self.save_button.setEnabled(len(rows) > 0 and not self._saving.is_running)
        shown = rows[:MAX_CROPS]
        self.about.setText(self._describe(len(rows), len(shown)))
        if not len(shown):
            return
        blank = QPixmap(ICON_PX, ICON_PX)
        blank.fill(Qt.GlobalColor.transparent)
        table = session.classification.rows
        for row in shown:
            nucleus = table.iloc[int(row)]
            item = QListWidgetItem(QIcon(blank), f"{nucleus['frame']}: {nucleus['score']:+.2f}")
            item.setData(Qt.ItemDataRole.UserRole, int(row))
            item.setToolTip(f"Track {nucleus['track_id']}, frame {nucleus['frame']}, {nucleus['state'] or 'undefined'}")
            self.grid.addItem(item)
            self._items[int(row)] = item
        self._mark_selected()
        self._jobs.start(
            lambda: cut_crops_job(session.movie, session.classification, shown, session.channels),
            self._on_cut,
            lambda _: None,
            show_problem,
            lambda: None,
        )

    def _describe(self, n: int, n_shown: int) -> str:
        if n == 0:
            none_selected = self.what.currentText() == TRACK and self._session.row is None
            return "Click a nucleus in the viewer first." if none_selected else "There are none."
        if n_shown < n:
            return f"The first {n_shown} of {n:,} crops. Below each: frame and score."
        return f"{n:,} crops. Below each: frame and score."

    def _on_cut(self, event: CropsCut) -> None:
        for row, x in zip(event.rows, event.x, strict=True):
            colour = colour_of_row(self._session.classification, int(row))
            picture = crop_picture(x, ICON_PX, colour)
            icon = QIcon(picture)
            icon.addPixmap(picture, QIcon.Mode.Selected)  # else Qt tints it
            self._items[int(row)].setIcon(icon)

    def _mark_selected(self) -> None:
        item = self._items.get(-1 if self._session.row is None else self._session.row)
        self.grid.setCurrentItem(item)

    def _choose_file(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save crops", "patches.npz", "Patches (*.npz)")
        if path:
            self.save(Path(path).with_suffix(".npz"))

    def _on_saving(self, event: Event | Progressed) -> None:
        if hasattr(event, "done"):
            self._session.status = f"Saving crops: {event.done:,} of {event.total:,}"

    def _on_saved(self, path: Path) -> None:
        self._session.status = f"Saved {path}."
        self._end_saving()

    def _on_not_saved(self, error: Exception) -> None:
        self._session.status = "The crops were not saved."
        show_problem(error)
        self._end_saving()

    def _end_saving(self) -> None:
        self.save_button.setEnabled(True)
