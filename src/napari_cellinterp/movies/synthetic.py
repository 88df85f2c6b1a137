"""Simulate nuclei, still images and whole movies with known factors (also the sample data)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_cellinterp.config import PATCH_PX, REFERENCE_DIAMETER_PX
from napari_cellinterp.movies import shapes
from napari_cellinterp.movies.shapes import ANAPHASE, APOPTOSIS, INTERPHASE, METAPHASE, PROMETAPHASE, Factors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Rng = np.random.Generator

STILL_STATES: Mapping[int, float] = {
    INTERPHASE: 0.90,
    METAPHASE: 0.035,
    PROMETAPHASE: 0.025,
    ANAPHASE: 0.02,
    APOPTOSIS: 0.02,
}
"""How often each state is drawn in still images for training: more mitoses than in culture, but so few that most
neighbours are in interphase: among many condensed ones, all nuclei are darker in their crops than real ones are."""


@dataclass(frozen=True)
class Culture:
    """What one image's nuclei have in common: cell line, stain and seeding.

    Attributes
    ----------
    diameter_px : float
        Median diameter of an interphase nucleus, model pixels.
    diameter_sd, brightness_sd : float
        Spread between nuclei (standard deviation of the logarithm).
    elongation : float
        Typical ratio of length to width, at least 1.
    texture : float
        Relative standard deviation of the interphase chromatin.
    lobes : float
        How irregular interphase outlines are.
    density : float
        Nuclei per area of a nucleus of the median diameter, 0 to 1.
    condensation : float
        Brightness of condensed chromatin relative to interphase.
    plate_scale : float
        Size of plates relative to the nuclei.
    rounding_px : float
        Dividing cells round up and keep their neighbours at this distance, model pixels; where it is small, nuclei lie
        above and below them.
    ring_share : float
        Share of the prometaphases that are rings, with a hole in the middle.
    prometaphase_elongation : float
        Largest ratio of length to width of a prometaphase.
    prometaphase_scale, prometaphase_brightness : float
        Size and brightness of prometaphases relative to plates.
    prometaphase_raggedness_px : float
        Of the smoothest prometaphase, model pixels.
    """

    diameter_px: float
    diameter_sd: float
    brightness_sd: float
    elongation: float
    texture: float
    lobes: float
    density: float
    condensation: float
    plate_scale: float
    rounding_px: float = 13.0
    ring_share: float = 0.5
    prometaphase_elongation: float = 1.35
    prometaphase_scale: float = 1.0
    prometaphase_brightness: float = 1.0
    prometaphase_raggedness_px: float = 1.2


@dataclass(frozen=True)
class Optics:
    """What the microscope and camera do to one image.

    Attributes
    ----------
    blur_px : float
        Standard deviation of the point spread function, model pixels.
    haze : float
        Share of the light that is out of focus, 0 to 1.
    background : float
        Level of the background; a typical nucleus has 1.
    gradient : float
        Relative change of illumination from one side of the image to the other.
    photons : float
        Photons per pixel of a typical nucleus; sets the shot noise.
    read_noise : float
        Standard deviation of the camera's noise; a typical nucleus has 1.
    resampled_blur_px : float
        Smoothing of the noise that resampling to the model's scale brings, model pixels.
    saturation : float
        Level at which the camera clips.
    """

    blur_px: float
    haze: float
    background: float
    gradient: float
    photons: float
    read_noise: float
    resampled_blur_px: float
    saturation: float


def draw_culture(rng: Rng) -> Culture:
    """Draw a culture at random, as varied as cell lines are."""
    plate_scale = float(np.exp(rng.uniform(np.log(0.95), np.log(1.6))))
    return Culture(
        diameter_px=REFERENCE_DIAMETER_PX * float(np.exp(rng.normal(0, 0.1))),
        diameter_sd=rng.uniform(0.06, 0.28),
        brightness_sd=rng.uniform(0.05, 0.35),
        elongation=1 + rng.gamma(2.5, 0.17),
        texture=rng.choice([rng.uniform(0.02, 0.12), rng.uniform(0.1, 0.38)]),
        lobes=rng.gamma(2.0, 0.02),
        # so that crops, of which dense scenes have more, are of all densities alike
        density=float(np.exp(rng.uniform(np.log(0.02), np.log(0.62)))),
        condensation=float(np.exp(rng.uniform(np.log(1.8), np.log(5.5)))),
        plate_scale=plate_scale,
        rounding_px=rng.uniform(5, 13),
        ring_share=rng.uniform(0.1, 0.6),
        prometaphase_elongation=rng.uniform(1.2, 1.9),
        prometaphase_scale=1.1 / np.sqrt(plate_scale),  # they differ less in size than plates do
        prometaphase_brightness=rng.uniform(0.6, 1),
        prometaphase_raggedness_px=rng.uniform(0.5, 1.2),
    )


def draw_optics(rng: Rng) -> Optics:
    """Draw a microscope at random: sharp to blurred, clean to noisy."""
    return Optics(
        blur_px=float(np.exp(rng.uniform(np.log(0.55), np.log(2.4)))),
        haze=rng.choice([0.0, rng.uniform(0, 0.3), rng.uniform(0.1, 0.5)]),
        background=float(np.exp(rng.uniform(np.log(0.01), np.log(0.6)))),
        gradient=rng.choice([0.0, rng.uniform(0, 0.6)]),
        photons=float(np.exp(rng.uniform(np.log(15), np.log(10_000)))),
        read_noise=float(np.exp(rng.uniform(np.log(0.001), np.log(0.06)))),
        resampled_blur_px=rng.choice([0.0, rng.uniform(0, 1.0)]),
        saturation=rng.choice([np.inf, rng.uniform(1.2, 5.0)], p=[0.85, 0.15]),
    )


def draw_factors(state: NDArray[np.int64], culture: Culture, rng: Rng) -> Factors:
    """Draw the factors of nuclei of the given states at random.

    Parameters
    ----------
    state : (n,) int
        Indices into `shapes.STATES`.
    culture : Culture
        What the nuclei have in common.
    rng : numpy.random.Generator
        Source of chance.

    Returns
    -------
    Factors
        n nuclei, all at position (0, 0).
    """
    n = len(state)
    length, width = _draw_sizes(state, culture, rng)
    condensed = state != INTERPHASE
    newborn = (state == INTERPHASE) & (rng.random(n) < 0.07)
    length, width = length * np.where(newborn, 0.72, 1), width * np.where(newborn, 0.62, 1)
    lobes = rng.normal(0, 1, (n, shapes.N_HARMONICS, 2)) * culture.lobes / np.arange(1, shapes.N_HARMONICS + 1)[:, None]
    brightness = np.exp(rng.normal(0, culture.brightness_sd, n)) * np.where(newborn, rng.uniform(1, 1.7, n), 1)
    brightness = np.where(condensed, culture.condensation * np.exp(rng.normal(0, 0.2, n)), brightness)
    brightness = brightness * np.select(
        [state == ANAPHASE, state == PROMETAPHASE], [0.8, culture.prometaphase_brightness], 1.0
    )
    plate = (state == METAPHASE) | (state == ANAPHASE)
    ragged = np.select(
        [plate, state == PROMETAPHASE, state == APOPTOSIS],
        [rng.uniform(0.1, 1.4, n), rng.uniform(culture.prometaphase_raggedness_px, 2.6, n), rng.uniform(0, 0.4, n)],
        rng.uniform(0, 0.5, n),
    )
    texture = np.select(
        [plate, state == PROMETAPHASE, state == APOPTOSIS],
        [rng.uniform(0.02, 0.35, n), rng.uniform(0.15, 0.5, n), rng.uniform(0, 0.1, n)],
        culture.texture * np.exp(rng.normal(0, 0.2, n)),
    )
    f32 = np.float32
    return Factors(
        state=np.asarray(state, np.int64),
        y=np.zeros(n, f32),
        x=np.zeros(n, f32),
        length_px=length.astype(f32),
        width_px=width.astype(f32),
        angle_rad=rng.uniform(0, np.pi, n).astype(f32),
        brightness=brightness.astype(f32),
        texture=texture.astype(f32),
        raggedness_px=ragged.astype(f32),
        bend_px=np.where(plate, rng.normal(0, 0.9, n), 0).astype(f32),
        dome=rng.uniform(-0.15, 0.5, n).astype(f32),
        nucleoli=np.where(condensed, 0, rng.uniform(0, 0.6, n) * (rng.random(n) < 0.6)).astype(f32),
        halo=np.where(condensed, rng.uniform(0.0, 0.09, n), 0).astype(f32),
        hole=np.where(rng.random(n) < 1 - culture.ring_share, 0, rng.uniform(0.15, 0.5, n)).astype(f32),
        lobes=lobes.astype(f32),
        bodies=_draw_bodies(n, rng).astype(f32),
        field=rng.integers(0, shapes.N_FIELDS, n),
        shift=rng.integers(0, shapes.FIELD_PX, (n, 2)),
    )


def _draw_sizes(state: NDArray[np.int64], culture: Culture, rng: Rng) -> tuple[Array, Array]:
    """Length and width, model pixels; plates scale with the culture's nuclei."""
    n = len(state)
    diameter = culture.diameter_px * np.exp(rng.normal(0, culture.diameter_sd, n))
    elongation = 1 + (culture.elongation - 1) * rng.gamma(2.0, 0.5, n)
    elongation = np.clip(elongation, 1, 3)
    scale = culture.diameter_px / REFERENCE_DIAMETER_PX * culture.plate_scale * np.exp(rng.normal(0, 0.08, n))
    ring = scale * culture.prometaphase_scale * rng.uniform(17, 26, n)
    length = [ring, scale * rng.uniform(17, 27, n), scale * rng.uniform(12, 20, n)]
    width = [
        ring / rng.uniform(1, culture.prometaphase_elongation, n),
        scale * rng.uniform(6, 11.5, n),
        scale * rng.uniform(4.5, 8, n),
    ]
    which = [state == PROMETAPHASE, state == METAPHASE, state == ANAPHASE]
    return (
        np.select(which, length, diameter * np.sqrt(elongation)),
        np.select(which, width, diameter / np.sqrt(elongation)),
    )


