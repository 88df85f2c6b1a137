"""The third page of the Explore widget: two nuclei beside each other, and the way from one to the other."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QGridLayout, QGroupBox, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_cellinterp.gui.crops import crop_picture
from napari_cellinterp.gui.filmstrip import N_TILES, Filmstrip

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_cellinterp.gui.exploration import Exploration
    from napari_cellinterp.gui.model_loader import Questioned

PICTURE_PX = 96
N_DIFFERENCES = 6
"""So many latents are listed: those that differ most."""

NOTHING = "Select a nucleus and press “Keep as A”; then select another one."


@dataclass(frozen=True, eq=False)
class Kept:
    """The first nucleus of a comparison.

    Attributes
    ----------
    title : str
        Track and frame.
    crop : (n_channels, 64, 64) float32
        As the model sees it.
    latents : (n_latents,) float32
        Its latents.
    """

    title: str
    crop: NDArray[np.float32]
    latents: NDArray[np.float32]


class ComparePage(QWidget):
    """Nucleus A, nucleus B, the latents in which they differ most, and the decoded way between."""

    latents_wanted = Signal(object)
    """The person clicked a step of the way: its latents."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: Kept | None = None
        self._questioned: Questioned | None = None
        self._exploration: Exploration | None = None
        self._way: NDArray[np.float32] | None = None
        self._title, self._head = "", "sparse"
        self.keep, self.note, self.table, self.strip = QPushButton("Keep as A"), QLabel(NOTHING), QLabel(), Filmstrip()
        self.pictures, self.titles = (QLabel(), QLabel()), (QLabel("A"), QLabel("B"))
        self.note.setWordWrap(True)
        self.table.setTextFormat(Qt.TextFormat.RichText)
        self._build()
        self.keep.clicked.connect(self.keep_nucleus)
        self.strip.clicked.connect(self._take_step)

    def set_model(self, questioned: Questioned, exploration: Exploration) -> None:
        """Take another model; what was kept is of the old one, and goes."""
        self._questioned, self._exploration, self.kept = questioned, exploration, None
        self._show()

    def show_nucleus(self, title: str, head: str) -> None:
        """Take another nucleus as B, and the head whose scores are shown."""
        self._title, self._head = title, head
        self._show()

    def keep_nucleus(self) -> None:
        """Keep the selected nucleus as A."""
        if self._exploration is not None and self._exploration.row is not None:
            self.kept = Kept(self._title, self._exploration.crop, self._exploration.start)
            self._show()

    def _show(self) -> None:
        exploration = self._exploration
        there = self.kept is not None and exploration is not None and exploration.row is not None
        self.note.setVisible(not there or self.kept.title == self._title)
        for part in (self._difference_box, self._way_box):
            part.setVisible(there)
        if exploration is not None and exploration.row is not None:
            self.titles[1].setText(f"B: {self._title}")
            self.pictures[1].setPixmap(crop_picture(exploration.crop, PICTURE_PX))
        if not there:
            self.titles[0].setText("A")
            self.pictures[0].clear()
            return
        self.titles[0].setText(f"A: {self.kept.title}")
        self.pictures[0].setPixmap(crop_picture(self.kept.crop, PICTURE_PX))
        self._show_differences()
        self._show_way()

    def _show_differences(self) -> None:
        a, b = self.kept.latents, self._exploration.start
        active = self._questioned.order
        most = sorted(active, key=lambda i: -abs(float(b[i] - a[i])))[:N_DIFFERENCES]
        rows = "".join(
            f"<tr><td>{escape(self._questioned.titles[i])} (z{i})</td><td align=right>{a[i]:+.2f}</td>"
            f"<td align=right>{b[i]:+.2f}</td><td align=right><b>{b[i] - a[i]:+.2f}</b></td></tr>"
            for i in most
        )
        head = "<tr><td></td><td align=right>A</td><td align=right>B</td><td align=right>B - A</td></tr>"
        self.table.setText(f'<table width="100%" cellpadding=2>{head}{rows}</table>')

    def _show_way(self) -> None:
        from napari_cellinterp.explain.traversal import path

        bundle = self._questioned.bundle
        found = path(bundle, self.kept.latents, self._exploration.start, N_TILES)
        self._way = found.latents
        above = ["A", *[f"{100 * i / (N_TILES - 1):.0f} %" for i in range(1, N_TILES - 1)], "B"]
        self.strip.show_traversal(found, self._head, bundle.info.classes, above)

    def _take_step(self, step: int) -> None:
        self.latents_wanted.emit(self._way[step])

    def _build(self) -> None:
        two = QGroupBox("Two nuclei")
        grid = QGridLayout(two)
        for column, (picture, title) in enumerate(zip(self.pictures, self.titles, strict=True)):
            picture.setFixedHeight(PICTURE_PX)
            picture.setAlignment(Qt.AlignmentFlag.AlignHCenter)
            title.setAlignment(Qt.AlignmentFlag.AlignHCenter)
            grid.addWidget(picture, 0, column)
            grid.addWidget(title, 1, column)
        self.keep.setToolTip("Keep the selected nucleus, to compare others with it.")
        grid.addWidget(self.keep, 2, 0, 1, 2)
        grid.addWidget(self.note, 3, 0, 1, 2)
        self._difference_box, self._way_box = QGroupBox("Largest differences (SD)"), QGroupBox("The way from A to B")
        QVBoxLayout(self._difference_box).addWidget(self.table)
        inside = QVBoxLayout(self._way_box)
        inside.addWidget(self.strip)
        inside.addWidget(QLabel("Click a step to take its latents to the sliders."))
        layout = QVBoxLayout(self)
        for part in (two, self._difference_box, self._way_box):
            layout.addWidget(part)
        layout.addStretch(1)
