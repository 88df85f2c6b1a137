"""A training that is stopped, damaged or out of room says what to do, and goes on from what is finished."""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from napari_cellinterp.config import CnnConfig, HeadConfig, RiglConfig, SymbolicConfig, TrainingConfig, VaeConfig
from napari_cellinterp.errors import OutputError, TrainingError
from napari_cellinterp.events import finish
from napari_cellinterp.movies.patches import STATISTICS, Patches, normalise
from napari_cellinterp.training import run_folder, stream
from napari_cellinterp.training.datasets import LabelledCrops
from napari_cellinterp.training.guides import no_outlines
from napari_cellinterp.training.run import CHECKPOINT_NAME, Training, TrainingData
from napari_cellinterp.training.run_folder import RunFolder
from napari_cellinterp.training.stream import Draw, KeptCrops, StoredCrops

CONFIG = TrainingConfig(
    name="blobs",
    vae=VaeConfig(n_images=4 * 12, batch=4, n_latents=4, device="cpu", checkpoint_steps=5),
    dense=HeadConfig(n_epochs=2, batch=16),
    cnn=CnnConfig(n_epochs=1, batch=16),
    sparse=RiglConfig(n_epochs=4, warm_up_epochs=2, batch=16, update_interval_steps=2, sparsity=0.8),
    symbolic=SymbolicConfig(engine="operon", n_generations=2, population=30, max_size=8, n_crops=40),
    n_runs=2,
)
CLASSES = ("round", "long")


def blobs(n: int, seed: int) -> LabelledCrops:
    """Long and round blobs, in turns."""
    rng = np.random.default_rng(seed)
    ticks, state = np.arange(64) - 31.5, np.arange(n) % 2
    angle, long = rng.uniform(0, np.pi, (n, 1, 1)), np.where(state, 3.5, 1.0)[:, None, None]
    u = np.cos(angle) * ticks + np.sin(angle) * ticks[:, None]
    v = np.cos(angle) * ticks[:, None] - np.sin(angle) * ticks
    return LabelledCrops(
        normalise(np.exp(-(u**2 / long + v**2 * long) / 120)[:, None]), state, np.arange(n), no_outlines(n)
    )


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return TrainingData(CLASSES, blobs(40, 0), blobs(20, 1), blobs(40, 2))


@pytest.fixture(scope="module")
def start(random_bundle):
    return random_bundle(classes=CLASSES)


@pytest.fixture(scope="module")
def finished(data, start, tmp_path_factory) -> Path:
    """The folder of a run whose stages are all finished; nobody may change it."""
    path = tmp_path_factory.mktemp("runs") / "finished"
    finish(training(path, data, start).bundle())
    return path


def training(path: Path, data: TrainingData, start=None) -> Training:
    return Training(RunFolder(path, CONFIG, {}), data, CONFIG, start=start)


