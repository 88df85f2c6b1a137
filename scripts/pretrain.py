"""Make the bundles chromatin-64 and chromatin-64-phases: ``python scripts/pretrain.py RUN_FOLDER [--data FOLDER]``.

Simulated crops, mixed with unlabelled real ones, train one beta-TCVAE for both bundles; simulated crops and real ones
whose states were read by eye train the heads. ``--start BUNDLE`` takes the beta-TCVAE of a bundle instead. Each stage
leaves its file in the run folder and is skipped where that file is there, so that a run that was stopped goes on. The
bundles are written into RUN_FOLDER.

What ships is decided by `scripts/validate.py`'s figures: with ``--start chromatin-64``, all heads of
chromatin-64-phases, and of chromatin-64 dense and sparse heads, and one of its formulas (the card tells which).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile
import torch
from validate import figures as real_figures

from napari_cellinterp.config import CnnConfig, HeadConfig, RiglConfig, SymbolicConfig, TrainingConfig, VaeConfig
from napari_cellinterp.events import EpochFinished, finish
from napari_cellinterp.models.bundle import load_bundle, save_bundle
from napari_cellinterp.models.bundle_info import DataSource, Figure
from napari_cellinterp.movies.shapes import ANAPHASE, APOPTOSIS, INTERPHASE, METAPHASE, PROMETAPHASE, STATES
from napari_cellinterp.movies.synthetic import STILL_STATES
from napari_cellinterp.training.assembly import with_card
from napari_cellinterp.training.datasets import LabelledCrops, in_smaller_windows, simulate_crops
from napari_cellinterp.training.real_images import (
    cut_crops,
    found_crops,
    interphase_crops,
    labelled_crops,
    masked_crops,
    read_by_eye,
)
from napari_cellinterp.training.run import Training, TrainingData
from napari_cellinterp.training.run_folder import RunFolder
from napari_cellinterp.training.stream import MixedCrops, StoredCrops
from napari_cellinterp.training.validation import states_right

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_cellinterp.events import Event
    from napari_cellinterp.models.bundle import ModelBundle
    from napari_cellinterp.training.real_images import Use
    from napari_cellinterp.training.stream import CropStream

INTERPHASE_WEIGHT, SPARSE_INTERPHASE_WEIGHT, CNN_INTERPHASE_WEIGHT, FORMULA_INTERPHASE_WEIGHT = 6.0, 5.0, 4.0, 6.0
PHASES_INTERPHASE_WEIGHT = 0.5
"""In culture, mitoses are few: a false plate among many interphase nuclei costs more than a missed one. Of the five
states all count alike: there are twice as many crops of interphase as of most others."""

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
        n_images=1_000_000,
        precision="bf16-mixed",
        learning_rate=1.5e-3,
        beta=2,
        guide_sd=0.05,
        pixel_sd=0.4,
        centre_radius_px=15,
        centre_floor=0.02,
        centre_steepness=2,
        device="cpu",
    ),
    dense=HeadConfig(n_epochs=20, interphase_weight=INTERPHASE_WEIGHT),
    cnn=CnnConfig(n_epochs=8, interphase_weight=CNN_INTERPHASE_WEIGHT),
    sparse=RiglConfig(
        interphase_weight=SPARSE_INTERPHASE_WEIGHT,
        scaled="density",
        sparsity=0.93,
        prune_epochs=50,
        update_interval_steps=50,
        update_fraction=0,
    ),
    symbolic=SymbolicConfig(
        engine="operon",
        max_size=30,
        n_generations=2,
        population=20,
        n_crops=12_000,
        interphase_weight=FORMULA_INTERPHASE_WEIGHT,
    ),
)

PHASES = BINARY.model_copy(
    update={
        "name": "chromatin-64-phases",
        "description": (
            "Interphase, prometaphase, metaphase, anaphase (late ones included) and apoptosis of nuclei with a "
            "chromatin stain (histone or DNA dye). Trained on simulated and on real nuclei. Apoptosis of real nuclei "
            "is mostly taken for a state of mitosis."
        ),
        "dense": HeadConfig(n_epochs=15, interphase_weight=PHASES_INTERPHASE_WEIGHT),
        "cnn": CnnConfig(n_epochs=8, interphase_weight=PHASES_INTERPHASE_WEIGHT),
        "sparse": BINARY.sparse.model_copy(
            update={
                "interphase_weight": PHASES_INTERPHASE_WEIGHT,
                "sparsity": 0.9,
                "n_epochs": 40,
                "warm_up_epochs": 8,
                "prune_epochs": 20,
            }
        ),
        "symbolic": BINARY.symbolic.model_copy(
            update={
                "parsimony": 0.0005,
                "interphase_weight": PHASES_INTERPHASE_WEIGHT,
            }
        ),
        "n_runs": 3,
    }
)

TWO = ("interphase", "metaphase")
N_TRAIN, N_MITOTIC, N_TEST = 400_000, 40_000, 100_000
TRAIN_SEED, MITOTIC_SEED, TEST_SEED = 0, 2_000_000, 1_000_000
MITOTIC_STATES = {INTERPHASE: 0.60, PROMETAPHASE: 0.12, METAPHASE: 0.08, ANAPHASE: 0.10, APOPTOSIS: 0.10}
"""How often each state is drawn in the scenes that show cells after a block of mitosis."""

INTERPHASE_KEPT = {TRAIN_SEED: 0.25, MITOTIC_SEED: 1.0, TEST_SEED: 0.2}
"""Share of the nuclei in interphase that are cropped: in the other scenes nearly all are."""

SOURCES = {
    "dsb2018_fluo": ("BBBC038, fluorescence images with hand-drawn masks (kaggle-dsbowl-2018-dataset-fixes)", "CC0"),
    "laptrack_crowded": ("crop of Zenodo 6087728, as published in LapTrack's documentation", "CC BY 4.0"),
    "celltk_scale": ("movie of CellTK", "MIT"),
    "cecog_frame": ("H2B channel of a frame of the Cecog battery", "CC BY 4.0"),
}
"""Name and licence of each set of real images, by its folder."""

VAE_USE = "beta-TCVAE, unlabelled"
"""How model cards tell the crops of the beta-TCVAE from those of the heads."""

REAL_SHARE = 0.25
"""Of the crops of the beta-TCVAE."""

WINDOW_SHARE = 0.5
"""Of all crops to train on, those that look like patches smaller than 64x64 pixels."""


@dataclass(frozen=True)
class Mix:
    """How many crops of each kind heads are trained on.

    Attributes
    ----------
    n_a_class : int
        Simulated crops of each state.
    n_apoptotic : int
        Of apoptosis, in all: it is the rarest of the states, and blurred bodies look like plates seen end on.
    n_repeats : int
        How often each labelled real nucleus is there, at other scales and under other microscopes.
    n_ordinary, n_cut : int
        Real nuclei that are neither small nor bright, whole and as the edge of an image would cut them.
    """

    n_a_class: int
    n_apoptotic: int
    n_repeats: int
    n_ordinary: int
    n_cut: int


MIXES = {BINARY.name: Mix(8000, 0, 24, 8000, 2000), PHASES.name: Mix(5500, 2000, 30, 4000, 1000)}

JUDGED = Mix(1000, 400, 10, 2500, 600)
"""The same of the crops that heads are chosen and calibrated on."""

N_PROCESSES = 2


def simulated(path: Path, n: int, seed: int, states: Mapping[int, float]) -> LabelledCrops:
    """Return crops of scenes with n nuclei, from their file where there is one."""
    if path.is_file():
        return LabelledCrops.load(path)
    rng, kept = np.random.default_rng(seed), []
    for crops in simulate_crops(n, seed, N_PROCESSES, states):
        drawn = rng.random(len(crops)) < INTERPHASE_KEPT[seed]
        kept.append(crops[np.flatnonzero((crops.state != INTERPHASE) | drawn)])
    crops = LabelledCrops.concatenate(kept)
    crops.save(path)
    return crops


def source(folder: str, n_crops: int, use: str) -> DataSource:
    """Say that crops of a set of real images were used."""
    name, licence = SOURCES[folder]
    return DataSource(name=name, licence=licence, n_crops=n_crops, use=use)


def simulated_source(n_crops: int, use: str) -> DataSource:
    """Say that simulated crops were used."""
    return DataSource(name="simulated scenes", licence="BSD-3-Clause", n_crops=n_crops, use=use)


def vae_sources(bundle: ModelBundle) -> list[DataSource]:
    """Return the crops that a bundle's beta-TCVAE was trained on."""
    return [source for source in bundle.info.data if source.use == VAE_USE]


