"""Whole jobs: generators of events that return their result, and plain functions that run them to the end.

Command line and widgets only present what is here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from napari_cellinterp.config import ClassifyConfig
from napari_cellinterp.errors import NucleiError
from napari_cellinterp.events import (
    Event,
    FileWritten,
    FrameClassified,
    PatchesClassified,
    ScaleChosen,
    Warned,
    finish,
    watched,
)
from napari_cellinterp.models.bundle import ModelBundle, load_bundle
from napari_cellinterp.models.bundle_info import find_bundle, read_info
from napari_cellinterp.models.classifier import Classifier
from napari_cellinterp.models.cores import on_one_core
from napari_cellinterp.models.novelty import FLAGS
from napari_cellinterp.movies.crops import BLOCK, crop_blocks, in_threads
from napari_cellinterp.movies.detection import claim, detect
from napari_cellinterp.movies.masks import GivenMasks
from napari_cellinterp.movies.patches import Patches, patches_from_images
from napari_cellinterp.movies.scale import Scale, choose_scale
from napari_cellinterp.movies.stack import Movie, check_labels, movie_from_array, open_labels, open_movie
from napari_cellinterp.movies.track_table import TrackTable
from napari_cellinterp.movies.tracks import read_tracks
from napari_cellinterp.results.export import write_nuclei_csv, write_patches, write_run, write_states
from napari_cellinterp.results.overlay import write_overlay
from napari_cellinterp.results.record import run_record
from napari_cellinterp.results.table import Classification, classification_rows, score_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import ArrayLike, NDArray

    from napari_cellinterp.events import Job

OUTPUT_NAMES = ("nuclei.csv", "states.ome.tif", "overlay.png", "run.json")
PATCHES_NAME = "patches.npz"


def classify_movie(
    movie: Movie | str | Path | Any,
    config: ClassifyConfig | None = None,
    *,
    labels: Any = None,
    tracks: TrackTable | str | Path | None = None,
    bundle: ModelBundle | None = None,
    progress: Callable[[Event], None] | None = None,
) -> Classification:
    """Classify every nucleus of a movie; see `classify_movie_job` for the parameters."""
    return finish(classify_movie_job(movie, config, labels=labels, tracks=tracks, bundle=bundle), progress)


def classify_patches(
    images: ArrayLike,
    config: ClassifyConfig | None = None,
    *,
    bundle: ModelBundle | None = None,
    progress: Callable[[Event], None] | None = None,
) -> pd.DataFrame:
    """Classify ready single-nucleus images; see `classify_patches_job` for the parameters."""
    return finish(classify_patches_job(images, config, bundle=bundle), progress)


def classify_patches_job(
    images: ArrayLike, config: ClassifyConfig | None = None, *, bundle: ModelBundle | None = None
) -> Job[pd.DataFrame]:
    """Classify ready single-nucleus images.

    Parameters
    ----------
    images : (n, height, width) or (n, n_channels, height, width) array of numbers
        One nucleus in the middle of each, at the model's scale unless ``config.scale`` says otherwise.
    config : ClassifyConfig, optional
        Model, head and scale.
    bundle : ModelBundle, optional
        A loaded model, instead of the config's.

    Returns
    -------
    pandas.DataFrame
        One row an image, in order: ``index, score, state, probability, novelty, is_novel, flag``.

    Raises
    ------
    PatchesError
        If the array isn't of that form.
    """
    config = config or ClassifyConfig()
    array = np.asarray(images)
    bundle = bundle or load_bundle(config.model)
    classifier = Classifier(bundle, config.head, reconstruct=config.reconstruct)
    zoom = 1.0
    if config.scale.nucleus_diameter_px or config.scale.pixel_size_um:
        zoom = _scale(config, np.empty(0), None, bundle).zoom
    parts = []
    for start in range(0, max(1, len(array)) if array.ndim else 1, BLOCK):
        patches = patches_from_images(array[start : start + BLOCK] if array.ndim else array, zoom)
        parts.append(score_columns(classifier(patches), bundle.info.classes))
        yield PatchesClassified(min(start + BLOCK, len(array)), len(array))
    table = pd.concat(parts, ignore_index=True)
    table.insert(0, "index", np.arange(len(table)))
    return table


class _Stopwatch:
    """Times the stages of a job."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = perf_counter()

    def stage(self, name: str) -> None:
        """Note that a stage is over."""
        now = perf_counter()
        self.seconds[name], self._since = round(now - self._since, 3), now


