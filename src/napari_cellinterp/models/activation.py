"""Mish, the activation of all networks here (Misra 2019): x tanh(log(1 + e^x))."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import mish


class Mish(nn.Module):
    """Mish, faster where no gradient is wanted.

    With t = e^x, tanh(log(1 + t)) = 1 - 2 / ((1 + t)^2 + 1): one exponential and a few passes that all use the
    processor's vectors. Infinity is no problem: the fraction becomes 0 and Mish becomes x, as it should.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return Mish of x, elementwise, to about 1e-6."""
        if torch.is_grad_enabled():
            return mish(x)
        denominator = x.exp().add_(1).square_().add_(1)
        return torch.addcdiv(x, x, denominator, value=-2)
