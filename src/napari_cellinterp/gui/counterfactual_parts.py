"""The parts of the counterfactual widget: the table of flips, how to attack, the epsilon, and the curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QSignalBlocker, QSize, Qt, Signal
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QGridLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QSlider,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from napari_cellinterp.config import CounterfactualConfig
from napari_cellinterp.gui.counterfactual_inquiry import NAMES, SPACE_TITLES, UNITS, whole_curve
from napari_cellinterp.gui.counterfactual_questions import SPACES, spaces_of
from napari_cellinterp.gui.crops import swatch
from napari_cellinterp.gui.forms import number_box, unit_of
from napari_cellinterp.gui.model_form import HEAD_TITLES
from napari_cellinterp.gui.plots import THRESHOLD, CursorPlot
from napari_cellinterp.results.colours import state_colour

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from napari_cellinterp.config import HeadName
    from napari_cellinterp.explain.counterfactual import Flip
    from napari_cellinterp.explain.scoring import Space
    from napari_cellinterp.gui.counterfactual_questions import FlipFound, Hold

HOLD_TITLES: dict[Hold, str] = {
    "nothing": "all latents",
    "central": "all but the nucleus's own",
    "neighbourhood": "all but the surroundings'",
}

SHORT_UNITS = {"image": "0-1", "latent": "SD"}
DECIMALS = {"image": 4, "latent": 3}
N_SLIDER_STEPS = 2000
PLOT_HEIGHT_PX, TITLE_HEIGHT_PX = 160, 18

READS_PIXELS = "n/a: reads pixels"
SEARCHING = "…"
NO_ANSWER = "no answer"

FLIP_COLOUR = "#d55e00"


def unit_help(space: Space) -> str:
    """Return an epsilon's unit in words."""
    return unit_of(CounterfactualConfig.model_fields[f"max_epsilon_{space}"])


