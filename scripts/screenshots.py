"""Make the pictures of the docs from the simulated sample: ``python scripts/screenshots.py [docs/images]``.

Needs a screen, real or virtual: most of them are of the viewer.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import napari
import numpy as np
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication, QScrollArea, QWidget

from napari_cellinterp.config import ClassifyConfig
from napari_cellinterp.events import finish
from napari_cellinterp.explain.audit_figures import image_figure, latent_figure, moves_figure
from napari_cellinterp.gui.classify import ClassifyWidget
from napari_cellinterp.gui.counterfactual import CLICK_A_CELL, CounterfactualWidget
from napari_cellinterp.gui.explore import ExploreWidget
from napari_cellinterp.gui.population import PopulationWidget
from napari_cellinterp.gui.read_model import ReadModelWidget
from napari_cellinterp.gui.samples import SAMPLE_NAME
from napari_cellinterp.movies.sample import sample_movie
from napari_cellinterp.questioning import audit_job
from napari_cellinterp.results.overlay import telling_frame, write_overlay
from napari_cellinterp.workflows import classify_movie

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = (1360, 860)
UNSURE = 0.8
"""Nuclei of smaller probability are highlighted on the map."""


def wait(until: Callable[[], bool] = lambda: False, seconds: float = 1.0) -> None:
    """Let Qt work until something is true, or the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        QApplication.processEvents()
        time.sleep(0.01)


def close(viewer: napari.Viewer, widget: QWidget) -> None:
    """Take a widget away, with all that it shows in the viewer."""
    viewer.window.remove_dock_widget(widget)
    widget.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)  # which processEvents leaves for later
    viewer.reset_view()


def shoot_explore(viewer: napari.Viewer, shot: Callable[[str], None]) -> None:
    """Show the latents of the selected nucleus, one of them moved; then its track."""
    widget = ExploreWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Explore latents", area="right")
    wait(lambda: widget.exploration is not None and widget.exploration.row is not None, 120)
    row = next(iter(widget.latents.rows.values()))
    row.moved.emit(row.index, float(widget.exploration.start[row.index]) - 1)
    shot("explore")
    widget.tabs.setCurrentIndex(1)
    wait(lambda: widget.track.track is not None, 60)
    shot("explore-track")
    widget.tabs.setCurrentIndex(2)
    widget.compare.keep_nucleus()
    widget.step_nucleus(1)
    shot("explore-compare")
    widget.step_nucleus(-1)
    close(viewer, widget)


def shoot_counterfactual(viewer: napari.Viewer, shot: Callable[[str], None], folder: Path) -> None:
    """Show what flips the formula on the selected nucleus, all latents free, then the nucleus's own held fixed."""
    widget = CounterfactualWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Counterfactuals", area="right")

    def go_to_flip(space: str) -> None:
        wait(seconds=0.5)
        wait(lambda: widget.page.status.text() == CLICK_A_CELL, 120)
        widget.choose("symbolic", space)
        widget.go_to_flip()
        wait(lambda: not widget.inquiry.open_questions(), 60)

    for space in ("image", "latent"):
        go_to_flip(space)
    shot("counterfactual")
    widget.save_figure(folder / "counterfactual-figure.png")
    wait(lambda: "Saved" in widget.page.status.text(), 60)
    widget.page.form.hold.setCurrentIndex(widget.page.form.hold.findData("central"))
    go_to_flip("latent")
    shot("counterfactual-held")
    close(viewer, widget)


def shoot_reading(viewer: napari.Viewer, shot: Callable[[str], None]) -> None:
    """Show the network with a latent's stream, then the movie labelled by a shorter formula, and its terms."""
    widget = ReadModelWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Read the model", area="right")
    wait(lambda: widget.subject is not None, 120)
    widget.network.choose(widget.network.part.inputs[0])
    shot("read-network")
    widget.tabs.setCurrentIndex(2)
    widget.formula.live.setChecked(True)
    widget.formula.front.slider.setValue(widget.formula.front.slider.maximum() - 1)
    shot("read-formula")
    page = widget.tabs.currentWidget()
    assert isinstance(page, QScrollArea)
    page.verticalScrollBar().setValue(page.verticalScrollBar().maximum())
    shot("read-nucleus")
    widget.labelling.restore()
    close(viewer, widget)


def shoot_population(viewer: napari.Viewer, shot: Callable[[str], None]) -> None:
    """Show a latent by state, the map with the nuclei that the head is least sure of, and where heads disagree."""
    widget = PopulationWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Population", area="right")
    wait(lambda: bool(widget.opinions.by_head), 120)
    shot("population-latents")
    widget.tabs.setCurrentIndex(1)
    unsure = widget.session.classification.rows["probability"].to_numpy() < UNSURE
    widget.session.highlight(np.flatnonzero(unsure))
    shot("population-map")
    widget.session.highlight(np.empty(0, np.int64))
    widget.tabs.setCurrentIndex(3)
    widget.agreement.outline.setChecked(True)
    widget.agreement.step(1)
    shot("population-agreement")
    close(viewer, widget)


def draw_audit(folder: Path) -> None:
    """Draw what attacks do to the heads of the shipped model, and how far turns and erased neighbours move them."""
    audits = finish(audit_job([ClassifyConfig().model]))
    for name, draw in (("image", image_figure), ("latents", latent_figure), ("moves", moves_figure)):
        draw(audits).savefig(folder / f"audit-{name}.png", dpi=90)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images")
    folder.mkdir(parents=True, exist_ok=True)
    viewer = napari.Viewer(show=True)
    viewer.window.resize(*SIZE)
    widget = ClassifyWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Classify nuclei", area="right")

    def shot(name: str) -> None:
        wait(seconds=1.5)
        viewer.screenshot(folder / f"{name}.png", canvas_only=False, flash=False)

    widget.setup.open_sample()
    wait(lambda: SAMPLE_NAME in viewer.layers, 60)
    wait()  # the canvas gets its size first
    viewer.reset_view()
    shot("setup")
    widget.run()
    wait(lambda: widget.session.classification is not None, 300)
    result = widget.session.classification
    t = telling_frame(result)
    widget.layers.go_to(t)
    viewer.reset_view()
    shot("classified")
    rows = result.rows
    metaphase = rows.index[(rows["frame"] == t) & (rows["state"] == "metaphase")]
    widget.selection.go_to(int(metaphase[0]))
    widget.tabs.setCurrentIndex(2)
    shot("nucleus")
    widget.tabs.setCurrentIndex(3)
    shot("gallery")
    viewer.window.remove_dock_widget(widget)
    shoot_explore(viewer, shot)
    shoot_counterfactual(viewer, shot, folder)
    shoot_reading(viewer, shot)
    shoot_population(viewer, shot)
    viewer.close()
    draw_audit(folder)
    movie = sample_movie()
    write_overlay(classify_movie(movie, ClassifyConfig()), movie, 0, folder / "overlay.png")


if __name__ == "__main__":
    main()
