"""States that a person gave to nuclei, in a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from napari_cellinterp.errors import TracksError

if TYPE_CHECKING:
    from pathlib import Path


def read_states(path: Path) -> pd.DataFrame:
    """Read the column ``state`` of a CSV table, by track and frame.

    Returns
    -------
    pandas.DataFrame
        ``state`` and what else the table has, indexed by ``track_id`` and ``frame``, the first row of each.

    Raises
    ------
    TracksError
        If it can't be read, or lacks a column.
    """
    try:
        table = pd.read_csv(path, dtype={"state": str})
    except (OSError, ValueError) as error:
        raise TracksError(f"{path} can't be read: {error}.", "Give a CSV file.") from error
    if "state" not in table and "label" in table and not pd.api.types.is_numeric_dtype(table["label"]):
        table = table.rename(columns={"label": "state"})  # numbers there are ids of masks
    missing = [name for name in ("track_id", "frame", "state") if name not in table]
    if missing:
        raise TracksError(
            f"{path} has no column {' or '.join(missing)}; it has: {', '.join(map(str, table.columns))}.",
            "Give a table with track_id, frame, y, x and state, such as nuclei.csv of cellinterp classify.",
        )
    return table.drop_duplicates(["track_id", "frame"]).set_index(["track_id", "frame"])
