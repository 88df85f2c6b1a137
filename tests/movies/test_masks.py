"""Label images in memory, and which nucleus a point gets."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_cellinterp.movies.masks import FoundMasks, GivenMasks, claim_nuclei


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64, np.uint32])
def test_what_is_set_comes_back(dtype):
    top = min(np.iinfo(dtype).max, 2**40)
    frames = np.random.default_rng(0).integers(0, top, (3, 17, 23), endpoint=True).astype(dtype)
    masks = FoundMasks((5, 17, 23))
    for t, frame in zip((0, 2, 4), frames, strict=True):
        masks.set_frame(t, frame)
    for t, frame in zip((0, 2, 4), frames, strict=True):
        np.testing.assert_array_equal(masks.frame(t), frame)


def test_frames_that_were_not_set_are_background():
    masks = FoundMasks((4, 6, 9))
    masks.set_frame(1, np.ones((6, 9), np.int32))
    for t in (0, 2, 3):
        assert masks.frame(t).shape == (6, 9)
        assert masks.frame(t).dtype.kind == "i"
        assert not masks.frame(t).any()


def test_a_frame_that_is_set_again_is_replaced_and_views_are_copied():
    masks, labels = FoundMasks((1, 8, 8)), np.zeros((16, 16), np.int32)
    masks.set_frame(0, np.full((8, 8), 3))
    masks.set_frame(0, labels[::2, ::2])
    labels[:] = 9
    assert not masks.frame(0).any()


def test_given_masks_are_read_when_they_are_asked_for():
    read = []

    def block(block_info=None):
        t = block_info[None]["array-location"][0][0]
        read.append(t)
        return np.full((1, 4, 5), t, np.uint16)

    masks = GivenMasks(
        da.map_blocks(block, chunks=((1,) * 3, 4, 5), dtype=np.uint16, meta=np.empty((0, 0, 0), np.uint16))
    )
    assert masks.shape == (3, 4, 5)
    assert not read
    assert (masks.frame(2) == 2).all()
    assert read == [2]


def two_nuclei() -> np.ndarray:
    labels = np.zeros((40, 60), np.int32)
    labels[5:15, 5:15], labels[20:32, 30:44] = 3, 8
    return labels


def test_a_point_on_a_nucleus_gets_it():
    labels, ids = claim_nuclei(two_nuclei(), [10, 25.4], [6, 43.4], 9)
    assert ids.tolist() == [3, 8]
    np.testing.assert_array_equal(labels, two_nuclei())


def test_a_point_on_background_gets_a_disk():
    labels, ids = claim_nuclei(two_nuclei(), [30.2], [15.7], 9)
    rows, columns = np.ogrid[:40, :60]
    disk = (rows - 30.2) ** 2 + (columns - 15.7) ** 2 <= 4.5**2
    assert ids.tolist() == [9]
    np.testing.assert_array_equal(labels == 9, disk)
    np.testing.assert_array_equal(np.where(disk, 0, labels), two_nuclei())


def test_two_points_on_one_nucleus_the_second_gets_a_disk_around_it():
    labels, ids = claim_nuclei(two_nuclei(), [10, 13.0, 25], [10, 14.0, 35], 9)
    assert ids.tolist() == [3, 9, 8]
    np.testing.assert_array_equal(labels == 3, two_nuclei() == 3)
    assert 0 < (labels == 9).sum() < np.pi * 4.5**2 * 0.7


def test_a_disk_that_finds_no_free_pixel_has_no_label():
    labels, ids = claim_nuclei(two_nuclei(), [26, 26], [36, 37], 4)
    assert ids.tolist() == [8, 0]
    np.testing.assert_array_equal(labels, two_nuclei())


def test_points_at_the_edge_get_what_there_is_of_a_disk():
    labels, ids = claim_nuclei(np.zeros((20, 20), np.int32), [-0.5, 19.49], [-0.4, 19.49], 6)
    assert ids.tolist() == [1, 2]
    assert labels[0, 0] == 1
    assert labels[19, 19] == 2


def test_ids_beyond_32_bits_are_kept():
    given_labels = two_nuclei().astype(np.int64)
    given_labels[given_labels == 3] = 2**31 + 5
    labels, ids = claim_nuclei(given_labels, [10, 25, 2], [6, 36, 50], 5)
    assert ids.tolist() == [2**31 + 5, 8, 2**31 + 6]
    masks = FoundMasks((1, 40, 60))
    masks.set_frame(0, labels)
    np.testing.assert_array_equal(masks.frame(0), labels)


@given(
    points=st.lists(st.tuples(st.floats(-0.5, 39.49), st.floats(-0.5, 59.49)), min_size=1, max_size=12),
    diameter=st.floats(1, 20),
)
@settings(max_examples=60, deadline=None)
def test_every_point_has_pixels_of_its_own_or_none(points, diameter):
    y, x = np.array(points).T
    labels, ids = claim_nuclei(two_nuclei(), y, x, diameter)
    claimed = ids[ids > 0]
    assert len(np.unique(claimed)) == len(claimed)
    assert np.isin(claimed, labels).all()
    for label in (3, 8):
        np.testing.assert_array_equal(labels == label, two_nuclei() == label)
    assert set(np.unique(labels)) <= {0, 3, 8, *claimed}
