"""The fourth page of the Read the model widget: how accurate all trained models are for their size."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFileDialog, QGroupBox, QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_cellinterp.gui.figure_view import ExportButton, FigureView, figure_formats, nearest
from napari_cellinterp.gui.head_sizes import sizes_table
from napari_cellinterp.gui.notices import show_problem
from napari_cellinterp.gui.opening import Listed, Opening, opening_of
from napari_cellinterp.gui.worker import Jobs

if TYPE_CHECKING:
    from matplotlib.backend_bases import MouseEvent

    from napari_cellinterp.events import Job, Progressed
    from napari_cellinterp.explain.collection import Collection
    from napari_cellinterp.explain.explain_report import Subject
    from napari_cellinterp.explain.rashomon import TrainedModel
    from napari_cellinterp.models.bundle_info import BundleInfo

MAX_LATENTS = 8
"""More latents than these are only counted."""

CLICK_FIRST = "Click a point to see what it is."
MAX_NAMED = 5
"""So many models that can't be read are named."""


def collect(folder: Path) -> Job[Collection]:
    """Read what the bundles in a folder say of themselves."""
    from napari_cellinterp.explain.collection import collect_job

    return (yield from collect_job(folder))


class ModelsPage(QWidget):
    """Accuracy against size of all heads and formulas; a click shows one, and opens it."""

    open_wanted = Signal(object, object)
    """What was clicked is to be opened: a `Listed`, and what is to be done."""

    def __init__(self) -> None:
        super().__init__()
        self._subject: Subject | None = None
        self._added: dict[Path, BundleInfo] = {}
        self._listed: list[Listed] = []
        self._chosen: Listed | None = None
        self._opening = Opening(CLICK_FIRST)
        self._is_classified, self._is_stale = False, False
        self.jobs = Jobs()
        self.view, self.status, self.bar = FigureView(), QLabel(), QProgressBar()
        self.about, self.open, self.sizes = QLabel(CLICK_FIRST), QPushButton("Open"), QLabel()
        self.add, self.clear = QPushButton("Add bundles…"), QPushButton("Remove them")
        self.export = ExportButton(figure_formats(self.view), lambda: "accuracy-against-size")
        self._build()
        self._connect()

    @property
    def chosen(self) -> Listed | None:
        """What was clicked, or None."""
        return self._chosen

    def set_subject(self, subject: Subject) -> None:
        """Take another model; bundles that were added stay."""
        self._subject = subject
        self.sizes.setText(sizes_table(subject))
        self._list()

    def add_folder(self, folder: Path) -> None:
        """Add the bundles in a folder, read in a thread."""
        self.bar.setValue(0)
        self.bar.show()
        self.add.setEnabled(False)
        self.jobs.start(lambda: collect(folder), self._on_progress, self._on_collected, self._on_error, list)

    def remove_added(self) -> None:
        """Show the widget's own bundle only."""
        self._added = {}
        self.status.setText("")
        self._list()
        self.refresh()

    def set_classified(self, *, is_classified: bool) -> None:
        """Take whether the model classified the viewer's movie."""
        self._is_classified = is_classified
        self.choose(self._chosen)

    def choose(self, listed: Listed | None) -> None:
        """Show the figures of a model, ring it, and say what opening it does; None for no model."""
        self._chosen, self._opening = listed, Opening(CLICK_FIRST)
        words = ""
        if listed is not None:
            self._opening = opening_of(listed, self._subject, is_classified=self._is_classified)
            words = f"{self._describe(listed.model)}<br>"
        self.about.setText(words + self._opening.words)
        self.open.setEnabled(self._opening.action is not None)
        self._ring()

    def refresh(self) -> None:
        """Draw the figure where it is out of date."""
        from napari_cellinterp.explain.figure_parts import NARROW_INCHES
        from napari_cellinterp.explain.rashomon import rashomon_figure

        if self._is_stale:
            self._is_stale = False
            self.view.show_figure(rashomon_figure([one.model for one in self._listed], NARROW_INCHES))
            self._ring()

    def _list(self) -> None:
        """List the models of all bundles."""
        from napari_cellinterp.explain.rashomon import trained_models

        own = self._subject.bundle.info
        others = {
            folder: info
            for folder, info in self._added.items()
            if (info.files, info.heads) != (own.files, own.heads)  # the widget's own isn't listed twice
        }
        bundles: dict[Path | None, BundleInfo] = {None: own, **others}
        found = {folder: trained_models([info]) for folder, info in bundles.items()}
        self._listed = [Listed(model, folder) for folder, (models, _) in found.items() for model in models]
        n_unknown = sum(n for _, n in found.values())
        self.unknown.setText(f"{n_unknown} runs of unknown size are left out.")
        self.unknown.setVisible(n_unknown > 0)
        self.clear.setVisible(bool(self._added))
        self._is_stale = True
        self.choose(None)

    def _describe(self, model: TrainedModel) -> str:
        from napari_cellinterp.explain.figure_parts import SCHEMES
        from napari_cellinterp.explain.topology import latent_label

        kind = "formula of the front" if model.formula else f"scheme {SCHEMES[model.head]}"
        latents = model.latents
        read = "" if latents is None else ", ".join(latent_label(i, self._subject.titles) for i in latents) or "none"
        parts = [
            f"<b>{escape(model.model)}</b>, {kind}",
            f"{100 * model.accuracy:.1f} % of held-out crops right, {model.expression_size:,} nodes",
            f"<code>{escape(model.formula)}</code>",
            f"latents: {escape(read)}" if len(latents or ()) <= MAX_LATENTS else f"{len(latents)} latents",
        ]
        return "<br>".join(part for part, there in zip(parts, (True, True, model.formula, read), strict=True) if there)

    def _ring(self) -> None:
        """Ring the chosen model in the figure."""
        if self.view.sheet is not None:
            model = None if self._chosen is None else self._chosen.model
            self.view.sheet.ring(None if model is None else (model.expression_size, model.accuracy))

    def _on_pressed(self, event: MouseEvent) -> None:
        points = [(one.model.expression_size, one.model.accuracy) for one in self._listed]
        found = nearest(event.canvas.figure.axes[0], points, event)
        if found is not None:
            self.choose(self._listed[found])

    def _on_progress(self, event: Progressed) -> None:
        self.bar.setMaximum(event.total)
        self.bar.setValue(event.done)

    def _on_collected(self, found: Collection) -> None:
        self._end_adding()
        self._added |= found.infos
        words = f"Added {len(found.infos)} model{'s' * (len(found.infos) != 1)}."
        if found.problems:
            named = "; ".join(found.problems[:MAX_NAMED])
            more = f"; and {len(found.problems) - MAX_NAMED} more" if len(found.problems) > MAX_NAMED else ""
            words += f" {len(found.problems)} can't be read: {named}{more}"
        self.status.setText(words)
        self._list()
        self.refresh()

    def _on_error(self, error: Exception) -> None:
        self._end_adding()
        self.status.setText(f"⚠ {error}")
        show_problem(error)

    def _end_adding(self) -> None:
        self.bar.hide()
        self.add.setEnabled(True)

    def _ask_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder whose sub-folders are bundles or runs")
        if folder:
            self.add_folder(Path(folder))

    def _build(self) -> None:
        self.unknown = QLabel()
        for label in (self.status, self.about, self.unknown, self.sizes):
            label.setWordWrap(True)
        self.about.setTextFormat(Qt.TextFormat.RichText)
        self.sizes.setTextFormat(Qt.TextFormat.RichText)
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(6)
        self.bar.hide()
        self.add.setToolTip("Choose a folder whose sub-folders are bundles, or runs with theirs.")
        row, sizes, layout = QHBoxLayout(), QGroupBox("Sizes of this model's heads"), QVBoxLayout(self)
        for button in (self.add, self.clear, self.export):
            row.addWidget(button, 1)
        QVBoxLayout(sizes).addWidget(self.sizes)
        sizes.setToolTip(
            "Weights without biases; parameters with them; with all that leads from the crop to the score. Expression "
            "size: nodes of the equivalent formula as the paper counts them; tree size: nodes of the tree itself."
        )
        for part in (self.view, self.about, self.open, self.unknown):
            layout.addWidget(part)
        layout.addLayout(row)
        for part in (self.bar, self.status, sizes):
            layout.addWidget(part)
        layout.addStretch(1)

    def _connect(self) -> None:
        self.view.pressed.connect(self._on_pressed)
        self.open.clicked.connect(lambda: self.open_wanted.emit(self._chosen, self._opening))
        self.add.clicked.connect(self._ask_folder)
        self.clear.clicked.connect(self.remove_added)
