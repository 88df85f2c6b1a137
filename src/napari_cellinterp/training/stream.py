"""Batches of crops to train on, each decided by seed and step alone: a run that goes on sees those it would have."""

from __future__ import annotations

import zlib
from collections import deque
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from napari_cellinterp.errors import TrainingError
from napari_cellinterp.training.datasets import LabelledCrops, simulate_scene_crops
from napari_cellinterp.training.guides import no_outlines
from napari_cellinterp.training.workers import worker_pool

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from concurrent.futures import Future, ProcessPoolExecutor

    from numpy.typing import NDArray

    from napari_cellinterp.training.guides import Outlines

    Crops: TypeAlias = NDArray[np.uint8] | NDArray[np.float32]
    Batches: TypeAlias = Generator["Batch", None, None]

ROWS, TURNS, NOISE, SHUFFLE = range(4)
"""What random numbers are for: draws for one purpose don't follow those for another."""

N_BLOCKS_AHEAD = 1
"""Blocks that are simulated while one is trained on."""

EXTRA_SEED = 2**31
"""Added to the seed of the second of two mixed streams, for them to draw apart."""


class Batch(NamedTuple):
    """Crops for one step.

    Attributes
    ----------
    images : (n, n_channels, 64, 64) uint8 or float32
        Normalised patches, times 255 where they are bytes.
    outline : (n, 4) float32
        Of the central nuclei, see `napari_cellinterp.training.guides`; NaN where it isn't known.
    """

    images: Crops
    outline: Outlines


@dataclass(frozen=True)
class Draw:
    """Which batches one device asks of a stream.

    Attributes
    ----------
    n_crops : int
        Crops in a batch.
    seed : int
        Of all that is random, not negative.
    first_step : int
        Step of the first batch, from 1; larger where a run goes on.
    rank, n_ranks : int
        Number of the device, from 0, and of how many; each draws other crops.
    """

    n_crops: int
    seed: int = 0
    first_step: int = 1
    rank: int = 0
    n_ranks: int = 1

    def rng(self, step: int, purpose: int) -> np.random.Generator:
        """Return this device's random numbers for one purpose in one step."""
        return np.random.default_rng((self.seed, step, self.rank, purpose))


class CropStream(Protocol):
    """An endless source of training crops."""

    def batches(self, draw: Draw) -> Batches:
        """Yield batches of ``n_crops``.

        The batch of a step depends only on seed, step, rank and the stream; closing the generator ends what it began.
        """

    def describe(self) -> str:
        """Tell this stream from others: a checkpoint is only resumed with crops of the same description."""


@dataclass(frozen=True)
class StoredCrops:
    """Random rows of an array.

    Attributes
    ----------
    images : (n, n_channels, 64, 64) uint8 or float32
        Normalised patches, times 255 where they are bytes.
    outline : (n, 4) float32, optional
        Of the central nuclei; by default it isn't known.

    Raises
    ------
    TrainingError
        If the array is empty, or of another type or number of axes.
    """

    images: Crops
    outline: Outlines | None = None

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or not len(self.images) or self.images.dtype not in (np.uint8, np.float32):
            raise TrainingError(
                f"Crops to train on are {self.images.dtype} {self.images.shape}.",
                "Give at least one, as (n, n_channels, 64, 64) uint8 or float32.",
            )

    def batches(self, draw: Draw) -> Batches:
        """Yield random rows, drawn with replacement."""
        outline = no_outlines(len(self.images)) if self.outline is None else self.outline
        for step in count(draw.first_step):
            rows = np.sort(draw.rng(step, ROWS).integers(0, len(self.images), draw.n_crops))
            yield Batch(self.images[rows], outline[rows])

    def describe(self) -> str:
        """Return the array's shape and checksum, and that of the outlines where they are known."""
        outline = "" if self.outline is None else f", outlines {_checksum(self.outline)}"
        return f"stored {self.images.shape}, CRC {_checksum(self.images)}{outline}"


