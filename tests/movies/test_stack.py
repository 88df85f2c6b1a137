"""Movies: what is read, when it is read, and what is said where it can't be."""

from __future__ import annotations

import json
import pickle
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from ome_zarr.format import FormatV04, FormatV05

from napari_cellinterp.errors import CellInterpError, MovieError, TracksError
from napari_cellinterp.movies.metadata import from_multiscale, from_resolution_tags, length_um, time_min
from napari_cellinterp.movies.planes import Planes
from napari_cellinterp.movies.stack import check_labels, movie_from_array, open_labels, open_movie

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message=".*deprecated class Scaler", category=DeprecationWarning)
    from ome_zarr.writer import write_image


@pytest.fixture
def pixels():
    """(T, C, Y, X) uint16, each pixel different."""
    return np.arange(5 * 2 * 12 * 16, dtype=np.uint16).reshape(5, 2, 12, 16)


def assert_same(movie, expected):
    assert movie.data.shape == expected.shape
    assert movie.data.chunksize == (1, 1, *expected.shape[2:])
    np.testing.assert_array_equal(movie.data.compute(), expected)
    last, channel = movie.n_frames - 1, movie.n_channels - 1
    np.testing.assert_array_equal(movie.plane(last, channel), expected[last, channel])


OME = {
    "axes": "TCYX",
    "PhysicalSizeX": 650,
    "PhysicalSizeXUnit": "nm",
    "PhysicalSizeY": 650,
    "PhysicalSizeYUnit": "nm",
    "TimeIncrement": 90,
    "TimeIncrementUnit": "s",
    "Channel": {"Name": ["H2B", "tubulin"]},
}


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"bigtiff": True}, {"tile": (16, 16)}])
def test_ome_tiff(tmp_path, pixels, options):
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, metadata=OME, **options)
    movie = open_movie(tmp_path / "a.ome.tif")
    assert_same(movie, pixels)
    assert movie.pixel_size_um == pytest.approx(0.65)
    assert movie.frame_interval_min == pytest.approx(1.5)
    assert movie.channel_names == ("H2B", "tubulin")
    assert movie.notes == ()
    assert movie.source == tmp_path / "a.ome.tif"
    assert (movie.n_frames, movie.n_channels, movie.height, movie.width) == pixels.shape


@pytest.mark.parametrize("truncate", [False, True], ids=["all pages", "one page, as ImageJ writes above 4 GB"])
@pytest.mark.parametrize("unit", ["um", "micron", "\\u00B5m"])
def test_imagej_hyperstack(tmp_path, pixels, truncate, unit):
    metadata = {"axes": "TCYX", "unit": unit, "finterval": 300.0}
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, imagej=True, resolution=(2, 2), metadata=metadata, truncate=truncate)
    movie = open_movie(path)
    assert_same(movie, pixels)
    assert movie.pixel_size_um == pytest.approx(0.5)
    assert movie.frame_interval_min == pytest.approx(5)


def test_overrides_win_over_the_file(tmp_path, pixels):
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, metadata=OME)
    movie = open_movie(tmp_path / "a.ome.tif", axes="CTYX", pixel_size_um=0.2, frame_interval_min=7)
    assert_same(movie, pixels.swapaxes(0, 1))
    assert (movie.pixel_size_um, movie.frame_interval_min) == (0.2, 7)


def test_unnamed_third_axis_is_time_and_said(tmp_path, pixels):
    tifffile.imwrite(tmp_path / "a.tif", pixels[:, 0])
    movie = open_movie(tmp_path / "a.tif")
    assert_same(movie, pixels[:, :1])
    assert movie.pixel_size_um is None
    assert any("read as time" in note for note in movie.notes)


def test_images_written_one_by_one_are_frames(tmp_path, pixels):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for frame in pixels[:, 0]:
            writer.write(frame, contiguous=False)
    assert_same(open_movie(tmp_path / "a.tif"), pixels[:, :1])