def unlabelled(data: Path) -> tuple[LabelledCrops, list[DataSource]]:
    """Return real crops for the beta-TCVAE, and where they come from."""
    cecog = next((data / "cecog_frame").glob("*.tif"))
    sets = {
        "dsb2018_fluo": masked_crops(data / "dsb2018_fluo", 1),
        "laptrack_crowded": masked_crops(data / "laptrack_crowded", 2),
        "celltk_scale": found_crops(tifffile.imread(data / "celltk_scale" / "movie.tif")[::3], 3),
        "cecog_frame": found_crops(tifffile.imread(cecog)[1:2], 4),
    }
    sources = [source(folder, len(crops), VAE_USE) for folder, crops in sets.items()]
    return LabelledCrops.concatenate(list(sets.values())), sources


def vae_data(simulated_crops: LabelledCrops, data: Path) -> tuple[CropStream, list[DataSource]]:
    """Mix the crops that the beta-TCVAE is trained on; also return where they come from."""
    real, sources = unlabelled(data)
    real = in_smaller_windows(real, WINDOW_SHARE, 9)
    streams = [StoredCrops(crops.images, crops.outline) for crops in (simulated_crops, real)]
    return MixedCrops(streams[0], streams[1], REAL_SHARE), [*sources, simulated_source(len(simulated_crops), VAE_USE)]


