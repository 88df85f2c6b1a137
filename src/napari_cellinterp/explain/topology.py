"""A head as a graph: its neurons and weights, the streams through it, and the sub-networks that it is made of.

After Soelistyo & Lowe, section 6.3: a sparse head is read by following what flows from its inputs to its score, and by
asking each part on its own what it answers.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree

import numpy as np

from napari_cellinterp.errors import QuestionError
from napari_cellinterp.models.heads import NetworkHead, active_weights

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import nn

    Floats = NDArray[np.float64]


class Place(NamedTuple):
    """Where a neuron stands: its layer, 0 for the latents and the last for the scores, and its number there."""

    layer: int
    number: int


@dataclass(frozen=True)
class Neuron:
    """A neuron, or an input.

    Attributes
    ----------
    place : Place
        Where it stands.
    bias : float or None
        What is added to its weighted sum; None for an input.
    """

    place: Place
    bias: float | None


@dataclass(frozen=True)
class Edge:
    """An active weight between two neurons."""

    source: Place
    target: Place
    weight: float


@dataclass(frozen=True)
class Topology:
    """The connected part of a head, or of a sub-network.

    Attributes
    ----------
    neurons : tuple of Neuron
        By layer and number. Hidden neurons and inputs are there only where a weight is; outputs always.
    edges : tuple of Edge
        The active weights.
    last_layer : int
        Layer of the head's outputs: the number of its layers of weights.
    """

    neurons: tuple[Neuron, ...]
    edges: tuple[Edge, ...]
    last_layer: int

    @property
    def inputs(self) -> tuple[Place, ...]:
        """Places of the inputs, which have no bias."""
        return tuple(neuron.place for neuron in self.neurons if neuron.bias is None)

    def layer(self, number: int) -> tuple[Neuron, ...]:
        """Return the neurons of a layer."""
        return tuple(neuron for neuron in self.neurons if neuron.place.layer == number)


def head_topology(head: nn.Module) -> Topology:
    """Return the graph of a dense or sparse head.

    Raises
    ------
    QuestionError
        If it is no head of layers of neurons on the latents.
    """
    if not isinstance(head, NetworkHead):
        raise QuestionError("Only the dense and the sparse head are networks on the latents.", "Choose one of them.")
    layers, masks = head.linear_layers(), active_weights(head)
    edges = tuple(
        Edge(Place(number, int(source)), Place(number + 1, int(target)), float(layer.weight[target, source]))
        for number, (layer, mask) in enumerate(zip(layers, masks, strict=True))
        for target, source in np.argwhere(mask)
    )
    outputs = {Place(len(layers), i) for i in range(layers[-1].out_features)}
    connected = outputs.union(*({edge.source, edge.target} for edge in edges))
    neurons = tuple(
        Neuron(place, float(layers[place.layer - 1].bias[place.number]) if place.layer else None)
        for place in sorted(connected)
    )
    return Topology(neurons, edges, len(layers))


def stream(topology: Topology, inputs: Iterable[Place], ends: Iterable[Place] = ()) -> frozenset[Edge]:
    """Return the weights on paths from some inputs to an output (the paper's Figure 6).

    Parameters
    ----------
    topology : Topology
        Of a head, or of a sub-network.
    inputs : iterable of Place
        Where the stream begins.
    ends : iterable of Place, optional
        Where it leads: neurons of a sub-network; by default the outputs.

    Raises
    ------
    QuestionError
        If one of them isn't in the graph.
    """
    reached = _checked(topology, inputs)
    wanted = _checked(topology, ends) or {neuron.place for neuron in topology.layer(topology.last_layer)}
    for edge in sorted(topology.edges, key=lambda edge: edge.source.layer):
        if edge.source in reached:
            reached.add(edge.target)
    leading = _upstream(topology.edges, wanted, frozenset())
    return frozenset(edge for edge in topology.edges if edge.source in reached and edge.target in leading)


def subnetwork(topology: Topology, ends: Iterable[Place], starts: Iterable[Place] = ()) -> Topology:
    """Cut out all that flows into some neurons (the paper's Figures 7 to 10).

    Parameters
    ----------
    topology : Topology
        Of a head, or of a sub-network.
    ends : iterable of Place
        Neurons whose value the sub-network gives.
    starts : iterable of Place, optional
        Neurons that are taken as inputs; what flows into them is left out.

    Raises
    ------
    QuestionError
        If one of them isn't in the graph.
    """
    wanted, cut = _checked(topology, ends), frozenset(_checked(topology, starts))
    kept = _upstream(topology.edges, wanted, cut)
    neurons = (neuron for neuron in topology.neurons if neuron.place in kept)
    edges = tuple(edge for edge in topology.edges if edge.target in kept and edge.target not in cut)
    return Topology(
        tuple(Neuron(neuron.place, None) if neuron.place in cut else neuron for neuron in neurons),
        edges,
        topology.last_layer,
    )


def _upstream(edges: Sequence[Edge], ends: Iterable[Place], cut: frozenset[Place]) -> set[Place]:
    kept = set(ends)
    for edge in sorted(edges, key=lambda edge: -edge.target.layer):
        if edge.target in kept and edge.target not in cut:
            kept.add(edge.source)
    return kept


def _checked(topology: Topology, places: Iterable[Place]) -> set[Place]:
    known = {neuron.place for neuron in topology.neurons}
    wanted = set(places)
    if missing := sorted(wanted - known):
        layer, index = missing[0]
        there = ", ".join(str(place.number) for place in sorted(known) if place.layer == layer) or "none"
        raise QuestionError(
            f"Layer {layer} has no connected neuron {index}.", f"Choose another; connected in that layer: {there}."
        )
    return wanted


def evaluate(topology: Topology, values: Mapping[Place, Floats]) -> dict[Place, Floats]:
    """Return the values of all neurons, after Mish but for the outputs, which have no activation.

    Parameters
    ----------
    topology : Topology
        Of a head, or of a sub-network.
    values : mapping of Place to (n,) array
        Of every input.

    Returns
    -------
    dict of Place to (n,) float64
        Inputs included.
    """
    n = len(next(iter(values.values()), np.zeros(1)))
    found = {place: np.asarray(values[place], np.float64) for place in topology.inputs}
    into: dict[Place, list[Edge]] = defaultdict(list)
    for edge in topology.edges:
        into[edge.target].append(edge)
    for neuron in topology.neurons:  # by layer, so that sources come first
        if neuron.bias is not None:
            total = sum((edge.weight * found[edge.source] for edge in into[neuron.place]), np.full(n, neuron.bias))
            found[neuron.place] = total if neuron.place.layer == topology.last_layer else _mish(total)
    return found


def _mish(x: Floats) -> Floats:
    """Return x tanh(log(1 + e^x)), (Misra 2019)."""
    result: Floats = x * np.tanh(np.logaddexp(0, x))
    return result


def latent_values(topology: Topology, latents: NDArray[np.floating]) -> dict[Place, Floats]:
    """Return the inputs of a head for latents (n, n_latents)."""
    return {place: latents[:, place.number].astype(np.float64) for place in topology.inputs}


def neuron_name(place: Place, last_layer: int, titles: Mapping[int, str], classes: Sequence[str]) -> str:
    """Return what a neuron is called: a latent by its title, a hidden one by its place (h2.5), a score by its class.

    Parameters
    ----------
    place : Place
        Of the neuron.
    last_layer : int
        Of the head.
    titles : mapping of int to str
        What latents are called; those without are z with a number.
    classes : sequence of str
        Of the model; of two, the second is that of the only score.
    """
    if place.layer == 0:
        return latent_label(place.number, titles)
    if place.layer < last_layer:
        return f"h{place.layer}.{place.number}"
    return f"score ({classes[1 if len(classes) == 2 else place.number]})"


def latent_label(index: int, titles: Mapping[int, str]) -> str:
    """Return a latent's number and what it is called, such as ``z29 size``."""
    title = titles.get(index, f"z{index}")
    return title if title == f"z{index}" else f"z{index} {title}"


def neuron_words(topology: Topology, place: Place, titles: Mapping[int, str], classes: Sequence[str]) -> str:
    """Return a neuron's name, its bias, and the weights that lead to it and from it, a line each.

    Parameters
    ----------
    topology : Topology
        Of a head, or of a sub-network.
    place : Place
        Of the neuron.
    titles : mapping of int to str
        What latents are called.
    classes : sequence of str
        Of the model.
    """

    def name(of: Place) -> str:
        return neuron_name(of, topology.last_layer, titles, classes)

    bias = next(neuron.bias for neuron in topology.neurons if neuron.place == place)
    lines = [name(place)] if bias is None else [name(place), f"bias {bias:+.3g}"]
    lines += [f"from {name(edge.source)}: {edge.weight:+.3g}" for edge in topology.edges if edge.target == place]
    lines += [f"to {name(edge.target)}: {edge.weight:+.3g}" for edge in topology.edges if edge.source == place]
    return "\n".join(lines)


def graphml(topology: Topology, titles: Mapping[int, str], classes: Sequence[str]) -> bytes:
    """Return the graph as GraphML, which Cytoscape, Gephi, yEd and networkx read.

    Parameters
    ----------
    topology : Topology
        Of a head, or of a sub-network.
    titles : mapping of int to str
        What latents are called.
    classes : sequence of str
        Of the model.
    """
    root = _graphml(topology, titles, classes)
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text


_ATTRIBUTES = (
    ("name", "node", "string"),
    ("layer", "node", "int"),
    ("number", "node", "int"),
    ("bias", "node", "double"),
    ("weight", "edge", "double"),
)


def _graphml(topology: Topology, titles: Mapping[int, str], classes: Sequence[str]) -> ElementTree.Element:
    root = ElementTree.Element("graphml", xmlns="http://graphml.graphdrawing.org/xmlns")
    for name, where, kind in _ATTRIBUTES:
        ElementTree.SubElement(root, "key", {"id": name, "for": where, "attr.name": name, "attr.type": kind})
    graph = ElementTree.SubElement(root, "graph", id="head", edgedefault="directed")
    for neuron in topology.neurons:
        node = ElementTree.SubElement(graph, "node", id=_id(neuron.place))
        name = neuron_name(neuron.place, topology.last_layer, titles, classes)
        for key, value in (("name", name), *zip(("layer", "number"), neuron.place, strict=True), ("bias", neuron.bias)):
            if value is not None:
                ElementTree.SubElement(node, "data", key=key).text = str(value)
    for edge in topology.edges:
        line = ElementTree.SubElement(graph, "edge", source=_id(edge.source), target=_id(edge.target))
        ElementTree.SubElement(line, "data", key="weight").text = str(edge.weight)
    return root


def _id(place: Place) -> str:
    return f"n{place.layer}.{place.number}"
