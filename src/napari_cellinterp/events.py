"""What a job reports while it runs.

A job is a generator of these events; its return value is the result. ``done`` of ``total`` is what a progress bar
needs; the subclasses say what happened.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

T = TypeVar("T")

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path
    from typing import TypeAlias

    Job: TypeAlias = Generator["Event", None, T]


@dataclass(frozen=True)
class Event:
    """Anything that a running job reports."""


@dataclass(frozen=True)
class Progressed(Event):
    """A step of a job was done.

    Attributes
    ----------
    done, total : int
        Steps done so far, and in all.
    """

    done: int
    total: int


@dataclass(frozen=True)
class Stepped(Event):
    """A job took a small step of which there is nothing to tell: here it can be cancelled."""


@dataclass(frozen=True)
class FrameSearched(Progressed):
    """Nuclei were looked for in one frame (or its given labels were measured)."""

    n_nuclei: int


@dataclass(frozen=True)
class FrameClassified(Progressed):
    """All nuclei of one more frame have a state."""

    n_nuclei: int


@dataclass(frozen=True)
class PatchesClassified(Progressed):
    """One more batch of ready patches has a state."""


@dataclass(frozen=True)
class TracksLinked(Event):
    """Nuclei were linked into tracks."""

    n_tracks: int
    n_divisions: int


@dataclass(frozen=True)
class ScaleChosen(Event):
    """The scale that brings the movie's nuclei to the model's size was chosen.

    Attributes
    ----------
    zoom : float
        Model pixels per movie pixel.
    reason : str
        Where the scale comes from, in words.
    """

    zoom: float
    reason: str


@dataclass(frozen=True)
class Warned(Event):
    """Something is odd, and the job goes on.

    Attributes
    ----------
    kind : str
        Short key under which ``run.json`` counts it, such as ``blank_frames``.
    message : str
        What was odd, with the values.
    count : int
        How many times.
    """

    kind: str
    message: str
    count: int = 1


@dataclass(frozen=True)
class FileWritten(Event):
    """A result file is complete under its final name."""

    path: Path


@dataclass(frozen=True)
class EpochFinished(Progressed):
    """One epoch of training is over.

    Attributes
    ----------
    name : str
        What is being trained.
    figures : tuple of (str, float)
        Named losses and accuracies of the epoch.
    """

    name: str
    figures: tuple[tuple[str, float], ...]


def mapped(job: Job[T], change: Callable[[Event], Event]) -> Job[T]:
    """Pass a job's events on as ``change`` makes them; closing this closes the job."""
    with closing(job):
        while True:
            try:
                event = next(job)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            yield change(event)


def watched(job: Job[T], watch: Callable[[Event], None]) -> Job[T]:
    """Pass a job's events on, and show each to ``watch`` first; closing this closes the job."""

    def seen(event: Event) -> Event:
        watch(event)
        return event

    return mapped(job, seen)


def finish(job: Job[T], progress: Callable[[Event], None] | None = None) -> T:
    """Run a job to its end and return its result.

    Parameters
    ----------
    job : generator
        The job.
    progress : callable, optional
        Gets each event.
    """
    with closing(job):
        while True:
            try:
                event = next(job)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            if progress is not None:
                progress(event)
