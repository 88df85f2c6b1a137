"""Symbolic regression: formulas over a few latents that tell classes apart, by one of two engines."""

from napari_cellinterp.training.symbolic.front import Candidate, Goal, hinge, pareto_front, refine, squared
from napari_cellinterp.training.symbolic.hall_of_fame import read_runs
from napari_cellinterp.training.symbolic.search import Searched, search_each_class, search_formulas

__all__ = [
    "Candidate",
    "Goal",
    "Searched",
    "hinge",
    "pareto_front",
    "read_runs",
    "refine",
    "search_each_class",
    "search_formulas",
    "squared",
]