def test_single_image_is_one_frame(tmp_path, pixels):
    tifffile.imwrite(tmp_path / "a.tif", pixels[0, 0])
    assert_same(open_movie(tmp_path / "a.tif"), pixels[:1, :1])


def test_first_series_is_used_and_said(tmp_path, pixels):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(pixels[:, 0], metadata={"axes": "TYX"})
        writer.write(pixels[0, 0, :6], metadata={"axes": "YX"})
    movie = open_movie(tmp_path / "a.tif")
    assert_same(movie, pixels[:, :1])
    assert any("2 image series" in note for note in movie.notes)


def test_z_of_one_is_dropped_and_big_endian_made_native(tmp_path, pixels):
    tifffile.imwrite(tmp_path / "a.tif", pixels[:, None], imagej=True, metadata={"axes": "TZCYX"}, byteorder=">")
    movie = open_movie(tmp_path / "a.tif")
    assert_same(movie, pixels)
    assert movie.plane(0, 0).dtype == np.dtype("uint16")
    assert movie.plane(0, 0).dtype.isnative


def test_bool_becomes_uint8():
    movie = movie_from_array(np.eye(4, dtype=bool))
    assert movie.data.dtype == np.uint8
    assert movie.plane(0, 0).sum() == 4


def test_interleaved_samples_can_be_channels(tmp_path):
    rgb = np.arange(12 * 16 * 3, dtype=np.uint8).reshape(12, 16, 3)
    tifffile.imwrite(tmp_path / "a.tif", rgb, photometric="rgb")
    assert_same(open_movie(tmp_path / "a.tif", axes="YXC"), rgb.transpose(2, 0, 1)[None])


def write_frames(folder, frames, name="cells_s2_t{}.tif", numbers=None):
    folder.mkdir()
    for number, frame in zip(numbers or range(8, 8 + len(frames)), frames, strict=True):
        tifffile.imwrite(folder / name.format(number), frame)
    return folder


def test_files_of_a_folder_are_frames_by_their_number(tmp_path, pixels):
    folder = write_frames(tmp_path / "a", pixels[:, 0])  # t10 comes after t9
    (folder / "._cells_s2_t9.tif").write_bytes(b"left by a Mac")
    (folder / "notes.txt").write_text("not an image")
    movie = open_movie(folder)
    assert_same(movie, pixels[:, :1])
    assert movie.source == folder
    assert movie.notes == ("5 TIFF files, cells_s2_t8.tif to cells_s2_t12.tif, were read as frames.",)
    assert_same(pickle.loads(pickle.dumps(movie)), pixels[:, :1])
    labels = open_labels(folder, movie)
    np.testing.assert_array_equal(labels.compute(), pixels[:, 0])


def test_files_of_a_folder_may_have_channels_and_a_calibration(tmp_path, pixels):
    folder = tmp_path / "a"
    folder.mkdir()
    for t, frame in enumerate(pixels):
        tifffile.imwrite(folder / f"{t}.ome.tif", frame, metadata=OME | {"axes": "CYX"})
    movie = open_movie(folder)
    assert_same(movie, pixels)
    assert movie.pixel_size_um == pytest.approx(0.65)
    assert movie.channel_names == ("H2B", "tubulin")


