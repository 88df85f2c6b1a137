"""The command explain: its files, its exit codes, and cancelling."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from napari_cellinterp import questioning
from napari_cellinterp.cli import app as cli
from napari_cellinterp.events import FileWritten, Progressed, Warned, finish
from napari_cellinterp.models.bundle import save_bundle
from napari_cellinterp.questioning import explain_job


@pytest.fixture
def call(monkeypatch, capsys):
    """Run ``cellinterp explain``; give exit code, output and error output."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["cellinterp", "explain", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        return stop.value.code or 0, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def bundle(random_bundle):
    """A bundle that nobody trained: a formula, and a sparse head of four weights."""
    made = random_bundle()
    for layer in made.head("sparse").linear_layers():
        layer.mask.zero_()
        layer.mask[0, 0] = 1
    names = ("sparse", "symbolic")
    latents = tuple(one.model_copy(update={"name": f"property {one.index}"}) for one in made.info.latents)
    changes = {"latents": latents, "heads": {name: made.info.heads[name] for name in names}}
    return replace(made, info=made.info.model_copy(update=changes), heads={name: made.heads[name] for name in names})


@pytest.fixture(scope="module")
def model(bundle, tmp_path_factory):
    """The bundle on disk."""
    return save_bundle(bundle, tmp_path_factory.mktemp("models") / "random")


def test_explain_writes_a_report_with_its_figures(call, model, tmp_path):
    out = tmp_path / "new" / "out"
    code, said, notes = call(model, "--out", out)
    assert code == 0, notes
    assert said.strip().endswith("explain.html")
    assert sorted(path.name for path in out.iterdir()) == [
        "explain.html", "figures", "formulas.txt", "topology.graphml",
    ]  # fmt: skip
    assert (out / "figures" / "formula.svg").is_file()
    assert b"data:image/png;base64" in (out / "explain.html").read_bytes()


def test_what_another_report_left_is_named_and_stays(call, model, bundle, tmp_path, monkeypatch):
    for _ in range(2):  # its own files, from the first time, are no others
        assert "another report" not in call(model, "--out", tmp_path)[2]
    (tmp_path / "notes.txt").write_text("mine", "utf-8")
    left = tmp_path / "figures" / "response-9-9.svg"
    left.write_text("of another model", "utf-8")
    code, _, notes = call(model, "--out", tmp_path)
    assert code == 0
    assert "files of another report: figures/response-9-9.svg." in " ".join(notes.split())
    assert left.read_text("utf-8") == "of another model"
    # a report that draws neither network nor formula, where one did
    monkeypatch.setattr(questioning, "SECTIONS", questioning.SECTIONS[-2:])
    n_figures, events = len(list((tmp_path / "figures").iterdir())), []
    finish(explain_job(bundle, tmp_path), events.append)
    (warning,) = (event for event in events if isinstance(event, Warned))
    assert warning.count == n_figures + len(["formulas.txt", "topology.graphml"])
    assert warning.message.endswith(f" and {warning.count - 3} more.")


def test_unknown_models_and_wrong_places_are_one_message(call, model, tmp_path):
    code, _, said = call("no-such-model", "--out", tmp_path / "out")
    assert (code, "There is no model named 'no-such-model'" in said) == (1, True)
    assert "Traceback" not in said
    (tmp_path / "file").touch()
    code, _, said = call(model, "--out", tmp_path / "file" / "out")
    assert (code, "can't be written" in said) == (1, True)
    assert call(model)[0] == 2  # without a folder
    assert call(model, "--out", tmp_path, "--head", "sparse")[0] == 2  # no such flag


def test_the_job_reports_and_leaves_nothing_half_written(bundle, tmp_path, monkeypatch):
    sections = questioning.SECTIONS[-2:]
    monkeypatch.setattr(questioning, "SECTIONS", sections)
    job = explain_job(bundle, tmp_path / "out")
    assert next(job) == Progressed(1, 2)
    job.close()
    assert not (tmp_path / "out").exists()
    events = []
    assert finish(explain_job(bundle, tmp_path / "out"), events.append) == tmp_path / "out" / "explain.html"
    assert [event for event in events if isinstance(event, FileWritten)] == [
        FileWritten(tmp_path / "out" / "explain.html")
    ]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["explain.html"]