def training_data(
    mix: Mix,
    classes: tuple[str, ...],
    simulated_crops: tuple[LabelledCrops, LabelledCrops],
    data: Path,
    stream: CropStream | None,
) -> TrainingData:
    """Put together simulated and real crops to train on; other scenes and images choose and calibrate, others test."""
    scenes, other = (crops.of_classes(classes) for crops in simulated_crops)
    judged, test = other.split(0.6, 0)
    train = simulated_and_real(scenes, data, "train", mix, classes)
    validation = simulated_and_real(judged, data, "validation", JUDGED, classes)
    return TrainingData(classes, train, validation, test, stream)


def simulated_and_real(
    scenes: LabelledCrops, data: Path, use: Use, mix: Mix, classes: tuple[str, ...]
) -> LabelledCrops:
    """Put together crops of simulated scenes and of the real nuclei that are for one use."""
    repeated = labelled_crops(data, use, mix.n_repeats, 5).of_classes(classes)
    if use == "validation":  # those in interphase are there because heads took them for plates, and are rare elsewhere
        repeated = repeated[np.flatnonzero(repeated.state != classes.index(STATES[INTERPHASE]))]
    ordinary = interphase_crops(data / "dsb2018_fluo", use, mix.n_ordinary, 6).of_classes(classes)
    cut = cut_crops(data / "dsb2018_fluo", use, mix.n_cut, 12).of_classes(classes)
    real = in_smaller_windows(LabelledCrops.concatenate([repeated, ordinary, cut]), WINDOW_SHARE, 7)
    together = LabelledCrops.concatenate([scenes.balanced(mix.n_a_class, 0), real])
    if STATES[APOPTOSIS] in classes:
        together = thinned(together, classes.index(STATES[APOPTOSIS]), mix.n_apoptotic)
    return together


