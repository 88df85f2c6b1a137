"""Open a folder of TIFF files, one a frame, as a movie without reading planes."""

from __future__ import annotations

import re
from itertools import pairwise
from statistics import median_low
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_cellinterp.errors import MovieError
from napari_cellinterp.movies.axes import say_shape
from napari_cellinterp.movies.planes import Source
from napari_cellinterp.movies.tiff import TIFF_SUFFIXES, open_tiff

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ADVICE = (
    "Give one TIFF file, or a folder that holds nothing but the frames of one channel, numbered, such as t000.tif, "
    "t001.tif."
)

NO_TIME = re.compile(r"(^|[^a-z])(c|ch|channel|z)$", re.IGNORECASE)
"""Text before a number that doesn't count frames."""


def is_sequence(folder: Path) -> bool:
    """Whether a folder's TIFF files are named like the frames of a movie."""
    try:
        _numbered(folder)
    except MovieError:
        return False
    return True


def open_sequence(folder: Path) -> Source:
    """Open a folder of TIFF files, each one frame, in the order of the number in their names.

    Raises
    ------
    MovieError
        The files are no frames of one movie, or one can't be read.
    """
    numbered = _numbered(folder)
    files = [file for _, file in numbered]
    first = open_tiff(files[0])
    for file in files:
        _require_frame(file, open_tiff(file), first)
    said = f"{len(files)} TIFF files, {files[0].name} to {files[-1].name}, were read as frames."
    notes = (*first.notes, said, *_gaps(numbered))
    return Source(FrameFiles(files, first), "T" + first.axes, first.calibration, notes, folder)


class FrameFiles:
    """Files as the first axis of an array; each is open only while it is read, since there may be thousands."""

    def __init__(self, files: Sequence[Path], first: Source) -> None:
        self._files = tuple(files)
        self.shape = (len(files), *first.array.shape)
        self.dtype: np.dtype[Any] = np.dtype(first.array.dtype)

    def __getitem__(self, index: tuple[slice, ...]) -> Any:
        frames, *inside = index
        return np.stack([tifffile.imread(file, series=0)[tuple(inside)] for file in self._files[frames]])


def _numbered(folder: Path) -> list[tuple[int, Path]]:
    """Return a folder's TIFF files and their numbers, in order."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in TIFF_SUFFIXES and file.name[0] != ".")
    if not files:
        raise MovieError(f"{folder} is a folder with neither Zarr metadata nor TIFF files.", ADVICE)
    if len(files) == 1:
        raise MovieError(f"{folder} holds one TIFF file, {files[0].name}.", "Give that file.")
    names = [re.split(r"(\d+)", file.stem) for file in files]
    if len({tuple(name[::2]) for name in names}) > 1:
        raise _no_movie(files, "aren't named alike but for a number")
    varying = [i for i in range(1, len(names[0]), 2) if len({int(name[i]) for name in names}) > 1]
    if len(varying) > 1:
        raise _no_movie(files, f"differ in {len(varying)} numbers: which of them counts the frames can't be told")
    numbers = [int(name[varying[0]]) for name in names] if varying else []
    if len(set(numbers)) < len(files):
        raise _no_movie(files, "have the same number more than once")
    if NO_TIME.search(names[0][varying[0] - 1]):
        raise _no_movie(files, "seem to be channels or planes, by the letter before their numbers")
    return sorted(zip(numbers, files, strict=True))


def _no_movie(files: Sequence[Path], problem: str) -> MovieError:
    named = ", ".join(file.name for file in files[:3]) + (", ..." if len(files) > 3 else "")
    return MovieError(f"The {len(files)} TIFF files in {files[0].parent} ({named}) {problem}.", ADVICE)


def _require_frame(file: Path, source: Source, first: Source) -> None:
    shape, expected = tuple(source.array.shape), tuple(first.array.shape)
    if any(size > 1 and letter not in "CYX" for letter, size in zip(source.axes, shape, strict=True)):
        raise MovieError(
            f"{file} is more than a frame: it has the axes {source.axes} and the shape {say_shape(shape)}.",
            "Give that file alone, or a folder of files that hold one frame each.",
        )
    if (source.axes, shape) != (first.axes, expected):
        raise MovieError(
            f"{file} has the shape {say_shape(shape)}, and the first frame {say_shape(expected)}.",
            "All frames of a movie have one size; take out what isn't a frame.",
        )
    if source.array.dtype != first.array.dtype:
        raise MovieError(
            f"{file} holds numbers of type {source.array.dtype}, and the first frame {first.array.dtype}.",
            "Save all frames with the same type.",
        )


def _gaps(numbered: Sequence[tuple[int, Path]]) -> tuple[str, ...]:
    """Say where files seem to be missing: numbers that mostly go up by the same step go up by more."""
    steps = [later - number for (number, _), (later, _) in pairwise(numbered)]
    usual = median_low(steps) if steps else 0
    jumps = [i for i, step in enumerate(steps) if step > usual]
    if not jumps or steps.count(usual) * 2 <= len(steps):
        return ()
    others = f", and in {len(jumps) - 1} more places" if len(jumps) > 1 else ""
    before, after = numbered[jumps[0]][1].name, numbered[jumps[0] + 1][1].name
    return (f"Files seem to be missing between {before} and {after}{others}; what is there was read as consecutive.",)
