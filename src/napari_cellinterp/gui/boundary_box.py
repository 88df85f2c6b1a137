"""Where a head changes its mind between two latents, as a part of the Response page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QGroupBox, QLabel, QVBoxLayout

from napari_cellinterp.events import Progressed
from napari_cellinterp.gui.figure_view import ExportButton, FigureView, figure_formats
from napari_cellinterp.gui.model_form import HEAD_TITLES
from napari_cellinterp.gui.notices import show_problem
from napari_cellinterp.gui.worker import Jobs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_cellinterp.config import HeadName
    from napari_cellinterp.events import Job
    from napari_cellinterp.explain.explain_report import Subject
    from napari_cellinterp.explain.response import DecisionMap
    from napari_cellinterp.models.expression import Expression

    Array = NDArray[np.float32]

SHOWN = "shown"
"""What the combo of heads holds for the formula that the Formula page shows."""

MEASURING = "Scoring a grid of nuclei…"
CONSTANT = "It reads no latent: its score is the same for every nucleus."


def boundary_job(
    subject: Subject, head: HeadName | Expression, latents: tuple[int, int] | None, nucleus: Array | None
) -> Job[DecisionMap | None]:
    """Map the scores of a head over two latents, by default those that matter most; None where it reads none."""
    from napari_cellinterp.explain.response import boundary_latents, decision_map

    chosen = latents or boundary_latents(subject.bundle, head)
    yield Progressed(1, 2)
    return None if chosen is None else decision_map(subject.bundle, head, chosen, nucleus)


class BoundaryBox(QGroupBox):
    """A head and two latents to choose, and the map of its answers; the population and the selected nucleus on it."""

    def __init__(self) -> None:
        super().__init__("Decision boundary")
        self._subject: Subject | None = None
        self._formula: Expression | None = None
        self._nucleus: Array | None = None
        self._found: DecisionMap | None = None
        self._is_stale = False
        self.jobs = Jobs()
        self.head, self.x, self.y = QComboBox(), QComboBox(), QComboBox()
        self.hold, self.status, self.view = QCheckBox("Hold the others at the selected nucleus"), QLabel(), FigureView()
        self.export = ExportButton(figure_formats(self.view), self._file_name)
        self._build()
        self.head.currentIndexChanged.connect(lambda: self._ask(anew=True))
        for part in (self.x.currentIndexChanged, self.y.currentIndexChanged, self.hold.toggled):
            part.connect(lambda: self._ask())

    def set_subject(self, subject: Subject, formula: Expression | None) -> None:
        """Take another model, and the formula that is shown of it, where there is one."""
        self._subject, self._formula, self._nucleus, self._found = subject, formula, None, None
        self.jobs.drop()
        self.view.show_figure(None)
        for combo in (self.head, self.x, self.y):
            combo.blockSignals(True)
            combo.clear()
        for name, title in HEAD_TITLES.items():
            if name in subject.bundle.heads:
                self.head.addItem(title, name)
        if formula is not None:
            self.head.addItem("the formula that is shown", SHOWN)
        for i in range(subject.bundle.info.n_latents):
            for combo in (self.x, self.y):
                combo.addItem(_label(i, subject.titles), i)
        for combo in (self.head, self.x, self.y):
            combo.blockSignals(False)
        self._show_latents()
        self._is_stale = True

    def set_formula(self, formula: Expression) -> None:
        """Take the formula that is shown now."""
        self._formula = formula
        if self.head.currentData() == SHOWN:
            self._is_stale = True
            self._found = None

    def set_nucleus(self, nucleus: Array | None) -> None:
        """Take the latents (n_latents,) of the selected nucleus, or none."""
        self._nucleus = nucleus
        self.hold.setEnabled(nucleus is not None)
        self._is_stale = True

    def refresh(self) -> None:
        """Show what is out of date: map the scores anew where they are other ones, else draw them anew."""
        if not self._is_stale or self._subject is None:
            return
        if self._found is None or self.hold.isChecked():
            self._ask(anew=self._found is None)
        else:
            self._draw()
        self._is_stale = False

    def _ask(self, *, anew: bool = False) -> None:
        """Map the scores in a thread; ``anew`` chooses the latents that matter most to the head."""
        name = self.head.currentData()
        head = self._formula if name == SHOWN else name
        latents = None if anew or self._found is None else (self.x.currentData(), self.y.currentData())
        nucleus = self._nucleus if self.hold.isChecked() else None
        subject = self._subject
        self.status.setText(MEASURING)
        self.jobs.start(
            lambda: boundary_job(subject, head, latents, nucleus),
            lambda _: None,
            self._on_found,
            self._on_error,
            list,
        )

    def _on_found(self, found: DecisionMap | None) -> None:
        self._found = found
        self._show_latents()
        if found is None:
            self.status.setText(CONSTANT)
            self.view.show_figure(None)
            return
        self._draw()

    def _on_error(self, error: Exception) -> None:
        self.status.setText(f"⚠ {error}")
        show_problem(error)

    def _show_latents(self) -> None:
        """Show the two latents of the map."""
        for combo, i in zip((self.x, self.y), self._found.latents if self._found else (-1, -1), strict=True):
            combo.blockSignals(True)
            combo.setCurrentIndex(i)
            combo.blockSignals(False)
            combo.setEnabled(self._found is not None)
        self.export.setEnabled(self._found is not None)

    def _draw(self) -> None:
        from napari_cellinterp.explain.response_figure import decision_figure

        found, titles = self._found, self._subject.titles
        name = self.head.currentText() if self.head.currentData() != SHOWN else str(self._formula)
        self.view.show_figure(decision_figure(found, self._subject.bundle, titles, name, self._nucleus))
        of_nucleus = self.hold.isChecked() and self._nucleus is not None
        where = "where the selected nucleus is" if of_nucleus else "at the medians of the population"
        held = f"The other {len(found.fixed)} latents that it reads are held {where}. " if found.fixed else ""
        self.status.setText(f"{held}Dots: held-out nuclei by their label.")

    def _file_name(self) -> str:
        return f"{self._subject.bundle.info.name}-boundary-{self.head.currentData()}"

    def _build(self) -> None:
        self.head.setToolTip("Whose boundary.")
        self.hold.setToolTip("Else they are held at the medians of the model's population.")
        self.hold.setEnabled(False)
        self.status.setWordWrap(True)
        for combo in (self.head, self.x, self.y):
            combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        form, layout = QFormLayout(), QVBoxLayout(self)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for title, combo in (("Head", self.head), ("Across", self.x), ("Upwards", self.y)):
            form.addRow(title, combo)
        layout.addLayout(form)
        for part in (self.hold, self.status, self.view, self.export):
            layout.addWidget(part)


def _label(latent: int, titles: dict[int, str]) -> str:
    from napari_cellinterp.explain.topology import latent_label

    return latent_label(latent, titles)
