"""The first page of the Population widget: how a latent is distributed among the nuclei of each state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QSignalBlocker, QSize, Qt, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QGroupBox, QLabel, QVBoxLayout, QWidget

from napari_cellinterp.explain.distributions import distribution, shared_axis
from napari_cellinterp.gui.legend_bar import swatches
from napari_cellinterp.gui.map_colours import state_entries
from napari_cellinterp.gui.plots import CursorPlot

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_cellinterp.gui.model_loader import Questioned
    from napari_cellinterp.gui.session import Session

    Group = tuple[NDArray[np.float32], str]

HEIGHT_PX = 280
CLICK_HELP = "Click the plot to go to the nucleus with the nearest value."


class DensityPlot(CursorPlot):
    """Histograms and densities of groups of nuclei, and the picked nucleus as a line."""

    def __init__(self) -> None:
        super().__init__()
        self.setFixedHeight(HEIGHT_PX)
        self.setLabel("left", "Density (area 1 each)")

    def sizeHint(self) -> QSize:
        """Ask for less room than pyqtgraph does."""
        return QSize(300, HEIGHT_PX)

    def set_colour(self, colour: str) -> None:
        """Draw as other plots do, but for the line, which isn't dashed here: the model's population is."""
        super().set_colour(colour)
        self.cursor.setPen(pg.mkPen(colour, width=2))

    def show_groups(self, groups: list[Group], behind: list[Group], title: str) -> float | None:
        """Draw groups of values.

        Parameters
        ----------
        groups : list of tuple
            Values and colour of each: filled histogram and line.
        behind : list of tuple
            The same, as dashed lines.
        title : str
            Of the lower axis, with the unit.

        Returns
        -------
        float or None
            The one value, where all groups have one; it is drawn as a line.
        """
        self.clear()
        self.addItem(self.cursor, ignoreBounds=True)
        self.setLabel("bottom", title)
        axis = shared_axis(*(values for values, _ in (*groups, *behind)))
        if axis is None:
            return self._draw_constant(groups)
        highest = 0.0
        for values, colour in groups:
            found = distribution(values, axis)
            highest = max(highest, found.histogram.max(), found.density.max())
            fill = pg.mkColor(colour)
            fill.setAlpha(80)
            self.plot(found.edges, found.histogram, stepMode="center", fillLevel=0, brush=fill, pen=None)
            self.plot(found.x, found.density, pen=pg.mkPen(colour, width=2))
        for values, colour in behind:
            found = distribution(values, axis)
            highest = max(highest, found.density.max())
            self.plot(found.x, found.density, pen=pg.mkPen(colour, width=2, style=Qt.PenStyle.DashLine))
        self.setXRange(*axis, padding=0)
        self.setYRange(0, highest or 1, padding=0.05)
        return None

    def mark(self, value: float | None) -> None:
        """Draw a line at a value, or none."""
        self.cursor.setVisible(value is not None and bool(np.isfinite(value)))
        if self.cursor.isVisible():
            self.cursor.setValue(value)

    def _draw_constant(self, groups: list[Group]) -> float | None:
        known = [float(value) for values, _ in groups for value in values[np.isfinite(values)][:1]]
        if not known:
            return None
        self.addItem(pg.InfiniteLine(known[0], angle=90, pen=pg.mkPen(groups[0][1], width=3)))
        self.setXRange(known[0] - 1, known[0] + 1, padding=0)
        self.setYRange(0, 1, padding=0.05)
        return known[0]


class DensitiesPage(QWidget):
    """A latent of the movie's nuclei by state, the model's own population behind.

    Parameters
    ----------
    session : Session
        Whose nuclei.
    """

    row_clicked = Signal(int)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._questioned: Questioned | None = None
        self.latent, self.training, self.plot = (
            QComboBox(),
            QCheckBox("The model's own population (dashed)"),
            DensityPlot(),
        )
        self.legend, self.behind, self.note = QLabel(), QLabel(), QLabel()
        self._build()
        self.latent.currentIndexChanged.connect(self.show_states)
        self.training.toggled.connect(self.show_states)
        self.plot.clicked.connect(self._go_to_nearest)

    def set_model(self, questioned: Questioned) -> None:
        """List the latents of a model: the active ones first."""
        self._questioned = questioned
        self.show_titles()

    def show_titles(self) -> None:
        """Name the latents as they are called now."""
        questioned, chosen = self._questioned, self.latent.currentData()
        with QSignalBlocker(self.latent):
            self.latent.clear()
            for i in (*questioned.order, *questioned.inactive):
                self.latent.addItem(f"{questioned.titles[i]} (z{i})", i)
            self.latent.setCurrentIndex(max(0, self.latent.findData(chosen)))
        self.show_states()

    def show_states(self) -> None:
        """Draw the chosen latent, of the nuclei as they are called now."""
        result, latent = self._session.classification, self.latent.currentData()
        if result is None or latent is None or self._questioned is None:
            return
        entries = state_entries(result.state_index, result.classes)
        groups = _groups(result.latents[:, latent], result.state_index, result.classes, entries)
        population = self._questioned.bundle.population
        trained = state_entries(population.state + 1, result.classes)
        behind = _groups(population.latents[:, latent], population.state + 1, result.classes, trained)
        title = f"{self.latent.currentText()}, SD of the prior"
        constant = self.plot.show_groups(groups, behind if self.training.isChecked() else [], title)
        self.legend.setText(swatches(entries))
        self.behind.setText(f"Dashed, held out from training: {swatches(trained)}")
        self.behind.setVisible(self.training.isChecked())
        self._constant = "" if constant is None else f"All nuclei have the same value, {constant:.2f}. "
        self.show_selected()

    def show_selected(self) -> None:
        """Draw the selected nucleus as a line."""
        nucleus, latent = self._session.nucleus(), self.latent.currentData()
        if nucleus is None or latent is None:
            self.plot.mark(None)
            self.note.setText(self._constant + CLICK_HELP)
            return
        value = float(self._session.classification.latents[self._session.row, latent])
        self.plot.mark(value)
        here = f"Upright line: track {nucleus['track_id']}, frame {nucleus['frame']}: {value:+.2f}. "
        self.note.setText(self._constant + here + CLICK_HELP)

    def _go_to_nearest(self, value: float) -> None:
        result, latent = self._session.classification, self.latent.currentData()
        if result is None or latent is None:
            return
        away = np.abs(result.latents[:, latent] - value)
        if np.isfinite(away).any():
            self.row_clicked.emit(int(np.nanargmin(away)))

    def _build(self) -> None:
        self._constant = ""
        self.training.setChecked(True)
        self.training.setToolTip("The nuclei on which the model measures what is usual, by their true states.")
        self.latent.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Latent", self.latent)
        form.addRow("", self.training)
        box = QGroupBox("Latents by state")
        inside = QVBoxLayout(box)
        inside.addLayout(form)
        for part in (self.plot, self.legend, self.behind, self.note):
            inside.addWidget(part)
        for label in (self.legend, self.behind, self.note):
            label.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.addWidget(box)
        layout.addStretch(1)


def _groups(
    values: NDArray[np.float32], state: NDArray[np.int64], classes: tuple[str, ...], entries: list[tuple[str, str, int]]
) -> list[Group]:
    """Values and colour of each state that some nucleus has."""
    number = {name: i + 1 for i, name in enumerate(classes)}
    return [(values[state == number.get(name, 0)], colour) for name, colour, n in entries if n]
