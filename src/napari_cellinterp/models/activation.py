"""Mish, the activation of all networks here (Misra 2019): x tanh(log(1 + e^x))."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import mish

OVERFLOW_AT = 20.0
"""Above, Mish is the identity in single precision and its slope 1: e^x needn't grow further."""

FEW = 16_384
"""Elements below which the number of passes over them costs more than what a pass does."""


class Mish(nn.Module):
    """Mish, some four times as fast as torch's on the processor.

    With t = e^x, tanh(log(1 + t)) = 1 - 2 / ((1 + t)^2 + 1): one exponential and a few passes that all use the
    processor's vectors. Infinity is no problem: the fraction becomes 0 and Mish becomes x, as it should.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return Mish of x, elementwise, to about 2e-6."""
        if not torch.is_grad_enabled():
            denominator = x.exp().add_(1).square_().add_(1)
            return torch.addcdiv(x, x, denominator, value=-2)
        if x.is_cuda or x.dtype == torch.bfloat16 or x.numel() < FEW:
            return mish(x)
        y: Tensor = _WithSlope.apply(x)  # type: ignore[no-untyped-call]
        return y


class _WithSlope(torch.autograd.Function):
    """Mish, and its derivative while e^x is at hand.

    With u = 1 + e^x and r = 1 / (u^2 + 1), Mish is x (1 - 2 r) and its derivative 1 - 2 r + 4 x e^x u r^2.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        bounded = x.clamp(max=OVERFLOW_AT)
        t = bounded.exp()
        u = t + 1
        r = (u * u).add_(1).reciprocal_()
        ctx.save_for_backward(t.mul_(u).mul_(r).mul_(bounded).sub_(0.5).mul_(r).mul_(4).add_(1))
        return torch.addcmul(x, x, r, value=-2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        slope: Tensor = ctx.saved_tensors[0]
        return slope * gradient
