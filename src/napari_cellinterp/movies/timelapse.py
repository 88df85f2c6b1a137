"""Simulate a movie of moving, dividing nuclei with known tracks and states."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_cellinterp.config import REFERENCE_DIAMETER_PX
from napari_cellinterp.movies.shapes import (
    ANAPHASE,
    INTERPHASE,
    METAPHASE,
    PROMETAPHASE,
    STATES,
    Factors,
)
from napari_cellinterp.movies.synthetic import Culture, Optics, compose, draw_factors, expose
from napari_cellinterp.movies.track_table import TrackTable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_cellinterp.config import TimelapseConfig

PROMETAPHASE_FRAMES = 2
METAPHASE_FRAMES = 3
ANAPHASE_FRAMES = 2
GROWTH_FRAMES = 10
"""Frames that a daughter needs to grow to full size."""

CAMERA_OFFSET = 110
CAMERA_GAIN = 2200
BLEACHING_PER_FRAME = 0.004

CULTURE = Culture(
    diameter_px=REFERENCE_DIAMETER_PX,
    diameter_sd=0.09,
    brightness_sd=0.18,
    elongation=1.25,
    texture=0.17,
    lobes=0.03,
    density=0.3,
    condensation=2.0,
    plate_scale=1.0,
)
OPTICS = Optics(
    blur_px=0.9,
    haze=0.12,
    background=0.06,
    gradient=0.15,
    photons=400,
    read_noise=0.012,
    resampled_blur_px=0.0,
    saturation=np.inf,
)


@dataclass
class _Cell:
    """One track: from its birth to its division or to the end of the movie."""

    track_id: int
    parent: int
    born: int
    mitosis: int
    y: float
    x: float
    looks: dict[int, Factors]

    def state(self, t: int) -> int | None:
        """State at a frame; None once it has divided."""
        if self.parent and t < self.born + ANAPHASE_FRAMES:
            return ANAPHASE
        since = t - self.mitosis
        if since < 0:
            return INTERPHASE
        if since < PROMETAPHASE_FRAMES:
            return PROMETAPHASE
        return METAPHASE if since < PROMETAPHASE_FRAMES + METAPHASE_FRAMES else None

    def factors(self, t: int) -> Factors:
        """How it looks at a frame: daughters start small and bright."""
        state = self.state(t)
        assert state is not None
        look = self.looks[state]
        if state == INTERPHASE and self.parent:
            grown = min(1.0, (t - self.born) / GROWTH_FRAMES)
            size = 0.7 + 0.3 * grown
            look = replace(
                look,
                length_px=look.length_px * np.float32(size),
                width_px=look.width_px * np.float32(size),
                brightness=look.brightness * np.float32(1.5 - 0.5 * grown),
            )
        return look.at(np.array([self.y]), np.array([self.x]))


@dataclass(frozen=True)
class TimelapseFrame:
    """One frame of a simulated movie.

    Attributes
    ----------
    image : (height, width) uint16
        What the camera records.
    labels : (height, width) uint16
        True masks; ids are tracks.
    truth : pandas.DataFrame
        ``track_id, frame, y, x, label, parent_track_id, state`` of each nucleus.
    """

    image: NDArray[np.uint16]
    labels: NDArray[np.uint16]
    truth: pd.DataFrame


def simulate_frames(config: TimelapseConfig) -> Iterator[TimelapseFrame]:
    """Simulate a movie frame by frame, so that it may be larger than memory."""
    rng = np.random.default_rng(config.seed)
    zoom = config.nucleus_diameter_px / REFERENCE_DIAMETER_PX
    cells = _seed_cells(config, rng)
    n_tracks = len(cells)
    for t in range(config.n_frames):
        cells, n_tracks = _divide(cells, t, n_tracks, zoom, rng)
        yield _draw_frame(cells, t, config, zoom, rng)
        _move(cells, t, config, rng)


def simulate_movie(
    config: TimelapseConfig,
) -> tuple[NDArray[np.uint16], NDArray[np.uint16], TrackTable, pd.Series[str]]:
    """Simulate a whole movie in memory.

    Returns
    -------
    images, labels : (T, Y, X) uint16
        What the camera records, and the true masks; label ids are tracks.
    tracks : TrackTable
        True tracks.
    states : pandas.Series
        True state of each row of the tracks.
    """
    frames = list(simulate_frames(config))
    truth = pd.concat([frame.truth for frame in frames], ignore_index=True)
    truth = truth.sort_values(["frame", "track_id"], ignore_index=True)
    images, labels = np.stack([f.image for f in frames]), np.stack([f.labels for f in frames])
    return images, labels, TrackTable.from_rows(truth), truth["state"]


def _seed_cells(config: TimelapseConfig, rng: np.random.Generator) -> list[_Cell]:
    """First cells at random places, moved apart; some divide at a time drawn over the movie."""
    n = config.n_nuclei
    y, x = rng.uniform(0, config.height, n), rng.uniform(0, config.width, n)
    reach = 1.1 * config.nucleus_diameter_px
    for _ in range(60):
        push_y, push_x = _repulsion(y, x, reach)
        y, x = (y + push_y).clip(0, config.height), (x + push_x).clip(0, config.width)
    mitosis = np.where(rng.random(n) < config.share_dividing, rng.integers(-3, config.n_frames, n), 10**9)
    return [_Cell(i + 1, 0, 0, int(mitosis[i]), y[i], x[i], _looks(rng)) for i in range(n)]


def _looks(rng: np.random.Generator) -> dict[int, Factors]:
    """One nucleus in each of its states; plates keep their direction from metaphase to anaphase."""
    looks = {s: draw_factors(np.array([s]), CULTURE, rng) for s in (INTERPHASE, PROMETAPHASE, METAPHASE, ANAPHASE)}
    looks[ANAPHASE] = replace(looks[ANAPHASE], angle_rad=looks[METAPHASE].angle_rad)
    return looks


def _divide(
    cells: list[_Cell], t: int, n_tracks: int, zoom: float, rng: np.random.Generator
) -> tuple[list[_Cell], int]:
    """Replace each cell that has finished metaphase by its two daughters, on both sides of the plate."""
    result: list[_Cell] = []
    for cell in cells:
        if cell.state(t) is not None:
            result.append(cell)
            continue
        angle = float(cell.looks[METAPHASE].angle_rad[0])
        for side in (-1, 1):
            n_tracks += 1
            step = side * 6.0 * zoom
            daughter_looks = _looks(rng) | {ANAPHASE: _anaphase_plate(cell.looks[ANAPHASE], side)}
            y, x = cell.y + np.cos(angle) * step, cell.x + np.sin(angle) * step
            result.append(_Cell(n_tracks, cell.track_id, t, 10**9, y, x, daughter_looks))
    return result, n_tracks


def _anaphase_plate(plate: Factors, side: int) -> Factors:
    """One of two sister plates, its ends bent back towards the other."""
    return replace(plate, bend_px=np.float32(-side) * (np.abs(plate.bend_px) + np.float32(0.5)))


def _draw_frame(
    cells: list[_Cell], t: int, config: TimelapseConfig, zoom: float, rng: np.random.Generator
) -> TimelapseFrame:
    factors = Factors.concatenate([cell.factors(t) for cell in cells])
    signal, order = compose(factors, (config.height, config.width), zoom)
    light = expose(signal, OPTICS, zoom, rng, gain=float(np.exp(-BLEACHING_PER_FRAME * t)))
    image = np.clip(light * CAMERA_GAIN + CAMERA_OFFSET, 0, 65535).round().astype(np.uint16)
    ids = np.array([0, *(cell.track_id for cell in cells)], np.uint16)
    visible = set(np.unique(order).tolist())
    rows = [
        (c.track_id, t, c.y, c.x, c.track_id, c.parent, STATES[int(factors.state[i])])
        for i, c in enumerate(cells)
        if i + 1 in visible
    ]
    columns = ["track_id", "frame", "y", "x", "label", "parent_track_id", "state"]
    return TimelapseFrame(image, ids[order], pd.DataFrame(rows, columns=columns))


def _move(cells: list[_Cell], t: int, config: TimelapseConfig, rng: np.random.Generator) -> None:
    """Random steps, with neighbours pushing each other apart; sister plates part."""
    y, x = np.array([c.y for c in cells]), np.array([c.x for c in cells])
    push_y, push_x = _repulsion(y, x, config.nucleus_diameter_px)
    steps = rng.normal(0, config.speed_px, (2, len(cells)))
    for i, cell in enumerate(cells):
        calm = 0.3 if cell.state(t) != INTERPHASE else 1.0
        cell.y = float(np.clip(cell.y + calm * steps[0, i] + 0.5 * push_y[i], -5, config.height + 5))
        cell.x = float(np.clip(cell.x + calm * steps[1, i] + 0.5 * push_x[i], -5, config.width + 5))


def _repulsion(y: NDArray[np.float64], x: NDArray[np.float64], reach: float) -> tuple[NDArray[np.float64], ...]:
    """Push on each point by all that are nearer than reach, pixels."""
    dy, dx = y[:, None] - y, x[:, None] - x
    distance = np.hypot(dy, dx) + 1e-6
    push = np.clip(reach - distance, 0, None) * (distance < reach) * (distance > 1e-5) / distance * 0.3
    return (push * dy).sum(axis=1), (push * dx).sum(axis=1)
