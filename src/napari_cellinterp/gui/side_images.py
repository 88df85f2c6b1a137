"""Small images beside or below the movie: what a crop is, and what the model makes of it."""

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
"""Room around it, as a share of the movie's height; below the movie, of its width."""

COLUMNS_BELOW = 4
"""Images beside each other below a movie, as wide as it together."""

CAPTION_SHARE = 0.05
"""Size of the captions, as a share of an image's side: the longest fit, whatever the zoom."""


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
    """Image layers beside a movie, with captions; they are made at need and updated in place.

    A layer that the person deleted comes back with the next `show`; one that was renamed or moved in the list is still
    known.

    Parameters
    ----------
    viewer : ViewerModel
        Where.
    group : str
        Name of the set, part of its layers' names.
    below : bool
        Below the movie, instead of to its right.
    """

    def __init__(self, viewer: ViewerModel, group: str, *, below: bool = False) -> None:
        self._viewer, self._group, self._below = viewer, group, below
        self._n_channels = 1

    def show(self, images: Mapping[str, Crop | None], placement: Placement, signed: Sequence[str] = ()) -> None:
        """Show crops (n_channels, 64, 64), in order; their channels stand side by side.

        Parameters
        ----------
        images : mapping of str to array
            By title; None leaves its place free. They are in [0, 1], but for those in ``signed``, which are in [-1, 1].
        placement : Placement
            Of the movie.
        signed : sequence of str
            Titles of differences: blue below 0, red above.
        """
        self._n_channels = next((len(crop) for crop in images.values() if crop is not None), 1)
        others = False
        for place, (title, crop) in enumerate(images.items()):
            layer = self.layer(title)
            if layer is not None and crop is not None:
                self.update(title, crop)
            elif layer is not None:
                self._viewer.layers.remove(layer)
                others = True
            elif crop is not None:
                self._add(self._image_layer(title, crop, place, placement, is_signed=title in signed))
                others = True
        if others:
            self._caption([title if crop is not None else "" for title, crop in images.items()], placement)

    def update(self, title: str, crop: Crop) -> None:
        """Show another crop in a layer that is there; nothing where the person deleted it.

        Only the canvas is drawn anew. The layer needn't be sliced again: its slice is a view of the pixels that change.
        The list of layers needn't know: it would draw all of its entries for each event of a layer, and the whole
        window with them, which takes longer than all else.
        """
        layer, picture = self.layer(title), np.concatenate(list(crop), axis=1)
        if layer is not None and not np.array_equal(layer.data, picture):
            layer.data[...] = picture
            with self._viewer.layers.events.blocker_all():
                layer.events.set_data()

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
        corners = {title: self._corner(place, placement) for place, title in enumerate(titles) if title}
        if not corners:
            return
        self._add(
            Points(
                np.array(list(corners.values())),
                name=f"{self._group}: captions",
                size=1e-3,
                face_color="transparent",
                border_color="transparent",
                text={
                    "string": list(corners),
                    "size": CAPTION_SHARE * self._side_px(placement) * placement.transform["scale"][-1],
                    "scaling": True,
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

    def _image_layer(self, title: str, crop: Crop, place: int, placement: Placement, *, is_signed: bool) -> Image:
        picture = np.concatenate(list(crop), axis=1)
        return Image(
            picture,
            name=f"{self._group}: {title}",
            colormap="RdBu_r" if is_signed else "gray",
            contrast_limits=(-1, 1) if is_signed else (0, 1),
            interpolation2d="nearest",
            metadata={METADATA_KEY: SideImage(self._group, title)},
            **_flat(placement, self._side_px(placement) / picture.shape[0], self._corner(place, placement)),
        )

    def _corner(self, place: int, placement: Placement) -> tuple[float, float]:
        """Top left of the image at a place, in pixels of the movie: y, x."""
        height, width = placement.shape[-2:]
        side, gap = self._side_px(placement), GAP_SHARE * (width if self._below else height)
        top, left = (height + gap, 0.0) if self._below else (gap, width + gap)
        column, row = divmod(place, ROWS)
        return top + row * (side + gap), left + column * (self._n_channels * side + gap)

    def _side_px(self, placement: Placement) -> float:
        """Side of an image, in pixels of the movie."""
        height, width = placement.shape[-2:]
        if not self._below:
            return SHARE_OF_HEIGHT * height
        return width * (1 - (COLUMNS_BELOW - 1) * GAP_SHARE) / COLUMNS_BELOW / self._n_channels


def _flat(placement: Placement, zoom: float, corner: tuple[float, float]) -> dict[str, Any]:
    """Transform of a layer with the movie's last two axes: so many movie pixels a pixel, its corner there."""
    scale, translate = np.array(placement.transform["scale"][-2:]), np.array(placement.transform["translate"][-2:])
    return {
        "scale": tuple(scale * zoom),
        "translate": tuple(translate + scale * np.array(corner)),
        "units": placement.transform["units"][-2:],
        "axis_labels": placement.transform["axis_labels"][-2:],
    }