def _checksum(array: NDArray[Any]) -> str:
    return f"{zlib.crc32(np.ascontiguousarray(array).data):08x}"


@dataclass(frozen=True)
class KeptCrops:
    """Random crops of a fixed number of scenes, which are simulated when the first batch is asked for, and kept.

    Attributes
    ----------
    scenes : range
        Seeds of the scenes.
    simulate : callable
        Makes the crops of a scene from its seed; it must be picklable.
    n_processes : int
        Workers, of one thread each.
    """

    scenes: range
    simulate: Callable[[int], LabelledCrops]
    n_processes: int = 2

    def batches(self, draw: Draw) -> Batches:
        """Yield random crops, drawn with replacement.

        Raises
        ------
        TrainingError
            If a worker dies.
        """
        yield from StoredCrops(*self._all).batches(draw)

    def describe(self) -> str:
        """Return where the scenes come from."""
        name = getattr(self.simulate, "__qualname__", type(self.simulate).__qualname__)
        return f"all of {name}, scenes {self.scenes.start} to {self.scenes.stop - 1}"

    @cached_property
    def _all(self) -> Batch:
        if not len(self.scenes):
            raise TrainingError("There are no scenes to simulate.", "Give at least one.")
        with worker_pool(self.n_processes) as pool:
            parts = [pool.submit(_scene_bytes, self.simulate, scene) for scene in self.scenes]
            return _joined(_result(scene, part) for scene, part in zip(self.scenes, parts, strict=True))


@dataclass(frozen=True)
class MixedCrops:
    """A fixed share of each batch from a second stream, such as real crops among simulated ones.

    Attributes
    ----------
    main, extra : CropStream
        Streams of crops of the same shape and type.
    share : float
        Share of ``extra`` in a batch, 0 to 1; rounded to whole crops.
    """

    main: CropStream
    extra: CropStream
    share: float

    def batches(self, draw: Draw) -> Batches:
        """Yield batches of both, the crops of ``extra`` last."""
        n_extra = round(self.share * draw.n_crops)
        main = self.main.batches(replace(draw, n_crops=draw.n_crops - n_extra))
        extra = self.extra.batches(replace(draw, n_crops=n_extra, seed=draw.seed + EXTRA_SEED))
        with closing(main), closing(extra):
            for one, other in zip(main, extra, strict=True):
                yield _joined((_same_type(one, other), other))

    def describe(self) -> str:
        """Return the descriptions of both, and the share."""
        return f"{self.main.describe()}; {self.share:g} {self.extra.describe()}"


def _joined(parts: Iterable[Batch]) -> Batch:
    images, outline = zip(*parts, strict=True)
    return Batch(np.concatenate(images), np.concatenate(outline))


def _same_type(one: Batch, other: Batch) -> Batch:
    if one.images.dtype != other.images.dtype:
        raise TrainingError(
            f"Crops of type {one.images.dtype} can't be mixed with {other.images.dtype}.",
            "Give both as bytes, or both as numbers from 0 to 1.",
        )
    return one