def _draw_bodies(n: int, rng: Rng) -> Array:
    """Apoptotic bodies: one to six, the first the largest and near the centre."""
    radius = rng.uniform(1.8, 5.5, (n, shapes.N_BODIES))
    radius *= np.arange(shapes.N_BODIES) < rng.integers(1, shapes.N_BODIES + 1, (n, 1))
    radius[:, 0] = rng.uniform(3.5, 7.0, n)
    distance, angle = rng.uniform(3, 12, radius.shape), rng.uniform(0, 2 * np.pi, radius.shape)
    distance[:, 0] *= 0.2
    return np.stack([distance * np.cos(angle), distance * np.sin(angle), radius], axis=-1)


@dataclass(frozen=True)
class Scene:
    """A simulated still image and all that is known about it.

    Attributes
    ----------
    image : (height, width) float32
        What the camera sees; a typical nucleus rises by 1 above the background.
    labels : (height, width) int32
        True masks: 0 background, i + 1 for the i-th nucleus.
    factors : Factors
        The nuclei, with their positions in pixels of the image.
    """

    image: Array
    labels: NDArray[np.int32]
    factors: Factors


def simulate_scene(
    rng: Rng,
    *,
    shape: tuple[int, int] = (512, 512),
    zoom: float = 1.0,
    culture: Culture | None = None,
    optics: Optics | None = None,
    states: Mapping[int, float] = STILL_STATES,
) -> Scene:
    """Simulate one image of a culture, with all states side by side.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of chance.
    shape : tuple of int
        Height and width, pixels.
    zoom : float
        Image pixels per model pixel: 1 gives nuclei of about 29 px.
    culture, optics : optional
        What the nuclei and the microscope are like; drawn at random where not given.
    states : mapping of int to float
        How often each state of `shapes.STATES` is drawn.
    """
    culture, optics = culture or draw_culture(rng), optics or draw_optics(rng)
    n = max(1, round(culture.density * shape[0] * shape[1] / (np.pi / 4 * (culture.diameter_px * zoom) ** 2)))
    state = rng.choice(list(states), n, p=np.array(list(states.values())) / sum(states.values()))
    factors = draw_factors(state, culture, rng)
    y, x = _place(factors, shape, zoom, culture.rounding_px, rng)
    factors = _with_sisters(factors.at(y, x), zoom, rng)
    signal, labels = compose(factors, shape, zoom)
    return Scene(image=expose(signal, optics, zoom, rng), labels=labels, factors=factors)


