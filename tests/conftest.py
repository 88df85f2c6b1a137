"""What tests of several rooms share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


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
    from napari_cellinterp.training.fit import fit_vae, new_vae
    from napari_cellinterp.training.pretrain import TINY, Split, to_bytes, train_heads
    from napari_cellinterp.workflows import finish

    torch.set_num_threads(1)
    train = LabelledCrops.concatenate([simulate_scene_crops(seed) for seed in (1, 2, 3)])
    test = LabelledCrops.concatenate([simulate_scene_crops(seed) for seed in (101, 102)])
    encoder, decoder = new_vae(TINY.vae)
    finish(fit_vae(encoder, decoder, to_bytes(train.patches.x), TINY.vae))
    splits = (Split.of(train, 150, 0), Split.of(test, 80, 1))
    bundle = finish(train_heads(encoder, decoder, *splits, test, TINY))
    return save_bundle(bundle, tmp_path_factory.mktemp("models") / "tiny")
