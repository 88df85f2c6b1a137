"""Layers that outline some nuclei of a classification: those that are highlighted, those of which heads disagree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Labels

from napari_cellinterp.gui.layers import METADATA_KEY, result_mark, result_of
from napari_cellinterp.gui.painting import numbered_colours, painted

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_cellinterp.gui.layers import Placement
    from napari_cellinterp.movies.stack import Movie
    from napari_cellinterp.results.table import Classification

CONTOUR_PX = 2


def outline_layer(
    classification: Classification,
    placement: Placement,
    movie: Movie,
    role: str,
    values: NDArray[np.integer],
    colours: Sequence[str],
) -> Labels:
    """Make a Labels layer that outlines nuclei, painted frame by frame when it is looked at.

    Parameters
    ----------
    classification, placement, movie : Classification, Placement, Movie
        Whose nuclei, and where they lie.
    role : str
        Also the layer's name.
    values : (n,) int
        0 for a nucleus that isn't outlined, else its colour, counted from 1.
    colours : sequence of str
        As ``#rrggbb``.
    """
    layer = Labels(
        painted(classification, values, placement),
        name=role,
        opacity=1.0,
        colormap=numbered_colours(colours),
        metadata={METADATA_KEY: result_mark(role, classification, placement, movie)},
        **placement.transform,
    )
    layer.contour = CONTOUR_PX
    layer.editable = False
    return layer


def show_outlined(layer: Labels, values: NDArray[np.integer], colours: Sequence[str]) -> None:
    """Outline other nuclei in a layer that `outline_layer` made; only the frame that is looked at is painted."""
    shown, colormap = result_of(layer), numbered_colours(colours)
    if layer.colormap != colormap:
        layer.colormap = colormap
    layer.data = painted(shown.classification, values, shown.placement)
