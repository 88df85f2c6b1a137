"""The paper's Table 1 once more, on the frozen benchmark: ours beside the paper's, and what the latents are about.

Soelistyo & Lowe, arXiv 2402.03115.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_cellinterp.config import CnnConfig, HeadConfig, RiglConfig, SymbolicConfig, TrainingConfig, VaeConfig
from napari_cellinterp.errors import TrainingError
from napari_cellinterp.models.latent_names import active_latents
from napari_cellinterp.training.benchmark import frozen, hashes, labelled_sets, settings, unlabelled_scene
from napari_cellinterp.training.fit import encode_all
from napari_cellinterp.training.guides import GUIDES
from napari_cellinterp.training.meaning import BestLatents, LatentMeaning, best_latents, latent_meanings
from napari_cellinterp.training.run import Training, TrainingData, judged
from napari_cellinterp.training.run_folder import RunFolder, machine
from napari_cellinterp.training.stream import KeptCrops

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_cellinterp.events import Job
    from napari_cellinterp.models.bundle import ModelBundle
    from napari_cellinterp.models.bundle_info import Run
    from napari_cellinterp.training.benchmark import BenchmarkCrops

CLASSES = ("interphase", "metaphase")

CONFIG = TrainingConfig(
    name="benchmark",
    description="Interphase against metaphase on the simulated benchmark.",
    vae=VaeConfig(
        n_images=5_400_000,
        learning_rate=1.5e-3,
        guide_sd=0.05,
        beta=6,
        pixel_sd=0.5,
        centre_radius_px=12,
        centre_floor=0.005,
        centre_steepness=3,
        device="cpu",
    ),
    dense=HeadConfig(n_epochs=300, learning_rate=5e-3, dropout=0.05, max_shift_px=2),
    cnn=CnnConfig(n_epochs=100, start="random"),
    sparse=RiglConfig(
        scaled="density",
        reads="taught",
        sparsity=0.975,
        batch=128,
        n_epochs=240,
        prune_epochs=150,
        update_interval_steps=25,
        update_fraction=0,
    ),
    symbolic=SymbolicConfig(engine="operon", n_generations=40, population=800),
)
"""What isn't said here is as in the paper. Weights of the sparse heads are pruned step by step and none grow again."""

N_UNLABELLED_SCENES = 900

QUICK = TrainingConfig(
    name="benchmark-quick",
    vae=VaeConfig(n_images=6_000, batch=32, learning_rate=2e-3, beta=2, pixel_sd=0.7, centre_radius_px=10.5),
    dense=HeadConfig(n_epochs=10),
    cnn=CnnConfig(n_epochs=4, batch=16),
    sparse=RiglConfig(n_epochs=30, warm_up_epochs=10, update_interval_steps=20, learning_rate=5e-3),
    symbolic=SymbolicConfig(engine="operon", n_crops=500, n_generations=4, population=100),
    n_runs=2,
)
"""Far too short for any claim: whether all of it works."""

N_QUICK_SCENES = 10


class Row(NamedTuple):
    """One row of the paper's Table 1, and what is to be reached."""

    label: str
    accuracy: tuple[float, float]
    n_weights: str
    size: str
    reach: float


PAPER: Mapping[str, Row] = {
    "cnn": Row("1 CNN, dense head", (0.997, 0.001), "1040", "9697", 0.997),
    "dense": Row("2 VAE, dense head", (0.990, 0.001), "1040", "8641", 0.993),
    "sparse": Row("3 VAE, sparse head", (0.970, 0.002), "23 ± 2", "180 ± 20", 0.980),
    "symbolic": Row("4 VAE, formula", (0.974, 0.002), "n/a", "17 ± 7", 0.980),
}


@dataclass(frozen=True)
class Reproduction:
    """What the benchmark gave.

    Attributes
    ----------
    bundle : ModelBundle
        The best head of each scheme, with the figures of all runs.
    meanings : dict of int to LatentMeaning
        Of the active latents, those of the largest mean KL first.
    best : BestLatents
        How well the best latents tell the classes apart, whatever the head.
    n_train, n_validation, n_test : int
        Crops with labels.
    times_s : dict of str to float
        Of each stage, seconds.
    sha256 : str
        Of the benchmark's states and scenes.
    quick : bool
        Whether it was the reduced one.
    """

    bundle: ModelBundle
    meanings: dict[int, LatentMeaning]
    best: BestLatents
    n_train: int
    n_validation: int
    n_test: int
    times_s: Mapping[str, float]
    sha256: str
    quick: bool

    def runs(self, scheme: str) -> tuple[Run, ...]:
        """Return the runs of a scheme."""
        return next(head.runs for name, head in self.bundle.info.heads.items() if name == scheme)

    @property
    def kept(self) -> list[tuple[int, ...]]:
        """Latents that each sparse head reads."""
        return [run.latents or () for run in self.runs("sparse")]

    @property
    def agreement(self) -> tuple[tuple[int, ...], int]:
        """The set of latents that most sparse heads read, and how many do."""
        return Counter(self.kept).most_common(1)[0]


