"""A head as a graph: its weights, its streams, its parts, and the drawing."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

from napari_cellinterp.errors import QuestionError
from napari_cellinterp.explain.figure_parts import NARROW_INCHES, png, svg
from napari_cellinterp.explain.topology import (
    Edge,
    Place,
    evaluate,
    graphml,
    head_topology,
    latent_values,
    neuron_name,
    neuron_words,
    stream,
    subnetwork,
)
from napari_cellinterp.explain.topology_figure import (
    BESIDE,
    NEGATIVE,
    POSITIVE,
    neuron_positions,
    topology_figure,
)
from napari_cellinterp.models.heads import NetworkHead, active_weights

CLASSES = ("interphase", "metaphase")
TITLES = {0: "size", 1: "elongation", 2: "z2"}

A, B, C = Place(0, 0), Place(0, 1), Place(0, 2)
"""The latents of `two_streams`."""


@pytest.fixture
def two_streams():
    """A head in which z0 and z1 flow through h1.0, z2 through h1.1, and both meet in h3.5."""
    weights = {
        0: {(0, 0): 2.0, (0, 1): -1.0, (1, 2): 0.5},
        1: {(3, 0): 1.5, (4, 1): -0.5},
        2: {(5, 3): 1.0, (5, 4): -3.0},
        3: {(0, 5): 0.25},
    }
    return sparse_head(weights)


def sparse_head(weights, n_scores=1):
    torch.manual_seed(3)
    head = NetworkHead(4, n_scores, sparse=True).eval().requires_grad_(False)
    for number, layer in enumerate(head.linear_layers()):
        layer.mask.zero_()
        for (target, source), weight in weights.get(number, {}).items():
            layer.mask[target, source] = 1
            layer.weight[target, source] = weight
    return head


def test_edges_are_the_active_weights(two_streams):
    graph = head_topology(two_streams)
    layers, masks = two_streams.linear_layers(), active_weights(two_streams)
    expected = {
        (Place(i, int(s)), Place(i + 1, int(t)), float(layer.weight[t, s]))
        for i, (layer, mask) in enumerate(zip(layers, masks, strict=True))
        for t, s in np.argwhere(mask)
    }
    assert {(edge.source, edge.target, edge.weight) for edge in graph.edges} == expected
    assert len(graph.edges) == 8
    assert graph.inputs == (A, B, C)
    assert [neuron.place.number for neuron in graph.layer(1)] == [0, 1]
    assert graph.layer(4)[0].bias == pytest.approx(float(layers[-1].bias[0]))


def test_a_dense_head_has_all_weights(random_bundle):
    graph = head_topology(random_bundle().head("dense"))
    assert len(graph.edges) == 1040
    assert [len(graph.layer(i)) for i in range(5)] == [32, 16, 16, 16, 1]


@pytest.mark.parametrize("name", ["dense", "sparse"])
def test_the_graph_gives_the_score_of_the_head(random_bundle, name):
    head = random_bundle().head(name)
    latents = np.random.default_rng(0).normal(size=(20, 32)).astype(np.float32)
    graph = head_topology(head)
    scores = evaluate(graph, latent_values(graph, latents))[Place(4, 0)]
    np.testing.assert_allclose(scores, head(torch.from_numpy(latents))[:, 0], rtol=1e-4, atol=1e-4)


def test_hidden_neurons_are_after_mish(two_streams):
    graph = head_topology(two_streams)
    values = evaluate(graph, latent_values(graph, np.array([[1.0, 0.5, 0.0, 0.0]])))
    total = 2 * 1 - 0.5 + float(two_streams.linear_layers()[0].bias[0])
    assert values[Place(1, 0)][0] == pytest.approx(total * np.tanh(np.log1p(np.exp(total))))


def test_a_head_that_is_no_network_is_refused(random_bundle):
    for name in ("cnn", "symbolic"):
        with pytest.raises(QuestionError, match="dense and the sparse"):
            head_topology(random_bundle().head(name))


def test_a_stream_is_what_leads_from_its_inputs_to_the_score(two_streams):
    graph = head_topology(two_streams)
    found = stream(graph, [C])
    assert {(edge.source, edge.target) for edge in found} == {
        (C, Place(1, 1)),
        (Place(1, 1), Place(2, 4)),
        (Place(2, 4), Place(3, 5)),
        (Place(3, 5), Place(4, 0)),
    }
    assert stream(graph, [A, B, C]) == set(graph.edges)


def test_a_stream_leaves_out_dead_ends():
    head = sparse_head({0: {(0, 0): 1.0, (1, 0): 1.0}, 1: {(0, 0): 1.0}, 2: {(0, 0): 1.0}, 3: {(0, 0): 1.0}})
    graph = head_topology(head)
    assert len(stream(graph, [A])) == 4
    assert Place(1, 1) not in {edge.target for edge in stream(graph, [A])}


def test_a_subnetwork_is_all_that_flows_into_a_neuron(two_streams):
    graph = head_topology(two_streams)
    part = subnetwork(graph, [Place(2, 3)])
    assert part.inputs == (A, B)
    assert [neuron.place for neuron in part.neurons] == [A, B, Place(1, 0), Place(2, 3)]
    latents = np.random.default_rng(0).normal(size=(7, 4))
    whole = evaluate(graph, latent_values(graph, latents))
    np.testing.assert_array_equal(evaluate(part, latent_values(part, latents))[Place(2, 3)], whole[Place(2, 3)])


def test_a_subnetwork_may_begin_at_neurons(two_streams):
    """The paper's fourth sub-network takes the answers of its second and third as inputs."""
    graph = head_topology(two_streams)
    starts = (Place(2, 3), Place(2, 4))
    part = subnetwork(graph, [Place(4, 0)], starts)
    assert part.inputs == starts
    latents = np.random.default_rng(0).normal(size=(7, 4))
    whole = evaluate(graph, latent_values(graph, latents))
    given = evaluate(part, {place: whole[place] for place in starts})
    np.testing.assert_allclose(given[Place(4, 0)], whole[Place(4, 0)])


