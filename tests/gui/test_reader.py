"""Files become lazy layers with scale, units and axis labels; damaged ones a clear error."""

import warnings

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr

from napari_cellinterp.errors import MovieError
from napari_cellinterp.gui.reader import get_reader, read_layers
from napari_cellinterp.gui.samples import sample_image, sample_image_and_labels

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # ome-zarr uses its own deprecated class while it is imported
    from ome_zarr.writer import write_image

OME = {
    "axes": "TCYX",
    "PhysicalSizeX": 0.37,
    "PhysicalSizeXUnit": "µm",
    "PhysicalSizeY": 0.37,
    "PhysicalSizeYUnit": "µm",
    "TimeIncrement": 360,
    "TimeIncrementUnit": "s",
    "Channel": {"Name": ["H2B", "tubulin"]},
}


@pytest.fixture
def pixels():
    return np.random.default_rng(3).integers(0, 4000, (4, 2, 24, 32), np.uint16)


def test_ome_tiff(tmp_path, pixels):
    path = tmp_path / "cells.ome.tif"
    tifffile.imwrite(path, pixels, metadata=OME)
    layers = get_reader(str(path))(str(path))
    assert [kind for _, _, kind in layers] == ["image", "image"]
    assert [options["name"] for _, options, _ in layers] == ["cells H2B", "cells tubulin"]
    for channel, (data, options, _) in enumerate(layers):
        assert isinstance(data, da.Array)
        np.testing.assert_array_equal(data.compute(), pixels[:, channel])
        assert options["scale"] == pytest.approx((6, 0.37, 0.37))
        assert options["units"] == ("min", "um", "um")
        assert options["axis_labels"] == ("t", "y", "x")
        assert options["contrast_limits"][0] < options["contrast_limits"][1]


def test_a_folder_of_frames(tmp_path, pixels, notices):
    folder = tmp_path / "cells"
    folder.mkdir()
    for number in (1, 2, 4, 5):
        tifffile.imwrite(folder / f"t{number}.tif", pixels[number % 4, 0])
    ((data, options, _),) = get_reader(str(folder))(str(folder))
    np.testing.assert_array_equal(data.compute(), pixels[[1, 2, 0, 1], 0])
    assert options["name"] == "cells"
    assert any("missing between t2.tif and t4.tif" in note for note in notices())


def test_ome_zarr(tmp_path, pixels):
    path = tmp_path / "cells.ome.zarr"
    scale = {"t": 360.0, "c": 1.0, "y": 0.37, "x": 0.37}
    units = {"t": "second", "y": "micrometer", "x": "micrometer"}
    group = zarr.open_group(path, mode="w")
    write_image(pixels, group, axes="tcyx", scale=scale, axes_units=units, scale_factors=(2,))
    layers = get_reader([str(path)])([str(path)])
    assert len(layers) == 2
    np.testing.assert_array_equal(layers[1][0].compute(), pixels[:, 1])
    assert layers[0][1]["scale"] == pytest.approx((6, 0.37, 0.37))
    assert layers[0][1]["units"] == ("min", "um", "um")


def test_without_calibration(tmp_path, pixels):
    tifffile.imwrite(tmp_path / "plain.tif", pixels[:, 0], photometric="minisblack", metadata={"axes": "TYX"})
    ((data, options, _),) = read_layers(str(tmp_path / "plain.tif"))
    assert data.shape == (4, 24, 32)
    assert options["units"] == ("pixel",) * 3
    assert options["scale"] == (1, 1, 1)


@pytest.mark.parametrize(("axes", "n"), [("ZYX", 3), ("TZYX", 4)])
def test_z_stack_opens_as_it_is(tmp_path, pixels, axes, n):
    path = tmp_path / "stack.ome.tif"
    given = pixels if n == 4 else pixels[:, 0]
    tifffile.imwrite(path, given, metadata={**OME, "axes": axes, "Channel": {"Name": ["H2B"]}})
    ((data, options, kind),) = read_layers(str(path))
    assert kind == "image"
    assert "".join(options["axis_labels"]) == axes.lower()
    assert options["scale"][-2:] == pytest.approx([0.37, 0.37])
    np.testing.assert_array_equal(data.compute(), given)


def test_colour_image_opens_as_it_is(tmp_path):
    photo = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    tifffile.imwrite(tmp_path / "photo.tif", photo, photometric="rgb")
    ((data, options, _),) = read_layers(str(tmp_path / "photo.tif"))
    assert options["rgb"]
    np.testing.assert_array_equal(data.compute(), photo)


def test_truncated(tmp_path, pixels):
    path = tmp_path / "cut.ome.tif"
    tifffile.imwrite(path, pixels, metadata=OME)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MovieError, match=r"cut\.ome\.tif"):
        get_reader(str(path))(str(path))


def test_text_named_tif(tmp_path):
    path = tmp_path / "notes.tif"
    path.write_text("not an image")
    with pytest.raises(MovieError, match=r"notes\.tif"):
        read_layers(str(path))


def test_empty_zarr_folder(tmp_path):
    path = tmp_path / "empty.zarr"
    path.mkdir()
    with pytest.raises(MovieError, match=r"empty\.zarr"):
        get_reader(str(path))(str(path))


def test_missing():
    with pytest.raises(MovieError, match="no file"):
        read_layers("nowhere.tif")


def test_not_ours(tmp_path):
    assert get_reader("cells.png") is None
    assert get_reader(["a.tif", "b.tif"]) is None
    assert get_reader(str(tmp_path)) is None
    for name in ("cells.tif", "masks.tif"):
        tifffile.imwrite(tmp_path / name, np.zeros((4, 4), np.uint8))
    assert get_reader(str(tmp_path)) is None


def test_sample():
    ((data, options, kind),) = sample_image()
    assert kind == "image"
    assert data.ndim == 3
    assert options["units"] == ("min", "um", "um")
    layers = sample_image_and_labels()
    assert [kind for _, _, kind in layers] == ["image", "labels"]
    assert layers[0][0].shape == layers[1][0].shape
    assert layers[0][1]["scale"] == layers[1][1]["scale"]
