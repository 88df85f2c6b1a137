"""The beta-TCVAE's training learns, and a run that was stopped ends with the weights of one that wasn't."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_cellinterp.config import VaeConfig
from napari_cellinterp.errors import OutputError, TrainingError
from napari_cellinterp.events import EpochFinished, Progressed, finish
from napari_cellinterp.training import vae_training
from napari_cellinterp.training.guides import outlines
from napari_cellinterp.training.stream import StoredCrops
from napari_cellinterp.training.vae_training import fit_vae, new_vae

TERMS = ("reconstruction", "mutual_information", "total_correlation", "dimension_wise_kl", "guidance")
CONFIG = VaeConfig(n_images=4 * 24, batch=4, n_latents=4, device="cpu", checkpoint_steps=7)


def blobs(n: int = 32, dtype: type = np.uint8) -> StoredCrops:
    """Long and round blobs."""
    rng = np.random.default_rng(0)
    ticks = np.arange(64) - 31.5
    angle, long = rng.uniform(0, np.pi, (n, 1, 1)), np.where(np.arange(n) % 2, 3.5, 1.0)[:, None, None]
    u = np.cos(angle) * ticks + np.sin(angle) * ticks[:, None]
    v = np.cos(angle) * ticks[:, None] - np.sin(angle) * ticks
    images = (255 * np.exp(-(u**2 / long + v**2 * long) / 120)[:, None]).round().astype(np.uint8)
    return StoredCrops(images if dtype == np.uint8 else images.astype(np.float32) / 255)


def trained(config=CONFIG, crops=None, checkpoint=None, stop_at=None, progress=None):
    """Train new networks; close the job at a step where one is given."""
    networks = new_vae(config)
    torch.manual_seed(int.from_bytes(os.urandom(4), "little"))
    job = fit_vae(*networks, crops or blobs(), config, checkpoint=checkpoint)
    if stop_at is None:
        finish(job, progress)
    else:
        while next(job).done < stop_at:
            pass
        job.close()
    return networks


def weights(networks):
    return {f"{i}.{name}": value for i, network in enumerate(networks) for name, value in network.state_dict().items()}


def assert_same_bits(one, two):
    one, two = weights(one), weights(two)
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


@pytest.fixture(scope="module")
def uninterrupted():
    return trained()


def test_latents_are_taught_the_outlines_that_are_known():
    crops = blobs(64)
    outline = np.concatenate([outlines((image > 100).astype(int), np.array([1]), 1) for image in crops.images[:, 0]])
    unknown = np.arange(64) % 4 == 0
    known = np.where(unknown[:, None], np.float32(np.nan), outline)
    config = VaeConfig(n_images=32 * 80, batch=32, learning_rate=3e-3, pixel_sd=2, guide_sd=0.1, device="cpu")
    encoder, _ = trained(config, StoredCrops(crops.images, known))
    with torch.no_grad():
        found = encoder.encode(torch.from_numpy(crops.images).float() / 255)[:, 1:3].numpy()
    errors = np.square(found - outline[:, 1:3])
    assert errors[~unknown].mean() < 0.2 * outline[:, 1:3].var()
    assert errors[unknown].mean() < 0.5 * outline[:, 1:3].var()


def test_nothing_can_be_taught_where_no_mask_is_known():
    with pytest.raises(TrainingError, match=r"guide_sd 0\.1.*no crop.*mask"):
        trained(CONFIG.model_copy(update={"guide_sd": 0.1}))


def test_it_learns_and_reports():
    config = VaeConfig(n_images=8 * 12, batch=8, learning_rate=3e-3, device="cpu")
    events = []
    encoder, decoder = trained(config, progress=events.append)
    assert not encoder.training
    assert not decoder.training
    assert [(event.done, event.total) for event in events] == [(10, 12), (12, 12)]
    assert [type(event) for event in events] == [Progressed, EpochFinished]
    assert tuple(name for name, _ in events[-1].figures) == (*TERMS, "images_per_s")
    assert all(np.isfinite(value) for _, value in events[-1].figures)
    x = torch.from_numpy(blobs().images).float() / 255
    with torch.no_grad():
        errors = [(d(e.encode(x)) - x).square().mean() for e, d in (new_vae(config), (encoder, decoder))]
    assert errors[1] < 0.8 * errors[0]


def test_it_repeats_itself_by_its_seed(uninterrupted):
    assert_same_bits(trained(), uninterrupted)
    other = trained(CONFIG.model_copy(update={"seed": 1}))
    assert not torch.equal(other[0].mean.weight, uninterrupted[0].mean.weight)


def test_bytes_and_numbers_train_alike(uninterrupted):
    assert_same_bits(trained(crops=blobs(dtype=np.float32)), uninterrupted)


@pytest.mark.parametrize("stop_at", [10, 20])
def test_a_closed_run_goes_on_as_if_it_had_not_been(tmp_path, uninterrupted, stop_at):
    path = tmp_path / "runs" / "vae.safetensors"
    stopped = trained(checkpoint=path, stop_at=stop_at)
    assert not stopped[0].training
    events = []
    assert_same_bits(trained(checkpoint=path, progress=events.append), uninterrupted)
    assert [event.done for event in events] == [20, 24][stop_at // 20 :]
    events.clear()
    assert_same_bits(trained(checkpoint=path, progress=events.append), uninterrupted)
    assert events == [], "nothing is left to do"
    assert os.listdir(path.parent) == [path.name]


def test_an_interrupt_within_a_step_keeps_the_steps_before(tmp_path, uninterrupted, monkeypatch):
    path, calls, loss = tmp_path / "vae.safetensors", [], vae_training.reconstruction_error

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return loss(*args)

    monkeypatch.setattr(vae_training, "reconstruction_error", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained(checkpoint=path)
    assert path.is_file()
    assert_same_bits(trained(checkpoint=path), uninterrupted)
    assert len(calls) == 8 + 24 - 7, "seven steps weren't taken again"


def test_settings_that_change_nothing_may_change(tmp_path, uninterrupted):
    path = tmp_path / "vae.safetensors"
    trained(checkpoint=path, stop_at=10)
    config = CONFIG.model_copy(update={"checkpoint_steps": 1000, "device": "auto"})
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        assert_same_bits(trained(config, checkpoint=path), uninterrupted)


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path, uninterrupted):
    path, images = tmp_path / "vae.safetensors", tmp_path / "images.npy"
    np.save(images, blobs().images)
    script = f"""
        import sys, time
        from pathlib import Path
        import numpy as np, torch
        from napari_cellinterp.config import VaeConfig
        from napari_cellinterp.training.stream import StoredCrops
        from napari_cellinterp.training.vae_training import fit_vae, new_vae

        assert "lightning_fabric" not in sys.modules, "it would make every import slow"
        torch.set_num_threads({torch.get_num_threads()})
        config = VaeConfig.model_validate_json('{CONFIG.model_dump_json()}')
        crops = StoredCrops(np.load("{images}"))
        for event in fit_vae(*new_vae(config), crops, config, checkpoint=Path("{path}")):
            if event.done == 20:
                print("now", flush=True)
                time.sleep(60)
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(script)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as trainer:
        line = trainer.stdout.readline()
        trainer.send_signal(signal.SIGKILL)
        assert (line, trainer.stderr.read()) == ("now\n", ""), "Fabric says nothing either"
    events = []
    assert_same_bits(trained(checkpoint=path, progress=events.append), uninterrupted)
    assert [event.done for event in events] == [20, 24], "step 14 was the last one that was kept"


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "vae.safetensors"
    trained(checkpoint=path, stop_at=10)
    return path


