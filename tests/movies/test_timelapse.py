"""Simulated movies: their truth is consistent with their pixels."""

from __future__ import annotations

import numpy as np
import pytest

from napari_cellinterp.config import TimelapseConfig
from napari_cellinterp.movies.timelapse import METAPHASE_FRAMES, simulate_movie

CONFIG = TimelapseConfig(n_frames=16, height=200, width=220, n_nuclei=14, share_dividing=0.6, seed=3)


@pytest.fixture(scope="module")
def simulated():
    return simulate_movie(CONFIG)


def test_the_same_seed_gives_the_same_movie(simulated):
    again = simulate_movie(CONFIG)
    np.testing.assert_array_equal(simulated[0], again[0])


def test_every_row_has_its_mask(simulated):
    _, labels, tracks, _ = simulated
    for t, rows in tracks.frames():
        assert set(tracks.rows["label"][rows]) == set(np.unique(labels[t])) - {0}


def test_nuclei_are_brighter_than_background(simulated):
    images, labels, _, _ = simulated
    assert images[labels > 0].mean() > 3 * images[labels == 0].mean()


def test_cells_go_through_mitosis_in_order_and_have_two_daughters(simulated):
    _, _, tracks, states = simulated
    rows = tracks.rows.assign(state=states)
    parents = rows.loc[rows["parent_track_id"] > 0].drop_duplicates("track_id").groupby("parent_track_id").size()
    assert len(parents) >= 3
    assert set(parents) == {2}
    for parent in parents.index:
        seen = rows.loc[rows["track_id"] == parent, "state"].tolist()
        n = min(METAPHASE_FRAMES, len(seen))  # some are in the middle of it when the movie begins
        assert seen[-n:] == ["metaphase"] * n
        born = rows.loc[rows["parent_track_id"] == parent, "frame"].min()
        assert born == rows.loc[rows["track_id"] == parent, "frame"].max() + 1


def test_metaphase_is_condensed(simulated):
    images, labels, tracks, states = simulated
    rows = tracks.rows.assign(state=states)
    area = [(labels[r.frame] == r.label).sum() for r in rows.itertuples()]
    light = [images[r.frame][labels[r.frame] == r.label].mean() for r in rows.itertuples()]
    rows = rows.assign(area=area, light=light).groupby("state")[["area", "light"]].median()
    assert rows.loc["metaphase", "area"] < 0.6 * rows.loc["interphase", "area"]
    assert rows.loc["metaphase", "light"] > 1.3 * rows.loc["interphase", "light"]
