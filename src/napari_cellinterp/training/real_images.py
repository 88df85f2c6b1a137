"""Crops of real images, to train on: all nuclei without labels, and some that were labelled by eye."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Literal, NamedTuple, cast
from zlib import crc32

import numpy as np
import pandas as pd
import tifffile

from napari_cellinterp.config import PATCH_PX, REFERENCE_DIAMETER_PX, NucleiConfig
from napari_cellinterp.errors import TrainingError
from napari_cellinterp.movies.nuclei import find_nuclei
from napari_cellinterp.movies.patches import Patches, crop_frame, normalise
from napari_cellinterp.movies.shapes import STATES
from napari_cellinterp.movies.synthetic import draw_optics, expose
from napari_cellinterp.movies.tracks import measure_labels
from napari_cellinterp.training.datasets import CENTRE_ERROR_PX, UNKNOWN, LabelledCrops
from napari_cellinterp.training.guides import no_outlines, outlines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    Image = NDArray[np.generic]
    Use = Literal["train", "validation", "test"]

FEWEST_NUCLEI = 3
"""An image of fewer tells no scale."""

SCALE_ERROR = 0.1
"""How far the scale is off on purpose, standard deviation of its logarithm."""

SHARE_EXPOSED = 0.6
"""Share of the images to train on that are degraded as by another microscope."""

VISIBLE_SHARE = (0.02, 0.9)
"""Of a nucleus that is cut on purpose, how much is left: smallest and largest share."""

N_CUT_AN_IMAGE = 8
"""So many nuclei of an image are cut."""

ONE_IN_JUDGED = 4
"""One in so many images whose states weren't read is for validation."""

LABELS_NAME = "read_by_eye.csv"
CANDIDATES_NAME = "mitotic_candidates.csv"


def masked_crops(folder: Path, seed: int) -> LabelledCrops:
    """Crop the nuclei of each ``NAME_img.tif`` with its ``NAME_lab.tif``, and of ``movie.tif`` with ``labels.tif``.

    Parameters
    ----------
    folder : Path
        Folder with images and their masks.
    seed : int
        Of the errors of scale and centre.

    Returns
    -------
    LabelledCrops
        States unknown; scenes are negative, one an image.
    """
    paths = [*sorted(folder.glob("*_img.tif")), *sorted(folder.glob("movie.tif"))]
    frames = (zip(_frames(path), _frames(_masks_of(path)), strict=True) for path in paths)
    return _unlabelled(frames, seed)


def found_crops(movie: Image, seed: int) -> LabelledCrops:
    """Crop the nuclei of a movie (T, Y, X) that has no masks, where the program finds them."""
    config = NucleiConfig()
    return _unlabelled([((frame, find_nuclei(frame, config)) for frame in movie)], seed)


def _unlabelled(images: Iterable[Iterable[tuple[Image, Image]]], seed: int) -> LabelledCrops:
    """Crop every nucleus of images, each a series of frames with masks."""
    rng, parts = np.random.default_rng(seed), [_nothing()]
    for number, frames in enumerate(images, 1):
        for frame, labels in frames:
            found = measure_labels(labels)
            if len(found) >= FEWEST_NUCLEI:
                windows, zoom = _windows(frame, found[["y", "x"]].to_numpy(), _diameter(found), rng)
                outline = outlines(labels, found["label"].to_numpy(), zoom)
                parts.append(replace(_crops(windows, UNKNOWN, -number), outline=outline))
    return LabelledCrops.concatenate(parts)


