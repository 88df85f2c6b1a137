"""Crops of nuclei as the model sees them, as arrays and as pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QImage, QPainter, QPen, QPixmap

from napari_cellinterp.events import Progressed
from napari_cellinterp.results.colours import UNDEFINED_COLOUR, state_colour

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_cellinterp.events import Job
    from napari_cellinterp.movies.stack import Movie
    from napari_cellinterp.results.table import Classification


@dataclass(frozen=True, eq=False)
class CropsCut(Progressed):
    """The crops of one frame are ready.

    Attributes
    ----------
    rows : (n,) int64
        Rows of the classification.
    x : (n, n_channels, 64, 64) float32
        Their patches.
    """

    rows: NDArray[np.int64]
    x: NDArray[np.float32]


def cut_crops_job(movie: Movie, classification: Classification, rows: NDArray[np.int64], channels: range) -> Job[None]:
    """Crop nuclei at the model's scale, frame by frame, normalised as the model sees them.

    Parameters
    ----------
    movie : Movie
        What was classified.
    classification : Classification
        Where the nuclei are.
    rows : (n,) int64
        Which ones.
    channels : range
        Channels that the model reads.
    """
    from napari_cellinterp.movies.patches import crop_frame, normalise

    rows = np.sort(rows)
    table = classification.rows
    frames = table["frame"].to_numpy()[rows]
    done = 0
    for t in np.unique(frames):
        here = rows[frames == t]
        planes = np.stack([movie.plane(int(t), c) for c in channels])
        y, x = (table[name].to_numpy()[here] for name in ("y", "x"))
        patches = normalise(crop_frame(planes, y, x, classification.zoom))
        done += len(here)
        yield CropsCut(done, len(rows), here, patches.x)


def cut_crop(movie: Movie, classification: Classification, row: int, channels: range) -> NDArray[np.float32]:
    """Crop one nucleus, (n_channels, 64, 64) float32."""
    cut = next(cut_crops_job(movie, classification, np.array([row]), channels))
    crop: NDArray[np.float32] = cut.x[0]  # type: ignore[attr-defined]
    return crop


def crop_picture(x: NDArray[np.float32], side_px: int, colour: str | None = None) -> QPixmap:
    """Draw a patch, its channels side by side.

    Parameters
    ----------
    x : (n_channels, 64, 64) float32
        In [0, 1].
    side_px : int
        Height of the picture.
    colour : str, optional
        Of a frame around it.
    """
    grey = np.ascontiguousarray((np.concatenate(list(x), axis=1) * 255).astype(np.uint8))
    height, width = grey.shape
    image = QImage(grey.data, width, height, width, QImage.Format.Format_Grayscale8).copy()
    mode = Qt.TransformationMode.SmoothTransformation if side_px < height else Qt.TransformationMode.FastTransformation
    picture = QPixmap.fromImage(image).scaledToHeight(side_px, mode)
    if colour is not None:
        painter = QPainter(picture)
        pen = QPen(QColor(colour))
        pen.setWidth(4)
        painter.setPen(pen)
        painter.drawRect(picture.rect().adjusted(1, 1, -2, -2))
        painter.end()
    return picture


def swatch(colour: str, side_px: int = 12) -> QPixmap:
    """Draw a filled square."""
    picture = QPixmap(side_px, side_px)
    picture.fill(QColor(colour))
    return picture


def colour_of_row(classification: Classification, row: int) -> str:
    """Colour of the state of a nucleus."""
    index = int(classification.state_index[row])
    return UNDEFINED_COLOUR if index == 0 else state_colour(index - 1)
