"""The track table: one row a nucleus and frame."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_cellinterp.errors import TracksError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_cellinterp.movies.stack import Movie

COLUMNS = ("track_id", "frame", "y", "x", "label", "parent_track_id")
_REQUIRED = COLUMNS[:4]
_INTEGERS = ("track_id", "frame", "label", "parent_track_id")


@dataclass(frozen=True, eq=False)
class TrackTable:
    """Where each nucleus is in each frame, and which track it belongs to. Build it with `from_rows`.

    Attributes
    ----------
    rows : pandas.DataFrame
        ``track_id``, ``frame``, ``label``, ``parent_track_id`` (int64) and ``y``, ``x`` (float64, pixels; the centre of
        the first pixel is at 0), sorted by frame and track. ``label`` is the id in that frame's label image, 0 without
        a mask; ``parent_track_id`` is 0 where there is no parent.
    """

    rows: pd.DataFrame

    @classmethod
    def from_rows(cls, rows: pd.DataFrame) -> TrackTable:
        """Check rows and put them in order.

        A parent that is given in some rows of a track only holds for all of them.

        Parameters
        ----------
        rows : pandas.DataFrame
            Columns ``track_id``, ``frame``, ``y``, ``x`` and optionally ``label``, ``parent_track_id`` (default 0);
            others are left out. Ids and frames may be floats without a fraction.

        Raises
        ------
        TracksError
            A column is missing, a value is impossible, or a track is twice in a frame; the first such row is named.
        """
        _require_columns(rows)
        columns: dict[str, NDArray[Any]] = {}
        for name in COLUMNS:
            given = rows[name] if name in rows else np.zeros(len(rows), np.int64)
            columns[name] = _whole_numbers(given, name) if name in _INTEGERS else _positions(given, name)
        clean = pd.DataFrame(columns)
        _require_once_a_frame(clean)
        clean["parent_track_id"] = _spread_parents(clean)
        return cls(clean.sort_values(["frame", "track_id"], ignore_index=True))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def n_tracks(self) -> int:
        """Number of tracks."""
        return int(self.rows["track_id"].nunique())

    def frames(self) -> Iterator[tuple[int, slice]]:
        """Yield each frame that has nuclei, with the slice of its rows."""
        frame = self.rows["frame"].to_numpy()
        bounds = [0, *(np.flatnonzero(np.diff(frame)) + 1).tolist(), len(frame)]
        for start, stop in pairwise(bounds):
            if stop > start:
                yield int(frame[start]), slice(start, stop)

    def check_fits(self, movie: Movie) -> NDArray[np.bool_]:
        """Compare with the movie that the tracks belong to.

        Returns
        -------
        ndarray
            (n_rows,) bool: whether the position lies inside the image. Rows outside are the caller's to report.

        Raises
        ------
        TracksError
            A frame lies outside the movie, or all positions lie outside the image.
        """
        last = int(self.rows["frame"].max()) if len(self) else 0
        if last >= movie.n_frames:
            raise TracksError(
                f"The tracks reach to frame {last}, and the movie has {movie.n_frames} frames (0 to "
                f"{movie.n_frames - 1}).",
                "Give the tracks of this movie, with frames counted from 0.",
            )
        y, x = self.rows["y"].to_numpy(), self.rows["x"].to_numpy()
        inside = (y >= -0.5) & (y < movie.height - 0.5) & (x >= -0.5) & (x < movie.width - 0.5)
        if len(self) and not inside.any():
            raise TracksError(
                f"All {len(self)} positions (y {y.min():g} to {y.max():g}, x {x.min():g} to {x.max():g}) lie outside "
                f"the image of {movie.height} x {movie.width} pixels.",
                "Give positions in pixels, not in um, and y before x.",
            )
        return np.asarray(inside, dtype=np.bool_)

    @classmethod
    def from_napari_tracks(cls, data: ArrayLike, graph: Mapping[Any, Any] | None = None) -> TrackTable:
        """Read the data of a napari Tracks layer.

        Where there is a track 0 and some track has a parent, all ids grow by one, because 0 means no parent here.

        Parameters
        ----------
        data : array-like
            (n_rows, 4) track, t, y, x; or (n_rows, 5) track, t, z, y, x with one z for all.
        graph : mapping, optional
            Parent, or list of one parent, of each daughter track.

        Raises
        ------
        TracksError
            The shape or a value is impossible, or tracks merge.
        """
        table = _without_z(_numbers(data), 4, "tracks (track, t, y, x)")
        rows = pd.DataFrame(table, columns=list(_REQUIRED))
        return cls.from_rows(with_parents(rows, parents_from_graph(graph or {})))

    def to_napari_tracks(self) -> tuple[NDArray[np.float64], dict[int, list[int]]]:
        """Give the data of a napari Tracks layer.

        Returns
        -------
        data : ndarray
            (n_rows, 4) float64: track, t, y, x, sorted by track and time.
        graph : dict
            Parent of each daughter track, as a list of one; parents that have no row are left out.
        """
        ordered = self.rows.sort_values(["track_id", "frame"])
        first = ordered.drop_duplicates("track_id")
        known = first["parent_track_id"].isin(first["track_id"]) & (first["parent_track_id"] != 0)
        pairs = first.loc[known, ["track_id", "parent_track_id"]].itertuples(index=False)
        return ordered[list(_REQUIRED)].to_numpy(np.float64), {int(child): [int(parent)] for child, parent in pairs}

    @classmethod
    def from_points(cls, data: ArrayLike) -> TrackTable:
        """Read the data of a napari Points layer, as nuclei that aren't linked yet: ids 1 to n, in the order given.

        Parameters
        ----------
        data : array-like
            (n_points, 3) t, y, x; (n_points, 2) y, x for a movie of one frame; or (n_points, 4) t, z, y, x with one z.

        Raises
        ------
        TracksError
            The shape or a value is impossible.
        """
        points = _numbers(data)
        if points.ndim == 2 and points.shape[1] == 2:
            points = np.column_stack([np.zeros(len(points)), points])
        points = _without_z(points, 3, "points (t, y, x)")
        rows = pd.DataFrame(points, columns=["frame", "y", "x"])
        return cls.from_rows(rows.assign(track_id=np.arange(1, len(rows) + 1)))

    @classmethod
    def from_label_image(cls, labels: Any, tracked: bool) -> TrackTable:
        """Measure where the nuclei of a label image are, one frame at a time.

        Parameters
        ----------
        labels : numpy or dask array
            (T, Y, X) integer ids, 0 for background.
        tracked : bool
            Whether the ids are tracks; else each nucleus of each frame becomes a track of its own.

        Raises
        ------
        TracksError
            The ids aren't integers, or negative.
        """
        if labels.ndim != 3:
            raise TracksError(f"The label image has {labels.ndim} axes.", "Give one with the axes T, Y, X.")
        frames = [measure_labels(np.asarray(labels[t])).assign(frame=t) for t in range(labels.shape[0])]
        rows = pd.concat(frames, ignore_index=True)
        return cls.from_rows(rows.assign(track_id=rows["label"] if tracked else np.arange(1, len(rows) + 1)))


def measure_labels(frame_labels: NDArray[Any]) -> pd.DataFrame:
    """Measure the nuclei of one frame.

    Parameters
    ----------
    frame_labels : ndarray
        (Y, X) integer ids, 0 for background; ids may have gaps.

    Returns
    -------
    pandas.DataFrame
        One row an id, ascending: ``label``, ``area_px`` (int64), the centroid ``y``, ``x`` in pixels and
        ``diameter_px``, that of a disk of the same area, 2 sqrt(area / pi).

    Raises
    ------
    TracksError
        The ids aren't integers, or negative.
    """
    if frame_labels.dtype.kind not in "ui":
        raise TracksError(f"Label ids are of type {frame_labels.dtype}.", "Save them as integers, such as uint16.")
    ids, y, first_x, length = _runs(frame_labels)
    if ids.size and ids.min() < 0:
        raise TracksError(f"There is a label id {ids.min()}.", "Label ids are 0 for background, else positive.")
    known, ids = _dense(ids, frame_labels.size)
    weights = (length, y * length, (first_x + (length - 1) / 2) * length)
    area, sum_y, sum_x = (np.bincount(ids, weights=weight, minlength=len(known)) for weight in weights)
    there = area > 0
    area = area[there]
    return pd.DataFrame(
        {
            "label": known[there],
            "y": sum_y[there] / area,
            "x": sum_x[there] / area,
            "area_px": area.astype(np.int64),
            "diameter_px": 2 * np.sqrt(area / np.pi),
        }
    )


def parents_from_graph(graph: Mapping[Any, Any]) -> dict[int, int]:
    """Parent of each daughter, from napari's graph: daughter to parent, or to a list of one.

    Raises
    ------
    TracksError
        A track has several parents.
    """
    parents = {}
    for child, given in graph.items():
        found = [int(parent) for parent in np.atleast_1d(given)]
        if len(found) > 1:
            raise TracksError(
                f"Track {child} has {len(found)} parents ({', '.join(map(str, found))}).",
                "Nuclei divide, but don't merge: take the merge out of the graph.",
            )
        if found:
            parents[int(child)] = found[0]
    return parents


def with_parents(rows: pd.DataFrame, parents: Mapping[int, int]) -> pd.DataFrame:
    """Add ``parent_track_id``; where some track has a parent, a track 0 makes all ids grow by one.

    Parameters
    ----------
    rows : pandas.DataFrame
        With the column ``track_id``.
    parents : mapping
        Parent of each daughter track; a track that names itself has none.
    """
    pairs = {child: parent for child, parent in parents.items() if child != parent}
    shift = 1 if pairs and bool((rows["track_id"] == 0).any()) else 0
    parent = rows["track_id"].map({child: one + shift for child, one in pairs.items()})
    return rows.assign(track_id=rows["track_id"] + shift, parent_track_id=parent.fillna(0).astype(np.int64))


def nearest(name: str, names: Sequence[str]) -> str:
    """Words that point to the name that looks most like the one that is missing, or none."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""


