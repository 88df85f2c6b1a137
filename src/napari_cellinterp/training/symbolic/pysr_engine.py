"""PySR with the paper's settings (appendix B.4), in a process of its own.

Importing it starts Julia, which can be neither stopped nor unloaded, and where Julia isn't installed it is downloaded.
So our process never imports it: another one does, offline, and is killed when the search is cancelled.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellinterp.errors import TrainingError
from napari_cellinterp.events import EpochFinished
from napari_cellinterp.training.symbolic.front import Candidate, Goal, refine
from napari_cellinterp.training.symbolic.hall_of_fame import HALL_OF_FAME, entries_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_cellinterp.config import SymbolicConfig
    from napari_cellinterp.events import Job

RUN = "run"
"""Folder of the run, inside the folder of the search."""

LOSSES = {
    "hinge": "loss(prediction, target, weight) = weight * max(zero(prediction), one(prediction) - target * prediction)",
    "squared": "loss(prediction, target, weight) = weight * (prediction - target)^2",
}
"""In Julia; PySR divides their sum by that of the weights."""

POPULATION_SIZE = 27
"""PySR's own size of one of its populations."""

LEAST_MAX_SIZE = 7
"""PySR refuses less; larger formulas are dropped afterwards."""

POLL_S = 0.5
PROBE_S = 180.0
"""Julia may have to compile before it answers for the first time."""

N_ERROR_LINES = 8


def search(goal: Goal, inputs: Sequence[int], config: SymbolicConfig) -> Job[list[Candidate]]:
    """Search for formulas; see `search_formulas`. Closing the job kills PySR and leaves no file."""
    _check_ready()
    with TemporaryDirectory(prefix="cellinterp-pysr-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        _write_task(folder, goal, inputs, config)
        with _running(_command(folder), folder) as process:
            while process.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_S)
                yield _progress(folder, config)
        if process.returncode != 0:
            raise TrainingError(
                f"PySR failed (exit code {process.returncode}): {_end_of(folder / 'stderr.txt')}",
                "Try again, or use the engine operon.",
            )
        found = [entry.equation for entry in entries_of(folder / RUN / HALL_OF_FAME).entries]
    return (yield from refine(found, goal, config))


def settings(config: SymbolicConfig) -> dict[str, Any]:
    """Return the arguments of PySRRegressor."""
    return {
        "binary_operators": ["+", "-", "*", "/"],
        "unary_operators": ["square", "exp", "log", "sin", "sqrt", "abs"],
        "complexity_of_operators": {"sin": 3, "exp": 2, "log": 2},
        "parsimony": config.parsimony,
        "maxsize": max(LEAST_MAX_SIZE, config.max_size),
        "elementwise_loss": LOSSES[config.target],
        "niterations": config.n_generations,
        "populations": max(1, round(config.population / POPULATION_SIZE)),
        "population_size": POPULATION_SIZE,
        # one thread: only so the seed settles the result, and runs go side by side anyway
        "random_state": config.seed,
        "deterministic": True,
        "parallelism": "serial",
        "progress": False,
        "verbosity": 1,
        "input_stream": "devnull",
    }


def _write_task(folder: Path, goal: Goal, inputs: Sequence[int], config: SymbolicConfig) -> None:
    names = [f"z{index}" for index in inputs]
    (folder / "task.json").write_text(json.dumps({"settings": settings(config), "names": names}), encoding="utf-8")
    wanted = goal.scores if goal.target == "squared" else goal.sign
    np.savez(folder / "data.npz", x=goal.latents[:, list(inputs)], y=wanted, weights=goal.weights)


def _command(folder: Path) -> list[str]:
    return [sys.executable, "-m", "napari_cellinterp.training.symbolic.pysr_process", str(folder), RUN]


@contextmanager
def _running(command: Sequence[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in a folder, its output in files there; at the end nothing of it is left running."""
    # offline, Julia and its packages are used as they are, never downloaded
    environment = os.environ | {"PYTHON_JULIAPKG_OFFLINE": "yes"}
    with open(folder / "stdout.txt", "wb") as stdout, open(folder / "stderr.txt", "wb") as stderr:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        process.kill()
    else:
        # macOS refuses with PermissionError where only zombies are left
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _progress(folder: Path, config: SymbolicConfig) -> EpochFinished:
    """Tell how far PySR says it is, and the best formula in its newest file."""
    steps = re.findall(r"Progress: (\d+) / (\d+) total", _text(folder / "stdout.txt"))
    done, total = map(int, steps[-1]) if steps else (0, config.n_generations)
    with suppress(TrainingError, FileNotFoundError):
        best = min(entries_of(folder / RUN / HALL_OF_FAME).entries, key=lambda entry: entry.loss)
        return EpochFinished(done, total, "pysr", (("loss", best.loss), ("complexity", float(best.complexity))))
    return EpochFinished(done, total, "pysr", ())


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _end_of(path: Path) -> str:
    """Return the last lines of a log that say something."""
    lines = [line.rstrip() for line in _text(path).splitlines() if line.strip()]
    return "\n".join(lines[-N_ERROR_LINES:]) or "it said nothing."


def _check_ready() -> None:
    problem = julia_problem()
    if problem:
        raise TrainingError(
            f"The engine pysr can't be used: {problem}",
            'Run `python -c "import pysr"` once with internet, which installs what is missing, and start anew; '
            "or use the engine operon.",
        )


@cache
def julia_problem() -> str:
    """Say why PySR can't run here; empty where it can. Nothing is downloaded, and it is found out once a process."""
    with TemporaryDirectory(prefix="cellinterp-pysr-", ignore_cleanup_errors=True) as name:
        with _running(_probe(), Path(name)) as process:
            try:
                code = process.wait(PROBE_S)
            except subprocess.TimeoutExpired:
                return f"it didn't start within {PROBE_S:g} s."
        return _end_of(Path(name) / "stderr.txt").splitlines()[-1] if code else ""


def _probe() -> list[str]:
    return [sys.executable, "-c", "import pysr"]
