"""Read what PySR saves while and after it runs, ``hall_of_fame.csv``, without PySR and without Julia."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_cellinterp.errors import ExpressionError, TrainingError
from napari_cellinterp.events import Warned
from napari_cellinterp.models.expression import Expression
from napari_cellinterp.training.symbolic.front import Candidate, Goal, pareto_front

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_cellinterp.events import Job

HALL_OF_FAME = "hall_of_fame.csv"
BACKUP = ".bak"
HEADER = "Complexity,Loss,Equation"

_ROW = re.compile(r'(?P<complexity>\d+),(?P<loss>[^,"]+),(?:"(?P<quoted>[^"]+)"|(?P<plain>[^",]+))')
_JULIA_FLOAT = re.compile(r"(?<![\w.])(\d+\.?\d*|\.\d+)f([+-]?\d+)")
_PLAIN_NAME = re.compile(r"\bx_?(\d+)\b")


@dataclass(frozen=True)
class Entry:
    """A row of a hall of fame, with the figures that PySR gave."""

    complexity: int
    loss: float
    equation: str


@dataclass(frozen=True)
class Entries:
    """The rows of a hall of fame.

    Attributes
    ----------
    path : Path
        File that was read: the csv, or its backup where that has more.
    entries : tuple of Entry
        Whole rows, never none.
    n_damaged : int
        Rows that were cut off or that no number can be read from.
    """

    path: Path
    entries: tuple[Entry, ...]
    n_damaged: int


def read_runs(
    path: Path, inputs: Sequence[int] | None = None, first_index: int = 0, goal: Goal | None = None
) -> Job[list[Candidate]]:
    """Read saved runs of PySR; return the Pareto front of all formulas together, simplest first.

    Parameters
    ----------
    path : Path
        A hall of fame, a run's folder, or a folder with several runs somewhere in it.
    inputs : sequence of int, optional
        Latents that the plain names x0, x1, ... stand for; not needed where variables are named like z17.
    first_index : int
        Number of the first plain name: 0 from Python, 1 from Julia.
    goal : Goal, optional
        Crops to measure the formulas on; else the losses are PySR's own, and the accuracies NaN.

    Yields
    ------
    Warned
        For the rows of a file that are cut off (``damaged_rows``) or hold what we can't read (``unread_formulas``).

    Raises
    ------
    TrainingError
        If there is no hall of fame, or one has no whole row or another header, or plain names lead to no latent.
    """
    found: list[Candidate] = []
    for file in _files(path):
        rows = entries_of(file)
        if rows.n_damaged:
            message = f"{rows.path} has {rows.n_damaged} cut-off rows, which were left out."
            yield Warned("damaged_rows", message, rows.n_damaged)
        unread = []
        for entry in rows.entries:
            try:
                expression = Expression.parse(with_latents(entry.equation, inputs, first_index))
            except ExpressionError as error:
                unread.append(f"{entry.equation}: {error.problem}")
                continue
            found.append(goal.measured(expression) if goal else Candidate(expression, entry.loss, math.nan))
        if unread:
            message = f"{rows.path} has {len(unread)} formulas that can't be read, the first being {unread[0]}"
            yield Warned("unread_formulas", message, len(unread))
    return pareto_front(found)


def entries_of(path: Path) -> Entries:
    """Read a hall of fame, or the backup beside it where that has more whole rows.

    PySR writes one after the other, so that at any time at least one of them is whole.

    Parameters
    ----------
    path : Path
        The csv; its backup has ``.bak`` after the name.

    Raises
    ------
    TrainingError
        If neither has a whole row, or a header is another one.
    """
    backup = path.with_name(path.name + BACKUP)
    read = [_parsed(file) for file in (path, backup) if file.is_file()]
    if not read:
        raise TrainingError(f"There is no {path}.", "PySR writes one once its first iteration is over.")
    best = max(read, key=lambda rows: len(rows.entries))
    if not best.entries:
        raise TrainingError(
            f"{best.path} has no formulas: {_start_of(best.path)}", f"After the line {HEADER} one row a formula is due."
        )
    return best


def _parsed(path: Path) -> Entries:
    """Read one file; empty, or cut off within its header, it has no rows."""
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    header, *lines = text.splitlines() or [""]
    expected = HEADER[: len(header.strip())] if not lines else HEADER
    if header.strip().lower() != expected.lower():
        raise TrainingError(
            f"{path} starts with {header[:80]!r}, so it isn't a hall of fame of PySR.", f"{HEADER} is its first line."
        )
    rows = [_entry(line) for line in lines if line.strip()]
    if rows and not text.endswith(("\n", '"')):
        rows[-1] = None  # nobody can tell whether a formula without its closing quote goes on
    entries = tuple(row for row in rows if row)
    return Entries(path, entries, len(rows) - len(entries))


def _entry(line: str) -> Entry | None:
    match = _ROW.fullmatch(line.strip())
    if not match:
        return None
    try:
        loss = float(_plain_floats(match["loss"]))
    except ValueError:
        return None
    equation = _plain_floats(match["quoted"] or match["plain"])
    return Entry(int(match["complexity"]), loss, equation) if math.isfinite(loss) else None


def _plain_floats(text: str) -> str:
    """Turn Julia's single-precision numbers such as 1.5f-3 into 1.5e-3."""
    return _JULIA_FLOAT.sub(r"\1e\2", text)


def _start_of(path: Path) -> str:
    text = path.read_text(encoding="utf-8", errors="replace")
    return f"it starts with {text[:80]!r}." if text else "it is empty."


def with_latents(equation: str, inputs: Sequence[int] | None, first_index: int = 0) -> str:
    """Turn plain names x0, x1, ... of an equation into latents; z17 stays.

    Parameters
    ----------
    equation : str
        As PySR wrote it.
    inputs : sequence of int, optional
        Latents in the order of PySR's inputs.
    first_index : int
        Number of the first plain name.

    Raises
    ------
    TrainingError
        Where a plain name leads to no latent.
    """

    def latent(match: re.Match[str]) -> str:
        place = int(match[1]) - first_index
        if inputs is None or not 0 <= place < len(inputs):
            known = "no inputs were given" if inputs is None else f"{len(inputs)} inputs were given"
            raise TrainingError(
                f"The formula {equation} uses {match[0]}, but {known}, counted from {first_index}.",
                "Give the latents that the search was allowed to use, in its order.",
            )
        return f"z{inputs[place]}"

    return _PLAIN_NAME.sub(latent, equation)


def _files(path: Path) -> list[Path]:
    """List the halls of fame at a path or below it, also where only the backup is there."""
    if not path.is_dir():
        return [path]
    folders = {file.parent for file in path.rglob(HALL_OF_FAME + "*") if file.name in _NAMES}
    if not folders:
        raise TrainingError(
            f"There is no {HALL_OF_FAME} in {path}.", "Give the folder of a run, or one with runs in it."
        )
    return [folder / HALL_OF_FAME for folder in sorted(folders)]


_NAMES = (HALL_OF_FAME, HALL_OF_FAME + BACKUP)
