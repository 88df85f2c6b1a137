"""Nuclei that are found, against true and given masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from napari_cellinterp.config import NucleiConfig
from napari_cellinterp.movies.nuclei import diameter_of, estimate_diameter, find_nuclei
from napari_cellinterp.movies.synthetic import Culture, Optics, simulate_scene

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = NucleiConfig()
EASY = Culture(
    diameter_px=29, diameter_sd=0.1, brightness_sd=0.2, elongation=1.2, texture=0.12, lobes=0.02, density=0.35,
    condensation=2.0, plate_scale=1.0,
)  # fmt: skip
CLEAR = Optics(
    blur_px=1.0, haze=0.1, background=0.2, gradient=0.3, photons=200, read_noise=0.02, resampled_blur_px=0,
    saturation=np.inf,
)  # fmt: skip


def easy_scene(seed: int = 0, zoom: float = 1.0, side: int = 400, states=((0, 0.9), (2, 0.1))):
    rng = np.random.default_rng(seed)
    shape = (round(side * zoom),) * 2
    return simulate_scene(rng, shape=shape, zoom=zoom, culture=EASY, optics=CLEAR, states=dict(states))


def f1(found: np.ndarray, true: np.ndarray, min_area: float = 0) -> float:
    """F1 of nuclei matched at an overlap (intersection over union) of more than a half; small true ones don't count."""
    both = np.zeros((found.max() + 1, true.max() + 1), np.int64)
    np.add.at(both, (found.ravel(), true.ravel()), 1)
    area_found, area_true = both.sum(axis=1), both.sum(axis=0)
    overlap = both / np.maximum(area_found[:, None] + area_true - both, 1)
    matched = (overlap[1:, 1:] > 0.5).any(axis=0)
    wanted = area_true[1:] > min_area
    small = (overlap[1:, 1:] > 0.5)[:, ~wanted].any(axis=1)
    n_found = (area_found[1:] > 0).sum() - small.sum()
    return 2 * (matched & wanted).sum() / (n_found + wanted.sum())


def test_the_measure_itself():
    true = np.zeros((30, 30), int)
    true[2:10, 2:10], true[15:25, 15:25] = 1, 2
    assert f1(true, true) == 1
    assert f1(np.where(true == 1, 1, 0), true) == pytest.approx(2 / 3)
    halved = true.copy()
    halved[15:20, 15:25] = 3
    assert f1(halved, true) == pytest.approx(2 / 5)
    assert f1(np.zeros_like(true), true) == 0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_simulated_nuclei_are_found(seed):
    scene = easy_scene(seed)
    found = find_nuclei(scene.image, CONFIG)
    assert found.dtype == np.int32
    assert found.shape == scene.image.shape
    assert sorted(np.unique(found)) == list(range(found.max() + 1))
    assert f1(found, scene.labels, min_area=80) >= 0.85


@pytest.mark.parametrize("zoom", [0.6, 1.5])
def test_lengths_follow_the_scale(zoom):
    scene = easy_scene(3, zoom)
    assert f1(find_nuclei(scene.image, CONFIG), scene.labels, min_area=80 * zoom**2) >= 0.85
    assert estimate_diameter(scene.image, CONFIG) == pytest.approx(29 * zoom, rel=0.15)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_the_median_diameter_is_measured(seed):
    assert estimate_diameter(easy_scene(seed, states=((0, 1.0),)).image, CONFIG) == pytest.approx(29, rel=0.1)


@pytest.mark.parametrize(("gain", "offset"), [(100, 0), (1e-3, 0), (3.7, 250), (2000, -150), (1, 1e4)])
def test_gain_and_offset_of_the_camera_change_nothing(gain, offset):
    image = easy_scene(1, side=250).image.astype(np.float64)
    before, after = find_nuclei(image, CONFIG), find_nuclei(image * gain + offset, CONFIG)
    assert before.max() == after.max() > 20
    assert (before != after).mean() < 2e-3


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_every_type_of_pixel_will_do(dtype):
    scene = easy_scene(4, side=250)
    image = np.clip(scene.image * 40 + 20, 0, 255).astype(dtype)
    assert f1(find_nuclei(image, CONFIG), scene.labels, min_area=80) >= 0.85


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(100, 10, shape)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((200, 200), np.uint16),
        np.full((200, 200), 417.5),
        np.full((200, 200), np.nan),
        np.full((200, 200), np.inf),
        noise(300, 300),
        np.random.default_rng(0).poisson(3, (300, 300)).astype(np.uint16),
        noise(300, 300) + np.linspace(0, 10, 300),
        np.zeros((1, 1)),
        noise(8, 200),
    ],
    ids=["zeros", "constant", "nan", "inf", "noise", "few photons", "gradient", "one pixel", "strip"],
)
def test_where_there_are_no_nuclei_none_are_found(image):
    assert find_nuclei(image, CONFIG).max() == 0
    assert find_nuclei(image, CONFIG, 25.0).max() == 0
    assert estimate_diameter(image, CONFIG) is None


def test_pixels_that_are_not_numbers_count_as_background():
    scene = easy_scene(2, side=250)
    image = scene.image.copy()
    image[:, 100:104], image[5, 5], image[200, 220] = np.nan, np.inf, -np.inf
    found = find_nuclei(image, CONFIG)
    true = scene.labels.copy()
    true[:, 80:124] = found[:, 80:124] = 0
    assert f1(found, true, min_area=80) >= 0.85


def test_touching_nuclei_are_split_unless_that_is_off():
    rows, columns = np.ogrid[:120, :160]
    pair = sum(((rows - 60) ** 2 + (columns - x) ** 2 < 14**2) for x in (66, 91)) > 0
    image = 100.0 * pair + np.random.default_rng(0).normal(20, 2, pair.shape)
    assert find_nuclei(image, CONFIG, 28).max() == 2
    assert find_nuclei(image, NucleiConfig(split_touching=False), 28).max() == 1


@pytest.mark.parametrize(("fraction", "n"), [(0.05, 2), (0.5, 1)])
def test_too_small_ones_are_left_out(fraction, n):
    rows, columns = np.ogrid[:120, :160]
    image = 100.0 * ((rows - 60) ** 2 + (columns - 40) ** 2 < 14**2) + 100.0 * (
        (rows - 60) ** 2 + (columns - 120) ** 2 < 6**2
    )
    image += np.random.default_rng(0).normal(20, 1, image.shape)
    assert find_nuclei(image, NucleiConfig(min_area_fraction=fraction), 28).max() == n


@pytest.mark.parametrize("radius", [5, 10, 20])
def test_the_diameter_of_disks(radius):
    mask = np.zeros((300, 300), bool)
    rows, columns = np.ogrid[:300, :300]
    for y in range(40, 300, 70):
        for x in range(40, 300, 70):
            mask |= (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
    assert diameter_of(mask) == pytest.approx(2 * radius, rel=0.15)
    assert diameter_of(np.zeros((9, 9), bool)) is None


@pytest.mark.parametrize(("folder", "frames"), [("cancer_migration", range(0, 48, 4)), ("laptrack_crowded", range(6))])
def test_real_nuclei_are_found(real_data: Path, folder, frames):
    if not (real_data / folder).is_dir():
        pytest.skip(f"no {folder} among the real data")
    movie, labels = (tifffile.imread(real_data / folder / name) for name in ("movie.tif", "labels.tif"))
    found = [f1(find_nuclei(movie[t], CONFIG), labels[t].astype(int)) for t in frames]
    assert np.mean(found) >= 0.85
    assert np.min(found) >= 0.75
