"""Forms made from configs, and the lists of models and layers."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_cellinterp.config import ClassifyConfig, LinkingConfig, NucleiConfig, ScaleConfig
from napari_cellinterp.gui.forms import ConfigForm, ScaleForm, bounds_of, title_of
from napari_cellinterp.gui.layer_combo import LayerCombo
from napari_cellinterp.gui.model_form import ModelForm


@pytest.mark.parametrize("config", [NucleiConfig, LinkingConfig])
def test_defaults_make_the_default_config(qtbot, config):
    form = ConfigForm(config)
    qtbot.addWidget(form)
    assert config(**form.values()) == config()


@pytest.mark.parametrize("config", [NucleiConfig, LinkingConfig])
def test_help_bounds_and_units(qtbot, config):
    form = ConfigForm(config)
    qtbot.addWidget(form)
    for name, box in form.fields.items():
        field = config.model_fields[name]
        assert box.toolTip() == field.description
        if hasattr(box, "minimum"):
            low, high = bounds_of(field)
            assert (box.minimum(), box.maximum()) == (low, high)
            for value in (low, high):
                box.setValue(value)
                config(**form.values())
    assert LinkingConfig.model_fields["max_gap_frames"].json_schema_extra["unit"] == "frames"
    if config is LinkingConfig:
        assert form.fields["max_gap_frames"].suffix() == " frames"


def test_choices(qtbot):
    form = ConfigForm(ClassifyConfig, ["head", "reconstruct"])
    qtbot.addWidget(form)
    form.fields["head"].setCurrentText("dense")
    with qtbot.waitSignal(form.changed):
        form.fields["reconstruct"].setChecked(True)
    assert form.values() == {"head": "dense", "reconstruct": True}


@pytest.mark.parametrize(
    ("name", "title"), [("max_step_diameters", "Max step"), ("nucleus_diameter_px", "Nucleus diameter")]
)
def test_titles(name, title):
    assert title_of(name) == title


def test_scale(qtbot):
    form = ScaleForm()
    qtbot.addWidget(form)
    assert form.config() == ScaleConfig()
    form.mode.setCurrentText("Nuclear diameter")
    form.boxes["nucleus_diameter_px"].setValue(31.5)
    assert form.config() == ScaleConfig(nucleus_diameter_px=31.5)
    form.suggest_pixel_size(0.25)
    form.suggest_pixel_size(None)
    form.mode.setCurrentText("Pixel size")
    assert form.config() == ScaleConfig(pixel_size_um=0.25)
    assert form.boxes["pixel_size_um"].suffix() == " µm"


def test_model_from_a_folder(qtbot, model_path):
    form = ModelForm()
    qtbot.addWidget(form)
    form.add_folder(model_path)
    form.add_folder(model_path)
    assert form.model == str(model_path)
    assert form.bundle.findData(str(model_path)) == form.bundle.count() - 1
    assert [form.head.itemData(i) for i in range(form.head.count())] == ["sparse", "symbolic", "dense", "cnn"]
    assert form.head_name == "sparse"
    assert "Not trained at all." in form.about.text()


def test_folder_without_a_model(qtbot, tmp_path, notices):
    form = ModelForm()
    qtbot.addWidget(form)
    before = form.model
    form.add_folder(tmp_path)
    assert form.model == before
    assert "is not a model bundle" in notices()[-1]


def test_layers_come_and_go(qtbot):
    viewer = ViewerModel()
    viewer.add_image(np.zeros((8, 8)), name="a")
    combo = LayerCombo(viewer, Image)
    qtbot.addWidget(combo)
    heard = []
    combo.layer_changed.connect(lambda: heard.append(combo.layer))

    def names():
        return [combo.itemText(i) for i in range(combo.count())]

    viewer.add_labels(np.zeros((8, 8), int), name="ids")
    b = viewer.add_image(np.zeros((8, 8)), name="b")
    assert names() == ["b", "a"]
    assert combo.layer.name == "a"
    combo.layer = b
    b.name = "c"
    assert names() == ["c", "a"]
    viewer.layers.remove(b)
    assert names() == ["a"]
    assert [layer.name for layer in heard] == ["c", "a"]
    viewer.layers.clear()
    assert combo.layer is None
    combo.disconnect_viewer()
    viewer.add_image(np.zeros((8, 8)))
    assert names() == []


def test_own_layers_are_left_out(qtbot, classification, movie):
    from napari_cellinterp.gui.layers import placement_of, states_layer

    viewer = ViewerModel()
    combo = LayerCombo(viewer, Labels)
    qtbot.addWidget(combo)
    image = viewer.add_image(np.zeros((5, 160, 192)))
    viewer.add_layer(states_layer(classification, placement_of(image, 0), movie, "states"))
    assert combo.count() == 0
