"""What the widgets of one viewer share beyond the session: result layers, clicks on nuclei, and the current frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_cellinterp.gui.result_layers import ResultLayers
from napari_cellinterp.gui.session import session_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.components import ViewerModel

CLICK_PX = 3
"""Farther moves of the mouse are drags, in screen pixels."""


class Selection:
    """Selects the nucleus that is clicked, and follows it along its track as the viewer goes through time.

    It listens to the viewer as long as a widget uses it.

    Parameters
    ----------
    viewer : ViewerModel
        Whose clicks and frames.
    """

    clicked = Signal(int)
    """A nucleus was clicked: its row."""
    frame_changed = Signal(int)
    """The viewer shows another frame."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self.session = session_of(viewer)
        self.layers = ResultLayers(viewer, self.session)
        self._n_users = 0

    def _join(self) -> None:
        self._n_users += 1
        if self._n_users == 1:
            self._viewer.mouse_drag_callbacks.append(self._on_mouse)
            self._viewer.dims.events.point.connect(self._on_frame)
            self.session.selected.connect(self.layers.show_selected)
            self.session.highlighted.connect(self.layers.show_highlighted)
            self.session.relabelled.connect(self.layers.show_relabelled)

    def leave(self) -> None:
        """Use it no more; the last one leaves the viewer as it was."""
        self._n_users -= 1
        if self._n_users == 0:
            _selections.pop(self._viewer, None)
            if self._on_mouse in self._viewer.mouse_drag_callbacks:
                self._viewer.mouse_drag_callbacks.remove(self._on_mouse)
            self._viewer.dims.events.point.disconnect(self._on_frame)
            self.session.selected.disconnect(self.layers.show_selected, missing_ok=True)
            self.session.highlighted.disconnect(self.layers.show_highlighted, missing_ok=True)
            self.session.relabelled.disconnect(self.layers.show_relabelled, missing_ok=True)

    def go_to(self, row: int) -> None:
        """Select a nucleus by its row in the classification, and show its frame."""
        self.session.select(row)
        self.layers.go_to(int(self.session.classification.rows["frame"].iloc[row]))

    def follow(self) -> None:
        """Select the nucleus of the same track in the frame that the viewer shows, where it is there."""
        frame, row = self.layers.frame(), self.session.row
        if frame is None or row is None:
            return
        rows = self.session.track_rows(row)
        here = rows[self.session.classification.rows["frame"].to_numpy()[rows] == frame]
        if len(here):
            self.session.select(int(here[0]))

    def _on_frame(self) -> None:
        frame = self.layers.frame()
        if frame is not None and self.session.classification is not None:
            self.follow()
            self.frame_changed.emit(frame)

    def _on_mouse(self, viewer: Any, event: Any) -> Iterator[None]:
        """Select the nucleus that is clicked; a drag moves the canvas as always."""
        start = event.pos
        active = viewer.layers.selection.active
        if event.button != 1 or viewer.dims.ndisplay != 2 or (active is not None and active.mode != "pan_zoom"):
            return
        yield
        while event.type == "mouse_move":
            yield
        if np.abs(event.pos - start).max() > CLICK_PX:
            return
        row = self.layers.row_at(event.position)
        if row is not None:
            self.session.select(row)
            self.clicked.emit(row)


_selections: dict[ViewerModel, Selection] = {}
"""Those in use; nothing else may keep a viewer alive."""


def join_selection(viewer: ViewerModel) -> Selection:
    """Begin to use the selection of a viewer, which all its widgets share; `Selection.leave` ends it."""
    selection = _selections.setdefault(viewer, Selection(viewer))
    selection._join()
    return selection
