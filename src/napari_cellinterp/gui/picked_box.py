"""The picked nucleus in a few lines: its crop, its state, its score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtWidgets import QGroupBox, QHBoxLayout, QLabel

from napari_cellinterp.errors import CellInterpError
from napari_cellinterp.gui.crops import colour_of_row, crop_picture, cut_crop

if TYPE_CHECKING:
    from napari_cellinterp.gui.session import Session

SIDE_PX = 72
NOTHING = "Click a point, or a nucleus in the viewer."


class PickedBox(QGroupBox):
    """Crop and facts of the selected nucleus.

    Parameters
    ----------
    session : Session
        Whose selection.
    """

    def __init__(self, session: Session) -> None:
        super().__init__("Picked nucleus")
        self._session = session
        self.crop, self.facts = QLabel(), QLabel(NOTHING)
        self.crop.setFixedHeight(SIDE_PX)
        self.facts.setWordWrap(True)
        layout = QHBoxLayout(self)
        layout.addWidget(self.crop)
        layout.addWidget(self.facts, 1)

    def show_selected(self) -> None:
        """Show the session's selected nucleus, if there is one."""
        session, nucleus = self._session, self._session.nucleus()
        if nucleus is None:
            self.crop.clear()
            self.facts.setText(NOTHING)
            return
        result, row = session.classification, session.row
        colour = colour_of_row(result, row)
        score = f"{nucleus['score']:+.2f}" if np.isfinite(nucleus["score"]) else "undefined"
        self.facts.setText(
            f"<b>track {nucleus['track_id']}, frame {nucleus['frame']}</b><br>"
            f'<span style="color:{colour}">■</span> {nucleus["state"] or "undefined"}, score {score}<br>'
            f"novelty {nucleus['novelty']:.2f}"
        )
        try:
            self.crop.setPixmap(crop_picture(cut_crop(session.movie, result, row, session.channels), SIDE_PX, colour))
        except CellInterpError as error:
            self.crop.setText(f"⚠ {error}")
