"""A run's folder remembers, goes on, and refuses to be mixed up with another run."""

import csv
import json
from contextlib import closing

import numpy as np
import pytest
import torch
from torch import nn

from napari_cellinterp.config import VaeConfig
from napari_cellinterp.errors import OutputError, TrainingError
from napari_cellinterp.events import EpochFinished, finish
from napari_cellinterp.training.run_folder import HISTORY_NAME, RunFolder, array_hash


def test_the_record_holds_what_reproduces_the_run(tmp_path):
    RunFolder(tmp_path / "run", VaeConfig(beta=3), {"crops": "abc"})
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert VaeConfig(**record["config"]).beta == 3
    assert record["data"] == {"crops": "abc"}
    assert {"torch", "numpy"} <= set(record["versions"])


def test_the_same_run_goes_on_and_another_is_refused(tmp_path):
    RunFolder(tmp_path, VaeConfig(beta=3), {"crops": "abc"})
    RunFolder(tmp_path, VaeConfig(beta=3), {"crops": "abc"})
    with pytest.raises(TrainingError, match=r"config\.beta was 3\.0 there, and is 4\.0 now"):
        RunFolder(tmp_path, VaeConfig(beta=4), {"crops": "abc"})
    with pytest.raises(TrainingError, match=r"data\.crops was 'abc'"):
        RunFolder(tmp_path, VaeConfig(beta=3), {"crops": "abd"})
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(TrainingError, match=r"run\.json can't be read"):
        RunFolder(tmp_path, VaeConfig(beta=3), {"crops": "abc"})


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(OutputError, match="can't be written"):
        RunFolder(tmp_path / "run", VaeConfig(), {})


def test_stages_come_back_as_they_were(tmp_path):
    folder = RunFolder(tmp_path, VaeConfig(), {})
    made = {"a": nn.Linear(3, 2), "b": nn.BatchNorm1d(2)}
    fresh = {"a": nn.Linear(3, 2), "b": nn.BatchNorm1d(2)}
    assert not folder.load("heads", fresh)
    folder.save("heads", made)
    assert folder.load("heads", fresh)
    assert torch.equal(fresh["a"].weight, made["a"].weight)
    assert not fresh["b"].training


def test_a_damaged_stage_is_named(tmp_path):
    folder = RunFolder(tmp_path, VaeConfig(), {})
    (tmp_path / "heads.safetensors").write_bytes(b"half")
    with pytest.raises(TrainingError, match=r"heads\.safetensors can't be loaded"):
        folder.load("heads", {"a": nn.Linear(3, 2)})
    folder.save("heads", {"a": nn.Linear(4, 2)})
    with pytest.raises(TrainingError, match=r"heads\.safetensors can't be loaded"):
        folder.load("heads", {"a": nn.Linear(3, 2)})


def test_history_is_kept_line_by_line(tmp_path):
    folder = RunFolder(tmp_path, VaeConfig(), {})

    def job():
        yield EpochFinished(1, 2, "sparse", (("loss", 0.5),))
        yield EpochFinished(2, 2, "sparse", (("loss", 0.25),))
        return "done"

    with closing(folder.logged(job())) as cancelled:
        next(cancelled)
    assert finish(folder.logged(job())) == "done"
    rows = list(csv.DictReader((tmp_path / HISTORY_NAME).read_text().splitlines()))
    assert [(row["stage"], row["done"], row["figures"]) for row in rows] == [
        ("sparse", "1", "loss=0.5"),
        ("sparse", "1", "loss=0.5"),
        ("sparse", "2", "loss=0.25"),
    ]


def test_hashes_tell_arrays_apart():
    x = np.arange(6)
    assert array_hash([x]) == array_hash([x.copy()])
    assert len({array_hash([x]), array_hash([x.reshape(2, 3)]), array_hash([x.astype(np.int32)])}) == 3
