"""Tuning of the sparse head with Optuna (Soelistyo & Lowe, appendix B.3.1).

Each trial trains a few heads with one sparsity, update interval and update fraction; its objective is their mean
accuracy on held-out crops plus their mean sparsity after pruning. The study is a file in a folder: it goes on where it
was stopped, and several processes may work on it at once.
"""

from __future__ import annotations

import json
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
import pandas as pd
import torch
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState

from napari_cellinterp.config import TUNED, RiglConfig, TuneConfig
from napari_cellinterp.errors import OutputError, TrainingError
from napari_cellinterp.events import EpochFinished, finish
from napari_cellinterp.models.heads import states_of
from napari_cellinterp.results.files import check_writable
from napari_cellinterp.training.assessment import scores_of
from napari_cellinterp.training.fit import fit_sparse
from napari_cellinterp.training.run_folder import array_hash
from napari_cellinterp.training.workers import begin_worker

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from multiprocessing.connection import Connection
    from pathlib import Path
    from typing import TypeAlias

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_cellinterp.events import Job

    Measured: TypeAlias = tuple[float, float]
    """Mean accuracy and mean final sparsity of a trial's runs."""

STUDY_NAME = "study.journal"
POLL_S = 1.0
"""How often a process looks whether others have finished the study."""


@dataclass(frozen=True)
class Tuned:
    """What a tuning found.

    Attributes
    ----------
    rigl : RiglConfig
        The config's settings with the best trial's sparsity, interval and fraction; not shortened as trials are.
    trials : pandas.DataFrame
        ``trial, sparsity, update_interval_steps, update_fraction, accuracy, final_sparsity, objective``; one row a
        finished trial, means over its runs.
    """

    rigl: RiglConfig
    trials: pd.DataFrame


def tune(
    turned_latents: Tensor,
    state: Tensor,
    held_out_latents: Tensor,
    held_out_state: Tensor,
    config: TuneConfig,
    folder: Path,
    n_processes: int = 1,
    n_classes: int = 2,
) -> Job[Tuned]:
    """Look for the sparsity, update interval and update fraction of the best sparse heads.

    Parameters
    ----------
    turned_latents : (8, n, n_latents) Tensor
        Latents of the training crops under all flips and quarter turns.
    state : (n,) int64 Tensor
        Class of each, from 0.
    held_out_latents : (m, n_latents) Tensor
        Latents of crops that accuracy is measured on.
    held_out_state : (m,) int64 Tensor
        Class of each, from 0.
    config : TuneConfig
        Settings.
    folder : Path
        Where the study lives; one that holds a part of the same study goes on.
    n_processes : int
        Trials at a time, each in a process of its own; 1 stays in this process.
    n_classes : int
        How many classes there are.

    Yields
    ------
    EpochFinished
        After each trial of this call; ``done`` counts the trials of all processes.

    Raises
    ------
    TrainingError
        If there is nothing to learn or to measure, if the folder holds another study or a damaged one, or if a process
        dies.
    OutputError
        If the folder can't be written to.
    """
    arrays = turned_latents.numpy(), state.numpy(), held_out_latents.numpy(), held_out_state.numpy()
    task = _Task(*arrays, config, n_classes)
    _check(task)
    with closing(_Study(folder, config, {"data": array_hash(arrays), "n_classes": n_classes})) as study:
        n = min(n_processes, config.n_trials - study.n_done())
        with closing(_side_by_side(task, study, n) if n > 1 else _one_by_one(task, study)) as outcomes:
            for trial, measured in outcomes:
                study.tell(trial, *measured)
                yield EpochFinished(study.n_done(), config.n_trials, "tuning", _figures(study.table(), *measured))
        table = study.table()
    return Tuned(config.rigl_with(**_best(table)), table)


def _best(table: pd.DataFrame) -> dict[str, Any]:
    row = int(table["objective"].argmax())
    return {name: table[name].iloc[row].item() for name in TUNED}


def _figures(table: pd.DataFrame, accuracy: float, final_sparsity: float) -> tuple[tuple[str, float], ...]:
    best = float(table["objective"].max())
    return ("best", best), ("accuracy", accuracy), ("final_sparsity", final_sparsity)