def reproduce(folder: Path, *, quick: bool = False, n_processes: int = 1) -> Job[Reproduction]:
    """Train all four schemes on the benchmark and measure them.

    Parameters
    ----------
    folder : Path
        Folder of the run; one that was stopped goes on.
    quick : bool
        Take a reduced benchmark and far too little training: minutes instead of hours.
    n_processes : int
        Models that are trained side by side.

    Yields
    ------
    EpochFinished
        As training goes on.

    Raises
    ------
    TrainingError
        If the benchmark that this machine simulates isn't the frozen one.
    """
    config, n_scenes = (QUICK, N_QUICK_SCENES) if quick else (CONFIG, N_UNLABELLED_SCENES)
    train, test = labelled_sets(settings().reduced(N_QUICK_SCENES) if quick else None)
    sha256 = hashes([train, test])["sha256"]
    if not quick and sha256 != frozen()["sha256"]:
        raise TrainingError(
            f"The benchmark's SHA-256 is {sha256[:12]}... here, not {frozen()['sha256'][:12]}....",
            "Install the versions of requirements.txt: another numpy may draw other scenes.",
        )
    fitted, validation = train.crops.of_classes(CLASSES).split(config.validation_share, config.seed)
    stream = KeptCrops(range(n_scenes), unlabelled_scene, n_processes)
    data = TrainingData(CLASSES, fitted, validation, test.crops.of_classes(CLASSES), stream)
    data.check()
    run = RunFolder(folder, config, {"benchmark": sha256})
    bundle = yield from run.logged(Training(run, data, config, n_processes).bundle())
    encoder = bundle.encoder
    active = active_latents(bundle)
    return Reproduction(
        bundle,
        _meanings(bundle, test, active),
        best_latents(judged(encoder, data.train), judged(encoder, data.validation), judged(encoder, data.test), active),
        n_train=len(data.train),
        n_validation=len(data.validation),
        n_test=len(data.test),
        times_s=run.times_s(),
        sha256=sha256,
        quick=quick,
    )


def _meanings(bundle: ModelBundle, test: BenchmarkCrops, active: Sequence[int]) -> dict[int, LatentMeaning]:
    latents = encode_all(bundle.encoder, test.crops.images)[0].numpy()
    read = {i for run in bundle.info.heads["sparse"].runs for i in run.latents or ()}
    rows = [*active, *sorted(read.difference(active))]
    found = latent_meanings(latents[:, rows], test.factors)
    return {row: LatentMeaning(row, meaning.information) for row, meaning in zip(rows, found, strict=True)}


def report(result: Reproduction, command: str) -> str:
    """Return the result as Markdown.

    Parameters
    ----------
    result : Reproduction
        What `reproduce` returned.
    command : str
        What made it.
    """
    return "\n".join([*_head(result, command), *_schemes(result), *_latents(result), *_formulas(result)]) + "\n"


def _head(result: Reproduction, command: str) -> Iterator[str]:
    yield "# Reproduction of the paper's Table 1"
    yield ""
    if result.quick:
        yield "**A quick run on a reduced benchmark: it shows that everything works, and nothing else.**"
        yield ""
    config, times = result.bundle.info.training["config"], result.times_s
    here = machine()
    made = ", ".join(f"{name} {seconds / 60:.0f} min" for name, seconds in times.items())
    yield f"Made by `{command}` on {time.strftime('%Y-%m-%d')}, on {here['cores']} cores ({here['processor']});"
    yield f"training took: {made}."
    yield ""
    yield f"Benchmark version {frozen()['version']}, SHA-256 of its states and scenes `{result.sha256[:16]}...`:"
    yield f"simulated crops of interphase and metaphase, {result.n_train} to train on, {result.n_validation} to choose"
    yield f"and calibrate on, {result.n_test} to test on, of different scenes. The models of a scheme"
    trained = TrainingConfig.model_validate_json(config)
    yield f"differ by their seeds, 0 to {len(result.runs('sparse')) - 1}; the beta-TCVAE's is {trained.vae.seed}."
    yield ""
    if trained.vae.guide_sd is not None:
        taught = ", ".join(f"z{i} {guide.name}" for i, guide in enumerate(GUIDES))
        yield f"Other than the paper's, the first latents were taught the outline of the central nucleus ({taught}), as"
        yield "the masks of the unlabelled crops tell it; no state was used, and no test crop."
        if trained.sparse.reads == "taught":
            yield "The sparse heads, and with them the formulas, can read nothing but these: that all they read is"
            yield "about the central nucleus is a choice, and no finding."
        yield ""
    yield f"<details><summary>Settings</summary>\n\n`{config}`\n\n</details>"
    yield ""


