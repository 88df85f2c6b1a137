"""What a file's axes mean, and how they become (T, C, Y, X)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_cellinterp.errors import MovieError

if TYPE_CHECKING:
    from collections.abc import Sequence

MOVIE_AXES = "TCYX"
DEFAULT_AXES = {2: "YX", 3: "TYX", 4: "TCYX"}
"""Axes of an array that says nothing about them, by its number of dimensions."""

_UNNAMED = "QI"
_ALLOWED = "TCZYX"
_ROLES = {"T": "time", "C": "channel"}
_NAMES = {"T": "T", "TIME": "T", "FRAME": "T", "C": "C", "CHANNEL": "C", "Z": "Z", "Y": "Y", "X": "X"}


def letters_of(names: Sequence[object]) -> str | None:
    """Axis letters of named dimensions such as ``("time", "y", "x")``, or None where a name is unknown or missing."""
    letters = [_NAMES.get(str(name).upper()) for name in names]
    return "".join(letter for letter in letters if letter) if all(letters) else None


def resolve_axes(found: str, shape: Sequence[int], chosen: str | None = None) -> tuple[str, tuple[str, ...]]:
    """Decide what each axis of an array means.

    Parameters
    ----------
    found : str
        Axes as the file names them, one letter each; Q and I have no meaning yet.
    shape : sequence of int
        Size of each axis.
    chosen : str, optional
        Axes that the user gives instead, letters from T, C, Z, Y, X.

    Returns
    -------
    axes : str
        One letter an axis. All letters but T, C, Y and X belong to axes of size 1.
    notes : tuple of str
        What was assumed, in words.

    Raises
    ------
    MovieError
        The axes don't fit the shape, or don't describe a movie of planes.
    """
    notes: tuple[str, ...] = ()
    if chosen is not None:
        axes = _checked(chosen.upper(), shape)
    else:
        axes, notes = _name_unnamed(found.upper(), shape)
    _require_planes(axes, shape)
    return axes, notes


def arrange(array: Any, axes: str) -> Any:
    """Bring a NumPy or dask array with the given axes to (T, C, Y, X); axes that it lacks get size 1."""
    extra = [letter for letter in axes if letter not in MOVIE_AXES]
    array = array[tuple(0 if letter in extra else slice(None) for letter in axes)]
    left = [letter for letter in axes if letter not in extra]
    array = array.transpose([left.index(letter) for letter in MOVIE_AXES if letter in left])
    return array[tuple(slice(None) if letter in left else None for letter in MOVIE_AXES)]


def movie_shape(axes: str, shape: Sequence[int]) -> tuple[int, int, int, int]:
    """Sizes of T, C, Y and X; an axis that is absent has size 1."""
    sizes = dict(zip(axes, shape, strict=True))
    return sizes.get("T", 1), sizes.get("C", 1), sizes["Y"], sizes["X"]


def say_shape(shape: Sequence[int]) -> str:
    """Shape for a message, such as ``48 x 130 x 130``."""
    return " x ".join(str(size) for size in shape)


def _checked(axes: str, shape: Sequence[int]) -> str:
    problem = ""
    if unknown := [letter for letter in axes if letter not in _ALLOWED]:
        problem = f"the letter {unknown[0]} is not one of T, C, Z, Y, X"
    elif len(set(axes)) < len(axes):
        problem = f"the letter {next(a for a in axes if axes.count(a) > 1)} occurs twice"
    elif not {"Y", "X"} <= set(axes):
        problem = "Y and X must both be there"
    elif len(axes) != len(shape):
        problem = f"{len(axes)} letters for {len(shape)} axes"
    if problem:
        raise MovieError(
            f"Axes {axes!r} don't fit an image of shape {say_shape(shape)}: {problem}.",
            "Give one letter an axis, in the order of the shape, such as TYX.",
        )
    return axes


def _name_unnamed(axes: str, shape: Sequence[int]) -> tuple[str, tuple[str, ...]]:
    """Read unnamed axes as time, then channel, where the file has no such axis of its own."""
    free = [letter for letter in "TC" if letter not in axes]
    notes = []
    for position, letter in enumerate(axes):
        if letter not in _UNNAMED or not free or (shape[position] == 1 and len(axes) > 3):
            continue
        role = free.pop(0)
        axes = axes[:position] + role + axes[position + 1 :]
        notes.append(
            f"Axis {position + 1} of the shape {say_shape(shape)} has no name and was read as {_ROLES[role]}; "
            "give the axes if it is something else."
        )
    return axes, tuple(notes)


def _require_planes(axes: str, shape: Sequence[int]) -> None:
    said = f"The image has the axes {axes} and the shape {say_shape(shape)}"
    if 0 in shape:
        raise MovieError(f"{said}: there is nothing in it.", "Export the movie again.")
    if not {"Y", "X"} <= set(axes):
        raise MovieError(f"{said}: no plane of Y and X.", "Give the axes, one letter each, such as TYX.")
    if any(axes.count(letter) > 1 for letter in MOVIE_AXES):
        raise MovieError(f"{said}: an axis occurs twice.", "Give the axes, one letter each, such as TCYX.")
    for letter, size in zip(axes, shape, strict=True):
        if letter not in MOVIE_AXES and size > 1:
            raise MovieError(f"{said}: {_reason(letter, size)}", _advice(letter, axes))


def _reason(letter: str, size: int) -> str:
    if letter == "Z":
        return f"{size} Z planes a frame, and nuclei are classified in single planes."
    if letter == "S":
        return f"{size} colour samples a pixel; an RGB picture isn't a fluorescence movie."
    return f"axis {letter} of size {size} is neither time nor channel."


def _advice(letter: str, axes: str) -> str:
    if letter == "Z":
        if "T" in axes:
            return "Project it (maximum intensity) or pick one plane, and save that."
        return (
            "Project it (maximum intensity) or pick one plane, and save that; "
            f"if the axis is really time, give the axes {axes.replace('Z', 'T')}."
        )
    if letter == "S":
        frames = f", if they are frames, {axes.replace('S', 'T')}" if axes == "SYX" else ""
        return (
            "Save the chromatin channel as a grey-scale image; if the samples are fluorescence channels, "
            f"give the axes {axes.replace('S', 'C')}{frames}."
        )
    return "Save one position or view at a time, or give the axes, one letter each, from T, C, Y, X."
