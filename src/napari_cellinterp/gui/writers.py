"""Write layers from napari's save dialog: states as OME-TIFF, tracks as CSV, equal to what is on screen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellinterp.errors import OutputError
from napari_cellinterp.gui.layers import METADATA_KEY, STATES, TRACKS, Result
from napari_cellinterp.results.files import written_beside

if TYPE_CHECKING:
    from collections.abc import Iterator


def write_labels(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a Labels layer as OME-TIFF, one frame at a time.

    A layer of states gets the legend into its metadata, and the movie's pixel size and frame interval.

    Parameters
    ----------
    path : str
        Of the file; an older one is replaced once the new one is complete.
    data : array
        Ids of the layer.
    attributes : dict
        What else the layer has.

    Returns
    -------
    list of str
        The path.

    Raises
    ------
    OutputError
        The file can't be written.
    """
    from napari_cellinterp.results.export import write_states

    result = _result(attributes, STATES)
    if result is None:
        _write_ids(data, Path(path))
    else:
        write_states(
            result.classification,
            Path(path),
            pixel_size_um=result.pixel_size_um,
            frame_interval_min=result.frame_interval_min,
        )
    return [path]


def write_tracks_csv(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a Tracks layer as CSV: with all columns of ``nuclei.csv`` where it holds a classification.

    Parameters
    ----------
    path : str
        Of the file; an older one is replaced once the new one is complete.
    data : array
        (n, 4) track, t, y, x.
    attributes : dict
        What else the layer has.

    Returns
    -------
    list of str
        The path.

    Raises
    ------
    OutputError
        The file can't be written.
    TracksError
        The layer isn't one of nuclei in a plane.
    """
    from napari_cellinterp.movies.track_table import TrackTable
    from napari_cellinterp.movies.tracks import write_tracks
    from napari_cellinterp.results.export import write_nuclei_csv

    result = _result(attributes, TRACKS)
    if result is None:
        write_tracks(TrackTable.from_napari_tracks(data, attributes.get("graph")), path)
    else:
        write_nuclei_csv(result.classification, Path(path))
    return [path]


def _result(attributes: dict[str, Any], role: str) -> Result | None:
    kept = attributes.get("metadata", {}).get(METADATA_KEY)
    return kept if isinstance(kept, Result) and kept.role == role else None


def _write_ids(data: Any, path: Path) -> None:
    import tifffile

    array = data[0] if isinstance(data, list | tuple) else data
    dtype = np.dtype(array.dtype)
    if dtype.itemsize > 4:  # OME-TIFF has no 64-bit integers
        dtype = np.dtype(np.int32)
    axes = "TZCYX"[-array.ndim :] if array.ndim > 3 else "TYX"[-array.ndim :]
    with written_beside(path) as beside:
        tifffile.imwrite(
            beside,
            _planes(array, dtype),
            shape=array.shape,
            dtype=dtype,
            ome=True,
            photometric="minisblack",
            compression="zlib",
            metadata={"axes": axes},
        )


def _planes(array: Any, dtype: np.dtype[Any]) -> Iterator[Any]:
    largest = np.iinfo(dtype).max
    for index in np.ndindex(array.shape[:-2]):
        plane = np.asarray(array[index])
        if plane.max(initial=0) > largest:
            raise OutputError(
                f"The label id {plane.max()} is too large for OME-TIFF, which holds ids up to {largest}.",
                "Number the labels anew, or save them in another format.",
            )
        yield plane.astype(dtype)
