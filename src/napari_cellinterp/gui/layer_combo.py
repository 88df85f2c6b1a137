"""A list of the layers that fit, which follows the viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox

from napari_cellinterp.gui.layers import is_ours

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer


class LayerCombo(QComboBox):
    """Lists the layers of some types; follows layers that are added, removed or renamed.

    Layers that this plugin made are left out.

    Parameters
    ----------
    viewer : ViewerModel
        Whose layers.
    *types : type of Layer
        Which ones.
    """

    layer_changed = Signal()
    """Another layer is chosen, or none."""

    def __init__(self, viewer: ViewerModel, *types: type[Layer]) -> None:
        super().__init__()
        self._viewer, self._types = viewer, types
        self._layers: list[Layer] = []
        self._chosen: Layer | None = None
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(12)
        self.setPlaceholderText(f"no {' or '.join(kind.__name__ for kind in types)} layer yet")
        viewer.layers.events.inserted.connect(self._on_inserted)
        viewer.layers.events.removed.connect(self._fill)
        viewer.layers.events.reordered.connect(self._fill)
        self.currentIndexChanged.connect(self._announce)
        for layer in viewer.layers:
            layer.events.name.connect(self._rename)
        self._fill()

    @property
    def layer(self) -> Layer | None:
        """The chosen layer, or None."""
        index = self.currentIndex()
        return self._layers[index] if 0 <= index < len(self._layers) else None

    @layer.setter
    def layer(self, layer: Layer) -> None:
        self.setCurrentIndex(self._layers.index(layer))

    def disconnect_viewer(self) -> None:
        """Stop following the viewer."""
        for event in ("inserted", "removed", "reordered"):
            getattr(self._viewer.layers.events, event).disconnect(self)
        for layer in self._viewer.layers:
            layer.events.name.disconnect(self)

    def _on_inserted(self, event: object) -> None:
        event.value.events.name.connect(self._rename)
        self._fill()

    def _rename(self) -> None:
        for index, layer in enumerate(self._layers):
            self.setItemText(index, layer.name)

    def _fill(self) -> None:
        """List the layers anew, the topmost first; keep the chosen one, if it is still there."""
        chosen = self.layer
        self._layers = [
            layer for layer in reversed(self._viewer.layers) if isinstance(layer, self._types) and not is_ours(layer)
        ]
        self.blockSignals(True)
        self.clear()
        self.addItems([layer.name for layer in self._layers])
        self.setCurrentIndex(self._layers.index(chosen) if chosen in self._layers else 0 if self._layers else -1)
        self.blockSignals(False)
        self._announce()

    def _announce(self) -> None:
        if self.layer is not self._chosen:
            self._chosen = self.layer
            self.layer_changed.emit()
