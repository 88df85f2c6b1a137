"""The commands train and tune: what they say, and their exit codes."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_cellinterp.cli.app import app
from napari_cellinterp.errors import CellInterpError
from napari_cellinterp.models.bundle import load_bundle
from napari_cellinterp.movies.shapes import INTERPHASE, METAPHASE
from napari_cellinterp.training.datasets import simulate_scene_crops

SETTINGS = """
n_runs = 1
[dense]
n_epochs = 2
[cnn]
n_epochs = 1
[sparse]
n_epochs = 6
warm_up_epochs = 3
update_interval_steps = 5
batch = 16
[symbolic]
engine = "operon"
n_generations = 2
population = 30
n_crops = 60
"""


def call(*args: object):
    return CliRunner().invoke(app, list(map(str, args)))


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "crops.npz"
    found = (
        simulate_scene_crops(41, {INTERPHASE: 0.6, METAPHASE: 0.4})
        .of_classes(("interphase", "metaphase"))
        .balanced(40, 0)
    )
    np.savez(
        path, x=found.patches.x, y=np.array(["interphase", "metaphase"])[found.state], track_id=np.arange(len(found))
    )
    return path


@pytest.mark.slow
def test_train_makes_a_bundle_and_says_how_to_use_it(crops, tiny_bundle_path, tmp_path):
    settings = tmp_path / "settings.toml"
    settings.write_text(SETTINGS)
    options = ("--out", tmp_path / "run", "--config", settings, "--model", tiny_bundle_path, "--name", "mine")
    result = call("train", "heads", crops, *options)
    assert result.exit_code == 0, result.output
    assert "Trained up to heads" in result.output
    result = call("train", "all", crops, *options)
    assert result.exit_code == 0, result.output
    assert f"--model {tmp_path / 'run' / 'mine'}" in result.output
    info = load_bundle(tmp_path / "run" / "mine").info
    assert info.data[0].name == "crops.npz"
    assert {figure.data for figure in info.figures} == {"held-out tracks"}
    assert "mine" in call("models", tmp_path / "run" / "mine").output


@pytest.mark.slow
def test_tune_writes_settings(crops, tiny_bundle_path, tmp_path):
    settings = tmp_path / "settings.toml"
    settings.write_text(SETTINGS)
    out = tmp_path / "run"
    result = call("tune", crops, "--out", out, "--config", settings, "--model", tiny_bundle_path, "--trials", 1)
    assert result.exit_code == 0, result.output
    assert str(out / "tuned.json") in result.output
    assert (out / "tuned.json").is_file()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "missing.npz"}, "There is no file missing.npz"),
        ({"--classes": "interphase,prophase"}, "No crop is labelled 'prophase'"),
        ({"--config": "missing.toml"}, "settings missing.toml can't be read"),
        ({"--model": "nobody"}, "There is no model named 'nobody'"),
        ({"--nucleus-diameter-px": "1"}, "greater than or equal to 3"),
        ({"--name": "a/b"}, "name"),
    ],
)
def test_wrong_input_is_one_clear_message(crops, tmp_path, changes, message):
    options = {"source": crops, "--out": tmp_path / "run"} | changes
    source = options.pop("source")
    result = call("train", "vae", source, *[part for pair in options.items() for part in pair])
    assert isinstance(result.exception, CellInterpError)
    assert message in str(result.exception)
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_stage_that_is_none_is_a_usage_error(crops, tmp_path):
    assert call("train", "everything", crops, "--out", tmp_path).exit_code == 2
    assert call("train", "all", crops).exit_code == 2, "where to?"