def test_a_stream_may_lead_to_the_end_of_a_part(two_streams):
    part = subnetwork(head_topology(two_streams), [Place(2, 3)])
    found = stream(part, [A], [Place(2, 3)])
    assert {(edge.source, edge.target) for edge in found} == {(A, Place(1, 0)), (Place(1, 0), Place(2, 3))}
    assert not stream(part, [A])


def test_a_neuron_is_told_by_its_weights(two_streams):
    graph = head_topology(two_streams)
    bias = graph.layer(1)[0].bias
    words = neuron_words(graph, Place(1, 0), TITLES, CLASSES).splitlines()
    assert words == [
        "h1.0",
        f"bias {bias:+.3g}",
        "from z0 size: +2",
        "from z1 elongation: -1",
        "to h2.3: +1.5",
    ]
    assert neuron_words(graph, C, TITLES, CLASSES) == "z2\nto h1.1: +0.5"


def test_a_neuron_that_is_not_there_is_named(two_streams):
    with pytest.raises(QuestionError, match=r"Layer 1 has no connected neuron 7.*0, 1"):
        subnetwork(head_topology(two_streams), [Place(1, 7)])


def test_names_of_neurons():
    names = [neuron_name(place, 4, TITLES, CLASSES) for place in (A, C, Place(2, 5), Place(4, 0))]
    assert names == ["z0 size", "z2", "h2.5", "score (metaphase)"]
    assert neuron_name(Place(4, 2), 4, TITLES, ("a", "b", "c")) == "score (c)"


def test_graphml_holds_the_graph(two_streams, tmp_path):
    graph, path = head_topology(two_streams), tmp_path / "head.graphml"
    path.write_bytes(graphml(graph, TITLES, CLASSES))
    space = {"g": "http://graphml.graphdrawing.org/xmlns"}
    root = ElementTree.parse(path).getroot()
    nodes, lines = root.findall(".//g:node", space), root.findall(".//g:edge", space)
    assert [node.get("id") for node in nodes] == [f"n{p.layer}.{p.number}" for p in (n.place for n in graph.neurons)]
    weights = [float(line.find("g:data", space).text) for line in lines]
    assert weights == [edge.weight for edge in graph.edges]
    first = {data.get("key"): data.text for data in nodes[0].findall("g:data", space)}
    assert first == {"name": "z0 size", "layer": "0", "number": "0"}
    networkx = pytest.importorskip("networkx")
    read = networkx.read_graphml(path)
    assert read.nodes["n1.0"]["bias"] == pytest.approx(graph.layer(1)[0].bias)
    assert read.edges["n0.1", "n1.0"]["weight"] == -1.0


def drawn(figure):
    """Return colour and width of each line between two neurons."""
    (lines,) = (c for c in figure.axes[0].collections if isinstance(c, LineCollection))
    colours = [to_hex(colour) for colour in lines.get_colors()]
    segments = [tuple(map(tuple, segment)) for segment in lines.get_segments()]
    return dict(zip(segments, zip(colours, lines.get_linewidths(), strict=True), strict=True))


