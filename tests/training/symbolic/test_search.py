"""The search by the embedded engine, for two classes and for several."""

from __future__ import annotations

import sys
from itertools import pairwise

import numpy as np
import pytest

from napari_cellinterp.config import SymbolicConfig
from napari_cellinterp.errors import TrainingError
from napari_cellinterp.events import EpochFinished, finish
from napari_cellinterp.models.expression import Expression
from napari_cellinterp.training.symbolic import hinge, search_each_class, search_formulas, squared
from napari_cellinterp.training.symbolic.operon import _named
from napari_cellinterp.training.symbolic.search import _balanced
from napari_cellinterp.training.symbolic.sums import growing_sums

QUICK = SymbolicConfig(engine="operon", n_generations=20, population=150, max_size=12)


def rule(latents, name):
    a, b = latents[:, 3], latents[:, 12]
    return {"product": 2 * a * b + a, "line": 2 * (a - b), "parabola": a**2 + b - 1}[name]


@pytest.mark.parametrize("name", ["product", "line", "parabola"])
def test_a_rule_is_found_with_the_allowed_inputs_only(name):
    latents = np.random.default_rng(1).normal(size=(200, 14))
    scores = rule(latents, name)
    latents[:, 5] = scores  # a leak that nobody may use
    target = np.where(scores > 0, 1.0, -1.0)
    inputs = [12, 0, 3, 1]
    front = finish(search_formulas(latents, target, scores, inputs, QUICK))
    assert max(c.accuracy for c in front) > 0.92
    assert set().union(*(c.expression.latents for c in front)) <= set(inputs)
    assert all(c.complexity <= 12 for c in front)
    assert all(a.complexity < b.complexity and a.loss > b.loss for a, b in pairwise(front))
    for c in front:
        assert hinge(c.expression.evaluate(latents), target) == pytest.approx(c.loss)


def test_the_names_of_the_engine_do_not_eat_into_each_other():
    inputs = [12, 0, 3, 1, 2, 4, 6, 7, 8, 9, 10]
    assert _named("X1 + X11 * X10", inputs) == "z12 + z10 * z9"


def test_a_closed_form_is_found_by_its_scores():
    latents = np.random.default_rng(2).normal(size=(300, 3))
    scores = latents[:, 0] ** 2 + latents[:, 1] - 1
    target = np.where(scores > 0, 1.0, -1.0)
    front = finish(search_formulas(latents, target, scores, [0, 1, 2], QUICK.model_copy(update={"target": "squared"})))
    best = front[-1]
    assert best.expression.latents == (0, 1)
    assert best.loss < 1e-4
    assert best.accuracy > 0.99
    assert best.target == "squared"
    assert squared(best.expression.evaluate(latents), scores) == pytest.approx(best.loss)


@pytest.mark.parametrize("target", ["hinge", "squared"])
def test_no_linear_score_that_is_allowed_beats_the_front(target):
    latents = np.random.default_rng(12).normal(size=(400, 8))
    scores = latents @ np.array([2.0, -1.5, 0, 1.2, 0.9, 0, -0.7, 0]) + 0.4
    config = SymbolicConfig(engine="operon", n_generations=2, population=20, max_size=21, target=target)
    front = finish(search_formulas(latents, np.sign(scores), scores, range(8), config))
    best = front[-1]
    assert best.expression.latents == (0, 1, 3, 4, 6)
    assert best.accuracy > 0.99
    assert best.complexity <= 21


def test_sums_take_the_latent_or_square_that_helps_most():
    latents = np.random.default_rng(13).normal(size=(300, 5))
    wanted = 0.5 - 3 * latents[:, 4] + 2 * latents[:, 0] ** 2 + latents[:, 2]
    wanted[:9] = 1e4  # crops that don't count
    weights = np.where(np.arange(300) < 9, 0.0, 2.0)
    formulas = [Expression.parse(text) for text in growing_sums(latents, wanted, weights, [0, 1, 2, 4], 3)]
    assert [formula.latents for formula in formulas] == [(4,), (0, 4), (0, 2, 4)]
    np.testing.assert_allclose(formulas[-1].evaluate(latents)[9:], wanted[9:], atol=1e-4)
    assert len(growing_sums(latents, wanted, weights, [0, 1], 9)) == 4


