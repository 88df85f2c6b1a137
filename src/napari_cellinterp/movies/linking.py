"""Link nuclei of neighbouring frames into tracks; divisions keep the parent (through laptrack)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_cellinterp.movies.track_table import TrackTable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_cellinterp.config import LinkingConfig


CONDENSED_AREA = 0.8
"""A nucleus about to divide is condensed: its area is below this, relative to the median nucleus."""


def link(
    nuclei: TrackTable, config: LinkingConfig, diameter_px: float, area_px: NDArray[np.int64] | None = None
) -> TrackTable:
    """Link nuclei into tracks by their positions.

    Parameters
    ----------
    nuclei : TrackTable
        Nuclei frame by frame; their track ids and parents are ignored.
    config : LinkingConfig
        Settings; distances are in nuclear diameters.
    diameter_px : float
        Median nuclear diameter.
    area_px : (n,) int64, optional
        Area of each nucleus. Where it is given, a split counts as a division only if the parent is condensed just
        before: most others are touching nuclei that were found as one.

    Returns
    -------
    TrackTable
        The same nuclei, with track ids from 1 in order of their first appearance, and parents.
    """
    rows = nuclei.rows.copy()
    rows["parent_track_id"] = 0
    if rows["frame"].nunique() < 2:
        return TrackTable.from_rows(rows.assign(track_id=np.arange(1, len(rows) + 1)))
    from laptrack import LapTrack

    reach = (config.max_step_diameters * diameter_px) ** 2
    tracker = LapTrack(
        cutoff=reach,
        gap_closing_cutoff=reach if config.max_gap_frames else False,
        gap_closing_max_frame_count=config.max_gap_frames + 1,  # of frames from end to start, not of those between
        splitting_cutoff=reach if config.divisions else False,
    )
    points = rows[["frame", "y", "x"]].assign(row=np.arange(len(rows)))
    linked, splits, _ = tracker.predict_dataframe(points, ["y", "x"], only_coordinate_cols=False)
    number = pd.Series(linked["track_id"].to_numpy(), index=linked["row"].to_numpy()).sort_index().to_numpy()
    first = pd.unique(number)  # rows are in order of time
    new_id = pd.Series(np.arange(1, len(first) + 1), index=first)
    rows["track_id"] = new_id[number].to_numpy()
    if len(splits):
        parents = dict(zip(new_id[splits["child_track_id"]], new_id[splits["parent_track_id"]], strict=True))
        rows["parent_track_id"] = rows["track_id"].map(parents).fillna(0).astype(np.int64)
        if area_px is not None:
            rows = _without_false_divisions(rows, area_px)
    return TrackTable.from_rows(rows)


def _without_false_divisions(rows: pd.DataFrame, area_px: NDArray[np.int64]) -> pd.DataFrame:
    """Undo splits of parents that aren't condensed: the nearer daughter goes on as the parent, the other is new."""
    track: NDArray[np.int64] = rows["track_id"].to_numpy()
    parent: NDArray[np.int64] = rows["parent_track_id"].to_numpy()
    ends = rows.assign(area=area_px).drop_duplicates("track_id", keep="last").set_index("track_id")
    starts = rows.drop_duplicates("track_id").set_index("track_id")
    limit = CONDENSED_AREA * float(np.median(area_px))
    goes_on: dict[int, int] = {}
    for old in np.unique(parent[parent > 0]).tolist():
        if ends["area"][old] <= limit:
            continue
        daughters = starts[starts["parent_track_id"] == old]
        distance = np.hypot(daughters["y"] - ends["y"][old], daughters["x"] - ends["x"][old])
        goes_on[int(distance.index[distance.argmin()])] = old
        parent = np.where(parent == old, 0, parent)
    own = np.array([_origin(t, goes_on) for t in range(int(track.max()) + 1)])
    of_start = starts["parent_track_id"].to_dict() | dict.fromkeys(goes_on, 0)
    renamed = own[track]
    parent = np.where(renamed != track, own[[of_start[t] for t in renamed]], own[parent])
    return rows.assign(track_id=_from_one(renamed), parent_track_id=_from_one(renamed, parent))


def _origin(track: int, goes_on: dict[int, int]) -> int:
    while track in goes_on:
        track = goes_on[track]
    return track


def _from_one(track: NDArray[np.int64], ids: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Return track numbers from 1 in order of their first appearance; 0 stays 0."""
    seen = pd.unique(track)
    number = pd.Series(np.arange(len(seen) + 1), index=[0, *seen])
    return np.asarray(number[track if ids is None else ids], np.int64)
