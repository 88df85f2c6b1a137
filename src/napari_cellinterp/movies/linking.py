"""Link nuclei of neighbouring frames into tracks; divisions keep the parent (through laptrack)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_cellinterp.movies.track_table import TrackTable

if TYPE_CHECKING:
    from napari_cellinterp.config import LinkingConfig


def link(nuclei: TrackTable, config: LinkingConfig, diameter_px: float) -> TrackTable:
    """Link nuclei into tracks by their positions.

    Parameters
    ----------
    nuclei : TrackTable
        Nuclei frame by frame; their track ids and parents are ignored.
    config : LinkingConfig
        Settings; distances are in nuclear diameters.
    diameter_px : float
        Median nuclear diameter.

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
    return TrackTable.from_rows(rows)
