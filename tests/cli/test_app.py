"""The command line as a person meets it: files, messages, exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_cellinterp.cli import app as cli
from napari_cellinterp.config import TimelapseConfig
from napari_cellinterp.movies.timelapse import simulate_movie

RESULTS = {"nuclei.csv", "states.ome.tif", "overlay.png", "run.json"}
COLUMNS = [
    "track_id", "frame", "y", "x", "label", "parent_track_id",
    "score", "state", "probability", "novelty", "is_novel", "flag",
]  # fmt: skip


@pytest.fixture(scope="module")
def movie(tmp_path_factory):
    """A small movie and its labels on disk."""
    config = TimelapseConfig(n_frames=3, height=160, width=200, n_nuclei=9, nucleus_diameter_px=24)
    images, labels, _, _ = simulate_movie(config)
    folder = tmp_path_factory.mktemp("movie")
    tifffile.imwrite(folder / "movie.tif", images, metadata={"axes": "TYX"}, imagej=True, photometric="minisblack")
    tifffile.imwrite(folder / "labels.tif", labels, metadata={"axes": "TYX"}, photometric="minisblack")
    tifffile.imwrite(folder / "volume.tif", images, metadata={"axes": "ZYX"}, imagej=True, photometric="minisblack")
    tifffile.imwrite(folder / "short.tif", labels[:2], metadata={"axes": "TYX"}, photometric="minisblack")
    (folder / "text.tif").write_text("not a movie")
    return folder


@pytest.fixture
def call(monkeypatch, capsys):
    """Run ``cellinterp``; give exit code, output and error output."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["cellinterp", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        return stop.value.code or 0, captured.out, captured.err

    return run


def test_classify_writes_its_four_files(call, movie, tiny_bundle_path, tmp_path):
    out = tmp_path / "out"
    code, said, _ = call("classify", movie / "movie.tif", "--model", tiny_bundle_path, "--out", out)
    assert code == 0
    assert {p.name for p in out.iterdir()} == RESULTS
    rows = pd.read_csv(out / "nuclei.csv")
    assert list(rows.columns) == COLUMNS
    assert set(rows["state"]) <= {"interphase", "metaphase"}
    assert ((rows["score"] >= 0) == (rows["state"] == "metaphase")).all()
    states = tifffile.imread(out / "states.ome.tif")
    assert states.shape == (3, 160, 200)
    assert set(np.unique(states)) <= {0, 1, 2}
    record = json.loads((out / "run.json").read_text())
    assert record["counts"]["nuclei_and_frames"] == len(rows)
    assert record["head"] == "sparse"
    assert len(record["bundle_hash"]) == 64
    assert f"{len(rows)} nuclei and frames" in said


def test_labels_keep_their_ids_and_paint_their_pixels(call, movie, tiny_bundle_path, tmp_path):
    call(
        "classify", movie / "movie.tif", "--labels", movie / "labels.tif", "--labels-are-tracks",
        "--model", tiny_bundle_path, "--out", tmp_path,
    )  # fmt: skip
    rows, labels = pd.read_csv(tmp_path / "nuclei.csv"), tifffile.imread(movie / "labels.tif")
    states = tifffile.imread(tmp_path / "states.ome.tif")
    assert (rows["track_id"] == rows["label"]).all()
    assert ((states > 0) == (labels > 0)).all()
    for row in rows.itertuples():
        assert set(states[row.frame][labels[row.frame] == row.label]) == {1 + (row.state == "metaphase")}


