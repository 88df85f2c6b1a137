"""What a job in the background is doing, and a button that cancels it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QToolButton, QWidget

if TYPE_CHECKING:
    from napari_cellinterp.events import Event


class ProgressRow(QWidget):
    """A sentence, a bar and a button; seen only while something runs."""

    cancelled = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.text, self.bar, self.cancel = QLabel(), QProgressBar(), QToolButton()
        self.text.setWordWrap(True)
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(6)
        self.bar.setFixedWidth(90)
        self.cancel.setText("Cancel")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.text, 1)
        layout.addWidget(self.bar)
        layout.addWidget(self.cancel)
        self.cancel.clicked.connect(self.cancelled)
        self.hide()

    def begin(self, text: str) -> None:
        """Say what begins."""
        self.text.setText(text)
        self.bar.setRange(0, 0)
        self.show()

    def show_event(self, event: Event) -> None:
        """Show how far it is."""
        if getattr(event, "done", 0):
            self.bar.setRange(0, event.total)
            self.bar.setValue(event.done)
