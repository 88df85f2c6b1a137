"""Crops to train on: simulated ones with known states, and real ones without."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING

import numpy as np
import tifffile

from napari_cellinterp.config import REFERENCE_DIAMETER_PX
from napari_cellinterp.movies.patches import STATISTICS, Patches, crop_frame, normalise
from napari_cellinterp.movies.shapes import STATES
from napari_cellinterp.movies.synthetic import simulate_scene
from napari_cellinterp.movies.tracks import measure_labels

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

MIN_VISIBLE_PX = 12
CENTRE_ERROR_PX = 1.0
"""How far centres that are found lie from the true ones, standard deviation, model pixels."""

SCENE_SIDE_PX = 640
"""Side of a simulated scene, model pixels."""


@dataclass(frozen=True)
class LabelledCrops:
    """Crops with the scene (or movie) that each comes from; splits go by scene.

    Attributes
    ----------
    patches : Patches
        n crops.
    state : (n,) int
        Index into `napari_cellinterp.movies.shapes.STATES`; -1 where it isn't known.
    scene : (n,) int
        Which scene or image the crop comes from.
    """

    patches: Patches
    state: NDArray[np.int64]
    scene: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of crops."""
        return len(self.state)

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.int64] | slice) -> LabelledCrops:
        """Return the chosen crops."""
        return LabelledCrops(self.patches[rows], self.state[rows], self.scene[rows])

    def save(self, path: Path) -> None:
        """Write to an npz file; patches as bytes."""
        statistics = {name: getattr(self.patches, name) for name in STATISTICS}
        x = (self.patches.x * 255).round().astype(np.uint8)
        np.savez(path, x=x, state=self.state, scene=self.scene, **statistics)

    @staticmethod
    def load(path: Path) -> LabelledCrops:
        """Read what `save` wrote."""
        with np.load(path) as archive:
            statistics = {name: archive[name] for name in STATISTICS}
            patches = Patches(archive["x"].astype(np.float32) / 255, **statistics)
            return LabelledCrops(patches, archive["state"], archive["scene"])

    @staticmethod
    def concatenate(parts: list[LabelledCrops]) -> LabelledCrops:
        """Return the crops of several sets as one."""
        return LabelledCrops(
            Patches.concatenate([part.patches for part in parts]),
            np.concatenate([part.state for part in parts]),
            np.concatenate([part.scene for part in parts]),
        )


def simulate_scene_crops(seed: int) -> LabelledCrops:
    """Simulate one scene at a random magnification and crop all of its nuclei as the main job would.

    Parameters
    ----------
    seed : int
        Of the scene; also its number in the result.
    """
    rng = np.random.default_rng(seed)
    zoom = float(np.exp(rng.uniform(np.log(0.5), np.log(1.25))))
    side = round(SCENE_SIDE_PX * zoom)
    scene = simulate_scene(rng, shape=(side, side), zoom=zoom)
    found = measure_labels(scene.labels)
    found = found[found["area_px"] >= MIN_VISIBLE_PX * zoom**2]
    y = found["y"].to_numpy() + rng.normal(0, CENTRE_ERROR_PX * zoom, len(found))
    x = found["x"].to_numpy() + rng.normal(0, CENTRE_ERROR_PX * zoom, len(found))
    patches = normalise(crop_frame(scene.image[None], y, x, 1 / zoom))
    state = scene.factors.state[found["label"].to_numpy() - 1]
    return LabelledCrops(patches, state, np.full(len(found), seed))


def simulate_crops(n_crops: int, first_seed: int, n_processes: int = 2) -> Iterator[LabelledCrops]:
    """Simulate scenes in worker processes until there are enough crops; scene by scene, in order of their seeds."""
    n = 0
    with ProcessPoolExecutor(n_processes, mp_context=get_context("spawn"), initializer=one_thread) as pool:
        seed = first_seed
        while n < n_crops:
            for crops in pool.map(simulate_scene_crops, range(seed, seed + 8 * n_processes)):
                n += len(crops)
                yield crops
            seed += 8 * n_processes


def one_thread() -> None:
    """Keep a worker process to one core: several that each use all of them wait for each other."""
    import torch

    torch.set_num_threads(1)


def real_image_crops(image: Path, labels: Path, rng: np.random.Generator, number: int) -> LabelledCrops:
    """Crop every nucleus of a still image or a short movie with drawn masks, at a scale a little off on purpose.

    Parameters
    ----------
    image, labels : Path
        TIFF files, YX or TYX.
    rng : numpy.random.Generator
        Source of the errors of scale and centre.
    number : int
        Of the image, for splits.
    """
    frames, masks = np.atleast_3d(tifffile.imread(image)), np.atleast_3d(tifffile.imread(labels))
    if frames.shape[2] == 1:
        frames, masks = frames.transpose(2, 0, 1), masks.transpose(2, 0, 1)
    parts = []
    for frame, mask in zip(frames, masks, strict=True):
        found = measure_labels(mask)
        if len(found) < 3:
            continue
        diameter = float(found["diameter_px"].median()) * np.exp(rng.normal(0, 0.1))
        error = diameter / REFERENCE_DIAMETER_PX * CENTRE_ERROR_PX
        y, x = (found[axis].to_numpy() + rng.normal(0, error, len(found)) for axis in "yx")
        parts.append(normalise(crop_frame(frame[None], y, x, REFERENCE_DIAMETER_PX / diameter)))
    patches = Patches.concatenate(parts) if parts else normalise(np.empty((0, 1, 64, 64), np.float32))
    return LabelledCrops(patches, np.full(len(patches), -1), np.full(len(patches), number))


def real_crops(folder: Path, seed: int) -> LabelledCrops:
    """Crop the nuclei of each ``NAME_img.tif`` with its ``NAME_lab.tif``, and of ``movie.tif`` with ``labels.tif``.

    Parameters
    ----------
    folder : Path
        Folder with images and their masks.
    seed : int
        Of the errors of scale and centre.
    """
    rng = np.random.default_rng(seed)
    pairs = [(p, p.with_name(p.name.replace("_img", "_lab"))) for p in sorted(folder.glob("*_img.tif"))]
    pairs += [(p, p.with_name("labels.tif")) for p in sorted(folder.glob("movie.tif"))]
    return LabelledCrops.concatenate([real_image_crops(i, m, rng, -1 - k) for k, (i, m) in enumerate(pairs)])


def binary_target(state: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return +1 for metaphase, -1 for interphase, 0 for all that the binary bundle doesn't know."""
    target = np.zeros(len(state), np.float32)
    target[state == STATES.index("metaphase")] = 1
    target[state == STATES.index("interphase")] = -1
    return target
