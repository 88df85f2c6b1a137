"""Draw simulated nuclei, one stamp each, from known factors.

A shape is a distance to its boundary (positive inside), made ragged by a random field and softened at the edge; that
one recipe gives smooth interphase nuclei and ragged plates alike. All lengths are in model pixels (29 px nuclei).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float32]

STATES = ("interphase", "prometaphase", "metaphase", "anaphase", "apoptosis")
"""States that the simulator draws; `Factors.state` is an index into it."""

INTERPHASE, PROMETAPHASE, METAPHASE, ANAPHASE, APOPTOSIS = range(5)

FIELD_PX = 128
N_FIELDS = 48
FINE, MEDIUM, COARSE = range(3)
FIELD_SIGMAS_PX = (1.3, 2.4, 4.5)
N_HARMONICS = 4
N_BODIES = 6


@dataclass(frozen=True)
class Factors:
    """The known factors of n simulated nuclei; every field is an array with n rows.

    Attributes
    ----------
    state : (n,) int
        Index into `STATES`.
    y, x : (n,) float
        Centre, pixels of the image.
    length_px, width_px : (n,) float
        Full length and width of the shape, model pixels. For anaphase, of one of the two plates.
    angle_rad : (n,) float
        Direction of the long axis, anticlockwise from the x axis as displayed.
    brightness : (n,) float
        Mean signal inside, 1 for a typical interphase nucleus.
    texture : (n,) float
        Standard deviation of the chromatin texture, relative to the mean.
    raggedness_px : (n,) float
        Standard deviation of the boundary's irregularity, model pixels.
    bend_px : (n,) float
        How far the ends of a plate lie from the line through its middle, model pixels.
    dome : (n,) float
        Relative drop of brightness from centre to edge (negative: a bright rim).
    nucleoli : (n,) float
        Depth of the dark spots in the chromatin, 0 to 1.
    halo : (n,) float
        Level of the haze of free histone around condensed chromatin.
    hole : (n,) float
        Size of the hole of a prometaphase ring, as a fraction of its radius.
    lobes : (n, N_HARMONICS, 2) float
        Cosine and sine amplitudes of the outline's harmonics 2, 3, ..., relative to the radius.
    bodies : (n, N_BODIES, 3) float
        Apoptotic bodies: offset along and across the long axis, and radius, model pixels (radius 0: none).
    field : (n,) int
        Which random field gives texture and raggedness.
    shift : (n, 2) int
        Where in that field the nucleus lies.
    """

    state: NDArray[np.int64]
    y: Array
    x: Array
    length_px: Array
    width_px: Array
    angle_rad: Array
    brightness: Array
    texture: Array
    raggedness_px: Array
    bend_px: Array
    dome: Array
    nucleoli: Array
    halo: Array
    hole: Array
    lobes: Array
    bodies: Array
    field: NDArray[np.int64]
    shift: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of nuclei."""
        return len(self.state)

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Factors:
        """Return the factors of the chosen nuclei."""
        return Factors(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def at(self, y: NDArray[np.floating], x: NDArray[np.floating]) -> Factors:
        """Return the same nuclei at other positions."""
        return replace(self, y=np.asarray(y, np.float32), x=np.asarray(x, np.float32))

    @staticmethod
    def concatenate(parts: list[Factors]) -> Factors:
        """Return all nuclei of several sets as one, in order."""
        return Factors(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Factors)})


@cache
def random_fields() -> Array:
    """Return periodic Gaussian random fields, (3 scales, N_FIELDS, FIELD_PX, FIELD_PX) float32, mean 0, SD 1."""
    rng = np.random.default_rng(20240205)
    noise = rng.standard_normal((N_FIELDS, FIELD_PX, FIELD_PX)).astype(np.float32)
    smooth = [gaussian_filter(noise, (0, s, s), mode="wrap") for s in FIELD_SIGMAS_PX]
    return np.stack([f / f.std(axis=(1, 2), keepdims=True) for f in smooth])


