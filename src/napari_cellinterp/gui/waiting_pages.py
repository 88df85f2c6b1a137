"""A sentence in place of a widget's content, until there is something to show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLabel, QPushButton, QStackedWidget, QVBoxLayout, QWidget

if TYPE_CHECKING:
    import napari.viewer


class WaitingPages(QStackedWidget):
    """Either a sentence, perhaps with a button that opens *Classify nuclei*, or the content.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer whose window the button opens the widget in.
    content : QWidget
        What is shown once there is something to show.
    """

    def __init__(self, viewer: napari.viewer.Viewer, content: QWidget) -> None:
        super().__init__()
        self._viewer = viewer
        self.message, self.classify = QLabel(), QPushButton("Classify nuclei…")
        self.message.setWordWrap(True)
        self.classify.clicked.connect(self._open_classify)
        waiting = QWidget()
        layout = QVBoxLayout(waiting)
        layout.addWidget(self.message)
        layout.addWidget(self.classify)
        layout.addStretch(1)
        self.addWidget(waiting)
        self.addWidget(content)

    def say(self, text: str, *, offer: bool = False) -> None:
        """Show a sentence in place of the content; offer to classify first, or not."""
        self.message.setText(text)
        self.classify.setVisible(offer)
        self.setCurrentIndex(0)

    def show_content(self) -> None:
        """Show the content in place of the sentence."""
        self.setCurrentIndex(1)

    def _open_classify(self) -> None:
        self._viewer.window.add_plugin_dock_widget("napari-cellinterp", "Classify nuclei")
