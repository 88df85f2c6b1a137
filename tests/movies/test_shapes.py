"""Simulated nuclei, drawn from known factors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_cellinterp.movies.shapes import ANAPHASE, APOPTOSIS, INTERPHASE, METAPHASE, PROMETAPHASE, draw_stamps
from napari_cellinterp.movies.synthetic import draw_culture, draw_factors

HALO_PX = 11.0


def plates(**changes):
    rng = np.random.default_rng(0)
    factors = draw_factors(np.full(3, METAPHASE), draw_culture(rng), rng)
    return replace(factors, **{name: np.full(3, value, np.float32) for name, value in changes.items()})


@pytest.mark.parametrize("zoom", [1.0, 0.5])
def test_the_halo_of_a_plate_is_gaussian(zoom):
    signal, body = draw_stamps(plates(halo=0.3, brightness=2.0, angle_rad=0.0, width_px=8.0), zoom, 64)
    for away_px in (14, 18, 24):
        row = 32 + round(away_px * zoom)
        assert body[:, row, 32].max() < 1e-3
        np.testing.assert_allclose(signal[:, row, 32], 2 * 0.3 * np.exp(-(away_px**2) / (2 * HALO_PX**2)), rtol=0.05)


def test_without_halo_there_is_nothing_around_a_nucleus():
    signal, body = draw_stamps(plates(halo=0.0), 1.0, 64)
    assert signal[body < 1e-6].max() < 1e-4


def test_only_condensed_chromatin_has_a_halo():
    state = np.repeat([INTERPHASE, PROMETAPHASE, METAPHASE, ANAPHASE, APOPTOSIS], 50)
    rng = np.random.default_rng(1)
    factors = draw_factors(state, draw_culture(rng), rng)
    assert (factors.halo[state == INTERPHASE] == 0).all()
    assert (factors.halo[state != INTERPHASE] > 0).all()


def test_a_culture_says_how_its_prometaphases_differ_from_plates():
    state = np.repeat([METAPHASE, PROMETAPHASE], 200)
    culture = replace(draw_culture(np.random.default_rng(2)), prometaphase_scale=1.0, prometaphase_brightness=1.0)
    other = replace(culture, prometaphase_scale=0.8, prometaphase_brightness=0.6, prometaphase_raggedness_px=0.1)
    before, after = (draw_factors(state, c, np.random.default_rng(3)) for c in (culture, other))
    plate = state == METAPHASE
    for name, ratio in (("length_px", 0.8), ("width_px", 0.8), ("brightness", 0.6)):
        one, two = getattr(before, name), getattr(after, name)
        np.testing.assert_array_equal(one[plate], two[plate])
        np.testing.assert_allclose(two[~plate], ratio * one[~plate], rtol=1e-5)
    assert before.raggedness_px[~plate].min() > culture.prometaphase_raggedness_px
    assert after.raggedness_px[~plate].min() < 0.3


def test_prometaphases_of_drawn_cultures_differ_less_in_size_than_plates():
    rng = np.random.default_rng(4)
    cultures = [draw_culture(rng) for _ in range(300)]
    plate, ring = (
        np.log([culture.plate_scale * factor(culture) for culture in cultures])
        for factor in (lambda culture: 1.0, lambda culture: culture.prometaphase_scale)
    )
    assert ring.std() < 0.6 * plate.std()
    assert ring.mean() == pytest.approx(plate.mean(), abs=0.05)