def thinned(crops: LabelledCrops, state: int, n: int) -> LabelledCrops:
    """Leave out crops of a state, at random, until n are left."""
    surplus = np.random.default_rng(0).permutation(np.flatnonzero(crops.state == state))[n:]
    return crops[np.setdiff1d(np.arange(len(crops)), surplus)]


def report(event: Event) -> None:
    """Print what a training tells, now and then."""
    if isinstance(event, EpochFinished) and (event.name != "vae" or event.done % 500 == 0):
        terms = "  ".join(f"{name} {value:.3f}" for name, value in event.figures)
        print(f"{time.strftime('%H:%M:%S')} {event.name} {event.done}/{event.total}  {terms}", flush=True)


def simulated_figures(bundle: ModelBundle, test: LabelledCrops) -> list[Figure]:
    """Return the accuracies of all runs on held-out simulated scenes, and what the kept ones find of each state."""
    figures = []
    for name, head in bundle.info.heads.items():
        measured = [
            (f"accuracy, mean of {len(head.runs)} runs", np.mean([run.accuracy for run in head.runs]), len(test))
        ]
        if len(bundle.info.classes) > 2:
            found = states_right(test, bundle, name)
            n_of = dict(zip(bundle.info.classes, np.bincount(test.state), strict=True))
            measured += [(f"{state} called so", share, n_of[state]) for state, share in found.items()]
            measured.append(("mean over the states", np.mean(list(found.values())), len(test)))
        figures += [
            Figure(
                data="simulated, held-out scenes",
                head=name,
                measure=measure,
                value=float(value),
                n=int(n),
                command=COMMAND,
            )
            for measure, value, n in measured
        ]
    return figures


def main() -> None:
    """Train both bundles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the real data")
    parser.add_argument("--start", help="bundle whose beta-TCVAE is taken as it is; by default one is trained")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.run.mkdir(parents=True, exist_ok=True)
    train = LabelledCrops.concatenate(
        [
            simulated(options.run / "train.npz", N_TRAIN, TRAIN_SEED, STILL_STATES),
            simulated(options.run / "mitotic.npz", N_MITOTIC, MITOTIC_SEED, MITOTIC_STATES),
        ]
    )
    train = in_smaller_windows(train, WINDOW_SHARE, 8)
    test = simulated(options.run / "test.npz", N_TEST, TEST_SEED, STILL_STATES)
    start = load_bundle(options.start) if options.start else None
    stream, sources = (None, vae_sources(start)) if start else vae_data(train, options.data)
    history = options.run / "history.txt"
    notes = {"history": history.read_text(encoding="utf-8").strip()} if history.is_file() else {}
    for config, classes in ((BINARY, TWO), (PHASES, STATES)):
        data = training_data(MIXES[config.name], classes, (train, test), options.data, stream)
        folder = RunFolder(options.run / f"{config.name}-run", config, {})
        bundle = finish(Training(folder, data, config, N_PROCESSES, start).bundle(), report)
        figures = simulated_figures(bundle, data.test)
        figures += real_figures(bundle, options.data)
        bundle = with_card(
            bundle, [*sources, *head_sources(data, len(train), MIXES[config.name].n_repeats)], figures, **notes
        )
        save_bundle(bundle, options.run / config.name)
        start = bundle


def head_sources(data: TrainingData, n_simulated: int, n_repeats: int) -> list[DataSource]:
    """Return where the crops come from that heads are trained on."""
    known = read_by_eye().query("use == 'train' and state in @data.classes")
    taken = "BBBC038, nuclei neither small nor bright, taken for interphase"
    real = data.train.of_classes([STATES[INTERPHASE]], data.classes).scene < 0
    n_taken = int(real.sum()) - n_repeats * int((known["state"] == STATES[INTERPHASE]).sum())
    return [
        simulated_source(n_simulated, "all heads"),
        *(
            source(str(folder), n, "all heads, states read by eye")
            for folder, n in known["file"].str.split("/").str[0].value_counts().items()
        ),
        DataSource(name=taken, licence="CC0", n_crops=n_taken, use="all heads"),
    ]


if __name__ == "__main__":
    main()
