"""Worker processes, of one thread each, that end with the process that began them."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

from napari_cellinterp.errors import TrainingError
from napari_cellinterp.events import finish

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.synchronize import Event

    from napari_cellinterp.events import Job

T = TypeVar("T")


_stopped: Event | None = None
"""In a worker: set when its pool is left early."""


@contextmanager
def worker_pool(n_processes: int) -> Iterator[ProcessPoolExecutor]:
    """Open a pool of workers; leaving it early stops their jobs at the next event, see `finish_in_worker`.

    Raises
    ------
    TrainingError
        If a worker dies.
    """
    context = get_context("spawn")
    stopped = context.Event()
    pool = ProcessPoolExecutor(n_processes, mp_context=context, initializer=begin_worker, initargs=(stopped,))
    try:
        yield pool
    except BrokenProcessPool as error:
        raise TrainingError(
            "A worker process died.", "It probably ran out of memory: use fewer processes, or free some."
        ) from error
    except BaseException:
        stopped.set()
        raise
    finally:
        # not killed: a pool whose workers are may wait for them forever
        pool.shutdown(wait=True, cancel_futures=True)


def finish_in_worker(job: Job[T]) -> T:
    """Run a job to its end, or until the pool is left.

    Raises
    ------
    TrainingError
        If the pool was left; nobody hears of it.
    """

    def check(event: object) -> None:
        if _stopped is not None and _stopped.is_set():
            raise TrainingError("The training was stopped.", "Start it again to go on.")

    return finish(job, check)


def begin_worker(stopped: Event | None = None) -> None:
    """Set a worker up: one thread, deaf to Ctrl-C, gone when its parent is."""
    global _stopped
    _stopped = stopped
    one_thread()
    # Ctrl-C reaches the whole group: the trainer answers it, and shuts the workers down
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def one_thread() -> None:
    """Keep a process to one core: several that each use all of them wait for each other."""
    import torch

    torch.set_num_threads(1)


def _end_with_parent() -> None:
    """Leave when the trainer is killed: a pool's workers would wait for work forever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
