"""Colours of points by numbers."""

from dataclasses import replace

import numpy as np
import pytest

from napari_cellinterp.explain.agreement import Disagreement
from napari_cellinterp.explain.figure_parts import COLOURS
from napari_cellinterp.gui.map_colours import by_agreement, by_number, by_score, by_state
from napari_cellinterp.results.colours import UNDEFINED_COLOUR, state_colour


def hexes(colours):
    return ["#" + bytes(colour[:3].tolist()).hex() for colour in colours]


def scored(classification, scores, states=None):
    rows = classification.rows.iloc[: len(scores)].assign(score=np.float32(scores))
    return replace(classification, rows=rows if states is None else rows.assign(state=states))


def test_states(classification):
    result = scored(classification, [1, -1, np.nan], ["metaphase", "interphase", ""])
    found = by_state(result)
    assert hexes(found.colours) == [state_colour(1), state_colour(0), UNDEFINED_COLOUR]
    assert found.entries == [
        ("interphase", state_colour(0), 1),
        ("metaphase", state_colour(1), 1),
        ("undefined", UNDEFINED_COLOUR, 1),
    ]


def test_scores_are_grey_at_the_threshold_though_the_sides_differ(classification):
    found = by_score(scored(classification, [-20.0] * 5 + [0.0] + [4.0] * 5 + [np.nan]))
    low, high, _ = found.scale
    assert (low, high) == (-20, 4)
    assert hexes(found.colours[[0, 6, 11]]) == [state_colour(0), state_colour(1), UNDEFINED_COLOUR]
    assert np.ptp(found.colours[5, :3].astype(int)) < 12


def test_scores_of_one_state_only(classification):
    low, high, _ = by_score(scored(classification, [2.0, 3.0])).scale
    assert (low, high) == (-1, pytest.approx(2.99))


@pytest.mark.parametrize("values", [[np.nan, np.nan], [2.0, 2.0], []])
def test_numbers_without_a_range(values):
    assert by_number(values).colours.shape == (len(values), 4)


def test_numbers_grow_lighter():
    colours = by_number(np.arange(50)).colours.astype(int)
    assert (np.diff(colours[:, :3].sum(axis=1)) >= 0).all()


def test_agreement_has_the_colours_of_heads():
    found = Disagreement(
        np.uint8([0, 1, 2, 2]), ("sparse alone", "formula alone", "no head alone"), np.zeros(4, np.float32), 0
    )
    colouring = by_agreement(found)
    assert hexes(colouring.colours[1:3]) == [COLOURS["sparse"], COLOURS["symbolic"]]
    assert [(name, n) for name, _, n in colouring.entries[1:]] == [("sparse alone", 1), ("formula alone", 2)]
