"""Histograms and densities by numbers."""

import numpy as np
import pytest
from scipy.stats import gaussian_kde

from napari_cellinterp.explain.distributions import distribution, shared_axis


def test_agrees_with_the_plain_kernel_density_estimate():
    values = np.random.default_rng(1).normal(1.5, 2, 3000)
    axis = shared_axis(values)
    found = distribution(values, axis)
    plain = gaussian_kde(values, "silverman")
    # scipy's rule has another factor, (4 / 3) ** 0.2, and no quartiles
    width = 0.9 * min(values.std(), np.subtract(*np.quantile(values, [0.75, 0.25])) / 1.34) * len(values) ** -0.2
    plain.set_bandwidth(width / values.std(ddof=1))
    np.testing.assert_allclose(found.density, plain(found.x), atol=0.01 * found.density.max())
    assert np.trapezoid(found.density, found.x) == pytest.approx(1, abs=0.01)
    assert found.histogram.sum() * np.diff(found.edges)[0] == pytest.approx(1)
    assert found.n == 3000


def test_values_that_are_not_numbers_are_left_out():
    found = distribution([0.0, np.nan, 1.0, np.inf], (-1, 2))
    assert found.n == 2
    assert np.isfinite(found.density).all()


def test_equal_values_are_a_narrow_peak():
    found = distribution(np.full(40, 0.5), (0, 1))
    assert found.x[found.density.argmax()] == pytest.approx(0.5, abs=0.01)
    assert np.trapezoid(found.density, found.x) == pytest.approx(1, abs=0.01)


def test_no_nuclei():
    found = distribution([], (0, 1))
    assert found.n == 0
    assert not found.density.any()


def test_the_axis_holds_all_groups():
    low, high = shared_axis([0.0, 1.0, np.nan], np.array([[-3.0]]))
    assert low == pytest.approx(-3.24)
    assert high == pytest.approx(1.24)


@pytest.mark.parametrize("values", [[], [np.nan], [2.0, 2.0], [1e9, 1e9 + 1e-4]])
def test_there_is_no_axis_for_one_value(values):
    assert shared_axis(values) is None
