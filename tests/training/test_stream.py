"""Streams give the batches that seed and step decide, wherever a run begins, and leave no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from multiprocessing import active_children

import numpy as np
import pytest

from napari_cellinterp.errors import TrainingError
from napari_cellinterp.training import stream
from napari_cellinterp.training.stream import Draw, KeptCrops, MixedCrops, SimulatedCrops, StoredCrops

SCENES = """
import os
import numpy as np
from napari_cellinterp.movies.patches import STATISTICS, Patches
from napari_cellinterp.training.datasets import LabelledCrops

def numbered(seed, n=None):
    # scene s gives 3 or 4 crops whose pixels are all s / 255
    n = n or 3 + seed % 2
    ones = np.ones(n, np.float32)
    patches = Patches(np.full((n, 1, 64, 64), seed / 255, np.float32), **{name: ones for name in STATISTICS})
    return LabelledCrops(patches, np.zeros(n, int), np.full(n, seed), np.full((n, 4), seed, np.float32))

def few(seed):
    return numbered(seed, 1)

def failing(seed):
    if seed == 5:
        raise ValueError("no nuclei")
    return numbered(seed)

def dying(seed):
    os._exit(3)
"""


@pytest.fixture
def scenes(tmp_path, monkeypatch):
    """A module that workers can import too, which the tests themselves are not."""
    (tmp_path / "numbered_scenes.py").write_text(SCENES, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("numbered_scenes", None)
    import numbered_scenes

    return numbered_scenes


@pytest.fixture
def in_threads(monkeypatch):
    """Threads instead of processes, which take seconds to begin."""
    monkeypatch.setattr(stream, "worker_pool", ThreadPoolExecutor)


def first(crops, draw, n):
    with closing(crops.batches(draw)) as batches:
        return [batch.images for batch in islice(batches, n)]


def stored(n=50, dtype=np.uint8):
    return StoredCrops(np.arange(n, dtype=dtype)[:, None, None, None] * np.ones((1, 1, 64, 64), dtype))


def simulated(simulate, **options):
    return SimulatedCrops(
        **{"scenes_per_block": 4, "crops_per_scene": 3, "n_processes": 1, "simulate": simulate} | options
    )


def scene_numbers(batches):
    return [sorted(batch[:, 0, 0, 0].tolist()) for batch in batches]


def test_stored_crops():
    batches = first(stored(), Draw(8), 3)
    assert [batch.shape for batch in batches] == [(8, 1, 64, 64)] * 3
    assert batches[0].dtype == np.uint8
    assert first(stored(dtype=np.float32), Draw(8), 1)[0].dtype == np.float32
    drawn = np.concatenate(first(stored(), Draw(100), 20))[:, 0, 0, 0]
    np.testing.assert_allclose(np.bincount(drawn, minlength=50), 40, atol=30)


@pytest.mark.parametrize("crops", [stored(), MixedCrops(stored(), stored(20), 0.25)], ids=["stored", "mixed"])
def test_a_step_has_its_batch_wherever_the_run_begins(crops):
    batches = first(crops, Draw(8), 6)
    np.testing.assert_array_equal(first(crops, Draw(8, first_step=5), 2), batches[4:])
    assert (first(crops, Draw(8, seed=1), 6) != np.array(batches)).any()
    assert (first(crops, Draw(8, rank=1, n_ranks=2), 6) != np.array(batches)).any()


def test_outlines_stay_with_their_crops(scenes, in_threads):
    images = stored().images
    known = StoredCrops(images, np.repeat(images[:, 0, 0, :1], 4, axis=1).astype(np.float32))
    kept = KeptCrops(range(2, 6), scenes.numbered)
    for crops in (known, MixedCrops(known, known, 0.5), simulated(scenes.numbered), kept):
        with closing(crops.batches(Draw(8))) as batches:
            images, outline = next(batches)
        assert len(np.unique(images)) > 2
        np.testing.assert_array_equal(outline, np.repeat(images[:, 0, 0, :1], 4, axis=1))
    with closing(MixedCrops(known, stored(), 0.25).batches(Draw(8))) as batches:
        assert np.isnan(next(batches).outline).all(axis=1).tolist() == [False] * 6 + [True] * 2


@pytest.mark.parametrize(
    "images", [np.zeros((0, 1, 64, 64), np.uint8), np.zeros((3, 64, 64), np.uint8), np.zeros((3, 1, 64, 64))]
)
def test_crops_that_nothing_can_be_trained_on(images):
    with pytest.raises(TrainingError, match=str(images.dtype)):
        StoredCrops(images)


def test_a_mixture_has_its_share():
    high = StoredCrops(stored(20).images + np.uint8(100))
    for batch in first(MixedCrops(stored(), high, 0.25), Draw(8), 5):
        np.testing.assert_array_equal(batch[:, 0, 0, 0] >= 100, [False] * 6 + [True] * 2)


def test_bytes_and_numbers_do_not_mix():
    with pytest.raises(TrainingError, match="float32"):
        first(MixedCrops(stored(), stored(dtype=np.float32), 0.5), Draw(8), 1)


def test_descriptions_tell_streams_apart(scenes):
    streams = [
        stored(),
        stored(49),
        stored(dtype=np.float32),
        StoredCrops(stored().images[::-1]),
        StoredCrops(stored().images, np.zeros((50, 4), np.float32)),
        StoredCrops(stored().images, np.ones((50, 4), np.float32)),
        MixedCrops(stored(), stored(), 0.25),
        MixedCrops(stored(), stored(), 0.5),
        simulated(scenes.numbered),
        simulated(scenes.few),
        simulated(scenes.numbered, first_scene=1),
        simulated(scenes.numbered, scenes_per_block=5),
    ]
    assert len({crops.describe() for crops in streams}) == len(streams)
    assert simulated(scenes.numbered, n_processes=7).describe() == simulated(scenes.numbered).describe()


@pytest.mark.usefixtures("in_threads")
class TestBlocks:
    def test_a_block_is_shuffled_and_then_the_next_one_comes(self, scenes):
        batches = first(simulated(scenes.numbered), Draw(4), 9)
        for b in range(3):
            block = np.concatenate(batches[3 * b : 3 * b + 3])[:, 0, 0, 0]
            counts = np.bincount(block, minlength=12)[4 * b : 4 * b + 4]
            assert counts.sum() == len(block) == 12
            assert (counts <= [3, 4, 3, 4]).all(), "no crop comes twice where there are enough"
            assert not (np.diff(block.astype(int)) >= 0).all()

    @pytest.mark.parametrize("first_step", [2, 3, 4, 8])
    def test_a_run_goes_on_anywhere(self, scenes, first_step):
        crops = simulated(scenes.numbered)
        batches = first(crops, Draw(4), 9)
        np.testing.assert_array_equal(
            first(crops, Draw(4, first_step=first_step), 10 - first_step), batches[first_step - 1 :]
        )

    def test_devices_take_turns_at_the_blocks(self, scenes):
        crops = simulated(scenes.numbered)
        for rank in (0, 1):
            blocks = np.array(first(crops, Draw(4, rank=rank, n_ranks=2), 6))[..., 0, 0, 0].reshape(2, -1) // 4
            np.testing.assert_array_equal(blocks, np.broadcast_to([[rank], [rank + 2]], blocks.shape))

    def test_some_come_twice_where_scenes_gave_fewer(self, scenes):
        block = first(simulated(scenes.few, crops_per_scene=2), Draw(8), 1)[0][:, 0, 0, 0]
        np.testing.assert_array_equal(np.bincount(block), [2, 2, 2, 2])

    def test_mixed_with_stored_ones(self, scenes):
        crops = MixedCrops(simulated(scenes.numbered), StoredCrops(stored(5).images + np.uint8(200)), 0.5)
        batches = first(crops, Draw(8), 4)
        assert [(batch[:, 0, 0, 0] >= 200).sum() for batch in batches] == [4] * 4
        np.testing.assert_array_equal(first(crops, Draw(8, first_step=3), 2), batches[2:])

    @pytest.mark.parametrize(
        ("simulate", "options", "n_crops", "message"),
        [
            ("numbered", {}, 13, "batch of 13 crops is larger than a block of 12"),
            ("few", {"crops_per_scene": 9}, 4, "0 to 3 gave 4 crops, not about 36.*crops_per_scene to about 1"),
            ("failing", {"first_scene": 2}, 4, "Scene 5 can't be simulated: ValueError: no nuclei"),
        ],
    )
    def test_errors_say_what_to_do(self, scenes, simulate, options, n_crops, message):
        with pytest.raises(TrainingError, match=message):
            first(simulated(getattr(scenes, simulate), **options), Draw(n_crops), 1)


@pytest.mark.slow
def test_processes_give_the_same_and_end_with_the_stream(scenes, in_threads, monkeypatch):
    crops = simulated(scenes.numbered)
    expected = first(crops, Draw(4), 4)
    monkeypatch.undo()
    monkeypatch.syspath_prepend(os.path.dirname(scenes.__file__))
    before = set(active_children())
    with closing(crops.batches(Draw(4))) as batches:
        np.testing.assert_array_equal([batch.images for batch in islice(batches, 4)], expected)
        assert len(set(active_children()) - before) == 1
    assert set(active_children()) <= before


@pytest.mark.slow
def test_a_simulated_scene_gives_as_many_crops_as_are_said():
    simulated = SimulatedCrops()
    n_crops = [len(simulated.simulate(6_000_000 + i).state) for i in range(simulated.scenes_per_block)]
    assert np.mean(n_crops) == pytest.approx(simulated.crops_per_scene, rel=0.3)


@pytest.mark.slow
def test_a_worker_that_dies(scenes):
    with pytest.raises(TrainingError, match=r"A worker process died\. .* fewer processes"):
        first(simulated(scenes.dying), Draw(4), 1)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")
def test_workers_do_not_outlive_a_killed_trainer(scenes, tmp_path):
    script = """
        import time
        from multiprocessing import active_children
        from numbered_scenes import numbered
        from napari_cellinterp.training.stream import Draw, SimulatedCrops

        if __name__ == "__main__":
            crops = SimulatedCrops(scenes_per_block=4, crops_per_scene=3, n_processes=1, simulate=numbered)
            batches = crops.batches(Draw(4))
            next(batches)
            print(*(child.pid for child in active_children()), flush=True)
            time.sleep(60)
    """
    path = tmp_path / "trainer.py"
    path.write_text(textwrap.dedent(script), "utf-8")
    with subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, text=True) as trainer:
        workers = [int(pid) for pid in trainer.stdout.readline().split()]
        trainer.send_signal(signal.SIGKILL)
    assert workers
    deadline = time.monotonic() + 20
    while any(is_running(pid) for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
