"""Whether torch's threads come back after work on one core."""

from __future__ import annotations

import pytest
import torch

from napari_cellinterp.models.cores import on_one_core


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_on_one_core():
    with on_one_core():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_threads_come_back_after_an_error():
    with pytest.raises(ValueError, match="half-way"), on_one_core():
        raise ValueError("half-way")
    assert torch.get_num_threads() == 3
