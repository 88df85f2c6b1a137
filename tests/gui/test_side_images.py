"""Side images: where they stand and what becomes of them in a viewer's model; what is drawn, in a real viewer."""

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_cellinterp.gui.layers import Placement
from napari_cellinterp.gui.side_images import SideImages

TRANSFORM = {"scale": (6, 0.5, 0.5), "translate": (0, 1, 2), "units": ("min", "um", "um"), "axis_labels": tuple("tyx")}
PLACEMENT = Placement("TYX", (3, 100, 80), 0, TRANSFORM)


@pytest.fixture
def viewer():
    viewer = ViewerModel()
    viewer.add_image(np.zeros((3, 100, 80)), **TRANSFORM)
    return viewer


def crops(*titles, n_channels=1):
    return {title: np.full((n_channels, 64, 64), 0.25, np.float32) for title in titles}


def spans(viewer, group):
    """Left and right end of each image of a set, in pixels of the movie."""
    layers = [layer for layer in viewer.layers if layer.name.startswith(f"{group}: ") and layer.ndim == 2]
    ends = [layer.extent.world[:, 1] / 0.5 - 4 for layer in layers if layer._type_string == "image"]
    return np.array(ends)


def test_stands_right_of_the_movie_in_its_units(viewer):
    SideImages(viewer, "one").show(crops("a", "b", "c"), PLACEMENT)
    for layer in viewer.layers[1:]:
        assert layer.axis_labels == ("y", "x")
        assert [str(unit) for unit in layer.units] == ["micrometer", "micrometer"]
    left = spans(viewer, "one")[:, 0]
    assert (left > 80).all()
    assert left[0] == left[1] < left[2]


@pytest.mark.parametrize("n_channels", [1, 2])
def test_sets_and_columns_dont_overlap(viewer, n_channels):
    SideImages(viewer, "one").show(crops("a", "b", "c", n_channels=n_channels), PLACEMENT)
    SideImages(viewer, "two", below=True).show(crops(*"abcdefgh", n_channels=n_channels), PLACEMENT)
    right, below = spans(viewer, "one"), spans(viewer, "two")
    for ends, n_columns in ((right, 2), (below, 4)):
        columns = np.unique(ends.round(3), axis=0)
        assert len(columns) == n_columns
        assert (columns[1:, 0] > columns[:-1, 1]).all()
    assert (right[:, 0] > 80).all()
    assert (below > -1).all()
    assert (below < 81).all()
    tops = [layer.extent.world[0, 0] / 0.5 - 2 for layer in viewer.layers if layer.name.startswith("two: ")]
    assert min(tops) > 99


def test_renamed_deleted_and_left_out(viewer):
    side = SideImages(viewer, "one")
    side.show(crops("a", "b"), PLACEMENT)
    side.layer("a").name = "mine"
    viewer.layers.remove(side.layer("b"))
    side.show(crops("a", "b"), PLACEMENT)
    assert len(viewer.layers) == 4
    side.show(crops("a") | {"b": None} | crops("c"), PLACEMENT)
    assert side.layer("b") is None
    captions = side.layer("")
    assert list(captions.text.values) == ["a", "c"]
    side.remove()
    assert len(viewer.layers) == 1


def test_update_changes_pixels_in_place(viewer):
    side = SideImages(viewer, "one")
    side.show(crops("a"), PLACEMENT)
    layer = side.layer("a")
    side.update("a", np.ones((1, 64, 64), np.float32))
    side.update("not there", np.ones((1, 64, 64), np.float32))
    assert side.layer("a") is layer
    assert (layer.data == 1).all()


@pytest.mark.viewer
@pytest.mark.parametrize("n_displayed", [2, 3])
def test_new_pixels_are_drawn_also_of_an_image_that_was_hidden(make_napari_viewer, n_displayed):
    viewer = make_napari_viewer(show=True, ndisplay=n_displayed)
    viewer.add_image(np.zeros((3, 100, 80)), **TRANSFORM)
    side = SideImages(viewer, "one")
    side.show(crops("a", "b"), PLACEMENT)
    viewer.reset_view()
    layer = side.layer("a")

    def n_white(value):
        side.update("a", np.full((1, 64, 64), value, np.float32))
        return int((viewer.screenshot(flash=False)[..., :3] == 255).all(axis=2).sum())

    white = n_white(1.0)
    assert white > 100
    assert n_white(0.0) == 0
    layer.visible = False
    assert n_white(1.0) == 0
    layer.visible = True
    assert n_white(1.0) == white