def test_more_frames_than_files_that_may_be_open(tmp_path):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    frames = np.arange(200, dtype=np.uint16)[:, None, None] * np.ones((4, 6), np.uint16)
    folder = write_frames(tmp_path / "a", frames)
    n_open = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 100
    resource.setrlimit(resource.RLIMIT_NOFILE, (n_open + 50, hard))
    try:
        np.testing.assert_array_equal(open_movie(folder).data[:, 0].compute(), frames)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([0, 10, 20, 40, 50], "between t20.tif and t40.tif;"),
        ([0, 1, 5, 6, 9, 10, 11], "between t1.tif and t5.tif, and in 1 more places;"),
        ([202001010000, 202001010931, 202001011805], None),
    ],
)
def test_missing_files_are_told(tmp_path, numbers, expected):
    frames = np.zeros((len(numbers), 4, 4), np.uint8)
    notes = open_movie(write_frames(tmp_path / "a", frames, "t{}.tif", numbers)).notes[1:]
    assert all("missing" in note for note in notes)
    assert [expected in note for note in notes] == ([] if expected is None else [True])


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ([], "neither Zarr metadata nor TIFF files"),
        (
            ["cells.tif", "masks.tif"],
            r"2 TIFF files in .* \(cells.tif, masks.tif\) aren't named alike but for a number",
        ),
        (["t0_c0.tif", "t0_c1.tif", "t1_c0.tif", "t1_c1.tif"], r"t1_c0.tif, ...\) differ in 2 numbers: which of them"),
        (["t1.tif", "t01.tif"], "have the same number more than once"),
        (["cells_ch1.tif", "cells_ch2.tif"], "seem to be channels or planes"),
        (["Z0.tif", "Z1.tif"], "seem to be channels or planes"),
    ],
)
def test_a_folder_that_is_no_movie(tmp_path, names, problem):
    for name in names:
        tifffile.imwrite(tmp_path / name, np.zeros((4, 4), np.uint8))
    with pytest.raises(MovieError, match=problem + r".* Give one TIFF file, or a folder"):
        open_movie(tmp_path)


@pytest.mark.parametrize(
    ("odd", "problem"),
    [
        (np.zeros((4, 5), np.uint16), r"t3.tif has the shape 4 x 5, and the first frame 4 x 4.* take out"),
        (np.zeros((4, 4), np.uint8), r"t3.tif holds numbers of type uint8, and the first frame uint16"),
        (np.zeros((7, 9, 9), np.uint16), r"t3.tif is more than a frame: it has the axes QYX and the shape 7 x 9 x 9"),
    ],
)
def test_a_file_that_is_no_frame_is_named_at_once(tmp_path, odd, problem):
    folder = write_frames(tmp_path / "a", np.zeros((2, 4, 4), np.uint16), "t{}.tif", [1, 2])
    tifffile.imwrite(folder / "t3.tif", odd)
    with pytest.raises(MovieError, match=problem):
        open_movie(folder)


def test_a_batch_is_no_channel(tmp_path):
    folder = write_frames(tmp_path / "a", np.zeros((3, 4, 4), np.uint8), "patch{}.tif")
    assert open_movie(folder).n_frames == 3


def test_a_frame_that_goes_away_is_named(tmp_path, pixels):
    movie = open_movie(write_frames(tmp_path / "a", pixels[:, 0]))
    (tmp_path / "a" / "cells_s2_t9.tif").unlink()
    with pytest.raises(MovieError, match=r"cells_s2_t9\.tif"):
        movie.plane(1, 0)
    assert movie.plane(2, 0).shape == (12, 16)


@pytest.mark.parametrize("fmt", [FormatV04(), FormatV05()], ids=["v0.4", "v0.5"])
def test_ome_zarr(tmp_path, pixels, fmt):
    path = tmp_path / "a.zarr"
    scale = {"t": 120.0, "c": 1.0, "y": 0.3, "x": 0.3}
    units = {"t": "second", "y": "micrometer", "x": "micrometer"}
    group = zarr.open_group(path, mode="w", zarr_format=2 if fmt.version == "0.4" else 3)
    write_image(pixels, group, axes="tcyx", scale=scale, axes_units=units, scale_factors=(2,), fmt=fmt)
    movie = open_movie(path)
    assert_same(movie, pixels)
    assert movie.pixel_size_um == pytest.approx(0.3)
    assert movie.frame_interval_min == pytest.approx(2)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_plain_zarr_array(tmp_path, pixels, zarr_format):
    array = zarr.create_array(tmp_path / "a", shape=(5, 12, 16), dtype="uint16", zarr_format=zarr_format)
    array[:] = pixels[:, 0]
    movie = open_movie(tmp_path / "a")
    assert_same(movie, pixels[:, :1])
    assert any("read as TYX" in note for note in movie.notes)