def classify_movie_job(
    movie: Movie | str | Path | Any,
    config: ClassifyConfig | None = None,
    *,
    labels: Any = None,
    tracks: TrackTable | str | Path | None = None,
    bundle: ModelBundle | None = None,
) -> Job[Classification]:
    """Classify every nucleus of a movie: find and link nuclei (or take labels or tracks), crop, encode, score.

    Parameters
    ----------
    movie : Movie, path or array
        The timelapse.
    config : ClassifyConfig, optional
        All settings.
    labels : path or (T, Y, X) array of int, optional
        Masks of the nuclei; by default nuclei are found.
    tracks : TrackTable or path, optional
        Positions of the nuclei; those without a mask get the found nucleus under them, else a disk. With ``labels``
        too, they get the mask under them.
    bundle : ModelBundle, optional
        A loaded model, instead of the config's.

    Returns
    -------
    Classification
        One row a nucleus and frame.

    Raises
    ------
    CellInterpError
        If anything given can't be used; the message says what and why.
    """
    counts: Counter[str] = Counter()
    config = config or ClassifyConfig()
    job = _classify_movie(_open(movie, config), config, labels, tracks, bundle)

    def count(event: Event) -> None:
        if isinstance(event, Warned):
            counts[event.kind] += event.count

    result = yield from watched(job, count)
    return replace(result, warnings=dict(counts))


def _classify_movie(
    movie: Movie,
    config: ClassifyConfig,
    labels: Any,
    tracks: TrackTable | str | Path | None,
    bundle: ModelBundle | None,
) -> Job[Classification]:
    watch = _Stopwatch()
    movie.check_channel(config.movie.channel)
    masks = _given_masks(labels, movie)
    if isinstance(tracks, str | Path):
        tracks = read_tracks(tracks, pixel_size_um=movie.pixel_size_um)
    bundle = bundle or load_bundle(config.model)
    classifier = Classifier(bundle, config.head, reconstruct=config.reconstruct)
    watch.stage("open")
    for note in movie.notes:
        yield Warned("notes", note)
    nuclei = yield from (detect(movie, masks, config) if tracks is None else claim(movie, masks, tracks, config))
    watch.stage("find_and_link")
    scale = _scale(config, nuclei.diameters_px, movie.pixel_size_um, bundle)
    yield ScaleChosen(scale.zoom, scale.reason)
    if scale.warning:
        yield Warned("scale", scale.warning)
    scores, latents = yield from score_nuclei(movie, nuclei.tracks, config.movie.channel, scale.zoom, classifier)
    watch.stage("crop_and_classify")
    yield from _warn_of_flags(scores["flag"])
    return Classification(
        rows=classification_rows(nuclei.tracks, scores),
        classes=bundle.info.classes,
        masks=nuclei.masks,
        zoom=scale.zoom,
        bundle_name=bundle.info.name,
        bundle_hash=bundle.hash,
        head=config.head,
        latents=latents,
        scale_reason=scale.reason,
        seconds=watch.seconds,
    )


def _open(movie: Movie | str | Path | Any, config: ClassifyConfig) -> Movie:
    if isinstance(movie, Movie):
        return movie
    axes, interval = config.movie.axes, config.movie.frame_interval_min
    if isinstance(movie, str | Path):
        return open_movie(movie, axes=axes, frame_interval_min=interval)
    return movie_from_array(movie, axes=axes, frame_interval_min=interval)


def _given_masks(labels: Any, movie: Movie) -> GivenMasks | None:
    if labels is None:
        return None
    return GivenMasks(open_labels(labels, movie) if isinstance(labels, str | Path) else check_labels(labels, movie))


def _scale(
    config: ClassifyConfig, diameters: NDArray[np.float64], pixel_size_um: float | None, bundle: ModelBundle
) -> Scale:
    info = bundle.info
    return choose_scale(
        config.scale, diameters, pixel_size_um, info.reference_diameter_px, info.reference_pixel_size_um
    )


def _warn_of_flags(flags: pd.Series[str]) -> Iterator[Warned]:
    said = {
        "not_finite": "crops have pixels that aren't numbers; their state is empty",
        "blank": "crops are blank; their state means nothing",
        "saturated": "crops are saturated; their state is uncertain",
        "blurred": "crops are out of focus; their state is uncertain",
    }
    for name in FLAGS:
        n = int((flags == name).sum())
        if n and name in said:
            yield Warned(f"{name}_crops", f"{n} {said[name]} (is_novel, flag {name}).", n)


