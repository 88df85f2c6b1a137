"""The Explore widget: pick a nucleus, drag what the model sees, watch the picture, the scores and the label change."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari.utils.theme import get_theme
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QTabWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_cellinterp.errors import CellInterpError
from napari_cellinterp.gui.compare_page import ComparePage
from napari_cellinterp.gui.crops import cut_crop
from napari_cellinterp.gui.exploration import Exploration
from napari_cellinterp.gui.latents_page import LatentsPage
from napari_cellinterp.gui.links import Links
from napari_cellinterp.gui.model_loader import ModelLoader
from napari_cellinterp.gui.notices import show_problem
from napari_cellinterp.gui.selection import join_selection
from napari_cellinterp.gui.side_images import SideImages
from napari_cellinterp.gui.track_page import TrackPage
from napari_cellinterp.gui.waiting_pages import WaitingPages

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer

    from napari_cellinterp.gui.model_loader import Questioned

MIN_WIDTH_PX = 420
GROUP = "latents"
ORIGINAL, RECONSTRUCTION, CHANGED = "crop", "reconstruction", "changed"

CLASSIFY_FIRST = "There is nothing to explore yet: classify a movie first."
CLICK_FIRST = "Click a nucleus in the viewer: its latents come here as sliders."
LOADING = "Loading the model…"


class ExploreWidget(QWidget):
    """Sliders of the latents of the selected nucleus, its track, and a comparison with another one.

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
        self.images = SideImages(viewer, GROUP)
        self.exploration: Exploration | None = None
        self._loader = ModelLoader(self.session)
        self._questioned: Questioned | None = None
        self.latents, self.track, self.compare = LatentsPage(), TrackPage(self.session), ComparePage()
        self.tabs, content = QTabWidget(), QWidget()
        self.pages = WaitingPages(viewer, content)
        self.nucleus, self.previous, self.next = QLabel(), QToolButton(), QToolButton()
        self._refresh, self._strip = QTimer(self), QTimer(self)
        self._build(content)
        self._connect()
        self._show_theme()
        self._show_result()

    def step_nucleus(self, step: int) -> None:
        """Select the next nucleus of the frame, or the one before; the first of the frame where none is."""
        result, row, frame = self.session.classification, self.session.row, self.selection.layers.frame()
        if result is None or frame is None or not 0 <= frame < result.n_frames:
            return
        rows = result.frame_rows(frame)
        n = rows.stop - rows.start
        if n:
            inside = row is not None and rows.start <= row < rows.stop
            self.session.select(rows.start + (row - rows.start + step) % n if inside else rows.start)

    def _show_result(self) -> None:
        """Follow the session to another classification: load its model."""
        self._questioned, self.exploration = None, None
        self._loader.drop()
        self.track.drop()
        self.images.remove()
        if self.session.classification is None:
            self.pages.say(CLASSIFY_FIRST, offer=True)
            return
        self.pages.say(LOADING)
        self._loader.load(self._on_loaded, self._on_error)

    def _on_loaded(self, questioned: Questioned) -> None:
        self._questioned = questioned
        self.exploration = Exploration(questioned.bundle)
        self.exploration.changed.connect(self._schedule)
        self.latents.set_model(questioned, self.exploration, self.session.classification.head)
        self.track.set_model(questioned)
        self.compare.set_model(questioned, self.exploration)
        self._show_selected()

    def _show_selected(self) -> None:
        """Take the selected nucleus: its crop, its latents, its track."""
        session = self.session
        if self.exploration is None:
            return
        if session.row is None:
            self.pages.say(CLICK_FIRST)
            return
        if session.row == self.exploration.row:
            return
        self.latents.stop()
        try:
            crop = cut_crop(session.movie, session.classification, session.row, session.channels)
            self.exploration.take(session.row, crop)
        except CellInterpError as error:
            self._on_error(error)
            return
        title = self._show_title()
        self.pages.show_content()
        self.latents.show_nucleus()
        self._show_images()
        self.latents.show_strip()
        self.compare.show_nucleus(title, session.classification.head)
        self.track.show_selected()

    def _show_title(self) -> str:
        nucleus = self.session.nucleus()
        if nucleus is None:
            return ""
        title = f"track {nucleus['track_id']}, frame {nucleus['frame']}"
        self.nucleus.setText(f"<b>{title}</b>: {nucleus['state'] or 'undefined'}")
        return title

    def _show_images(self) -> None:
        """Show crop, reconstruction and changed image beside the movie."""
        placement = self.selection.layers.placement()
        if placement is None:
            return
        from napari_cellinterp.explain.traversal import decode_images

        reconstruction = decode_images(self.exploration.bundle, self.exploration.start[None])[0]
        first = self.images.layer(CHANGED) is None
        images = {ORIGINAL: self.exploration.crop, RECONSTRUCTION: reconstruction, CHANGED: reconstruction}
        self.images.show(images, placement)
        if first:
            self._viewer.reset_view()

    def _schedule(self) -> None:
        """Draw once Qt is idle: of many moves only the newest is decoded."""
        self._refresh.start(0)

    def _show_latents(self) -> None:
        if self.exploration is None or self.exploration.row is None:
            return
        decoded = self.exploration.decoded()
        self.images.update(CHANGED, decoded.images[0])
        self.latents.show_latents(decoded)
        self._strip.start()

    def _rename(self, latent: int, name: str) -> None:
        from napari_cellinterp.models.latent_names import latent_titles, save_user_name

        bundle = self._questioned.bundle
        try:
            save_user_name(bundle.hash, latent, name)
        except CellInterpError as error:
            show_problem(error)
        self._questioned.titles.update(latent_titles(bundle))
        self.latents.show_titles()
        self.latents.show_strip()
        self.track.show_titles()

    def _on_error(self, error: Exception) -> None:
        self.pages.say(f"⚠ {error}")
        show_problem(error)

    def _show_theme(self) -> None:
        colour = get_theme(self._viewer.theme).text.as_hex()
        self.track.plot.set_colour(colour)
        for painted in (self.latents.scores, self.latents.strip, self.compare.strip):
            painted.set_colour(colour)

    def _build(self, content: QWidget) -> None:
        inside = QVBoxLayout(content)
        inside.setContentsMargins(0, 4, 0, 0)
        inside.addLayout(self._header())
        for title, page in (("Latents", self.latents), ("Track", self.track), ("Compare", self.compare)):
            self.tabs.addTab(page, title)
        inside.addWidget(self.tabs, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.pages)
        self.setMinimumWidth(MIN_WIDTH_PX)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self._refresh.setSingleShot(True)
        self._strip.setSingleShot(True)
        self._strip.setInterval(120)

    def _header(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setContentsMargins(8, 0, 8, 0)
        for button, text, tip in (
            (self.previous, "◀", "Previous nucleus of this frame (Alt+Left)"),
            (self.next, "▶", "Next nucleus of this frame (Alt+Right)"),
        ):
            button.setText(text)
            button.setToolTip(tip)
        row.addWidget(self.nucleus, 1)
        row.addWidget(self.previous)
        row.addWidget(self.next)
        return row

    def _keys(self) -> dict[str, Callable[[], None]]:
        """Say what the keys do, in the viewer's canvas and in this widget."""
        return {
            "Alt-Left": lambda: self.step_nucleus(-1),
            "Alt-Right": lambda: self.step_nucleus(1),
            "Alt-Up": lambda: self.latents.choose_next(-1),
            "Alt-Down": lambda: self.latents.choose_next(1),
            "Alt-,": lambda: self.latents.nudge(-1),
            "Alt-.": lambda: self.latents.nudge(1),
        }

    def _connect(self) -> None:
        session, viewer = self.session, self._viewer
        self.previous.clicked.connect(lambda: self.step_nucleus(-1))
        self.next.clicked.connect(lambda: self.step_nucleus(1))
        self._refresh.timeout.connect(self._show_latents)
        self._strip.timeout.connect(self.latents.show_strip)
        self.latents.renamed.connect(self._rename)
        self.track.frame_wanted.connect(self.selection.layers.go_to)
        self.compare.latents_wanted.connect(self._take_latents)
        links = Links(self)
        links.at_end(self.selection.leave)
        links.tie(session.classified, self._show_result)
        links.tie(session.relabelled, self._show_title)
        links.tie(session.selected, self._show_selected)
        links.tie(viewer.events.theme, self._show_theme)
        for end in (self._loader.drop, self.track.drop, self.images.remove):
            links.at_end(end)
        for keys, act in self._keys().items():
            shortcut = QShortcut(QKeySequence(keys.replace("-", "+", 1)), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(act)
            viewer.bind_key(keys, lambda _viewer, act=act: act(), overwrite=True)
            links.at_end(partial(viewer.bind_key, keys, None))

    def _take_latents(self, latents: object) -> None:
        self.exploration.jump(latents)
        self.tabs.setCurrentIndex(0)