def test_patches_written_by_classify_get_the_same_scores(call, movie, tiny_bundle_path, tmp_path):
    call("classify", movie / "movie.tif", "--model", tiny_bundle_path, "--out", tmp_path, "--patches")
    code, _, _ = call(
        "classify-patches", tmp_path / "patches.npz", "--model", tiny_bundle_path, "--out", tmp_path / "p.csv"
    )
    assert code == 0
    movie_rows, crops = pd.read_csv(tmp_path / "nuclei.csv"), pd.read_csv(tmp_path / "p.csv")
    assert crops["index"].tolist() == list(range(len(movie_rows)))
    np.testing.assert_allclose(crops["score"], movie_rows["score"], atol=1e-4)
    with np.load(tmp_path / "patches.npz") as archive:
        assert archive["x"].shape == (len(movie_rows), 1, 64, 64)
        assert archive["track_id"].tolist() == movie_rows["track_id"].tolist()
        assert archive["frame"].tolist() == movie_rows["frame"].tolist()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("missing.tif",), 1, "missing.tif"),
        (("text.tif",), 1, "text.tif"),
        (("volume.tif",), 1, "Z"),
        (("movie.tif", "--channel", "7"), 1, "channel 7"),
        (("movie.tif", "--labels", "short.tif"), 1, "2 frames"),
        (("movie.tif", "--labels", "missing.tif"), 1, "missing.tif"),
        (("movie.tif", "--model", "no-such-model"), 1, "no-such-model"),
        (("movie.tif", "--nucleus-diameter-px", "20", "--pixel-size-um", "0.3"), 1, "only one"),
        (("movie.tif", "--nucleus-diameter-px", "-4"), 1, "-4"),
        (("movie.tif", "--pixel-size-um", "0"), 1, "--pixel-size-um"),
        (("movie.tif", "--head", "oracle"), 2, "oracle"),
        (("movie.tif", "--no-such-flag"), 2, "--no-such-flag"),
    ],
)
def test_wrong_input_gets_one_message_and_its_exit_code(
    call, movie, tiny_bundle_path, tmp_path, arguments, code, message
):
    out = tmp_path / "out"
    arguments = [movie / a if a.endswith(".tif") else a for a in arguments]
    if "--model" not in arguments:
        arguments += ["--model", tiny_bundle_path]
    found, _, errors = call("classify", *arguments, "--out", out)
    assert found == code
    assert message in errors
    assert "Traceback" not in errors
    assert not out.exists() or not any(out.iterdir())


def test_a_folder_that_is_a_file_is_refused_before_the_work(call, movie, tiny_bundle_path, tmp_path):
    (tmp_path / "out").write_text("in the way")
    code, _, errors = call("classify", movie / "movie.tif", "--model", tiny_bundle_path, "--out", tmp_path / "out")
    assert code == 1
    assert "out" in errors
    assert (tmp_path / "out").read_text() == "in the way"


def test_models_shows_a_card(call, tiny_bundle_path):
    code, said, _ = call("models", tiny_bundle_path)
    assert code == 0
    assert "interphase, metaphase" in said
    assert "score = " in said


def test_help_needs_no_torch():
    code = (
        "import sys; from napari_cellinterp.cli.app import app; "
        "print([name for name in ('torch', 'napari', 'skimage') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
def test_interrupting_leaves_nothing_half_written(tmp_path, tiny_bundle_path):
    images, _, _, _ = simulate_movie(TimelapseConfig(n_frames=60, height=400, width=400, n_nuclei=40))
    tifffile.imwrite(tmp_path / "movie.tif", images, metadata={"axes": "TYX"}, photometric="minisblack")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "napari_cellinterp", "classify", tmp_path / "movie.tif", "--out", out]
    process = subprocess.Popen(
        [*command, "--model", tiny_bundle_path],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    while process.poll() is None and not out.exists():
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Cancelled" in errors
    assert "Traceback" not in errors
    assert not any(out.iterdir())


@pytest.mark.slow
def test_the_demo_works_with_nothing_given(call, tmp_path):
    code, said, errors = call("demo", "--out", tmp_path, "--no-view")
    assert code == 0, errors
    assert {p.name for p in tmp_path.iterdir()} == RESULTS | {"movie.ome.tif"}
    found, known, right = map(int, re.search(r"(\d+) of (\d+) interphase.*found, (\d+) of them", said).groups())
    assert found > 0.9 * known
    assert right > 0.95 * found
