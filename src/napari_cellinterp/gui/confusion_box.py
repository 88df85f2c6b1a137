"""The head's states beside a person's labels: where they come from, and the confusion matrix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtWidgets import QComboBox, QFileDialog, QGridLayout, QGroupBox, QLabel, QPushButton, QVBoxLayout

from napari_cellinterp.explain.confusion import confusion
from napari_cellinterp.gui.labels_source import LABELLED, layer_job, layer_labels, table_job, text_columns
from napari_cellinterp.gui.layer_combo import LayerCombo
from napari_cellinterp.gui.notices import show_problem
from napari_cellinterp.gui.number_table import NumberTable
from napari_cellinterp.gui.worker import Jobs

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_cellinterp.events import Job
    from napari_cellinterp.explain.confusion import Confusion
    from napari_cellinterp.gui.selection import Selection

NO_LABELS = (
    "Compare with labels of your own: a CSV table with track_id, frame and state, or a layer whose features have a "
    "column of them."
)
READING = "Reading the labels…"
NO_LAYERS = "The layers of the classification are gone, so places can't be compared: classify again."


class ConfusionBox(QGroupBox):
    """True states as lines, the head's as columns; a click on a cell highlights its nuclei.

    Parameters
    ----------
    viewer : ViewerModel
        Whose layers may hold labels.
    selection : Selection
        What is looked at.
    """

    def __init__(self, viewer: ViewerModel, selection: Selection) -> None:
        super().__init__("Against your labels")
        self._selection, self._session, self._jobs = selection, selection.session, Jobs()
        self._truth: NDArray[np.object_] | None = None
        self.found: Confusion | None = None
        self.open, self.layer, self.column = QPushButton("From a table…"), LayerCombo(viewer, *LABELLED), QComboBox()
        self.compare, self.matrix, self.about = QPushButton("Compare"), NumberTable(), QLabel(NO_LABELS)
        self._build()
        self.open.clicked.connect(self._choose_file)
        self.layer.layer_changed.connect(self.show_columns)
        self.compare.clicked.connect(self.read_layer)
        self.matrix.chosen.connect(self.highlight)
        self.show_columns()

    def show_result(self) -> None:
        """Forget the labels of another classification."""
        self.stop()
        self._truth = None
        self.show_states()

    def show_states(self) -> None:
        """Count anew, of the nuclei as they are called now."""
        result = self._session.classification
        self.matrix.setVisible(self._truth is not None)
        if result is None or self._truth is None:
            self.found = None
            self.about.setText(NO_LABELS)
            return
        self.found = found = confusion(self._truth, result.state_index, result.classes)
        counts, of_each = found.counts, found.counts.sum(axis=1, keepdims=True)
        share = counts / np.maximum(of_each, 1)
        cells = [
            [
                (f"{n:,} ({100 * part:.0f} %)", part, f"{n:,} of {total:,} labelled {name}. Click to highlight them.")
                for n, part in zip(line, parts, strict=True)
            ]
            for name, line, parts, (total,) in zip(found.truth_names, counts, share, of_each, strict=True)
        ]
        self.matrix.show_cells(found.truth_names, found.state_names, cells)
        self.about.setText(_words(found, f"formula {result.formula}" if result.formula else f"{result.head} head"))

    def show_columns(self) -> None:
        """Offer the columns of the chosen layer that hold texts."""
        self.column.clear()
        self.column.addItems([str(name) for name in text_columns(self.layer.layer)])
        self.column.setCurrentIndex(0)  # Qt itself chooses none where there is a placeholder
        self.compare.setEnabled(self.column.count() > 0)

    def read_table(self, path: Path) -> None:
        """Take the labels of a CSV table."""
        classification = self._session.classification
        self._read(lambda: table_job(classification, path))

    def read_layer(self) -> None:
        """Take the labels of the chosen layer."""
        reference = self._selection.layers.reference()
        if reference is None:
            self.about.setText(NO_LAYERS)
            return
        classification = self._session.classification
        find = layer_labels(self.layer.layer, self.column.currentText(), reference)
        self._read(lambda: layer_job(classification, find))

    def highlight(self, line: int, column: int) -> None:
        """Highlight the nuclei of a cell."""
        self._session.highlight(self.found.rows(line, column))

    def stop(self) -> None:
        """Stop reading labels."""
        self._jobs.drop()

    def disconnect_viewer(self) -> None:
        """Stop following the viewer's layers."""
        self.layer.disconnect_viewer()

    def _read(self, job: Callable[[], Job[NDArray[np.object_]]]) -> None:
        self.about.setText(READING)
        self._jobs.start(job, lambda _: None, self._on_read, self._on_error, self.show_states)

    def _on_read(self, truth: NDArray[np.object_]) -> None:
        self._truth = truth
        self.show_states()

    def _on_error(self, error: Exception) -> None:
        self.show_states()
        self.about.setText(f"⚠ {error}")
        show_problem(error)

    def _choose_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Table with track_id, frame and state", "", "Tables (*.csv)")
        if path:
            self.read_table(Path(path))

    def _build(self) -> None:
        self.open.setToolTip("A CSV file with the columns track_id, frame and state (or label).")
        self.layer.setToolTip("Labels, Tracks or Points with your labels in their features.")
        self.column.setPlaceholderText("no column of texts")
        self.column.setToolTip("Column of the layer's features.")
        self.compare.setToolTip("Compare the head's states with the labels in this column.")
        self.column.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        grid = QGridLayout()
        grid.setColumnStretch(1, 1)
        grid.addWidget(self.open, 0, 0, 1, 3)
        grid.addWidget(QLabel("Layer"), 1, 0)
        grid.addWidget(self.layer, 1, 1, 1, 2)
        grid.addWidget(QLabel("Column"), 2, 0)
        grid.addWidget(self.column, 2, 1)
        grid.addWidget(self.compare, 2, 2)
        layout = QVBoxLayout(self)
        layout.addLayout(grid)
        layout.addWidget(self.matrix)
        layout.addWidget(self.about)
        self.about.setWordWrap(True)


def _words(found: Confusion, head: str) -> str:
    lines = f"Lines: your labels; columns: the {head}, with shares of each line. Click a cell to highlight its nuclei."
    if not found.n:
        return f"None of the labels is one of the model's states. {lines}"
    figures = f"accuracy {100 * found.accuracy:.1f} %, balanced {100 * found.balanced_accuracy:.1f} % (n = {found.n:,})"
    n_unknown = int((found.truth >= 0).sum()) - found.n
    unknown = f"; {n_unknown:,} nuclei with labels that the model doesn't know count in neither" if n_unknown else ""
    return f"<b>{figures[0].upper()}{figures[1:]}</b>{unknown}. {lines}"