def files_of(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def assert_same_stage(path: Path, expected: Path) -> None:
    """Check that the seeds gave the same again; sums may differ in a last digit, as memory is aligned."""
    if path.suffix == ".json":
        assert json.loads(path.read_text()) == json.loads(expected.read_text())
        return
    weights, others = load_file(path), load_file(expected)
    assert weights.keys() == others.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(weight, others[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("name", "stage"), [("heads.safetensors", "networks"), ("formulas.json", "formulas")])
def test_a_damaged_stage_is_named_and_made_anew_once_it_is_deleted(finished, data, start, tmp_path, name, stage):
    path = shutil.copytree(finished, tmp_path / "run")
    cut_in_half(path / name)
    with pytest.raises(TrainingError, match="Delete it") as caught:
        finish(training(path, data, start).bundle())
    assert str(path / name) in caught.value.problem
    (path / name).unlink()
    finish(getattr(training(path, data, start), stage)())
    assert_same_stage(path / name, finished / name)


def test_a_finished_run_is_only_read(finished, data, start, tmp_path):
    path, events = shutil.copytree(finished, tmp_path / "run"), []
    bundle = finish(training(path, data, start).bundle(), events.append)
    assert events == []
    assert set(bundle.heads) == {"cnn", "dense", "sparse", "symbolic"}
    assert [len(head.runs) for head in bundle.info.heads.values()] == [2, 4, 2, 2], "formulas of both losses"
    assert bundle.info.classes == CLASSES
    assert {name: (path / name).read_bytes() for name in files_of(path)} == {
        name: (finished / name).read_bytes() for name in files_of(finished)
    }


def no_room(*_args: object, **_kwargs: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def no_permission(*_args: object, **_kwargs: object) -> None:
    raise PermissionError(errno.EACCES, "Permission denied")


@pytest.mark.parametrize(
    ("target", "replacement", "message"),
    [
        ((run_folder, "save_file"), no_room, r"heads\.safetensors can't be written: No space left.* make room"),
        ((Path, "write_text"), no_room, "can't be written: No space left.* make room"),
        ((tempfile, "mkstemp"), no_permission, "can't be written: Permission denied.* Choose another folder"),
    ],
    ids=["disk full at the weights", "disk full at all else", "read only"],
)
def test_a_folder_without_room_keeps_what_is_finished(
    finished, data, start, tmp_path, monkeypatch, target, replacement, message
):
    path = tmp_path / "run"
    first = training(path, data, start)
    shutil.copy(finished / "cnn.safetensors", path)
    before = files_of(path)
    with monkeypatch.context() as patch:
        patch.setattr(*target, replacement)
        with pytest.raises(OutputError, match=message):
            finish(first.bundle())
    left = files_of(path) - {"stages.json", "heads.safetensors"}  # where only the log of times has no room
    assert left == before, "nothing half-written is left"
    assert (path / "cnn.safetensors").read_bytes() == (finished / "cnn.safetensors").read_bytes()
    finish(training(path, data, start).networks())
    assert (path / "heads.safetensors").read_bytes() == (finished / "heads.safetensors").read_bytes()


def test_a_folder_that_cannot_be_made_is_found_before_anything_is_trained(tmp_path, data):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="can't be written"):
        training(tmp_path / "file" / "run", data)


@dataclass(frozen=True)
class Failing:
    """Stored crops that turn undefined at a step; the same ones as far as a checkpoint can tell."""

    crops: StoredCrops
    bad_step: int = 0

    def batches(self, draw):
        for step, batch in enumerate(self.crops.batches(draw), draw.first_step):
            yield batch._replace(images=np.full_like(batch.images, np.nan)) if step == self.bad_step else batch

    def describe(self) -> str:
        return self.crops.describe()


def test_an_undefined_loss_stops_the_vae_which_goes_on_from_the_last_good_weights(data, tmp_path):
    healthy = StoredCrops(data.train.patches.x)
    path = tmp_path / "run"
    with pytest.raises(TrainingError, match=r"became nan in step 8, at a learning rate of \d\S*\. .*clean them"):
        finish(training(path, replace(data, stream=Failing(healthy, 8))).vae())
    assert files_of(path) == {"run.json", "stages.json", CHECKPOINT_NAME}
    with safe_open(path / CHECKPOINT_NAME, framework="pt") as file:
        assert file.metadata()["step"] == "5"
    assert all(tensor.isfinite().all() for tensor in load_file(path / CHECKPOINT_NAME).values())
    events = []
    encoder, _ = finish(training(path, replace(data, stream=Failing(healthy))).vae(), events.append)
    assert [event.done for event in events] == [10, 12]
    assert files_of(path) == {"run.json", "stages.json", "vae.safetensors"}
    whole, _ = finish(training(tmp_path / "whole", replace(data, stream=healthy)).vae())
    assert torch.equal(encoder.mean.weight, whole.mean.weight), "as if nothing had happened"


def test_a_vae_needs_crops_or_a_model(data, tmp_path):
    with pytest.raises(TrainingError, match="no crops to train a beta-TCVAE on"):
        finish(training(tmp_path, data).vae())
    assert files_of(tmp_path) == {"run.json"}


@pytest.mark.parametrize("begins", ["random", "encoder"])
def test_cnns_begin_as_the_config_says(data, start, tmp_path, begins):
    cnn = CONFIG.cnn.model_copy(update={"start": begins, "n_epochs": 1, "learning_rate": 1e-9})
    config = CONFIG.model_copy(update={"cnn": cnn})
    one = Training(RunFolder(tmp_path, config, {}), data, config, start=start)
    for model in finish(one.cnns()):
        same = torch.allclose(model.convolutions[0].weight, start.encoder.convolutions[0].weight, atol=1e-5)
        assert same == (begins == "encoder")


def test_dense_heads_alone_see_moved_crops(data, start, tmp_path):
    folders = [tmp_path / "still", tmp_path / "moved"]
    for folder, shift in zip(folders, (0, 3), strict=True):
        config = CONFIG.model_copy(update={"dense": CONFIG.dense.model_copy(update={"max_shift_px": shift})})
        finish(Training(RunFolder(folder, config, {}), data, config, start=start).networks())
    still, moved = (load_file(folder / "heads.safetensors") for folder in folders)
    differs = {name: not torch.allclose(weight, moved[name], atol=1e-4) for name, weight in still.items()}
    assert differs["dense-0.layers.0.weight"]
    assert not any(differs[name] for name in differs if name.startswith("sparse"))


def test_times_of_two_runs_add_up(data, start, tmp_path, monkeypatch):
    training(tmp_path, data, start)
    clock = iter([0, 2, 10, 13.04, 20, 21])
    monkeypatch.setattr(run_folder, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    stopped = training(tmp_path, data, start).cnns()
    next(stopped)
    stopped.close()
    assert files_of(tmp_path) == {"run.json", "stages.json"}
    assert json.loads((tmp_path / "stages.json").read_text()) == {"cnn": 2}
    again = training(tmp_path, data, start)
    finish(again.cnns())
    finish(again.networks())
    finish(again.cnns())
    assert json.loads((tmp_path / "stages.json").read_text()) == {"cnn": 5, "heads": 1}, "reading takes no time"
    assert again.folder.times_s() == {"cnn": 5, "heads": 1}


def labels_only(*counts: int) -> LabelledCrops:
    """Crops of so many of each class."""
    state = np.repeat(np.arange(len(counts)), counts)
    return LabelledCrops(
        normalise(np.zeros((len(state), 1, 64, 64))), state, np.arange(len(state)), no_outlines(len(state))
    )


def test_ten_crops_of_each_class_are_enough():
    TrainingData(CLASSES, labels_only(10, 10), labels_only(1, 1), labels_only(1, 1)).check()


@pytest.mark.parametrize(
    ("classes", "counts", "message"),
    [
        (("long",), [(50,)] * 3, r"All crops are of one class, 'long'\. Label crops of at least two"),
        ((), [()] * 3, "All crops are of one class, none"),
        (CLASSES, [(50, 3), (9, 9), (9, 9)], "are 3 crops of the class 'long' to train on; at least 10 .* more tracks"),
        (CLASSES, [(50, 0), (9, 9), (9, 9)], "are 0 crops of the class 'long' to train on"),
        (CLASSES, [(50, 50), (0, 9), (9, 9)], "are 0 crops of the class 'round' to choose on; at least 1 "),
        (CLASSES, [(50, 50), (9, 9), (9, 0)], "are 0 crops of the class 'long' to test on; at least 1 "),
    ],
)
def test_too_few_crops_of_a_class_are_refused(classes, counts, message):
    with pytest.raises(TrainingError, match=message):
        TrainingData(classes, *(labels_only(*n) for n in counts)).check()


class TestKeptCrops:
    """Crops whose pixels tell them apart: scene s gives s crops, of 10 s, 10 s + 1, ... / 255."""

    @pytest.fixture
    def simulated(self, monkeypatch) -> list[int]:
        """Seeds of the scenes that were simulated, in threads: processes take seconds to begin."""
        monkeypatch.setattr(stream, "worker_pool", ThreadPoolExecutor)
        return []

    def crops(self, simulated: list[int], scenes: range = range(2, 6)) -> KeptCrops:
        def simulate(seed: int) -> LabelledCrops:
            simulated.append(seed)
            x = np.ones((seed, 1, 64, 64), np.float32) * (10 * seed + np.arange(seed))[:, None, None, None] / 255
            patches = Patches(x.astype(np.float32), **{name: np.ones(seed, np.float32) for name in STATISTICS})
            return LabelledCrops(patches, np.zeros(seed, int), np.full(seed, seed), no_outlines(seed))

        return KeptCrops(scenes, simulate)

    @staticmethod
    def first(crops: KeptCrops, draw: Draw, n: int) -> np.ndarray:
        with closing(crops.batches(draw)) as batches:
            return np.array([batch.images for batch in islice(batches, n)])

    def test_the_same_draw_gives_the_same_batches(self, simulated):
        crops = self.crops(simulated)
        batches = self.first(crops, Draw(8), 6)
        assert (batches.shape, batches.dtype) == ((6, 8, 1, 64, 64), np.uint8)
        np.testing.assert_array_equal(self.first(self.crops([]), Draw(8), 6), batches)
        np.testing.assert_array_equal(self.first(crops, Draw(8, first_step=4), 3), batches[3:])
        for other in (Draw(8, seed=1), Draw(8, rank=1, n_ranks=2)):
            assert (self.first(crops, other, 6) != batches).any()

    def test_every_crop_of_its_scenes_comes_and_no_other(self, simulated):
        crops = self.crops(simulated)
        drawn = self.first(crops, Draw(100), 14)[..., 0, 0].ravel()
        pixels, counts = np.unique(drawn, return_counts=True)
        assert pixels.tolist() == [10 * scene + i for scene in range(2, 6) for i in range(scene)]
        np.testing.assert_allclose(counts, 100, atol=40)

    def test_scenes_are_simulated_once_and_only_when_they_are_needed(self, simulated):
        crops = self.crops(simulated)
        crops.describe()
        batches = crops.batches(Draw(2))
        assert simulated == []
        next(batches)
        batches.close()
        self.first(crops, Draw(3, seed=1), 2)
        assert sorted(simulated) == [2, 3, 4, 5]

    def test_descriptions_tell_scenes_apart(self, simulated):
        one, other = self.crops(simulated), self.crops(simulated, range(2, 7))
        assert "simulate, scenes 2 to 5" in one.describe()
        assert one.describe() != other.describe()
        assert replace(one, n_processes=7).describe() == one.describe()


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        '[{"fronts": [[]], "head": []}]',
        '[[[{"expression": "z0", "loss": 1, "accuracy": 1, "target": "hinge"}]]]',
        '[{"fronts": [[]], "head": [{"expression": "z0", "loss": 1, "accuracy": 1, "target": "hinge"}]}]',
        '[{"fronts": [[{"expression": "z0", "loss": 1, "accuracy": 1, "target": "hinge"}]], "head": []}]',
        '[{"fronts": [], "head": [{"expression": "z0 +", "loss": 1, "accuracy": 1, "target": "hinge"}]}]',
        '[{"fronts": [], "head": [{"expression": "z0", "loss": 1, "accuracy": null, "target": "hinge"}]}]',
        '[{"fronts": [], "head": [{"expression": "z0", "loss": 1, "accuracy": 1, "target": "other"}]}]',
    ],
)
def test_formulas_that_are_none_are_a_damaged_file(finished, data, start, tmp_path, content):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    (tmp_path / "formulas.json").write_text(content)
    with pytest.raises(TrainingError, match=r"formulas.json can't be read: .* Delete it"):
        finish(training(tmp_path, data, start).formulas())


@pytest.mark.parametrize("content", ["{", "[]", '{"vae": "long"}'])
def test_a_damaged_log_of_times_costs_nothing_but_itself(data, start, tmp_path, content):
    one = training(tmp_path, data, start)
    (tmp_path / "stages.json").write_text(content)
    finish(one.cnns())
    assert (tmp_path / "cnn.safetensors").is_file()
    assert list(one.folder.times_s()) == ["cnn"]


def test_a_history_that_can_not_be_written_is_a_clear_error(data, start, tmp_path):
    one = training(tmp_path, data, start)
    (tmp_path / "history.csv").mkdir()
    with pytest.raises(OutputError, match=r"history\.csv"):
        finish(one.folder.logged(one.cnns()))
