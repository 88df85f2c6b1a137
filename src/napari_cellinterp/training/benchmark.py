"""The frozen benchmark: simulated crops of one cell line under one microscope, whose factors are known.

All four schemes are compared on it (Soelistyo & Lowe, Table 1). It is as hard as the paper's data: size alone isn't
enough, and neither is the outline. ``benchmark.json`` holds its settings, seeds and hashes; a change is a new version.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from skimage.measure import regionprops_table

from napari_cellinterp.config import PATCH_PX
from napari_cellinterp.movies.patches import crop_frame, normalise
from napari_cellinterp.movies.shapes import STATES
from napari_cellinterp.movies.synthetic import Culture, Optics, Scene, simulate_scene
from napari_cellinterp.movies.tracks import measure_labels
from napari_cellinterp.training.datasets import CENTRE_ERROR_PX, MIN_VISIBLE_PX, LabelledCrops
from napari_cellinterp.training.guides import outlines

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

FROZEN = "benchmark.json"
TRAIN_SEED, TEST_SEED, UNLABELLED_SEED = 0, 1_000_000, 10_000_000
"""Scenes are numbered from here on: to train heads, to test them, and without labels to train beta-TCVAEs."""

SHAPE_FACTORS = ("area_px", "length_px", "width_px", "elongation", "axial_elongation", "diagonal_elongation")
"""Factors of the central nucleus's shape: what a latent must be about to be called central."""

OUTLINE = (
    "area",
    "eccentricity",
    "solidity",
    "extent",
    "perimeter",
    "major_axis_length",
    "minor_axis_length",
)
"""Properties of the true mask, as scikit-image names them: what a classifier that sees only outlines would read."""

SECTORS = 8


@dataclass(frozen=True)
class Settings:
    """What the benchmark's scenes have in common.

    Attributes
    ----------
    culture : dict
        Fields of `Culture`, but for the density.
    density : tuple of float
        Range of the density, drawn anew for each scene.
    optics : dict
        Fields of `Optics`.
    states : dict
        How often each state is drawn.
    scene_side_px : int
        Side of a scene, model pixels.
    n_train_scenes, n_test_scenes : int
        Scenes with labels.
    n_train_a_class, n_test_a_class : int
        Crops of each class that are drawn from them.
    """

    culture: dict[str, float]
    density: tuple[float, float]
    optics: dict[str, float]
    states: dict[str, float]
    scene_side_px: int
    n_train_scenes: int
    n_test_scenes: int
    n_train_a_class: int
    n_test_a_class: int

    def reduced(self, n_scenes: int) -> Settings:
        """Return the same benchmark with so many scenes of each kind, and all of their crops."""
        return Settings(**asdict(self) | {"n_train_scenes": n_scenes, "n_test_scenes": n_scenes})


@dataclass(frozen=True)
class BenchmarkCrops:
    """Crops with their known factors.

    Attributes
    ----------
    crops : LabelledCrops
        Patches, states and scenes.
    factors : pandas.DataFrame
        One row a crop; see `known_factors`.
    outlines : pandas.DataFrame
        `OUTLINE` of the central nucleus, one row a crop.
    """

    crops: LabelledCrops
    factors: pd.DataFrame
    outlines: pd.DataFrame

    def __len__(self) -> int:
        """Return the number of crops."""
        return len(self.crops)

    def __getitem__(self, rows: NDArray[np.int64]) -> BenchmarkCrops:
        """Return the chosen crops."""
        factors, outlines = (table.iloc[rows].reset_index(drop=True) for table in (self.factors, self.outlines))
        return BenchmarkCrops(self.crops[rows], factors, outlines)

    @staticmethod
    def concatenate(parts: Iterable[BenchmarkCrops]) -> BenchmarkCrops:
        """Return the crops of several scenes as one set."""
        parts = list(parts)
        tables = zip(*((part.factors, part.outlines) for part in parts), strict=True)
        factors, outlines = (pd.concat(table, ignore_index=True) for table in tables)
        return BenchmarkCrops(LabelledCrops.concatenate([part.crops for part in parts]), factors, outlines)

    def balanced(self, n_a_class: int, seed: int) -> BenchmarkCrops:
        """Draw interphase and metaphase crops, as many of both; all there are where there are fewer."""
        rng = np.random.default_rng(seed)
        classes = [np.flatnonzero(self.crops.state == STATES.index(name)) for name in ("interphase", "metaphase")]
        n = min(n_a_class, *map(len, classes))
        return self[np.concatenate([rng.permutation(rows)[:n] for rows in classes])]


@cache
def frozen() -> dict[str, Any]:
    """Return what ``benchmark.json`` holds: version, settings, and the hashes of what they give."""
    text = files(__package__).joinpath(FROZEN).read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def settings() -> Settings:
    """Return the frozen settings."""
    return Settings(**frozen()["settings"])


def benchmark_scene(seed: int) -> BenchmarkCrops:
    """Simulate one scene of the frozen benchmark and crop its nuclei, but for those near the edge.

    Parameters
    ----------
    seed : int
        Of the scene; also its number in the result.
    """
    return simulate_benchmark_scene(settings(), seed)


def unlabelled_scene(seed: int) -> LabelledCrops:
    """Return the crops of one more scene, to train beta-TCVAEs on; scenes 0, 1, ... are none of the labelled ones."""
    return benchmark_scene(UNLABELLED_SEED + seed).crops


