"""The third page of the Read the model widget: the formula, shorter and longer ones, and what it makes of a nucleus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_cellinterp.gui.figure_view import ExportButton, FigureView, figure_formats
from napari_cellinterp.gui.front_slider import FrontSlider
from napari_cellinterp.gui.nucleus_terms import NucleusTerms

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_cellinterp.explain.explain_report import Subject
    from napari_cellinterp.explain.rashomon import TrainedModel
    from napari_cellinterp.models.expression import Expression

    Array = NDArray[np.float32]

NO_HEAD = "This model has no symbolic head, so there is no formula that one could read."
SEVERAL = (
    "A model of several classes has one formula a class, and the largest score wins: shorter ones were measured class "
    "by class, so there is no single line from short to accurate to step along."
)
DRAW_MS, SETTLE_MS = 30, 200
"""After so long without a move the formula is drawn, and the nucleus in it: the movie's labels come first."""


class FormulaPage(QWidget):
    """The formula drawn, a slider to others, the movie labelled by it, its exports, and the selected nucleus in it."""

    formula_changed = Signal(object)
    """Another formula is shown."""
    label_wanted = Signal(object)
    """The movie is to be labelled with a formula."""
    back_wanted = Signal()
    """The movie is to be labelled as it was."""

    def __init__(self) -> None:
        super().__init__()
        self._subject: Subject | None = None
        self._expressions: list[Expression] = []
        self._latents: Array | None = None
        self._nucleus: Array | None = None
        self._steps: tuple[TrainedModel, ...] = ()
        self._draw_soon, self._settle = QTimer(self), QTimer(self)
        self._is_stale = False
        self.which, self.view, self.words = QComboBox(), FigureView(), QLabel()
        self.front, self.live, self.back = FrontSlider(), QCheckBox("Label the movie with this formula"), QPushButton()
        self.copy = QPushButton("Copy as")
        self.export = ExportButton({**figure_formats(self.view, outlined=True), ".txt": self._text}, self._file_name)
        self.nucleus = NucleusTerms()
        self._build()
        self._connect()

    @property
    def expression(self) -> Expression | None:
        """The formula that is shown, or None."""
        return self._expressions[max(self.which.currentIndex(), 0)] if self._expressions else None

    @property
    def steps(self) -> tuple[TrainedModel, ...]:
        """The formulas of the slider; none where there is no slider."""
        return self._steps

    @property
    def names(self) -> tuple[str, ...]:
        """What each formula gives the score of."""
        return tuple(self._subject.formulas)

    def set_subject(self, subject: Subject) -> None:
        """Take another model."""
        from napari_cellinterp.explain.formula_steps import formula_steps, own_formula

        self._subject, self._expressions = subject, list(subject.formulas.values())
        self._latents = self._nucleus = None
        self._steps = ()
        if len(self._expressions) == 1:
            self._steps, own = formula_steps(subject.bundle), own_formula(subject.bundle)
            self.front.set_steps(self._steps, own.formula, own.formula)
        self.which.blockSignals(True)
        self.which.clear()
        self.which.addItems([f"Score of {name}" for name in self.names])
        self.which.blockSignals(False)
        self._show_parts()
        self._is_stale = True

    def set_movie(self, latents: Array | None, first: str, *, is_first: bool) -> None:
        """Take the latents (n, n_latents) of a classified movie, or none, and say what labelled it first."""
        self._is_stale |= latents is not self._latents
        self._latents = latents
        self.back.setText(f"Back to the {first}")
        self.back.setVisible(latents is not None)
        self.back.setEnabled(not is_first)
        self.live.setEnabled(latents is not None and bool(self._steps))

    def stop_labelling(self) -> None:
        """Let the movie's labels be what something else made them."""
        self.live.setChecked(False)

    def set_nucleus(self, nucleus: Array | None) -> None:
        """Take the latents (n_latents,) of the selected nucleus, or none."""
        self._nucleus = nucleus
        self._is_stale = True

    def show_formula(self, model: TrainedModel) -> None:
        """Show a formula of this model, which becomes a step of the slider where it is none yet."""
        from napari_cellinterp.explain.formula_steps import ordered, own_formula

        self._steps = ordered([model, *self._steps])
        self.front.set_steps(self._steps, own_formula(self._subject.bundle).formula, model.formula)
        self._take_step()

    def refresh(self) -> None:
        """Draw what is out of date."""
        if self._is_stale:
            self._is_stale = False
            self._draw()
            self._draw_nucleus()

    def _take_step(self) -> None:
        from napari_cellinterp.models.expression import Expression

        self._expressions = [Expression.parse(self.front.current.formula)]
        self.formula_changed.emit(self.expression)
        self._want_label()
        self._draw_soon.start()

    def _want_label(self) -> None:
        if self.live.isChecked():
            self.label_wanted.emit(self.expression)

    def _draw(self) -> None:
        from napari_cellinterp.explain.explain_report import undefined_words
        from napari_cellinterp.explain.figure_parts import NARROW_INCHES
        from napari_cellinterp.explain.formula_figures import formula_figure

        self._settle.start()
        if self.expression is None:
            return
        subject = self._subject
        name = f"score ({self.names[self.which.currentIndex()]})"
        self.view.show_figure(formula_figure(self.expression, subject.titles, name, NARROW_INCHES))
        of_movie = self._latents is not None
        latents = self._latents if of_movie else subject.bundle.population.latents
        defined = undefined_words(self.expression, latents, "movie" if of_movie else "population")
        self.words.setText(f"Complexity {self.expression.complexity}. {defined}")

    def _draw_nucleus(self) -> None:
        self._settle.stop()
        if self.expression is not None:
            shown, subject = self.which.currentIndex(), self._subject
            self.nucleus.show_nucleus(self._expressions, shown, self._nucleus, subject.classes, subject.titles)

    def _show_parts(self) -> None:
        """Show what there is of the model's formulas, and say why there isn't more."""
        there, several = bool(self._expressions), len(self._expressions) > 1
        for part in (self.view, self.copy, self.export, self.nucleus):
            part.setVisible(there)
        for part in (self.front, self.live):
            part.setVisible(bool(self._steps))
        self.which.setVisible(several)
        self.several.setVisible(several)
        self.words.setText("" if there else NO_HEAD)

    def _text(self) -> bytes:
        from napari_cellinterp.explain.explain_report import formulas_text

        return formulas_text(dict(zip(self.names, self._expressions, strict=True)), self._subject.titles).encode()

    def _list_languages(self) -> None:
        from napari_cellinterp.explain.formulas import exports

        names = {i: title for i, title in self._subject.titles.items() if title != f"z{i}"}
        self.copy.menu().clear()
        for language, text in exports(self.expression, names).items():
            action = self.copy.menu().addAction(language)
            action.triggered.connect(lambda _=False, text=text: QApplication.clipboard().setText(text))

    def _file_name(self) -> str:
        return f"{self._subject.bundle.info.name}-formula"

    def _build(self) -> None:
        for timer, wait_ms in ((self._draw_soon, DRAW_MS), (self._settle, SETTLE_MS)):
            timer.setSingleShot(True)
            timer.setInterval(wait_ms)
        self.several = QLabel(SEVERAL)
        for label in (self.words, self.several):
            label.setWordWrap(True)
        self.copy.setMenu(QMenu(self.copy))
        self.copy.setToolTip("Copy the formula for another program.")
        self.live.setToolTip("As long as it is checked, the movie's labels follow the slider.")
        self.export.setToolTip("Save the figure as SVG, PNG or PDF, or the formula in all languages as TXT.")
        exports = QHBoxLayout()
        exports.addWidget(self.copy, 1)
        exports.addWidget(self.export, 1)
        layout = QVBoxLayout(self)
        layout.addWidget(self.which)
        layout.addWidget(self.view)
        layout.addWidget(self.front)
        for part in (self.live, self.back, self.several, self.words):
            layout.addWidget(part)
        layout.addLayout(exports)
        layout.addWidget(self.nucleus)
        layout.addStretch(1)

    def _connect(self) -> None:
        self._draw_soon.timeout.connect(self._draw)
        self._settle.timeout.connect(self._draw_nucleus)
        self.which.currentIndexChanged.connect(self._draw)
        self.front.moved.connect(self._take_step)
        self.live.toggled.connect(self._want_label)
        self.back.clicked.connect(self.back_wanted)
        self.copy.menu().aboutToShow.connect(self._list_languages)
