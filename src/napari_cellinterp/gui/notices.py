"""Tell the person what went wrong, as a notification of the viewer."""

from __future__ import annotations

from napari.utils.notifications import notification_manager, show_error

from napari_cellinterp.errors import CellInterpError


def show_problem(error: Exception) -> None:
    """Show an error: ours as its message, any other with its traceback to look at."""
    if isinstance(error, CellInterpError):
        show_error(str(error))
    else:
        notification_manager.receive_error(type(error), error, error.__traceback__)