def labelled_crops(data: Path, use: Use, n_repeats: int, seed: int) -> LabelledCrops:
    """Crop the nuclei whose states were read by eye.

    Parameters
    ----------
    data : Path
        Folder of the image sets, each in a folder of its own; `read_by_eye` says which.
    use : {"train", "validation", "test"}
        Nuclei to train shipped heads on, to choose settings on, or to test them on; no image has two of these.
    n_repeats : int
        How often each nucleus is cropped, each time at a scale and a centre that are a little off. Those to train on
        are mostly shown as other microscopes would, but for the first time.
    seed : int
        Of the errors of scale and centre, and of the microscopes; an image's don't depend on the other images.

    Returns
    -------
    LabelledCrops
        States are indices into `napari_cellinterp.movies.shapes.STATES`; scenes are negative, one an image.

    Raises
    ------
    TrainingError
        If an image isn't there.
    """
    parts = [_nothing()]
    labels = read_by_eye()
    images = labels[labels["use"] == use].groupby(["file", "plane"])
    for number, (image, rows) in enumerate(images, 1):
        name, plane = cast("tuple[str, int]", image)
        path = data / name
        if not path.is_file():
            raise TrainingError(f"The labelled image {path} isn't there.", "Give the folder of all image sets.")
        rng = np.random.default_rng([seed, crc32(f"{name} {plane}".encode())])
        frame = _frames(path)[plane].astype(np.float32)
        diameter = _diameter(measure_labels(_nuclei_of(path, plane)))
        state = rows["state"].map(STATES.index).to_numpy(np.int64)
        for repeat in range(n_repeats):
            elsewhere = use == "train" and repeat and rng.random() < SHARE_EXPOSED
            changed = _elsewhere(frame, diameter, rng) if elsewhere else frame
            windows, _ = _windows(changed, rows[["y", "x"]].to_numpy(), diameter, rng)
            parts.append(_crops(windows, state, -number))
    return LabelledCrops.concatenate(parts)


def interphase_crops(folder: Path, use: Use, n: int, seed: int) -> LabelledCrops:
    """Crop nuclei of ``dsb2018_fluo`` that are neither small nor bright, as other microscopes would show most of them.

    Parameters
    ----------
    folder : Path
        Folder of the images; its ``mitotic_candidates.csv`` lists all small, bright objects.
    use : {"train", "validation"}
        To train on, or to choose on: those of one image in four, which are shown as they are.
    n : int
        How many; all there are where there are fewer.
    seed : int
        Which nuclei, the errors of scale and centre, and the microscopes.

    Returns
    -------
    LabelledCrops
        All in interphase, and none from the images whose states were read by eye; scenes are negative, one an image.

    Raises
    ------
    TrainingError
        If the table of candidates isn't there.
    """
    rng, parts = np.random.default_rng(seed), [_nothing()]
    for image in _ordinary_nuclei(folder, use):
        changed = _sometimes_elsewhere(image, use, rng)
        windows, _ = _windows(changed, image.nuclei[["y", "x"]].to_numpy(), image.diameter_px, rng)
        parts.append(_crops(windows, STATES.index("interphase"), image.scene))
    crops = LabelledCrops.concatenate(parts)
    return crops[rng.permutation(len(crops))[:n]]


def cut_crops(folder: Path, use: Use, n: int, seed: int) -> LabelledCrops:
    """Crop nuclei of ``dsb2018_fluo`` as they would look at the edge of an image that cuts them.

    A sliver of a nucleus looks like a metaphase plate, and movies of small fields have many. Parameters, result and
    errors are as in `interphase_crops`.
    """
    rng, parts = np.random.default_rng(seed), [_nothing()]
    for image in _ordinary_nuclei(folder, use):
        for label in rng.permutation(image.nuclei["label"].to_numpy())[:N_CUT_AN_IMAGE]:
            changed = _sometimes_elsewhere(image, use, rng)
            turn = int(rng.integers(4))
            frame, mask = np.rot90(changed, turn), np.rot90(image.labels == label, turn)
            columns = np.nonzero(mask)[1]
            end = int(np.quantile(columns, rng.uniform(*VISIBLE_SHARE))) + 1
            if end < image.diameter_px:  # it lies at the other edge
                continue
            centre = np.argwhere(mask[:, :end]).mean(axis=0, keepdims=True)
            windows, _ = _windows(frame[:, :end], centre, image.diameter_px, rng)
            parts.append(_crops(windows, STATES.index("interphase"), image.scene))
    crops = LabelledCrops.concatenate(parts)
    return crops[rng.permutation(len(crops))[:n]]


class _Image(NamedTuple):
    """An image of ``dsb2018_fluo``, its masks, and those of its nuclei that are neither small nor bright."""

    frame: NDArray[np.float32]
    labels: Image
    diameter_px: float
    nuclei: pd.DataFrame
    scene: int


