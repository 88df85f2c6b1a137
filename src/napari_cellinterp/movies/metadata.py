"""Pixel sizes, frame intervals and channel names, from the ways in which files write them down."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_UM_PER_UNIT = {
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "pm": 1e-6,
    "picometer": 1e-6,
    "å": 1e-4,
    "angstrom": 1e-4,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "nanometre": 1e-3,
    "mm": 1e3,
    "millimeter": 1e3,
    "millimetre": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "centimetre": 1e4,
    "m": 1e6,
    "meter": 1e6,
    "metre": 1e6,
    "in": 25_400.0,
    "inch": 25_400.0,
    "inches": 25_400.0,
}
_MIN_PER_UNIT = {
    "ns": 1e-9 / 60,
    "nanosecond": 1e-9 / 60,
    "us": 1e-6 / 60,
    "microsecond": 1e-6 / 60,
    "ms": 1e-3 / 60,
    "msec": 1e-3 / 60,
    "millisecond": 1e-3 / 60,
    "s": 1 / 60,
    "sec": 1 / 60,
    "second": 1 / 60,
    "seconds": 1 / 60,
    "min": 1.0,
    "minute": 1.0,
    "minutes": 1.0,
    "h": 60.0,
    "hr": 60.0,
    "hour": 60.0,
    "hours": 60.0,
    "d": 1440.0,
    "day": 1440.0,
    "days": 1440.0,
}
_LARGEST_UM = 20.0
"""A resolution tag that gives more than this describes the printing of the image, not the microscope."""


@dataclass(frozen=True)
class Calibration:
    """What a file says about its pixels, frames and channels.

    Attributes
    ----------
    pixel_size_um, frame_interval_min : float or None
        None where the file gives no physical value.
    channel_names : tuple of str
        Empty where the file names none.
    notes : tuple of str
        What was odd about it, in words.
    """

    pixel_size_um: float | None = None
    frame_interval_min: float | None = None
    channel_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def length_um(value: object, unit: object) -> float | None:
    """Length in um, or None where the value isn't positive or the unit isn't one of length."""
    return _converted(value, unit, _UM_PER_UNIT)


def time_min(value: object, unit: object) -> float | None:
    """Time in minutes, or None where the value isn't positive or the unit isn't one of time."""
    return _converted(value, unit, _MIN_PER_UNIT)


def from_ome_xml(xml: str) -> Calibration:
    """Read the first image of an OME-XML description (OME schema 2016-06: um and s unless it says otherwise)."""
    try:
        pixels = ElementTree.fromstring(xml).find(".//{*}Pixels")
    except ElementTree.ParseError as error:
        return Calibration(notes=(f"The OME-XML of the file can't be read ({error}); its pixel size is unknown.",))
    if pixels is None:
        return Calibration()
    sizes = [length_um(pixels.get(f"PhysicalSize{a}"), pixels.get(f"PhysicalSize{a}Unit", "um")) for a in "XY"]
    names = [channel.get("Name") for channel in pixels.findall("{*}Channel")]
    return Calibration(
        sizes[0],
        time_min(pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s")),
        tuple(name or f"channel {index}" for index, name in enumerate(names)),
        _uneven(*sizes),
    )


def from_imagej(metadata: Mapping[str, Any], pixels_per_unit: Sequence[float]) -> Calibration:
    """Read ImageJ's metadata; ``pixels_per_unit`` is the (x, y) resolution of the first page."""
    size, notes = _from_resolution(pixels_per_unit, metadata.get("unit"))
    return Calibration(size, time_min(metadata.get("finterval"), metadata.get("tunit", "s")), notes=notes)


def from_resolution_tags(pixels_per_unit: Sequence[float], unit: int) -> Calibration:
    """Read a plain TIFF's resolution, where its unit is inch (2) or centimetre (3); 1 is no unit."""
    size, notes = _from_resolution(pixels_per_unit, {2: "inch", 3: "cm"}.get(unit))
    return Calibration(size, notes=notes)


def from_multiscale(multiscale: Mapping[str, Any], axes: str, omero: Mapping[str, Any]) -> Calibration:
    """Read one entry of OME-Zarr's ``multiscales``: the scale of the first dataset and the units of the axes."""
    factors = [1.0] * len(axes)
    for owner in (multiscale["datasets"][0], multiscale):
        for step in owner.get("coordinateTransformations") or ():
            if step.get("type") == "scale" and len(step.get("scale", ())) == len(axes):
                factors = [a * float(b) for a, b in zip(factors, step["scale"], strict=True)]
    described = multiscale.get("axes") or [{}] * len(axes)
    units = [axis.get("unit") if isinstance(axis, dict) else None for axis in described]
    size = {letter: (factor, unit) for letter, factor, unit in zip(axes, factors, units, strict=True)}
    x, y = length_um(*size.get("X", (None, None))), length_um(*size.get("Y", (None, None)))
    names = [channel.get("label") for channel in omero.get("channels") or ()]
    return Calibration(
        x,
        time_min(*size.get("T", (None, None))),
        tuple(str(name) if name else f"channel {index}" for index, name in enumerate(names)),
        _uneven(x, y),
    )


def _converted(value: object, unit: object, factors: Mapping[str, float]) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    factor = factors.get(_plain_unit(unit))
    return number * factor if factor is not None and math.isfinite(number) and number > 0 else None


def _plain_unit(unit: object) -> str:
    """Lower case, with ASCII u for both micro signs and for ImageJ's escaped one."""
    text = str(unit).strip().strip('"').lower()
    for micro in ("\\u00b5", "\u00b5", "\u03bc", "\u00c2\u00b5"):
        text = text.replace(micro, "u")
    return text


def _from_resolution(pixels_per_unit: Sequence[float], unit: object) -> tuple[float | None, tuple[str, ...]]:
    x, y = (length_um(1 / value if value > 0 else None, unit) for value in pixels_per_unit)
    if x is not None and x > _LARGEST_UM:
        said = f"The file's resolution gives pixels of {x:.4g} um, which looks like a printing resolution"
        return None, (f"{said}; the pixel size counts as unknown.",)
    return x, _uneven(x, y)


def _uneven(x: float | None, y: float | None) -> tuple[str, ...]:
    if x is None or y is None or math.isclose(x, y, rel_tol=0.01):
        return ()
    return (f"Pixels are {x:.4g} um wide and {y:.4g} um high; they were taken as square, {x:.4g} um.",)
