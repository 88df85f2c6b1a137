"""Crops in blocks, one ahead, and from files."""

from __future__ import annotations

import itertools
import threading
import time
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import tifffile
from skimage.io import imsave

from napari_cellinterp.errors import PatchesError
from napari_cellinterp.movies import crops as crops_module
from napari_cellinterp.movies.crops import crop_blocks, in_threads, read_crops
from napari_cellinterp.movies.patches import STATISTICS, Patches, crop_frame, normalise
from napari_cellinterp.movies.stack import movie_from_array
from napari_cellinterp.movies.track_table import TrackTable

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("block", [1, 4, 7, 100])
def test_blocks_hold_all_crops_in_the_order_of_the_table(monkeypatch, block):
    monkeypatch.setattr(crops_module, "BLOCK", block)
    rng = np.random.default_rng(0)
    movie = rng.integers(0, 999, (5, 2, 80, 90)).astype(np.uint16)
    frames = np.repeat([0, 1, 3, 4], [9, 1, 5, 4])
    rows = pd.DataFrame({"track_id": np.arange(1, 20), "frame": frames, "y": rng.uniform(0, 79, 19), "x": 40.0})
    table = TrackTable.from_rows(rows)
    blocks = list(crop_blocks(movie_from_array(movie), table, range(2), 0.8))
    apart = [normalise(crop_frame(movie[t], g["y"], g["x"], 0.8)) for t, g in table.rows.groupby("frame")]
    together, expected = Patches.concatenate([patches for _, patches in blocks]), Patches.concatenate(apart)
    for name in ("x", *STATISTICS):
        np.testing.assert_array_equal(getattr(together, name), getattr(expected, name))
    sizes = [len(patches) for _, patches in blocks]
    assert all(size == block for size in sizes[:-1])
    assert 0 < sizes[-1] <= block
    assert [frame for frame, _ in blocks] == [table.rows["frame"].iloc[end - 1] for end in np.cumsum(sizes)]


@pytest.mark.parametrize("n_rooms", [1, 2, 9])
def test_rooms_are_filled_in_turns(monkeypatch, n_rooms):
    monkeypatch.setattr(crops_module, "BLOCK", 4)
    movie = movie_from_array(np.random.default_rng(1).random((3, 80, 90)))
    rows = pd.DataFrame(
        {"track_id": range(1, 19), "frame": np.repeat([0, 1, 2], 6), "y": 40.0, "x": np.arange(20, 56, 2)}
    )
    table = TrackTable.from_rows(rows)
    kept = [patches for _, patches in crop_blocks(movie, table, range(1), 1.0)]
    seen = []
    for (_, patches), expected in zip(crop_blocks(movie, table, range(1), 1.0, n_rooms), kept, strict=True):
        np.testing.assert_array_equal(patches.x, expected.x)
        seen.append(patches.x)
    assert len(seen) == 5
    for i, j in itertools.combinations(range(5), 2):
        assert np.shares_memory(seen[i], seen[j]) == ((j - i) % n_rooms == 0)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_threads_give_all_results_in_order(n_threads):
    threads = set()

    def work(i):
        threads.add(threading.current_thread())
        time.sleep(0.002 * (5 - i % 5))
        return 10 * i

    assert list(in_threads(work, iter(range(20)), n_threads)) == list(range(0, 200, 10))
    assert threading.current_thread() not in threads
    assert list(in_threads(work, iter([]), n_threads)) == []


def test_few_items_are_under_way_and_none_once_it_is_closed():
    made = []
    results = in_threads(lambda i: i, (made.append(i) or i for i in range(100)), 2)
    assert next(results) == 0
    assert made == [0, 1, 2]
    results.close()
    assert made == [0, 1, 2]


@pytest.mark.parametrize("where", ["making", "work"])
def test_an_error_in_a_thread_or_of_the_maker_reaches_the_user(where):
    def made():
        yield 1
        if where == "making":
            raise RuntimeError("no more")
        yield 2

    def work(i):
        if i == 2:
            raise RuntimeError("no more")
        return i

    with pytest.raises(RuntimeError, match="no more"):
        list(in_threads(work, made(), 1))


def test_npz_files_and_folders(tmp_path):
    x = np.random.default_rng(0).integers(0, 255, (3, 20, 24)).astype(np.uint8)
    np.savez(tmp_path / "crops.npz", x=x, y=[1])
    np.testing.assert_array_equal(read_crops(tmp_path / "crops.npz"), x)
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, image in zip(("b.tif", "c.png", "a.TIFF"), x, strict=True):
        write = imsave if name.endswith("png") else tifffile.imwrite
        write(folder / name, image)
    (folder / "notes.txt").write_text("not an image")
    np.testing.assert_array_equal(read_crops(str(folder)), x[[2, 0, 1]])


def damaged_tiff(folder: Path) -> Path:
    tifffile.imwrite(folder / "a.tif", np.zeros((200, 200), np.uint8))
    (folder / "a.tif").write_bytes((folder / "a.tif").read_bytes()[:100])
    return folder


def no_images(folder: Path) -> Path:
    (folder / "a.txt").write_text("x")
    return folder


def of_two_sizes(folder: Path) -> Path:
    for side in (20, 21):
        tifffile.imwrite(folder / f"{side}.tif", np.zeros((side, side), np.uint8))
    return folder


def in_colour(folder: Path) -> Path:
    imsave(folder / "a.png", np.zeros((20, 20, 3), np.uint8), check_contrast=False)
    return folder


def damaged_image(folder: Path) -> Path:
    (folder / "a.png").write_bytes(b"no image")
    return folder


def without_x(folder: Path) -> Path:
    np.savez(folder / "a.npz", crops=np.zeros(3), other=np.zeros(3))
    return folder / "a.npz"


def with_pickles(folder: Path) -> Path:
    np.savez(folder / "a.npz", x=np.array([{}, None], object), allow_pickle=True)
    return folder / "a.npz"


def text(folder: Path) -> Path:
    (folder / "a.npz").write_text("not an archive")
    return folder / "a.npz"


def truncated(folder: Path) -> Path:
    np.savez(folder / "a.npz", x=np.arange(10_000))
    (folder / "a.npz").write_bytes((folder / "a.npz").read_bytes()[:5000])
    return folder / "a.npz"


def another_archive(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "a.npz", "w") as archive:
        archive.writestr("x", "not an array")
    return folder / "a.npz"


def npy(folder: Path) -> Path:
    np.save(folder / "a.npy", np.zeros((3, 20, 20)))
    return folder / "a.npy"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: folder / "nonesuch.npz", "There is no file .*nonesuch"),
        (no_images, "no TIFF or PNG images"),
        (of_two_sizes, r"21\.tif has shape \(21, 21\); 20\.tif has \(20, 20\)"),
        (in_colour, r"a\.png has shape \(20, 20, 3\)"),
        (damaged_image, r"a\.png can't be read as an image"),
        (damaged_tiff, r"a\.tif can't be read as an image"),
        (without_x, "no array x; it has: crops, other"),
        (with_pickles, "can't be read"),
        (text, "can't be read"),
        (truncated, "can't be read"),
        (another_archive, "x in .* is no array"),
        (npy, "can't be read"),
    ],
)
def test_what_holds_no_crops_is_an_error_that_says_so(tmp_path, make, said):
    with pytest.raises(PatchesError, match=said) as caught:
        read_crops(make(tmp_path))
    assert caught.value.advice
