"""Choose a model bundle, and one of its heads, without loading the networks."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QFormLayout, QHBoxLayout, QLabel, QPushButton, QWidget

from napari_cellinterp.config import ClassifyConfig
from napari_cellinterp.errors import BundleError
from napari_cellinterp.gui.notices import show_problem
from napari_cellinterp.models.bundle_info import BundleInfo, bundle_names, find_bundle, read_info

HEAD_TITLES = {
    "sparse": "sparse network",
    "symbolic": "symbolic formula",
    "dense": "dense network",
    "cnn": "CNN (not readable)",
}


class BundleForm(QWidget):
    """A bundle, by name or folder."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.form = layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.bundle, self.about = QComboBox(), QLabel()
        self.bundle.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.bundle.setPlaceholderText("none installed")
        self.browse = QPushButton("Browse…")
        self.browse.setToolTip("Choose the folder of a model bundle.")
        row = QHBoxLayout()
        row.addWidget(self.bundle, 1)
        row.addWidget(self.browse)
        self.about.setWordWrap(True)
        layout.addRow("Model", row)
        layout.addRow(self.about)
        for name in bundle_names():
            self.bundle.addItem(name, name)
        self.bundle.setCurrentIndex(max(0, self.bundle.findData(ClassifyConfig.model_fields["model"].default)))
        self.bundle.currentIndexChanged.connect(self.show_bundle)
        self.browse.clicked.connect(self._browse)

    @property
    def model(self) -> str | None:
        """Name or folder of the chosen bundle, or None where there is none."""
        return self.bundle.currentData()

    def info(self) -> BundleInfo | None:
        """Read what the chosen bundle says of itself; None where there is none or it is damaged."""
        if self.model is None:
            return None
        try:
            return read_info(find_bundle(self.model))
        except BundleError as error:
            show_problem(error)
            return None

    def add_folder(self, folder: str | Path) -> None:
        """Add the bundle in a folder to the list, and choose it; a folder that holds none is refused with a notice."""
        try:
            name = read_info(find_bundle(folder)).name
        except BundleError as error:
            show_problem(error)
            return
        index = self.bundle.findData(str(folder))
        if index < 0:
            self.bundle.addItem(f"{name} ({Path(folder).name})", str(folder))
            index = self.bundle.count() - 1
        self.bundle.setCurrentIndex(index)

    def show_bundle(self) -> None:
        """Say what the chosen bundle is."""
        self._show_info(self.info())
        self.changed.emit()

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of a model bundle")
        if folder:
            self.add_folder(folder)

    def _show_info(self, info: BundleInfo | None) -> None:
        self.about.setText(self._describe(info))

    def _describe(self, info: BundleInfo | None) -> str:
        if info is None:
            return "No model is installed: choose the folder of one with Browse…"
        return f"{', '.join(info.classes)}. {info.description}"


class ModelForm(BundleForm):
    """A bundle, and one of the heads that it has."""

    def __init__(self) -> None:
        super().__init__()
        self.head = QComboBox()
        self.head.setToolTip(ClassifyConfig.model_fields["head"].description)
        self.form.insertRow(1, "Head", self.head)
        self.show_bundle()

    @property
    def head_name(self) -> str | None:
        """Scheme of the chosen head, or None where there is none."""
        return self.head.currentData()

    def _show_info(self, info: BundleInfo | None) -> None:
        chosen = self.head_name
        self.head.clear()
        for name, title in HEAD_TITLES.items():
            if info is not None and name in info.heads:
                self.head.addItem(title, name)
        self.head.setCurrentIndex(max(0, self.head.findData(chosen or ClassifyConfig.model_fields["head"].default)))
        super()._show_info(info)