class FlipTable(QTableWidget):
    """One row a head: what it calls the nucleus, and the smallest epsilons that change that."""

    chosen = Signal(str, str)
    """A head and a space."""

    TITLES = ("Head", "Now", *(f"{SPACE_TITLES[space]} ({SHORT_UNITS[space]})" for space in SPACES))

    def __init__(self) -> None:
        super().__init__(0, len(self.TITLES))
        self._heads: list[HeadName] = []
        self._space: Space = SPACES[0]
        self.setHorizontalHeaderLabels(self.TITLES)
        for column, space in enumerate(SPACES, start=2):
            self.horizontalHeaderItem(column).setToolTip(f"Smallest ε that changes the answer, in {unit_help(space)}.")
        self.verticalHeader().hide()
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setAutoScroll(False)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        for column in (2, 3):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Stretch)
        header.setSectionsClickable(False)
        header.setMinimumSectionSize(40)
        self.currentCellChanged.connect(self._on_current)
        self.cellClicked.connect(self._on_clicked)

    def set_heads(self, heads: Iterable[HeadName]) -> None:
        """List the heads that a model has."""
        present = set(heads)
        self._heads = [head for head in HEAD_TITLES if head in present]
        with QSignalBlocker(self):
            self.setRowCount(len(self._heads))
        for row, head in enumerate(self._heads):
            self.setItem(row, 0, _cell(NAMES[head].removesuffix(" head"), HEAD_TITLES[head]))
        self.set_searching()

    def set_searching(self) -> None:
        """Forget the flips: others are looked for."""
        for row, head in enumerate(self._heads):
            self.setItem(row, 1, _cell(SEARCHING))
            for column, space in enumerate(SPACES, start=2):
                if space in spaces_of(head):
                    self._set_choice(row, column, _cell(SEARCHING))
                else:
                    item = _cell(READS_PIXELS, "The CNN reads the image itself, no latents.")
                    self._set_choice(row, column, item)
                    item.setFlags(Qt.ItemFlag.NoItemFlags)
        self._fit()

    def show_flip(self, found: FlipFound, classes: Sequence[str]) -> None:
        """Show what was found for a head in a space."""
        row, column = self._heads.index(found.head), 2 + SPACES.index(found.space)
        self._set_choice(row, column, _flip_cell(found))
        self.setItem(row, 1, _now_cell(found, classes))
        self._fit()

    def select(self, head: HeadName, space: Space) -> None:
        """Mark a cell, without telling."""
        self._space = space
        with QSignalBlocker(self):
            self.setCurrentCell(self._heads.index(head), 2 + SPACES.index(space))

    def texts(self) -> dict[str, tuple[str, ...]]:
        """Return what is shown, by head: its answer now, and its flips."""
        return {
            head: tuple(self.item(row, column).text() for column in (1, 2, 3)) for row, head in enumerate(self._heads)
        }

    def resizeEvent(self, event: object) -> None:
        """Wrap the texts anew."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        """Make rows as high as their texts, and the table as high as its rows."""
        self.resizeRowsToContents()
        header = self.horizontalHeader().sizeHint().height()
        self.setFixedHeight(header + self.verticalHeader().length() + 2 * self.frameWidth())

    def _on_current(self, row: int, column: int, *_before: int) -> None:
        if row >= 0 and column >= 2:
            self.chosen.emit(self._heads[row], SPACES[column - 2])

    def _on_clicked(self, row: int, column: int) -> None:
        """Choose a head by its name, and what can be changed for it."""
        if column < 2:
            spaces = spaces_of(self._heads[row])
            self.chosen.emit(self._heads[row], self._space if self._space in spaces else spaces[0])

    def _set_choice(self, row: int, column: int, item: QTableWidgetItem) -> None:
        item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setItem(row, column, item)


def _cell(text: str, tip: str = "") -> QTableWidgetItem:
    item = QTableWidgetItem(text)
    item.setToolTip(tip)
    return item


def _now_cell(found: FlipFound, classes: Sequence[str]) -> QTableWidgetItem:
    if found.flip is None:
        return _cell("undefined", found.problem)
    from napari_cellinterp.models.heads import states_of

    scores = found.flip.score_at_zero
    state = int(states_of(scores[None])[0])
    cell = _cell(classes[state], f"{classes[state]}, score {scores.max():+.2f}")
    cell.setIcon(QIcon(swatch(state_colour(state))))
    return cell


def _flip_cell(found: FlipFound) -> QTableWidgetItem:
    if found.flip is None:
        return _cell(NO_ANSWER, found.problem)
    if found.flip.epsilon is None:
        return _cell(f"no flip up to {found.flip.max_epsilon:.3g}", "Click to see the scores all the same.")
    return _cell(f"{found.flip.epsilon:.3g}", f"In {unit_help(found.space)}. Click to see it.")


class AttackForm(QWidget):
    """Which latents may change, in how many steps, and how far is looked."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        fields = CounterfactualConfig.model_fields
        self.hold, self.steps = QComboBox(), number_box(fields["n_steps"])
        for hold, title in HOLD_TITLES.items():
            self.hold.addItem(title, hold)
        self.hold.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.hold.setToolTip(
            "Which latents an attack moves. Hold the nucleus's own fixed to see whether its surroundings alone would "
            "change the answer."
        )
        self.steps.setSuffix("")
        self.steps.setSpecialValueText("1 (FGSM)")
        self.farthest = {space: number_box(fields[f"max_epsilon_{space}"]) for space in SPACES}
        for space, box in self.farthest.items():
            box.setSuffix(UNITS[space])
            box.setToolTip(f"{fields[f'max_epsilon_{space}'].description} In {unit_help(space)}.")
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        layout.addRow("May change", self.hold)
        layout.addRow("Steps", self.steps)
        for space, box in self.farthest.items():
            layout.addRow(f"{SPACE_TITLES[space]} up to", box)
        self.hold.currentIndexChanged.connect(self.changed)
        for box in (self.steps, *self.farthest.values()):
            box.valueChanged.connect(self.changed)

    def config(self) -> CounterfactualConfig:
        """Return how far is looked, and in how many steps."""
        farthest = {f"max_epsilon_{space}": box.value() for space, box in self.farthest.items()}
        return CounterfactualConfig(n_steps=self.steps.value(), **farthest)


class EpsilonBar(QWidget):
    """A slider and a number for epsilon, and a button that goes to the flip."""

    changed = Signal(float)
    """The person moved it."""
    flip_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._largest = 1.0
        self.slider, self.number = QSlider(Qt.Orientation.Horizontal), QDoubleSpinBox()
        self.button = QPushButton("Go to the flip")
        self.button.setToolTip("Set ε just beyond the smallest one that changes the answer.")
        self.slider.setRange(0, N_SLIDER_STEPS)
        self.number.setKeyboardTracking(False)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setColumnStretch(1, 1)
        layout.setColumnStretch(2, 1)
        layout.addWidget(QLabel("ε"), 0, 0)
        layout.addWidget(self.slider, 0, 1, 1, 2)
        layout.addWidget(self.number, 1, 1)
        layout.addWidget(self.button, 1, 2)
        self.slider.valueChanged.connect(lambda step: self.changed.emit(step / N_SLIDER_STEPS * self._largest))
        self.number.valueChanged.connect(self.changed)
        self.button.clicked.connect(self.flip_wanted)

    def set_space(self, space: Space, largest: float) -> None:
        """Set unit and range."""
        self._largest = largest
        for part in (self.slider, self.number):
            part.setToolTip(f"How far each {'pixel' if space == 'image' else 'latent'} moves, in {unit_help(space)}.")
        with QSignalBlocker(self.number):
            self.number.setDecimals(DECIMALS[space])
            self.number.setRange(0, largest)
            self.number.setSingleStep(largest / 100)
            self.number.setSuffix(UNITS[space])

    def show_epsilon(self, value: float) -> None:
        """Show an epsilon, without telling."""
        with QSignalBlocker(self.number), QSignalBlocker(self.slider):
            self.number.setValue(value)
            self.slider.setValue(round(value / self._largest * N_SLIDER_STEPS))


