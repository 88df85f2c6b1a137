"""The formulas between which one may choose: from the shortest to the most accurate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_cellinterp.explain.rashomon import TrainedModel, pareto_front, trained_models
from napari_cellinterp.models.expression import Expression
from napari_cellinterp.models.heads import states_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_cellinterp.models.bundle import ModelBundle
    from napari_cellinterp.models.novelty import Population


def formula_steps(bundle: ModelBundle) -> tuple[TrainedModel, ...]:
    """Return the Pareto-optimal formulas of a model by size, and among them the one that its symbolic head uses.

    The head's own is there whether or not another one is as small and more accurate.

    Parameters
    ----------
    bundle : ModelBundle
        A model with one score and a symbolic head.
    """
    optimal = pareto_front(model for model in trained_models([bundle.info])[0] if model.formula)
    return ordered([*optimal, own_formula(bundle)])


def ordered(steps: Iterable[TrainedModel]) -> tuple[TrainedModel, ...]:
    """Return formulas from the shortest to the longest, each once."""
    once = {step.formula: step for step in steps}
    return tuple(sorted(once.values(), key=lambda step: (step.expression_size, step.accuracy)))


def own_formula(bundle: ModelBundle) -> TrainedModel:
    """Return the formula of a symbolic head.

    Its accuracy is that of the front, or of the only run of its size and latents; where there are none or several, it
    is measured on the bundle's held-out crops.
    """
    info, text = bundle.info.heads["symbolic"], bundle.info.heads["symbolic"].expressions[0]
    expression = Expression.parse(text)
    figures = (expression.size, expression.latents)
    runs = [run.accuracy for run in info.runs if (run.expression_size, run.latents) == figures]
    known = [one.accuracy for one in info.front if one.expression == text] or runs
    accuracy = known[0] if len(known) == 1 else _measured(expression, bundle.population)
    return TrainedModel(bundle.info.name, "symbolic", accuracy, expression.size, expression.latents, text)


def _measured(expression: Expression, population: Population) -> float:
    right = states_of(expression.evaluate(population.latents)[:, None]) == population.state
    return float(right.mean())
