"""Pictures of both attacks below the movie: the image in the first row, what the model makes of it in the second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image

from napari_cellinterp.gui.counterfactual_questions import SPACES
from napari_cellinterp.gui.layers import METADATA_KEY
from napari_cellinterp.gui.side_images import SideImages

if TYPE_CHECKING:
    import numpy as np
    from napari.components import ViewerModel
    from napari.layers import Layer
    from numpy.typing import NDArray

    from napari_cellinterp.explain.scoring import Space
    from napari_cellinterp.gui.counterfactual_inquiry import Inquiry
    from napari_cellinterp.gui.layers import Placement

    Crop = NDArray[np.float32]

GROUP = "counterfactual"

BEFORE, RECONSTRUCTION, RECONSTRUCTION_AFTER = "nucleus", "reconstruction", "reconstruction after"
AFTER: dict[Space, str] = {"image": "image attack", "latent": "latent attack"}
DIFFERENCE: dict[Space, str] = {"image": "difference", "latent": "decoded difference"}

GAP_SHARE = 0.1
"""Room between sets of kept layers, as a share of a set's height."""


class AttackPictures:
    """Image layers of both attacks below the movie, and copies of them that stay.

    Parameters
    ----------
    viewer : ViewerModel
        Where.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self.side = SideImages(viewer, GROUP, below=True)

    def show(self, inquiry: Inquiry, placement: Placement) -> None:
        """Show what is known; the place of what has no answer stays free."""
        is_first = self.side.layer(BEFORE) is None
        self.side.show(_pictures(inquiry), placement, signed=tuple(DIFFERENCE.values()))
        for space, title in DIFFERENCE.items():
            layer, answer = self.side.layer(title), inquiry.answer(space)
            if layer is not None and layer.contrast_limits != [-answer.scale, answer.scale]:
                layer.contrast_limits = (-answer.scale, answer.scale)
        if is_first:
            self._viewer.reset_view()

    def keep(self, inquiry: Inquiry, track_id: int, frame: int) -> None:
        """Copy the pictures to layers that stay, below all others."""
        shown = {title: self.side.layer(title) for title, crop in _pictures(inquiry).items() if crop is not None}
        layers = {title: layer for title, layer in shown.items() if layer is not None}
        if not layers:
            return
        tops, bottoms = zip(*(layer.extent.world[:, -2] for layer in layers.values()), strict=True)
        lowest = max(layer.extent.world[1, -2] for layer in self._viewer.layers)
        down = lowest - min(tops) + GAP_SHARE * (max(bottoms) - min(tops))
        about: dict[str, Any] = {"track_id": track_id, "frame": frame, "head": inquiry.head}
        for title, layer in layers.items():
            space = next((space for space in SPACES if title in (AFTER[space], DIFFERENCE[space])), SPACES[0])
            epsilon = 0.0 if title in (BEFORE, RECONSTRUCTION) else inquiry.found(space).epsilon
            self._viewer.add_layer(_copy(layer, title, about | {"space": space, "epsilon": epsilon}, down))

    def remove(self) -> None:
        """Take the pictures away; copies stay."""
        self.side.remove()


def _pictures(inquiry: Inquiry) -> dict[str, Crop | None]:
    """Return all pictures by title, in the order of their places: columns of two."""
    image, latent = inquiry.found("image"), inquiry.found("latent")
    either = image or latent
    return {
        BEFORE: either and inquiry.subject.crop,
        RECONSTRUCTION: either and either.reconstruction_before,
        AFTER["image"]: image and image.after,
        AFTER["latent"]: latent and latent.after,
        DIFFERENCE["image"]: image and image.difference,
        DIFFERENCE["latent"]: latent and latent.difference,
        RECONSTRUCTION_AFTER: image and image.reconstruction_after,
    }


def _copy(layer: Layer, title: str, about: dict[str, Any], down: float) -> Image:
    translate = layer.translate.copy()
    translate[-2] += down
    facts = f"track {about['track_id']}, frame {about['frame']}, {about['head']}, ε {about['epsilon']:.3g}"
    return Image(
        layer.data.copy(),
        name=f"{title}: {facts}",
        colormap=layer.colormap,
        contrast_limits=layer.contrast_limits,
        interpolation2d="nearest",
        scale=layer.scale,
        translate=translate,
        units=layer.units,
        axis_labels=layer.axis_labels,
        metadata={METADATA_KEY: about},
    )
