"""One's own labelled crops, from npz files, folders, or a movie with tracks; and their splits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_cellinterp.config import REFERENCE_DIAMETER_PX, REFERENCE_PIXEL_SIZE_UM, ClassifyConfig
from napari_cellinterp.errors import PatchesError, TrainingError
from napari_cellinterp.events import ScaleChosen, Warned
from napari_cellinterp.movies.crops import crop_blocks, read_crops
from napari_cellinterp.movies.detection import claim
from napari_cellinterp.movies.masks import GivenMasks
from napari_cellinterp.movies.patches import Patches, patches_from_images
from napari_cellinterp.movies.scale import choose_scale
from napari_cellinterp.movies.stack import open_labels, open_movie
from napari_cellinterp.movies.state_table import read_states
from napari_cellinterp.movies.tracks import read_tracks
from napari_cellinterp.training.datasets import UNKNOWN, LabelledCrops
from napari_cellinterp.training.guides import no_outlines, outlines
from napari_cellinterp.training.run import TrainingData
from napari_cellinterp.training.run_folder import array_hash
from napari_cellinterp.training.stream import StoredCrops

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_cellinterp.config import TrainingConfig
    from napari_cellinterp.events import Job
    from napari_cellinterp.movies.scale import Scale
    from napari_cellinterp.training.guides import Outlines

FIRST_CLASS = "interphase"
"""Comes first where it is one of the classes, so that the other of two has the scores >= 0."""

PATCHES_NAME, TABLE_NAME = "patches.npz", "nuclei.csv"
"""Files of a folder that ``cellinterp classify --patches`` wrote."""


@dataclass(frozen=True)
class OwnCrops:
    """Crops as they were read.

    Attributes
    ----------
    patches : Patches
        n crops.
    state : (n,) array of str
        Class of each; empty where it wasn't labelled.
    track : (n,) array of str
        Movie and track of each: no track is both trained and tested on.
    outline : (n, 4) float32
        Of each nucleus, see `napari_cellinterp.training.guides`; NaN where its mask isn't known.
    """

    patches: Patches
    state: NDArray[np.str_]
    track: NDArray[np.str_]
    outline: Outlines

    @staticmethod
    def concatenate(parts: Sequence[OwnCrops]) -> OwnCrops:
        """Return the crops of several sources as one set.

        Raises
        ------
        TrainingError
            If they have different numbers of channels.
        """
        channels = {part.patches.x.shape[1] for part in parts}
        if len(channels) > 1:
            raise TrainingError(
                f"The sources have different numbers of channels: {', '.join(map(str, sorted(channels)))}.",
                "Give crops of the same channels.",
            )
        return OwnCrops(
            Patches.concatenate([part.patches for part in parts]),
            np.concatenate([part.state for part in parts]),
            np.concatenate([part.track for part in parts]),
            np.concatenate([part.outline for part in parts]),
        )


def read_source(
    path: Path, config: ClassifyConfig, *, tracks: Path | None = None, labels: Path | None = None
) -> Job[OwnCrops]:
    """Read labelled crops.

    Parameters
    ----------
    path : Path
        An npz file with ``x`` (n, h, w) or (n, n_channels, h, w), ``y`` (n,) str, and, where they are known,
        ``track_id`` and ``movie`` (n,); a folder of folders, each named as its class and full of images; a folder
        that ``cellinterp classify --patches`` wrote; or, with ``tracks``, a movie.
    config : ClassifyConfig
        Scale of the crops, and how a movie is read.
    tracks : Path, optional
        Of a movie: table with ``track_id, frame, y, x`` and ``state``; empty where it isn't labelled.
    labels : Path, optional
        Of a movie: masks of the nuclei, that tell the scale.

    Yields
    ------
    Event
        As a movie is read; `Warned` where tracks aren't known.

    Raises
    ------
    CellInterpError
        If it can't be used; the message says what and why.
    """
    if tracks is not None:
        return (yield from _from_movie(path, tracks, labels, config))
    if (path / PATCHES_NAME).is_file():
        return _from_results(path)
    if path.is_dir():
        return (yield from _from_folders(path, _zoom(config)))
    if path.suffix.lower() == ".npz":
        return (yield from _from_npz(path, _zoom(config)))
    raise TrainingError(
        f"{path} is neither an npz file nor a folder of labelled crops.",
        "Give one of them; with a movie, give --tracks, a table with a column state.",
    )


def _zoom(config: ClassifyConfig) -> float:
    """Zoom of ready crops: they are at the model's scale where nothing else is said."""
    if config.scale.nucleus_diameter_px or config.scale.pixel_size_um:
        return _scale(config, np.empty(0), None).zoom
    return 1.0


def _scale(config: ClassifyConfig, diameters_px: NDArray[np.float64], pixel_size_um: float | None) -> Scale:
    return choose_scale(config.scale, diameters_px, pixel_size_um, REFERENCE_DIAMETER_PX, REFERENCE_PIXEL_SIZE_UM)


def _from_npz(path: Path, zoom: float) -> Job[OwnCrops]:
    images = read_crops(path)
    with np.load(path, allow_pickle=False) as archive:
        columns = {name: archive[name] for name in ("y", "track_id", "movie") if name in archive}
    for name, values in columns.items():
        if values.shape != (len(images),):
            raise PatchesError(
                f"{name} in {path} has shape {values.shape}, but there are {len(images)} crops in x.",
                "Give one value a crop.",
            )
    state = columns.get("y", np.full(len(images), "")).astype(str)
    if "track_id" not in columns:
        yield _no_tracks(path)
    track = columns.get("track_id", np.arange(len(images))).astype(str)
    movie = columns.get("movie", np.full(len(images), "")).astype(str)
    return OwnCrops(patches_from_images(images, zoom), state, _tracks(path, movie, track), no_outlines(len(images)))


