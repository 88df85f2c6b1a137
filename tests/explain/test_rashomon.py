"""Sizes of heads, all trained models with their Pareto front, and filmstrips of traversals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from napari_cellinterp.explain.figure_parts import NARROW_INCHES, png, svg
from napari_cellinterp.explain.filmstrip_figure import COLUMN_PX, N_STEPS, ROW_PX, filmstrip_figure
from napari_cellinterp.explain.rashomon import (
    TrainedModel,
    head_size,
    mean_accuracy,
    n_runs_like,
    pareto_front,
    rashomon_figure,
    trained_models,
)
from napari_cellinterp.explain.traversal import latent_ranges
from napari_cellinterp.models.bundle_info import Formula, Run
from napari_cellinterp.models.expression import Expression
from napari_cellinterp.models.heads import SymbolicHead
from napari_cellinterp.results.colours import UNDEFINED_COLOUR, state_colour


def with_runs(bundle, **changes):
    """Return what a bundle says of itself, with changes of its heads."""
    heads = {name: head.model_copy(update=changes.get(name, {})) for name, head in bundle.info.heads.items()}
    return bundle.info.model_copy(update={"heads": heads})


def formula(text, size, accuracy):
    return Formula(expression=text, complexity=size, size=size, loss=0.1, accuracy=accuracy, target="hinge")


def test_all_runs_and_formulas_are_models(random_bundle):
    runs = (Run(seed=0, accuracy=0.9, expression_size=200, latents=(1, 2)), Run(seed=1, accuracy=0.8))
    info = with_runs(random_bundle(), sparse={"runs": runs}, symbolic={"front": (formula("z1", 1, 0.7),)})
    models, n_unknown = trained_models([info])
    assert models == (
        TrainedModel("random", "sparse", 0.9, 200, (1, 2)),
        TrainedModel("random", "symbolic", 0.7, 1, formula="z1"),
    )
    assert n_unknown == 1


def test_formulas_of_one_of_several_scores_are_left_out(random_bundle):
    info = with_runs(random_bundle(classes=("a", "b", "c")), symbolic={"front": (formula("z1", 1, 0.7),)})
    assert trained_models([info]) == ((), 0)


def test_the_pareto_front_holds_what_nothing_beats():
    sizes = [(5, 0.7), (5, 0.6), (8, 0.7), (9, 0.9), (9, 0.9), (200, 0.85), (300, 0.95)]
    models = [TrainedModel("m", "symbolic", accuracy, size) for size, accuracy in sizes]
    assert [(m.expression_size, m.accuracy) for m in pareto_front(models)] == [(5, 0.7), (9, 0.9), (300, 0.95)]
    assert pareto_front([]) == ()


def test_the_figure_draws_every_model_and_the_front():
    models = [
        TrainedModel("one", "sparse", 0.95, 180),
        TrainedModel("one", "symbolic", 0.9, 12, formula="z1"),
        TrainedModel("two", "dense", 0.99, 8641),
        TrainedModel("two", "sparse", 0.94, 200),
    ]
    axes = (figure := rashomon_figure(models)).axes[0]
    assert axes.get_xscale() == "log"
    drawn = {tuple(point) for group in axes.collections for point in group.get_offsets().tolist()}
    assert drawn == {(m.expression_size, m.accuracy) for m in models}
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [(12, 0.9), (180, 0.95), (8641, 0.99)])
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"one", "two", "scheme 3 (sparse)", "Pareto front"} <= set(words)
    assert "scheme 1 (CNN)" not in words


def test_very_many_bundles_look_alike_and_are_not_listed():
    models = [TrainedModel(f"run {i}", "sparse", 0.9 + i / 1e4, 200 + i) for i in range(1000)]
    axes = (figure := rashomon_figure(models, NARROW_INCHES)).axes[0]
    assert len(axes.collections) == 1
    assert len(axes.collections[0].get_offsets()) == 1000
    assert len(figure.legends[0].get_texts()) == 2
    assert png(figure)


def test_a_run_is_told_by_size_and_latents(random_bundle):
    bundle = random_bundle()
    size = head_size(bundle, "symbolic")
    same = Run(seed=0, accuracy=0.9, expression_size=size.expression_size, latents=size.latents)
    runs = (same, same.model_copy(update={"latents": (5,)}), same.model_copy(update={"expression_size": 99}))
    assert [size.is_of(run) for run in runs] == [True, False, False]
    assert n_runs_like(with_runs(bundle, symbolic={"runs": runs}), "symbolic", size) == 1


def test_no_models_are_said():
    figure = rashomon_figure([])
    assert "no trained models" in figure.axes[0].texts[0].get_text()
    assert png(figure).startswith(b"\x89PNG")


def test_thousands_of_models_stay_a_small_file():
    rng = np.random.default_rng(0)
    models = [
        TrainedModel("m", "sparse", a, int(s))
        for a, s in zip(rng.random(5000), rng.integers(5, 900, 5000), strict=True)
    ]
    assert len(svg(rashomon_figure(models))) < 400_000


def test_sizes_of_the_papers_heads(random_bundle):
    bundle = random_bundle()
    dense, cnn = head_size(bundle, "dense"), head_size(bundle, "cnn")
    assert (dense.n_weights, dense.expression_size, dense.tree_size) == (1040, 8641, 8641)
    assert dense.n_parameters == 1040 + 49
    assert (cnn.n_weights, cnn.expression_size, cnn.latents) == (1040, 9697, None)
    symbolic = head_size(bundle, "symbolic")  # z0 - 2*z1**2
    assert (symbolic.n_weights, symbolic.expression_size, symbolic.latents) == (None, 6, (0, 1))
    assert dense.n_with_encoder - dense.n_parameters == symbolic.n_with_encoder


def test_size_of_a_sparse_head(random_bundle):
    bundle = random_bundle()
    for layer in bundle.head("sparse").linear_layers():
        layer.mask.zero_()
    assert head_size(bundle, "sparse").expression_size == 0
    for layer in bundle.head("sparse").linear_layers():
        layer.mask[0, :2] = 1
    found = head_size(bundle, "sparse")
    assert found.n_weights == 8
    # three hidden neurons of two sources each, and the output (the paper's eq. 14)
    assert found.expression_size == 3 * (8 * 2 + 1) + 4 * 2 + 1
    assert found.latents == (0, 1)
    # h.0 of three layers, the score, and h.1 of three layers, which are constant
    assert found.n_parameters == 8 + 4 + 3


def test_mean_accuracy_is_over_the_runs(random_bundle):
    runs = (Run(seed=0, accuracy=0.9), Run(seed=1, accuracy=0.8))
    info = with_runs(random_bundle(), sparse={"runs": runs}, dense={"runs": runs[:1]})
    assert mean_accuracy(info, "sparse") == pytest.approx((0.85, np.std([0.9, 0.8], ddof=1), 2))
    assert mean_accuracy(info, "dense") == (0.9, 0.0, 1)
    assert mean_accuracy(info, "cnn") is None


def test_a_filmstrip_shows_scores_and_states(random_bundle):
    made = random_bundle()
    bundle = replace(made, heads=made.heads | {"symbolic": SymbolicHead([Expression.parse("log(z0 + 1)")])})
    figure = filmstrip_figure(bundle, (0, 4), ("symbolic", "sparse"), {0: "size"})
    axes = figure.axes[0]
    canvas = axes.images[0].get_array()
    assert canvas.shape == (2 * ROW_PX, N_STEPS * COLUMN_PX, 3)
    frames = [tuple(canvas[0, i * COLUMN_PX]) for i in range(N_STEPS)]
    assert frames[0] == to_rgb(UNDEFINED_COLOUR)  # log of a negative number
    assert frames[-1] == to_rgb(state_colour(1))
    texts = [text.get_text() for text in axes.texts]
    assert len(texts) == 2 * N_STEPS * 3
    assert texts[1] == "symbolic undefined"
    point = np.median(bundle.population.latents, axis=0)
    point[0] = latent_ranges(bundle)[0].high
    score = float(bundle.head("sparse")(torch.from_numpy(point[None].astype(np.float32)))[0, 0])
    assert float(texts[26].removeprefix("sparse ")) == pytest.approx(score, abs=0.006)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["z0\nsize", "z4"]


def test_a_filmstrip_of_several_classes(random_bundle):
    bundle = random_bundle(n_channels=2, classes=("a", "b", "c"))
    figure = filmstrip_figure(bundle, (3,), ("sparse",), {})
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "c"]
    assert png(figure).startswith(b"\x89PNG")
