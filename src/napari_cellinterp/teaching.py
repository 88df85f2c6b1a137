"""Whole jobs of teaching: train every scheme on one's own crops, and tune the sparse head. Generators of events."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from napari_cellinterp.config import ClassifyConfig, TrainingConfig, TuneConfig
from napari_cellinterp.errors import OptionError, TrainingError
from napari_cellinterp.events import FileWritten, Warned
from napari_cellinterp.models.bundle import load_bundle, save_bundle
from napari_cellinterp.models.bundle_info import DataSource, Figure
from napari_cellinterp.results.files import written_beside
from napari_cellinterp.training.assembly import with_card
from napari_cellinterp.training.fit import encode_all
from napari_cellinterp.training.own_data import OwnCrops, data_hashes, prepared, read_source
from napari_cellinterp.training.run import Training
from napari_cellinterp.training.run_folder import RunFolder
from napari_cellinterp.training.tuning import tune

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_cellinterp.events import Job
    from napari_cellinterp.models.bundle import ModelBundle
    from napari_cellinterp.training.run import TrainingData

Stage = Literal["vae", "heads", "symbolic", "all"]

ENOUGH_FOR_A_VAE = 20_000
"""A beta-TCVAE of fewer crops learns little that generalises."""

TUNED_NAME = "tuned.json"


@dataclass(frozen=True)
class Lesson:
    """What is taught, and where it is kept.

    Attributes
    ----------
    sources : sequence of Path
        Labelled crops, see `read_source`.
    folder : Path
        The run folder: what it already holds isn't trained again.
    config : TrainingConfig
        Settings.
    reading : ClassifyConfig
        Scale of the crops, and how a movie is read.
    classes : sequence of str, optional
        Classes to tell apart, in order; by default all there are.
    tracks, labels : Path, optional
        Of a movie: its table of tracks with states, and its masks.
    model : str, optional
        Name or folder of a bundle whose beta-TCVAE is taken, instead of training one.
    n_processes : int
        Models that are trained side by side.
    """

    sources: Sequence[Path]
    folder: Path
    config: TrainingConfig
    reading: ClassifyConfig = field(default_factory=ClassifyConfig)
    classes: Sequence[str] | None = None
    tracks: Path | None = None
    labels: Path | None = None
    model: str | None = None
    n_processes: int = 1


def read_config(path: Path | None, **changes: object) -> TrainingConfig:
    """Read the settings of a training.

    Parameters
    ----------
    path : Path, optional
        TOML or JSON file with fields of `TrainingConfig`; what it doesn't say is as by default.
    **changes : object
        Fields that win over the file's, where they aren't None.

    Raises
    ------
    OptionError
        If the file can't be read, or a field is unknown or out of bounds.
    """
    content: dict[str, object] = {}
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8")
            content = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
        except (OSError, ValueError) as error:
            raise OptionError(f"The settings {path} can't be read: {error}.", "Give a TOML or JSON file.") from error
    try:
        return TrainingConfig.model_validate(content | {k: v for k, v in changes.items() if v is not None})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the settings"
        raise OptionError(
            f"{where}{f' in {path}' if path else ''}: {first['msg']} (got {first['input']!r}).",
            "docs/training.md lists the settings.",
        ) from error


def train_job(lesson: Lesson, stage: Stage) -> Job[Path | None]:
    """Train up to a stage.

    Parameters
    ----------
    lesson : Lesson
        What is taught.
    stage : str
        ``vae``: the beta-TCVAE. ``heads``: CNNs, dense and sparse heads too. ``symbolic``, ``all``: everything, and
        the bundle.

    Returns
    -------
    Path or None
        Folder of the bundle, once it is made.

    Raises
    ------
    CellInterpError
        If anything given can't be used, or training fails; what was finished before stays.
    """
    training = yield from _begin(lesson)
    run = training.folder
    if stage == "vae":
        yield from run.logged(training.vae())
        return None
    if stage == "heads":
        yield from run.logged(training.cnns())
        yield from run.logged(training.networks())
        return None
    bundle = yield from run.logged(training.bundle())
    path = save_bundle(_with_figures(bundle, training.data, lesson.sources), lesson.folder / lesson.config.name)
    yield FileWritten(path)
    return path


def tune_job(lesson: Lesson, tuning: TuneConfig) -> Job[Path]:
    """Tune the sparse head on the validation tracks.

    Returns
    -------
    Path
        ``tuned.json`` in the run folder: settings for `read_config`, with the best trial's values.

    Raises
    ------
    CellInterpError
        As `train_job`; the trials that were finished before stay.
    """
    training = yield from _begin(lesson)
    encoder, _ = yield from training.folder.logged(training.vae())
    crops, validation = (yield from training.labelled()), training.data.validation
    held_out, state = encode_all(encoder, validation.images)[0], crops.state.new_tensor(validation.state)
    study = lesson.folder / "tuning"
    search = tune(crops.turned, crops.state, held_out, state, tuning, study, lesson.n_processes, crops.n_classes)
    tuned = yield from training.folder.logged(search)
    path = lesson.folder / TUNED_NAME
    with written_beside(path) as beside:
        beside.write_text(json.dumps({"sparse": tuned.rigl.model_dump()}, indent=1) + "\n", encoding="utf-8")
    yield FileWritten(path)
    return path


def _begin(lesson: Lesson) -> Job[Training]:
    """Read and split the crops, and open the run folder."""
    own = yield from _read(lesson)
    n_channels = own.patches.x.shape[1]
    start = None if lesson.model is None else load_bundle(lesson.model)
    if start is None and len(own.patches) < ENOUGH_FOR_A_VAE:
        yield Warned(
            "few_crops",
            f"{len(own.patches)} crops are few to train a beta-TCVAE on (at least {ENOUGH_FOR_A_VAE:,} are better); "
            "--model chromatin-64 takes a trained one.",
        )
    if start is not None and start.info.n_channels != n_channels:
        raise TrainingError(
            f"The crops have {n_channels} channels, but the model {start.info.name!r} reads {start.info.n_channels}.",
            "Choose a model for these channels, or train without --model.",
        )
    vae = lesson.config.vae.model_copy(update={"n_channels": n_channels})
    config = lesson.config.model_copy(update={"vae": vae})
    data = prepared(own, lesson.classes, config)
    hashes = data_hashes(data) | ({} if start is None else {"model": start.hash})
    return Training(RunFolder(lesson.folder, config, hashes), data, config, lesson.n_processes, start)


def _read(lesson: Lesson) -> Job[OwnCrops]:
    if lesson.tracks is not None and len(lesson.sources) > 1:
        raise OptionError(
            f"A table of tracks belongs to one movie, but there are {len(lesson.sources)} sources.",
            "Cut each movie's crops with cellinterp classify --patches, and give those folders.",
        )
    parts = []
    for source in lesson.sources:
        parts.append((yield from read_source(source, lesson.reading, tracks=lesson.tracks, labels=lesson.labels)))
    return OwnCrops.concatenate(parts)


def _with_figures(bundle: ModelBundle, data: TrainingData, sources: Sequence[Path]) -> ModelBundle:
    """Fill in the model card: what was trained on, and the accuracies on the tracks that were held out."""
    figures = [
        Figure(
            data="held-out tracks",
            head=name,
            measure=f"accuracy, mean of {len(head.runs)} runs",
            value=sum(run.accuracy for run in head.runs) / len(head.runs),
            n=len(data.test),
            command="cellinterp train all",
        )
        for name, head in bundle.info.heads.items()
    ]
    names = ", ".join(source.name for source in sources)
    return with_card(
        bundle, [DataSource(name=names, licence="not stated", n_crops=len(data.train), use="all heads")], figures
    )
