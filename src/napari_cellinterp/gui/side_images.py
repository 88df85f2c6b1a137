"""Small images beside the movie: what a crop is, and what the model makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Points

from napari_cellinterp.gui.layers import METADATA_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari.components import ViewerModel
    from napari.layers import Layer
    from numpy.typing import NDArray

    from napari_cellinterp.gui.layers import Placement

    Crop = NDArray[np.float32]

ROWS = 2
"""Images below each other; the next ones stand to the right."""

SHARE_OF_HEIGHT = 0.44
"""Side of an image, as a share of the movie's height."""

GAP_SHARE = 0.06
"""Room around it, as a share of the movie's height."""

CAPTION_PX = 11


@dataclass(frozen=True)
class SideImage:
    """Mark of a layer that belongs to a set of side images, kept in its metadata.

    Attributes
    ----------
    group : str
        Which set.
    title : str
        Which image of it; empty for the captions.
    """

    group: str
    title: str


class SideImages:
    """Image layers to the right of a movie, with captions; they are made at need and updated in place.

    A layer that the person deleted comes back with the next `show`; one that was renamed or moved in the list is still
    known.

    Parameters
    ----------
    viewer : ViewerModel
        Where.
    group : str
        Name of the set, part of its layers' names.
    first_column : int
        Where the set begins: columns of images from the movie's right edge.
    """

    def __init__(self, viewer: ViewerModel, group: str, first_column: int = 0) -> None:
        self._viewer, self._group, self._first_column = viewer, group, first_column

    def show(self, images: Mapping[str, Crop], placement: Placement, signed: Sequence[str] = ()) -> None:
        """Show crops (n_channels, 64, 64), in order; their channels stand side by side.

        Parameters
        ----------
        images : mapping of str to array
            By title. They are in [0, 1], but for those in ``signed``, which are in [-1, 1].
        placement : Placement
            Of the movie.
        signed : sequence of str
            Titles of differences: blue below 0, red above.
        """
        made = False
        for place, (title, crop) in enumerate(images.items()):
            if self.layer(title) is None:
                picture = np.concatenate(list(crop), axis=1)
                self._add(_image_layer(self._group, title, picture, place, placement, self._first_column, signed))
                made = True
            else:
                self.update(title, crop)
        if made:
            self._caption(list(images), placement)

    def update(self, title: str, crop: Crop) -> None:
        """Show another crop in a layer that is there; nothing where the person deleted it.

        Only the canvas is drawn anew: a new thumbnail would draw the whole window, which takes longer than a frame.
        """
        layer = self.layer(title)
        if layer is not None:
            np.concatenate(list(crop), axis=1, out=layer.data)
            layer.refresh(thumbnail=False, highlight=False, extent=False)

    def layer(self, title: str) -> Layer | None:
        """Return the layer with a title, or None where there is none."""
        mark = SideImage(self._group, title)
        return next((layer for layer in self._viewer.layers if layer.metadata.get(METADATA_KEY) == mark), None)

    def remove(self) -> None:
        """Take all of the set's layers away."""
        for layer in list(self._viewer.layers):
            mark = layer.metadata.get(METADATA_KEY)
            if isinstance(mark, SideImage) and mark.group == self._group:
                self._viewer.layers.remove(layer)

    def _caption(self, titles: Sequence[str], placement: Placement) -> None:
        old = self.layer("")
        if old is not None:
            self._viewer.layers.remove(old)
        corners = [_corner(place, placement, self._first_column) for place in range(len(titles))]
        self._add(
            Points(
                np.array(corners),
                name=f"{self._group}: captions",
                size=1e-3,
                face_color="transparent",
                border_color="transparent",
                text={
                    "string": list(titles),
                    "size": CAPTION_PX,
                    "color": "#909090",
                    "anchor": "upper_left",
                },
                metadata={METADATA_KEY: SideImage(self._group, "")},
                **_flat(placement, 1.0, (0.0, 0.0)),
            )
        )

    def _add(self, layer: Layer) -> None:
        active = self._viewer.layers.selection.active
        self._viewer.add_layer(layer)
        if active is not None and active in self._viewer.layers:
            self._viewer.layers.selection.active = active


def _image_layer(
    group: str, title: str, picture: Crop, place: int, placement: Placement, first_column: int, signed: Sequence[str]
) -> Image:
    is_signed = title in signed
    return Image(
        picture,
        name=f"{group}: {title}",
        colormap="RdBu_r" if is_signed else "gray",
        contrast_limits=(-1, 1) if is_signed else (0, 1),
        interpolation2d="nearest",
        metadata={METADATA_KEY: SideImage(group, title)},
        **_flat(placement, _side_px(placement) / picture.shape[0], _corner(place, placement, first_column)),
    )


def _side_px(placement: Placement) -> float:
    """Side of an image, in pixels of the movie."""
    return SHARE_OF_HEIGHT * placement.shape[-2]


def _corner(place: int, placement: Placement, first_column: int) -> tuple[float, float]:
    """Top left of the image at a place, in pixels of the movie: y, x."""
    height, width = placement.shape[-2:]
    step = (SHARE_OF_HEIGHT + GAP_SHARE) * height
    column, row = divmod(place, ROWS)
    return GAP_SHARE * height + row * step, width + GAP_SHARE * height + (first_column + column) * step


def _flat(placement: Placement, zoom: float, corner: tuple[float, float]) -> dict[str, Any]:
    """Transform of a layer with the movie's last two axes: so many movie pixels a pixel, its corner there."""
    scale, translate = np.array(placement.transform["scale"][-2:]), np.array(placement.transform["translate"][-2:])
    return {
        "scale": tuple(scale * zoom),
        "translate": tuple(translate + scale * np.array(corner)),
        "units": placement.transform["units"][-2:],
        "axis_labels": placement.transform["axis_labels"][-2:],
    }
