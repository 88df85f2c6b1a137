"""A whole training, stage by stage; each stage is kept in the run folder and made only once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_cellinterp.errors import ExpressionError, TrainingError
from napari_cellinterp.models.expression import Expression
from napari_cellinterp.models.heads import Cnn, NetworkHead, SymbolicHead
from napari_cellinterp.models.latent_names import kinds_of
from napari_cellinterp.results.files import written_beside
from napari_cellinterp.training.assembly import assemble
from napari_cellinterp.training.assessment import Judged, keep_best, target_name, with_front
from napari_cellinterp.training.fit import encode_all, encode_moved, encode_turns, n_scores_of
from napari_cellinterp.training.schemes import TARGETS, Labelled, search_heads, train_cnns, train_networks
from napari_cellinterp.training.symbolic import Candidate, Searched
from napari_cellinterp.training.vae_training import fit_vae, new_vae

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import nn

    from napari_cellinterp.config import HeadName, TrainingConfig
    from napari_cellinterp.events import Job
    from napari_cellinterp.models.bundle import ModelBundle
    from napari_cellinterp.models.bundle_info import HeadInfo
    from napari_cellinterp.models.vae import Decoder, Encoder
    from napari_cellinterp.training.datasets import LabelledCrops
    from napari_cellinterp.training.run_folder import RunFolder
    from napari_cellinterp.training.stream import CropStream

FEWEST_OF_A_CLASS = 10
"""Fewer training crops of a class teach nothing."""

CHECKPOINT_NAME = "vae-checkpoint.safetensors"
FORMULAS_NAME = "formulas.json"


@dataclass(frozen=True)
class TrainingData:
    """What a bundle is trained on; no scene or track is in two of the sets.

    Attributes
    ----------
    classes : tuple of str
        Names of the states, in order; of two, the second is the one of scores >= 0.
    train, validation, test : LabelledCrops
        Crops to train heads on, to choose and calibrate them on, and to measure them on; states count from 0.
    stream : CropStream, optional
        Crops to train the beta-TCVAE on; None where it is given.
    """

    classes: tuple[str, ...]
    train: LabelledCrops
    validation: LabelledCrops
    test: LabelledCrops
    stream: CropStream | None = None

    def check(self) -> None:
        """Check that there are crops of each class in each set.

        Raises
        ------
        TrainingError
            If there is only one class, or a class has too few crops.
        """
        if len(self.classes) < 2:
            raise TrainingError(
                f"All crops are of one class, {', '.join(map(repr, self.classes)) or 'none'}.",
                "Label crops of at least two classes: what a head learns is to tell them apart.",
            )
        for name, crops, fewest in (
            ("train on", self.train, FEWEST_OF_A_CLASS),
            ("choose on", self.validation, 1),
            ("test on", self.test, 1),
        ):
            counts = np.bincount(crops.state, minlength=len(self.classes))
            for label, n in zip(self.classes, counts, strict=True):
                if n < fewest:
                    raise TrainingError(
                        f"There are {n} crops of the class {label!r} to {name}; at least {fewest} are needed.",
                        "Label more of them, on more tracks (no track is both trained on and tested on), or leave the "
                        "class out.",
                    )


class Training:
    """One training run: its stages in order, each made once and then read from the run folder.

    Parameters
    ----------
    folder : RunFolder
        Where finished stages are kept.
    data : TrainingData
        What to train on.
    config : TrainingConfig
        Settings.
    n_processes : int
        Models of a scheme that are trained side by side.
    start : ModelBundle, optional
        Bundle whose beta-TCVAE is taken as it is, instead of training one.
    """

    def __init__(
        self,
        folder: RunFolder,
        data: TrainingData,
        config: TrainingConfig,
        n_processes: int = 1,
        start: ModelBundle | None = None,
    ) -> None:
        self.folder, self.data, self.config, self.n_processes = folder, data, config, n_processes
        self.start = start
        self.n_classes = len(data.classes)
        self._latents: Labelled | None = None

    def vae(self) -> Job[tuple[Encoder, Decoder]]:
        """Train the beta-TCVAE."""
        if self.start is not None:
            return self.start.encoder, self.start.decoder
        encoder, decoder = new_vae(self.config.vae)
        networks = {"encoder": encoder, "decoder": decoder}
        if not self.folder.load("vae", networks):
            if self.data.stream is None:
                raise TrainingError(
                    "There are no crops to train a beta-TCVAE on.",
                    "Give some, or the model whose encoder is to be used.",
                )
            checkpoint = self.folder.path / CHECKPOINT_NAME
            with self.folder.timed("vae"):
                yield from fit_vae(encoder, decoder, self.data.stream, self.config.vae, checkpoint=checkpoint)
                self.folder.save("vae", networks)
            checkpoint.unlink(missing_ok=True)
        return encoder, decoder

    def cnns(self) -> Job[list[Cnn]]:
        """Train the CNNs of scheme 1."""
        crops, n_channels = self.data.train, self.data.train.patches.x.shape[1]
        cnns = [Cnn(n_channels, n_scores_of(self.n_classes)) for _ in range(self.config.n_runs)]
        if not self.folder.load("cnn", _numbered(cnns)):
            encoder = (yield from self.vae())[0] if self.config.cnn.start == "encoder" else None
            state = torch.from_numpy(crops.state)
            with self.folder.timed("cnn"):
                cnns = yield from train_cnns(
                    crops.images, state, self.n_classes, self.config, self.n_processes, encoder
                )
                self.folder.save("cnn", _numbered(cnns))
        return cnns

    def networks(self) -> Job[tuple[list[NetworkHead], list[NetworkHead]]]:
        """Train the dense and the sparse heads of schemes 2 and 3."""
        crops = yield from self.labelled()
        sizes = (crops.turned.shape[2], n_scores_of(self.n_classes))
        runs = range(self.config.n_runs)
        dense, sparse = [NetworkHead(*sizes) for _ in runs], [NetworkHead(*sizes, sparse=True) for _ in runs]
        if not self.folder.load("heads", _numbered(dense, "dense") | _numbered(sparse, "sparse")):
            with self.folder.timed("heads"):
                dense, sparse = yield from train_networks(crops, self.config, self.n_processes)
                self.folder.save("heads", _numbered(dense, "dense") | _numbered(sparse, "sparse"))
        return dense, sparse

    def formulas(self) -> Job[list[Searched]]:
        """Search for the formulas of scheme 4: what each run found, those with the hinge loss first."""
        path = self.folder.path / FORMULAS_NAME
        if path.is_file():
            return _read_searched(path)
        networks = yield from self.networks()
        crops = yield from self.labelled()
        with self.folder.timed("formulas"):
            runs = yield from search_heads(crops, *networks, self.config, self.n_processes)
            rows = [{"fronts": [_as_rows(front) for front in run.fronts], "head": _as_rows(run.head)} for run in runs]
            with written_beside(path) as beside:
                beside.write_text(json.dumps(rows), encoding="utf-8")
        return runs

    def bundle(self) -> Job[ModelBundle]:
        """Train whatever isn't there yet, and put the bundle together."""
        encoder, decoder = yield from self.vae()
        cnns = yield from self.cnns()
        dense, sparse = yield from self.networks()
        searched = yield from self.formulas()
        validation, test = (judged(encoder, crops) for crops in (self.data.validation, self.data.test))
        schemes: dict[HeadName, tuple[Sequence[nn.Module], float]] = {
            "sparse": (sparse, self.config.sparse.interphase_weight),
            "symbolic": (symbolic_heads(searched), self.config.symbolic.interphase_weight),
            "dense": (dense, self.config.dense.interphase_weight),
            "cnn": (cnns, self.config.cnn.interphase_weight),
        }
        targets = {"symbolic": [target_name(run.head[0].target) for run in searched]}
        heads: dict[HeadName, tuple[nn.Module, HeadInfo]] = {
            name: keep_best(runs, validation, test, targets.get(name, [None] * len(runs)), weight)
            for name, (runs, weight) in schemes.items()
        }
        formula, info = heads["symbolic"]
        assert isinstance(formula, SymbolicHead)
        heads["symbolic"] = formula, with_front(info, formula, searched, test)
        kinds = kinds_of(self.start) if self.start else None
        return assemble(encoder, decoder, heads, self.data.test, self.data.classes, self.config, kinds)

    def labelled(self) -> Job[Labelled]:
        """Encode the training crops, once."""
        if self._latents is None:
            encoder, _ = yield from self.vae()
            images, dense = self.data.train.images, self.config.dense
            turned = encode_turns(encoder, images)
            moved = encode_moved(encoder, images, dense.max_shift_px, dense.seed) if dense.max_shift_px else turned
            self._latents = Labelled(turned, moved, torch.from_numpy(self.data.train.state), self.n_classes)
        return self._latents