def test_named_dimensions_of_a_zarr_array(tmp_path, pixels):
    names = ("channel", "time", "y", "x")
    array = zarr.create_array(tmp_path / "a", shape=(2, 5, 12, 16), dtype="uint16", dimension_names=names)
    array[:] = pixels.swapaxes(0, 1)
    assert_same(open_movie(tmp_path / "a"), pixels)


@pytest.mark.parametrize(
    "wrap", [np.asarray, lambda a: da.from_array(a, chunks=3), zarr.array], ids=["np", "da", "zarr"]
)
@pytest.mark.parametrize(
    ("axes", "order"), [(None, (0, 1, 2, 3)), ("CTYX", (1, 0, 2, 3)), ("XYCT", (3, 2, 1, 0)), ("YXTC", (2, 3, 0, 1))]
)
def test_movie_from_array(pixels, wrap, axes, order):
    assert_same(movie_from_array(wrap(pixels.transpose(order)), axes=axes), pixels)


def test_slices_reach_the_planes_as_numpy_would(pixels):
    data = movie_from_array(pixels).data
    for index in [(2, 1), (slice(1, 4), 0, slice(2, 9), 3), ([0, 3],), (slice(None, None, 2), slice(1, 2))]:
        np.testing.assert_array_equal(data[index].compute(), pixels[index])


# when it is read


def test_opening_reads_no_plane_and_a_plane_only_itself(tmp_path, pixels, monkeypatch):
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, metadata=OME, compression="zlib")
    reads = []
    read = Planes.read
    monkeypatch.setattr(Planes, "read", lambda self, t, c: reads.append((t, c)) or read(self, t, c))
    movie = open_movie(tmp_path / "a.ome.tif")
    assert reads == []
    movie.data[3, 1, 2:4].compute()
    assert reads == [(3, 1)]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system with sparse files")
def test_a_movie_larger_than_memory_opens(tmp_path):
    path, shape = tmp_path / "a.tif", (20_000, 2048, 2048)
    tifffile.imwrite(path, shape=shape, dtype=np.uint16, bigtiff=True, truncate=True, metadata={"axes": "TYX"})
    movie = open_movie(path)
    assert movie.data.nbytes > 150e9
    assert not movie.plane(19_999, 0).any()


@pytest.mark.parametrize("name", ["a.tif", "a.zarr"])
def test_a_movie_travels_to_another_process(tmp_path, pixels, name):
    if name == "a.tif":
        tifffile.imwrite(tmp_path / name, pixels, imagej=True, metadata={"axes": "TCYX"})
    else:
        zarr.create_array(tmp_path / name, data=pixels)
    movie = pickle.loads(pickle.dumps(open_movie(tmp_path / name)))
    assert_same(movie, pixels)


def test_a_replaced_array_is_what_plane_reads(pixels):
    movie = movie_from_array(pixels)
    changed = replace(movie, data=movie.data + 1)
    np.testing.assert_array_equal(changed.plane(1, 1), pixels[1, 1] + 1)


# what is said where it can't be read


def fails(path, *words, **options):
    with pytest.raises(MovieError) as caught:
        open_movie(path, **options)
    for word in words:
        assert word in str(caught.value)
    assert caught.value.advice


def test_missing_file(tmp_path):
    fails(tmp_path / "none.tif", "none.tif")


def test_folder_that_is_no_zarr(tmp_path, pixels):
    tifffile.imwrite(tmp_path / "a.tif", pixels[0, 0])
    fails(tmp_path, "holds one TIFF file, a.tif", "Give that file")


def test_text_named_tif(tmp_path):
    (tmp_path / "a.tif").write_text("not an image")
    fails(tmp_path / "a.tif", "a.tif", "TIFF")


def test_empty_file(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"")
    fails(tmp_path / "a.tif", "a.tif")


