"""Worker processes, of one thread each, that end with the process that began them."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from threading import Thread
from typing import TYPE_CHECKING

from napari_cellinterp.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def worker_pool(n_processes: int) -> Iterator[ProcessPoolExecutor]:
    """Open a pool of workers; leaving early ends them at once, whatever they are at.

    Raises
    ------
    TrainingError
        If a worker dies.
    """
    others = set(active_children())
    pool = ProcessPoolExecutor(n_processes, mp_context=get_context("spawn"), initializer=begin_worker)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise TrainingError(
            "A worker process died.", "It probably ran out of memory: use fewer processes, or free some."
        ) from error
    except BaseException:
        for worker in set(active_children()) - others:
            worker.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def begin_worker() -> None:
    """Set a worker up: one thread, deaf to Ctrl-C, gone when its parent is."""
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
