"""A small table of numbers with names at two sides, as high as it needs to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

if TYPE_CHECKING:
    from collections.abc import Sequence

LINE_PX = 24
SHADE = QColor(86, 180, 233)
MAX_ALPHA = 150


class NumberTable(QTableWidget):
    """Texts, each shaded by a share."""

    chosen = Signal(int, int)
    """A cell was clicked: line and column."""

    def __init__(self) -> None:
        super().__init__()
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWordWrap(False)
        for header in (self.horizontalHeader(), self.verticalHeader()):
            header.setHighlightSections(False)
            header.setSectionsClickable(False)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.verticalHeader().setDefaultSectionSize(LINE_PX)
        self.cellClicked.connect(self.chosen)

    def show_cells(
        self,
        lines: Sequence[str],
        columns: Sequence[str],
        cells: Sequence[Sequence[tuple[str, float, str]]],
    ) -> None:
        """Fill the table.

        Parameters
        ----------
        lines, columns : sequence of str
            Names.
        cells : sequence of sequences of tuples
            Text, share that shades it (0 to 1), and tooltip of each cell, line by line.
        """
        self.setRowCount(len(lines))
        self.setColumnCount(len(columns))
        self.setVerticalHeaderLabels(list(lines))
        self.setHorizontalHeaderLabels(list(columns))
        for i, line in enumerate(cells):
            for j, (text, share, tip) in enumerate(line):
                item, shade = QTableWidgetItem(text), QColor(SHADE)
                shade.setAlpha(round(MAX_ALPHA * share))
                item.setBackground(shade)
                item.setToolTip(tip)
                item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
                self.setItem(i, j, item)
        self.setFixedHeight(LINE_PX * len(lines) + self.horizontalHeader().sizeHint().height() + 4)
