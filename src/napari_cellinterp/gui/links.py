"""What ties a widget to the viewer and the session, which outlive it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psygnal import SignalInstance

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget


class Links:
    """Undoes its ties when Qt deletes the widget, the last one first.

    Parameters
    ----------
    widget : QWidget
        Whose ties.
    """

    def __init__(self, widget: QWidget) -> None:
        self._cuts: list[Callable[[], object]] = []
        widget.destroyed.connect(lambda: self._cut())  # Qt itself would hold a bound method only weakly

    def tie(self, signal: Any, answer: Callable[..., object]) -> None:
        """Connect a signal of psygnal or napari, for as long as the widget lives."""
        signal.connect(answer)
        missing = {"missing_ok": True} if isinstance(signal, SignalInstance) else {}
        self.at_end(lambda: signal.disconnect(answer, **missing))

    def at_end(self, cut: Callable[[], object]) -> None:
        """Call this too when the widget is gone; no Qt object of the widget may be used then."""
        self._cuts.append(cut)

    def _cut(self) -> None:
        while self._cuts:
            self._cuts.pop()()
