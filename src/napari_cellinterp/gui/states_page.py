"""The second page of the Classify widget: how many nuclei have which state, now and over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QGridLayout, QGroupBox, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_cellinterp.gui.crops import swatch
from napari_cellinterp.gui.plots import StatesPlot, TimeAxis
from napari_cellinterp.results.colours import UNDEFINED_COLOUR, state_colour

if TYPE_CHECKING:
    from napari_cellinterp.gui.session import Session

NOVEL_HELP = "Nuclei unlike those that the model was trained on, or blank, saturated or blurred; counted apart."


class Legend(QWidget):
    """Colour and name of each state, and how many nuclei have it in this frame and in all."""

    def __init__(self) -> None:
        super().__init__()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setColumnStretch(1, 1)
        self._rows: dict[str, tuple[QLabel, QLabel]] = {}

    def set_states(self, colours: dict[str, str | None]) -> None:
        """List states with their colours; None for no swatch."""
        while self._grid.count():
            self._grid.takeAt(0).widget().deleteLater()
        self._rows = {}
        for column, title in enumerate(("", "", "this frame", "all frames")):
            self._grid.addWidget(_number(title), 0, column)
        for row, (name, colour) in enumerate(colours.items(), start=1):
            patch = QLabel()
            if colour is not None:
                patch.setPixmap(swatch(colour))
            title, now, total = QLabel(name), _number(), _number()
            if name == "novel":
                title.setText("flagged as novel")
                title.setToolTip(NOVEL_HELP)
            for column, widget in enumerate((patch, title, now, total)):
                self._grid.addWidget(widget, row, column)
            self._rows[name] = now, total

    def set_counts(self, now: dict[str, int], total: dict[str, int]) -> None:
        """Show the counts of one frame and of all."""
        for name, (here, everywhere) in self._rows.items():
            here.setText(f"{now[name]:,}")
            everywhere.setText(f"{total[name]:,}")

    def counts(self) -> dict[str, tuple[str, str]]:
        """Return what is shown: this frame and all frames, by state."""
        return {name: (now.text(), total.text()) for name, (now, total) in self._rows.items()}


class StatesPage(QWidget):
    """Legend, states over time, and the export.

    Parameters
    ----------
    session : Session
        Whose classification.
    """

    frame_wanted = Signal(int)
    export_wanted = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.legend, self.plot = Legend(), StatesPlot()
        self.about = QLabel()
        self.about.setWordWrap(True)
        self.export_button = QPushButton("Export…")
        self.export_button.setToolTip("Write nuclei.csv, states.ome.tif, overlay.png and run.json into a folder.")
        states, over_time = QGroupBox("Nuclei"), QGroupBox("States over time")
        QVBoxLayout(states).addWidget(self.legend)
        inside = QVBoxLayout(over_time)
        inside.addWidget(self.plot)
        inside.addWidget(QLabel("Click the plot to go to a frame."))
        layout = QVBoxLayout(self)
        for part in (states, over_time, self.about, self.export_button):
            layout.addWidget(part)
        layout.addStretch(1)
        self.plot.frame_clicked.connect(self.frame_wanted)
        self.export_button.clicked.connect(self.export_wanted)

    def show_result(self) -> None:
        """Show the session's classification."""
        result, movie = self._session.classification, self._session.movie
        if result is None or movie is None:
            return
        self._total = self._session.counts()
        colours: dict[str, str | None] = {name: state_colour(i) for i, name in enumerate(result.classes)}
        if self._total["undefined"]:
            colours["undefined"] = UNDEFINED_COLOUR
        self.legend.set_states(colours | {"novel": None})
        axis = TimeAxis.of(movie.frame_interval_min, movie.n_frames)
        self.plot.show_counts(result.counts_over_time(), result.classes, axis)
        n_tracks = result.rows["track_id"].nunique()
        head = f"formula {result.formula}," if result.formula else f"{result.head} head"
        self.about.setText(f"{n_tracks:,} tracks; {head} of {result.bundle_name}. Scale: {result.scale_reason}.")

    def show_frame(self, frame: int) -> None:
        """Show the counts of a frame."""
        result = self._session.classification
        if result is not None and 0 <= frame < result.n_frames:
            self.legend.set_counts(self._session.counts(frame), self._total)
            self.plot.set_frame(frame)


def _number(text: str = "") -> QLabel:
    label = QLabel(text)
    label.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    return label
