"""The Population widget: all nuclei of a movie at once, in their latents, on a map, in galleries, head against head."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari.utils.theme import get_theme
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QSizePolicy, QTabWidget, QVBoxLayout, QWidget

from napari_cellinterp.gui.agreement_page import AgreementPage
from napari_cellinterp.gui.densities_page import DensitiesPage
from napari_cellinterp.gui.gallery import GalleryPage
from napari_cellinterp.gui.layers import DISAGREEMENT
from napari_cellinterp.gui.links import Links
from napari_cellinterp.gui.map_colours import pattern_colours
from napari_cellinterp.gui.map_page import MapPage
from napari_cellinterp.gui.model_loader import ModelLoader
from napari_cellinterp.gui.notices import show_problem
from napari_cellinterp.gui.opinions import Opinions, opinions_job
from napari_cellinterp.gui.scrolling import scrolled
from napari_cellinterp.gui.selection import join_selection
from napari_cellinterp.gui.session import NONE
from napari_cellinterp.gui.waiting_pages import WaitingPages
from napari_cellinterp.gui.worker import Jobs

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer

    from napari_cellinterp.gui.model_loader import Questioned

MIN_WIDTH_PX = 420

CLASSIFY_FIRST = "There are no nuclei to look at yet: classify a movie first."
LOADING = "Loading the model…"


class PopulationWidget(QWidget):
    """Latents by state, a map with a lasso, galleries, and where heads agree.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        The viewer that it belongs to.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer = napari_viewer
        self.selection = join_selection(viewer)
        self.session = self.selection.session
        self._questioned: Questioned | None = None
        self.opinions, self._asking, self._loader = Opinions(), Jobs(), ModelLoader(self.session)
        self.densities, self.map = DensitiesPage(self.session), MapPage(self.session, self.opinions)
        self.gallery = GalleryPage(self.session)
        self.agreement = AgreementPage(viewer, self.selection, self.opinions)
        self.tabs = QTabWidget()
        self.pages = WaitingPages(viewer, self.tabs)
        self._build()
        self._connect()
        self._show_theme()
        self._show_result()

    def _show_result(self) -> None:
        """Follow the session to another classification: load its model."""
        self._questioned = None
        for end in (self._loader.drop, self._asking.drop, self.map.drop, self.agreement.drop, self.opinions.clear):
            end()
        self.gallery.show_result()
        self.selection.layers.remove(DISAGREEMENT)
        if self.session.classification is None:
            self.pages.say(CLASSIFY_FIRST, offer=True)
            return
        self.pages.say(LOADING)
        self._loader.load(self._on_loaded, self._on_error)

    def _on_loaded(self, questioned: Questioned) -> None:
        self._questioned = questioned
        classification, bundle = self.session.classification, questioned.bundle
        for page in (self.densities, self.map, self.agreement):
            page.set_model(questioned)
        self._show_frame()
        self.pages.show_content()
        self._asking.start(
            lambda: opinions_job(classification, bundle), lambda _: None, self.opinions.add, show_problem, lambda: None
        )

    def _show_relabelled(self) -> None:
        self.gallery.refresh()
        if self._questioned is not None:
            for page in (self.densities, self.map, self.agreement.confusion):
                page.show_states()
            self.map.show_highlighted()
            self.map.show_selected()

    def _show_selected(self) -> None:
        self.gallery.show_selected()
        if self._questioned is not None:
            for page in (self.densities, self.map, self.agreement):
                page.show_selected()

    def _show_highlighted(self) -> None:
        self.gallery.show_highlighted()
        if self._questioned is not None:
            self.map.show_highlighted()

    def _show_frame(self) -> None:
        frame = self.selection.layers.frame()
        if self._questioned is not None and frame is not None:
            self.map.show_frame(frame)

    def _show_opinions(self) -> None:
        self.agreement.show_opinions()
        self.map.show_opinions()
        self._show_disagreement()

    def _show_disagreement(self) -> None:
        found = self.opinions.disagreement
        if self.agreement.outline.isChecked() and found is not None:
            self.selection.layers.outline(DISAGREEMENT, found.pattern, pattern_colours(found))
        else:
            self.selection.layers.remove(DISAGREEMENT)

    def _on_error(self, error: Exception) -> None:
        self.pages.say(f"⚠ {error}")
        show_problem(error)

    def _show_theme(self) -> None:
        colour = get_theme(self._viewer.theme).text.as_hex()
        for plot in (self.densities.plot, self.map.plot):
            plot.set_colour(colour)

    def _build(self) -> None:
        pages = {"Latents": self.densities, "Map": self.map, "Gallery": self.gallery, "Agreement": self.agreement}
        for title, page in pages.items():
            self.tabs.addTab(scrolled(page), title)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.pages)
        self.setMinimumWidth(MIN_WIDTH_PX)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self.map.highlight.listen(self)

    def _keys(self) -> dict[str, Callable[[], None]]:
        """Say what the keys do, in the viewer's canvas and in this widget."""
        return {"Alt-D": lambda: self.agreement.step(1), "Alt-Shift-D": lambda: self.agreement.step(-1)}

    def _connect(self) -> None:
        session, viewer, layers = self.session, self._viewer, self.selection.layers
        for page in (self.densities, self.map, self.gallery, self.agreement):
            page.row_clicked.connect(self.selection.go_to)
        self.agreement.outlined.connect(self._show_disagreement)
        self.opinions.changed.connect(self._show_opinions)
        links = Links(self)
        links.at_end(self.selection.leave)
        links.at_end(partial(session.highlight, NONE))
        links.at_end(partial(layers.remove, DISAGREEMENT))
        links.tie(session.classified, self._show_result)
        links.tie(session.relabelled, self._show_relabelled)
        links.tie(session.selected, self._show_selected)
        links.tie(session.highlighted, self._show_highlighted)
        links.tie(self.selection.frame_changed, self._show_frame)
        links.tie(viewer.events.theme, self._show_theme)
        ends = (self._loader.drop, self._asking.drop, self.map.stop, self.gallery.stop, self.agreement.stop)
        ends += (self.agreement.confusion.disconnect_viewer,)
        for end in ends:
            links.at_end(end)
        for keys, act in self._keys().items():
            shortcut = QShortcut(QKeySequence(keys.replace("-", "+")), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(act)
            viewer.bind_key(keys, lambda _viewer, act=act: act(), overwrite=True)
            links.at_end(partial(viewer.bind_key, keys, None))