@dataclass(frozen=True)
class SimulatedCrops:
    """Endless crops that worker processes simulate while the networks train.

    Block b holds the crops of the scenes ``[b * scenes_per_block, (b + 1) * scenes_per_block)``, shuffled, so that a
    batch mixes scenes. ``scenes_per_block * crops_per_scene`` of them are cut into batches: where the scenes gave
    more, the rest is left out, and where fewer, some come twice. That makes a step's block and place in it
    arithmetic, and a run can go on anywhere without simulating what came before.

    Attributes
    ----------
    first_scene : int
        Seed of the first scene.
    scenes_per_block : int
        Scenes that are shuffled together.
    crops_per_scene : int
        Crops that a scene gives on average.
    n_processes : int
        Workers, of one thread each.
    simulate : callable
        Makes the crops of a scene from its seed; it must be picklable.
    """

    first_scene: int = 0
    scenes_per_block: int = 24
    crops_per_scene: int = 100
    n_processes: int = 2
    simulate: Callable[[int], LabelledCrops] = simulate_scene_crops

    def batches(self, draw: Draw) -> Batches:
        """Yield batches of this device's blocks: each device takes every ``n_ranks``-th block.

        Raises
        ------
        TrainingError
            If a batch is larger than a block, a block stays half empty, or a worker fails or dies.
        """
        steps_per_block = self._steps_per_block(draw.n_crops)
        n_done, place = divmod(draw.first_step - 1, steps_per_block)
        with closing(self._blocks(draw, n_done)) as blocks:
            for block in blocks:
                for i in range(place, steps_per_block):
                    rows = slice(i * draw.n_crops, (i + 1) * draw.n_crops)
                    yield Batch(block.images[rows], block.outline[rows])
                place = 0

    def describe(self) -> str:
        """Return where the scenes come from, and how they are cut into blocks."""
        name = getattr(self.simulate, "__qualname__", type(self.simulate).__qualname__)
        return f"{name} from {self.first_scene}, blocks of {self.scenes_per_block} x {self.crops_per_scene}"

    def _steps_per_block(self, n_crops: int) -> int:
        in_block = self.scenes_per_block * self.crops_per_scene
        if n_crops > in_block:
            raise TrainingError(
                f"A batch of {n_crops} crops is larger than a block of {in_block}.", "Raise scenes_per_block."
            )
        # a mixture may ask for none at all
        return in_block // max(1, n_crops)

    def _blocks(self, draw: Draw, n_done: int) -> Batches:
        numbers = count(n_done * draw.n_ranks + draw.rank, draw.n_ranks)
        waiting: deque[_Block] = deque()
        with worker_pool(self.n_processes) as pool:
            while True:
                while len(waiting) <= N_BLOCKS_AHEAD:
                    waiting.append(self._begin_block(pool, next(numbers)))
                yield self._shuffled(waiting.popleft(), draw)

    def _begin_block(self, pool: ProcessPoolExecutor, number: int) -> _Block:
        first = self.first_scene + number * self.scenes_per_block
        scenes = range(first, first + self.scenes_per_block)
        return _Block(number, scenes, [pool.submit(_scene_bytes, self.simulate, scene) for scene in scenes])

    def _shuffled(self, block: _Block, draw: Draw) -> Batch:
        crops, n = block.crops(), self.scenes_per_block * self.crops_per_scene
        n_there = len(crops.images)
        if n_there < n / 2:
            raise TrainingError(
                f"Scenes {block.scenes[0]} to {block.scenes[-1]} gave {n_there} crops, not about {n}.",
                f"Set crops_per_scene to about {n_there // len(block.scenes)}, or check what simulates them.",
            )
        order = np.random.default_rng((draw.seed, block.number, 0, SHUFFLE)).permutation(n_there)
        rows = np.resize(order, n)
        return Batch(crops.images[rows], crops.outline[rows])


@dataclass(frozen=True)
class _Block:
    """Scenes on their way."""

    number: int
    scenes: range
    parts: list[Future[Batch]]

    def crops(self) -> Batch:
        """Wait for the crops."""
        return _joined(_result(scene, part) for scene, part in zip(self.scenes, self.parts, strict=True))


def _result(scene: int, part: Future[Batch]) -> Batch:
    try:
        return part.result()
    except BrokenProcessPool:
        raise
    except Exception as error:
        raise TrainingError(
            f"Scene {scene} can't be simulated: {type(error).__name__}: {error}.",
            f"Simulate it alone, with the seed {scene}, to see why.",
        ) from error


def _scene_bytes(simulate: Callable[[int], LabelledCrops], scene: int) -> Batch:
    """Simulate in a worker; bytes are a quarter of what would have to be sent otherwise."""
    crops = simulate(scene)
    return Batch(crops.images, crops.outline)
