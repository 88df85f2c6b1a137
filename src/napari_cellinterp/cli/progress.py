"""Show a job's events on the terminal: a bar for what is counted, a line for what is said."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from napari_cellinterp.events import (
    EpochFinished,
    Event,
    FileWritten,
    FrameClassified,
    FrameSearched,
    PatchesClassified,
    Progressed,
    ScaleChosen,
    TracksLinked,
    Warned,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import TaskID

    from napari_cellinterp.events import Job

    T = TypeVar("T")

CANCELLED = 130
"""Exit code of a cancelled job."""

console = Console(stderr=True, highlight=False, soft_wrap=True)

STAGES: dict[type[Progressed], str] = {
    FrameSearched: "Nuclei in frame",
    FrameClassified: "Classified frame",
    PatchesClassified: "Patches",
}


def run(job: Job[T]) -> T:
    """Run a job to its end, showing what it reports; return its result."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars: dict[type[Event], TaskID] = {}
    with Progress(*columns, console=console, transient=True) as progress, closing(job), _cancellable():
        while True:
            try:
                event = next(job)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            if isinstance(event, Progressed):
                kind = type(event)
                if kind not in bars:
                    bars[kind] = progress.add_task(_stage(event), total=event.total)
                progress.update(bars[kind], description=_stage(event), completed=event.done, total=event.total)
            elif line := said(event):
                progress.console.print(line, markup=False)


def _stage(event: Progressed) -> str:
    return f"Training {event.name}" if isinstance(event, EpochFinished) else STAGES.get(type(event), "Step")


@contextmanager
def _cancellable() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        console.print("Cancelled; nothing half-written was left behind.")
        raise typer.Exit(CANCELLED) from None


def said(event: Event) -> str:
    """Return the line that tells of an event."""
    match event:
        case ScaleChosen(zoom, reason):
            return f"Scale: {reason} (zoom {zoom:.2f})"
        case TracksLinked(n_tracks, n_divisions):
            return f"Linked {n_tracks} tracks with {n_divisions} divisions"
        case Warned(_, message, _):
            return f"Note: {message}"
        case FileWritten(path):
            return f"Wrote {path}"
    return ""
