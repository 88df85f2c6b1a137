"""The command audit: its files, what it says, and its exit codes."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest

from napari_cellinterp.cli import app as cli
from napari_cellinterp.config import AuditConfig, ScaleConfig
from napari_cellinterp.errors import QuestionError
from napari_cellinterp.events import Progressed, finish
from napari_cellinterp.explain import audit_report
from napari_cellinterp.models.bundle import save_bundle
from napari_cellinterp.questioning import audit_job
from napari_cellinterp.training.datasets import simulate_scene_crops


@pytest.fixture
def call(monkeypatch, capsys):
    """Run ``cellinterp audit``; give exit code, output and error output."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["cellinterp", "audit", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        return stop.value.code or 0, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def model(random_bundle, tmp_path_factory):
    """A bundle on disk that nobody trained, without a CNN, and with names for its latents."""
    bundle = random_bundle()
    names = ["size", "x position", *(f"neighbourhood {i}" for i in range(30))]
    latents = tuple(latent.model_copy(update={"name": names[latent.index]}) for latent in bundle.info.latents)
    heads = {name: info for name, info in bundle.info.heads.items() if name != "cnn"}
    info = bundle.info.model_copy(update={"latents": latents, "heads": heads})
    without = {name: head for name, head in bundle.heads.items() if name != "cnn"}
    return save_bundle(replace(bundle, info=info, heads=without), tmp_path_factory.mktemp("models") / "random")


@pytest.fixture(scope="module")
def crops():
    """Twelve crops and the names of their states, of which two are none of the model's."""
    found = simulate_scene_crops(3).of_classes(("interphase", "metaphase"))[np.arange(12)]
    state = np.array(["interphase", "metaphase"])[found.state].astype("U12")
    state[[2, 7]] = "anaphase"
    return found.patches.x, state


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def figures(out):
    return json.loads((out / "audit.json").read_text(encoding="utf-8"))["audits"]


def test_audit_simulates_crops_and_writes_two_files(call, model, tmp_path):
    out = tmp_path / "new" / "out"
    options = ("--model", model, "--head", "symbolic", "--head", "dense", "--n-crops", 11)
    code, said, notes = call("--out", out, *options)
    assert code == 0, notes
    assert sorted(path.name for path in out.iterdir()) == ["audit.html", "audit.json"]
    assert "random, dense: broken: " in said or "random, dense: all constraints hold" in said
    dense, symbolic = figures(out)  # in the order of the paper's schemes
    assert (dense["head"], symbolic["head"]) == ("dense", "symbolic")
    assert dense["n_crops"] == 12  # six of each class
    assert "simulated scenes 70000000 to" in dense["crops"]
    assert dense["attacks"]["neighbourhood"]["latents"] == list(range(2, 32))
    assert 0 not in dense["attacks"]["all_but_central"]["latents"]
    assert 1 in dense["attacks"]["all_but_central"]["latents"]


def test_given_crops_with_true_states(model, crops, tmp_path):
    source = npz(tmp_path / "crops.npz", x=crops[0], y=crops[1])
    (found,) = finish(audit_job([model], ["sparse"], crops=source))
    assert found.n_crops == 10
    assert "2 crops of other classes left out" in found.crops
    assert found.accuracy is not None


