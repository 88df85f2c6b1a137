"""Layers that outline some nuclei of a classification: those that are highlighted, those of which heads disagree."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari.layers import Labels

from napari_cellinterp.gui.layers import METADATA_KEY, result_mark, result_of
from napari_cellinterp.gui.painting import has_colours, numbered_colours, painted

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_cellinterp.gui.layers import Placement
    from napari_cellinterp.movies.stack import Movie
    from napari_cellinterp.results.outlines import Outlines
    from napari_cellinterp.results.table import Classification


def outline_layer(
    classification: Classification,
    placement: Placement,
    movie: Movie,
    role: str,
    outlines: Outlines,
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
    outlines : Outlines
        Of these nuclei.
    values : (n,) int
        0 for a nucleus that isn't outlined, else its colour, counted from 1.
    colours : sequence of str
        As ``#rrggbb``.
    """
    layer = Labels(
        painted(partial(outlines.paint, values=values), classification, placement),
        name=role,
        opacity=1.0,
        colormap=numbered_colours(colours),
        metadata={METADATA_KEY: result_mark(role, classification, placement, movie)},
        **placement.transform,
    )
    layer.editable = False
    return layer


def show_outlined(layer: Labels, outlines: Outlines, values: NDArray[np.integer], colours: Sequence[str]) -> None:
    """Outline other nuclei in a layer that `outline_layer` made; only the frame that is looked at is painted."""
    shown = result_of(layer)
    if not has_colours(layer.colormap, colours):
        layer.colormap = numbered_colours(colours)
    layer.data = painted(partial(outlines.paint, values=values), shown.classification, shown.placement)