def _require_columns(rows: pd.DataFrame) -> None:
    there = [str(name) for name in rows.columns]
    if missing := [name for name in _REQUIRED if name not in there]:
        asked = ", ".join(name + nearest(name, [n for n in there if n not in COLUMNS]) for name in missing)
        raise TracksError(
            f"The track table has no column {asked}; it has: {', '.join(there) or 'none'}.",
            f"It needs {', '.join(_REQUIRED)}.",
        )


def _column(values: Any, name: str) -> NDArray[Any]:
    """Numbers of a column: integers as they are, all else as float64; the first that is none is named."""
    series = pd.Series(np.asarray(values))
    if series.dtype.kind in "uib" and series.dtype != np.uint64:
        return series.to_numpy(np.int64)
    numbers = pd.to_numeric(series, errors="coerce").to_numpy(np.float64)
    _refuse(~np.isfinite(numbers), series, name, "isn't a finite number")
    return numbers


def _positions(values: Any, name: str) -> NDArray[np.float64]:
    return _column(values, name).astype(np.float64)


def _whole_numbers(values: Any, name: str) -> NDArray[np.int64]:
    numbers = _column(values, name)
    _refuse(numbers != np.round(numbers), numbers, name, "isn't a whole number")
    _refuse(numbers < 0, numbers, name, "is negative")
    _refuse((numbers.dtype.kind == "f") & (numbers >= 2.0**63), numbers, name, "is too large")
    return numbers.astype(np.int64)


