"""Outlines of nuclei, painted quickly: only their edges are looked at, and those of the last frames are kept."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from napari_cellinterp.results.table import paint

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_cellinterp.results.table import Classification

    Edges = tuple[NDArray[np.int64], NDArray[np.integer]]

WIDTH_PX = 2
N_KEPT = 16
"""So many frames are kept."""


class Outlines:
    """Paints the edges of nuclei.

    Parameters
    ----------
    classification : Classification
        Whose nuclei; other states of the same nuclei have the same outlines.
    """

    def __init__(self, classification: Classification) -> None:
        self._classification = classification
        self._kept: OrderedDict[int, Edges] = OrderedDict()

    def are_of(self, classification: Classification) -> bool:
        """Whether these are the outlines of a classification's nuclei."""
        return classification.masks is self._classification.masks

    def paint(self, t: int, values: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Return an image of a frame, (height, width) uint8: at the edge of each nucleus its value, 0 elsewhere.

        Parameters
        ----------
        t : int
            Which frame.
        values : (n,) int
            Of all rows, from 0 to 255.
        """
        places, labels = self._edges(t)
        rows = self._classification.frame_rows(t)
        ids = self._classification.rows["label"].to_numpy()[rows]
        image = np.zeros(self._classification.masks.shape[1:], np.uint8)
        image.reshape(-1)[places] = paint(labels, ids, values[rows])
        return image

    def _edges(self, t: int) -> Edges:
        """Return where a frame's edges are, and whose, (n_pixels,) each."""
        if t not in self._kept:
            labels = self._classification.masks.frame(t)
            places = np.flatnonzero(edges(labels))
            self._kept[t] = places, labels.reshape(-1)[places]
        self._kept.move_to_end(t)
        while len(self._kept) > N_KEPT:
            self._kept.popitem(last=False)
        return self._kept[t]


def edges(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return which pixels of nuclei, (height, width), have another label within `WIDTH_PX` above, below or beside."""
    found = np.zeros(labels.shape, bool)
    for distance in range(1, WIDTH_PX + 1):
        for here, there in ((found, labels), (found.T, labels.T)):
            differ = there[distance:] != there[:-distance]
            here[distance:] |= differ
            here[:-distance] |= differ
    inside: NDArray[np.bool_] = found & (labels > 0)
    return inside
