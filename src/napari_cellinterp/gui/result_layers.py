"""The layers that show a classification in the viewer: states, tracks, and marks of nuclei."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_cellinterp.gui.layers import (
    HIGHLIGHTED,
    SELECTED,
    STATES,
    TRACKS,
    frame_position,
    frame_to_world,
    placement_of,
    result_of,
    selected_layer,
    show_states,
    states_layer,
    tracks_layer,
)
from napari_cellinterp.gui.outline_layers import outline_layer, show_outlined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel
    from napari.layers import Image, Layer
    from numpy.typing import NDArray

    from napari_cellinterp.gui.layers import Placement
    from napari_cellinterp.gui.session import Session
    from napari_cellinterp.results.outlines import Outlines
    from napari_cellinterp.results.table import Classification


HIGHLIGHT_COLOUR = "#ffffff"


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
        self._outlines: Outlines | None = None

    def layer(self, role: str) -> Layer | None:
        """Return the layer of a role that shows the session's classification, or None where it was deleted."""
        for layer in self._viewer.layers:
            shown = result_of(layer)
            if shown is not None and shown.role == role and shown.classification is self._session.classification:
                return layer
        return None

    def show_result(self, image: Image) -> None:
        """Show the session's classification over an image layer, in place of all others."""
        session = self._session
        for layer in [layer for layer in self._viewer.layers if result_of(layer) is not None]:
            self._viewer.layers.remove(layer)
        placement = placement_of(image, session.config.movie.channel)
        point = self._viewer.dims.point
        for role, make in ((STATES, states_layer), (TRACKS, tracks_layer)):
            name = f"{image.name} {role}"
            self._viewer.add_layer(make(session.classification, placement, session.movie, name))
        if len(point) == self._viewer.dims.ndim:
            self._viewer.dims.point = point
        self._activate(image)

    def show_relabelled(self, before: Classification) -> None:
        """Show other states of the same nuclei in the layers that showed those before."""
        now = self._session.classification
        for layer in self._viewer.layers:
            shown = result_of(layer)
            if shown is not None and shown.classification is before:
                show_states(layer, now)

    def show_selected(self) -> None:
        """Ring the selected nucleus, in all frames of its track."""
        session, ring, placement = self._session, self.layer(SELECTED), self.placement()
        if session.row is None or placement is None:
            if ring is not None:
                self._viewer.layers.remove(ring)
            return
        rows = session.track_rows(session.row)
        table = session.classification.rows.iloc[rows]
        positions = placement.position(table["frame"], table["y"], table["x"])
        if ring is not None:
            if ring.data.shape != positions.shape or (ring.data != positions).any():
                ring.data = positions
            return
        active = self._viewer.layers.selection.active
        made = selected_layer(session.classification, placement, session.movie, rows, SELECTED)
        self._viewer.add_layer(made)
        self._activate(active)

    def show_highlighted(self) -> None:
        """Outline the highlighted nuclei, in all frames."""
        session = self._session
        if not len(session.highlighted_rows):
            self.remove(HIGHLIGHTED)
            return
        chosen = np.zeros(len(session.classification), np.uint8)
        chosen[session.highlighted_rows] = 1
        self.outline(HIGHLIGHTED, chosen, [HIGHLIGHT_COLOUR])

    def outline(self, role: str, values: NDArray[np.integer], colours: Sequence[str]) -> None:
        """Outline nuclei in place of those that a role's layer outlined before; see `outline_layer`.

        The list of layers needn't know of other outlines: it would draw all of its entries.
        """
        from napari_cellinterp.results.outlines import Outlines

        result, movie = self._session.classification, self._session.movie
        layer, placement = self.layer(role), self.placement()
        if self._outlines is None or not self._outlines.are_of(result):
            self._outlines = Outlines(result)
        if layer is not None:
            with self._viewer.layers.events.blocker_all():
                show_outlined(layer, self._outlines, values, colours)
        elif placement is not None:
            active = self._viewer.layers.selection.active
            self._viewer.add_layer(outline_layer(result, placement, movie, role, self._outlines, values, colours))
            self._activate(active)

    def remove(self, role: str) -> None:
        """Take the layers of a role away, also those of an earlier classification."""
        for layer in list(self._viewer.layers):
            shown = result_of(layer)
            if shown is not None and shown.role == role:
                self._viewer.layers.remove(layer)

    def placement(self) -> Placement | None:
        """Return where the layers lie, or None where they are gone."""
        layer = self.reference()
        return None if layer is None else result_of(layer).placement

    def row_at(self, world: Sequence[float]) -> int | None:
        """Row of the nucleus at a position in the viewer, or None."""
        layer = self.reference()
        return None if layer is None else self._session.row_at(*frame_position(layer, world))

    def frame(self) -> int | None:
        """Return the frame that the viewer shows, or None where our layers are gone."""
        layer = self.reference()
        return None if layer is None else frame_position(layer, self._viewer.dims.point)[0]

    def go_to(self, frame: int) -> None:
        """Show a frame in the viewer."""
        layer = self.reference()
        if layer is not None:
            self._viewer.dims.set_point(self._viewer.dims.ndim - layer.ndim, frame_to_world(layer, frame))

    def reference(self) -> Layer | None:
        """Return a layer that shows the whole classification, or None where they are gone."""
        return self.layer(STATES) or self.layer(TRACKS)

    def _activate(self, layer: Layer | None) -> None:
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.selection.active = layer