def assert_refused(path, message, **options):
    before = path.read_bytes()
    with pytest.raises(TrainingError, match=message) as caught:
        trained(checkpoint=path, **options)
    assert str(path) in caught.value.problem
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta": 9.0}, r"beta is 4\.0 there, 9\.0 here"),
        ({"seed": 3, "batch": 8}, "batch is 4 there, 8 here; seed is 0 there, 3 here"),
        ({"n_images": 8}, "n_images is 96 there, 8 here"),
    ],
)
def test_a_checkpoint_of_other_settings(checkpoint, change, message):
    assert_refused(checkpoint, message, config=CONFIG.model_copy(update=change))


def test_a_checkpoint_of_other_crops(checkpoint):
    assert_refused(checkpoint, r"crops is stored \(32, .* there, stored \(31, .* here", crops=blobs(31))


def test_damaged_checkpoints(checkpoint):
    whole = checkpoint.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:5], b"", b"not a checkpoint at all"):
        checkpoint.write_bytes(content)
        assert_refused(checkpoint, "can't be read as a checkpoint")
    middle = len(whole) // 2
    checkpoint.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    assert_refused(checkpoint, "is damaged: its checksum")


def test_other_files_are_no_checkpoints(checkpoint):
    save_file(load_file(checkpoint), checkpoint)
    assert_refused(checkpoint, "is no checkpoint")
    checkpoint.unlink()
    checkpoint.mkdir()
    with pytest.raises(TrainingError, match="can't be read as a checkpoint"):
        trained(checkpoint=checkpoint)


