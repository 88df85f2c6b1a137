"""Choose a model bundle and one of its heads, without loading the networks."""

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


class ModelForm(QWidget):
    """A bundle, by name or folder, and one of the heads that it has."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.bundle, self.head = QComboBox(), QComboBox()
        self.bundle.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.bundle.setPlaceholderText("none installed")
        self.browse = QPushButton("Browse…")
        self.browse.setToolTip("Choose the folder of a model bundle.")
        row = QHBoxLayout()
        row.addWidget(self.bundle, 1)
        row.addWidget(self.browse)
        self.about = QLabel()
        self.about.setWordWrap(True)
        layout.addRow("Model", row)
        layout.addRow("Head", self.head)
        layout.addRow(self.about)
        self.head.setToolTip(ClassifyConfig.model_fields["head"].description)
        for name in bundle_names():
            self.bundle.addItem(name, name)
        self.bundle.setCurrentIndex(max(0, self.bundle.findData(ClassifyConfig.model_fields["model"].default)))
        self.bundle.currentIndexChanged.connect(self._show_bundle)
        self.browse.clicked.connect(self._browse)
        self._show_bundle()

    @property
    def model(self) -> str | None:
        """Name or folder of the chosen bundle, or None where there is none."""
        return self.bundle.currentData()

    @property
    def head_name(self) -> str | None:
        """Scheme of the chosen head, or None where there is none."""
        return self.head.currentData()

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

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of a model bundle")
        if folder:
            self.add_folder(folder)

    def _show_bundle(self) -> None:
        chosen = self.head_name
        info = self.info()
        self.head.clear()
        for name, title in HEAD_TITLES.items():
            if info is not None and name in info.heads:
                self.head.addItem(title, name)
        self.head.setCurrentIndex(max(0, self.head.findData(chosen or ClassifyConfig.model_fields["head"].default)))
        self.about.setText(self._describe(info))
        self.changed.emit()

    def _describe(self, info: BundleInfo | None) -> str:
        if info is None:
            return "No model is installed: choose the folder of one with Browse…"
        return f"{', '.join(info.classes)}. {info.description}"
