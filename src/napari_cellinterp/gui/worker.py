"""Run a job in a thread of its own: events and the result arrive in the viewer's thread, and late ones are dropped.

napari's generator worker takes every ``RuntimeError`` for a deleted Qt object and swallows it, and every error of torch
is one; this worker reports them all.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from napari.qt.threading import WorkerBase, WorkerBaseSignals
from qtpy.QtCore import Signal

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_cellinterp.events import Event, Job


class JobSignals(WorkerBaseSignals):
    """Signals of a job: those of every worker, and its events."""

    progressed = Signal(object)


class JobWorker(WorkerBase):
    """Steps a job in a thread.

    Parameters
    ----------
    make_job : callable
        Makes the generator; called in the thread, so that what it imports doesn't hold up the viewer.
    """

    def __init__(self, make_job: Callable[[], Job[Any]]) -> None:
        super().__init__(SignalsClass=JobSignals)
        self._make_job = make_job

    def work(self) -> Any:
        """Step the job to its end, or until it is aborted; the result is None then."""
        with closing(self._make_job()) as job:
            while not self.abort_requested:
                try:
                    event = next(job)
                except StopIteration as stop:
                    return stop.value
                self.progressed.emit(event)
        return None


def run_job(
    make_job: Callable[[], Job[Any]],
    on_event: Callable[[Event], None],
    on_result: Callable[[Any], None],
    on_error: Callable[[Exception], None],
    on_cancelled: Callable[[], None],
) -> JobWorker:
    """Start a job; exactly one of ``on_result``, ``on_error`` and ``on_cancelled`` is called at its end.

    Parameters
    ----------
    make_job : callable
        Makes the generator.
    on_event, on_result, on_error, on_cancelled : callable
        Called in the thread that calls this function.

    Returns
    -------
    JobWorker
        Call ``quit()`` to cancel it.
    """
    worker = JobWorker(make_job)
    ended: list[bool] = []

    def report(answer: Callable[..., None], *values: Any) -> None:
        if not ended:
            ended.append(True)
            answer(*values)

    worker.progressed.connect(on_event)
    worker.returned.connect(lambda result: report(on_result, result))
    worker.errored.connect(lambda error: report(on_error, error))
    worker.finished.connect(lambda: report(on_cancelled))
    worker.start()
    return worker


class Jobs:
    """Runs one job at a time for a widget; whatever an earlier one still says is dropped."""

    def __init__(self) -> None:
        self._generation = 0
        self._worker: JobWorker | None = None

    @property
    def is_running(self) -> bool:
        """Whether a job was started that hasn't ended."""
        return self._worker is not None

    def start(
        self,
        make_job: Callable[[], Job[Any]],
        on_event: Callable[[Event], None],
        on_result: Callable[[Any], None],
        on_error: Callable[[Exception], None],
        on_cancelled: Callable[[], None],
    ) -> None:
        """Start a job in place of the one that runs; see `run_job`."""
        self.drop()
        generation = self._generation

        def current(answer: Callable[..., None], ends: bool = True) -> Callable[..., None]:
            def call(*values: Any) -> None:
                if generation != self._generation:
                    return
                if ends:
                    self._worker = None
                answer(*values)

            return call

        answers = (current(answer) for answer in (on_result, on_error, on_cancelled))
        self._worker = run_job(make_job, current(on_event, ends=False), *answers)

    def cancel(self) -> None:
        """Ask the job to stop; ``on_cancelled`` is called once it has."""
        if self._worker is not None:
            self._worker.quit()

    def drop(self) -> None:
        """Ask the job to stop, and don't listen to it any more."""
        self._generation += 1
        self.cancel()
        self._worker = None
