"""Make the bundle chromatin-64: ``python scripts/pretrain.py RUN_FOLDER [--data FOLDER]``.

Simulated crops, mixed with unlabelled real ones where there are any, train the beta-TCVAE; simulated crops alone train
the heads. Each stage leaves its file in the run folder and is skipped where that file is there, so that a run that was
stopped goes on. The bundle is written to RUN_FOLDER/chromatin-64.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from napari_cellinterp.training.pretrain import BundleConfig, Split, to_bytes, train_cnns, train_heads, with_card
from safetensors.torch import load_file, save_file
from validate import figures as real_figures

from napari_cellinterp.config import HeadConfig, RiglConfig, SymbolicConfig, VaeConfig
from napari_cellinterp.events import EpochFinished, finish
from napari_cellinterp.models.bundle import ModelBundle, save_bundle
from napari_cellinterp.models.bundle_info import DataSource, Figure
from napari_cellinterp.models.heads import Cnn
from napari_cellinterp.training.datasets import LabelledCrops, real_crops, simulate_crops
from napari_cellinterp.training.stream import StoredCrops
from napari_cellinterp.training.vae_training import fit_vae, new_vae

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_cellinterp.events import Event
    from napari_cellinterp.models.vae import Decoder, Encoder

INTERPHASE_WEIGHT = 2.0
"""In culture, metaphases are few: a false plate among many interphase nuclei costs more than a missed one."""

CONFIG = BundleConfig(
    name="chromatin-64",
    description=(
        "Interphase against metaphase of nuclei with a chromatin stain (histone or DNA dye). Trained on simulated "
        "nuclei; its beta-TCVAE also saw unlabelled real ones. Prometaphase, anaphase, telophase and apoptosis are "
        "neither class: expect either answer for them."
    ),
    vae=VaeConfig(n_images=1_600_000),
    head=HeadConfig(n_epochs=30, interphase_weight=INTERPHASE_WEIGHT),
    cnn=HeadConfig(n_epochs=6),
    rigl=RiglConfig(interphase_weight=INTERPHASE_WEIGHT),
    symbolic=SymbolicConfig(n_generations=50, population=800, interphase_weight=INTERPHASE_WEIGHT),
)
N_TRAIN, N_TEST, N_HEAD_TRAIN, N_HEAD_TEST = 100_000, 20_000, 6_000, 3_000
TRAIN_SEED, TEST_SEED = 0, 1_000_000
REAL_REPEATS = 2
N_PROCESSES = 2
REAL_SOURCES = (
    ("dsb2018_fluo", "BBBC038, fluorescence images with hand-drawn masks (kaggle-dsbowl-2018-dataset-fixes)", "CC0"),
    ("laptrack_crowded", "crop of Zenodo 6087728, as published in LapTrack's documentation", "CC BY 4.0"),
)


def simulated(path: Path, n: int, seed: int) -> LabelledCrops:
    """Return simulated crops, from their file where there is one."""
    if path.is_file():
        return LabelledCrops.load(path)
    crops = LabelledCrops.concatenate(list(simulate_crops(n, seed)))
    crops.save(path)
    return crops


def vae(path: Path, images: NDArray[np.uint8]) -> tuple[Encoder, Decoder]:
    """Return trained networks, from their file where there is one."""
    networks = dict(zip(("encoder", "decoder"), new_vae(CONFIG.vae), strict=True))
    if path.is_file():
        state = load_file(path)
        for name, network in networks.items():
            part = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
            network.load_state_dict(part)
            network.eval()
    else:
        kept = path.with_name("vae-checkpoint.safetensors")
        finish(fit_vae(*networks.values(), StoredCrops(images), CONFIG.vae, checkpoint=kept), report)
        state = {f"{n}.{k}": v.contiguous() for n, network in networks.items() for k, v in network.state_dict().items()}
        save_file(state, path)
    return networks["encoder"], networks["decoder"]


def cnns(path: Path, split: Split) -> list[Cnn]:
    """Return the trained CNNs, from their file where there is one."""
    if path.is_file():
        state = load_file(path)
        models = [Cnn() for _ in range(CONFIG.n_runs)]
        for i, model in enumerate(models):
            part = {key.removeprefix(f"{i}."): value for key, value in state.items() if key.startswith(f"{i}.")}
            model.load_state_dict(part)
            model.eval()
        return models
    models = finish(train_cnns(split, CONFIG), report)
    save_file({f"{i}.{k}": v.contiguous() for i, m in enumerate(models) for k, v in m.state_dict().items()}, path)
    return models


def report(event: Event) -> None:
    if isinstance(event, EpochFinished) and (event.name != "vae" or event.done % 500 == 0):
        terms = "  ".join(f"{name} {value:.3f}" for name, value in event.figures)
        print(f"{time.strftime('%H:%M:%S')} {event.name} {event.done}/{event.total}  {terms}", flush=True)


def simulated_figures(bundle: ModelBundle, n: int) -> list[Figure]:
    return [
        Figure(
            data="simulated, held-out scenes",
            head=name,
            measure=f"accuracy, mean of {len(head.runs)} runs",
            value=float(np.mean([run.accuracy for run in head.runs])),
            n=n,
            command="python scripts/pretrain.py runs/chromatin-64",
        )
        for name, head in bundle.info.heads.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the real data")
    options = parser.parse_args()
    options.run.mkdir(parents=True, exist_ok=True)
    train = simulated(options.run / "train.npz", N_TRAIN, TRAIN_SEED)
    test = simulated(options.run / "test.npz", N_TEST, TEST_SEED)
    sources = [DataSource(name="simulated scenes", licence="BSD-3-Clause", n_crops=len(train), use="all networks")]
    images = [to_bytes(train.patches.x)]
    for folder, name, licence in REAL_SOURCES:
        if (options.data / folder).is_dir():
            real = to_bytes(real_crops(options.data / folder, seed=1).patches.x)
            images += [real] * REAL_REPEATS
            sources.append(DataSource(name=name, licence=licence, n_crops=len(real), use="beta-TCVAE, unlabelled"))
    splits = Split.of(train, N_HEAD_TRAIN, 0), Split.of(test, N_HEAD_TEST, 1)
    black_boxes = cnns(options.run / "cnn.safetensors", splits[0])
    encoder, decoder = vae(options.run / "vae.safetensors", np.concatenate(images))
    bundle = finish(train_heads(encoder, decoder, black_boxes, *splits, test, CONFIG, N_PROCESSES), report)
    figures = simulated_figures(bundle, len(splits[1].target))
    if (options.data / "cancer_migration").is_dir():
        figures += real_figures(bundle, options.data)
    history = options.run / "history.txt"
    notes = {"history": history.read_text(encoding="utf-8").strip()} if history.is_file() else {}
    save_bundle(with_card(bundle, sources, figures, **notes), options.run / CONFIG.name)


if __name__ == "__main__":
    main()
