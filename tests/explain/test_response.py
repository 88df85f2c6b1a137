"""Response maps of neurons, decision boundaries, and which inputs matter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb

from napari_cellinterp.errors import BundleError, ExpressionError, QuestionError
from napari_cellinterp.explain.figure_parts import png
from napari_cellinterp.explain.response import (
    N_TILES,
    boundary_latents,
    decision_map,
    important_latents,
    narrowest_layer,
    response_map,
    score_points,
    tile_positions,
)
from napari_cellinterp.explain.response_figure import decision_figure, fixed_words, response_figure
from napari_cellinterp.explain.topology import Place, head_topology
from napari_cellinterp.explain.traversal import decode_images
from napari_cellinterp.models.expression import Expression
from napari_cellinterp.models.heads import SymbolicHead
from napari_cellinterp.results.colours import state_colour

TITLES = {0: "size", 1: "elongation"}
STATE_RGB = [np.array(to_rgb(state_colour(i))) for i in (0, 1)]


@pytest.fixture
def bundle(random_bundle):
    """A bundle whose sparse head has two streams: z0 and z1 through h1.0, z2 through h1.1."""
    made = random_bundle()
    weights = {
        0: {(0, 0): 2.0, (0, 1): -1.0, (1, 2): 0.5},
        1: {(3, 0): 1.5, (4, 1): -0.5},
        2: {(5, 3): 1.0, (5, 4): -3.0},
        3: {(0, 5): -0.25},
    }
    for number, layer in enumerate(made.head("sparse").linear_layers()):
        layer.mask.zero_()
        for (target, source), weight in weights[number].items():
            layer.mask[target, source] = 1
            layer.weight[target, source] = weight
    return made


def with_symbolic(bundle, *texts):
    head = SymbolicHead([Expression.parse(text) for text in texts])
    return replace(bundle, heads=bundle.heads | {"symbolic": head})


def mish(x):
    return x * np.tanh(np.log1p(np.exp(x)))


def test_a_response_is_that_of_the_subnetwork_by_hand(bundle):
    found = response_map(bundle, "sparse", Place(2, 3))
    assert found.inputs == (Place(0, 0), Place(0, 1))  # the larger weight first
    layers = bundle.head("sparse").linear_layers()
    z0, z1 = np.meshgrid(*found.axes)
    inner = mish(2 * z0 - z1 + float(layers[0].bias[0]))
    np.testing.assert_allclose(found.response, mish(1.5 * inner + float(layers[1].bias[3])), rtol=1e-6, atol=1e-9)
    assert found.fixed == {}
    for axis in found.axes:
        assert axis[0] <= -3
        assert axis[-1] >= 3


def test_the_gradient_is_the_slope_of_the_response(bundle):
    found = response_map(bundle, "sparse", Place(1, 0))
    along_x, along_y = found.gradient
    assert along_x.shape == along_y.shape == found.response.shape
    np.testing.assert_allclose(along_x, -2 * along_y, rtol=0.1, atol=0.05)
    steep = response_map(bundle, "sparse", Place(1, 1)).gradient
    assert len(steep) == 1
    assert steep[0].max() > 0.4


def test_other_inputs_are_held_at_the_median(bundle):
    found = response_map(bundle, "sparse", Place(4, 0), [Place(0, 1)])
    medians = np.median(bundle.population.latents, axis=0)
    assert found.fixed == pytest.approx({Place(0, 0): medians[0], Place(0, 2): medians[2]})
    points = np.tile(medians, (len(found.axes[0]), 1))
    points[:, 1] = found.axes[0]
    expected = bundle.head("sparse")(torch.from_numpy(points.astype(np.float32)))[:, 0]
    np.testing.assert_allclose(found.response, expected, rtol=1e-4, atol=1e-4)
    words = fixed_words({"z0 size": found.fixed[Place(0, 0)]})
    assert words == f"Held at the population's median: z0 size = {medians[0]:.2f}."
    assert fixed_words({}) == ""


def test_a_response_may_be_mapped_over_neurons(bundle):
    graph = head_topology(bundle.head("sparse"))
    starts = narrowest_layer(graph)
    assert starts == (Place(1, 0), Place(1, 1))
    found = response_map(bundle, "sparse", Place(4, 0), starts=starts)
    assert set(found.inputs) == set(starts)
    layers = bundle.head("sparse").linear_layers()
    x, y = np.meshgrid(*found.axes)
    a, b = (x, y) if found.inputs[0] == Place(1, 0) else (y, x)
    size = mish(1.5 * a + float(layers[1].bias[3]))
    other = mish(-0.5 * b + float(layers[1].bias[4]))
    total = -0.25 * mish(size - 3 * other + float(layers[2].bias[5])) + float(layers[3].bias[0])
    np.testing.assert_allclose(found.response, total, rtol=1e-5, atol=1e-6)


def test_a_head_that_stays_wide_has_no_narrow_layer(random_bundle):
    assert narrowest_layer(head_topology(random_bundle().head("dense"))) == ()


def test_nuclei_along_a_latent_are_its_traversal(bundle):
    found = response_map(bundle, "sparse", Place(1, 1))
    points = np.tile(np.median(bundle.population.latents, axis=0), (N_TILES, 1))
    points[:, 2] = tile_positions(found.axes[0])
    np.testing.assert_allclose(found.tiles[0], decode_images(bundle, points)[:, 0], atol=1e-5)


@pytest.mark.parametrize(
    ("neuron", "inputs", "message"),
    [
        (Place(2, 9), (), "no connected neuron 9"),
        (Place(2, 3), (Place(0, 2),), "0 of layer 0, 1 of layer 0"),
        (Place(4, 0), (Place(0, 0), Place(0, 1), Place(0, 2)), "one or two inputs"),
    ],
)
def test_wrong_neurons_and_inputs_are_refused(bundle, neuron, inputs, message):
    with pytest.raises(QuestionError, match=message):
        response_map(bundle, "sparse", neuron, inputs)


def test_nothing_flows_into_the_score_of_a_head_without_connections(bundle):
    for layer in bundle.head("sparse").linear_layers():
        layer.mask.zero_()
    with pytest.raises(QuestionError, match="none"):
        response_map(bundle, "sparse", Place(4, 0))
    assert narrowest_layer(head_topology(bundle.head("sparse"))) == ()
    assert boundary_latents(bundle, "sparse") is None


def test_drawn_responses_have_their_numbers(bundle):
    found = response_map(bundle, "sparse", Place(2, 3))
    figure = response_figure(found, 4, TITLES, bundle.info.classes)
    axes = figure.axes[0]
    assert axes.get_xlim() == (found.axes[0][0], found.axes[0][-1])
    words = [text.get_text() for text in figure.texts]
    assert words == ["z1 elongation (SD of the prior)", "z0 size (SD of the prior)"]
    assert axes.get_title() == "Response of h2.3"
    images = [a for a in figure.axes if a.images]
    assert [a.images[0].get_array().shape for a in images] == [(64 * N_TILES, 64), (64, 64 * N_TILES)]
    curve = response_figure(response_map(bundle, "sparse", Place(1, 1)), 4, TITLES, bundle.info.classes)
    x, y = curve.axes[0].lines[0].get_data()
    assert x[0] <= -3
    assert y[-1] > y[0]
    assert png(curve).startswith(b"\x89PNG")


def test_a_constant_response_is_said(bundle):
    bundle.head("sparse").linear_layers()[0].weight.zero_()
    figure = response_figure(response_map(bundle, "sparse", Place(1, 0)), 4, TITLES, bundle.info.classes)
    assert any("everywhere" in text.get_text() for text in figure.axes[0].texts)


def test_the_boundary_lies_where_the_score_is_zero(bundle):
    expression = Expression.parse("z0**2 + z1**2 - 2.25*exp(z5 - z5)")
    found = decision_map(bundle, expression, (0, 1))
    figure = decision_figure(found, bundle, TITLES, str(expression))
    lines = [c for c in figure.axes[0].collections if list(getattr(c, "levels", [])) == [0.0]]
    points = np.concatenate([path.vertices for path in lines[0].get_paths()])
    np.testing.assert_allclose(np.hypot(*points.T), 1.5, atol=0.01)
    assert list(found.fixed) == [5]
    assert png(figure).startswith(b"\x89PNG")


def test_each_side_of_the_boundary_is_seen_in_the_colour_of_its_state(bundle):
    figure = decision_figure(decision_map(bundle, Expression.parse("z0 - 0.5"), (0, 1)), bundle, TITLES, "rule")
    for line in figure.axes[0].lines:
        line.set_visible(False)  # the nuclei
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3] / 255
    for x, state in ((-1.5, 0), (2.5, 1)):
        across, up = figure.axes[0].transData.transform((x, 0.3))
        seen = 1 - pixels[len(pixels) - 1 - round(up), round(across)]  # how far from white
        away = [np.linalg.norm(seen / seen.sum() - (1 - rgb) / (1 - rgb).sum()) for rgb in STATE_RGB]
        assert int(np.argmin(away)) == state


@pytest.mark.parametrize("head", ["sparse", "dense", "symbolic", "cnn"])
def test_scores_of_a_map_are_the_heads_own(bundle, head):
    found = decision_map(bundle, head, (0, 3))
    x, y = found.axes
    point = np.median(bundle.population.latents, axis=0)
    point[[0, 3]] = x[4], y[7]
    given = decode_images(bundle, point[None]) if head == "cnn" else point[None].astype(np.float32)
    expected = bundle.head(head)(torch.from_numpy(given))[0]
    np.testing.assert_allclose(found.scores[7, 4], expected, rtol=1e-4, atol=1e-4)


def test_a_boundary_may_be_drawn_around_a_nucleus(bundle):
    found = decision_map(bundle, Expression.parse("z0 - z1 + z2"), (0, 1), np.full(32, 2.0))
    assert found.fixed == {2: 2.0}
    np.testing.assert_allclose(found.scores[0, 0, 0], found.axes[0][0] - found.axes[1][0] + 2, atol=1e-5)


def test_the_population_is_overlaid_in_its_colours(bundle):
    figure = decision_figure(decision_map(bundle, "symbolic", (0, 1)), bundle, TITLES, "symbolic")
    drawn = {to_hex(line.get_color()): line.get_xydata() for line in figure.axes[0].lines}
    for k in (0, 1):
        rows = bundle.population.state == k
        np.testing.assert_allclose(drawn[state_colour(k)], bundle.population.latents[rows][:, :2])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["interphase", "metaphase", "boundary"]


def test_a_nucleus_is_marked_at_its_latents_or_where_the_axes_end(bundle):
    found = decision_map(bundle, Expression.parse("z0 - z1"), (0, 1))
    nucleus = np.zeros(32, np.float32)
    nucleus[:2] = 0.5, 99
    figure = decision_figure(found, bundle, TITLES, "a formula", nucleus)
    star = next(line for line in figure.axes[0].lines if line.get_marker() == "*")
    np.testing.assert_allclose(star.get_xydata(), [(0.5, found.axes[1][-1])])
    assert "selected nucleus" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_undefined_regions_are_hatched_and_named(bundle):
    found = decision_map(bundle, Expression.parse("log(z0) - z1"), (0, 1))
    assert (found.states[:, found.axes[0] <= 0] == -1).all()
    figure = decision_figure(found, bundle, TITLES, "formula")
    assert "undefined" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert png(figure).startswith(b"\x89PNG")
    nowhere = decision_map(bundle, Expression.parse("sqrt(-1 - z0**2)"), (0, 1))
    assert png(decision_figure(nowhere, bundle, TITLES, "formula")).startswith(b"\x89PNG")


def test_several_classes_have_boundaries_between_their_largest_scores(random_bundle):
    made = with_symbolic(random_bundle(classes=("a", "b", "c")), "z0", "z1", "-z0 - z1")
    found = decision_map(made, "symbolic", (0, 1))
    assert found.scores.shape[-1] == 3
    assert set(np.unique(found.states)) == {0, 1, 2}
    figure = decision_figure(found, made, TITLES, "three")
    first = next(c for c in figure.axes[0].collections if list(getattr(c, "levels", [])) == [0.0])
    points = np.concatenate([path.vertices for path in first.get_paths()])
    others = np.maximum(points[:, 1], -points.sum(axis=1))
    np.testing.assert_allclose(points[:, 0], others, atol=0.1)


@pytest.mark.parametrize("latents", [(0, 0), (0, 32), (-1, 2)])
def test_two_latents_of_the_model_are_needed(bundle, latents):
    with pytest.raises(QuestionError, match="z0 to z31"):
        decision_map(bundle, "sparse", latents)


def test_missing_heads_and_latents_are_named(bundle):
    without = replace(bundle, heads={name: head for name, head in bundle.heads.items() if name != "sparse"})
    with pytest.raises(BundleError, match="no sparse head"):
        decision_map(without, "sparse", (0, 1))
    with pytest.raises(ExpressionError, match="z40"):
        decision_map(bundle, Expression.parse("z40"), (0, 1))


def test_latents_that_matter_come_first(bundle):
    assert important_latents(bundle, Expression.parse("0.1*z4 + 3*z9 - z2")) == [9, 2, 4]
    assert important_latents(bundle, "symbolic") == [1, 0]
    assert boundary_latents(bundle, Expression.parse("z7 - 1")) == (7, 0)
    assert boundary_latents(bundle, Expression.parse("1.5")) is None


def test_constant_latents_and_undefined_scores_matter_not(bundle):
    bundle.population.latents[:, 6] = 0.25
    assert important_latents(bundle, Expression.parse("100*z6 + z3")) == [3, 6]
    assert set(important_latents(bundle, Expression.parse("log(-1 - z3**2) + z6"))) == {3, 6}
    found = decision_map(bundle, Expression.parse("z6 + z3"), (6, 3))
    assert png(decision_figure(found, bundle, TITLES, "constant")).startswith(b"\x89PNG")


def test_scores_of_formulas_are_in_full_precision(bundle):
    latents = bundle.population.latents[:5]
    expected = [expression.evaluate(latents) for expression in bundle.head("symbolic").expressions]
    np.testing.assert_array_equal(score_points(bundle, "symbolic", latents), np.stack(expected, axis=1))