def _no_tracks(path: Path) -> Warned:
    return Warned(
        "no_tracks",
        f"{path} doesn't tell which crops show the same nucleus, so each counts as a track of its own. Where several "
        "show one, the figures will flatter; an array track_id in an npz file prevents that.",
    )


def _tracks(path: Path, *columns: NDArray[np.str_]) -> NDArray[np.str_]:
    return np.array(["|".join((str(path), *parts)) for parts in zip(*columns, strict=True)], str)


def _from_folders(path: Path, zoom: float) -> Job[OwnCrops]:
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir())
    if not folders:
        raise TrainingError(
            f"The folder {path} holds no folders.", "Put the images of each class into a folder with its name."
        )
    yield _no_tracks(path)
    parts = []
    for folder in folders:
        patches = patches_from_images(read_crops(folder), zoom)
        n = len(patches)
        track = _tracks(folder, np.arange(n).astype(str))
        parts.append(OwnCrops(patches, np.full(n, folder.name), track, no_outlines(n)))
    return OwnCrops.concatenate(parts)


def _from_results(path: Path) -> OwnCrops:
    """Read what `classify --patches` wrote, the states perhaps corrected since."""
    table = read_states(path / TABLE_NAME)
    with np.load(path / PATCHES_NAME, allow_pickle=False) as archive:
        patches = patches_from_images(archive["x"], 1.0)
        keys = pd.MultiIndex.from_arrays([archive["track_id"], archive["frame"]])
    state = table.reindex(keys)["state"].fillna("").to_numpy(str)
    track = _tracks(path, keys.get_level_values(0).astype(str).to_numpy(str))
    return OwnCrops(patches, state, track, no_outlines(len(patches)))


def _from_movie(path: Path, tracks: Path, labels: Path | None, config: ClassifyConfig) -> Job[OwnCrops]:
    movie = open_movie(path, axes=config.movie.axes, frame_interval_min=config.movie.frame_interval_min)
    movie.check_channel(config.movie.channel)
    states = read_states(tracks)
    table = read_tracks(tracks, pixel_size_um=movie.pixel_size_um)
    masks = None if labels is None else GivenMasks(open_labels(labels, movie))
    nuclei = yield from claim(movie, masks, table, config)
    scale = _scale(config, nuclei.diameters_px, movie.pixel_size_um)
    yield ScaleChosen(scale.zoom, scale.reason)
    channels = range(config.movie.channel, config.movie.channel + 1)
    parts = [patches for _, patches in crop_blocks(movie, nuclei.tracks, channels, scale.zoom)]
    rows = nuclei.tracks.rows
    keys = pd.MultiIndex.from_frame(rows[["track_id", "frame"]])
    state = states.reindex(keys)["state"].fillna("").to_numpy(str)
    track = _tracks(path, rows["track_id"].astype(str).to_numpy(str))
    frame, ids = (rows[name].to_numpy() for name in ("frame", "label"))
    outline = np.concatenate(
        [outlines(nuclei.masks.frame(int(t)), ids[frame == t], scale.zoom) for t in np.unique(frame)]
    )
    outline[nuclei.is_disk] = np.nan
    return OwnCrops(Patches.concatenate(parts), state, track, outline)


def prepared(own: OwnCrops, classes: Sequence[str] | None, config: TrainingConfig) -> TrainingData:
    """Split crops by track, and say which classes there are.

    Parameters
    ----------
    own : OwnCrops
        All crops.
    classes : sequence of str, optional
        Classes to tell apart, in order; crops of others, and those without a label, only help the beta-TCVAE. By
        default all there are, interphase first.
    config : TrainingConfig
        Shares of the sets.

    Raises
    ------
    TrainingError
        If a class isn't there, there is only one, or one has too few crops.
    """
    there = sorted({str(name) for name in own.state} - {""}, key=lambda name: (name != FIRST_CLASS, name))
    chosen = tuple(classes or there)
    unknown = [name for name in chosen if name not in there]
    if unknown:
        raise TrainingError(
            f"No crop is labelled {', '.join(map(repr, unknown))}.", f"The labels are: {', '.join(there) or 'none'}."
        )
    crops = _numbered(own, chosen)
    rest, test = crops.split(config.test_share, config.seed)
    train, validation = rest.split(config.validation_share, config.seed)
    train, validation, test = (part.of_classes(chosen, chosen) for part in (train, validation, test))
    data = TrainingData(chosen, train, validation, test, StoredCrops(rest.images, rest.outline))
    data.check()
    return data


def _numbered(own: OwnCrops, classes: Sequence[str]) -> LabelledCrops:
    numbers = {name: number for number, name in enumerate(classes)}
    state = np.array([numbers.get(str(name), UNKNOWN) for name in own.state], np.int64)
    return LabelledCrops(own.patches, state, np.unique(own.track, return_inverse=True)[1], own.outline)


def data_hashes(data: TrainingData) -> dict[str, str]:
    """Return the SHA-256 of each set: crops and states."""
    sets: dict[str, Any] = {"train": data.train, "validation": data.validation, "test": data.test}
    return {name: array_hash([crops.images, crops.state]) for name, crops in sets.items()}
