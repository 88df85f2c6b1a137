"""Label images of a classification that are painted when they are looked at, and their colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from napari.utils.colormaps import DirectLabelColormap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_cellinterp.gui.layers import Placement
    from napari_cellinterp.results.table import Classification


def painted(paint: Callable[[int], NDArray[np.uint8]], classification: Classification, placement: Placement) -> Any:
    """Return a lazy image (T, ..., Y, X) uint8, the same for each channel.

    Parameters
    ----------
    paint : callable
        Gives the image of a frame, (height, width) uint8.
    classification : Classification
        How many frames there are, and of which size.
    placement : Placement
        Which axes the image has.
    """
    import dask.array as da

    _, height, width = classification.masks.shape

    def frame(block_id: tuple[int, ...]) -> NDArray[np.uint8]:
        return paint(block_id[0])[None]

    frames = da.map_blocks(
        frame,
        dtype=np.uint8,
        chunks=((1,) * classification.n_frames, (height,), (width,)),
        meta=np.empty((0, 0, 0), np.uint8),
        name=f"painted-{uuid4()}",  # else dask would hash the classification
    )
    for axis in range(1, len(placement.axes) - 2):
        frames = da.repeat(da.expand_dims(frames, axis), placement.shape[axis], axis)
    return frames


def numbered_colours(colours: Sequence[str]) -> DirectLabelColormap:
    """Colours of the values from 1; all others are transparent."""
    numbered: dict[int | None, str] = {i + 1: colour for i, colour in enumerate(colours)}
    return DirectLabelColormap(color_dict={None: "transparent", 0: "transparent", **numbered})


def has_colours(colormap: DirectLabelColormap, colours: Sequence[str]) -> bool:
    """Whether a colormap is that of `numbered_colours`; napari's own comparison fails on its arrays."""
    wanted = numbered_colours(colours).color_dict
    return colormap.color_dict.keys() == wanted.keys() and all(
        np.array_equal(colour, wanted[value]) for value, colour in colormap.color_dict.items()
    )
