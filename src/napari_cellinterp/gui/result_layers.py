"""The layers that show a classification in the viewer: states, tracks, and a ring around the selected nucleus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_cellinterp.gui.layers import (
    SELECTED,
    STATES,
    TRACKS,
    frame_position,
    frame_to_world,
    placement_of,
    selected_layer,
    states_layer,
    tracks_layer,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel
    from napari.layers import Image, Layer

    from napari_cellinterp.gui.layers import Placement
    from napari_cellinterp.gui.session import Session


class ResultLayers:
    """Shows a session's classification as layers, in place of those of the last one.

    Parameters
    ----------
    viewer : ViewerModel
        Where.
    session : Session
        What.
    """

    def __init__(self, viewer: ViewerModel, session: Session) -> None:
        self._viewer, self._session = viewer, session
        self._layers: dict[str, Layer] = {}
        self._placement: Placement | None = None
        self._name = ""

    def layer(self, role: str) -> Layer | None:
        """Return the layer of a role, or None where it was deleted."""
        layer = self._layers.get(role)
        return layer if layer is not None and layer in self._viewer.layers else None

    def show_result(self, image: Image) -> None:
        """Show the session's classification over an image layer."""
        session = self._session
        for role in list(self._layers):
            self._remove(role)
        self._name = image.name
        self._placement = placement_of(image, session.config.movie.channel)
        point = self._viewer.dims.point
        for role, make in ((STATES, states_layer), (TRACKS, tracks_layer)):
            name = f"{self._name} {role}"
            self._add(role, make(session.classification, self._placement, session.movie, name))
        if len(point) == self._viewer.dims.ndim:
            self._viewer.dims.point = point
        self._activate(image)

    def show_selected(self) -> None:
        """Ring the selected nucleus, in all frames of its track."""
        session, ring = self._session, self.layer(SELECTED)
        if session.row is None or self._placement is None:
            self._remove(SELECTED)
            return
        rows = session.track_rows(session.row)
        table = session.classification.rows.iloc[rows]
        positions = self._placement.position(table["frame"], table["y"], table["x"])
        if ring is not None:
            if ring.data.shape != positions.shape or (ring.data != positions).any():
                ring.data = positions
            return
        active = self._viewer.layers.selection.active
        made = selected_layer(session.classification, self._placement, session.movie, rows, f"{self._name} {SELECTED}")
        self._add(SELECTED, made)
        self._activate(active)

    def row_at(self, world: Sequence[float]) -> int | None:
        """Row of the nucleus at a position in the viewer, or None."""
        layer = self._reference()
        return None if layer is None else self._session.row_at(*frame_position(layer, world))

    def frame(self) -> int | None:
        """Return the frame that the viewer shows, or None where our layers are gone."""
        layer = self._reference()
        return None if layer is None else frame_position(layer, self._viewer.dims.point)[0]

    def go_to(self, frame: int) -> None:
        """Show a frame in the viewer."""
        layer = self._reference()
        if layer is not None:
            self._viewer.dims.set_point(self._viewer.dims.ndim - layer.ndim, frame_to_world(layer, frame))

    def _reference(self) -> Layer | None:
        return self.layer(STATES) or self.layer(TRACKS)

    def _add(self, role: str, layer: Layer) -> None:
        self._layers[role] = self._viewer.add_layer(layer)

    def _remove(self, role: str) -> None:
        layer = self.layer(role)
        self._layers.pop(role, None)
        if layer is not None:
            self._viewer.layers.remove(layer)

    def _activate(self, layer: Layer | None) -> None:
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.selection.active = layer
