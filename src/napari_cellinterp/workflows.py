"""Whole jobs: generators of events that return their result, and plain functions that run them to the end.

Command line and widgets only present what is here.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from napari_cellinterp.config import ClassifyConfig
from napari_cellinterp.errors import NucleiError, PatchesError
from napari_cellinterp.events import (
    Event,
    FileWritten,
    FrameClassified,
    FrameSearched,
    PatchesClassified,
    ScaleChosen,
    TracksLinked,
    Warned,
)
from napari_cellinterp.models.bundle import ModelBundle, load_bundle
from napari_cellinterp.models.bundle_info import find_bundle, read_info
from napari_cellinterp.models.classifier import Classifier
from napari_cellinterp.models.novelty import FLAGS
from napari_cellinterp.movies.linking import link
from napari_cellinterp.movies.masks import FoundMasks, GivenMasks, claim_nuclei
from napari_cellinterp.movies.nuclei import estimate_diameter, find_nuclei
from napari_cellinterp.movies.patches import PaddedFrame, Patches, normalise, patches_from_images
from napari_cellinterp.movies.scale import Scale, choose_scale
from napari_cellinterp.movies.stack import Movie, check_labels, movie_from_array, open_labels, open_movie
from napari_cellinterp.movies.track_table import TrackTable, measure_labels
from napari_cellinterp.movies.tracks import read_tracks
from napari_cellinterp.results.export import write_nuclei_csv, write_patches, write_run, write_states
from napari_cellinterp.results.overlay import write_overlay
from napari_cellinterp.results.table import Classification, classification_rows, score_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import ArrayLike, NDArray

    from napari_cellinterp.events import Job
    from napari_cellinterp.movies.masks import FrameMasks

T = TypeVar("T")

OUTPUT_NAMES = ("nuclei.csv", "states.ome.tif", "overlay.png", "run.json")
PATCHES_NAME = "patches.npz"
VERSIONED = ("napari-cellinterp", "torch", "numpy", "scikit-image", "laptrack")

BLOCK = 512
"""Crops that are normalised and classified at a time."""

N_SAMPLE_FRAMES = 5
"""Frames from which the nuclear diameter is estimated before nuclei are found."""


def finish(job: Job[T], progress: Callable[[Event], None] | None = None) -> T:
    """Run a job to its end and return its result.

    Parameters
    ----------
    job : generator
        Any job of this module.
    progress : callable, optional
        Gets each event.
    """
    with closing(job):
        while True:
            try:
                event = next(job)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            if progress is not None:
                progress(event)


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


def read_crops(path: str | Path) -> NDArray[Any]:
    """Read single-nucleus images from an npz file or a folder of images.

    Parameters
    ----------
    path : str or Path
        ``.npz`` with an array ``x``, or a folder of TIFF or PNG images of one size, taken in the order of their names.

    Returns
    -------
    (n, height, width) or (n, n_channels, height, width) array

    Raises
    ------
    PatchesError
        If there are no such images in it.
    """
    path = Path(path)
    if path.is_dir():
        return _read_crop_folder(path)
    if not path.is_file():
        raise PatchesError(f"There is no file {path}.", "Give an .npz file, or a folder of images.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            if "x" not in archive:
                raise PatchesError(
                    f"{path} has no array x; it has: {', '.join(archive) or 'nothing'}.",
                    "Save the crops as numpy.savez(path, x=crops).",
                )
            crops: NDArray[Any] = archive["x"]
    except PatchesError:
        raise
    except Exception as error:  # numpy and zipfile raise many kinds for a damaged archive
        raise PatchesError(f"{path} can't be read as an .npz file: {error}.", "Save it with numpy.savez.") from error
    return crops


def _read_crop_folder(folder: Path) -> NDArray[Any]:
    from skimage.io import imread

    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in {".tif", ".tiff", ".png"})
    if not files:
        raise PatchesError(f"The folder {folder} has no TIFF or PNG images.", "Give a folder with one image a nucleus.")
    images = []
    for file in files:
        try:
            images.append(np.asarray(imread(file)))
        except Exception as error:  # each image plugin raises its own kinds
            raise PatchesError(f"{file} can't be read as an image: {error}.", "Take it out of the folder.") from error
        if images[-1].shape != images[0].shape or images[-1].ndim != 2:
            raise PatchesError(
                f"{file} has shape {images[-1].shape}; {files[0].name} has {images[0].shape}.",
                "All crops of a folder must be grey images of one size.",
            )
    return np.stack(images)


@dataclass
class _Log:
    """Counts the warnings of a job as they pass, and times its stages."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    _since: float = field(default_factory=perf_counter)

    def stage(self, name: str) -> None:
        """Note that a stage is over."""
        now = perf_counter()
        self.seconds[name], self._since = round(now - self._since, 3), now

    def warn(self, kind: str, message: str, count: int = 1) -> Warned:
        self.counts[kind] += count
        return Warned(kind, message, count)


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
    config = config or ClassifyConfig()
    log = _Log()
    movie = _open(movie, config)
    movie.check_channel(config.movie.channel)
    given = _given_masks(labels, movie)
    if isinstance(tracks, str | Path):
        tracks = read_tracks(tracks, pixel_size_um=movie.pixel_size_um)
    bundle = bundle or load_bundle(config.model)
    classifier = Classifier(bundle, config.head, reconstruct=config.reconstruct)
    log.stage("open")
    for note in movie.notes:
        yield log.warn("notes", note)
    if tracks is None:
        table, masks, diameters = yield from _nuclei_of(movie, given, config, log)
    else:
        table, masks, diameters = yield from _nuclei_under(movie, given, tracks, config, log)
    log.stage("find_and_link")
    scale = _scale(config, diameters, movie.pixel_size_um, bundle)
    yield ScaleChosen(scale.zoom, scale.reason)
    if scale.warning:
        yield log.warn("scale", scale.warning)
    scores = yield from score_nuclei(movie, table, config.movie.channel, scale.zoom, classifier)
    log.stage("crop_and_classify")
    yield from _warn_of_flags(scores["flag"], log)
    return Classification(
        rows=classification_rows(table, scores),
        classes=bundle.info.classes,
        masks=masks,
        zoom=scale.zoom,
        bundle_name=bundle.info.name,
        bundle_hash=bundle.hash,
        head=config.head,
        warnings=dict(log.counts),
        scale_reason=scale.reason,
        seconds=log.seconds,
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


def _warn_of_flags(flags: pd.Series[str], log: _Log) -> Iterator[Warned]:
    said = {
        "not_finite": "crops have pixels that aren't numbers; their state is empty",
        "blank": "crops are blank; their state means nothing",
        "saturated": "crops are saturated; their state is uncertain",
        "blurred": "crops are out of focus; their state is uncertain",
    }
    for name in FLAGS:
        n = int((flags == name).sum())
        if n and name in said:
            yield log.warn(f"{name}_crops", f"{n} {said[name]} (is_novel, flag {name}).", n)


def _search_diameter(movie: Movie, config: ClassifyConfig) -> float | None:
    """Median diameter for the search: as given, else estimated on some frames all over the movie."""
    if config.scale.nucleus_diameter_px is not None:
        return config.scale.nucleus_diameter_px
    frames = np.unique(np.linspace(0, movie.n_frames - 1, N_SAMPLE_FRAMES).round().astype(int))
    found = [estimate_diameter(movie.plane(int(t), config.movie.channel), config.nuclei) for t in frames]
    known = [diameter for diameter in found if diameter is not None]
    return float(np.median(known)) if known else None


def _searched(
    movie: Movie, masks: GivenMasks | None, config: ClassifyConfig
) -> Iterator[tuple[int, Any, pd.DataFrame]]:
    """Label image and measured nuclei of each frame, given or found."""
    diameter = None if masks else _search_diameter(movie, config)
    for t in range(movie.n_frames):
        if masks:
            labels = masks.frame(t)
        else:
            labels = find_nuclei(movie.plane(t, config.movie.channel), config.nuclei, diameter)
        yield t, labels, measure_labels(labels)


def _nuclei_of(
    movie: Movie, given: GivenMasks | None, config: ClassifyConfig, log: _Log
) -> Job[tuple[TrackTable, FrameMasks, NDArray[np.float64]]]:
    """Nuclei of all frames, found or given as labels, linked into tracks."""
    found = None if given else FoundMasks((movie.n_frames, movie.height, movie.width))
    parts, empty = [], []
    for t, labels, measured in _searched(movie, given, config):
        if found is not None:
            found.set_frame(t, labels)
        if not len(measured):
            empty.append(t)
        parts.append(measured.assign(frame=t))
        yield FrameSearched(t + 1, movie.n_frames, len(measured))
    rows = pd.concat(parts, ignore_index=True)
    if not len(rows):
        raise NucleiError(*_why_no_nuclei(movie, given, config))
    yield from _warn_of_empty(movie, empty, config, log)
    diameters = _whole(rows, movie)
    if given is not None and config.labels_are_tracks:
        return TrackTable.from_rows(rows.assign(track_id=rows["label"])), given, diameters
    unlinked = TrackTable.from_rows(rows.assign(track_id=np.arange(1, len(rows) + 1)))
    table = link(unlinked, config.linking, float(np.median(diameters)))
    yield TracksLinked(table.n_tracks, _n_divisions(table))
    masks: FrameMasks = given or found  # type: ignore[assignment]
    return table, masks, diameters


def _n_divisions(table: TrackTable) -> int:
    parents = table.rows.drop_duplicates("track_id")["parent_track_id"]
    return int(parents[parents > 0].nunique())


def _whole(rows: pd.DataFrame, movie: Movie) -> NDArray[np.float64]:
    """Diameters of the nuclei that the image's edge doesn't cut; of all where too few are whole."""
    margin = 0.6 * float(rows["diameter_px"].median())
    inside = rows["y"].between(margin, movie.height - margin) & rows["x"].between(margin, movie.width - margin)
    chosen = rows.loc[inside if inside.sum() >= 20 else slice(None), "diameter_px"]
    return np.asarray(chosen, np.float64)


def _why_no_nuclei(movie: Movie, given: GivenMasks | None, config: ClassifyConfig) -> tuple[str, str]:
    if given is not None:
        return "The label image has no nuclei: all of it is 0.", "Give labels with ids from 1, or let nuclei be found."
    return (
        f"No nuclei were found in any of the {movie.n_frames} frames of channel {config.movie.channel}.",
        "Check the channel, give the diameter of a nucleus (--nucleus-diameter-px), or give a label image (--labels).",
    )


def _warn_of_empty(movie: Movie, empty: list[int], config: ClassifyConfig, log: _Log) -> Iterator[Warned]:
    """Tell blank frames, in which there is nothing at all, from frames without nuclei."""
    blank = []
    for t in empty:
        plane = np.asarray(movie.plane(t, config.movie.channel), np.float64)
        finite = plane[np.isfinite(plane)]
        if not finite.size or np.ptp(finite) == 0:
            blank.append(t)
    if blank:
        yield log.warn("blank_frames", f"{len(blank)} frames are blank ({_some(blank)}).", len(blank))
    rest = sorted(set(empty) - set(blank))
    if rest:
        yield log.warn("frames_without_nuclei", f"{len(rest)} frames have no nuclei ({_some(rest)}).", len(rest))


def _some(frames: list[int], n: int = 5) -> str:
    return "frame " + ", ".join(map(str, frames[:n])) + (", ..." if len(frames) > n else "")


def _nuclei_under(
    movie: Movie, given: GivenMasks | None, tracks: TrackTable, config: ClassifyConfig, log: _Log
) -> Job[tuple[TrackTable, FrameMasks, NDArray[np.float64]]]:
    """Masks for given tracks or points: the nucleus under each, else a disk."""
    inside = tracks.check_fits(movie)
    if not inside.all():
        n = int((~inside).sum())
        yield log.warn("points_outside", f"{n} points lie outside the image and were left out.", n)
    rows = tracks.rows[inside].reset_index(drop=True)
    if not len(rows):
        raise NucleiError("There are no tracks or points to classify.", "Give at least one.")
    found = FoundMasks((movie.n_frames, movie.height, movie.width))
    parts = []
    for t, labels, nuclei in _searched(movie, given, config):
        if given is None:
            found.set_frame(t, labels)
        parts.append(nuclei)
        yield FrameSearched(t + 1, movie.n_frames, len(nuclei))
    measured = pd.concat(parts, ignore_index=True)
    diameters = _whole(measured, movie) if len(measured) else np.empty(0)
    table, masks = _claimed(rows, given or found, _disk_diameter(config, diameters))
    return table, masks, diameters


def _disk_diameter(config: ClassifyConfig, diameters: NDArray[np.float64]) -> float:
    """Diameter of the disks for points without a nucleus; if nothing tells it, the scale will ask for it."""
    return config.scale.nucleus_diameter_px or (float(np.median(diameters)) if len(diameters) else 1.0)


def _claimed(rows: pd.DataFrame, nuclei: FrameMasks, diameter_px: float) -> tuple[TrackTable, FoundMasks]:
    masks = FoundMasks(nuclei.shape)
    ids = np.zeros(len(rows), np.int64)
    for t, group in rows.groupby("frame"):
        labels, ids[group.index] = claim_nuclei(nuclei.frame(int(t)), group["y"], group["x"], diameter_px)
        masks.set_frame(int(t), labels)
    return TrackTable.from_rows(rows.assign(label=ids)), masks


def score_nuclei(
    movie: Movie, tracks: TrackTable, channel: int, zoom: float, classifier: Classifier
) -> Job[pd.DataFrame]:
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
    """
    channels = range(channel, channel + classifier.bundle.info.n_channels)
    movie.check_channel(channels[-1])
    parts = []
    for frame, patches in _one_ahead(crop_blocks(movie, tracks, channels, zoom)):
        parts.append(score_columns(classifier(patches), classifier.bundle.info.classes))
        yield FrameClassified(frame + 1, movie.n_frames, len(patches))
    return pd.concat(parts, ignore_index=True)


def crop_blocks(movie: Movie, tracks: TrackTable, channels: range, zoom: float) -> Iterator[tuple[int, Patches]]:
    """Crop nuclei in the order of the track table, in blocks that span frames.

    Yields
    ------
    frame : int
        Frame of the block's last nucleus.
    patches : Patches
        At least `BLOCK` of them, but for the last block, and less than twice as many.
    """
    waiting: list[NDArray[np.float32]] = []
    last = 0
    for t, group in tracks.rows.groupby("frame"):
        last = int(t)
        frame = PaddedFrame(np.stack([movie.plane(last, c) for c in channels]), zoom)
        y, x = group["y"].to_numpy(), group["x"].to_numpy()
        for start in range(0, len(group), BLOCK):
            waiting.append(frame.crop(y[start : start + BLOCK], x[start : start + BLOCK]))
            if sum(map(len, waiting)) >= BLOCK:
                yield last, normalise(np.concatenate(waiting))
                waiting = []
    if waiting:
        yield last, normalise(np.concatenate(waiting))


def _one_ahead(items: Iterator[T]) -> Iterator[T]:
    """Make the next item in a thread while the current one is used: crops are cut while the network runs."""
    take = partial(next, items, None)
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(take)
        while (item := coming.result()) is not None:
            coming = pool.submit(take)
            yield item


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


def run_record(movie: Movie, classification: Classification, config: ClassifyConfig) -> dict[str, Any]:
    """Return what ``run.json`` holds: model, options, versions, counts, warnings and timing."""
    rows = classification.rows
    flags = rows.loc[rows["flag"] != "", "flag"].value_counts()
    return {
        "model": classification.bundle_name,
        "bundle_hash": classification.bundle_hash,
        "head": classification.head,
        "movie": {
            "source": movie.source,
            "shape_tcyx": movie.data.shape,
            "pixel_size_um": movie.pixel_size_um,
            "frame_interval_min": movie.frame_interval_min,
            "notes": movie.notes,
        },
        "scale": {"zoom": classification.zoom, "reason": classification.scale_reason},
        "options": config.model_dump(mode="json"),
        "counts": {
            "nuclei_and_frames": len(rows),
            "tracks": int(rows["track_id"].nunique()),
            **classification.counts(),
            "novel": int(rows["is_novel"].sum()),
            "flags": {str(name): int(n) for name, n in flags.items()},
        },
        "warnings": classification.warnings,
        "seconds": classification.seconds,
        "versions": {name: version(name) for name in VERSIONED},
    }
