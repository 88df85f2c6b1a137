"""The learning rate over a training."""

from __future__ import annotations

import math

RISING_SHARE = 0.05
"""Share of the steps in which the learning rate rises."""


def learning_rate(step: int, n_steps: int, largest: float) -> float:
    """Return the learning rate of a step from 1 to n_steps: a rise from 1/25, then a fall to nearly zero, by cosines.

    Smith & Topin 2019 ("super-convergence"), as torch's ``OneCycleLR`` has it, without its change of Adam's betas.
    """
    done, peak = step - 1, max(0.0, RISING_SHARE * n_steps - 1)
    if done < peak:
        start, end, share = largest / 25, largest, done / peak
    else:
        start, end, share = largest, largest / 25e4, (done - peak) / max(1.0, n_steps - 1 - peak)
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
