"""A scatter plot of very many nuclei that stays quick, drawn as an image: with a lasso, a zoom, clicks on points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QRectF, QSize, Qt, QTimer, Signal

from napari_cellinterp.explain.embedding import inside_lasso
from napari_cellinterp.gui.raster import draw_points

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEIGHT_PX = 330
REACH_PX = 12
"""A click this near to a point finds it."""

DIMMED = 0.18
"""Opacity of the points that others stand out from."""

MANY = 20_000
"""So many points are drawn small."""

HELP = (
    "Click a point to see its nucleus. Drag to draw around nuclei; Esc clears. "
    "Wheel: zoom. Drag with the middle button: move. Double click: show all."
)


class LassoBox(pg.ViewBox):
    """A view in which a drag with the left button draws a line."""

    drawn = Signal(object, bool)
    """Corners of the line, (n, 2), and whether it is complete."""

    def __init__(self) -> None:
        super().__init__(enableMenu=False)
        self._corners: list[tuple[float, float]] = []

    def mouseDragEvent(self, event: object, axis: int | None = None) -> None:
        """Draw a line; other buttons move and zoom."""
        if event.button() != Qt.MouseButton.LeftButton:
            super().mouseDragEvent(event, axis)
            return
        event.accept()
        if event.isStart():
            start = self.mapToView(event.buttonDownPos())
            self._corners = [(start.x(), start.y())]
        place = self.mapToView(event.pos())
        self._corners.append((place.x(), place.y()))
        self.drawn.emit(np.array(self._corners), event.isFinish())


class MapPlot(pg.PlotWidget):
    """Points in a plane, as many as there are; some may stand out, one is ringed."""

    point_clicked = Signal(int)
    """A point was clicked: its number."""
    lassoed = Signal(object)
    """Numbers of the points inside a line that was drawn."""

    def __init__(self) -> None:
        self._box = LassoBox()
        super().__init__(background=None, viewBox=self._box)
        self.setCacheMode(self.CacheModeFlag.CacheNone)  # else the background stays that of the last theme
        self.setFixedHeight(HEIGHT_PX)
        self.setToolTip(HELP)
        self.hideButtons()
        self.getPlotItem().layout.setContentsMargins(0, 8, 10, 8)
        self._positions, self._colours = np.empty((0, 2), np.float32), np.empty((0, 4), np.uint8)
        self._order = np.empty(0, np.int64)
        self._focus: NDArray[np.int64] | None = None
        self._all, self._some = (pg.ImageItem(axisOrder="row-major") for _ in range(2))
        self._lasso, self._ring = pg.PlotCurveItem(), pg.ScatterPlotItem(size=15, brush=None)
        self._redraw = QTimer(self)
        self._redraw.setSingleShot(True)
        self._redraw.setInterval(0)
        for item in (self._all, self._some, self._lasso, self._ring):
            self._box.addItem(item, ignoreBounds=True)
        self._redraw.timeout.connect(self.draw)
        self._box.sigRangeChanged.connect(lambda *_: self._redraw.start())
        self._box.sigResized.connect(lambda *_: self._redraw.start())
        self._box.drawn.connect(self._on_drawn)
        self.scene().sigMouseClicked.connect(self._on_clicked)
        self.set_colour("#909090")

    def sizeHint(self) -> QSize:
        """Ask for less room than pyqtgraph does."""
        return QSize(300, HEIGHT_PX)

    def set_colour(self, colour: str) -> None:
        """Draw axes, texts, the lasso and the ring in a colour that can be read on the background."""
        for side in ("left", "bottom"):
            self.getAxis(side).setPen(colour)
            self.getAxis(side).setTextPen(colour)
        self._lasso.setPen(pg.mkPen(colour, width=1.5, style=Qt.PenStyle.DashLine))
        self._ring.setPen(pg.mkPen(colour, width=2))

    def show_points(self, positions: NDArray[np.float32], titles: tuple[str, str]) -> None:
        """Show points, all of them in view; those without a finite position aren't drawn.

        Parameters
        ----------
        positions : (n, 2) float32
            x and y.
        titles : tuple of str
            Of the axes, with the unit.
        """
        self._positions = positions
        # in turns, else the nuclei that come last would cover the others
        self._order = np.random.default_rng(0).permutation(len(positions))
        for side, title in zip(("bottom", "left"), titles, strict=True):
            self.setLabel(side, title)
        self.show_all()
        self._redraw.start()

    def show_all(self) -> None:
        """Bring all points into view."""
        known = self._positions[np.isfinite(self._positions).all(axis=1)]
        if len(known):
            (left, bottom), (right, top) = known.min(axis=0).tolist(), known.max(axis=0).tolist()
            room = 1e-3 if left == right or bottom == top else 0
            self.setRange(xRange=(left - room, right + room), yRange=(bottom - room, top + room), padding=0.05)

    def set_colours(self, colours: NDArray[np.uint8]) -> None:
        """Colour the points, (n, 4) uint8."""
        self._colours = colours
        self._redraw.start()

    def set_focus(self, rows: NDArray[np.int64] | None) -> None:
        """Let some points stand out from the others, or none."""
        self._focus = rows
        self._draw_focus()

    def mark(self, row: int | None) -> None:
        """Ring a point, or none."""
        there = row is not None and row < len(self._positions) and np.isfinite(self._positions[row]).all()
        self._ring.setData(*([[float(value)] for value in self._positions[row]] if there else ([], [])))

    def nearest(self, x: float, y: float) -> int | None:
        """Return the point nearest to a place, if it is within reach on the screen."""
        if not len(self._positions):
            return None
        away = np.hypot(*((self._positions - (x, y)) / self._box.viewPixelSize()).T)
        away[~np.isfinite(away)] = np.inf
        row = int(away.argmin())
        return row if away[row] <= REACH_PX else None

    def draw(self) -> None:
        """Draw all points, and those that stand out."""
        self._redraw.stop()
        if len(self._colours) == len(self._positions):
            radius = 1 if len(self._positions) > MANY else 2
            self._draw(self._all, self._order, radius)
            self._draw_focus()

    def _draw_focus(self) -> None:
        self._all.setOpacity(1 if self._focus is None else DIMMED)
        rows = np.empty(0, np.int64) if self._focus is None else self._focus
        if len(self._colours) == len(self._positions):
            self._draw(self._some, rows, 2)

    def _draw(self, item: pg.ImageItem, rows: NDArray[np.int64], radius_px: int) -> None:
        view = self._box.viewRect()
        ratio = self.devicePixelRatioF()
        width, height = (max(1, round(side * ratio)) for side in (self._box.width(), self._box.height()))
        scale = (width / view.width(), height / view.height())
        pixels = (self._positions[rows] - (view.left(), view.top())) * scale
        image = draw_points(pixels, self._colours[rows], (height, width), round(radius_px * ratio))
        item.setImage(image, autoLevels=False)
        item.setRect(QRectF(view.left(), view.top(), view.width(), view.height()))

    def _on_drawn(self, corners: NDArray[np.float64], is_complete: bool) -> None:
        if not is_complete:
            self._lasso.setData(*corners.T)
            return
        self._lasso.setData([], [])
        self.lassoed.emit(np.flatnonzero(inside_lasso(self._positions, corners)))

    def _on_clicked(self, event: object) -> None:
        if event.button() != Qt.MouseButton.LeftButton:
            return
        if event.double():
            self.show_all()
            return
        place = self._box.mapSceneToView(event.scenePos())
        row = self.nearest(place.x(), place.y())
        if row is not None:
            self.point_clicked.emit(row)
