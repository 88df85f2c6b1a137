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