def draw_stamps(factors: Factors, zoom: float, size_px: int) -> tuple[Array, Array]:
    """Draw each nucleus alone on a dark square.

    Parameters
    ----------
    factors : Factors
        n nuclei; the fractional part of their position is kept.
    zoom : float
        Image pixels per model pixel.
    size_px : int
        Side of the square, image pixels.

    Returns
    -------
    signal : (n, size_px, size_px) float32
        Stain signal; the nucleus's centre lies in pixel ``size_px // 2`` plus the fraction of its position.
    body : (n, size_px, size_px) float32
        1 inside the nucleus, 0 outside, soft at the edge; ``body > 0.5`` is the true mask.
    """
    signal = np.zeros((len(factors), size_px, size_px), np.float32)
    body = np.zeros_like(signal)
    for state, shape in _SHAPES.items():
        rows = np.flatnonzero(factors.state == state)
        for chunk in np.array_split(rows, max(1, len(rows) // 128)):
            if len(chunk):
                signal[chunk], body[chunk] = _draw(factors[chunk], shape, zoom, size_px)
    return signal, body


def _draw(f: Factors, shape: Callable[..., tuple[Array, Array]], zoom: float, size_px: int) -> tuple[Array, Array]:
    u, v, grid_y, grid_x = _coordinates(f, zoom, size_px)
    fine, medium, coarse = (_sample(f, scale, grid_y, grid_x) for scale in (FINE, MEDIUM, COARSE))
    distance, relief = shape(f, u, v)
    condensed = (f.state != INTERPHASE)[:, None, None]
    near_edge = np.exp(-((distance / 3) ** 2))  # so that no piece is torn off far from the boundary
    rough = np.where(condensed, 0.8 * fine + 0.6 * medium, coarse)
    distance = distance + _col(f.raggedness_px) * near_edge * rough
    body = 1 / (1 + np.exp(np.clip(-distance / 0.45, -30, 30)))
    chromatin = np.where(condensed, fine, 0.75 * fine + 0.55 * medium)
    spots = 1 / (1 + np.exp(-4 * (medium - 1.1)))
    inside = relief * np.clip(1 + _col(f.texture) * chromatin, 0.15, None) * (1 - _col(f.nucleoli) * spots)
    haze = _col(f.halo) * np.exp(-(u**2 + v**2) / (2 * 11.0**2))
    return (_col(f.brightness) * (body * inside + haze)).astype(np.float32), body.astype(np.float32)


def _col(values: NDArray[np.floating]) -> Array:
    return values[:, None, None].astype(np.float32)


def _coordinates(f: Factors, zoom: float, size_px: int) -> tuple[Array, Array, Array, Array]:
    """Model-pixel coordinates along (u) and across (v) the long axis, and along the image's axes."""
    ticks = np.arange(size_px, dtype=np.float32) - size_px // 2
    grid_y = (ticks[None, :, None] - _col(f.y - np.round(f.y))) / np.float32(zoom)
    grid_x = (ticks[None, None, :] - _col(f.x - np.round(f.x))) / np.float32(zoom)
    cos, sin = _col(np.cos(f.angle_rad)), _col(np.sin(f.angle_rad))
    return cos * grid_x - sin * grid_y, sin * grid_x + cos * grid_y, grid_y, grid_x


def _sample(f: Factors, scale: int, grid_y: Array, grid_x: Array) -> Array:
    """Random field of each nucleus, fixed to the nucleus and not to the image."""
    rows = (np.rint(grid_y).astype(np.int32) + f.shift[:, :1, None]) % FIELD_PX
    columns = (np.rint(grid_x).astype(np.int32) + f.shift[:, 1:, None]) % FIELD_PX
    sample: Array = random_fields()[scale][f.field[:, None, None], rows, columns]
    return sample


def _interphase(f: Factors, u: Array, v: Array) -> tuple[Array, Array]:
    a, b = _col(f.length_px) / 2, _col(f.width_px) / 2
    un, vn = u / a, v / b
    rho: Array = np.sqrt(un**2 + vn**2) + np.float32(1e-6)
    turn = ((un + 1j * vn) / rho).astype(np.complex64)
    wave, bound = turn, np.ones(rho.shape, np.float32)
    for k in range(N_HARMONICS):
        wave = wave * turn
        bound = bound + _col(f.lobes[:, k, 0]) * wave.real + _col(f.lobes[:, k, 1]) * wave.imag
    distance: Array = (bound - rho) * np.sqrt(a * b)
    return distance, 1 - _col(f.dome) * np.clip(rho / bound, 0, 1.2) ** 2


def _plate(f: Factors, u: Array, v: Array) -> tuple[Array, Array]:
    a, b = _col(f.length_px) / 2, _col(f.width_px) / 2
    across = v - _col(f.bend_px) * (u / a) ** 2
    radius = ((np.abs(u) / a) ** 3 + (np.abs(across) / b) ** 3) ** np.float32(1 / 3)
    distance: Array = ((1 - radius) * b).astype(np.float32)
    relief: Array = (1 - _col(f.dome) * np.clip(radius, 0, 1.2) ** 2).astype(np.float32)
    return distance, relief


def _ring(f: Factors, u: Array, v: Array) -> tuple[Array, Array]:
    a, b = _col(f.length_px) / 2, _col(f.width_px) / 2
    rho = np.sqrt((u / a) ** 2 + (v / b) ** 2)
    hole = _col(f.hole)
    distance = np.minimum(1 - rho, rho - hole) * np.sqrt(a * b)
    return np.where(hole < 0.05, (1 - rho) * np.sqrt(a * b), distance), np.ones_like(rho)


def _bodies(f: Factors, u: Array, v: Array) -> tuple[Array, Array]:
    distance = np.full_like(u, -100)
    for k in range(N_BODIES):
        along, across, radius = (_col(f.bodies[:, k, i]) for i in range(3))
        reach = np.where(radius > 0, radius - np.sqrt((u - along) ** 2 + (v - across) ** 2), -100)
        distance = np.maximum(distance, reach)
    return distance, 1 + 0.1 * np.clip(distance, 0, 6)


_SHAPES: dict[int, Callable[..., tuple[Array, Array]]] = {
    INTERPHASE: _interphase,
    PROMETAPHASE: _ring,
    METAPHASE: _plate,
    ANAPHASE: _plate,
    APOPTOSIS: _bodies,
}