@dataclass(frozen=True)
class _Task:
    """What every trial needs; arrays, because tensors sent to a process share memory with it."""

    turned_latents: NDArray[np.float32]
    state: NDArray[np.int64]
    held_out_latents: NDArray[np.float32]
    held_out_state: NDArray[np.int64]
    config: TuneConfig
    n_classes: int

    def measure(self, params: Mapping[str, Any]) -> Measured:
        """Train a trial's heads."""
        seeds = range(self.config.seed, self.config.seed + self.config.n_runs)
        accuracy, sparsity = np.mean([self._run(params, seed) for seed in seeds], axis=0)
        return float(accuracy), float(sparsity)

    def _run(self, params: Mapping[str, Any], seed: int) -> Measured:
        rigl = self.config.rigl_with(**params, n_epochs=self.config.n_epochs, seed=seed)
        turned, state = torch.from_numpy(self.turned_latents), torch.from_numpy(self.state)
        head = finish(fit_sparse(turned, state, rigl, self.n_classes))
        called = states_of(scores_of(head, torch.from_numpy(self.held_out_latents)))
        is_on = torch.cat([mask.flatten() for mask in head.buffers()])  # a sparse head's buffers are its masks
        return float((called == self.held_out_state).mean()), 1 - float(is_on.double().mean())


def _check(task: _Task) -> None:
    """Refuse data that would make every trial fail, or look perfect."""
    if task.n_classes < 2:
        raise TrainingError(f"A head needs at least two classes to tell apart, not {task.n_classes}.")
    for name, latents, state in (
        ("training", task.turned_latents[0], task.state),
        ("held-out", task.held_out_latents, task.held_out_state),
    ):
        found = np.unique(state)
        if len(state) != len(latents):
            raise TrainingError(f"There are {len(latents)} {name} crops and {len(state)} states.", "Give one a crop.")
        if not len(state):
            raise TrainingError(f"There are no {name} crops.", "Give some of each class.")
        if found[0] < 0 or found[-1] >= task.n_classes:
            raise TrainingError(
                f"The {name} crops' states go from {found[0]} to {found[-1]}, with {task.n_classes} classes.",
                "Number the classes from 0, and leave out crops without one.",
            )
        if len(found) < 2:
            raise TrainingError(f"All {len(state)} {name} crops are of class {found[0]}.", "Give some of each class.")


class _Study:
    """Optuna's study in its journal, shared with all processes that work on the folder.

    Parameters
    ----------
    folder : Path
        Where the journal is, or will be.
    config : TuneConfig
        Settings.
    inputs : mapping
        What else makes the study this one.
    """

    def __init__(self, folder: Path, config: TuneConfig, inputs: Mapping[str, Any]) -> None:
        check_writable(folder)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.config = config
        self._path = folder / STUDY_NAME
        self._open: dict[int, Any] = {}
        rigl = {f"rigl.{name}": value for name, value in config.rigl.model_dump(mode="json").items()}
        with self._alone():
            self._study = _opened(self._path)
            self._claim({**inputs, **config.model_dump(mode="json", exclude={"rigl"}), **rigl})

    def _claim(self, asked: dict[str, Any]) -> None:
        kept = self._study.user_attrs.get("asked")
        if kept is None:
            self._study.set_user_attr("asked", kept := asked)
        for name in asked:
            if kept.get(name) != asked[name]:
                raise TrainingError(
                    f"{self._path} holds another study: {name} was {kept.get(name)!r} there, and is "
                    f"{asked[name]!r} now.",
                    "Choose another folder, or give the same settings and data to go on with it.",
                )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from opening and ending trials in the meantime: the number of trials must be exact."""
        lock = JournalFileOpenLock(str(self._path.with_suffix("")))
        try:
            lock.acquire()
            try:
                yield
            finally:
                lock.release()
        except OSError as error:
            raise OutputError(f"{self._path} can't be written: {error}.", "Make room there.") from error

    def n_done(self) -> int:
        """Return how many trials are finished, of all processes; those of dead ones never are."""
        return len(self._finished())

    def _finished(self) -> list[Any]:
        return list(self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))

    def ask(self) -> Any | None:
        """Open a trial; None if those of this process will complete the study."""
        with self._alone():
            if self.n_done() + len(self._open) >= self.config.n_trials:
                return None
            # One seed for all would make a search that goes on draw its first trials again.
            seed = self.config.seed + len(self._study.get_trials(deepcopy=False))
            self._study.sampler = optuna.samplers.TPESampler(seed=seed)
            trial = self._study.ask(_space(self.config))
        self._open[trial.number] = trial
        return trial

    def tell(self, trial: Any, accuracy: float, final_sparsity: float) -> None:
        """Finish a trial; one that comes after another process completed the study doesn't count."""
        with self._alone():
            if self.n_done() < self.config.n_trials:
                trial.set_user_attr("accuracy", accuracy)
                trial.set_user_attr("final_sparsity", final_sparsity)
                self._study.tell(trial, accuracy + final_sparsity)
                del self._open[trial.number]

    def close(self) -> None:
        """Give unfinished trials up: as running ones they would turn the search away from their place."""
        with self._alone():
            for trial in self._open.values():
                self._study.tell(trial, state=TrialState.FAIL)

    def table(self) -> pd.DataFrame:
        """Return a row for each finished trial."""
        rows = [
            {"trial": trial.number, **trial.params, **trial.user_attrs, "objective": trial.value}
            for trial in self._finished()
        ]
        return pd.DataFrame(rows, columns=["trial", *TUNED, "accuracy", "final_sparsity", "objective"])


