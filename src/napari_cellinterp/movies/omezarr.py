"""Open OME-Zarr images and plain Zarr arrays without reading planes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import zarr

from napari_cellinterp.errors import MovieError
from napari_cellinterp.movies.axes import DEFAULT_AXES, letters_of, say_shape
from napari_cellinterp.movies.metadata import Calibration, from_multiscale
from napari_cellinterp.movies.planes import Reopening, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_MARKS = ("zarr.json", ".zgroup", ".zarray", ".zattrs")


def is_zarr(path: Path) -> bool:
    """Whether a folder has Zarr metadata."""
    return any((path / mark).exists() for mark in _MARKS)


def open_zarr(path: Path) -> Source:
    """Open the highest resolution of an OME-Zarr image (v0.4, v0.5), or a plain Zarr array.

    Raises
    ------
    MovieError
        The metadata is damaged, or describes no image that can be found.
    """
    try:
        node = zarr.open(path, mode="r")
        return _plain(node, path) if isinstance(node, zarr.Array) else _from_group(node, path)
    except MovieError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise MovieError(
            f"The Zarr metadata of {path} can't be read ({reason}).",
            "The folder may have been written or copied only in part; write or copy it again.",
        ) from error


def _from_group(group: Any, path: Path) -> Source:
    attributes = dict(group.attrs)
    attributes = {**attributes, **attributes.get("ome", {})}
    if attributes.get("multiscales"):
        return _first_image(group, path, attributes)
    if "plate" in attributes or "well" in attributes:
        raise MovieError(f"{path} is a plate of many images.", "Open one field of one well, such as PLATE/A/1/0.")
    if "bioformats2raw.layout" in attributes and "0" in group:
        source = _from_group(group["0"], path / "0")
        return Source(source.array, source.axes, source.calibration, (*source.notes, _first_note(path)), path)
    return _only_array(group, path)


def _first_image(group: Any, path: Path, attributes: Mapping[str, Any]) -> Source:
    multiscale = attributes["multiscales"][0]
    inner = str(multiscale["datasets"][0]["path"])
    if inner not in group or not isinstance(group[inner], zarr.Array):
        raise MovieError(
            f"{path} names the array {inner!r} as its highest resolution, and there is no such array.",
            "The folder may have been written or copied only in part; write or copy it again.",
        )
    array = Reopening(partial(_open_array, path, inner))
    axes = _axes(multiscale, len(array.shape))
    if len(axes) != len(array.shape):
        raise MovieError(
            f"{path} names {len(axes)} axes ({axes}) for an array of shape {say_shape(array.shape)}.",
            "The metadata is damaged; write the image again.",
        )
    notes = (_first_note(path),) if len(attributes["multiscales"]) > 1 else ()
    return Source(array, axes, from_multiscale(multiscale, axes, attributes.get("omero") or {}), notes, path)


def _only_array(group: Any, path: Path) -> Source:
    names = sorted(group.array_keys())
    if len(names) != 1:
        found = f"{len(names)} arrays ({', '.join(names[:5])})" if names else "no array"
        advice = f"Open one of them, such as {path / names[0]}." if names else "Write or copy the folder again."
        raise MovieError(f"The Zarr group {path} describes no OME-Zarr image and holds {found}.", advice)
    return _plain(group[names[0]], path / names[0])


def _plain(array: Any, path: Path) -> Source:
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS") or ()
    axes = letters_of(names) if names else None
    n_axes = len(array.shape)
    notes: tuple[str, ...] = ()
    if n_axes < 2:
        raise MovieError(f"The Zarr array {path} has {n_axes} axes.", "A movie has at least the axes Y and X.")
    if axes is None or len(axes) != n_axes:
        axes = DEFAULT_AXES.get(n_axes, "Q" * (n_axes - 2) + "YX")
        notes = (f"The Zarr array doesn't name its axes; they were read as {axes}.",) if n_axes > 2 else ()
    return Source(Reopening(partial(_open_array, path, "")), axes, Calibration(), notes, path)


def _axes(multiscale: Mapping[str, Any], n_axes: int) -> str:
    """Axes of an image: objects since v0.4, plain letters in v0.3, the last of TCZYX before."""
    described = multiscale.get("axes") or "TCZYX"[-n_axes:]
    names = [axis["name"] if isinstance(axis, dict) else axis for axis in described]
    return letters_of(names) or "".join(str(name)[:1].upper() for name in names)


def _open_array(path: Path, inner: str) -> tuple[Any, Callable[[], None]]:
    return zarr.open_array(path / inner if inner else path, mode="r"), _nothing_to_close


def _nothing_to_close() -> None:
    """Zarr keeps no file open between reads."""


def _first_note(path: Path) -> str:
    return f"{path.name} holds several images; the first one was used."
