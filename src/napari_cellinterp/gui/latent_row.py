"""One latent as a row: which heads read it, its name, a slider with the population's ticks, its value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPen
from qtpy.QtWidgets import QDoubleSpinBox, QHBoxLayout, QLabel, QLineEdit, QSizePolicy, QSlider, QToolButton, QWidget

from napari_cellinterp.results.colours import state_colour

if TYPE_CHECKING:
    from napari_cellinterp.explain.traversal import LatentRange

N_STEPS = 600
NUDGE = 0.1
"""Standard deviations that a key moves a latent."""

SHORT_HEADS = {"sparse": "S", "symbolic": "F", "dense": "D"}
NAME_WIDTH_PX, MARK_WIDTH_PX, VALUE_WIDTH_PX = 146, 24, 50
HANDLE_PX = 12
LANE_PX = 4
"""Height of a state's line below the groove."""


class LatentSlider(QSlider):
    """A slider over a range, with a line a state below it: from its 5 to its 95 % quantile, a dot at the median."""

    moved = Signal(float)
    """The person moved it: the value."""

    def __init__(self) -> None:
        super().__init__(Qt.Orientation.Horizontal)
        self.setRange(0, N_STEPS)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._range: LatentRange | None = None
        self._start = 0.0
        self.valueChanged.connect(lambda step: self.moved.emit(self._value(step)))

    def sizeHint(self) -> QSize:
        """Leave room for a line a state."""
        return QSize(110, 20 + LANE_PX * self._n_lanes())

    def set_range(self, span: LatentRange, start: float) -> None:
        """Set ends and ticks, and the nucleus's own value."""
        self._range, self._start = span, start
        self.setFixedHeight(self.sizeHint().height())
        self.setSingleStep(max(1, round(NUDGE / (span.high - span.low) * N_STEPS)))
        self.update()

    def show_value(self, value: float) -> None:
        """Move the handle without telling."""
        share = (value - self._range.low) / (self._range.high - self._range.low)
        self.blockSignals(True)
        self.setValue(round(share * N_STEPS))
        self.blockSignals(False)

    def paintEvent(self, event: object) -> None:
        """Draw the groove, the ticks and the handle."""
        if self._range is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        grey = QColor("#909090")
        painter.fillRect(QRectF(HANDLE_PX / 2, 9, self.width() - HANDLE_PX, 2), grey)
        for lane, (_, quantiles) in enumerate(self._range.ticks.items()):
            self._paint_lane(painter, lane, quantiles)
        start = self._x(self._start)
        painter.setPen(QPen(grey, 2))
        painter.drawLine(QPointF(start, 3), QPointF(start, 17))
        focused = self.hasFocus()
        painter.setPen(QPen(QColor("white" if focused else "#404040"), 1.5))
        painter.setBrush(QColor("#5a8dee" if focused else "#b0b0b0"))
        radius = HANDLE_PX / 2 - 1
        painter.drawEllipse(QPointF(self._x(self._value(self.value())), 10), radius, radius)

    def mousePressEvent(self, event: object) -> None:
        """Jump to where the groove is clicked, and drag on from there."""
        self.setFocus()
        self.setSliderDown(True)
        self._follow(event)

    def mouseMoveEvent(self, event: object) -> None:
        """Follow the mouse."""
        if self.isSliderDown():
            self._follow(event)

    def mouseReleaseEvent(self, event: object) -> None:
        """End the drag."""
        self.setSliderDown(False)

    def wheelEvent(self, event: object) -> None:
        """Leave the wheel to the list of latents, which it scrolls."""
        event.ignore()

    def _follow(self, event: object) -> None:
        share = (event.position().x() - HANDLE_PX / 2) / max(1, self.width() - HANDLE_PX)
        self.setValue(round(min(max(share, 0), 1) * N_STEPS))

    def _paint_lane(self, painter: QPainter, lane: int, quantiles: tuple[float, ...]) -> None:
        y = 20 + LANE_PX * lane
        low, median, high = (self._x(value) for value in quantiles)
        painter.setPen(QPen(QColor(state_colour(lane)), 1.5))
        painter.drawLine(QPointF(low, y), QPointF(high, y))
        painter.setBrush(QColor(state_colour(lane)))
        painter.drawEllipse(QPointF(median, y), 1.5, 1.5)

    def _n_lanes(self) -> int:
        return len(self._range.ticks) if self._range is not None else 2

    def _value(self, step: int) -> float:
        if self._range is None:
            return 0.0
        return self._range.low + step / N_STEPS * (self._range.high - self._range.low)

    def _x(self, value: float) -> float:
        share = (value - self._range.low) / (self._range.high - self._range.low)
        return HANDLE_PX / 2 + min(max(share, 0), 1) * (self.width() - HANDLE_PX)