def test_drawing_has_a_line_a_weight_coloured_by_sign_and_wide_by_size(two_streams):
    lines = drawn(topology_figure(head_topology(two_streams), TITLES, CLASSES))
    colours = [colour for colour, _ in lines.values()]
    assert (colours.count(POSITIVE), colours.count(NEGATIVE)) == (5, 3)
    widths = sorted(width for _, width in lines.values())
    assert widths[-1] == 5
    assert widths[-2] / widths[-1] == pytest.approx(2 / 3)  # weights of 2 and of -3


def test_drawing_greys_what_is_not_in_the_stream(two_streams):
    graph = head_topology(two_streams)
    lines = drawn(topology_figure(graph, TITLES, CLASSES, stream(graph, [C])))
    assert [colour for colour, _ in lines.values()].count(BESIDE) == 4


def picture(figure):
    """Return a function that gives the colour (red, green, blue) that is seen at a point of the axes."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)

    def at(point):
        x, y = figure.axes[0].transData.transform(point)
        return pixels[len(pixels) - 1 - round(y), round(x)]

    return at


def test_the_picture_is_blue_along_positive_weights_red_along_negative_ones_and_grey_beside_a_stream(two_streams):
    graph = head_topology(two_streams)
    positions, chosen = neuron_positions(graph), stream(graph, [A])
    whole = picture(topology_figure(graph, TITLES, CLASSES))
    part = picture(topology_figure(graph, TITLES, CLASSES, chosen))
    for edge in graph.edges:
        start, end = (np.array(positions[place]) for place in (edge.source, edge.target))
        red, _, blue = whole(0.6 * start + 0.4 * end)
        assert (blue > red + 40) if edge.weight > 0 else (red > blue + 40)
        red, _, blue = part(0.6 * start + 0.4 * end)
        assert (abs(red - blue) > 40) == (edge in chosen)


def test_drawing_names_latents_and_shows_biases(two_streams):
    graph = head_topology(two_streams)
    texts = [text.get_text() for text in topology_figure(graph, TITLES, CLASSES).axes[0].texts]
    assert {"z0\nsize", "z1\nelongation", "z2", "metaphase where it is 0 or more"} <= set(texts)
    assert {f"{neuron.bias:+.2f}" for neuron in graph.neurons if neuron.bias is not None} <= set(texts)


@pytest.mark.parametrize("width", [10.0, NARROW_INCHES])
def test_neurons_are_drawn_where_they_are_said_to_be(two_streams, width):
    graph = head_topology(two_streams)
    figure = topology_figure(graph, TITLES, CLASSES, width=width)
    drawn_at = {tuple(line.get_xydata()[0]) for line in figure.axes[0].lines}
    assert set(neuron_positions(graph).values()) == drawn_at
    assert figure.get_size_inches()[0] == width


def test_names_stand_upright_where_they_have_no_room():
    weights = {0: {(0, 0): 2.0}, 1: {(0, 0): 1.0}, 2: {(0, 0): 1.0}, 3: {(i, 0): 1.0 for i in range(5)}}
    graph, classes = head_topology(sparse_head(weights, n_scores=5)), ("a", "b", "c", "d", "e")
    for width, rotation in ((10.0, 0), (NARROW_INCHES, 90)):
        texts = topology_figure(graph, TITLES, classes, width=width).axes[0].texts
        assert {text.get_rotation() for text in texts if text.get_text() in classes} == {rotation}
        assert [text.get_rotation() for text in texts if text.get_text() == "z0\nsize"] == [0]


@pytest.mark.parametrize("classes", [CLASSES, ("a", "b", "c")])
def test_a_head_without_connections_is_said_to_be_constant(classes):
    head = sparse_head({}, n_scores=1 if len(classes) == 2 else 3)
    graph = head_topology(head)
    assert graph.edges == ()
    assert len(graph.neurons) == head.linear_layers()[-1].out_features
    figure = topology_figure(graph, TITLES, classes)
    assert any("No connection is left" in text.get_text() for text in figure.axes[0].texts)
    assert png(figure).startswith(b"\x89PNG")
    assert evaluate(graph, {})[Place(4, 0)][0] == pytest.approx(float(head.linear_layers()[-1].bias[0]))
    assert graphml(graph, TITLES, classes).count(b"<node") == len(graph.neurons)


def test_dense_heads_are_drawn_thin_and_as_vectors(random_bundle):
    figure = topology_figure(head_topology(random_bundle().head("dense")), {}, CLASSES)
    lines = drawn(figure)
    assert len(lines) == 1040
    assert max(width for _, width in lines.values()) < 2
    picture = svg(figure)
    assert picture.count(b"<path") > 1000
    assert b">z31<" in picture  # text stays text


def test_an_edge_is_a_plain_value():
    assert Edge(A, B, 1.0) == Edge(A, B, 1.0)
