"""Worker processes: one thread, stopped early when their pool is left, and an error where one dies."""

from __future__ import annotations

import os
import time

import pytest

from napari_cellinterp.errors import TrainingError
from napari_cellinterp.events import Progressed
from napari_cellinterp.training.workers import finish_in_worker, worker_pool


def endless(seconds: float) -> float:
    def job():
        start = time.monotonic()
        while time.monotonic() - start < seconds:
            time.sleep(0.01)
            yield Progressed(0, 1)
        return seconds

    return finish_in_worker(job())


def n_threads(_: int) -> int:
    import torch

    return torch.get_num_threads()


@pytest.mark.slow
def test_workers_use_one_thread_and_give_results_in_order():
    with worker_pool(2) as pool:
        assert list(pool.map(n_threads, range(3))) == [1, 1, 1]
        assert list(pool.map(endless, [0.2, 0.0])) == [0.2, 0.0]


@pytest.mark.slow
def test_leaving_a_pool_early_stops_its_jobs():
    def use() -> None:
        with worker_pool(2) as pool:
            pool.submit(endless, 3600)
            pool.submit(n_threads, 0).result()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        use()  # it would take an hour


@pytest.mark.slow
def test_a_dead_worker_is_told_of():
    def use() -> None:
        with worker_pool(1) as pool:
            pool.submit(os._exit, 3).result()

    with pytest.raises(TrainingError, match="A worker process died"):
        use()