def _space(config: TuneConfig) -> dict[str, Any]:
    return {
        name: (IntDistribution if name == "update_interval_steps" else FloatDistribution)(*config.range_of(name))
        for name in TUNED
    }


def _opened(path: Path) -> Any:
    """Open or begin the study in a journal."""
    try:
        _mend(path)
        journal = JournalFileBackend(str(path), JournalFileOpenLock(str(path)))
        storage = optuna.storages.JournalStorage(journal)
        return optuna.create_study(storage=storage, study_name="sparse", direction="maximize", load_if_exists=True)
    except (OSError, ValueError, LookupError, TypeError, AssertionError) as error:
        raise TrainingError(
            f"The study in {path} can't be read: {error}.", "Delete the file to begin anew, or choose another folder."
        ) from error


def _mend(path: Path) -> None:
    """Drop a last line that a process died in: the next one would be appended to it, and both be lost."""
    content = path.read_bytes() if path.exists() else b""
    whole = content[: content.rfind(b"\n") + 1]
    for line in whole.splitlines() or [content or b"{}"]:
        json.loads(line)
    if whole != content:
        with path.open("r+b") as file:
            file.truncate(len(whole))


def _one_by_one(task: _Task, study: _Study) -> Generator[tuple[Any, Measured], None, None]:
    while trial := study.ask():
        yield trial, task.measure(trial.params)


def _side_by_side(task: _Task, study: _Study, n_processes: int) -> Generator[tuple[Any, Measured], None, None]:
    with ExitStack() as stack:
        idle = [stack.enter_context(closing(_Worker())) for _ in range(n_processes)]
        for worker in idle:
            worker.send(task)
        busy: dict[Any, tuple[_Worker, Any]] = {}
        while study.n_done() < study.config.n_trials:
            while idle and (trial := study.ask()):
                worker = idle.pop()
                worker.send(trial.params)
                busy[worker.connection] = worker, trial
            for connection in wait(list(busy), POLL_S):
                worker, trial = busy.pop(connection)
                idle.append(worker)
                yield trial, worker.receive()


class _Worker:
    """A process that measures trials; it holds only a copy of the task, so it may be stopped at any time."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()  # with this end open here, the process's death would go unnoticed

    def send(self, message: Any) -> None:
        """Give the task, then the settings of one trial after the other."""
        try:
            self.connection.send(message)
        except OSError as error:
            raise _died() from error

    def receive(self) -> Measured:
        """Return what came out of the last trial."""
        try:
            answer = self.connection.recv()
        except (EOFError, OSError) as error:
            raise _died() from error
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    def close(self) -> None:
        """Stop the process, also within a trial."""
        self._process.terminate()
        self._process.join()
        self.connection.close()


def _died() -> TrainingError:
    return TrainingError(
        "A process that ran trials died; the finished trials are kept.",
        "It probably ran out of memory: lower n_processes, or free some, and run the tuning again.",
    )


def _serve(connection: Connection) -> None:
    """Measure trials until the other end is closed, also by that process's death."""
    begin_worker()
    try:
        task = connection.recv()
        while True:
            connection.send(_answer(task, connection.recv()))
    except (EOFError, OSError):
        return


def _answer(task: _Task, params: Mapping[str, Any]) -> Measured | Exception:
    try:
        return task.measure(params)
    except Exception as error:
        return error
