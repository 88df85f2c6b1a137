"""The fourth page of the Population widget: which heads disagree about which nuclei, and how they do against labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QCheckBox, QGroupBox, QHBoxLayout, QLabel, QPushButton, QToolButton, QVBoxLayout, QWidget

from napari_cellinterp.explain.agreement import pairwise_agreement
from napari_cellinterp.gui.confusion_box import ConfusionBox
from napari_cellinterp.gui.disagreement_table import DisagreementTable
from napari_cellinterp.gui.legend_bar import colour_names, swatches
from napari_cellinterp.gui.map_colours import pattern_entries
from napari_cellinterp.gui.notices import show_problem
from napari_cellinterp.gui.number_table import NumberTable
from napari_cellinterp.gui.opinions import SHORT_TITLES, cnn_job
from napari_cellinterp.gui.progress_row import ProgressRow
from napari_cellinterp.gui.worker import Jobs

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_cellinterp.config import HeadName
    from napari_cellinterp.gui.model_loader import Questioned
    from napari_cellinterp.gui.opinions import Opinions
    from napari_cellinterp.gui.selection import Selection

ASKING, NO_CNN = "Asking the heads…", "This model has no CNN."
READING = "The CNN reads all crops…"
TOO_FEW = "Two heads or more can be compared."


class AgreementPage(QWidget):
    """Pairwise agreement, a walk through disagreements, and a confusion matrix.

    Parameters
    ----------
    viewer : ViewerModel
        Whose layers may hold labels.
    selection : Selection
        What is looked at.
    opinions : Opinions
        What heads say.
    """

    row_clicked = Signal(int)
    outlined = Signal(bool)
    """Disagreements are to be outlined in the movie, or no more."""

    def __init__(self, viewer: ViewerModel, selection: Selection, opinions: Opinions) -> None:
        super().__init__()
        self._session, self._opinions, self._jobs = selection.session, opinions, Jobs()
        self._questioned: Questioned | None = None
        self.heads = {head: QCheckBox(title) for head, title in SHORT_TITLES.items()}
        self.ask, self.progress, self.matrix = QPushButton("Also ask the CNN"), ProgressRow(), NumberTable()
        self.note, self.legend, self.states = QLabel(ASKING), QLabel(), QLabel()
        self.table, self.outline = DisagreementTable(), QCheckBox("Outline them in the movie")
        self.previous, self.next = QToolButton(), QToolButton()
        self.confusion = ConfusionBox(viewer, selection)
        self._build()
        self._connect()

    def set_model(self, questioned: Questioned) -> None:
        """Take another classification; its heads aren't asked yet."""
        self.drop()
        self._questioned = questioned
        self.note.setText(ASKING)
        states = colour_names(questioned.bundle.info.classes)
        self.states.setText(f"Each head's state, and its probability in %: {states}")
        self.outline.setChecked(False)
        self.ask.setEnabled("cnn" in questioned.bundle.heads)
        self.ask.setToolTip("It reads pixels, so all crops are read anew." if self.ask.isEnabled() else NO_CNN)
        self.confusion.show_result()

    def drop(self) -> None:
        """Don't wait for the CNN any more."""
        self.stop()
        self.progress.hide()

    def stop(self) -> None:
        """Stop the page's jobs."""
        self._jobs.drop()
        self.confusion.stop()

    def show_opinions(self) -> None:
        """Compare the heads anew."""
        by_head, compared, found = self._opinions.by_head, self._opinions.compared, self._opinions.disagreement
        for head, box in self.heads.items():
            box.setVisible(head in by_head)
            with QSignalBlocker(box):
                box.setChecked(head in compared)
        self.ask.setVisible("cnn" not in by_head)
        self.table.show_opinions(self._session.classification, self._opinions)
        self.table.show_selected(self._session.row)
        several = found is not None and len(compared) > 1
        for part in (self.matrix, self.table, self.states, self.outline, self.previous, self.next):
            part.setVisible(several)
        if not several:
            self.note.setText(TOO_FEW)
            self.legend.clear()
            return
        self._show_matrix()
        n, n_all = int(found.counts.sum()), len(found.pattern)
        share = 100 * n / max(n_all, 1)
        self.note.setText(f"Heads disagree about {n:,} of {n_all:,} nuclei ({share:.1f} %){_left_out(found)}.")
        self.legend.setText(swatches(pattern_entries(found)))

    def show_selected(self) -> None:
        """Mark the selected nucleus in the list."""
        self.table.show_selected(self._session.row)

    def step(self, step: int) -> None:
        """Go to the next disagreement, or to the one before."""
        row = self.table.neighbour(self._session.row, step)
        if row is not None:
            self.row_clicked.emit(row)

    def ask_cnn(self) -> None:
        """Let the CNN score all nuclei, in the background."""
        session, bundle = self._session, self._questioned.bundle
        movie, classification, channel = session.movie, session.classification, session.channels[0]
        self.ask.setEnabled(False)
        self.progress.begin(READING)
        self._jobs.start(
            lambda: cnn_job(movie, classification, bundle, channel),
            self.progress.show_event,
            self._on_answered,
            self._on_error,
            self._end,
        )

    def _on_answered(self, found: dict[HeadName, object]) -> None:
        self._end()
        self._opinions.add(found)

    def _on_error(self, error: Exception) -> None:
        self._end()
        show_problem(error)

    def _end(self) -> None:
        self.progress.hide()
        self.ask.setEnabled(True)

    def _show_matrix(self) -> None:
        share, n = pairwise_agreement(self._opinions.compared)
        titles = [SHORT_TITLES[head] for head in self._opinions.compared]
        cells = [[_cell(share[i, j], int(n[i, j]), a, b) for j, b in enumerate(titles)] for i, a in enumerate(titles)]
        self.matrix.show_cells(titles, titles, cells)

    def _build(self) -> None:
        heads, walk = QGroupBox("Agreement of heads"), QGroupBox("Disagreements")
        row = QHBoxLayout()
        for box in self.heads.values():
            row.addWidget(box)
        row.addStretch(1)
        inside = QVBoxLayout(heads)
        inside.addLayout(row)
        for part in (self.matrix, self.note, self.ask, self.progress):
            inside.addWidget(part)
        for button, text, tip in (
            (self.previous, "◀", "Previous disagreement (Alt+Shift+D)"),
            (self.next, "▶", "Next disagreement (Alt+D)"),
        ):
            button.setText(text)
            button.setToolTip(tip)
        top = QHBoxLayout()
        top.addWidget(self.outline, 1)
        top.addWidget(self.previous)
        top.addWidget(self.next)
        inside = QVBoxLayout(walk)
        inside.addLayout(top)
        for part in (self.legend, self.table, self.states):
            inside.addWidget(part)
        self.table.setToolTip("The firmest first: those of which two heads are sure, and differ.")
        for label in (self.note, self.legend, self.states):
            label.setWordWrap(True)
        layout = QVBoxLayout(self)
        for part in (heads, walk, self.confusion):
            layout.addWidget(part)
        layout.addStretch(1)

    def _connect(self) -> None:
        for head, box in self.heads.items():
            box.toggled.connect(lambda is_on, head=head: self._opinions.compare(head, is_on))
        self.ask.clicked.connect(self.ask_cnn)
        self.progress.cancelled.connect(self._jobs.cancel)
        self.table.row_clicked.connect(self.row_clicked)
        self.previous.clicked.connect(lambda: self.step(-1))
        self.next.clicked.connect(lambda: self.step(1))
        self.outline.toggled.connect(self.outlined)


def _cell(share: float, n: int, a: str, b: str) -> tuple[str, float, str]:
    """Text, share and tooltip of two heads' cell."""
    if a == b:
        return "", 0.0, ""
    if not n:
        return "n/a", 0.0, f"No nucleus has scores from {a} and {b}."
    return f"{100 * share:.1f} %", share, f"{a} and {b} say the same of {100 * share:.2f} % of n = {n:,} nuclei."


def _left_out(found: object) -> str:
    if not found.n_undefined:
        return ""
    return f"; {found.n_undefined:,} are left out, because some head has no score for them"
