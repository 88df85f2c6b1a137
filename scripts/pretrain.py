"""Make the bundles chromatin-64 and chromatin-64-phases: ``python scripts/pretrain.py RUN_FOLDER [--data FOLDER]``.

Simulated crops, mixed with unlabelled real ones, train one beta-TCVAE for both bundles; simulated crops and real ones
whose states were read by eye train the heads. Each stage leaves its file in the run folder and is skipped where that
file is there, so that a run that was stopped goes on. The bundles are written into RUN_FOLDER.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile
import torch
from validate import figures as real_figures

from napari_cellinterp.config import HeadConfig, RiglConfig, SymbolicConfig, TrainingConfig, VaeConfig
from napari_cellinterp.events import EpochFinished, finish
from napari_cellinterp.models.bundle import save_bundle
from napari_cellinterp.models.bundle_info import DataSource, Figure
from napari_cellinterp.movies.shapes import STATES
from napari_cellinterp.training.assembly import with_card
from napari_cellinterp.training.datasets import LabelledCrops, simulate_crops
from napari_cellinterp.training.real_images import (
    found_crops,
    interphase_crops,
    labelled_crops,
    masked_crops,
    split_labelled,
)
from napari_cellinterp.training.run import Training, TrainingData
from napari_cellinterp.training.run_folder import RunFolder
from napari_cellinterp.training.stream import MixedCrops, StoredCrops

if TYPE_CHECKING:
    from napari_cellinterp.events import Event
    from napari_cellinterp.models.bundle import ModelBundle
    from napari_cellinterp.training.stream import CropStream

INTERPHASE_WEIGHT, CNN_INTERPHASE_WEIGHT = 3.0, 2.0
"""In culture, mitoses are few: a false plate among many interphase nuclei costs more than a missed one."""

COMMAND = "python scripts/pretrain.py runs/pretrain"

BINARY = TrainingConfig(
    name="chromatin-64",
    description=(
        "Interphase against metaphase of nuclei with a chromatin stain (histone or DNA dye). Trained on simulated and "
        "on real nuclei. Prometaphase, anaphase, telophase and apoptosis are neither class: expect either answer for "
        "them, or take chromatin-64-phases."
    ),
    licence="BSD-3-Clause",
    vae=VaeConfig(
        n_images=1_200_000, learning_rate=1.5e-3, centre_radius_px=10.5, centre_floor=0.015, pixel_sd=0.65, device="cpu"
    ),
    dense=HeadConfig(n_epochs=40, interphase_weight=INTERPHASE_WEIGHT),
    cnn=HeadConfig(n_epochs=6, interphase_weight=CNN_INTERPHASE_WEIGHT),
    sparse=RiglConfig(
        interphase_weight=INTERPHASE_WEIGHT,
        scaled="density",
        sparsity=0.955,
        prune_epochs=50,
        update_interval_steps=50,
        update_fraction=0,
    ),
    symbolic=SymbolicConfig(engine="operon", n_generations=30, population=600, interphase_weight=INTERPHASE_WEIGHT),
)

PHASES = BINARY.model_copy(
    update={
        "name": "chromatin-64-phases",
        "description": (
            "Interphase, prometaphase, metaphase, anaphase (late ones included) and apoptosis of nuclei with a "
            "chromatin stain (histone or DNA dye). Trained on simulated and on real nuclei, on the latents of "
            "chromatin-64."
        ),
        "symbolic": SymbolicConfig(engine="operon", n_generations=20, population=400, n_crops=2500),
        "n_runs": 3,
    }
)

TWO = ("interphase", "metaphase")
N_TRAIN, N_TEST = 80_000, 16_000
TRAIN_SEED, TEST_SEED = 0, 1_000_000
N_A_CLASS = 4000
REAL_SHARE = 0.25
"""Of the crops of the beta-TCVAE."""

REAL_REPEATS = 12
"""How often each labelled real nucleus is among the training crops, at other scales and under other microscopes."""

N_INTERPHASE = 4000
"""Real nuclei that are neither small nor bright, among the training crops of the heads."""

N_PROCESSES = 2


def simulated(path: Path, n: int, seed: int) -> LabelledCrops:
    """Return simulated crops, from their file where there is one."""
    if path.is_file():
        return LabelledCrops.load(path)
    crops = LabelledCrops.concatenate(list(simulate_crops(n, seed, N_PROCESSES)))
    crops.save(path)
    return crops


def unlabelled(data: Path) -> tuple[LabelledCrops, list[DataSource]]:
    """Return real crops for the beta-TCVAE, and where they come from."""
    cecog = next((data / "cecog_frame").glob("*.tif"))
    sets = (
        (
            masked_crops(data / "dsb2018_fluo", 1),
            "BBBC038, fluorescence images with hand-drawn masks (kaggle-dsbowl-2018-dataset-fixes)",
            "CC0",
        ),
        (
            masked_crops(data / "laptrack_crowded", 2),
            "crop of Zenodo 6087728, as published in LapTrack's documentation",
            "CC BY 4.0",
        ),
        (found_crops(tifffile.imread(data / "celltk_scale" / "movie.tif")[::3], 3), "movie of CellTK", "MIT"),
        (found_crops(tifffile.imread(cecog)[1:2], 4), "H2B channel of a frame of the Cecog battery", "CC BY 4.0"),
    )
    sources = [
        DataSource(name=name, licence=licence, n_crops=len(crops), use="beta-TCVAE, unlabelled")
        for crops, name, licence in sets
    ]
    return LabelledCrops.concatenate([crops for crops, _, _ in sets]), sources


def training_data(
    classes: tuple[str, ...],
    simulated_crops: tuple[LabelledCrops, LabelledCrops],
    real_scenes: np.ndarray,
    data: Path,
    stream: CropStream | None,
) -> TrainingData:
    """Put together simulated and real crops to train on; other scenes choose, calibrate and test."""
    train, other = (crops.of_classes(classes) for crops in simulated_crops)
    train = train.balanced(N_A_CLASS, 0)
    repeated = labelled_crops(data / "dsb2018_fluo", REAL_REPEATS, 5).of_classes(classes)
    repeated = repeated[np.isin(repeated.scene, real_scenes)]
    others = interphase_crops(data / "dsb2018_fluo", N_INTERPHASE, 6).of_classes(classes)
    validation, test = other.split(0.6, 0)
    return TrainingData(
        classes, LabelledCrops.concatenate([train, repeated, others]), validation.balanced(1000, 0), test, stream
    )


def report(event: Event) -> None:
    """Print what a training tells, now and then."""
    if isinstance(event, EpochFinished) and (event.name != "vae" or event.done % 500 == 0):
        terms = "  ".join(f"{name} {value:.3f}" for name, value in event.figures)
        print(f"{time.strftime('%H:%M:%S')} {event.name} {event.done}/{event.total}  {terms}", flush=True)


def simulated_figures(bundle: ModelBundle, n: int) -> list[Figure]:
    """Return the accuracies of all runs on held-out simulated scenes."""
    return [
        Figure(
            data="simulated, held-out scenes",
            head=name,
            measure=f"accuracy, mean of {len(head.runs)} runs",
            value=float(np.mean([run.accuracy for run in head.runs])),
            n=n,
            command=COMMAND,
        )
        for name, head in bundle.info.heads.items()
    ]


def main() -> None:
    """Train both bundles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the real data")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.run.mkdir(parents=True, exist_ok=True)
    train = simulated(options.run / "train.npz", N_TRAIN, TRAIN_SEED)
    test = simulated(options.run / "test.npz", N_TEST, TEST_SEED)
    real, sources = unlabelled(options.data)
    stream = MixedCrops(StoredCrops(train.images, train.outline), StoredCrops(real.images, real.outline), REAL_SHARE)
    labelled = labelled_crops(options.data / "dsb2018_fluo", 1, 5)
    known, _ = split_labelled(labelled)
    sources += [
        DataSource(name="simulated scenes", licence="BSD-3-Clause", n_crops=len(train), use="all networks"),
        DataSource(name="BBBC038, states read by eye", licence="CC0", n_crops=len(known), use="all heads"),
        DataSource(
            name="BBBC038, nuclei neither small nor bright, taken for interphase",
            licence="CC0",
            n_crops=N_INTERPHASE,
            use="all heads",
        ),
    ]
    history = options.run / "history.txt"
    notes = {"history": history.read_text(encoding="utf-8").strip()} if history.is_file() else {}
    start = None
    for config, classes in ((BINARY, TWO), (PHASES, STATES)):
        data = training_data(classes, (train, test), np.unique(known.scene), options.data, None if start else stream)
        folder = RunFolder(options.run / f"{config.name}-run", config, {})
        bundle = finish(Training(folder, data, config, N_PROCESSES, start).bundle(), report)
        figures = simulated_figures(bundle, len(data.test))
        figures += real_figures(bundle, options.data)
        save_bundle(with_card(bundle, sources, figures, **notes), options.run / config.name)
        start = bundle


if __name__ == "__main__":
    main()
