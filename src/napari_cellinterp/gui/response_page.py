"""The second page of the Read the model widget: what a neuron answers, and where a head changes its mind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QComboBox, QGroupBox, QLabel, QVBoxLayout, QWidget

from napari_cellinterp.events import Progressed
from napari_cellinterp.gui.boundary_box import BoundaryBox
from napari_cellinterp.gui.figure_view import ExportButton, FigureView, figure_formats
from napari_cellinterp.gui.notices import show_problem
from napari_cellinterp.gui.worker import Jobs

if TYPE_CHECKING:
    from napari_cellinterp.events import Job
    from napari_cellinterp.explain.explain_report import Subject
    from napari_cellinterp.explain.response import ResponseMap
    from napari_cellinterp.explain.topology import Place, Topology
    from napari_cellinterp.models.expression import Expression

NO_NEURON = "This model has no sparse head with a connection left, so there is no neuron to ask."
MEASURING = "Varying its inputs…"


def response_job(subject: Subject, neuron: Place) -> Job[ResponseMap]:
    """Vary the one or two inputs that matter most to a neuron of the sparse head."""
    from napari_cellinterp.explain.response import response_map

    yield Progressed(0, 1)
    return response_map(subject.bundle, "sparse", neuron)


def asked_neurons(graph: Topology) -> list[Place]:
    """Return the neurons that something flows into, the scores first."""
    from napari_cellinterp.explain.topology import subnetwork

    neurons = [neuron.place for neuron in graph.neurons if neuron.bias is not None]
    fed = [place for place in neurons if subnetwork(graph, [place]).inputs]
    return sorted(fed, key=lambda place: (-place.layer, place.number))


class ResponseBox(QGroupBox):
    """A neuron to choose, and its response over the inputs that matter most to it."""

    def __init__(self) -> None:
        super().__init__("Response of a neuron")
        self._subject: Subject | None = None
        self._neurons: list[Place] = []
        self._is_stale = False
        self.jobs = Jobs()
        self.neuron, self.status, self.view = QComboBox(), QLabel(), FigureView()
        self.export = ExportButton(figure_formats(self.view), self._file_name)
        self.neuron.setToolTip("h2.5 is neuron 5 of hidden layer 2. Clicks on the Network page choose here too.")
        self.status.setWordWrap(True)
        layout = QVBoxLayout(self)
        for part in (self.neuron, self.status, self.view, self.export):
            layout.addWidget(part)
        self.neuron.currentIndexChanged.connect(self._ask)

    def set_subject(self, subject: Subject) -> None:
        """Take another model."""
        self._subject, graph = subject, subject.sparse
        self.jobs.drop()
        self.view.show_figure(None)
        self.neuron.blockSignals(True)
        self.neuron.clear()
        self._neurons = [] if graph is None else asked_neurons(graph)
        self.neuron.addItems([subject.name(place) for place in self._neurons])
        self.neuron.blockSignals(False)
        there = bool(self._neurons)
        self.neuron.setVisible(there)
        self.export.setVisible(there)
        self.export.setEnabled(False)
        self.status.setText("" if there else NO_NEURON)
        self._is_stale = there

    def choose(self, place: Place) -> None:
        """Ask about a neuron, where something flows into it."""
        if place in self._neurons:
            self.neuron.blockSignals(True)
            self.neuron.setCurrentIndex(self._neurons.index(place))
            self.neuron.blockSignals(False)
            self._is_stale = True

    def refresh(self) -> None:
        """Ask about the neuron, where it is another one."""
        if self._is_stale:
            self._ask()

    def _ask(self) -> None:
        subject, place = self._subject, self._neurons[self.neuron.currentIndex()]
        self._is_stale = False
        self.status.setText(MEASURING)
        self.jobs.start(lambda: response_job(subject, place), lambda _: None, self._on_found, self._on_error, list)

    def _on_found(self, found: ResponseMap) -> None:
        from napari_cellinterp.explain.explain_report import held_words
        from napari_cellinterp.explain.response_figure import response_figure

        subject = self._subject
        self.view.show_figure(response_figure(found, subject.sparse.last_layer, subject.titles, subject.classes))
        held = held_words({subject.name(place): value for place, value in found.fixed.items()})
        self.status.setText(f"{held} Arrows point to larger responses.".strip())
        self.export.setEnabled(True)

    def _on_error(self, error: Exception) -> None:
        self.status.setText(f"⚠ {error}")
        show_problem(error)

    def _file_name(self) -> str:
        place = self._neurons[self.neuron.currentIndex()]
        return f"{self._subject.bundle.info.name}-response-{place.layer}-{place.number}"


class ResponsePage(QWidget):
    """The response of a neuron, and the decision boundary of a head."""

    def __init__(self) -> None:
        super().__init__()
        self.response, self.boundary = ResponseBox(), BoundaryBox()
        layout = QVBoxLayout(self)
        layout.addWidget(self.response)
        layout.addWidget(self.boundary)
        layout.addStretch(1)

    def set_subject(self, subject: Subject, formula: Expression | None) -> None:
        """Take another model, and the formula that is shown of it, where there is one."""
        self.response.set_subject(subject)
        self.boundary.set_subject(subject, formula)

    def refresh(self) -> None:
        """Show what is out of date."""
        self.response.refresh()
        self.boundary.refresh()

    def drop(self) -> None:
        """Don't wait for answers any more."""
        self.response.jobs.drop()
        self.boundary.jobs.drop()
