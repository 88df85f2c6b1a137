"""What tests of several rooms share."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_cellinterp.config import TrainingConfig
    from napari_cellinterp.models.bundle import ModelBundle
    from napari_cellinterp.training.run import TrainingData


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real microscopy data; tests that need it skip where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CELLINTERP_REAL_DATA") or beside)
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set CELLINTERP_REAL_DATA)")
    return folder


@pytest.fixture(scope="session")
def tiny_bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle trained in seconds on a few simulated scenes: right in form, poor in judgement."""
    import torch

    from napari_cellinterp.events import finish
    from napari_cellinterp.models.bundle import save_bundle
    from napari_cellinterp.training.run import Training
    from napari_cellinterp.training.run_folder import RunFolder

    torch.set_num_threads(1)
    config = tiny_config()
    run = RunFolder(tmp_path_factory.mktemp("runs") / "tiny", config, {})
    bundle = finish(Training(run, tiny_data(("interphase", "metaphase")), config).bundle())
    return save_bundle(bundle, tmp_path_factory.mktemp("models") / "tiny")


def tiny_config(**changes: object) -> TrainingConfig:
    """Settings that train a whole bundle in seconds."""
    from napari_cellinterp.config import CnnConfig, HeadConfig, RiglConfig, SymbolicConfig, TrainingConfig, VaeConfig

    settings: dict[str, object] = {
        "name": "tiny",
        "description": "Trained in seconds, for trying things out; don't believe it.",
        "vae": VaeConfig(n_images=4_000, batch=32, learning_rate=2e-3),
        "dense": HeadConfig(n_epochs=6, batch=32),
        "cnn": CnnConfig(n_epochs=6, batch=32),
        "sparse": RiglConfig(n_epochs=15, warm_up_epochs=8, batch=32, update_interval_steps=10),
        "symbolic": SymbolicConfig(engine="operon", n_generations=5, population=50, max_size=12),
        "n_runs": 1,
    }
    return TrainingConfig(**(settings | changes))


@cache
def tiny_data(classes: tuple[str, ...]) -> TrainingData:
    """Return a few hundred simulated crops of these classes."""
    from napari_cellinterp.training.datasets import LabelledCrops, simulate_scene_crops
    from napari_cellinterp.training.run import TrainingData
    from napari_cellinterp.training.stream import StoredCrops

    train, validation, test = (
        LabelledCrops.concatenate([simulate_scene_crops(seed) for seed in seeds])
        for seeds in ((1, 2, 3), (201,), (101, 102))
    )
    return TrainingData(
        classes=classes,
        train=train.of_classes(classes).balanced(150, 0),
        validation=validation.of_classes(classes),
        test=test.of_classes(classes),
        stream=StoredCrops(train.images),
    )


@pytest.fixture(scope="session")
def tiny_bundle(tiny_bundle_path: Path) -> ModelBundle:
    """Return the tiny bundle, loaded; nobody may change it."""
    from napari_cellinterp.models.bundle import load_bundle

    return load_bundle(tiny_bundle_path)


LATENT_NAMES = (
    *("size", "elongation", "diagonal elongation", "brightness", "x position", "y position"),
    *(f"neighbourhood {i}" for i in range(1, 11)),
    *(f"mixed {i}" for i in range(1, 17)),
)


@pytest.fixture(scope="session")
def random_bundle() -> Callable[..., ModelBundle]:
    """Make bundles that nobody trained, of any number of channels and classes, whose scores do vary."""
    return _random_bundle


def _random_bundle(n_channels: int = 1, classes: tuple[str, ...] = ("interphase", "metaphase")) -> ModelBundle:
    import numpy as np
    import torch

    from napari_cellinterp.models.bundle import ModelBundle
    from napari_cellinterp.models.bundle_info import BundleInfo, Calibration, HeadInfo, LatentInfo, NoveltyLimits
    from napari_cellinterp.models.expression import Expression
    from napari_cellinterp.models.heads import Cnn, NetworkHead, SymbolicHead
    from napari_cellinterp.models.novelty import Population
    from napari_cellinterp.models.vae import Decoder, Encoder

    torch.manual_seed(5)
    rng = np.random.default_rng(5)
    n_scores = 1 if len(classes) == 2 else len(classes)
    texts = tuple(f"z{i} - 2*z{i + 1}**2" for i in range(n_scores))
    heads = {
        "cnn": Cnn(n_channels, n_scores),
        "dense": NetworkHead(n_scores=n_scores),
        "sparse": NetworkHead(n_scores=n_scores, sparse=True),
        "symbolic": SymbolicHead([Expression.parse(text) for text in texts]),
    }
    calibration = (Calibration(slope=2.0, offset=0.5),) * n_scores
    infos = {name: HeadInfo(calibration=calibration) for name in heads}
    infos["symbolic"] = HeadInfo(calibration=calibration, expressions=texts)
    modules = [Encoder(n_channels), Decoder(n_channels), *heads.values()]
    for module in modules:
        module.eval().requires_grad_(False)
        for name, parameter in module.named_parameters():
            if name.endswith("weight") and parameter.ndim > 1:
                parameter.mul_(2.5)
    population = Population(
        latents=rng.normal(size=(200, 32)).astype(np.float32),
        state=rng.integers(0, len(classes), 200),
        statistics=rng.uniform(0.3, 1, (200, 2)).astype(np.float32),
        quantiles=np.sort(rng.normal(size=(201, 32)).astype(np.float32), axis=0),
    )
    info = BundleInfo(
        name="random",
        description="Not trained at all.",
        licence="BSD-3-Clause",
        classes=classes,
        n_channels=n_channels,
        n_latents=32,
        filters=modules[0].filters,
        latents=tuple(LatentInfo(index=i, name=name, mean_kl=1.0) for i, name in enumerate(LATENT_NAMES)),
        heads=infos,
        novelty=NoveltyLimits(max_novelty=3, min_contrast=0.1, min_sharpness=0.05, max_top_share=0.05),
        files={},
    )
    return ModelBundle(info, *modules[:2], heads, population)