def _refuse(bad: NDArray[np.bool_], values: Any, name: str, why: str) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        value = np.asarray(values)[row]
        raise TracksError(
            f"Row {row} of the track table has the {name} {value}, which {why}.",
            f"Correct it, and {int(bad.sum()) - 1} more like it." if bad.sum() > 1 else "Correct it, or drop the row.",
        )


def _require_once_a_frame(rows: pd.DataFrame) -> None:
    twice = rows.duplicated(["track_id", "frame"]).to_numpy()
    if twice.any():
        row = rows.iloc[int(np.argmax(twice))]
        raise TracksError(
            f"Track {int(row['track_id'])} is twice in frame {int(row['frame'])} (row {int(np.argmax(twice))}).",
            "Keep one of the two, or give the other a track id of its own.",
        )


def _spread_parents(rows: pd.DataFrame) -> NDArray[np.int64]:
    parents = rows.groupby("track_id")["parent_track_id"]
    largest = parents.transform("max").to_numpy(np.int64)
    given = rows["parent_track_id"].to_numpy(np.int64)
    odd = (given != 0) & (given != largest)
    if odd.any():
        at = int(np.argmax(odd))
        raise TracksError(
            f"Track {rows['track_id'].iloc[at]} has the parents {given[at]} and {largest[at]}.",
            "A track has one parent; correct its rows.",
        )
    own = (largest != 0) & (largest == rows["track_id"].to_numpy())
    _refuse(own, largest, "parent_track_id", "is the track itself")
    return largest


def _numbers(data: ArrayLike) -> NDArray[np.float64]:
    try:
        return np.asarray(data, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TracksError(f"The positions aren't a table of numbers ({error}).", "Give an array of numbers.") from error


def _without_z(table: NDArray[np.float64], n_columns: int, wanted: str) -> NDArray[np.float64]:
    """Drop the third column from the end of a table that has one column more, if it is the same in all rows."""
    shape = table.shape
    if table.ndim == 2 and shape[1] == n_columns + 1:
        z = table[:, -3]
        if len(z) and not (z == z[0]).all():
            raise TracksError(
                f"The positions lie in several Z planes ({np.nanmin(z):g} to {np.nanmax(z):g}).",
                "Give the positions of one plane.",
            )
        table = np.delete(table, -3, axis=1)
    if table.ndim != 2 or table.shape[1] != n_columns:
        raise TracksError(
            f"An array of shape {' x '.join(map(str, shape))} doesn't hold {wanted}.",
            f"Give one row a nucleus and {n_columns} columns.",
        )
    return table


def _runs(frame_labels: NDArray[Any]) -> tuple[NDArray[np.int64], ...]:
    """Cut rows of pixels into runs of one id: id, y, first x and length of each; far fewer than pixels."""
    begins = np.ones(frame_labels.shape, np.bool_)
    np.not_equal(frame_labels[:, 1:], frame_labels[:, :-1], out=begins[:, 1:])
    starts = np.flatnonzero(begins)
    lengths = np.diff(starts, append=frame_labels.size)
    ids = frame_labels.ravel()[starts].astype(np.int64)
    there = ids != 0
    y, x = np.divmod(starts[there], frame_labels.shape[1])
    return ids[there], y, x, lengths[there]


def _dense(ids: NDArray[np.int64], n_pixels: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids that can be counted in an array of a modest size, and what they stand for."""
    largest = int(ids.max(initial=0))
    if largest <= max(n_pixels, 65_535):
        return np.arange(largest + 1), ids
    known, dense = np.unique(ids, return_inverse=True)
    return known, dense.astype(np.int64)