def test_where_the_truth_is_not_known_that_is_said(call, model, crops, tmp_path):
    source = npz(tmp_path / "crops.npz", x=crops[0][:4, 0])
    code, _, notes = call(source, "--model", model, "--head", "sparse", "--out", tmp_path / "out")
    assert code == 0, notes
    assert "each head's own states are taken" in notes
    (found,) = figures(tmp_path / "out")
    assert (found["n_crops"], found["accuracy"]) == (4, None)
    assert found["attacks"]["image"]["curve"]["accuracy"][0] == 1
    assert "true states aren't known" in (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")


def test_a_folder_of_images_at_another_scale(model, crops, tmp_path):
    for i, image in enumerate(crops[0][:3, 0]):
        (tmp_path / f"{i}.png").write_bytes(imagecodecs.png_encode((image * 255).astype(np.uint8)))
    same, larger = (
        finish(audit_job([model], ["sparse"], crops=tmp_path, scale=ScaleConfig(nucleus_diameter_px=diameter)))[0]
        for diameter in (29, 58)
    )
    assert (same.n_crops, same.accuracy) == (3, None)
    assert larger.typical_margin != pytest.approx(same.typical_margin)


def test_an_audit_can_be_repeated(model):
    config = AuditConfig(n_crops=10, seed=5)
    once, again = (finish(audit_job([model], ["sparse"], config)) for _ in range(2))
    assert audit_report.record(once) == audit_report.record(again)


def test_all_heads_by_default_and_counted_together(model):
    events = []
    found = finish(audit_job([model], config=AuditConfig(n_crops=10)), events.append)
    assert [audit.head for audit in found] == ["dense", "sparse", "symbolic"]
    assert [event for event in events if isinstance(event, Progressed)][-3:] == [
        Progressed(10, 30),
        Progressed(20, 30),
        Progressed(30, 30),
    ]


def test_classes_that_cannot_be_simulated(random_bundle):
    with pytest.raises(QuestionError, match="Crops of blue can't be simulated"):
        finish(audit_job([random_bundle(classes=("interphase", "blue"))]))


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda path, x: path, (), "There is no file"),
        (lambda path, x: npz(path, x=x[:0]), (), "There are no crops in"),
        (lambda path, x: npz(path, x=x, y=np.array(["interphase"])), (), r"y in .* has shape \(1,\)"),
        (lambda path, x: npz(path, x=x, state=np.arange(12)), (), "the labels are: 0, 1"),
        (lambda path, x: npz(path, x=np.zeros((3, 2, 64, 64))), (), "2 channels, but the model 'random' reads 1"),
        (lambda path, x: npz(path, x=np.full((3, 64, 64), np.nan)), (), "undefined for all of 3 crops"),
        (lambda path, x: npz(path, x=x), ("--head", "cnn"), "has no cnn head"),
        (lambda path, x: npz(path, x=x), ("--model", "missing"), "no model named 'missing'"),
        (lambda path, x: npz(path, x=x), ("--n-crops", 3), "--n-crops"),
        (lambda path, x: npz(path, x=x), ("--steps", 0), "--n-steps"),
    ],
)
def test_what_cannot_be_audited(call, model, crops, tmp_path, make, options, message):
    source = make(tmp_path / "crops.npz", crops[0])
    model_options = () if "--model" in options else ("--model", model)
    code, _, notes = call(source, "--out", tmp_path / "out", *model_options, *options)
    assert code == 1
    assert notes.count("Error:") == 1
    assert "Traceback" not in notes
    assert re.search(message, notes)
    assert not list(tmp_path.glob("out/*"))


def test_a_bundle_without_its_decoder(call, random_bundle, tmp_path):
    folder = save_bundle(random_bundle(), tmp_path / "broken")
    (folder / "decoder.safetensors").unlink()
    code, _, notes = call("--model", folder, "--out", tmp_path / "out")
    assert code == 1
    assert "decoder.safetensors" in notes


def test_unknown_heads_are_a_matter_of_usage(call, model, tmp_path):
    assert call("--model", model, "--head", "linear", "--out", tmp_path / "out")[0] == 2


def test_a_cancelled_audit_leaves_nothing_half_written(call, model, crops, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(audit_report, "html", interrupted)
    out = tmp_path / "out"
    source = npz(tmp_path / "crops.npz", x=crops[0][:3])
    assert call(source, "--model", model, "--head", "sparse", "--out", out)[0] == 130
    assert [path.name for path in out.iterdir()] == ["audit.json"]
    assert figures(out)