def test_a_loss_that_is_not_finite(tmp_path):
    config = CONFIG.model_copy(update={"learning_rate": 1e6, "checkpoint_steps": 1})
    path = tmp_path / "vae.safetensors"
    with pytest.raises(TrainingError, match=r"in step \d+, at a learning rate of .*lower learning_rate") as caught:
        trained(config, checkpoint=path)
    assert "The loss became" in caught.value.problem
    assert all(tensor.isfinite().all() for tensor in load_file(path).values())


def test_crops_that_are_not_finite():
    crops = blobs(dtype=np.float32)
    crops.images[:] = np.nan
    with pytest.raises(TrainingError, match=r"became nan in step 1, .* Crops of this step"):
        trained(crops=crops)


def test_a_full_disk_leaves_the_last_checkpoint(checkpoint, uninterrupted, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = checkpoint.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match=f"{checkpoint.name} can't be written: No space left"):
            trained(checkpoint=checkpoint)
    assert checkpoint.read_bytes() == before
    assert os.listdir(checkpoint.parent) == [checkpoint.name]
    assert_same_bits(trained(checkpoint=checkpoint), uninterrupted)


def test_a_folder_that_cannot_be_written_is_found_at_once(tmp_path):
    (tmp_path / "file").touch()
    job = fit_vae(*new_vae(CONFIG), blobs(), CONFIG, checkpoint=tmp_path / "file" / "vae.safetensors")
    with pytest.raises(OutputError):
        next(job)


@pytest.mark.parametrize(("device", "n_devices"), [("mps", 2), ("cuda", 64)])
def test_devices_that_are_not_there(device, n_devices):
    config = CONFIG.model_copy(update={"device": device, "n_devices": n_devices})
    with pytest.raises(TrainingError, match=f"{n_devices} {device} device.* sees .* auto or cpu"):
        trained(config)


def test_bfloat16_trains_too():
    encoder, _ = trained(CONFIG.model_copy(update={"precision": "bf16-mixed", "n_images": 8}))
    assert encoder.mean.weight.dtype == torch.float32


@pytest.mark.slow
def test_two_devices_share_a_training(tmp_path, uninterrupted):
    config = CONFIG.model_copy(update={"n_devices": 2, "n_images": 2 * CONFIG.batch * 11})
    path, events = tmp_path / "vae.safetensors", []
    networks = trained(config, checkpoint=path, progress=events.append)
    assert [(event.done, event.total) for event in events] == [(10, 11), (11, 11)]
    kept = load_file(path)
    for name, network in zip(("encoder", "decoder"), networks, strict=True):
        assert not network.training
        for key, value in network.state_dict().items():
            assert torch.equal(value, kept[f"{name}.{key}"])
    assert not torch.equal(networks[0].mean.weight, uninterrupted[0].mean.weight)
