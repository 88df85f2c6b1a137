"""The track table, and the files that hold it: reads those of other programs, writes our own."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_cellinterp.errors import OutputError, TracksError
from napari_cellinterp.movies.metadata import length_um
from napari_cellinterp.movies.track_table import (
    COLUMNS,
    TrackTable,
    measure_labels,
    nearest,
    parents_from_graph,
    with_parents,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

__all__ = ["ALIASES", "COLUMNS", "TrackTable", "measure_labels", "read_tracks", "write_tracks"]

ALIASES: Mapping[str, tuple[str, ...]] = {
    "track_id": ("track_id", "trackid", "track", "particle", "id"),
    "frame": ("frame", "t", "time"),
    "y": ("y", "position_y", "centroid-0"),
    "x": ("x", "position_x", "centroid-1"),
    "label": ("label",),
    "parent_track_id": ("parent_track_id", "parent"),
}
"""Names that programs give to our columns, in the order of preference; upper and lower case count the same."""

_MOST_HEADER_ROWS = 4


def read_tracks(path: str | PathLike[str], *, pixel_size_um: float | None = None) -> TrackTable:
    """Read tracks from a CSV file.

    Understood are our own columns, napari's (ID, t, y, x), btrack's ``tracks.csv`` with ``properties.csv`` or
    ``graph.json`` beside it, TrackMate's spots, and other names in `ALIASES`. A track whose parent is empty, negative
    or itself has no parent. Where there is a track 0 and some track has a parent, all ids grow by one, because 0 means
    no parent here.

    Parameters
    ----------
    path : path-like
        The CSV file.
    pixel_size_um : float, optional
        Needed where the file says that its positions are lengths: they are then brought to pixels.

    Returns
    -------
    TrackTable
        Spots of a TrackMate file that belong to no track get a track of their own.

    Raises
    ------
    TracksError
        The file is missing, empty, no table, lacks a column, or has an impossible value.
    """
    path = Path(path)
    table, units = _read_csv(path)
    try:
        if tuple(table.columns) == COLUMNS and not units:
            return TrackTable.from_rows(table)
        rows = _renamed(table, units, path)
        rows = _in_pixels(rows, units, pixel_size_um, path)
        return TrackTable.from_rows(with_parents(rows, _parents(rows, path)))
    except TracksError as error:
        raise error if str(path) in error.problem else TracksError(f"{path}: {error.problem}", error.advice) from error


def write_tracks(table: TrackTable, path: str | PathLike[str]) -> None:
    """Write a track table as CSV, so that `read_tracks` gives the same numbers back.

    Parameters
    ----------
    table : TrackTable
        What to write.
    path : path-like
        Name of the file; an older one is replaced once the new one is complete.

    Raises
    ------
    OutputError
        The file can't be written.
    """
    path = Path(path)
    try:
        handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                table.rows.to_csv(file, index=False, lineterminator="\n")
            Path(beside).replace(path)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(f"{path} can't be written ({error}).", "Give a folder that exists and is yours.") from error


def _read_csv(path: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """Table, and the unit of each column where rows under the header give them (TrackMate)."""
    if not path.is_file():
        raise TracksError(f"There is no file {path}.", "Check the path for typing errors.")
    try:
        head = pd.read_csv(path, dtype=str, nrows=_MOST_HEADER_ROWS, skipinitialspace=True)
        n_extra = _n_header_rows(head)
        table = pd.read_csv(
            path,
            skiprows=range(1, 1 + n_extra),
            float_precision="round_trip",
            low_memory=False,
            skipinitialspace=True,
        )
    except (ValueError, OSError) as error:
        raise TracksError(
            f"{path} can't be read as a table ({str(error).strip().splitlines()[0]}).",
            "Give a CSV file with a header and one row a nucleus and frame.",
        ) from error
    if not isinstance(table.index, pd.RangeIndex):
        raise TracksError(f"{path} has more values in a row than names in its header.", "Give each column a name.")
    if table.empty:
        raise TracksError(f"{path} has a header and no rows.", "Export the tracks again.")
    units = head.iloc[n_extra - 1].dropna().str.strip("() ").to_dict() if n_extra else {}
    return table, {str(name): str(unit) for name, unit in units.items()}


def _n_header_rows(head: pd.DataFrame) -> int:
    """Count the rows right under the header of which neither frame nor position is a number."""
    names = [name for name in (_found(head, column) for column in ("frame", "y", "x")) if name]
    if tuple(head.columns) == COLUMNS or not names:
        return 0
    numeric = head[names].apply(pd.to_numeric, errors="coerce").notna().any(axis=1).to_numpy()
    return int(np.argmax(numeric)) if numeric.any() else 0


def _found(table: pd.DataFrame, column: str) -> str | None:
    """Name that a table has for one of our columns."""
    by_lower = {str(name).strip().lower(): str(name) for name in reversed(list(table.columns))}
    return next((by_lower[alias] for alias in ALIASES[column] if alias in by_lower), None)


def _renamed(table: pd.DataFrame, units: Mapping[str, str], path: Path) -> pd.DataFrame:
    """Our columns of a table; ids of spots that TrackMate left alone are filled in, texts as labels left out."""
    names = {column: _found(table, column) for column in COLUMNS}
    there = [str(name) for name in table.columns]
    if missing := [column for column in COLUMNS[:4] if names[column] is None]:
        asked = ", ".join(column + nearest(column, there) for column in missing)
        raise TracksError(
            f"{path} has no column {asked}; it has: {', '.join(there)}.",
            "Name the columns track_id, frame, y, x.",
        )
    rows = pd.DataFrame({column: table[name] for column, name in names.items() if name is not None})
    if "label" in rows and pd.to_numeric(rows["label"], errors="coerce").isna().all():
        rows = rows.drop(columns="label")
    elif "label" in rows:
        rows["label"] = rows["label"].fillna(0)
    if units:
        rows["track_id"] = _with_own_ids(pd.to_numeric(rows["track_id"], errors="coerce"))
    return rows


def _with_own_ids(ids: pd.Series[Any]) -> pd.Series[Any]:
    alone = ids.isna()
    first = int(ids.max()) + 1 if not alone.all() else 1
    ids = ids.copy()
    ids[alone] = np.arange(first, first + int(alone.sum()))
    return ids.astype(np.int64)


def _in_pixels(rows: pd.DataFrame, units: Mapping[str, str], pixel_size_um: float | None, path: Path) -> pd.DataFrame:
    unit = next((units[name] for name in units if name.strip().lower() in ALIASES["x"]), "")
    um = length_um(1, unit)
    if um is None:
        return rows
    if pixel_size_um is None:
        raise TracksError(f"{path} gives its positions in {unit}, not in pixels.", "Give the pixel size too, in um.")
    return rows.assign(**{a: pd.to_numeric(rows[a], errors="coerce") * um / pixel_size_um for a in ("y", "x")})


def _parents(rows: pd.DataFrame, path: Path) -> dict[int, int]:
    """Parent of each track, from the table itself or from what btrack writes beside it."""
    beside = path.name.lower() == "tracks.csv"
    if "parent_track_id" in rows:
        return _parents_by_row(rows["track_id"], rows["parent_track_id"])
    parents: dict[int, int] = {}
    if beside and (path.parent / "graph.json").is_file():
        parents |= parents_from_graph(_read_graph(path.parent / "graph.json"))
    if beside and (path.parent / "properties.csv").is_file():
        parents |= _btrack_parents(rows, path.parent / "properties.csv")
    return parents


def _read_graph(path: Path) -> dict[int, Any]:
    try:
        return {int(child): parents for child, parents in json.loads(path.read_text(encoding="utf-8")).items()}
    except (ValueError, AttributeError, OSError) as error:
        raise TracksError(
            f"{path} isn't a graph of tracks ({error}).", "It maps each daughter track to its parents."
        ) from error


def _btrack_parents(rows: pd.DataFrame, path: Path) -> dict[int, int]:
    properties, _ = _read_csv(path)
    name = _found(properties, "parent_track_id")
    if name is None:
        return {}
    if len(properties) != len(rows):
        raise TracksError(
            f"{path} has {len(properties)} rows and the tracks beside it have {len(rows)}; they belong together row by "
            "row.",
            "Export both again, or take the properties away.",
        )
    return _parents_by_row(rows["track_id"], properties[name])


def _parents_by_row(ids: pd.Series[Any], given: pd.Series[Any]) -> dict[int, int]:
    """Parent of each track; 0 is a parent only where there is a track 0 and lack of one is written otherwise."""
    table = pd.DataFrame(
        {"child": pd.to_numeric(ids, errors="coerce"), "parent": pd.to_numeric(given, errors="coerce")}
    )
    none = table["parent"].isna() | (table["parent"] < 0) | (table["parent"] == table["child"])
    if not (bool((table["child"] == 0).any()) and bool(none.any())):
        none |= table["parent"] == 0
    pairs = table[~none & table["child"].notna()].drop_duplicates()
    if pairs["child"].duplicated().any():
        child = pairs.loc[pairs["child"].duplicated(), "child"].iloc[0]
        both = ", ".join(f"{parent:g}" for parent in pairs.loc[pairs["child"] == child, "parent"])
        raise TracksError(f"Track {child:g} has the parents {both}.", "A track has one parent; correct its rows.")
    return {int(child): int(parent) for child, parent in pairs.itertuples(index=False)}
