"""Commands of teaching: train, tune, reproduce."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_cellinterp.cli.options import build, option
from napari_cellinterp.config import ClassifyConfig, MovieConfig, ScaleConfig, TrainingConfig, TuneConfig

if TYPE_CHECKING:
    from napari_cellinterp.teaching import Lesson

# Heavy rooms are imported inside the commands, so that --help answers at once.


class Stage(StrEnum):
    """How far to train."""

    vae = "vae"
    heads = "heads"
    symbolic = "symbolic"
    all = "all"


Sources = Annotated[
    list[Path],
    typer.Argument(
        help="Labelled crops: npz files (x, y, track_id), folders of one folder a class, folders that classify "
        "--patches wrote; or a movie, with --tracks."
    ),
]
RunFolder = Annotated[Path, typer.Option("--out", help="Run folder; one that holds a stopped run goes on.")]
Settings = Annotated[Path | None, typer.Option("--config", help="Settings of the training, TOML or JSON.")]
Name = Annotated[str | None, option(TrainingConfig, "name")]
Model = Annotated[
    str | None, typer.Option(help="Bundle whose beta-TCVAE is taken, such as chromatin-64, instead of training one.")
]
Classes = Annotated[
    str | None, typer.Option(help="Classes to tell apart, with commas, in order; default: all, interphase first.")
]
Tracks = Annotated[Path | None, typer.Option(help="Of a movie: table (CSV) with track_id, frame, y, x and state.")]
Labels = Annotated[Path | None, typer.Option(help="Of a movie: label image of the nuclei.")]
Channel = Annotated[int, option(MovieConfig, "channel")]
PixelSize = Annotated[float | None, option(ScaleConfig, "pixel_size_um")]
Diameter = Annotated[float | None, option(ScaleConfig, "nucleus_diameter_px")]
Processes = Annotated[int, typer.Option(min=1, max=256, help="Models that are trained side by side.")]


def train(
    stage: Annotated[Stage, typer.Argument(help="How far: the beta-TCVAE, the heads, or all, the bundle.")],
    sources: Sources,
    out: RunFolder,
    config: Settings = None,
    name: Name = None,
    model: Model = None,
    classes: Classes = None,
    tracks: Tracks = None,
    labels: Labels = None,
    channel: Channel = 0,
    pixel_size_um: PixelSize = None,
    nucleus_diameter_px: Diameter = None,
    processes: Processes = 1,
) -> None:
    """Train the schemes on one's own labelled crops; what the run folder holds already isn't trained again."""
    from napari_cellinterp.cli.progress import run
    from napari_cellinterp.teaching import train_job

    scale = build(ScaleConfig, pixel_size_um=pixel_size_um, nucleus_diameter_px=nucleus_diameter_px)
    lesson = _lesson(sources, out, config, name, model, classes, tracks, labels, channel, scale, processes)
    path = run(train_job(lesson, stage.value))
    if path is None:
        typer.echo(f"Trained up to {stage.value}. Go on with: cellinterp train all ... --out {out}")
    else:
        typer.echo(f"The bundle is {path}. Look at it: cellinterp models {path}; use it: --model {path}")


def tune(
    sources: Sources,
    out: RunFolder,
    config: Settings = None,
    trials: Annotated[int, typer.Option(min=1, help="Trials, those of earlier calls counted.")] = 200,
    model: Model = None,
    classes: Classes = None,
    tracks: Tracks = None,
    labels: Labels = None,
    channel: Channel = 0,
    pixel_size_um: PixelSize = None,
    nucleus_diameter_px: Diameter = None,
    processes: Processes = 1,
) -> None:
    """Tune sparsity, update interval and update fraction of the sparse head; writes tuned.json for --config."""
    from napari_cellinterp.cli.progress import run
    from napari_cellinterp.teaching import tune_job

    scale = build(ScaleConfig, pixel_size_um=pixel_size_um, nucleus_diameter_px=nucleus_diameter_px)
    lesson = _lesson(sources, out, config, None, model, classes, tracks, labels, channel, scale, processes)
    path = run(tune_job(lesson, build(TuneConfig, n_trials=trials, rigl=lesson.config.sparse)))
    typer.echo(f"The best settings are in {path}; use them: cellinterp train all ... --config {path}")


def _lesson(
    sources: list[Path],
    out: Path,
    config: Path | None,
    name: str | None,
    model: str | None,
    classes: str | None,
    tracks: Path | None,
    labels: Path | None,
    channel: int,
    scale: ScaleConfig,
    processes: int,
) -> Lesson:
    from napari_cellinterp.teaching import Lesson, read_config

    return Lesson(
        sources,
        out,
        read_config(config, name=name),
        build(ClassifyConfig, movie=build(MovieConfig, channel=channel), scale=scale),
        [part.strip() for part in classes.split(",")] if classes else None,
        tracks,
        labels,
        model,
        processes,
    )


def reproduce(
    out: Annotated[Path, typer.Option(help="Report to write, Markdown.")],
    quick: Annotated[bool, typer.Option("--quick", help="Reduced benchmark, too little training: minutes.")] = False,
    run_folder: Annotated[
        Path | None, typer.Option("--run", help="Run folder; by default beside the report, with -run after its name.")
    ] = None,
    processes: Processes = 1,
) -> None:
    """Train all four schemes on the simulated benchmark, and write ours beside the paper's Table 1."""
    from napari_cellinterp.cli.progress import run
    from napari_cellinterp.results.files import check_writable, written_beside
    from napari_cellinterp.training.reproduction import report
    from napari_cellinterp.training.reproduction import reproduce as reproduction

    check_writable(out.parent)
    folder = run_folder or out.with_name(f"{out.stem}-run")
    result = run(reproduction(folder, quick=quick, n_processes=processes))
    command = f"cellinterp reproduce --out {out}" + (" --quick" if quick else "") + f" --processes {processes}"
    with written_beside(out) as beside:
        beside.write_text(report(result, command), encoding="utf-8")
    typer.echo(f"Wrote {out}")
