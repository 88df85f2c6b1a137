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
SMALLEST_REACH = 3.0
"""The bar reaches at least so far to each side of the threshold."""


class ScoreBar(QWidget):
    """A bar from the threshold in the middle to a score; a tick where the nucleus itself was."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMinimumWidth(80)
        self._score, self._start, self._reach, self._colour = 0.0, 0.0, SMALLEST_REACH, UNDEFINED_COLOUR

    def sizeHint(self) -> QSize:
        """As high as a line of text."""
        return QSize(90, 16)

    def show_score(self, score: float, start: float, colour: str) -> None:
        """Show a score, and the nucleus's own one."""
        self._score, self._start, self._colour = score, start, colour
        self._reach = max(SMALLEST_REACH, 1.25 * abs(start) if np.isfinite(start) else 0)
        self.update()

    def paintEvent(self, event: object) -> None:
        """Draw the bar, the threshold and the tick."""
        painter = QPainter(self)
        middle, height = self.width() / 2, self.height()
        if np.isfinite(self._score):
            x = self._x(self._score)
            painter.fillRect(QRectF(min(x, middle), 3, abs(x - middle), height - 6), QColor(self._colour))
        painter.setPen(QPen(QColor("#909090"), 1))
        painter.drawLine(QPointF(middle, 0), QPointF(middle, height))
        if np.isfinite(self._start):
            painter.setPen(QPen(QColor("#909090"), 2, Qt.PenStyle.DotLine))
            painter.drawLine(QPointF(self._x(self._start), 1), QPointF(self._x(self._start), height - 1))

    def _x(self, score: float) -> float:
        share = min(max(score / self._reach, -1), 1)
        return self.width() / 2 * (1 + share)


class ScorePanel(QWidget):
    """One line a head: its name, a bar, its score and its label."""

    def __init__(self) -> None:
        super().__init__()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(8)
        self._grid.setColumnStretch(1, 1)
        self._rows: dict[str, tuple[ScoreBar, QLabel, QLabel]] = {}
        self._classes: Sequence[str] = ()
        self._start: dict[str, float] = {}

    def set_heads(self, heads: Sequence[str], classes: Sequence[str]) -> None:
        """List the heads that a model has."""
        while self._grid.count():
            self._grid.takeAt(0).widget().deleteLater()
        self._rows, self._classes = {}, classes
        for row, head in enumerate(name for name in TITLES if name in heads):
            title, bar, score, label = QLabel(TITLES[head]), ScoreBar(), QLabel(), QLabel()
            for widget in (title, bar, score):
                widget.setToolTip(HELP[head])
            score.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            score.setMinimumWidth(44)
            label.setMinimumWidth(94)
            for column, widget in enumerate((title, bar, score, label)):
                self._grid.addWidget(widget, row, column)
            self._rows[head] = bar, score, label

    def set_start(self, scores: Mapping[str, Array]) -> None:
        """Keep the scores of the nucleus itself, to compare with."""
        self._start = {head: deciding_score(found[0]) for head, found in scores.items()}

    def show_scores(self, scores: Mapping[str, Array]) -> None:
        """Show the scores of one nucleus, (1, n_scores) each."""
        for head, (bar, number, label) in self._rows.items():
            value, (state, colour) = deciding_score(scores[head][0]), state_of(scores[head], self._classes)
            bar.show_score(value, self._start.get(head, np.nan), colour)
            number.setText(f"{value:+.2f}" if np.isfinite(value) else "n/a")
            label.setText(f'<span style="color:{colour}">■</span> {state}')

    def texts(self) -> dict[str, tuple[str, str]]:
        """Return what is shown: score and label of each head."""
        return {head: (number.text(), label.text().rsplit("> ")[-1]) for head, (_, number, label) in self._rows.items()}


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
