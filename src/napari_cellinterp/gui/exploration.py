"""The nucleus whose latents are changed: where they began, where they are, and all steps between. Knows no Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_cellinterp.explain.traversal import Traversal
    from napari_cellinterp.models.bundle import ModelBundle

    Array = NDArray[np.float32]


class Exploration:
    """One nucleus's latents, changed by hand, with undo and redo.

    Parameters
    ----------
    bundle : ModelBundle
        The model.
    """

    changed = Signal()
    """The latents are others, or those of another nucleus."""

    def __init__(self, bundle: ModelBundle) -> None:
        self.bundle = bundle
        self.row: int | None = None
        self.crop: Array = np.zeros((bundle.info.n_channels, bundle.info.patch_px, bundle.info.patch_px), np.float32)
        self.start: Array = np.zeros(bundle.info.n_latents, np.float32)
        self._latents = self.start
        self._undo: list[Array] = []
        self._redo: list[Array] = []
        self._settled = self.start

    @property
    def latents(self) -> Array:
        """The latents as they are now, (n_latents,) float32."""
        return self._latents

    @property
    def is_changed(self) -> bool:
        """Whether they differ from the nucleus's own."""
        return bool((self._latents != self.start).any())

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back."""
        return bool(self._undo)

    @property
    def can_redo(self) -> bool:
        """Whether there is a step to take again."""
        return bool(self._redo)

    def take(self, row: int, crop: Array) -> None:
        """Begin with another nucleus: its row in the classification, and its crop (n_channels, 64, 64).

        Raises
        ------
        QuestionError
            If the crop doesn't fit the model; the nucleus before is kept.
        """
        from napari_cellinterp.explain.traversal import encode_crop

        self.start = encode_crop(self.bundle, crop)
        self.row, self.crop = row, crop
        self._latents = self._settled = self.start
        self._undo, self._redo = [], []
        self.changed.emit()

    def move(self, index: int, value: float) -> None:
        """Set one latent, as a slider is dragged; `settle` ends the step."""
        latents = self._latents.copy()
        latents[index] = value
        self._show(latents)

    def jump(self, latents: Array) -> None:
        """Set all latents, as one step."""
        self._show(np.asarray(latents, np.float32))
        self.settle()

    def reset(self, index: int | None = None) -> None:
        """Set one latent back to the nucleus's own, or all of them, as one step."""
        latents = self._latents.copy()
        rows = slice(None) if index is None else index
        latents[rows] = self.start[rows]
        self.jump(latents)

    def settle(self) -> None:
        """End a step, so that it can be taken back."""
        if (self._latents != self._settled).any():
            self._undo.append(self._settled)
            self._redo = []
            self._settled = self._latents
            self.changed.emit()

    def undo(self) -> None:
        """Take the last step back."""
        self.settle()
        if self._undo:
            self._redo.append(self._settled)
            self._settled = self._undo.pop()
            self._latents = self._settled
            self.changed.emit()

    def redo(self) -> None:
        """Take the step again that was taken back."""
        if self._redo:
            self._undo.append(self._settled)
            self._settled = self._redo.pop()
            self._latents = self._settled
            self.changed.emit()

    def decoded(self) -> Traversal:
        """Decode the latents as they are now, and score them by all heads: a traversal of one point."""
        from napari_cellinterp.explain.traversal import decode
        from napari_cellinterp.models.cores import on_one_core

        with on_one_core():  # the others draw; sharing one image among threads takes longer than decoding it
            return decode(self.bundle, self._latents[None])

    def _show(self, latents: Array) -> None:
        if (latents != self._latents).any():
            self._latents = latents
            self.changed.emit()