@pytest.mark.parametrize("suffix", [".nd2", ".czi", ".png", ""])
def test_other_formats(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"x")
    fails(path, "isn't supported", "OME-TIFF")


WRITERS = {
    "ome": lambda path, x: tifffile.imwrite(path, x, ome=True, metadata={"axes": "TCYX"}),
    "ome compressed": lambda path, x: tifffile.imwrite(
        path, x, ome=True, compression="zlib", metadata={"axes": "TCYX"}
    ),
    "imagej": lambda path, x: tifffile.imwrite(path, x, imagej=True, metadata={"axes": "TCYX"}),
    "imagej one page": lambda path, x: tifffile.imwrite(path, x, imagej=True, metadata={"axes": "TCYX"}, truncate=True),
    "plain": lambda path, x: tifffile.imwrite(path, x[:, 0]),
    "plain one page": lambda path, x: tifffile.imwrite(path, x[:, 0], truncate=True),
    "plain compressed": lambda path, x: tifffile.imwrite(path, x[:, 0], compression="zlib"),
    "no metadata": lambda path, x: tifffile.imwrite(path, x[:, 0], metadata=None),
    "single": lambda path, x: tifffile.imwrite(path, x[0, 0]),
}


@pytest.mark.parametrize("kept", [0.97, 0.7, 0.4, 0.1])
@pytest.mark.parametrize("writer", WRITERS)
def test_truncated_tiff_is_found_when_it_is_opened(tmp_path, writer, kept):
    path = tmp_path / "a.tif"
    noise = np.random.default_rng(0).integers(0, 60_000, (5, 2, 64, 64)).astype(np.uint16)
    WRITERS[writer](path, noise)
    open_movie(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    fails(path, "a.tif")


def test_a_plane_that_is_damaged_later_is_named(tmp_path):
    path = tmp_path / "a.tif"
    noise = np.random.default_rng(0).integers(0, 60_000, (3, 64, 64)).astype(np.uint16)
    tifffile.imwrite(path, noise, compression="zlib", photometric="minisblack", metadata={"axes": "TYX"})
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[1].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[offset : offset + 200] = bytes(200)
    path.write_bytes(content)
    movie = open_movie(path)
    with pytest.raises(MovieError, match="Frame 1, channel 0"):
        movie.plane(1, 0)
    with pytest.raises(MovieError, match="Frame 1, channel 0"):
        movie.data.sum().compute()
    np.testing.assert_array_equal(movie.plane(2, 0), noise[2])


def test_rgb(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((12, 16, 3), np.uint8), photometric="rgb")
    fails(tmp_path / "a.tif", "RGB", "grey-scale")


def test_three_frames_that_look_like_rgb(tmp_path, pixels):
    frames = np.ascontiguousarray(pixels[:3, 0])
    tifffile.imwrite(tmp_path / "a.tif", frames, photometric="rgb", planarconfig="separate")
    fails(tmp_path / "a.tif", "CYX", "if they are frames, TYX")
    assert_same(open_movie(tmp_path / "a.tif", axes="TYX"), pixels[:3, :1])


def test_z_stack(tmp_path, pixels):
    tifffile.imwrite(tmp_path / "a.tif", pixels[:, 0], imagej=True, metadata={"axes": "ZYX"})
    fails(tmp_path / "a.tif", "5 Z planes", "TYX")
    assert_same(open_movie(tmp_path / "a.tif", axes="tyx"), pixels[:, :1])


@pytest.mark.parametrize("axes", ["YX", "TTYX", "TQX", "TCY", "TZCYX", "TYXQ"])
def test_axes_that_cannot_be(tmp_path, pixels, axes):
    tifffile.imwrite(tmp_path / "a.tif", pixels[:, 0])
    fails(tmp_path / "a.tif", "5 x 12 x 16", axes=axes)


@pytest.mark.parametrize("options", [{"pixel_size_um": 0}, {"pixel_size_um": float("nan")}, {"frame_interval_min": -1}])
def test_impossible_calibration(tmp_path, pixels, options):
    tifffile.imwrite(tmp_path / "a.tif", pixels[0, 0])
    fails(tmp_path / "a.tif", "impossible", **options)


@pytest.mark.parametrize("dtype", ["complex64", "S3", "datetime64[s]"])
def test_numbers_that_are_no_intensities(dtype):
    with pytest.raises(MovieError, match="type"):
        movie_from_array(np.zeros((3, 4, 4), dtype))


@pytest.mark.parametrize("shape", [(), (5,), (1, 1, 1, 4, 4), (0, 4, 4), (3, 0, 4)])
def test_arrays_that_are_no_movie(shape):
    with pytest.raises(MovieError):
        movie_from_array(np.zeros(shape))


def damage(path, change):
    metadata = json.loads((path / "zarr.json").read_text())
    change(metadata)
    (path / "zarr.json").write_text(json.dumps(metadata))


DAMAGES = {
    "cut": lambda path: (path / "zarr.json").write_text((path / "zarr.json").read_text()[:40]),
    "empty": lambda path: (path / "zarr.json").write_text(""),
    "array gone": lambda path: damage(
        path, lambda m: m["attributes"]["ome"]["multiscales"][0]["datasets"][0].update(path="9")
    ),
    "no datasets": lambda path: damage(path, lambda m: m["attributes"]["ome"]["multiscales"][0].pop("datasets")),
    "axes lost": lambda path: damage(path, lambda m: m["attributes"]["ome"]["multiscales"][0]["axes"].pop()),
    "array metadata cut": lambda path: next(path.glob("*/zarr.json")).write_text("{"),
    "array metadata gone": lambda path: next(path.glob("*/zarr.json")).unlink(),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_half_written_ome_zarr(tmp_path, pixels, name):
    path = tmp_path / "a.zarr"
    write_image(pixels, zarr.open_group(path, mode="w"), axes="tcyx", scale_factors=(), fmt=FormatV05())
    open_movie(path)
    DAMAGES[name](path)
    fails(path, "a.zarr")


def test_zarr_group_without_or_with_several_arrays(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    fails(tmp_path / "a.zarr", "no array")
    for name in "pq":
        group.create_array(name, shape=(3, 4, 4), dtype="u1")
    fails(tmp_path / "a.zarr", "2 arrays", "p, q")


def test_zero_size_zarr(tmp_path):
    zarr.create_array(tmp_path / "a", shape=(0, 4, 4), chunks=(1, 4, 4), dtype="u1")
    fails(tmp_path / "a", "0 x 4 x 4")


def test_channels_and_frames_that_do_not_exist(pixels):
    movie = movie_from_array(pixels)
    movie.check_channel(1)
    with pytest.raises(MovieError, match=r"channel 7 .* 2 channels \(0 to 1\)"):
        movie.check_channel(7)
    with pytest.raises(MovieError, match="channel -1"):
        movie.plane(0, -1)
    with pytest.raises(MovieError, match=r"frame 5 .* 5 frames \(0 to 4\)"):
        movie.plane(5, 0)


# units


@pytest.mark.parametrize(
    ("value", "unit", "um"),
    [
        (650, "nm", 0.65),
        (0.5, "\u00b5m", 0.5),
        (0.5, "\u03bcm", 0.5),
        ("0.5", "micron", 0.5),
        (1, "inch", 25_400),
        (1e-3, "mm", 1),
        (1e-4, "cm", 1),
        (2, "pixel", None),
        (2, None, None),
        (0, "um", None),
        (-1, "um", None),
        ("nan", "um", None),
        (None, "um", None),
    ],
)
def test_lengths(value, unit, um):
    assert length_um(value, unit) == (None if um is None else pytest.approx(um))


@pytest.mark.parametrize(
    ("value", "unit", "minutes"), [(90, "s", 1.5), (6e4, "ms", 1), (2, "hour", 120), (1, "x", None)]
)
def test_times(value, unit, minutes):
    assert time_min(value, unit) == (None if minutes is None else pytest.approx(minutes))


def test_only_physical_resolutions_count():
    assert from_resolution_tags((1, 1), 1).pixel_size_um is None
    assert from_resolution_tags((20_000, 20_000), 3).pixel_size_um == pytest.approx(0.5)
    printing = from_resolution_tags((300, 300), 2)
    assert printing.pixel_size_um is None
    assert "printing" in printing.notes[0]


def test_scales_of_both_levels_multiply_and_need_a_unit():
    multiscale = {
        "axes": [{"name": "y", "unit": "nanometer"}, {"name": "x", "unit": "nanometer"}],
        "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [2, 2]}]}],
        "coordinateTransformations": [{"type": "scale", "scale": [100, 100]}],
    }
    assert from_multiscale(multiscale, "YX", {}).pixel_size_um == pytest.approx(0.2)
    assert from_multiscale({**multiscale, "axes": ["y", "x"]}, "YX", {}).pixel_size_um is None


def test_oblong_pixels_are_said(tmp_path, pixels):
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, metadata={**OME, "PhysicalSizeY": 900})
    assert any("0.65 um wide and 0.9 um high" in note for note in open_movie(tmp_path / "a.ome.tif").notes)


# labels


def test_labels_that_fit(tmp_path, pixels):
    movie = movie_from_array(pixels)
    labels = np.arange(5 * 12 * 16, dtype=np.int32).reshape(5, 12, 16)
    tifffile.imwrite(tmp_path / "l.tif", labels)
    opened = open_labels(tmp_path / "l.tif", movie)
    assert opened.chunksize == (1, 12, 16)
    np.testing.assert_array_equal(opened.compute(), labels)
    assert check_labels(labels[0], movie_from_array(pixels[:1])).shape == (1, 12, 16)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.zeros((4, 12, 16), np.uint8), ["4 frames", "5 frames"]),
        (np.zeros((5, 12, 15), np.uint8), ["12 x 15", "12 x 16"]),
        (np.zeros((5, 12, 16), np.float32), ["float32", "integers"]),
        (np.zeros((5, 12, 16), bool), ["bool", "label it first"]),
        (np.zeros((5, 2, 12, 16), np.uint8), ["2"]),
    ],
)
def test_labels_that_do_not_fit(tmp_path, pixels, labels, words):
    movie = movie_from_array(pixels)
    zarr.create_array(tmp_path / "l.zarr", data=labels)
    for attempt in (lambda: open_labels(tmp_path / "l.zarr", movie), lambda: check_labels(labels, movie)):
        with pytest.raises(TracksError) as caught:
            attempt()
        assert all(word in str(caught.value) for word in words)


def test_labels_that_cannot_be_opened(tmp_path, pixels):
    with pytest.raises(TracksError, match=r"label image .*none\.tif"):
        open_labels(tmp_path / "none.tif", movie_from_array(pixels))


# real files


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("cancer_migration/movie.tif", (48, 1, 130, 130)),
        ("laptrack_crowded/labels.tif", (6, 1, 200, 200)),
        ("cecog_frame/xyc_8bit__tub_h2b_cecog_battery.tif", (1, 2, 1040, 1392)),
        ("celltk_scale/movie.tif", (10, 1, 1080, 1080)),
    ],
)
def test_real_movies(real_data, name, shape):
    movie = open_movie(real_data / name)
    assert movie.data.shape == shape
    assert movie.pixel_size_um is None
    assert movie.plane(shape[0] - 1, shape[1] - 1).any()


def test_real_labels(real_data):
    movie = open_movie(real_data / "cancer_migration/movie.tif")
    assert open_labels(real_data / "cancer_migration/labels.tif", movie)[0].compute().max() > 5
    with pytest.raises(TracksError, match="48 frames"):
        open_labels(real_data / "laptrack_crowded/labels.tif", movie)
    assert issubclass(TracksError, CellInterpError)
