"""Where the nuclei of a movie are: found, measured on given masks, or claimed by given tracks. Jobs with progress."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_cellinterp.errors import NucleiError
from napari_cellinterp.events import FrameSearched, TracksLinked, Warned
from napari_cellinterp.movies.linking import link
from napari_cellinterp.movies.masks import FoundMasks, GivenMasks, claim_nuclei
from napari_cellinterp.movies.nuclei import estimate_diameter, find_nuclei
from napari_cellinterp.movies.scale import MIN_NUCLEI
from napari_cellinterp.movies.track_table import TrackTable, measure_labels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_cellinterp.config import ClassifyConfig
    from napari_cellinterp.events import Job
    from napari_cellinterp.movies.masks import FrameMasks
    from napari_cellinterp.movies.stack import Movie

N_SAMPLE_FRAMES = 5
"""Frames from which the nuclear diameter is estimated before nuclei are found."""


@dataclass(frozen=True)
class Nuclei:
    """The nuclei of a movie.

    Attributes
    ----------
    tracks : TrackTable
        Where they are, with the ids of their masks.
    masks : FrameMasks
        Label images.
    diameters_px : (n,) float64
        Diameters of the nuclei that tell the scale; empty where there are no masks.
    is_disk : (n_rows,) bool
        Rows of the table for which no nucleus was found: their mask is a disk, and says nothing of their shape.
    """

    tracks: TrackTable
    masks: FrameMasks
    diameters_px: NDArray[np.float64]
    is_disk: NDArray[np.bool_]


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


def detect(movie: Movie, given: GivenMasks | None, config: ClassifyConfig) -> Job[Nuclei]:
    """Find the nuclei of all frames, or measure those of given masks, and link them into tracks.

    Raises
    ------
    NucleiError
        If there are none in the whole movie.
    """
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
    yield from _warn_of_empty(movie, empty, config)
    diameters = _whole(rows, movie)
    if given is not None and config.labels_are_tracks:
        return _without_disks(TrackTable.from_rows(rows.assign(track_id=rows["label"])), given, diameters)
    unlinked = TrackTable.from_rows(rows.assign(track_id=np.arange(1, len(rows) + 1)))
    # A nucleus that the image's edge cuts isn't small for being condensed.
    area = np.where(_is_whole(rows, movie), rows["area_px"], np.iinfo(np.int64).max)
    table = link(unlinked, config.linking, float(np.median(diameters)), area)
    yield TracksLinked(table.n_tracks, _n_divisions(table))
    masks: FrameMasks = given or found  # type: ignore[assignment]
    return _without_disks(table, masks, diameters)


def _without_disks(table: TrackTable, masks: FrameMasks, diameters_px: NDArray[np.float64]) -> Nuclei:
    return Nuclei(table, masks, diameters_px, np.zeros(len(table), bool))


def _n_divisions(table: TrackTable) -> int:
    parents = table.rows.drop_duplicates("track_id")["parent_track_id"]
    return int(parents[parents > 0].nunique())


def _whole(rows: pd.DataFrame, movie: Movie) -> NDArray[np.float64]:
    """Diameters of the nuclei that the image's edge doesn't cut; of all where too few are whole."""
    inside = _is_whole(rows, movie)
    return rows["diameter_px"].to_numpy(np.float64)[inside if inside.sum() >= MIN_NUCLEI else slice(None)]


def _is_whole(rows: pd.DataFrame, movie: Movie) -> NDArray[np.bool_]:
    margin = 0.6 * float(rows["diameter_px"].median())
    inside = rows["y"].between(margin, movie.height - margin) & rows["x"].between(margin, movie.width - margin)
    return inside.to_numpy(np.bool_)


def _why_no_nuclei(movie: Movie, given: GivenMasks | None, config: ClassifyConfig) -> tuple[str, str]:
    if given is not None:
        return "The label image has no nuclei: all of it is 0.", "Give labels with ids from 1, or let nuclei be found."
    return (
        f"No nuclei were found in any of the {movie.n_frames} frames of channel {config.movie.channel}.",
        "Check the channel, give the diameter of a nucleus (--nucleus-diameter-px; Scale in the viewer), or give a "
        "label image (--labels; Source in the viewer).",
    )


def _warn_of_empty(movie: Movie, empty: list[int], config: ClassifyConfig) -> Iterator[Warned]:
    """Tell blank frames, in which there is nothing at all, from frames without nuclei."""
    blank = []
    for t in empty:
        plane = np.asarray(movie.plane(t, config.movie.channel), np.float64)
        finite = plane[np.isfinite(plane)]
        if not finite.size or np.ptp(finite) == 0:
            blank.append(t)
    if blank:
        yield Warned("blank_frames", f"{len(blank)} frames are blank ({_some(blank)}).", len(blank))
    rest = sorted(set(empty) - set(blank))
    if rest:
        yield Warned("frames_without_nuclei", f"{len(rest)} frames have no nuclei ({_some(rest)}).", len(rest))


def _some(frames: list[int], n: int = 5) -> str:
    return "frame " + ", ".join(map(str, frames[:n])) + (", ..." if len(frames) > n else "")


def claim(movie: Movie, given: GivenMasks | None, tracks: TrackTable, config: ClassifyConfig) -> Job[Nuclei]:
    """Give tracks or points their masks: the nucleus under each, else a disk of the nuclear diameter.

    Raises
    ------
    TracksError
        If they don't fit the movie.
    NucleiError
        If there are none.
    """
    inside = tracks.check_fits(movie)
    if not inside.all():
        n = int((~inside).sum())
        yield Warned("points_outside", f"{n} points lie outside the image and were left out.", n)
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
    table, masks, is_disk = _claimed(TrackTable(rows), given or found, _disk_diameter(config, diameters))
    return Nuclei(table, masks, diameters, is_disk)


def _disk_diameter(config: ClassifyConfig, diameters: NDArray[np.float64]) -> float:
    """Diameter of the disks for points without a nucleus; if nothing tells it, the scale will ask for it."""
    return config.scale.nucleus_diameter_px or (float(np.median(diameters)) if len(diameters) else 1.0)


def _claimed(
    points: TrackTable, nuclei: FrameMasks, diameter_px: float
) -> tuple[TrackTable, FoundMasks, NDArray[np.bool_]]:
    masks, is_disk = FoundMasks(nuclei.shape), np.zeros(len(points), bool)
    y, x = points.rows["y"].to_numpy(), points.rows["x"].to_numpy()
    ids = np.zeros(len(points), np.int64)
    for t, rows in points.frames():
        there = nuclei.frame(t)
        labels, ids[rows] = claim_nuclei(there, y[rows], x[rows], diameter_px)
        is_disk[rows] = ids[rows] > there.max()
        masks.set_frame(t, labels)
    return TrackTable.from_rows(points.rows.assign(label=ids)), masks, is_disk
