"""The formulas between which one may choose."""

from __future__ import annotations

from dataclasses import replace

import pytest

from napari_cellinterp.explain.formula_steps import formula_steps, ordered, own_formula
from napari_cellinterp.explain.rashomon import TrainedModel
from napari_cellinterp.models.bundle_info import Formula, Run
from napari_cellinterp.models.expression import Expression

OWN = "z0 - 2*z1**2"


@pytest.fixture
def with_front(random_bundle):
    """Return a function that gives the random bundle a front (formula, size, accuracy), and runs."""

    def make(front, runs=()):
        bundle = random_bundle()
        formulas = tuple(
            Formula(expression=text, complexity=size, size=size, loss=0.1, accuracy=accuracy, target="hinge")
            for text, size, accuracy in front
        )
        head = bundle.info.heads["symbolic"].model_copy(update={"front": formulas, "runs": tuple(runs)})
        return replace(bundle, info=bundle.info.model_copy(update={"heads": bundle.info.heads | {"symbolic": head}}))

    return make


def run(accuracy, size, latents):
    return Run(seed=0, accuracy=accuracy, expression_size=size, latents=latents)


def test_steps_are_the_optimal_formulas_from_short_to_accurate(with_front):
    front = [("z0", 1, 0.7), ("z1", 1, 0.6), ("z0 + z1", 3, 0.8), ("z0 + z2", 3, 0.8), ("z0 - z3 + z1", 5, 0.75)]
    steps = formula_steps(with_front([*front, (OWN, 6, 0.9)]))
    assert [(step.formula, step.accuracy) for step in steps] == [("z0", 0.7), ("z0 + z1", 0.8), (OWN, 0.9)]


def test_the_heads_own_formula_is_a_step_though_others_beat_it(with_front):
    steps = formula_steps(with_front([("z0", 1, 0.95), (OWN, 6, 0.9)]))
    assert [step.formula for step in steps] == ["z0", OWN]


def test_the_own_accuracy_is_that_of_the_only_run_alike(with_front):
    bundle = with_front([], [run(0.9, 6, (0, 1)), run(0.8, 6, (0, 2)), run(0.7, 7, (0, 1))])
    assert own_formula(bundle) == TrainedModel("random", "symbolic", 0.9, 6, (0, 1), OWN)


def test_the_own_accuracy_is_measured_where_runs_do_not_tell(with_front):
    bundle = with_front([], [run(0.9, 6, (0, 1)), run(0.8, 6, (0, 1))])
    scores = Expression.parse(OWN).evaluate(bundle.population.latents)
    expected = ((scores >= 0) == bundle.population.state).mean()
    assert own_formula(bundle).accuracy == pytest.approx(expected)
    assert own_formula(with_front([])).accuracy == pytest.approx(expected)


def test_each_formula_is_there_once():
    a, b = TrainedModel("m", "symbolic", 0.8, 3, formula="z0 + z1"), TrainedModel("m", "symbolic", 0.7, 1, formula="z0")
    assert ordered([a, b, a]) == (b, a)
