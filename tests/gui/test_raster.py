"""Points as an image."""

import numpy as np

from napari_cellinterp.gui.raster import draw_points

RED, BLUE = (255, 0, 0, 255), (0, 0, 255, 200)


def drawn(pixels, radius_px, shape=(7, 9)):
    colours = np.array([RED, BLUE][: len(pixels)], np.uint8)
    return draw_points(np.array(pixels, float), colours, shape, radius_px)


def test_a_disk():
    image = drawn([(3.7, 2.2)], 1)
    rows, columns = np.nonzero(image[..., 3])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (1, 3, 2, 4)
    assert tuple(image[2, 3]) == RED
    assert len(rows) == 9


def test_larger_disks_are_round():
    image = drawn([(4, 3)], 3)
    assert not image[0, 1].any()
    assert tuple(image[0, 4]) == RED


def test_middles_cover_edges_and_later_points_earlier_ones():
    image = drawn([(0, 0), (1, 0)], 1)
    assert [tuple(pixel) for pixel in image[0, :2]] == [RED, BLUE]
    assert tuple(drawn([(4, 3), (4, 3)], 1)[2, 3]) == BLUE


def test_edges_cut():
    image = drawn([(0, 0), (1, 0)], 1)
    assert image[..., 3].any(axis=1).tolist() == [True, True, False, False, False, False, False]


def test_what_is_outside_or_nowhere_is_not_drawn():
    assert not drawn([(-0.5, 3), (np.nan, 3)], 2).any()
    assert not drawn([(9, 3), (4, 7.0)], 2).any()
    assert draw_points(np.empty((0, 2)), np.empty((0, 4), np.uint8), (3, 4), 1).shape == (3, 4, 4)
