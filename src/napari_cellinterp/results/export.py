"""The files of a classification: nuclei.csv, states.ome.tif, overlay.png, run.json, patches.npz."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_cellinterp.results.files import written_beside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from napari_cellinterp.movies.patches import Patches
    from napari_cellinterp.results.table import Classification

CSV_DIGITS = 6

NUCLEUS_COLUMNS = ("track_id", "frame", "y", "x", "state", "score")


def write_nuclei_csv(classification: Classification, path: Path) -> None:
    """Write one row a nucleus and frame; an undefined score and its state are empty.

    Raises
    ------
    OutputError
        If the file can't be written.
    """
    write_table(classification.rows, path)


def write_latents_csv(classification: Classification, rows: NDArray[np.int64], path: Path) -> None:
    """Write some nuclei with their latents: track, frame, position, state, score, and z0, z1, and so on.

    Parameters
    ----------
    classification : Classification
        Of which.
    rows : (n,) int64
        Which ones.
    path : Path
        Of the CSV file.

    Raises
    ------
    OutputError
        If the file can't be written.
    """
    latents = classification.latents[rows]
    columns = {f"z{i}": latents[:, i] for i in range(latents.shape[1])}
    table = classification.rows[list(NUCLEUS_COLUMNS)].iloc[rows].reset_index(drop=True)
    write_table(table.assign(**columns), path)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV, numbers of single precision with as many digits as they have.

    Raises
    ------
    OutputError
        If the file can't be written.
    """
    rounded = table.copy()
    for name in table.select_dtypes("float32"):
        rounded[name] = table[name].astype(np.float64).round(CSV_DIGITS)
    with written_beside(path) as beside:
        rounded.to_csv(beside, index=False)


def write_states(
    classification: Classification,
    path: Path,
    *,
    pixel_size_um: float | None = None,
    frame_interval_min: float | None = None,
) -> None:
    """Write the label image of states as OME-TIFF, uint8 (T, Y, X): 0 background, states from 1.

    The legend, ``{"1": "interphase", ...}``, is in a MapAnnotation and in the image's description.

    Raises
    ------
    OutputError
        If the file can't be written.
    """
    legend = {str(i + 1): name for i, name in enumerate(classification.classes)}
    metadata: dict[str, Any] = {
        "axes": "TYX",
        "Name": "states",
        "Description": "States of nuclei: "
        + ", ".join(f"{i} {name}" for i, name in {"0": "background", **legend}.items()),
        "MapAnnotation": {"Namespace": "napari-cellinterp/states", **legend},
    }
    if pixel_size_um:
        metadata |= {"PhysicalSizeX": pixel_size_um, "PhysicalSizeY": pixel_size_um}
        metadata |= {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    if frame_interval_min:
        metadata |= {"TimeIncrement": frame_interval_min, "TimeIncrementUnit": "min"}
    shape = classification.masks.shape
    with written_beside(path) as beside:
        tifffile.imwrite(
            beside,
            _state_frames(classification),
            shape=shape,
            dtype=np.uint8,
            ome=True,
            bigtiff=int(np.prod(shape)) > 2**31,
            photometric="minisblack",
            compression="zlib",
            metadata=metadata,
        )


def _state_frames(classification: Classification) -> Iterator[NDArray[np.uint8]]:
    for t in range(classification.n_frames):
        yield classification.paint(t)


def write_patches(
    blocks: Iterator[Patches], n: int, path: Path, track_id: NDArray[np.int64], frame: NDArray[np.int64]
) -> Iterator[int]:
    """Write patches as npz, block by block, so that memory holds one block.

    Parameters
    ----------
    blocks : iterator of Patches
        n patches in all, at least one block.
    n : int
        How many there will be.
    path : Path
        Of the npz file: ``x`` (n, n_channels, 64, 64) float32, ``track_id`` and ``frame`` (n,) int64.
    track_id, frame : (n,) int64
        Which nucleus each patch shows.

    Yields
    ------
    int
        Patches written so far.

    Raises
    ------
    OutputError
        If the file can't be written.
    """
    done = 0
    with written_beside(path) as beside, zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("x.npy", "w", force_zip64=True) as file:
            for patches in blocks:
                if done == 0:
                    shape = (n, *patches.x.shape[1:])
                    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_2_0(file, header)  # type: ignore[no-untyped-call]
                file.write(np.ascontiguousarray(patches.x, "<f4").tobytes())
                done += len(patches)
                yield done
        for name, values in (("track_id", track_id), ("frame", frame)):
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.asarray(values, np.int64))  # type: ignore[no-untyped-call]


def write_run(record: dict[str, Any], path: Path) -> None:
    """Write the record of a run as JSON.

    Raises
    ------
    OutputError
        If the file can't be written.
    """
    with written_beside(path) as beside:
        beside.write_text(json.dumps(record, indent=1, default=str) + "\n", encoding="utf-8")
