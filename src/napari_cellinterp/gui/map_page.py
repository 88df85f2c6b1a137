"""The second page of the Population widget: all nuclei as points of a map, linked with the viewer both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QGroupBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_cellinterp.explain.embedding import Embedding, principal_components, umap_job
from napari_cellinterp.gui import map_colours
from napari_cellinterp.gui.highlight_box import HighlightBox
from napari_cellinterp.gui.legend_bar import LegendBar
from napari_cellinterp.gui.map_plot import HELP, MapPlot
from napari_cellinterp.gui.model_form import HEAD_TITLES
from napari_cellinterp.gui.notices import show_problem
from napari_cellinterp.gui.opinions import SHORT_TITLES
from napari_cellinterp.gui.picked_box import PickedBox
from napari_cellinterp.gui.progress_row import ProgressRow
from napari_cellinterp.gui.worker import Jobs

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_cellinterp.gui.map_colours import Colouring
    from napari_cellinterp.gui.model_loader import Questioned
    from napari_cellinterp.gui.opinions import Opinions
    from napari_cellinterp.gui.session import Session

COMPONENTS, UMAP, LATENTS, SCORES = "Principal components", "UMAP", "Two latents", "Scores of two heads"
STATE, SCORE, NOVELTY, AGREEMENT = "State", "Score", "Novelty", "Agreement of heads"

FITTING = "Learning the map; at first this takes a minute…"


class MapPage(QWidget):
    """A map of all nuclei; a click picks one, a lasso highlights many.

    Parameters
    ----------
    session : Session
        Whose nuclei.
    opinions : Opinions
        What heads say of them.
    """

    row_clicked = Signal(int)

    def __init__(self, session: Session, opinions: Opinions) -> None:
        super().__init__()
        self._session, self._opinions, self._jobs = session, opinions, Jobs()
        self._questioned: Questioned | None = None
        self._umap: Embedding | None = None
        self._frame = 0
        self.what, self.x, self.y, self.colour = (QComboBox() for _ in range(4))
        self.frame_only = QCheckBox("This frame only")
        self.plot, self.legend, self.progress = MapPlot(), LegendBar(), ProgressRow()
        self.highlight, self.picked = HighlightBox(session), PickedBox(session)
        self._build()
        self._connect()

    def set_model(self, questioned: Questioned) -> None:
        """Show the nuclei of another classification."""
        self.drop()
        self._questioned, self._umap = questioned, None
        self._choose(self.what, COMPONENTS)
        self._show_choices()
        self.show_states()
        self.show_selected()
        self.show_highlighted()

    def drop(self) -> None:
        """Don't wait for a map any more."""
        self._jobs.drop()
        self.progress.hide()

    def stop(self) -> None:
        """Stop the page's jobs."""
        self._jobs.drop()
        self.highlight.stop()

    def show_states(self) -> None:
        """Colour the points as they are called now."""
        if self._questioned is not None:
            colouring = self._colouring()
            self.plot.set_colours(colouring.colours)
            self.legend.show_colouring(colouring)

    def show_opinions(self) -> None:
        """Take other opinions of the heads."""
        if self._questioned is None:
            return
        if self.what.currentText() == SCORES:
            self._show_choices()
        if self.colour.currentText() == AGREEMENT:
            self.show_states()

    def show_titles(self) -> None:
        """Name the latents as they are called now."""
        if self.what.currentText() == LATENTS:
            self._show_choices()

    def show_selected(self) -> None:
        """Ring the selected nucleus, and show it."""
        self.plot.mark(self._session.row)
        self.picked.show_selected()

    def _highlight(self, rows: NDArray[np.int64]) -> None:
        """Highlight what the lasso caught; the map answers at once, as the viewer may take longer to draw."""
        self._show_focus(rows)
        self.plot.viewport().repaint()
        self._session.highlight(rows)

    def show_highlighted(self) -> None:
        """Let the highlighted nuclei stand out."""
        self.highlight.show_highlighted()
        self._show_focus(self._session.highlighted_rows)

    def show_frame(self, frame: int) -> None:
        """Follow the viewer through time, where only the frame's nuclei stand out."""
        self._frame = frame
        if self.frame_only.isChecked():
            self._show_focus(self._session.highlighted_rows)

    def _show_focus(self, rows: NDArray[np.int64]) -> None:
        result = self._session.classification
        if result is None:
            return
        focus = rows if len(rows) else None
        if self.frame_only.isChecked() and 0 <= self._frame < result.n_frames:
            here = np.arange(len(result))[result.frame_rows(self._frame)]
            focus = here if focus is None else np.intersect1d(focus, here)
        self.plot.set_focus(focus)

    def _show_choices(self) -> None:
        """Offer what may stand on the axes of the chosen kind of map, and show it."""
        offers = self._offers()
        for combo, index in ((self.x, 0), (self.y, 1)):
            kept = combo.currentText()
            with QSignalBlocker(combo):
                combo.clear()
                for title, data in offers.items():
                    combo.addItem(title, data)
                combo.setCurrentIndex(max(combo.findText(kept), min(index, len(offers) - 1)))
        self._axes.setVisible(bool(offers))
        self._show_map()

    def _offers(self) -> dict[str, object]:
        if self.what.currentText() == LATENTS:
            questioned = self._questioned
            return {f"{questioned.titles[i]} (z{i})": i for i in (*questioned.order, *questioned.inactive)}
        if self.what.currentText() == SCORES:
            return {SHORT_TITLES[head]: head for head in self._opinions.by_head}
        return {}

    def _show_map(self) -> None:
        """Show the map that is chosen; one that must be learnt comes later."""
        self.drop()
        if self.what.currentText() == UMAP and self._umap is None:
            self._learn()
            return
        found = self._embedding()
        self.plot.show_points(found.positions, found.titles)
        self.show_selected()

    def _embedding(self) -> Embedding:
        what, latents = self.what.currentText(), self._session.classification.latents
        if what == UMAP:
            return self._umap
        if what == COMPONENTS:
            return principal_components(self._active(latents))
        axes = [combo.currentData() for combo in (self.x, self.y)]
        if what == LATENTS:
            titles = tuple(f"{combo.currentText()}, SD of the prior" for combo in (self.x, self.y))
            return Embedding(titles, latents[:, axes])
        scores = [self._opinions.by_head[head].score for head in axes if head is not None]
        if not scores:
            return Embedding(("Score", "Score"), np.full((len(latents), 2), np.nan, np.float32))
        return Embedding(tuple(f"Score of the {HEAD_TITLES[head]}" for head in axes), np.stack(scores, axis=1))

    def _active(self, latents: np.ndarray) -> np.ndarray:
        """Latents that say something; of a model without any, all."""
        return latents[:, self._questioned.order] if self._questioned.order else latents

    def _learn(self) -> None:
        latents = self._active(self._session.classification.latents)
        self.progress.begin(FITTING)
        self._jobs.start(
            lambda: umap_job(latents), self.progress.show_event, self._on_learnt, self._on_error, self._leave_umap
        )

    def _on_learnt(self, found: Embedding) -> None:
        self._umap = found
        self._show_map()

    def _on_error(self, error: Exception) -> None:
        show_problem(error)
        self._leave_umap()

    def _leave_umap(self) -> None:
        self.drop()
        self._choose(self.what, COMPONENTS)
        self._show_map()

    def _colouring(self) -> Colouring:
        result, found = self._session.classification, self._opinions.disagreement
        if self.colour.currentText() == SCORE:
            return map_colours.by_score(result)
        if self.colour.currentText() == NOVELTY:
            return map_colours.by_number(result.rows["novelty"])
        if self.colour.currentText() == AGREEMENT and found is not None:
            return map_colours.by_agreement(found)
        return map_colours.by_state(result)

    def _choose(self, combo: QComboBox, text: str) -> None:
        with QSignalBlocker(combo):
            combo.setCurrentText(text)

    def _build(self) -> None:
        self.what.addItems([COMPONENTS, UMAP, LATENTS, SCORES])
        self.colour.addItems([STATE, SCORE, NOVELTY, AGREEMENT])
        self.what.setToolTip("Where the points are: by the active latents together, by two of them, or by two scores.")
        self.frame_only.setToolTip("Only nuclei of the frame that the viewer shows stand out.")
        for combo in (self.x, self.y):
            combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._axes = QWidget()
        axes = QHBoxLayout(self._axes)
        axes.setContentsMargins(0, 0, 0, 0)
        for text, combo in (("across", self.x), ("up", self.y)):
            axes.addWidget(QLabel(text))
            axes.addWidget(combo, 1)
        second = QHBoxLayout()
        second.addWidget(self.colour, 1)
        second.addWidget(self.frame_only)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Map", self.what)
        form.addRow(self._axes)
        form.addRow("Colour", second)
        box, help_text = QGroupBox("All nuclei"), QLabel(HELP)
        help_text.setWordWrap(True)
        inside = QVBoxLayout(box)
        inside.addLayout(form)
        for part in (self.progress, self.plot, self.legend, help_text):
            inside.addWidget(part)
        layout = QVBoxLayout(self)
        for part in (box, self.highlight, self.picked):
            layout.addWidget(part)
        layout.addStretch(1)

    def _connect(self) -> None:
        pairs: tuple[tuple[QComboBox, Callable[[], None]], ...] = (
            (self.what, self._show_choices),
            (self.x, self._show_map),
            (self.y, self._show_map),
            (self.colour, self.show_states),
        )
        for combo, answer in pairs:
            combo.currentIndexChanged.connect(lambda _, answer=answer: self._questioned is not None and answer())
        self.frame_only.toggled.connect(self.show_highlighted)
        self.plot.point_clicked.connect(self.row_clicked)
        self.plot.lassoed.connect(self._highlight)
        self.progress.cancelled.connect(self._leave_umap)