def judged(encoder: Encoder, crops: LabelledCrops) -> Judged:
    """Return crops ready to measure heads on."""
    return Judged(crops.images, encode_all(encoder, crops.images)[0], crops.state)


def symbolic_heads(runs: Sequence[Searched]) -> list[SymbolicHead]:
    """Return each run's head."""
    return [SymbolicHead([candidate.expression for candidate in run.head]) for run in runs]


def _numbered(networks: Sequence[nn.Module], name: str = "model") -> dict[str, nn.Module]:
    return {f"{name}-{i}": network for i, network in enumerate(networks)}


def _as_rows(candidates: Sequence[Candidate]) -> list[dict[str, str | float]]:
    return [vars(candidate) | {"expression": str(candidate.expression)} for candidate in candidates]


def _read_searched(path: Path) -> list[Searched]:
    try:
        runs = json.loads(path.read_text(encoding="utf-8"))
        found = [
            Searched([list(map(_candidate, front)) for front in run["fronts"]], list(map(_candidate, run["head"])))
            for run in runs
        ]
        if not found or not all(run.head and all(run.fronts) for run in found):
            raise ValueError("a front is empty")
        return found
    except (OSError, ValueError, KeyError, TypeError, ExpressionError) as error:
        raise TrainingError(f"{path} can't be read: {error}.", "Delete it to search for the formulas anew.") from error


def _candidate(row: Mapping[str, Any]) -> Candidate:
    if row["target"] not in TARGETS:
        raise ValueError(f"{row['target']!r} is no loss")
    expression = Expression.parse(str(row["expression"]))
    return Candidate(expression, float(row["loss"]), float(row["accuracy"]), row["target"])
