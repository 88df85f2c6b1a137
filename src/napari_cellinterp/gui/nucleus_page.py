"""The third page of the Classify widget: one nucleus, as the model sees it, and its score along its track."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFormLayout, QGroupBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_cellinterp.gui.crops import colour_of_row, crop_picture, cut_crop
from napari_cellinterp.gui.plots import ScorePlot, TimeAxis

if TYPE_CHECKING:
    import pandas as pd

    from napari_cellinterp.gui.session import Session

CROP_SIDE_PX = 128

FACTS = ("State", "Score", "Probability", "Novelty", "Flag", "Track", "Frame")

FLAG_TITLES = {
    "": "none",
    "not_finite": "pixels that aren't numbers",
    "blank": "blank",
    "saturated": "saturated",
    "blurred": "out of focus",
    "unlike_training": "unlike the training data",
}

NOTHING = "Click a nucleus in the viewer to see it here as the model sees it."


class NucleusPage(QWidget):
    """Crop, facts and score of the selected nucleus.

    Parameters
    ----------
    session : Session
        Whose selection.
    """

    frame_wanted = Signal(int)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._track: tuple[object, int] | None = None
        self.crop, self.plot = QLabel(), ScorePlot()
        self.crop.setFixedHeight(CROP_SIDE_PX)
        self.crop.setToolTip("64 x 64 pixels at the model's scale; darkest 1 % black, brightest 0.2 % white.")
        self.facts = {name: QLabel() for name in FACTS}
        self.nothing = QLabel(NOTHING)
        self.nothing.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.addWidget(self.nothing)
        layout.addWidget(self._body())
        layout.addStretch(1)
        self.plot.frame_clicked.connect(self.frame_wanted)
        self.show_selected()

    def show_selected(self) -> None:
        """Show the session's selected nucleus, if there is one."""
        result, movie, row = self._session.classification, self._session.movie, self._session.row
        there = result is not None and movie is not None and row is not None
        self.nothing.setVisible(not there)
        self.body.setVisible(there)
        if not there:
            self._track = None
            return
        x = cut_crop(movie, result, row, self._session.channels)
        self.crop.setPixmap(crop_picture(x, CROP_SIDE_PX))
        nucleus = result.rows.iloc[row]
        self._show_facts(nucleus, colour_of_row(result, row))
        track = result, int(nucleus["track_id"])
        if track != self._track:
            self._track = track
            self._show_track(row)
        self.plot.set_frame(int(nucleus["frame"]))

    def _body(self) -> QWidget:
        self.body = QWidget()
        nucleus, along = QGroupBox("Nucleus"), QGroupBox("Score along its track")
        row = QHBoxLayout(nucleus)
        row.addWidget(self.crop)
        form = QFormLayout()
        form.setContentsMargins(8, 0, 0, 0)
        for name, label in self.facts.items():
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            label.setWordWrap(name == "Flag")
            form.addRow(name, label)
        row.addLayout(form, 1)
        inside = QVBoxLayout(along)
        inside.addWidget(self.plot)
        self.rule = QLabel()
        self.rule.setWordWrap(True)
        inside.addWidget(self.rule)
        layout = QVBoxLayout(self.body)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(nucleus)
        layout.addWidget(along)
        return self.body

    def _show_facts(self, nucleus: pd.Series, colour: str) -> None:
        texts = {
            "State": f'<span style="color:{colour}">■</span> <b>{nucleus["state"] or "undefined"}</b>',
            "Score": _number(nucleus["score"], "+.3f"),
            "Probability": _number(nucleus["probability"], ".3f"),
            "Novelty": _number(nucleus["novelty"], ".2f"),
            "Flag": FLAG_TITLES.get(nucleus["flag"], nucleus["flag"]),
            "Track": str(nucleus["track_id"]),
            "Frame": str(nucleus["frame"]),
        }
        for name, text in texts.items():
            self.facts[name].setText(text)

    def _show_track(self, row: int) -> None:
        result, movie = self._session.classification, self._session.movie
        rows = self._session.track_rows(row)
        table = result.rows.iloc[rows]
        axis = TimeAxis.of(movie.frame_interval_min, movie.n_frames)
        colours = [colour_of_row(result, int(i)) for i in rows]
        binary = len(result.classes) == 2
        self.plot.show_scores(table["frame"], table["score"], colours, axis, movie.n_frames, threshold=binary)
        if binary:
            self.rule.setText(
                f"{result.classes[1].capitalize()} at or above 0 (the grey line), {result.classes[0]} below."
            )
        else:
            self.rule.setText("The winner's score in each frame; the colour is the state.")


def _number(value: float, form: str) -> str:
    return format(value, form) if np.isfinite(value) else "undefined"