def score_nuclei(
    movie: Movie, tracks: TrackTable, channel: int, zoom: float, classifier: Classifier
) -> Job[tuple[pd.DataFrame, NDArray[np.float32]]]:
    """Crop, encode and score nuclei whose positions are known: the fast inner part of the main job.

    Parameters
    ----------
    movie : Movie
        The timelapse; a model of several channels reads ``channel`` and those after it.
    tracks : TrackTable
        Where the nuclei are.
    channel : int
        First channel.
    zoom : float
        Model pixels per movie pixel.
    classifier : Classifier
        Model and head.

    Returns
    -------
    pandas.DataFrame
        Scores of each row of the track table, in its order.
    (n, n_latents) float32
        Their latents.
    """
    channels = range(channel, channel + classifier.bundle.info.n_channels)
    movie.check_channel(channels[-1])

    def score(block: tuple[int, Patches]) -> tuple[int, pd.DataFrame, NDArray[np.float32]]:
        frame, patches = block
        scores = classifier(patches)
        return frame, score_columns(scores, classifier.bundle.info.classes), scores.latents

    tables: list[pd.DataFrame] = []
    latents: list[NDArray[np.float32]] = []
    n_threads = torch.get_num_threads()
    # one that is being filled, one that waits, and one a thread
    blocks = crop_blocks(movie, tracks, channels, zoom, n_rooms=n_threads + 2)
    # Several blocks side by side, each on one core: faster than one block whose layers wait for all cores. This thread
    # crops, and torch's helpers would take the cores that encode.
    with on_one_core():
        for frame, table, codes in in_threads(score, blocks, n_threads, partial(torch.set_num_threads, 1)):
            tables.append(table)
            latents.append(codes)
            yield FrameClassified(frame + 1, movie.n_frames, len(table))
    return pd.concat(tables, ignore_index=True), np.concatenate(latents)


def export_patches_job(
    movie: Movie, classification: Classification, rows: ArrayLike | None, path: Path, channels: range
) -> Job[Path]:
    """Crop nuclei anew and save their patches as npz; `classify_patches` gives them the same scores.

    Parameters
    ----------
    movie : Movie
        What was classified.
    classification : Classification
        Where the nuclei are.
    rows : array of int, optional
        Which rows of the classification; all by default.
    path : Path
        Of the npz file: ``x`` (n, n_channels, 64, 64) float32, ``track_id`` and ``frame`` (n,).
    channels : range
        Channels that the model reads.

    Raises
    ------
    NucleiError
        If no row is chosen.
    """
    chosen = classification.rows if rows is None else classification.rows.iloc[np.asarray(rows)]
    if not len(chosen):
        raise NucleiError("There are no nuclei to save patches of.", "Choose a track or a state that has some.")
    table = TrackTable.from_rows(chosen)
    blocks = (patches for _, patches in crop_blocks(movie, table, channels, classification.zoom))
    track_id, frame = (table.rows[name].to_numpy() for name in ("track_id", "frame"))
    for done in write_patches(blocks, len(table), path, track_id, frame):
        yield PatchesClassified(done, len(table))
    yield FileWritten(path)
    return path


def export_job(
    movie: Movie, classification: Classification, config: ClassifyConfig, folder: Path, *, patches: bool = False
) -> Job[None]:
    """Write all files of a classification into a folder: table, states, overlay, record; patches where asked for.

    Raises
    ------
    OutputError
        If the folder can't be written to.
    """
    channel = config.movie.channel
    csv, states, overlay, record = (folder / name for name in OUTPUT_NAMES)
    write_nuclei_csv(classification, csv)
    yield FileWritten(csv)
    write_states(classification, states, pixel_size_um=movie.pixel_size_um, frame_interval_min=movie.frame_interval_min)
    yield FileWritten(states)
    write_overlay(classification, movie, channel, overlay)
    yield FileWritten(overlay)
    if patches:
        channels = range(channel, channel + find_n_channels(config.model))
        yield from export_patches_job(movie, classification, None, folder / PATCHES_NAME, channels)
    write_run(run_record(movie, classification, config), record)
    yield FileWritten(record)


def find_n_channels(model: str) -> int:
    """Return how many channels a bundle reads."""
    return read_info(find_bundle(model)).n_channels
