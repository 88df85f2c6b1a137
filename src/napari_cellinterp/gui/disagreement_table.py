"""A list of the nuclei of which heads disagree; only the lines that are seen are made."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt, Signal
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from napari_cellinterp.gui.crops import swatch
from napari_cellinterp.gui.opinions import SHORT_TITLES
from napari_cellinterp.results.colours import state_colour

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_cellinterp.gui.opinions import Opinions
    from napari_cellinterp.results.table import Classification

N_LINES = 7
"""So many are seen at a time."""


class DisagreementModel(QAbstractTableModel):
    """One line a nucleus: where it is, each head's state (as a colour) and its probability, and how sure both are."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: NDArray[np.int64] = np.empty(0, np.int64)
        self._classification: Classification | None = None
        self._opinions: Opinions | None = None
        self._titles: list[str] = []

    def show(self, classification: Classification | None, opinions: Opinions) -> None:
        """Take other nuclei."""
        self.beginResetModel()
        found = opinions.disagreement
        there = classification is not None and found is not None
        self.rows = found.rows if there else np.empty(0, np.int64)
        self._classification, self._opinions = classification, opinions
        self._titles = ["Track", "Frame", *(SHORT_TITLES[head] for head in opinions.compared), "Sure"]
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Return how many nuclei there are."""
        return len(self.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Return how many columns there are."""
        return len(self._titles)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Name the columns."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        is_last = section == len(self._titles) - 1
        if role == Qt.ItemDataRole.ToolTipRole and is_last:
            return (
                "Of the two heads that differ most firmly, the probability that the less sure one gives its state, %."
            )
        return self._titles[section] if role == Qt.ItemDataRole.DisplayRole else None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Return text and colour of a cell."""
        row, column = int(self.rows[index.row()]), index.column()
        if role == Qt.ItemDataRole.DisplayRole and column < 2:
            return str(self._classification.rows[("track_id", "frame")[column]].iloc[row])
        if column == len(self._titles) - 1:
            sureness = self._opinions.disagreement.sureness[row]
            return f"{100 * sureness:.0f}" if role == Qt.ItemDataRole.DisplayRole else None
        return self._of_head(row, column - 2, role) if column >= 2 else None

    def _of_head(self, row: int, i: int, role: int) -> object:
        opinion = list(self._opinions.compared.values())[i]
        state = int(opinion.state[row]) - 1
        if role == Qt.ItemDataRole.DecorationRole:
            return _icon(state_colour(state))
        if role == Qt.ItemDataRole.ToolTipRole:
            name = self._classification.classes[state]
            return f"{name}: score {opinion.score[row]:+.2f}, probability {opinion.probability[row]:.3f}"
        return f"{100 * opinion.probability[row]:.0f}" if role == Qt.ItemDataRole.DisplayRole else None


@cache
def _icon(colour: str) -> QIcon:
    icon = QIcon(swatch(colour))
    icon.addPixmap(swatch(colour), QIcon.Mode.Selected)  # else Qt tints it
    return icon


class DisagreementTable(QTableView):
    """The list; a click tells which nucleus."""

    row_clicked = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.nuclei = DisagreementModel()
        self.setModel(self.nuclei)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 8)
        self.horizontalHeader().setHighlightSections(False)
        self.setFixedHeight(int((N_LINES + 1.5) * (self.fontMetrics().height() + 8)))
        self.clicked.connect(lambda index: self.row_clicked.emit(int(self.nuclei.rows[index.row()])))

    def show_opinions(self, classification: Classification | None, opinions: Opinions) -> None:
        """List other nuclei."""
        self.nuclei.show(classification, opinions)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        for column, width_px in ((0, 48), (1, 50), (self.nuclei.columnCount() - 1, 42)):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Fixed)
            header.resizeSection(column, width_px)

    def show_selected(self, row: int | None) -> None:
        """Mark a nucleus, where it is in the list."""
        places = np.flatnonzero(self.nuclei.rows == (-1 if row is None else row))
        if len(places):
            self.selectRow(int(places[0]))
        else:
            self.clearSelection()

    def neighbour(self, row: int | None, step: int) -> int | None:
        """Return the next nucleus of the list, or the one before; the first where the given one isn't in it."""
        rows = self.nuclei.rows
        if not len(rows):
            return None
        places = np.flatnonzero(rows == (-1 if row is None else row))
        return int(rows[(int(places[0]) + step) % len(rows)] if len(places) else rows[0])
