"""A strip of decoded nuclei with the value above and the score below each; a click on one goes there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_cellinterp.gui.crops import crop_picture
from napari_cellinterp.gui.score_panel import deciding_score, state_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QPixmap

    from napari_cellinterp.config import HeadName
    from napari_cellinterp.explain.traversal import Traversal

N_TILES = 9
TEXT_PX = 16


class Filmstrip(QWidget):
    """Tiles of a traversal, as wide as the widget."""

    clicked = Signal(int)
    """Index of the tile."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._pictures: list[QPixmap] = []
        self._above: Sequence[str] = ()
        self._below: list[tuple[str, str]] = []
        self._text_colour = "#909090"
        self.setMinimumHeight(self.sizeHint().height())

    def sizeHint(self) -> QSize:
        """Tiles of 40 pixels with a line of text above and below."""
        return QSize(N_TILES * 42, 42 + 2 * TEXT_PX)

    def set_colour(self, colour: str) -> None:
        """Write in a colour that can be read on the background."""
        self._text_colour = colour
        self.update()

    def show_traversal(
        self, traversal: Traversal, head: HeadName, classes: Sequence[str], above: Sequence[str]
    ) -> None:
        """Show the images of a traversal, a head's score and state below each, and a text above."""
        self._pictures = [crop_picture(image, 64) for image in traversal.images]
        self._above = above
        scores = traversal.scores[head]
        self._below = [(_short(deciding_score(row)), state_of(row[None], classes)[1]) for row in np.atleast_2d(scores)]
        self.update()

    def scores(self) -> list[str]:
        """Return the texts below the tiles."""
        return [text for text, _ in self._below]

    def paintEvent(self, event: object) -> None:
        """Draw the tiles."""
        if not self._pictures:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        font = painter.font()
        font.setPixelSize(11)
        painter.setFont(font)
        width = self.width() / len(self._pictures)
        side = min(width - 2, self.height() - 2 * TEXT_PX)
        centre = Qt.AlignmentFlag.AlignCenter
        for i, picture in enumerate(self._pictures):
            left, (score, colour) = i * width + (width - side) / 2, self._below[i]
            target = QRectF(left, TEXT_PX, side, side)
            painter.drawPixmap(target, picture, QRectF(picture.rect()))
            painter.setPen(QColor(self._text_colour))
            painter.drawText(QRectF(i * width, 0, width, TEXT_PX), centre, self._above[i])
            below = QRectF(i * width, TEXT_PX + side, width, TEXT_PX)
            painter.fillRect(QRectF(left, TEXT_PX + side, side, 3), QColor(colour))
            painter.drawText(below.translated(QPointF(0, 3)), centre, score)

    def mousePressEvent(self, event: object) -> None:
        """Tell which tile was clicked."""
        if self._pictures:
            place = int(event.position().x() / self.width() * len(self._pictures))
            self.clicked.emit(min(max(place, 0), len(self._pictures) - 1))


def _short(score: float) -> str:
    return "n/a" if not np.isfinite(score) else f"{score:+.1f}" if abs(score) < 100 else f"{score:+.0f}"
