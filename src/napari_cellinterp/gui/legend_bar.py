"""What the colours of nuclei mean: kinds with their numbers, or a scale."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QHBoxLayout, QLabel, QWidget

from napari_cellinterp.results.colours import state_colour

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_cellinterp.gui.map_colours import Colouring

BAR_WIDTH_PX, BAR_HEIGHT_PX = 140, 10


class LegendBar(QWidget):
    """A line of text with swatches, or a bar of colours between two numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.bar, self.high = QLabel(), QLabel(), QLabel()
        self.text.setWordWrap(True)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for part in (self.text, self.bar, self.high):
            layout.addWidget(part)
        layout.addStretch(1)

    def show_colouring(self, colouring: Colouring) -> None:
        """Show what colours mean."""
        for part in (self.bar, self.high):
            part.setVisible(colouring.scale is not None)
        self.layout().setStretch(0, 0 if colouring.scale else 1)
        self.layout().setStretch(3, 1 if colouring.scale else 0)
        if colouring.scale is None:
            self.text.setText(swatches(colouring.entries))
            return
        low, high, table = colouring.scale
        self.text.setText(f"{low:.2f}")
        self.high.setText(f"{high:.2f}")
        self.bar.setPixmap(_bar(table))


def swatches(entries: Sequence[tuple[str, str, int]]) -> str:
    """Return names with their colours and numbers of nuclei, as rich text."""
    return " &nbsp; ".join(f"{_named(name, colour)}&nbsp;({n:,})" for name, colour, n in entries)


def colour_names(classes: Sequence[str]) -> str:
    """Return the states with their colours, as rich text."""
    return " &nbsp; ".join(_named(name, state_colour(i)) for i, name in enumerate(classes))


def _named(name: str, colour: str) -> str:
    return f'<span style="color:{colour}">■</span>&nbsp;{escape(name).replace(" ", "&nbsp;")}'


def _bar(table: NDArray[np.uint8]) -> QPixmap:
    line = np.ascontiguousarray(table[None])
    image = QImage(line.data, len(table), 1, 4 * len(table), QImage.Format.Format_RGBA8888).copy()
    return QPixmap.fromImage(image).scaled(BAR_WIDTH_PX, BAR_HEIGHT_PX, Qt.AspectRatioMode.IgnoreAspectRatio)
