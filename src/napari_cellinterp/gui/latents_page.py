"""The first page of the Explore widget: sliders of the latents, live scores, and a filmstrip of the chosen one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_cellinterp.gui.filmstrip import N_TILES, Filmstrip
from napari_cellinterp.gui.latent_row import NUDGE, LatentRow
from napari_cellinterp.gui.model_form import HEAD_TITLES
from napari_cellinterp.gui.score_panel import ScorePanel

if TYPE_CHECKING:
    from napari_cellinterp.explain.traversal import LatentRange, Traversal
    from napari_cellinterp.gui.exploration import Exploration
    from napari_cellinterp.gui.model_loader import Questioned

SETTLE_MS = 500
"""After so long without a move, a step ends."""

PLAY_MS = 90
PLAY_STEPS = 24
"""Steps from one end of a latent's range to the other."""


ONE_SCORE, SEVERAL_SCORES = "Scores, threshold 0", "How far the highest score is ahead"


class LatentsPage(QWidget):
    """Scores of all heads, a slider a latent, and the filmstrip of the one that was touched last."""

    renamed = Signal(int, str)
    """The person named a latent."""

    def __init__(self) -> None:
        super().__init__()
        self.scores, self.strip, self.head = ScorePanel(), Filmstrip(), QComboBox()
        self.rows: dict[int, LatentRow] = {}
        self.inactive = QCheckBox()
        self.undo, self.redo, self.reset_all, self.play = (QToolButton() for _ in range(4))
        self._exploration: Exploration | None = None
        self._questioned: Questioned | None = None
        self._current: int | None = None
        self._ranges: list[LatentRange] = []
        self._shown: dict[int, float] = {}
        self._settle, self._playing, self._play_step = QTimer(self), QTimer(self), 0
        self._build()
        self._connect()

    @property
    def current(self) -> int | None:
        """The latent that was touched last, whose filmstrip is shown."""
        return self._current

    def set_model(self, questioned: Questioned, exploration: Exploration, head: str) -> None:
        """List the latents of a model."""
        self._questioned, self._exploration = questioned, exploration
        info = questioned.bundle.info
        self.scores.set_heads(list(questioned.bundle.heads), info.classes)
        self.scores_box.setTitle(ONE_SCORE if len(info.classes) == 2 else SEVERAL_SCORES)
        self.head.blockSignals(True)
        self.head.clear()
        for name, title in HEAD_TITLES.items():
            if name in questioned.bundle.heads:
                self.head.addItem(title, name)
        self.head.setCurrentIndex(max(0, self.head.findData(head)))
        self.head.blockSignals(False)
        self._fill_rows()
        n = len(questioned.inactive)
        self.inactive.setText(f"Show {n} inactive latent{'s' * (n != 1)}")
        self.inactive.setVisible(n > 0)
        self._current = questioned.order[0] if questioned.order else None

    def show_nucleus(self) -> None:
        """Begin with another nucleus: widen the ranges to its values, and show them."""
        self.stop()
        self._shown.clear()
        start = self._exploration.start
        self._ranges = [span.holding(float(value)) for span, value in zip(self._questioned.ranges, start, strict=True)]
        for i, row in self.rows.items():
            row.set_latent(self._questioned.titles[i], self._questioned.readers[i], self._ranges[i], float(start[i]))
        self.scores.set_start(self._exploration.decoded().scores)

    def show_latents(self, decoded: Traversal) -> None:
        """Show the latents and scores as they are now; rows whose latent stays aren't painted anew."""
        exploration = self._exploration
        latents, start = exploration.latents.tolist(), exploration.start.tolist()
        for i, row in self.rows.items():
            if self._shown.get(i) != latents[i]:
                row.show_value(latents[i], is_changed=latents[i] != start[i])
                self._shown[i] = latents[i]
        self.scores.show_scores(decoded.scores)
        self.undo.setEnabled(exploration.can_undo)
        self.redo.setEnabled(exploration.can_redo)
        self.reset_all.setEnabled(exploration.is_changed)

    def show_titles(self) -> None:
        """Show what the latents are called now."""
        for i, row in self.rows.items():
            row.name.setText(self._questioned.titles[i])
            row.name.setCursorPosition(0)

    def choose(self, index: int) -> None:
        """Show the filmstrip of a latent, and give its slider the focus."""
        self._current = index
        for i, row in self.rows.items():
            row.setStyleSheet("LatentRow { background: rgba(90, 141, 238, 40); }" if i == index else "")
        self.rows[index].slider.setFocus()
        self._list.ensureWidgetVisible(self.rows[index])
        self.show_strip()

    def choose_next(self, step: int) -> None:
        """Go to the next latent, or the one before."""
        shown = [i for i, row in self.rows.items() if row.isVisibleTo(self)]
        if shown:
            place = shown.index(self._current) if self._current in shown else -1
            self.choose(shown[(place + step) % len(shown)])

    def nudge(self, step: int) -> None:
        """Move the chosen latent by a little."""
        if self._current is not None and self._exploration is not None:
            span = self._ranges[self._current]
            value = float(self._exploration.latents[self._current]) + step * NUDGE
            self._move(self._current, min(max(value, span.low), span.high))

    def show_strip(self) -> None:
        """Decode the filmstrip of the chosen latent."""
        if self._current is None or self._exploration is None or self._exploration.row is None:
            return
        from napari_cellinterp.explain.traversal import traverse

        bundle = self._questioned.bundle
        values = self._strip_values()
        found = traverse(bundle, self._exploration.latents, self._current, values)
        self.strip.show_traversal(found, self.head.currentData(), bundle.info.classes, [f"{v:+.1f}" for v in values])
        title = self._questioned.titles[self._current]
        self._strip_box.setTitle(f"Filmstrip: {title} (z{self._current})")

    def stop(self) -> None:
        """Stop to play."""
        if self._playing.isActive():
            self._playing.stop()
            self._exploration.move(self._current, self._play_from)
        self.play.setText("▶ Play")

    def _toggle_play(self) -> None:
        if self._playing.isActive():
            self.stop()
        elif self._current is not None:
            self._exploration.settle()
            self._play_from, self._play_step = float(self._exploration.latents[self._current]), 0
            self.play.setText("■ Stop")
            self._playing.start(PLAY_MS)

    def _play_on(self) -> None:
        """Go to the next value: from one end of the range to the other, and back."""
        span = self._ranges[self._current]
        self._play_step += 1
        if self._play_step > 2 * PLAY_STEPS:
            self.stop()
            return
        share = 1 - abs(self._play_step / PLAY_STEPS - 1)
        self._exploration.move(self._current, span.low + share * (span.high - span.low))

    def _strip_values(self) -> np.ndarray:
        span = self._ranges[self._current]
        return np.linspace(span.low, span.high, N_TILES)

    def _move(self, index: int, value: float) -> None:
        if self._playing.isActive():
            self.stop()
        if index != self._current:
            self.choose(index)
        self._shown.pop(index, None)  # the row shows what the person set, which may not be what it comes to
        self._exploration.move(index, value)
        self._settle.start(SETTLE_MS)

    def _end_step(self) -> None:
        self._settle.stop()
        if self._exploration is not None and not self._playing.isActive():
            self._exploration.settle()

    def _fill_rows(self) -> None:
        for row in self.rows.values():
            row.deleteLater()
        self.rows = {}
        for i in [*self._questioned.order, *self._questioned.inactive]:
            row = self.rows[i] = LatentRow(i)
            row.moved.connect(self._move)
            row.settled.connect(self._end_step)
            row.chosen.connect(self.choose)
            row.reset_wanted.connect(self._reset)
            row.renamed.connect(self._rename)
            row.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
            self._rows_layout.addWidget(row)
        self._show_inactive()

    def _reset(self, index: int | None = None) -> None:
        self.stop()
        self._exploration.reset(index)

    def _rename(self, index: int, name: str) -> None:
        if name != self._questioned.titles[index]:
            self.renamed.emit(index, name)

    def _show_inactive(self) -> None:
        for i in self._questioned.inactive if self._questioned is not None else ():
            self.rows[i].setVisible(self.inactive.isChecked())

    def _build(self) -> None:
        self.scores_box, latents, self._strip_box = QGroupBox(ONE_SCORE), QGroupBox("Latents"), QGroupBox("Filmstrip")
        QVBoxLayout(self.scores_box).addWidget(self.scores)
        inside = QVBoxLayout(latents)
        inside.setSpacing(2)
        legend = QLabel("S sparse network, F formula read it. Lines: 5 to 95 % of each state; dot: median.")
        legend.setWordWrap(True)
        inside.addLayout(self._tools())
        inside.addWidget(legend)
        inside.addWidget(self._scrolled_rows(), 1)
        inside.addWidget(self.inactive)
        strip = QVBoxLayout(self._strip_box)
        row = QHBoxLayout()
        row.addWidget(QLabel("Scores of the"))
        row.addWidget(self.head, 1)
        row.addWidget(self.play)
        strip.addLayout(row)
        strip.addWidget(self.strip)
        layout = QVBoxLayout(self)
        layout.addWidget(self.scores_box)
        layout.addWidget(latents, 1)
        layout.addWidget(self._strip_box)

    def _tools(self) -> QHBoxLayout:
        tools = QHBoxLayout()
        for button, text, tip in (
            (self.undo, "Undo", "Take the last change back."),
            (self.redo, "Redo", "Make it again."),
            (self.reset_all, "Reset all", "Back to the nucleus as it is."),
        ):
            button.setText(text)
            button.setToolTip(tip)
            tools.addWidget(button)
        tools.addStretch(1)
        self.play.setText("▶ Play")
        self.play.setToolTip("Run the chosen latent through its range.")
        return tools

    def _scrolled_rows(self) -> QScrollArea:
        self._list, holder = QScrollArea(), QWidget()
        self._rows_layout = QVBoxLayout(holder)
        self._rows_layout.setContentsMargins(0, 0, 0, 0)
        self._rows_layout.setSpacing(0)
        self._rows_layout.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._list.setWidgetResizable(True)
        self._list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._list.setFrameShape(QScrollArea.Shape.NoFrame)
        self._list.setMinimumHeight(150)
        self._list.setWidget(holder)
        return self._list

    def _connect(self) -> None:
        self._settle.setSingleShot(True)
        self._settle.timeout.connect(self._end_step)
        self._playing.timeout.connect(self._play_on)
        self.play.clicked.connect(self._toggle_play)
        self.undo.clicked.connect(lambda: self._exploration.undo())
        self.redo.clicked.connect(lambda: self._exploration.redo())
        self.reset_all.clicked.connect(lambda: self._reset())
        self.inactive.toggled.connect(self._show_inactive)
        self.head.currentIndexChanged.connect(self.show_strip)
        self.strip.clicked.connect(lambda tile: self._move(self._current, float(self._strip_values()[tile])))