class LatentRow(QWidget):
    """A latent's marks, name, slider, value and reset.

    Parameters
    ----------
    index : int
        Of the latent.
    """

    moved = Signal(int, float)
    """The person set another value."""
    settled = Signal()
    """The person let go of the slider."""
    reset_wanted = Signal(int)
    renamed = Signal(int, str)
    chosen = Signal(int)
    """The row got the focus."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index
        self.marks, self.name = QLabel(), QLineEdit()
        self.slider, self.value, self.reset = LatentSlider(), QDoubleSpinBox(), QToolButton()
        self.marks.setFixedWidth(MARK_WIDTH_PX)
        self.name.setFixedWidth(NAME_WIDTH_PX)
        self.name.setFrame(False)
        self.name.setStyleSheet("background: transparent;")
        # the viewer's own style asks for more
        self.value.setStyleSheet(f"min-width: {VALUE_WIDTH_PX}px; max-width: {VALUE_WIDTH_PX}px; padding: 1px;")
        self.value.setDecimals(2)
        self.value.setSingleStep(NUDGE)
        self.value.setKeyboardTracking(False)
        self.value.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
        self.value.setToolTip("Standard deviations of the prior.")
        self.reset.setText("↺")
        self.reset.setToolTip("Back to the nucleus's own value.")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(2, 1, 2, 1)
        layout.setSpacing(4)
        for part in (self.marks, self.name, self.slider, self.value, self.reset):
            layout.addWidget(part)
        layout.setStretch(2, 1)
        self._connect()

    def set_latent(self, title: str, readers: list[str], span: LatentRange, start: float) -> None:
        """Show which latent it is, and for which nucleus."""
        self.name.setText(title)
        self.name.setCursorPosition(0)
        self.name.setToolTip(f"z{self.index}. Type another name; an empty one brings the automatic name back.")
        self.marks.setText(" ".join(SHORT_HEADS[head] for head in readers))
        self.marks.setToolTip(f"Read by: {', '.join(readers)}." if readers else "No readable head reads it alone.")
        self.value.blockSignals(True)
        self.value.setRange(span.low, span.high)
        self.value.blockSignals(False)
        self.slider.set_range(span, start)

    def show_value(self, value: float, *, is_changed: bool) -> None:
        """Show a value without telling."""
        self.slider.show_value(value)
        self.value.blockSignals(True)
        self.value.setValue(value)
        self.value.blockSignals(False)
        self.reset.setEnabled(is_changed)

    def _connect(self) -> None:
        self.slider.moved.connect(lambda value: self.moved.emit(self.index, value))
        self.slider.sliderReleased.connect(self.settled)
        self.slider.sliderPressed.connect(lambda: self.chosen.emit(self.index))
        self.value.valueChanged.connect(lambda value: self.moved.emit(self.index, value))
        self.value.editingFinished.connect(self.settled)
        self.reset.clicked.connect(lambda: self.reset_wanted.emit(self.index))
        self.name.editingFinished.connect(lambda: self.renamed.emit(self.index, self.name.text()))