def simulate_benchmark_scene(chosen: Settings, seed: int) -> BenchmarkCrops:
    """Like `benchmark_scene`, for any settings."""
    rng = np.random.default_rng(seed)
    side = chosen.scene_side_px
    scene = simulate_scene(
        rng,
        shape=(side, side),
        culture=Culture(**chosen.culture, density=rng.uniform(*chosen.density)),
        optics=Optics(**chosen.optics),
        states={STATES.index(name): share for name, share in chosen.states.items()},
    )
    found = measure_labels(scene.labels)
    half = PATCH_PX // 2
    inside = found[["y", "x"]].ge(half).all(axis=1) & found[["y", "x"]].lt(side - half).all(axis=1)
    found = found[inside & (found["area_px"] >= MIN_VISIBLE_PX)].reset_index(drop=True)
    centres = found[["y", "x"]].to_numpy() + rng.normal(0, CENTRE_ERROR_PX, (len(found), 2))
    patches = normalise(crop_frame(scene.image[None], centres[:, 0], centres[:, 1], 1))
    state = scene.factors.state[found["label"].to_numpy() - 1]
    outline = outlines(scene.labels, found["label"].to_numpy(), 1)
    crops = LabelledCrops(patches, state, np.full(len(found), seed), outline)
    table = pd.DataFrame(regionprops_table(scene.labels, properties=("label", *OUTLINE)))
    table = table.set_index("label").loc[found["label"]].reset_index(drop=True)
    return BenchmarkCrops(crops, known_factors(scene, found, centres), table)


def known_factors(scene: Scene, found: pd.DataFrame, centres: NDArray[np.float64]) -> pd.DataFrame:
    """Tabulate what is known of each crop.

    Parameters
    ----------
    scene : Scene
        Where the crops come from.
    found : pandas.DataFrame
        ``label``, ``y``, ``x``, ``area_px`` of the central nuclei, in pixels of the scene.
    centres : (n, 2) array
        Middle of each crop, y and x.

    Returns
    -------
    pandas.DataFrame
        `SHAPE_FACTORS` of the central nucleus (elongation is (length - width) / (length + width); its axial and
        diagonal parts are that times the cosine and sine of twice the angle), its ``brightness``, ``texture`` and
        ``offset_y``, ``offset_x`` from the crop's middle; ``neighbours_0`` to ``neighbours_7``, the area of other
        nuclei in each eighth of the crop, anticlockwise from the right; ``neighbours``, their sum.
    """
    f = scene.factors[found["label"].to_numpy() - 1]
    elongation = (f.length_px - f.width_px) / (f.length_px + f.width_px)
    columns = {
        "area_px": found["area_px"].to_numpy(np.float32),
        "length_px": f.length_px,
        "width_px": f.width_px,
        "elongation": elongation,
        "axial_elongation": elongation * np.cos(2 * f.angle_rad),
        "diagonal_elongation": elongation * np.sin(2 * f.angle_rad),
        "brightness": f.brightness,
        "texture": f.texture,
        "offset_y": found["y"].to_numpy() - centres[:, 0],
        "offset_x": found["x"].to_numpy() - centres[:, 1],
    }
    windows = crop_frame(scene.labels[None], centres[:, 0], centres[:, 1], 1)[:, 0].round().astype(np.int32)
    others = (windows > 0) & (windows != found["label"].to_numpy()[:, None, None])
    ticks = np.arange(PATCH_PX) - (PATCH_PX - 1) / 2
    sector = np.floor(np.arctan2(-ticks[:, None], ticks[None]) / (2 * np.pi) * SECTORS).astype(int) % SECTORS
    for i in range(SECTORS):
        columns[f"neighbours_{i}"] = (others & (sector == i)).sum(axis=(1, 2))
    columns["neighbours"] = others.sum(axis=(1, 2))
    return pd.DataFrame(columns).astype(np.float32)


def labelled_sets(chosen: Settings | None = None) -> tuple[BenchmarkCrops, BenchmarkCrops]:
    """Simulate the crops that heads are trained on, and those that they are tested on; scenes are in one of them only.

    Parameters
    ----------
    chosen : Settings, optional
        The frozen ones by default.
    """
    chosen = chosen or settings()
    kinds = (
        (TRAIN_SEED, chosen.n_train_scenes, chosen.n_train_a_class),
        (TEST_SEED, chosen.n_test_scenes, chosen.n_test_a_class),
    )
    train, test = (
        BenchmarkCrops.concatenate(simulate_benchmark_scene(chosen, seed + i) for i in range(n)).balanced(n_crops, seed)
        for seed, n, n_crops in kinds
    )
    return train, test


def hashes(sets: Iterable[BenchmarkCrops]) -> dict[str, Any]:
    """Return what is frozen of the crops.

    Returns
    -------
    dict
        ``sha256``: of states and scenes, which every machine draws alike; ``sha256_pixels``: of the patches as bytes,
        where processors may differ in a last digit; ``mean_pixels``: their mean over 8x8 blocks, where they don't.
    """
    sets = list(sets)
    drawn, pixels, means = hashlib.sha256(), hashlib.sha256(), []
    for one in sets:
        table = np.stack([one.crops.state, one.crops.scene], axis=1)
        drawn.update(np.ascontiguousarray(table, "<i8").tobytes())
        x = one.crops.patches.x[:, 0]
        pixels.update((x * 255).round().astype(np.uint8).tobytes())
        means.append(x.mean(axis=0, dtype=np.float64).reshape(8, 8, 8, 8).mean(axis=(1, 3)))
    mean = np.mean(means, axis=0).round(5)
    return {"sha256": drawn.hexdigest(), "sha256_pixels": pixels.hexdigest(), "mean_pixels": mean.tolist()}
