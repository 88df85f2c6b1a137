"""What tests of several rooms share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_cellinterp.models.bundle import ModelBundle


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

    from napari_cellinterp.models.bundle import save_bundle
    from napari_cellinterp.training.datasets import LabelledCrops, simulate_scene_crops
    from napari_cellinterp.training.pretrain import TINY, Split, to_bytes, train_cnns, train_heads
    from napari_cellinterp.training.stream import StoredCrops
    from napari_cellinterp.training.vae_training import fit_vae, new_vae
    from napari_cellinterp.workflows import finish

    torch.set_num_threads(1)
    train = LabelledCrops.concatenate([simulate_scene_crops(seed) for seed in (1, 2, 3)])
    test = LabelledCrops.concatenate([simulate_scene_crops(seed) for seed in (101, 102)])
    encoder, decoder = new_vae(TINY.vae)
    finish(fit_vae(encoder, decoder, StoredCrops(to_bytes(train.patches.x)), TINY.vae))
    splits = (Split.of(train, 150, 0), Split.of(test, 80, 1))
    cnns = finish(train_cnns(splits[0], TINY))
    bundle = finish(train_heads(encoder, decoder, cnns, *splits, test, TINY))
    return save_bundle(bundle, tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny_bundle(tiny_bundle_path: Path) -> ModelBundle:
    """Return the tiny bundle, loaded; nobody may change it."""
    from napari_cellinterp.models.bundle import load_bundle

    return load_bundle(tiny_bundle_path)


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
        latents=tuple(LatentInfo(index=i, name=f"z{i}", mean_kl=1.0) for i in range(32)),
        heads=infos,
        novelty=NoveltyLimits(max_novelty=3, min_contrast=0.1, min_sharpness=0.05, max_top_share=0.05),
        files={},
    )
    return ModelBundle(info, *modules[:2], heads, population)
