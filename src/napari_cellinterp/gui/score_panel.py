"""What all heads say of the decoded nucleus: score, side of the threshold, label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPen
from qtpy.QtWidgets import QGridLayout, QLabel, QSizePolicy, QWidget

from napari_cellinterp.results.colours import UNDEFINED_COLOUR, state_colour

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float32]

TITLES = {"sparse": "Sparse", "symbolic": "Formula", "dense": "Dense", "cnn": "CNN (of the image)"}
HELP = {
    "sparse": "The sparse network's score of these latents.",
    "symbolic": "The formula's score of these latents.",
    "dense": "The dense network's score of these latents.",
    "cnn": "The CNN reads pixels: this is its score of the decoded image, which is blurred, not of the crop.",
}
NUMBER_PX, STATE_PX = 64, 116
"""Width of the number and of the label."""

SMALLEST_REACH = 3.0
"""The bar reaches at least so far to each side of the threshold."""


class ScoreLine(QWidget):
    """A bar from the threshold to a score, the number and the label; a tick where the nucleus itself was.

    All of it is painted here: labels that change would have the whole dock laid out anew, at each step of a drag.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMinimumWidth(80 + NUMBER_PX + STATE_PX)
        self.number, self.state = "", ""
        self._score, self._start, self._reach, self._colour = 0.0, 0.0, SMALLEST_REACH, UNDEFINED_COLOUR
        self._text_colour = "#909090"

    def sizeHint(self) -> QSize:
        """As high as a line of text."""
        return QSize(260, 20)

    def set_colour(self, colour: str) -> None:
        """Write in a colour that can be read on the background."""
        self._text_colour = colour
        self.update()

    def show_score(self, score: float, start: float, state: str, colour: str) -> None:
        """Show a score and its state, and the nucleus's own score."""
        self.number = f"{score:+.2f}" if np.isfinite(score) else "n/a"
        self.state, self._colour, self._score, self._start = state, colour, score, start
        self._reach = max(SMALLEST_REACH, 1.25 * abs(start) if np.isfinite(start) else 0)
        self.update()

    def paintEvent(self, event: object) -> None:
        """Draw the bar, the threshold, the tick and the texts."""
        painter = QPainter(self)
        width, height = self.width() - NUMBER_PX - STATE_PX, self.height()
        self._paint_bar(painter, width, height)
        painter.setPen(QColor(self._text_colour))
        right, left = (
            side | Qt.AlignmentFlag.AlignVCenter for side in (Qt.AlignmentFlag.AlignRight, Qt.AlignmentFlag.AlignLeft)
        )
        painter.drawText(QRectF(width, 0, NUMBER_PX - 10, height), right, self.number)
        painter.fillRect(QRectF(width + NUMBER_PX, height / 2 - 5, 10, 10), QColor(self._colour))
        painter.drawText(QRectF(width + NUMBER_PX + 16, 0, STATE_PX - 16, height), left, self.state)

    def _paint_bar(self, painter: QPainter, width: float, height: float) -> None:
        if np.isfinite(self._score):
            x = self._x(self._score, width)
            painter.fillRect(QRectF(min(x, width / 2), 4, abs(x - width / 2), height - 8), QColor(self._colour))
        painter.setPen(QPen(QColor("#909090"), 1))
        painter.drawLine(QPointF(width / 2, 1), QPointF(width / 2, height - 1))
        if np.isfinite(self._start):
            painter.setPen(QPen(QColor("#909090"), 2, Qt.PenStyle.DotLine))
            painter.drawLine(QPointF(self._x(self._start, width), 2), QPointF(self._x(self._start, width), height - 2))

    def _x(self, score: float, width: float) -> float:
        return width / 2 * (1 + min(max(score / self._reach, -1), 1))


class ScorePanel(QWidget):
    """One line a head."""

    def __init__(self) -> None:
        super().__init__()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(8)
        self._grid.setColumnStretch(1, 1)
        self._lines: dict[str, ScoreLine] = {}
        self._classes: Sequence[str] = ()
        self._start: dict[str, float] = {}
        self._text_colour = "#909090"

    def set_colour(self, colour: str) -> None:
        """Write in a colour that can be read on the background."""
        self._text_colour = colour
        for line in self._lines.values():
            line.set_colour(colour)

    def set_heads(self, heads: Sequence[str], classes: Sequence[str]) -> None:
        """List the heads that a model has."""
        while self._grid.count():
            self._grid.takeAt(0).widget().deleteLater()
        self._lines, self._classes = {}, classes
        for row, head in enumerate(name for name in TITLES if name in heads):
            title, line = QLabel(TITLES[head]), ScoreLine()
            line.set_colour(self._text_colour)
            for column, widget in enumerate((title, line)):
                widget.setToolTip(HELP[head])
                self._grid.addWidget(widget, row, column)
            self._lines[head] = line

    def set_start(self, scores: Mapping[str, Array]) -> None:
        """Keep the scores of the nucleus itself, to compare with."""
        self._start = {head: deciding_score(found[0]) for head, found in scores.items()}

    def show_scores(self, scores: Mapping[str, Array]) -> None:
        """Show the scores of one nucleus, (1, n_scores) each."""
        for head, line in self._lines.items():
            score, start = deciding_score(scores[head][0]), self._start.get(head, np.nan)
            line.show_score(score, start, *state_of(scores[head], self._classes))

    def texts(self) -> dict[str, tuple[str, str]]:
        """Return what is shown: score and label of each head."""
        return {head: (line.number, line.state) for head, line in self._lines.items()}


def deciding_score(scores: Array) -> float:
    """Return the one score, or of several by how much the largest wins; NaN where it is undefined."""
    if not np.isfinite(scores).all():
        return float("nan")
    ordered = np.sort(scores)
    return float(ordered[-1] if len(ordered) == 1 else ordered[-1] - ordered[-2])


def state_of(scores: Array, classes: Sequence[str]) -> tuple[str, str]:
    """Return name and colour of the state that scores (1, n_scores) mean."""
    from napari_cellinterp.models.heads import UNDEFINED, states_of

    state = int(states_of(scores)[0])
    return ("undefined", UNDEFINED_COLOUR) if state == UNDEFINED else (classes[state], state_colour(state))