class AttackPlot(CursorPlot):
    """Score of the chosen head against epsilon, with the flip and the slider's epsilon.

    Parameters
    ----------
    space : str
        What is changed.
    """

    epsilon_chosen = Signal(float)
    """The person dragged or clicked the line."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        self._space = space
        self._largest = 1.0
        self.setFixedHeight(PLOT_HEIGHT_PX)
        self.setMinimumWidth(120)
        self.setToolTip(f"Score against ε, in {unit_help(space)}. Click, or drag the dashed line.")
        self.setLabel("bottom", f"ε ({SHORT_UNITS[space]})")
        self.setLabel("left", "Score")
        self.cursor.setMovable(True)
        self.cursor.sigDragged.connect(lambda line: self._choose(line.value()))
        self.clicked.connect(self._choose)

    def sizeHint(self) -> QSize:
        """Ask for half of a widget's width."""
        return QSize(170, PLOT_HEIGHT_PX)

    def show_title(self, text: str, *, is_chosen: bool) -> None:
        """Say what is attacked; the chosen plot's title is bold."""
        self.setTitle(text, size="9pt", bold=is_chosen, color=self.getAxis("left").textPen().color())
        self.getPlotItem().layout.setRowFixedHeight(0, TITLE_HEIGHT_PX)

    def show_flip(self, flip: Flip | None, largest: float) -> None:
        """Draw the scores up to the largest epsilon; None where there are none."""
        self._largest = largest
        self.clear()
        self.cursor.setBounds((0, largest))
        self.addItem(self.cursor, ignoreBounds=True)
        self.setXRange(0, largest, padding=0.03)
        if flip is None:
            return
        epsilons, scores = whole_curve(flip)
        self._draw_scores(epsilons, scores)
        shown = scores[np.isfinite(scores)]
        self.setYRange(min(float(shown.min()), -1), max(float(shown.max()), 1), padding=0.08)
        if flip.epsilon is not None:
            height = THRESHOLD if scores.shape[1] == 1 else float(np.interp(flip.epsilon, epsilons, scores.max(axis=1)))
            self._mark(flip.epsilon, height)

    def set_epsilon(self, epsilon: float) -> None:
        """Move the line, without telling."""
        self.cursor.setValue(epsilon)

    def _choose(self, epsilon: float) -> None:
        self.epsilon_chosen.emit(min(max(epsilon, 0.0), self._largest))

    def _draw_scores(self, epsilons: NDArray[np.float32], scores: NDArray[np.float32]) -> None:
        """Draw one score with its threshold, coloured by the state; of several, one line a state."""
        if scores.shape[1] > 1:
            for i in range(scores.shape[1]):
                self.plot(epsilons, scores[:, i], pen=pg.mkPen(state_colour(i), width=2), connect="finite")
            return
        grey = pg.mkPen("#909090", width=1)
        self.addItem(pg.InfiniteLine(THRESHOLD, angle=0, pen=grey), ignoreBounds=True)
        self.plot(epsilons, scores[:, 0], pen=grey, connect="finite")
        for state, there in enumerate((scores[:, 0] < THRESHOLD, scores[:, 0] >= THRESHOLD)):
            dots = {"symbol": "o", "symbolSize": 5, "symbolBrush": state_colour(state), "symbolPen": None}
            self.plot(epsilons[there], scores[there, 0], pen=None, **dots)

    def _mark(self, epsilon: float, height: float) -> None:
        text = self.getAxis("left").textPen().color()
        self.addItem(
            pg.ScatterPlotItem(
                [epsilon], [height], symbol="d", size=13, brush=FLIP_COLOUR, pen=pg.mkPen(text, width=1.5)
            )
        )