def _ordinary_nuclei(folder: Path, use: Use) -> Iterator[_Image]:
    """Yield the images of which no nucleus was read by eye; those of few nuclei tell no scale and are left out."""
    table = folder / CANDIDATES_NAME
    if not table.is_file():
        raise TrainingError(f"The table {table} isn't there.", "Give the folder of all of dsb2018_fluo.")
    candidates = pd.read_csv(table).groupby("file")["label"].agg(set).to_dict()
    read = set(read_by_eye()["file"].str.removeprefix(f"{folder.name}/"))
    for number, path in enumerate(sorted(folder.glob("*_img.tif")), 1):
        labels = _frames(_masks_of(path))[0]
        found = measure_labels(labels)
        if path.name not in read and len(found) >= FEWEST_NUCLEI and _use_of(path) == use:
            others = found[~found["label"].isin(candidates.get(path.name, ()))]
            yield _Image(_frames(path)[0].astype(np.float32), labels, _diameter(found), others, -number)


def _use_of(image: Path) -> Use:
    """Return what an image without labels is for: its name decides, whatever other images there are."""
    return "validation" if crc32(image.name.encode()) % ONE_IN_JUDGED == 0 else "train"


@cache
def read_by_eye() -> pd.DataFrame:
    """Return the states read by eye.

    Returns
    -------
    pandas.DataFrame
        ``file`` in the folder of image sets, ``plane`` of it (frame or channel, from 0), ``y, x`` (pixels), ``state``,
        and ``use``: train, validation or test. Those for validation are hard: many are there because some head took
        them for a plate.
    """
    with files(__package__).joinpath(LABELS_NAME).open(encoding="utf-8") as table:
        return pd.read_csv(table)


def _frames(path: Path) -> Image:
    """Read an image or a movie as (T, Y, X)."""
    array: Image = tifffile.imread(path)
    return array[None] if array.ndim == 2 else array


def _masks_of(image: Path) -> Path:
    """Where the masks of an image would be."""
    return image.with_name("labels.tif" if image.name == "movie.tif" else image.name.replace("_img", "_lab"))


def _nuclei_of(image: Path, plane: int) -> Image:
    """Return the masks (Y, X) of an image, or the nuclei that the program finds where it has none."""
    masks = _masks_of(image)
    if masks != image and masks.is_file():
        labels: Image = _frames(masks)[plane]
        return labels
    return find_nuclei(_frames(image)[plane], NucleiConfig())


def _diameter(found: pd.DataFrame) -> float:
    return float(found["diameter_px"].median())


def _windows(
    frame: Image, centres: NDArray[np.float64], diameter_px: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], float]:
    """Cut crops with scale and centres a little off; also return the scale, model pixels per pixel of the image."""
    zoom = REFERENCE_DIAMETER_PX / (diameter_px * np.exp(rng.normal(0, SCALE_ERROR)))
    y, x = (centres + rng.normal(0, CENTRE_ERROR_PX / zoom, centres.shape)).T
    return crop_frame(frame[None], y, x, zoom), float(zoom)


def _sometimes_elsewhere(image: _Image, use: Use, rng: np.random.Generator) -> NDArray[np.float32]:
    """Show most of the images to train on as other microscopes would."""
    exposed = use == "train" and rng.random() < SHARE_EXPOSED
    return _elsewhere(image.frame, image.diameter_px, rng) if exposed else image.frame


def _elsewhere(frame: NDArray[np.float32], diameter_px: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Show an image as another microscope and camera would."""
    background, bright = np.percentile(frame, [5, 99])
    signal = (frame - background) / max(1e-6, bright - background)
    return expose(signal, draw_optics(rng), diameter_px / REFERENCE_DIAMETER_PX, rng)


def _nothing() -> LabelledCrops:
    return _crops(np.empty((0, 1, PATCH_PX, PATCH_PX), np.float32), UNKNOWN, 0)


def _crops(windows: NDArray[np.float32], state: NDArray[np.int64] | int, scene: int) -> LabelledCrops:
    patches: Patches = normalise(windows)
    n = len(patches)
    return LabelledCrops(patches, np.broadcast_to(state, n).astype(np.int64), np.full(n, scene), no_outlines(n))
