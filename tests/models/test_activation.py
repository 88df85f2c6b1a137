"""Mish by our own passes, with and without a gradient, beside its definition in double precision."""

from __future__ import annotations

import pytest
import torch

from napari_cellinterp.models.activation import FEW, Mish

MANY = 4 * FEW


def by_definition(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mish and its slope in float64."""
    x = x.detach().double().requires_grad_()
    y = x * torch.tanh(torch.log1p(torch.exp(x)))
    y.sum().backward()
    return y.detach(), x.grad


def with_slope(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x = x.detach().requires_grad_()
    y = Mish()(x)
    y.sum().backward()
    return y.detach(), x.grad


@pytest.mark.parametrize("n", [MANY, FEW // 2])
def test_values_and_slopes_are_those_of_the_definition(n):
    x = torch.linspace(-30, 30, n)
    y, slope = by_definition(x)
    for found, expected in zip(with_slope(x), (y, slope), strict=True):
        torch.testing.assert_close(found.double(), expected, atol=5e-6, rtol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(Mish()(x).double(), y, atol=5e-6, rtol=1e-6)


def test_far_out_it_is_the_identity_or_nothing():
    x = torch.tensor([1e4, 1e30, -1e4, -1e30]).repeat_interleave(FEW)
    y, slope = with_slope(x)
    assert torch.equal(y, x.clamp(min=0))
    assert torch.equal(slope, (x > 0).float())


def test_the_gradient_of_what_follows_passes_through():
    x = torch.randn(MANY)
    factors = torch.randn(MANY)
    inner = x.clone().requires_grad_()
    (Mish()(inner) * factors).sum().backward()
    torch.testing.assert_close(inner.grad, with_slope(x)[1] * factors)


def test_numbers_that_are_none_stay_so_and_are_seen():
    x = torch.zeros(MANY)
    x[3] = torch.nan
    y, slope = with_slope(x)
    for found in (y, slope):
        assert found.isnan().nonzero().tolist() == [[3]]


def test_half_precision_and_memory_format_stay():
    x = torch.randn(8, 8, 32, 32).contiguous(memory_format=torch.channels_last).requires_grad_()
    assert Mish()(x).is_contiguous(memory_format=torch.channels_last)
    assert Mish()(x.bfloat16()).dtype == torch.bfloat16
