"""One device or several: Lightning Fabric set up quietly, and a training that runs in one process a device."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from copy import deepcopy
from functools import partial
from multiprocessing import get_context
from queue import Empty
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from napari_cellinterp.errors import CellInterpError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lightning_fabric import Fabric

    from napari_cellinterp.config import VaeConfig
    from napari_cellinterp.events import Job

POLL_S = 0.2

T = TypeVar("T")

# Fabric tells everybody what it set up; its import resets the level of its own logger, but not of those below
for _name in ("rank_zero", "distributed"):
    logging.getLogger(f"lightning_fabric.utilities.{_name}").setLevel(logging.WARNING)


def open_fabric(config: VaeConfig) -> Fabric:
    """Return Lightning Fabric for the config's devices and precision.

    Raises
    ------
    TrainingError
        If this computer lacks the device, or has fewer of them.
    """
    # half a second to import, and only training needs it
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment

    return Fabric(
        accelerator=_available(config),
        devices=config.n_devices,
        strategy="ddp_spawn" if config.n_devices > 1 else "auto",
        precision=config.precision,
        # else variables of a cluster's scheduler would override the config
        plugins=[LightningEnvironment()],
    )


def _available(config: VaeConfig) -> str:
    """Return the kind of device, after making sure that there are enough; a CPU may hold any number of processes."""
    counts = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    kind = config.device
    if kind == "auto":
        kind = "cuda" if counts["cuda"] else "mps" if counts["mps"] else "cpu"
    if kind != "cpu" and counts[kind] < config.n_devices:
        raise TrainingError(
            f"{config.n_devices} {kind} device(s) were asked for, and torch {torch.__version__} sees {counts[kind]}.",
            "Set device to auto or cpu and n_devices to 1, or install a torch that is built for the device.",
        )
    return kind


def on_each_device(fabric: Fabric, train: Callable[[Fabric], Job[T]]) -> Job[T]:
    """Run a job on each of Fabric's devices, each in a process of its own where there are several.

    Parameters
    ----------
    fabric : Fabric
        From `open_fabric`.
    train : callable
        Makes the job, from Fabric; picklable. The job must report at the same steps on all devices.

    Yields
    ------
    Event
        Those of the first device, whose result is returned.

    Raises
    ------
    TrainingError
        If a process dies; an error that a person can act on comes through as it is.
    """
    if fabric.world_size == 1:
        return (yield from train(fabric))
    context = get_context("spawn")
    # Fabric's own way back for results waits for the process to end before it reads, which large ones block
    answers, stop = context.Queue(), context.Event()
    with ThreadPoolExecutor(1) as thread:
        launched = thread.submit(fabric.launch, partial(_run_rank, train=train, answers=answers, stop=stop))
        try:
            # an answer may come between the last look and the end
            while (answer := _next(answers)) or not launched.done():
                if answer is None:
                    continue
                kind, value = answer
                if kind == "result":
                    return value  # type: ignore[no-any-return]
                if kind == "error":
                    raise value
                yield value
        finally:
            stop.set()
            # a process ends only after all that it sent was taken
            while not launched.done():
                _next(answers)
    raise TrainingError(
        f"A training process ended early: {launched.exception()}.", "Try with n_devices 1."
    ) from launched.exception()


def _next(answers: Any) -> tuple[str, Any] | None:
    """Return what a process sent, or None after a while without."""
    try:
        return answers.get(timeout=POLL_S)  # type: ignore[no-any-return]
    except Empty:
        return None


def _run_rank(fabric: Fabric, train: Callable[[Fabric], Job[Any]], answers: Any, stop: Any) -> None:
    """Run the job in this process; the first device's sends its events and result."""
    # tensors that come from another process share its memory, and all devices would train the same weights
    train = deepcopy(train)
    try:
        with closing(train(fabric)) as job:
            while not fabric.broadcast(stop.is_set()):
                event = next(job)
                if fabric.is_global_zero:
                    answers.put(("event", event))
    except StopIteration as end:
        if fabric.is_global_zero:
            answers.put(("result", end.value))
    except CellInterpError as error:
        answers.put(("error", error))
        raise
