"""The second page of the Explore widget: the latents of the selected nucleus along its track."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import QGroupBox, QLabel, QVBoxLayout, QWidget

from napari_cellinterp.gui.crops import CropsCut, cut_crops_job
from napari_cellinterp.gui.notices import show_problem
from napari_cellinterp.gui.plots import TimeAxis, TimePlot
from napari_cellinterp.gui.worker import Jobs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_cellinterp.events import Job
    from napari_cellinterp.gui.model_loader import Questioned
    from napari_cellinterp.gui.session import Session
    from napari_cellinterp.models.bundle import ModelBundle

MAX_LINES = 5
"""So many latents are drawn: those that come first in the list."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8a000")


class Track(NamedTuple):
    """The latents along a track.

    Attributes
    ----------
    frames : (n,) int64
        Counted from 0.
    latents : (n, n_latents) float32
        In each of them.
    """

    frames: NDArray[np.int64]
    latents: NDArray[np.float32]


class LatentsPlot(TimePlot):
    """Latents over time, divisions marked."""

    def sizeHint(self) -> QSize:
        """Ask for less room than pyqtgraph does."""
        return QSize(300, 260)

    def show_track(
        self, track: Track, chosen: list[int], axis: TimeAxis, n_frames: int, divisions: list[float]
    ) -> None:
        """Draw some latents of a track.

        Parameters
        ----------
        track : Track
            What to draw.
        chosen : list of int
            Which latents.
        axis : TimeAxis
            How frames are shown.
        n_frames : int
            Of the movie.
        divisions : list of float
            Frames at which the track begins or ends by a division.
        """
        self.begin(axis, n_frames, "Latent (SD of the prior)")
        time = track.frames * axis.per_frame
        for colour, i in zip(COLOURS, chosen, strict=False):
            pen = pg.mkPen(colour, width=2)
            self.plot(time, track.latents[:, i], pen=pen, symbol="o", symbolSize=4, symbolBrush=colour, symbolPen=None)
        for frame in divisions:
            pen = pg.mkPen("#909090", width=2, style=Qt.PenStyle.DotLine)
            self.addItem(pg.InfiniteLine(frame * axis.per_frame, angle=90, pen=pen), ignoreBounds=True)
        shown = track.latents[:, chosen]
        self.setYRange(min(-1.0, float(shown.min())), max(1.0, float(shown.max())), padding=0.08)


class TrackPage(QWidget):
    """Latents over time; a click goes to a frame.

    Parameters
    ----------
    session : Session
        Whose selection.
    """

    frame_wanted = Signal(int)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session, self._jobs = session, Jobs()
        self._questioned: Questioned | None = None
        self._shown: tuple[object, int] | None = None
        self.track: Track | None = None
        self.plot, self.legend, self.note = LatentsPlot(), QLabel(), QLabel()
        self.plot.setFixedHeight(260)
        self.legend.setWordWrap(True)
        self.note.setWordWrap(True)
        box = QGroupBox("Latents along the track")
        inside = QVBoxLayout(box)
        for part in (self.legend, self.plot, self.note):
            inside.addWidget(part)
        layout = QVBoxLayout(self)
        layout.addWidget(box)
        layout.addStretch(1)
        self.plot.frame_clicked.connect(self.frame_wanted)

    def set_model(self, questioned: Questioned) -> None:
        """Take another model."""
        self._questioned, self._shown = questioned, None

    def show_selected(self) -> None:
        """Show the track of the selected nucleus; it is cropped and encoded in a thread."""
        session, row = self._session, self._session.row
        if row is None or self._questioned is None:
            return
        nucleus = session.classification.rows.iloc[row]
        track = session.classification, int(nucleus["track_id"])
        if track != self._shown:
            self._shown = track
            self.note.setText("Reading the track…")
            bundle, rows = self._questioned.bundle, session.track_rows(row)
            movie, result, channels = session.movie, session.classification, session.channels
            self._jobs.start(
                lambda: _track_job(bundle, cut_crops_job(movie, result, rows, channels), result),
                lambda _: None,
                self._show_track,
                self._on_error,
                lambda: None,
            )
        self.plot.set_frame(int(nucleus["frame"]))

    def show_titles(self) -> None:
        """Name the lines as the latents are called now."""
        if self._questioned is not None:
            titles = [escape(self._questioned.titles[i]).replace(" ", "&nbsp;") for i in self._chosen()]
            parts = [
                f'<span style="color:{colour}">■</span>&nbsp;{title}'
                for colour, title in zip(COLOURS, titles, strict=False)
            ]
            self.legend.setText(" &nbsp; ".join(parts))

    def drop(self) -> None:
        """Don't listen to a track that is read."""
        self._jobs.drop()

    def _chosen(self) -> list[int]:
        return self._questioned.order[:MAX_LINES]

    def _show_track(self, track: Track) -> None:
        self.track = track
        movie = self._session.movie
        axis = TimeAxis.of(movie.frame_interval_min, movie.n_frames)
        divisions, said = self._divisions(track)
        self.plot.show_track(track, self._chosen(), axis, movie.n_frames, divisions)
        self.plot.set_frame(int(self._session.nucleus()["frame"]))
        self.show_titles()
        self.note.setText(f"Track {self._shown[1]}{said}. Click the plot to go to a frame.")

    def _divisions(self, track: Track) -> tuple[list[float], str]:
        """Frames between which the track begins or ends by a division, and that in words."""
        rows, track_id = self._session.classification.rows, self._shown[1]
        own = rows[rows["track_id"] == track_id]
        places, words = [], ""
        parent = int(own["parent_track_id"].iloc[0])
        if parent > 0:
            places.append(float(track.frames[0]) - 0.5)
            words += f", daughter of track {parent}"
        daughters = (
            rows.loc[rows["parent_track_id"] == track_id, "track_id"].unique() if "parent_track_id" in own else ()
        )
        if len(daughters):
            places.append(float(track.frames[-1]) + 0.5)
            words += f", divides into tracks {', '.join(map(str, daughters))}"
        return places, f"{words} (dotted lines: divisions)" if places else words

    def _on_error(self, error: Exception) -> None:
        self._shown = None
        self.note.setText("The track couldn't be read.")
        show_problem(error)


def _track_job(bundle: ModelBundle, crops: Job[None], result: object) -> Job[Track]:
    """Encode the crops of a track, frame by frame."""
    import torch

    frames, latents = [], []
    for event in crops:
        yield event
        if isinstance(event, CropsCut):
            with torch.inference_mode():
                latents.append(bundle.encoder.encode(torch.from_numpy(event.x)).numpy())
            frames.append(result.rows["frame"].to_numpy()[event.rows])
    return Track(np.concatenate(frames), np.concatenate(latents))
