"""``python -m napari_cellinterp.gui.demo FOLDER``: napari with the demo's movie, and the widgets at work on it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import napari

from napari_cellinterp.gui.classify import ClassifyWidget
from napari_cellinterp.gui.explore import ExploreWidget
from napari_cellinterp.movies.sample import DEMO_FILE

if TYPE_CHECKING:
    from napari import Viewer


def show_demo(folder: Path) -> tuple[Viewer, ClassifyWidget]:
    """Open the movie of a demo folder, dock the widgets and classify.

    Parameters
    ----------
    folder : Path
        Where ``cellinterp demo`` wrote.
    """
    viewer = napari.Viewer(title="Cell interpreter: simulated dividing cells")
    viewer.window.add_dock_widget(ExploreWidget(viewer), name="Explore latents", area="right")
    widget = ClassifyWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Classify nuclei", area="right", tabify=True)
    widget.setup.open_movie(folder / DEMO_FILE)
    widget.run()
    return viewer, widget


if __name__ == "__main__":
    show_demo(Path(sys.argv[1]))
    napari.run()
