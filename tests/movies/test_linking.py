"""Links between nuclei of hand-made movies."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_cellinterp.config import LinkingConfig
from napari_cellinterp.movies.linking import link
from napari_cellinterp.movies.track_table import TrackTable

DIAMETER = 20.0


def nuclei(*points: tuple[int, float, float]) -> TrackTable:
    """Unlinked nuclei from (frame, y, x), numbered from 100 in a shuffled order."""
    rows = pd.DataFrame(points, columns=["frame", "y", "x"])
    order = np.random.default_rng(0).permutation(len(rows))
    return TrackTable.from_rows(rows.assign(track_id=100 + order, label=1 + np.arange(len(rows))))


def linked(table: TrackTable, **settings) -> dict[tuple[int, float, float], tuple[int, int]]:
    """Track and parent of each (frame, y, x)."""
    rows = link(table, LinkingConfig(**settings), DIAMETER).rows
    return {(r.frame, r.y, r.x): (r.track_id, r.parent_track_id) for r in rows.itertuples()}


def test_two_nuclei_that_move_side_by_side_stay_apart():
    points = [(t, 50.0 + 4 * t, x + 2.0 * t) for t in range(6) for x in (30, 70)]
    tracks = linked(nuclei(*points))
    for x in (30, 70):
        assert len({tracks[p] for p in points if p[2] - 2 * p[0] == x}) == 1
    assert sorted({track for track, _ in tracks.values()}) == [1, 2]
    assert {parent for _, parent in tracks.values()} == {0}


def test_ids_count_from_1_in_the_order_of_first_appearance():
    table = nuclei((0, 10, 10), (1, 10, 11), (1, 300, 300), (2, 300, 301), (2, 150, 150), (3, 150, 150))
    rows = link(table, LinkingConfig(), DIAMETER).rows
    first = rows.drop_duplicates("track_id")
    assert first["track_id"].tolist() == [1, 2, 3]
    assert first["frame"].is_monotonic_increasing


@pytest.mark.parametrize(
    ("n_missed", "max_gap", "n_tracks"), [(0, 0, 1), (1, 0, 2), (1, 1, 1), (2, 1, 2), (2, 2, 1), (3, 3, 1), (4, 3, 2)]
)
def test_gaps_are_closed_up_to_the_limit(n_missed, max_gap, n_tracks):
    frames = [0, 1, 2, 3 + n_missed, 4 + n_missed]
    steady = [(t, 200.0, 200.0) for t in range(frames[-1] + 1)]
    tracks = linked(nuclei(*[(t, 50.0, 50.0 + t) for t in frames], *steady), max_gap_frames=max_gap)
    assert len({track for point, track in tracks.items() if point[1] == 50}) == n_tracks
    assert len({track for point, track in tracks.items() if point[1] == 200}) == 1


@pytest.mark.parametrize("divisions", [True, False])
def test_daughters_know_their_parent(divisions):
    mother = [(t, 50.0, 50.0) for t in range(4)]
    daughters = [[(t, 50.0 + side * (6 + t - 4), 50.0) for t in range(4, 8)] for side in (-1, 1)]
    bystander = [(t, 200.0, 200.0) for t in range(8)]
    tracks = linked(nuclei(*mother, *daughters[0], *daughters[1], *bystander), divisions=divisions)
    (mother_id, no_parent), *more = {tracks[p] for p in mother}
    assert not more
    assert no_parent == 0
    found = [{tracks[p] for p in daughter} for daughter in daughters]
    assert all(len(track) == 1 for track in found)
    ids, parents = zip(*(track.pop() for track in found), strict=True)
    if divisions:
        assert parents == (mother_id, mother_id)
        assert len({mother_id, *ids}) == 3
    else:
        assert parents == (0, 0)
        assert len(set(ids)) == 2
    assert {tracks[p][1] for p in bystander} == {0}


@pytest.mark.parametrize(("step", "n_tracks"), [(9.0, 1), (19.9, 1), (20.1, 5)])
def test_the_farthest_move_is_in_nuclear_diameters(step, n_tracks):
    tracks = linked(nuclei(*[(t, 10.0, 10.0 + step * t) for t in range(5)]), max_step_diameters=1.0, max_gap_frames=0)
    assert len(set(tracks.values())) == n_tracks
    half = linked(nuclei(*[(t, 10.0, 10.0 + 9 * t) for t in range(5)]), max_step_diameters=0.4)
    assert len(set(half.values())) == 5


@pytest.mark.parametrize("empty", [[0], [3], [0, 1, 5], [2, 3, 4, 5], [9]])
def test_frames_without_nuclei(empty):
    frames = [t for t in range(10) if t not in empty]
    tracks = linked(nuclei(*[(t, y, 30.0) for t in frames for y in (30.0, 90.0)]), max_gap_frames=1)
    assert len(tracks) == 2 * len(frames)
    gaps = np.diff(frames) - 1
    assert len(set(tracks.values())) == 2 * (1 + (gaps > 1).sum())


def test_every_row_is_kept_with_its_label_and_place():
    rng = np.random.default_rng(1)
    points = [(t, *rng.uniform(0, 200, 2)) for t in (0, 1, 2, 5, 6) for _ in range(rng.integers(1, 30))]
    table = nuclei(*points)
    result = link(table, LinkingConfig(), DIAMETER)
    keys = ["frame", "label", "y", "x"]
    pd.testing.assert_frame_equal(
        result.rows[keys].sort_values(keys, ignore_index=True), table.rows[keys].sort_values(keys, ignore_index=True)
    )
    ids = result.rows["track_id"]
    assert sorted(ids.unique()) == list(range(1, ids.nunique() + 1))


@pytest.mark.parametrize("points", [[(0, 5.0, 5.0)], [(3, 5.0, 5.0), (3, 5.0, 9.0), (3, 80.0, 5.0)]])
def test_one_frame_alone_has_a_track_a_nucleus(points):
    tracks = linked(nuclei(*points))
    assert sorted(tracks.values()) == [(i + 1, 0) for i in range(len(points))]


def test_old_parents_are_forgotten():
    rows = pd.DataFrame({"track_id": [1, 2], "frame": [0, 1], "y": 5.0, "x": 5.0, "parent_track_id": [0, 1]})
    assert link(TrackTable.from_rows(rows), LinkingConfig(), DIAMETER).rows["parent_track_id"].tolist() == [0, 0]
