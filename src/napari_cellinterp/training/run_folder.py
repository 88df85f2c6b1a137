"""The folder of a training run: what was asked for, what happened, and what is finished so far.

``run.json`` holds config, data hashes, versions and machine, and so reproduces the run. Each finished stage leaves a
safetensors file; a run that was stopped goes on after the last of them. ``history.csv`` has a line an event.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import platform
import time
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from napari_cellinterp.errors import OutputError, TrainingError
from napari_cellinterp.events import EpochFinished, watched
from napari_cellinterp.results.files import check_writable, written_beside

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from napari_cellinterp.config import Config
    from napari_cellinterp.events import Event, Job

T = TypeVar("T")

RUN_NAME, HISTORY_NAME, TIMES_NAME = "run.json", "history.csv", "stages.json"
VERSIONED = ("napari-cellinterp", "torch", "numpy", "scipy", "scikit-image", "pyoperon", "pysr", "optuna")


class RunFolder:
    """A folder for one run; the same folder with another config or other data is refused.

    Parameters
    ----------
    path : Path
        The folder; made where it isn't there.
    config : Config
        All settings of the run.
    data : mapping of str to str
        SHA-256 of each data set.

    Raises
    ------
    OutputError
        If the folder can't be written to.
    TrainingError
        If it holds another run.
    """

    def __init__(self, path: Path, config: Config, data: Mapping[str, str]) -> None:
        self.path = path
        check_writable(path)
        asked = {"config": config.model_dump(mode="json"), "data": dict(data)}
        record = path / RUN_NAME
        if record.is_file():
            _check_same(record, asked)
            return
        content = asked | {"versions": dict(_versions()), "machine": machine(), "started": time.strftime("%Y-%m-%d")}
        with written_beside(record) as beside:
            beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def logged(self, job: Job[T]) -> Job[T]:
        """Pass a job's events on, and keep those with figures in ``history.csv``.

        Raises
        ------
        OutputError
            If that can't be written.
        """
        return (yield from watched(job, self._note))

    def _note(self, event: Event) -> None:
        if not isinstance(event, EpochFinished):
            return
        path = self.path / HISTORY_NAME
        figures = " ".join(f"{name}={value:.6g}" for name, value in event.figures)
        try:
            with path.open("a", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                if not file.tell():
                    writer.writerow(["time", "stage", "done", "total", "figures"])
                stamp = time.strftime("%Y-%m-%d %H:%M:%S")
                writer.writerow([stamp, event.name, event.done, event.total, figures])
        except OSError as error:
            raise OutputError(f"{path} can't be written: {error}.", "Make room there, and start again.") from error

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add what a stage takes to what it took before it was stopped, in ``stages.json``, seconds."""
        start = time.perf_counter()
        try:
            yield
        finally:
            times = self.times_s()
            times[stage] = round(times.get(stage, 0) + time.perf_counter() - start, 1)
            with written_beside(self.path / TIMES_NAME) as beside:
                beside.write_text(json.dumps(times), encoding="utf-8")

    def times_s(self) -> dict[str, float]:
        """Return how long each stage took, seconds; nothing where that isn't known."""
        try:
            times = json.loads((self.path / TIMES_NAME).read_text(encoding="utf-8"))
            return {str(stage): float(seconds) for stage, seconds in times.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}  # a damaged log of times is no reason to lose a training

    def load(self, stage: str, networks: Mapping[str, nn.Module]) -> bool:
        """Load a finished stage into networks, in place, in evaluation mode; False where it isn't finished.

        Raises
        ------
        TrainingError
            If the stage's file is damaged or doesn't fit.
        """
        path = self.path / f"{stage}.safetensors"
        if not path.is_file():
            return False
        try:
            state = load_file(path)
            for name, network in networks.items():
                prefix = f"{name}."
                network.load_state_dict({k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)})
                network.eval()
        except (OSError, SafetensorError, RuntimeError) as error:
            first = str(error).splitlines()[0]
            raise TrainingError(f"{path} can't be loaded: {first}", "Delete it to train the stage anew.") from error
        return True

    def save(self, stage: str, networks: Mapping[str, nn.Module]) -> None:
        """Keep a finished stage."""
        state = {f"{n}.{k}": v.contiguous() for n, network in networks.items() for k, v in network.state_dict().items()}
        path = self.path / f"{stage}.safetensors"
        with written_beside(path) as beside:
            try:
                save_file(state, beside)
            except SafetensorError as error:
                raise OutputError(f"{path} can't be written: {error}.", "Make room there.") from error


def _check_same(record: Path, asked: dict[str, Any]) -> None:
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        kept = {name: content[name] for name in asked}
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(f"{record} can't be read: {error}.", "Choose another folder for the run.") from error
    for path, then, now in _differences(kept, asked):
        raise TrainingError(
            f"The folder {record.parent} holds another run: {path} was {then!r} there, and is {now!r} now.",
            "Choose another folder, or give the same settings and data to go on with it.",
        )


def _differences(kept: Any, asked: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(kept, dict) and isinstance(asked, dict):
        for name in [*kept, *(name for name in asked if name not in kept)]:
            yield from _differences(kept.get(name), asked.get(name), f"{path}.{name}".lstrip("."))
    elif kept != asked:
        yield path, kept, asked


def _versions() -> Iterator[tuple[str, str]]:
    for name in VERSIONED:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue


def machine() -> dict[str, Any]:
    """Return what a run was made on."""
    return {
        "system": platform.system(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def array_hash(arrays: Iterable[NDArray[Any]]) -> str:
    """Return the SHA-256 of arrays, in order."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(str((array.dtype.str, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
