"""Figures of matplotlib in a widget: on a white sheet in every theme, just as they are exported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from qtpy.QtCore import QPointF, QTimer, Signal
from qtpy.QtGui import QColor, QPainter, QPen
from qtpy.QtWidgets import QFileDialog, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_cellinterp.errors import CellInterpError
from napari_cellinterp.gui.notices import show_problem
from napari_cellinterp.results.files import written_beside

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from matplotlib.axes import Axes
    from matplotlib.backend_bases import MouseEvent
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike
    from qtpy.QtGui import QPaintEvent, QResizeEvent, QWheelEvent

REACH_PX = 12
"""A click this near to a point of a figure, in screen pixels, means it."""


RING_PX = 9
"""Radius of the ring around a point that was chosen."""


class Sheet(FigureCanvasQTAgg):
    """A figure as wide as there is room: it keeps its inches, so that its texts keep their places.

    Parameters
    ----------
    figure : Figure
        What is shown.
    """

    def __init__(self, figure: Figure) -> None:
        super().__init__(figure)
        self._width_inches, self._height_inches = figure.get_size_inches()
        self._ringed: tuple[float, float] | None = None
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    @property
    def ringed(self) -> tuple[float, float] | None:
        """The point of the first axes that is ringed, or None."""
        return self._ringed

    def ring(self, point: tuple[float, float] | None) -> None:
        """Ring a point of the first axes, or none; the figure itself stays as it is, and isn't drawn anew."""
        self._ringed = point
        self.update()

    def fit(self, width: int) -> None:
        """Become as high as a width needs, so that no layout squeezes the figure."""
        self.setFixedHeight(max(1, round(width * self._height_inches / self._width_inches)))

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Scale the figure to the width."""
        self.figure.dpi = event.size().width() * self.device_pixel_ratio / self._width_inches
        super().resizeEvent(event)
        QTimer.singleShot(0, self._fit)  # Qt loses a resize within a resize

    def _fit(self) -> None:
        self.fit(self.width())

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the figure, and the ring over it."""
        super().paintEvent(event)
        if self._ringed is not None:
            across, up = self.figure.axes[0].transData.transform(self._ringed)
            middle = QPointF(across, self.figure.bbox.height - up) / self.device_pixel_ratio
            painter = QPainter(self)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setPen(QPen(QColor("black"), 2))
            painter.drawEllipse(middle, RING_PX, RING_PX)
            painter.end()

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Leave the wheel to the page, which scrolls."""
        event.ignore()


class FigureView(QWidget):
    """Shows one figure at a time."""

    pressed = Signal(object)
    """The figure was clicked: matplotlib's event."""
    hovered = Signal(object)
    """The mouse moved over it: matplotlib's event."""

    def __init__(self) -> None:
        super().__init__()
        self.sheet: Sheet | None = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)

    @property
    def figure(self) -> Figure | None:
        """What is shown, or None."""
        return None if self.sheet is None else self.sheet.figure

    def show_figure(self, figure: Figure | None) -> None:
        """Show a figure in place of the one before, or none."""
        before, self.sheet = self.sheet, None
        if figure is not None:
            self.sheet = Sheet(figure)
            self.sheet.mpl_connect("button_press_event", self.pressed.emit)
            self.sheet.mpl_connect("motion_notify_event", self.hovered.emit)
            self.sheet.fit(self.width())
            self.layout().addWidget(self.sheet)
            self.sheet.show()  # at once, lest the page closes up for a moment
        if before is not None:
            self.layout().removeWidget(before)
            before.hide()
            before.deleteLater()


def nearest(axes: Axes, points: ArrayLike, event: MouseEvent) -> int | None:
    """Return which of some points (n, 2) in the axes was clicked, or None where none is near."""
    points = np.asarray(points, np.float64).reshape(-1, 2)
    if not len(points):
        return None
    away = np.hypot(*(axes.transData.transform(points) - (event.x, event.y)).T)
    found = int(np.nanargmin(away)) if np.isfinite(away).any() else 0
    return found if away[found] <= REACH_PX * event.canvas.device_pixel_ratio else None


def figure_formats(view: FigureView, *, outlined: bool = False) -> dict[str, Callable[[], bytes]]:
    """Return what writes the figure of a view, by the ending of the file; see `svg` for outlined text."""

    def write(ending: str) -> bytes:
        from napari_cellinterp.explain.figure_parts import pdf, png, svg

        match ending:
            case ".svg":
                return svg(view.figure, outlined=outlined)
            case ".pdf":
                return pdf(view.figure)
        return png(view.figure)

    return {ending: lambda ending=ending: write(ending) for ending in (".svg", ".png", ".pdf")}


class ExportButton(QPushButton):
    """Asks where to, and writes a file in the format of its ending.

    Parameters
    ----------
    formats : mapping of str to callable
        What makes the content, by ending; the first is the default.
    name : callable
        Gives the name of the file that is offered, without ending.
    """

    def __init__(self, formats: Mapping[str, Callable[[], bytes]], name: Callable[[], str]) -> None:
        super().__init__("Export…")
        self._formats, self._name = formats, name
        self.setToolTip(f"Save as {', '.join(ending[1:].upper() for ending in formats)}.")
        self.clicked.connect(self.ask)

    def ask(self) -> None:
        """Ask for a file, and write it."""
        filters = ";;".join(f"{ending[1:].upper()} (*{ending})" for ending in self._formats)
        path, chosen = QFileDialog.getSaveFileName(self, "Export", self._name(), filters)
        if path:
            ending = next(ending for ending in self._formats if f"*{ending}" in chosen)
            self.save(Path(path) if Path(path).suffix in self._formats else Path(f"{path}{ending}"))

    def save(self, path: Path) -> None:
        """Write a file in the format of its ending; what goes wrong is shown."""
        try:
            with written_beside(path) as beside:
                beside.write_bytes(self._formats[path.suffix]())
        except CellInterpError as error:
            show_problem(error)
