"""The first page of the Read the model widget: the sparse head as a network, its streams and its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtGui import QCursor
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QToolTip, QVBoxLayout, QWidget

from napari_cellinterp.gui.figure_view import ExportButton, FigureView, figure_formats, nearest

if TYPE_CHECKING:
    from matplotlib.backend_bases import MouseEvent

    from napari_cellinterp.explain.explain_report import Subject
    from napari_cellinterp.explain.topology import Place, Topology

NO_HEAD = "This model has no sparse head, so there is no network that one could read."
NO_WEIGHT = "No connection is left in the sparse head: its score is the same for every nucleus."
HINT = "Click a latent to see where it flows, another one to add it; click a neuron to cut out what leads to it."


class NetworkPage(QWidget):
    """The network; clicks follow the stream of latents, or cut out what leads to a neuron."""

    neuron_chosen = Signal(object)
    """A neuron was clicked: its place."""

    def __init__(self) -> None:
        super().__init__()
        self._subject: Subject | None = None
        self._path: list[Place] = []
        self._inputs: list[Place] = []
        self._hovered: Place | None = None
        self._is_stale = False
        self._positions: dict[Place, tuple[float, float]] = {}
        self.view, self.words, self.where = FigureView(), QLabel(), QLabel()
        self.whole, self.back = QPushButton("Whole network"), QPushButton("◀ Back")
        self.export = ExportButton(
            {**figure_formats(self.view), ".graphml": self._graphml},
            lambda: f"{self._subject.bundle.info.name}-network",
        )
        self._build()
        self._connect()

    @property
    def part(self) -> Topology | None:
        """What is shown: the whole network, or what leads to a neuron; None where there is none."""
        from napari_cellinterp.explain.topology import subnetwork

        whole = None if self._subject is None else self._subject.sparse
        return subnetwork(whole, [self._path[-1]]) if self._path else whole

    def set_subject(self, subject: Subject) -> None:
        """Take another model."""
        self._subject, self._path, self._inputs = subject, [], []
        self._is_stale = True

    def refresh(self) -> None:
        """Draw the network of another model."""
        if self._is_stale:
            self._is_stale = False
            self.show_part()

    def choose(self, place: Place) -> None:
        """Add a latent to the stream, or take it out; of another neuron cut out what leads to it."""
        from napari_cellinterp.explain.topology import subnetwork

        if place in self._inputs:
            self._inputs.remove(place)
        elif place.layer == 0:
            self._inputs.append(place)
        else:
            self.neuron_chosen.emit(place)
            inputs = subnetwork(self.part, [place]).inputs
            if not inputs:
                self.words.setText(f"Nothing flows into {self._name(place)}: it has one value for all nuclei.")
                return
            if [place] != self._path[-1:]:
                self._path.append(place)
            self._inputs = [one for one in self._inputs if one in inputs]
        self.show_part()

    def show_whole(self) -> None:
        """Go back to the whole network."""
        self._path, self._inputs = [], []
        self.show_part()

    def go_back(self) -> None:
        """Go back by one part."""
        self._path = self._path[:-1]
        self.show_part()

    def show_part(self) -> None:
        """Draw the network, or say why there is none."""
        part = self.part
        there = part is not None and bool(part.edges)
        for button in (self.whole, self.back):
            button.setEnabled(bool(self._path))
        self.export.setEnabled(there)
        self.where.setVisible(bool(self._path))
        self.where.setText("Leads to " + " ◂ ".join(self._name(place) for place in reversed(self._path)))
        if not there:
            self.words.setText(NO_HEAD if part is None else NO_WEIGHT)
            self.view.show_figure(None)
            return
        self._draw(part)

    def _draw(self, part: Topology) -> None:
        from napari_cellinterp.explain.figure_parts import NARROW_INCHES
        from napari_cellinterp.explain.topology import stream
        from napari_cellinterp.explain.topology_figure import neuron_positions, topology_figure

        subject = self._subject
        edges = stream(part, self._inputs, self._path[-1:]) if self._inputs else None
        self._positions = neuron_positions(part)
        self.view.show_figure(topology_figure(part, subject.titles, subject.classes, edges, NARROW_INCHES))
        names = ", ".join(self._name(place) for place in self._inputs)
        self.words.setText(HINT if edges is None else f"{len(edges)} of {len(part.edges)} weights are fed by {names}.")

    def _name(self, place: Place) -> str:
        return self._subject.name(place)

    def _place(self, event: MouseEvent) -> Place | None:
        """Return the neuron under the mouse, or None."""
        found = nearest(event.canvas.figure.axes[0], list(self._positions.values()), event)
        return None if found is None else list(self._positions)[found]

    def _on_pressed(self, event: MouseEvent) -> None:
        place = self._place(event)
        if place is not None:
            QToolTip.hideText()
            self.choose(place)

    def _on_hovered(self, event: MouseEvent) -> None:
        from napari_cellinterp.explain.topology import neuron_words

        place = self._place(event)
        if place == self._hovered:
            return
        self._hovered = place
        words = "" if place is None else neuron_words(self.part, place, self._subject.titles, self._subject.classes)
        QToolTip.showText(QCursor.pos(), words, self.view)

    def _graphml(self) -> bytes:
        from napari_cellinterp.explain.topology import graphml

        return graphml(self.part, self._subject.titles, self._subject.classes)

    def _build(self) -> None:
        for label in (self.words, self.where):
            label.setWordWrap(True)
        self.whole.setToolTip("Show all of the sparse head again.")
        self.back.setToolTip("Show the part before.")
        row, layout = QHBoxLayout(), QVBoxLayout(self)
        for button in (self.back, self.whole, self.export):
            row.addWidget(button, 1)
        layout.addLayout(row)
        for part in (self.where, self.words, self.view):
            layout.addWidget(part)
        layout.addStretch(1)

    def _connect(self) -> None:
        self.whole.clicked.connect(self.show_whole)
        self.back.clicked.connect(self.go_back)
        self.view.pressed.connect(self._on_pressed)
        self.view.hovered.connect(self._on_hovered)