def _place(
    f: Factors, shape: tuple[int, int], zoom: float, rounding_px: float, rng: Rng, n_tries: int = 30
) -> tuple[Array, Array]:
    """Positions that keep nuclei apart, as far as there is room: the best of some random tries each."""
    rounded = np.where(f.state == INTERPHASE, 0, rounding_px)
    radius = zoom * np.maximum(np.sqrt(f.length_px * f.width_px) / 2, rounded)
    y, x = np.empty(len(f), np.float32), np.empty(len(f), np.float32)
    for i in range(len(f)):
        ys, xs = rng.uniform(0, shape[0], n_tries), rng.uniform(0, shape[1], n_tries)
        gap = np.hypot(ys[:, None] - y[:i], xs[:, None] - x[:i]) / (radius[i] + radius[:i])
        nearest = gap.min(axis=1, initial=1)
        first_free = np.argmax(nearest > 0.95) if (nearest > 0.95).any() else np.argmax(nearest)
        y[i], x[i] = ys[first_free], xs[first_free]
    return y, x


def _with_sisters(f: Factors, zoom: float, rng: Rng) -> Factors:
    """Give each anaphase plate its sister, parallel to it and bent away from it."""
    rows = np.flatnonzero(f.state == ANAPHASE)
    first = f[rows]
    gap = zoom * rng.uniform(8, 24, len(rows))
    offset_y, offset_x = np.cos(first.angle_rad) * gap, np.sin(first.angle_rad) * gap
    bend: Array = (np.abs(first.bend_px) + 0.4).astype(np.float32)
    sister = replace(first, bend_px=bend, shift=first.shift + 40).at(first.y + offset_y, first.x + offset_x)
    rest = np.ones(len(f), bool)
    rest[rows] = False
    return Factors.concatenate([f[rest], replace(first, bend_px=np.negative(bend)), sister])