def test_the_search_tells_how_far_it_is_and_its_seed_settles_it():
    latents = np.random.default_rng(3).normal(size=(100, 2))
    target = np.sign(latents[:, 0] - latents[:, 1])
    config = SymbolicConfig(engine="operon", n_generations=23, population=30, max_size=8)
    events = []
    first = finish(search_formulas(latents, target, target, [0, 1], config), events.append)
    assert all(isinstance(event, EpochFinished) for event in events)
    stages = [(event.done, event.total) for event in events if event.name == "operon"]
    assert stages == [(10, 23), (12, 23), (22, 23), (23, 23)]
    assert {event.name for event in events} == {"operon", "constants", "simplification"}
    assert all(dict(event.figures)["loss"] >= 0 for event in events)
    assert finish(search_formulas(latents, target, target, [0, 1], config)) == first


def test_the_smallest_formulas_have_no_constants():
    latents = np.random.default_rng(4).normal(size=(100, 2))
    target = np.sign(latents[:, 1])
    config = SymbolicConfig(engine="operon", n_generations=2, population=20, max_size=1)
    (only,) = finish(search_formulas(latents, target, target, [0, 1], config))
    assert str(only.expression) == "z1"


def test_interphase_may_count_more():
    latents = np.random.default_rng(5).normal(size=(200, 1))
    target = np.sign(latents[:, 0] + np.random.default_rng(6).normal(size=200))
    config = SymbolicConfig(engine="operon", n_generations=10, population=50, max_size=6)

    def called_metaphase(weight):
        front = finish(
            search_formulas(latents, target, target, [0], config.model_copy(update={"interphase_weight": weight}))
        )
        return (front[-1].expression.evaluate(latents) >= 0).mean()

    assert called_metaphase(8.0) < called_metaphase(1.0)


def test_without_inputs_there_is_nothing_to_search():
    with pytest.raises(TrainingError, match="no latents"):
        finish(search_formulas(np.zeros((4, 2)), np.ones(4), np.ones(4), [], QUICK))


def test_an_engine_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyoperon.sklearn", None)
    with pytest.raises(TrainingError, match=r"operon can't be used.*Install pyoperon.*pysr"):
        finish(search_formulas(np.zeros((4, 2)), np.ones(4), np.ones(4), [0], QUICK))


@pytest.mark.parametrize("target", ["hinge", "squared"])
def test_a_front_a_class_the_largest_score_wins(target):
    latents = np.random.default_rng(7).normal(size=(200, 4))
    scores = 2 * np.stack([latents[:, 0] - 1, latents[:, 1], -latents[:, 0] - latents[:, 1]], axis=1)
    state = scores.argmax(axis=1)
    config = SymbolicConfig(engine="operon", n_generations=10, population=100, max_size=9, target=target)
    fronts, head = finish(search_each_class(latents, state, scores, [0, 1, 3], config, 3))
    assert len(fronts) == len(head) == 3
    for formulas in ([front[-1] for front in fronts], head):
        found = np.stack([candidate.expression.evaluate(latents) for candidate in formulas], axis=1)
        assert (found.argmax(axis=1) == state).mean() > 0.9
    assert {candidate.target for candidate in head} == {target}
    assert all(candidate.complexity <= 9 for candidate in head)


def test_several_classes_need_room_for_a_sum():
    with pytest.raises(TrainingError, match=r"complexity 4 \(max_size\).*Allow 5"):
        finish(search_each_class(np.zeros((3, 1)), np.arange(3), np.zeros((3, 3)), [0], SymbolicConfig(max_size=4), 3))


def test_both_sides_of_a_class_count_alike():
    sign = np.array([1.0, -1, -1, -1])
    weights = _balanced(sign, 0)
    assert weights[sign > 0].sum() == weights[sign < 0].sum() == 2
    for side in (1.0, -1.0):
        with pytest.raises(TrainingError, match=r"Class 2 has \d of the 4 crops"):
            _balanced(np.full(4, side), 2)
