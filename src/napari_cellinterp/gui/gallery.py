"""All crops of a track, of a state or of the highlighted nuclei side by side; a page of two widgets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

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
    QToolButton,
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
ALL, HIGHLIGHTED = "All nuclei", "Highlighted"
BY_TIME, BY_SCORE, BY_CONFIDENCE, BY_NOVELTY = "By time", "By score", "By confidence", "By novelty"


class Order(NamedTuple):
    """An order of crops.

    Attributes
    ----------
    column : str
        Of the table of nuclei, by which they are sorted.
    sign : int
        -1 where the largest comes first.
    form : str
        How the number is written.
    words : str
        What comes first, and what does in reverse.
    """

    column: str
    sign: int
    form: str
    words: tuple[str, str]


ORDERS = {
    BY_TIME: Order("score", 0, "+.2f", ("first frames first", "last frames first")),
    BY_SCORE: Order("score", -1, "+.2f", ("highest score first", "lowest score first")),
    BY_CONFIDENCE: Order("probability", 1, ".3f", ("least sure first", "most sure first")),
    BY_NOVELTY: Order("novelty", -1, ".2f", ("most novel first", "most usual first")),
}


class GalleryPage(QWidget):
    """Crops of a track, a state or other nuclei; a click on one selects the nucleus.

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
        self.reverse = QToolButton()
        self.what.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.what.setMinimumContentsLength(14)
        self.order.addItems(list(ORDERS))
        self.reverse.setText("⇅")
        self.reverse.setCheckable(True)
        self.reverse.setToolTip("Reverse the order.")
        self.about.setWordWrap(True)
        self.grid = self._grid()
        self.save_button = QPushButton("Save as patches.npz…")
        self.save_button.setToolTip("Save all of these crops; cellinterp classify-patches gives them the same scores.")
        choices = QHBoxLayout()
        choices.addWidget(self.what, 1)
        choices.addWidget(self.order)
        choices.addWidget(self.reverse)
        layout = QVBoxLayout(self)
        layout.addLayout(choices)
        layout.addWidget(self.about)
        layout.addWidget(self.grid, 1)
        layout.addWidget(self.save_button)
        self.what.currentIndexChanged.connect(self.refresh)
        self.order.currentIndexChanged.connect(self.refresh)
        self.reverse.toggled.connect(self.refresh)
        self.grid.itemClicked.connect(lambda item: self.row_clicked.emit(item.data(Qt.ItemDataRole.UserRole)))
        self.save_button.clicked.connect(self._choose_file)

    def show_result(self) -> None:
        """Offer the states of the session's classification."""
        result = self._session.classification
        self.what.blockSignals(True)
        self.what.clear()
        if result is not None:
            self.what.addItems([TRACK, *(f"State: {name}" for name in result.classes), NOVEL, HIGHLIGHTED, ALL])
            self.what.setCurrentIndex(len(result.classes))
        self.what.blockSignals(False)
        self.refresh()

    def show_selected(self) -> None:
        """Follow the selection, where a track is shown."""
        if self.what.currentText() == TRACK and self._session.row not in self._items:
            self.refresh()
        self._mark_selected()

    def show_highlighted(self) -> None:
        """Follow the highlighting, where highlighted nuclei are shown."""
        if self.what.currentText() == HIGHLIGHTED:
            self.refresh()

    def rows(self) -> NDArray[np.int64]:
        """Rows of the classification that are chosen, in order; more than are shown, perhaps."""
        result = self._session.classification
        if result is None:
            return np.empty(0, np.int64)
        rows, order = self._chosen(), ORDERS[self.order.currentText()]
        reverse = -1 if self.reverse.isChecked() else 1
        if not order.sign:
            return rows[::reverse]
        values = result.rows[order.column].to_numpy()[rows]
        return rows[np.argsort(order.sign * reverse * values, kind="stable")]  # those without a number come last

    def _chosen(self) -> NDArray[np.int64]:
        """Rows that are chosen, by frame."""
        session, what = self._session, self.what.currentText()
        table = session.classification.rows
        if what == TRACK:
            return np.empty(0, np.int64) if session.row is None else session.track_rows(session.row)
        if what == NOVEL:
            return np.flatnonzero(table["is_novel"].to_numpy())
        if what == HIGHLIGHTED:
            return session.highlighted_rows
        return np.arange(len(table)) if what == ALL else session.state_rows(what.removeprefix("State: "))

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
        table, order = session.classification.rows, ORDERS[self.order.currentText()]
        for row in shown:
            nucleus = table.iloc[int(row)]
            item = QListWidgetItem(QIcon(blank), f"{nucleus['frame']}: {nucleus[order.column]:{order.form}}")
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
        what, order = self.what.currentText(), ORDERS[self.order.currentText()]
        if n == 0:
            first = {
                TRACK: "Click a nucleus in the viewer first.",
                HIGHLIGHTED: "Draw around nuclei on the map of the Population widget first.",
            }
            return first.get(what, "There are none.")
        crops = f"The first {n_shown} of {n:,} crops" if n_shown < n else f"{n:,} crops"
        return f"{crops}, {order.words[self.reverse.isChecked()]}. Below each: frame and {order.column}."

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