def compose(factors: Factors, shape: tuple[int, int], zoom: float) -> tuple[Array, NDArray[np.int32]]:
    """Put all nuclei into one image.

    Returns
    -------
    signal : (height, width) float32
        Sum of the stain signals, before the microscope.
    labels : (height, width) int32
        True masks: i + 1 for the i-th nucleus, the brighter one where two overlap.
    """
    size = int(np.ceil(PATCH_PX * zoom / 2)) * 2
    stamps, bodies = shapes.draw_stamps(factors, zoom, size)
    signal = np.zeros((shape[0] + 2 * size, shape[1] + 2 * size), np.float32)
    labels = np.zeros(signal.shape, np.int32)
    top = np.round(factors.y).astype(int) - size // 2 + size
    left = np.round(factors.x).astype(int) - size // 2 + size
    for i in np.argsort(factors.brightness):
        if not (0 <= top[i] <= signal.shape[0] - size and 0 <= left[i] <= signal.shape[1] - size):
            continue
        window = (slice(top[i], top[i] + size), slice(left[i], left[i] + size))
        signal[window] += stamps[i]
        labels[window][bodies[i] > 0.5] = i + 1
    inner = (slice(size, -size), slice(size, -size))
    return signal[inner], labels[inner]


def expose(signal: Array, optics: Optics, zoom: float, rng: Rng, *, gain: float = 1.0) -> Array:
    """Take a picture: blur, haze, uneven light, background, shot noise, camera noise, saturation.

    Parameters
    ----------
    signal : (height, width) float32
        Stain signal.
    optics : Optics
        The microscope and camera.
    zoom : float
        Image pixels per model pixel.
    rng : numpy.random.Generator
        Source of the noise.
    gain : float
        Remaining brightness of the stain, for photobleaching.

    Returns
    -------
    image : (height, width) float32
    """
    sharp = gaussian_filter(signal, optics.blur_px * zoom)
    if optics.haze:
        sharp = (1 - optics.haze) * sharp + optics.haze * gaussian_filter(signal, 7 * zoom)
    rows = np.linspace(-0.5, 0.5, signal.shape[0], dtype=np.float32)[:, None]
    light = (gain * sharp + optics.background) * (1 + optics.gradient * rows)
    noise_sd = np.sqrt(np.clip(light, 0, None) / optics.photons + optics.read_noise**2)
    image = light + noise_sd * rng.standard_normal(signal.shape, dtype=np.float32)
    if optics.resampled_blur_px:
        image = gaussian_filter(image, optics.resampled_blur_px * zoom)
    exposed: Array = np.minimum(image, optics.saturation).astype(np.float32)
    return exposed
