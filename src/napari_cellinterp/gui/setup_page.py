"""The first page of the Classify widget: which movie, which nuclei, which model, at which scale."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels, Points, Tracks
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QGroupBox,
    QLabel,
    QMenu,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_cellinterp.config import ClassifyConfig, LinkingConfig, MovieConfig, NucleiConfig
from napari_cellinterp.errors import CellInterpError, OptionError
from napari_cellinterp.gui.forms import ConfigForm, ScaleForm
from napari_cellinterp.gui.layer_combo import LayerCombo
from napari_cellinterp.gui.layers import labels_from_layer, movie_from_layer, tracks_from_layer
from napari_cellinterp.gui.model_form import ModelForm
from napari_cellinterp.gui.notices import show_problem
from napari_cellinterp.gui.reader import get_reader

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_cellinterp.movies.stack import Movie
    from napari_cellinterp.movies.track_table import TrackTable

PLUGIN = "napari-cellinterp"

SOURCES = {
    "Find them": None,
    "From a Labels layer": Labels,
    "From a Tracks layer": Tracks,
    "From a Points layer": Points,
}
"""Where nuclei come from, and which layers hold them."""

FILE_FILTER = "Movies (*.tif *.tiff);;All files (*)"

HINT = (
    "<b>Which nuclei are in metaphase?</b><br>Open a timelapse of fluorescent nuclei (TIFF, OME-TIFF, OME-Zarr), "
    "or see how it works on a simulated one."
)


@dataclass(frozen=True)
class Request:
    """What the person asks for.

    Attributes
    ----------
    image : Image
        The layer to classify.
    movie : Movie
        The same as a movie.
    config : ClassifyConfig
        All settings.
    labels : array or None
        Masks, where they are given.
    tracks : TrackTable or None
        Positions, where they are given.
    """

    image: Image
    movie: Movie
    config: ClassifyConfig
    labels: Any = None
    tracks: TrackTable | None = None


class SetupPage(QWidget):
    """All settings of the main job.

    Parameters
    ----------
    viewer : ViewerModel
        Whose layers can be chosen.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self.image = LayerCombo(viewer, Image)
        self.channel, self.about_movie = QComboBox(), QLabel()
        self.source = QComboBox()
        self.layers = {title: LayerCombo(viewer, kind) for title, kind in SOURCES.items() if kind is not None}
        self.ids_are_tracks = QCheckBox("The ids are tracks already")
        self.model, self.scale = ModelForm(), ScaleForm()
        self.nuclei, self.linking = ConfigForm(NucleiConfig), ConfigForm(LinkingConfig)
        self.more = ConfigForm(ClassifyConfig, ["reconstruct"])
        layout = QVBoxLayout(self)
        for part in (self._hint(), self._movie_group(), self._nuclei_group(), self._model_group(), self._advanced()):
            layout.addWidget(part)
        layout.addStretch(1)
        self._connect()
        self._show_movie()
        self._show_source()

    @property
    def is_ready(self) -> bool:
        """Whether all that has to be chosen is."""
        combo = self.layers.get(self.source.currentText())
        return None not in (self.image.layer, self.model.model) and (combo is None or combo.layer is not None)

    def request(self) -> Request:
        """Return what is chosen.

        Raises
        ------
        CellInterpError
            A layer can't be used.
        """
        image = self.image.layer
        if image is None:
            raise OptionError("No image layer is chosen.", "Open a movie first.")
        movie = movie_from_layer(image)
        combo = self.layers.get(self.source.currentText())
        labels = tracks = None
        if combo is not None and combo.layer is None:
            raise OptionError(
                f"There is no layer to take nuclei from ({self.source.currentText()}).", "Choose another."
            )
        if combo is not None and isinstance(combo.layer, Labels):
            labels = labels_from_layer(combo.layer)
        elif combo is not None:
            tracks = tracks_from_layer(combo.layer, image)
        return Request(image, movie, self._config(), labels, tracks)

    def open_movie(self, path: str | Path) -> None:
        """Open a file or folder as layers, and choose it; what can't be opened is told in a notification."""
        from napari_cellinterp.movies.stack import open_source

        try:
            if get_reader(str(path)) is None:
                open_source(Path(path))  # which says what is wrong with it; napari would not
            opened = self._viewer.open(str(path), plugin=PLUGIN)
        except (CellInterpError, ValueError, OSError) as error:
            show_problem(error)
            return
        if opened:
            self.image.layer = opened[0]

    def open_sample(self) -> None:
        """Open the simulated movie, and choose it."""
        opened = self._viewer.open_sample(PLUGIN, "dividing-cells")
        self.image.layer = opened[0]

    def disconnect_viewer(self) -> None:
        """Stop following the viewer."""
        for combo in (self.image, *self.layers.values()):
            combo.disconnect_viewer()

    def _config(self) -> ClassifyConfig:
        return ClassifyConfig(
            model=self.model.model,
            head=self.model.head_name,
            labels_are_tracks=self.ids_are_tracks.isChecked(),
            movie=MovieConfig(channel=max(0, self.channel.currentIndex())),
            scale=self.scale.config(),
            nuclei=NucleiConfig(**self.nuclei.values()),
            linking=LinkingConfig(**self.linking.values()),
            **self.more.values(),
        )

    def _hint(self) -> QWidget:
        self.hint = QGroupBox()
        text = QLabel(HINT)
        text.setWordWrap(True)
        self.sample_button = QPushButton("Open the sample")
        self.sample_button.clicked.connect(self.open_sample)
        layout = QVBoxLayout(self.hint)
        layout.addWidget(text)
        layout.addWidget(self.sample_button)
        return self.hint

    def _movie_group(self) -> QWidget:
        group = QGroupBox("Movie")
        self._movie_form = form = _form(group)
        self.open_button = QPushButton("Open movie…")
        menu = QMenu(self.open_button)
        menu.addAction("TIFF or OME-TIFF file…", self._choose_file)
        menu.addAction("Folder: OME-Zarr, or one TIFF file a frame…", self._choose_folder)
        self.open_button.setMenu(menu)
        self.about_movie.setWordWrap(True)
        self.channel.setToolTip(MovieConfig.model_fields["channel"].description)
        form.addRow("Image", self.image)
        form.addRow("Channel", self.channel)
        form.addRow(self.about_movie)
        form.addRow(self.open_button)
        return group

    def _nuclei_group(self) -> QWidget:
        group = QGroupBox("Nuclei")
        self._nuclei_form = form = _form(group)
        self.source.addItems(list(SOURCES))
        self.source.setToolTip("Where the nuclei come from: found and linked here, or taken from a layer of yours.")
        self.ids_are_tracks.setToolTip(ClassifyConfig.model_fields["labels_are_tracks"].description)
        form.addRow("Source", self.source)
        for combo in self.layers.values():
            form.addRow("Layer", combo)
        form.addRow("", self.ids_are_tracks)
        return group

    def _model_group(self) -> QWidget:
        group = QGroupBox("Model")
        layout = QVBoxLayout(group)
        layout.addWidget(self.model)
        layout.addWidget(self.scale)
        return group

    def _advanced(self) -> QWidget:
        inside = QWidget()
        layout = QVBoxLayout(inside)
        layout.setContentsMargins(0, 0, 0, 0)
        for title, form in (("Finding nuclei", self.nuclei), ("Linking them", self.linking), ("Model", self.more)):
            layout.addWidget(QLabel(f"<b>{title}</b>"))
            layout.addWidget(form)
        self.advanced = QCollapsible("Advanced", expandedIcon="▼", collapsedIcon="▶")
        self.advanced.setDuration(0)
        self.advanced.addWidget(inside)
        return self.advanced

    def _connect(self) -> None:
        self.image.layer_changed.connect(self._show_movie)
        self.source.currentIndexChanged.connect(self._show_source)
        self.model.changed.connect(self.changed)
        for combo in self.layers.values():
            combo.layer_changed.connect(self.changed)

    def _choose_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open a movie", filter=FILE_FILTER)
        if path:
            self.open_movie(path)

    def _choose_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Open an OME-Zarr folder, or one with a TIFF file a frame")
        if path:
            self.open_movie(path)

    def _show_movie(self) -> None:
        """Say what the chosen layer is, and offer its channels."""
        layer = self.image.layer
        self.hint.setVisible(layer is None)
        chosen = self.channel.currentIndex()
        self.channel.clear()
        text = ""
        if layer is not None:
            try:
                movie = movie_from_layer(layer)
                text = _describe(movie)
                self.channel.addItems(movie.channel_names)
                self.channel.setCurrentIndex(chosen if 0 <= chosen < movie.n_channels else 0)
                self.scale.suggest_pixel_size(movie.pixel_size_um)
            except CellInterpError as error:
                text = f"⚠ {error}"
        self._movie_form.setRowVisible(self.channel, self.channel.count() > 1)
        self.about_movie.setText(text)
        self.about_movie.setVisible(bool(text))
        self.changed.emit()

    def _show_source(self) -> None:
        chosen = self.source.currentText()
        for title, combo in self.layers.items():
            self._nuclei_form.setRowVisible(combo, title == chosen)
        self._nuclei_form.setRowVisible(self.ids_are_tracks, SOURCES[chosen] is Labels)
        self.changed.emit()


def _form(group: QGroupBox) -> QFormLayout:
    form = QFormLayout(group)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    return form


def _describe(movie: Movie) -> str:
    frames = "1 frame" if movie.n_frames == 1 else f"{movie.n_frames} frames"
    size = "pixel size unknown" if movie.pixel_size_um is None else f"{movie.pixel_size_um:.4g} µm a pixel"
    every = "" if movie.frame_interval_min is None else f", one every {movie.frame_interval_min:.4g} min"
    return f"{frames}{every}; {movie.width} x {movie.height} pixels, {size}"