def _schemes(result: Reproduction) -> Iterator[str]:
    n_runs = len(result.runs("sparse"))
    yield "## Schemes"
    yield ""
    yield f"Mean ± standard deviation of {n_runs} models a scheme ({n_runs} formulas of each loss), on the test crops."
    yield ""
    yield "| scheme | accuracy, ours | paper's | to reach | weights, ours | paper's | expression size, ours | paper's |"
    yield "|---|---|---|---|---|---|---|---|"
    for scheme, paper in PAPER.items():
        runs = result.runs(scheme)
        for label, chosen in _by_target(paper.label, runs):
            accuracy, weights, sizes = (
                [getattr(run, name) for run in chosen] for name in ("accuracy", "n_weights", "expression_size")
            )
            theirs = f"{paper.accuracy[0]:.1%} ± {100 * paper.accuracy[1]:.1f}"
            yield (
                f"| {label} | {_percent(accuracy)} | {theirs} | {paper.reach:.1%} | {_spread(weights)} "
                f"| {paper.n_weights} | {_spread(sizes)} | {paper.size} |"
            )
    yield ""


def _by_target(label: str, runs: Sequence[Run]) -> Iterator[tuple[str, Sequence[Run]]]:
    """Formulas of the two losses apart, and together."""
    targets = sorted({run.target for run in runs if run.target}, key=str)
    for target in targets:
        yield f"{label}, {target.replace('_', ' ')}", [run for run in runs if run.target == target]
    yield f"{label}, all" if targets else label, runs


def _percent(values: Sequence[float]) -> str:
    return f"{np.mean(values):.2%} ± {100 * np.std(values):.2f}"


def _spread(values: Sequence[int | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "n/a"
    return f"{np.mean(known):.0f} ± {np.std(known):.0f}" if len(set(known)) > 1 else f"{known[0]}"


def _latents(result: Reproduction) -> Iterator[str]:
    kept, (common, n_agree) = result.kept, result.agreement
    counts = Counter(i for latents in kept for i in latents)
    n_kept = [len(latents) for latents in kept]
    central = [i for i in counts if i in result.meanings and result.meanings[i].is_central]
    yield "## Latents"
    yield ""
    yield f"- The sparse heads keep {min(n_kept)} to {max(n_kept)} latents (the paper's: 4)."
    yield f"- {n_agree} of {len(kept)} keep the same ones, {_named(common)} (the paper's: all)."
    yield f"- Of the {len(counts)} latents that any of them keeps, {len(central)} are central: {_named(central)}."
    yield ""
    yield "A latent is central if, of all known factors, it has the largest mutual information with one of the central"
    yield "nucleus's shape. Latents are listed by their mean KL divergence from the prior."
    yield ""
    yield "| latent | mean KL, nats | factor of largest information | information, nats | central | kept by |"
    yield "|---|---|---|---|---|---|"
    kl = {latent.index: latent.mean_kl for latent in result.bundle.info.latents}
    for i, meaning in result.meanings.items():
        yield (
            f"| z{i} | {kl[i]:.2f} | {meaning.factor} | {meaning.information[meaning.factor]:.2f} "
            f"| {'yes' if meaning.is_central else 'no'} | {counts[i]} of {len(kept)} |"
        )
    yield ""
    yield "What the representation allows: a cubic logistic regression on the best latents, chosen greedily."
    yield ""
    yield "| latents | accuracy |"
    yield "|---|---|"
    for n, accuracy in enumerate(result.best.accuracy, 1):
        yield f"| {_named(result.best.latents[:n])} | {accuracy:.2%} |"
    yield ""


def _named(latents: Sequence[int]) -> str:
    return ", ".join(f"z{i}" for i in latents) or "none"


def _formulas(result: Reproduction) -> Iterator[str]:
    head = next(head for name, head in result.bundle.info.heads.items() if name == "symbolic")
    yield "## Formulas"
    yield ""
    yield "Pareto front of all searches together, and the formula that is kept; loss on training crops, accuracy on the"
    yield "test crops."
    yield ""
    yield "| target | complexity | size | loss | accuracy | formula |"
    yield "|---|---|---|---|---|---|"
    for f in head.front:
        yield f"| {f.target} | {f.complexity} | {f.size} | {f.loss:.4g} | {f.accuracy:.2%} | `{f.expression}` |"
    yield ""
    yield f"Kept in the bundle: `{head.expressions[0]}`."
