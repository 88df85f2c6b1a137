"""Step through formulas from the shortest to the most accurate, on a slider or on their plot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLabel, QSlider, QVBoxLayout, QWidget

from napari_cellinterp.gui.plots import CursorPlot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_cellinterp.explain.rashomon import TrainedModel

POINT_PX, CURRENT_PX = 9, 14
CURRENT_COLOUR = "#e69f00"


class FrontPlot(CursorPlot):
    """Accuracy against size of some formulas; the current one is marked."""

    def __init__(self) -> None:
        super().__init__()
        self._all = pg.ScatterPlotItem(size=POINT_PX)
        self._line = pg.PlotDataItem()
        self._current = pg.ScatterPlotItem(size=CURRENT_PX, brush=CURRENT_COLOUR, pen=None)
        for item in (self._line, self._all, self._current):
            self.addItem(item)
        self.setLabel("bottom", "Size (nodes)")
        self.setLabel("left", "Accuracy (%)")
        self.setMinimumWidth(200)
        self.setToolTip("Each point is a formula; click one to show it.")

    def set_colour(self, colour: str) -> None:
        """Draw axes, texts and points in a colour that can be read on the background."""
        super().set_colour(colour)
        if hasattr(self, "_all"):
            self._all.setPen(colour)
            self._all.setBrush(colour)
            self._line.setPen(pg.mkPen(colour, width=1, style=Qt.PenStyle.DotLine))

    def show_steps(self, steps: Sequence[TrainedModel]) -> None:
        """Draw some formulas."""
        points = _points(steps)
        self._all.setData(pos=points)
        self._line.setData(points)

    def show_current(self, step: TrainedModel) -> None:
        """Mark the current formula."""
        self._current.setData(pos=_points([step]))


class FrontSlider(QWidget):
    """A slider with one step a formula, what the current one costs and is worth, and their plot."""

    moved = Signal(int)
    """The person went to another step."""

    def __init__(self) -> None:
        super().__init__()
        self._steps: Sequence[TrainedModel] = ()
        self._own = ""
        self.slider, self.words, self.plot = QSlider(Qt.Orientation.Horizontal), QLabel(), FrontPlot()
        self.slider.setPageStep(1)
        self.slider.setTickPosition(QSlider.TickPosition.TicksBelow)
        self.slider.setToolTip("From the shortest formula to the most accurate one.")
        self.words.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for part in (self.slider, self.words, self.plot):
            layout.addWidget(part)
        self.slider.valueChanged.connect(self._on_moved)
        self.plot.clicked.connect(self._on_clicked)

    @property
    def current(self) -> TrainedModel:
        """The formula at the slider's position."""
        return self._steps[self.slider.value()]

    def set_steps(self, steps: Sequence[TrainedModel], own: str, current: str) -> None:
        """Take formulas, the one that the model's head uses, and the one to begin with; tell nobody."""
        self._steps, self._own = steps, own
        self.slider.blockSignals(True)
        self.slider.setRange(0, len(steps) - 1)
        self.slider.setValue([step.formula for step in steps].index(current))
        self.slider.blockSignals(False)
        self.slider.setEnabled(len(steps) > 1)
        self.plot.show_steps(steps)
        self._show_current()

    def _show_current(self) -> None:
        step = self.current
        accuracy = f"{100 * step.accuracy:.1f} % of held-out crops right"
        own = "; <b>the model's own</b>" if step.formula == self._own else ""
        place = f"Formula {self.slider.value() + 1} of {len(self._steps)}"
        self.words.setText(f"{place}: {step.expression_size} nodes, {accuracy}{own}.")
        self.plot.show_current(step)

    def _on_moved(self, step: int) -> None:
        self._show_current()
        self.moved.emit(step)

    def _on_clicked(self, size: float) -> None:
        if self._steps:
            away = [abs(step.expression_size - size) for step in self._steps]
            self.slider.setValue(int(np.argmin(away)))


def _points(steps: Sequence[TrainedModel]) -> NDArray[np.float64]:
    return np.array([(step.expression_size, 100 * step.accuracy) for step in steps], np.float64)
