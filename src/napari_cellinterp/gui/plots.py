"""Plots that move along with the viewer: states over time, and the score of one track."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QSize, Qt, Signal

from napari_cellinterp.results.colours import state_colour

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

THRESHOLD = 0.0
"""Score at which a nucleus of a model of two classes becomes the upper one."""


HEIGHT_PX = 190


@dataclass(frozen=True)
class TimeAxis:
    """How frames are shown: as frames, or as minutes or hours where the interval is known.

    Attributes
    ----------
    per_frame : float
        Units a frame.
    label : str
        Of the axis, with the unit.
    """

    per_frame: float = 1.0
    label: str = "Frame"

    @classmethod
    def of(cls, frame_interval_min: float | None, n_frames: int) -> TimeAxis:
        """Choose the unit for a movie: hours for one of more than ten hours."""
        if frame_interval_min is None:
            return cls()
        if frame_interval_min * n_frames > 600:
            return cls(frame_interval_min / 60, "Time (h)")
        return cls(frame_interval_min, "Time (min)")

    def frame(self, position: float) -> int:
        """Return the frame nearest to a position on the axis."""
        return round(position / self.per_frame)


class CursorPlot(pg.PlotWidget):
    """A plot that stays as it is under the mouse, with a line at the current position."""

    clicked = Signal(float)
    """Position on the lower axis."""

    def __init__(self) -> None:
        super().__init__(background=None)
        self.setCacheMode(self.CacheModeFlag.CacheNone)  # else the background stays that of the last theme
        self.setFixedHeight(HEIGHT_PX)
        item = self.getPlotItem()
        item.setMenuEnabled(False)
        item.hideButtons()
        item.layout.setContentsMargins(0, 8, 10, 5)
        self.setMouseEnabled(x=False, y=False)
        for side in ("left", "bottom"):
            self.getAxis(side).enableAutoSIPrefix(False)  # which writes 0.4 as 400 (x0.001)
        self.cursor = pg.InfiniteLine(0, angle=90)
        self.scene().sigMouseClicked.connect(self._on_mouse)
        self.set_colour("#909090")

    def set_colour(self, colour: str) -> None:
        """Draw axes, texts and the current position in a colour that can be read on the background."""
        for side in ("left", "bottom"):
            axis = self.getAxis(side)
            axis.setPen(colour)
            axis.setTextPen(colour)
        self.cursor.setPen(pg.mkPen(colour, width=1, style=Qt.PenStyle.DashLine))

    def _on_mouse(self, event: object) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            self.clicked.emit(self.getPlotItem().vb.mapSceneToView(event.scenePos()).x())


class TimePlot(CursorPlot):
    """A plot over time with a line at the current frame; a click goes to a frame."""

    frame_clicked = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.axis = TimeAxis()
        self._n_frames = 1
        self.setMinimumWidth(200)
        self.clicked.connect(self._on_clicked)

    def sizeHint(self) -> QSize:
        """Ask for less room than pyqtgraph does."""
        return QSize(300, HEIGHT_PX)

    def set_frame(self, frame: int) -> None:
        """Move the line to a frame."""
        self.cursor.setValue(frame * self.axis.per_frame)

    def begin(self, axis: TimeAxis, n_frames: int, y_label: str) -> None:
        """Empty the plot, and set its axes."""
        self.axis, self._n_frames = axis, n_frames
        self.clear()
        self.addItem(self.cursor, ignoreBounds=True)
        self.setLabel("bottom", axis.label)
        self.setLabel("left", y_label)
        self.setXRange(0, max(1, n_frames - 1) * axis.per_frame, padding=0.03)

    def _on_clicked(self, x: float) -> None:
        self.frame_clicked.emit(min(max(self.axis.frame(x), 0), self._n_frames - 1))


class StatesPlot(TimePlot):
    """How many nuclei have which state, in each frame."""

    def show_counts(self, counts: NDArray[np.int64], classes: Sequence[str], axis: TimeAxis) -> None:
        """Draw one line a state.

        Parameters
        ----------
        counts : (n_frames, n_classes) int64
            Nuclei of each state.
        classes : sequence of str
            Their names.
        axis : TimeAxis
            How frames are shown.
        """
        self.begin(axis, len(counts), "Nuclei")
        time = np.arange(len(counts)) * axis.per_frame
        for i, name in enumerate(classes):
            pen = pg.mkPen(state_colour(i), width=2)
            symbol = {"symbol": "o", "symbolBrush": state_colour(i), "symbolPen": None} if len(counts) == 1 else {}
            self.plot(time, counts[:, i], pen=pen, name=name, **symbol)
        self.setYRange(0, max(1, int(counts.max(initial=0))), padding=0.05)


class ScorePlot(TimePlot):
    """Score of one nucleus along its track, with the threshold."""

    def show_scores(
        self,
        frames: ArrayLike,
        scores: ArrayLike,
        colours: Sequence[str],
        axis: TimeAxis,
        n_frames: int,
        *,
        threshold: bool = True,
    ) -> None:
        """Draw the scores of a track.

        Parameters
        ----------
        frames, scores : (n,) array
            Along the track; undefined scores are gaps.
        colours : sequence of str
            Colour of each state.
        axis : TimeAxis
            How frames are shown.
        n_frames : int
            Of the movie.
        threshold : bool
            Draw the threshold; a model of several classes has none.
        """
        self.begin(axis, n_frames, "Score")
        time, scores = np.asarray(frames) * axis.per_frame, np.asarray(scores, np.float64)
        grey = pg.mkPen("#909090", width=1)
        if threshold:
            self.addItem(pg.InfiniteLine(THRESHOLD, angle=0, pen=grey), ignoreBounds=True)
        self.plot(time, scores, pen=grey, connect="finite")
        known = np.isfinite(scores)
        brushes = [pg.mkBrush(colour) for colour, there in zip(colours, known, strict=True) if there]
        self.addItem(pg.ScatterPlotItem(time[known], scores[known], brush=brushes, pen=None, size=7))
        shown = scores[known]
        low, high = min(float(shown.min(initial=0)), -1), max(float(shown.max(initial=0)), 1)
        self.setYRange(low, high, padding=0.08)
