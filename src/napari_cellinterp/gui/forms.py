"""Forms made from configs: each field's default, bounds, unit and help text come from the config alone."""

from __future__ import annotations

import math
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QFormLayout, QLabel, QSpinBox, QWidget

from napari_cellinterp.config import ScaleConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic.fields import FieldInfo

    from napari_cellinterp.config import Config

SIGNIFICANT_DECIMALS = 3
"""Decimals of a number's field."""


def title_of(name: str) -> str:
    """Return the words of a field's name, without its unit: ``max_step_diameters`` becomes ``Max step``."""
    for ending in ("_px", "_um", "_min", "_frames", "_diameters"):
        name = name.removesuffix(ending)
    return name.replace("_", " ").capitalize()


def unit_of(field: FieldInfo) -> str:
    """Return the unit of a config's field, or an empty text."""
    extra = field.json_schema_extra
    return str(extra.get("unit", "")) if isinstance(extra, dict) else ""


def bounds_of(field: FieldInfo) -> tuple[float, float]:
    """Return the smallest and largest value of a config's field; open bounds are moved in by the smallest step."""
    low, high = -math.inf, math.inf
    step = 1.0 if _kind(field) is int else 10.0**-SIGNIFICANT_DECIMALS
    for bound in field.metadata:
        low = max(low, getattr(bound, "ge", low), getattr(bound, "gt", low - step) + step)
        high = min(high, getattr(bound, "le", high), getattr(bound, "lt", high + step) - step)
    return low, high


def number_box(field: FieldInfo) -> QSpinBox | QDoubleSpinBox:
    """Make a number's field with the bounds, unit and help text of a config's field."""
    whole = _kind(field) is int
    box = QSpinBox() if whole else QDoubleSpinBox()
    low, high = bounds_of(field)
    low, high = max(low, -1e6), min(high, 1e6)
    if whole:
        box.setRange(int(low), int(high))
    else:
        box.setDecimals(SIGNIFICANT_DECIMALS)
        box.setRange(low, high)
        box.setSingleStep(0.5 if high > 10 else 0.05)
    if unit := unit_of(field):
        box.setSuffix(f" {'µm' if unit == 'um' else unit}")
    if field.default is not None:
        box.setValue(field.default)
    box.setToolTip(field.description or "")
    box.setKeyboardTracking(False)
    return box


class ConfigForm(QWidget):
    """A form for some fields of a config.

    Parameters
    ----------
    config : type of Config
        The config.
    names : sequence of str, optional
        Which fields; all by default.
    """

    changed = Signal()

    def __init__(self, config: type[Config], names: Sequence[str] | None = None) -> None:
        super().__init__()
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.fields: dict[str, QWidget] = {}
        for name in names or config.model_fields:
            field = config.model_fields[name]
            self.fields[name] = box = self._box(name, field)
            if isinstance(box, QCheckBox):
                layout.addRow(box)
            else:
                label = QLabel(title_of(name))
                label.setToolTip(field.description or "")
                layout.addRow(label, box)

    def values(self) -> dict[str, Any]:
        """Return the value of each field, for the config."""
        return {name: _value(box) for name, box in self.fields.items()}

    def _box(self, name: str, field: FieldInfo) -> QWidget:
        kind = _kind(field)
        if kind is bool:
            box = QCheckBox(title_of(name))
            box.setChecked(bool(field.default))
            box.toggled.connect(self.changed)
        elif get_origin(kind) is Literal:
            box = QComboBox()
            box.addItems([str(choice) for choice in get_args(kind)])
            box.setCurrentText(str(field.default))
            box.currentTextChanged.connect(self.changed)
        else:
            box = number_box(field)
            box.valueChanged.connect(self.changed)
        box.setToolTip(field.description or "")
        return box


class ScaleForm(QWidget):
    """How the movie's nuclei are brought to the model's size: measured, or by a diameter or a pixel size."""

    MODES = (None, "nucleus_diameter_px", "pixel_size_um")
    TITLES = ("Automatic", "Nuclear diameter", "Pixel size")

    def __init__(self) -> None:
        super().__init__()
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.mode = QComboBox()
        self.mode.addItems(self.TITLES)
        self.mode.setToolTip(
            "Size decides the class. Automatic: by the median diameter of the nuclei; of few, by the pixel size."
        )
        layout.addRow("Scale", self.mode)
        self.boxes = {name: number_box(ScaleConfig.model_fields[name]) for name in self.MODES if name}
        self.boxes["nucleus_diameter_px"].setValue(29)
        self.boxes["pixel_size_um"].setValue(0.333)
        for box in self.boxes.values():
            layout.addRow("", box)
        self._layout = layout
        self.mode.currentIndexChanged.connect(self._show_box)
        self._show_box()

    def config(self) -> ScaleConfig:
        """Return what is chosen."""
        name = self.MODES[self.mode.currentIndex()]
        return ScaleConfig(**({name: self.boxes[name].value()} if name else {}))

    def suggest_pixel_size(self, um: float | None) -> None:
        """Offer the movie's own pixel size, where it has one."""
        if um is not None:
            self.boxes["pixel_size_um"].setValue(um)

    def _show_box(self) -> None:
        chosen = self.MODES[self.mode.currentIndex()]
        for name, box in self.boxes.items():
            self._layout.setRowVisible(box, name == chosen)


def _kind(field: FieldInfo) -> Any:
    """Type of a field, without None."""
    kinds = [kind for kind in get_args(field.annotation) if kind is not NoneType]
    if get_origin(field.annotation) is Literal or not kinds:
        return field.annotation
    return kinds[0]


def _value(box: QWidget) -> Any:
    if isinstance(box, QCheckBox):
        return box.isChecked()
    return box.currentText() if isinstance(box, QComboBox) else box.value()
