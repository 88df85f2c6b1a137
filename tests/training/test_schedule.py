"""The learning rate over a training."""

import pytest
import torch

from napari_cellinterp.training.schedule import learning_rate


@pytest.mark.parametrize("n_steps", [40, 100, 737])
def test_learning_rate_is_that_of_one_cycle(n_steps):
    optimiser = torch.optim.Adam([torch.zeros(1, requires_grad=True)], 0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.01, n_steps, pct_start=0.05, cycle_momentum=False)
    for step in range(1, n_steps + 1):
        assert learning_rate(step, n_steps, 0.01) == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-9)
        optimiser.step()
        if step < n_steps:
            schedule.step()


@pytest.mark.parametrize("n_steps", [1, 2, 3])
def test_learning_rate_of_a_short_run(n_steps):
    rates = [learning_rate(step, n_steps, 0.01) for step in range(1, n_steps + 1)]
    assert rates[0] == 0.01
    assert all(0 < rate <= 0.01 for rate in rates)
