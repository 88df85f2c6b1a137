"""Run button, progress and warnings, at the foot of a widget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLabel, QPlainTextEdit, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_cellinterp.events import FrameClassified, FrameSearched, ScaleChosen, TracksLinked, Warned

if TYPE_CHECKING:
    from napari_cellinterp.events import Event

N_STEPS = 1000
SEARCH_SHARE = 0.7
"""Share of the time that finding nuclei takes, about."""


class RunBar(QWidget):
    """A button that runs and cancels, a progress bar, a line that says what is happening, and the warnings."""

    run_clicked = Signal()
    cancel_clicked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.button, self.bar, self.status = QPushButton("Classify"), QProgressBar(), QLabel()
        self.bar.setRange(0, N_STEPS)
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(6)
        self.status.setWordWrap(True)
        self.warnings = QPlainTextEdit()
        self.warnings.setReadOnly(True)
        self.warnings.setMaximumHeight(72)
        self.warnings.setToolTip("What was odd; the job went on.")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        for part in (self.button, self.bar, self.status, self.warnings):
            layout.addWidget(part)
        self._is_running = False
        self._can_run = False
        self.button.clicked.connect(self._on_clicked)
        self.set_running(False)
        self.warnings.hide()

    @property
    def is_running(self) -> bool:
        """Whether the button cancels."""
        return self._is_running

    def set_can_run(self, can_run: bool) -> None:
        """Allow to run, or not."""
        self._can_run = can_run
        self.button.setEnabled(can_run or self._is_running)

    def set_running(self, is_running: bool) -> None:
        """Turn the button into Cancel, or back."""
        self._is_running = is_running
        self.button.setText("Cancel" if is_running else "Classify")
        self.button.setEnabled(is_running or self._can_run)
        size = self.bar.sizePolicy()
        size.setRetainSizeWhenHidden(True)
        self.bar.setSizePolicy(size)
        self.bar.setVisible(is_running)
        if is_running:
            self.bar.setValue(0)
            self.warnings.clear()
            self.warnings.hide()

    def set_cancelling(self) -> None:
        """Say that the job was asked to stop."""
        self.button.setEnabled(False)

    def _on_clicked(self) -> None:
        (self.cancel_clicked if self._is_running else self.run_clicked).emit()

    def show_event(self, event: Event) -> str | None:
        """Show an event; return what is happening, in words, or None where the event doesn't tell."""
        if isinstance(event, Warned):
            self.warnings.appendPlainText(f"⚠ {event.message}")
            self.warnings.show()
            return None
        if isinstance(event, FrameSearched):
            self.bar.setValue(round(N_STEPS * SEARCH_SHARE * event.done / event.total))
        if isinstance(event, FrameClassified):
            share = SEARCH_SHARE + (1 - SEARCH_SHARE) * event.done / event.total
            self.bar.setValue(round(N_STEPS * share))
        return describe(event)


def describe(event: Event) -> str | None:
    """Return what an event says, in words, or None."""
    match event:
        case FrameSearched():
            return f"Finding nuclei: frame {event.done} of {event.total}, {event.n_nuclei} nuclei"
        case TracksLinked():
            return f"Linked into {event.n_tracks:,} tracks with {event.n_divisions:,} divisions"
        case ScaleChosen():
            return f"Scale: {event.reason}"
        case FrameClassified():
            return f"Classifying: frame {event.done} of {event.total}"
    return None
