"""The ``cellinterp`` command. Exit codes: 0 done, 1 wrong input or options, 2 usage, 130 cancelled."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_cellinterp.cli import question, teach
from napari_cellinterp.cli.options import build, option
from napari_cellinterp.config import ClassifyConfig, HeadName, LinkingConfig, MovieConfig, NucleiConfig, ScaleConfig
from napari_cellinterp.errors import CellInterpError

if TYPE_CHECKING:
    from napari_cellinterp.movies.stack import Movie
    from napari_cellinterp.results.table import Classification

# Heavy rooms are imported inside the commands, so that --help answers at once.

app = typer.Typer(
    name="cellinterp",
    help="Classify fluorescent nuclei in timelapses with models that can be read.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

DEMO_FOLDER = Path("cellinterp-demo")

Model = Annotated[str, option(ClassifyConfig, "model")]
Head = Annotated[HeadName, option(ClassifyConfig, "head")]
Reconstruct = Annotated[bool, option(ClassifyConfig, "reconstruct")]
PixelSize = Annotated[float | None, option(ScaleConfig, "pixel_size_um")]
Diameter = Annotated[float | None, option(ScaleConfig, "nucleus_diameter_px")]


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.", is_eager=True)] = False,
) -> None:
    if version:
        from napari_cellinterp import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.command()
def classify(
    movie: Annotated[Path, typer.Argument(help="TIFF, OME-TIFF or OME-Zarr, or a folder of TIFF files, one a frame.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    labels: Annotated[Path | None, typer.Option(help="Label image of the nuclei, instead of finding them.")] = None,
    tracks: Annotated[
        Path | None, typer.Option(help="Table of tracks (CSV), instead of finding and linking nuclei.")
    ] = None,
    labels_are_tracks: Annotated[bool, option(ClassifyConfig, "labels_are_tracks")] = False,
    model: Model = "chromatin-64",
    head: Head = "sparse",
    channel: Annotated[int, option(MovieConfig, "channel")] = 0,
    axes: Annotated[str | None, option(MovieConfig, "axes")] = None,
    frame_interval_min: Annotated[float | None, option(MovieConfig, "frame_interval_min")] = None,
    pixel_size_um: PixelSize = None,
    nucleus_diameter_px: Diameter = None,
    min_contrast: Annotated[float | None, option(NucleiConfig, "min_contrast")] = None,
    min_area_fraction: Annotated[float | None, option(NucleiConfig, "min_area_fraction")] = None,
    max_step_diameters: Annotated[float | None, option(LinkingConfig, "max_step_diameters")] = None,
    max_gap_frames: Annotated[int | None, option(LinkingConfig, "max_gap_frames")] = None,
    reconstruct: Reconstruct = False,
    patches: Annotated[
        bool, typer.Option("--patches", help="Also write patches.npz, the crops as the model sees them.")
    ] = False,
) -> None:
    """Label every nucleus of a movie: nuclei.csv, states.ome.tif, overlay.png and run.json go into the folder."""
    config = build(
        ClassifyConfig,
        model=model,
        head=head,
        reconstruct=reconstruct,
        labels_are_tracks=labels_are_tracks,
        movie=build(MovieConfig, axes=axes, channel=channel, frame_interval_min=frame_interval_min),
        scale=build(ScaleConfig, pixel_size_um=pixel_size_um, nucleus_diameter_px=nucleus_diameter_px),
        nuclei=build(NucleiConfig, min_contrast=min_contrast, min_area_fraction=min_area_fraction),
        linking=build(LinkingConfig, max_step_diameters=max_step_diameters, max_gap_frames=max_gap_frames),
    )
    from napari_cellinterp.movies.stack import open_movie

    opened = open_movie(movie, axes=axes, frame_interval_min=frame_interval_min)
    _classify(opened, config, out, labels=labels, tracks=tracks, patches=patches)


def _classify(
    movie: Movie,
    config: ClassifyConfig,
    out: Path,
    *,
    labels: Path | None = None,
    tracks: Path | None = None,
    patches: bool = False,
) -> Classification:
    from napari_cellinterp.cli.progress import run
    from napari_cellinterp.results.files import check_writable
    from napari_cellinterp.workflows import classify_movie_job, export_job

    check_writable(out)
    result = run(classify_movie_job(movie, config, labels=labels, tracks=tracks))
    run(export_job(movie, result, config, out, patches=patches))
    counts = ", ".join(f"{n} {name}" for name, n in result.counts().items())
    n_novel = int(result.rows["is_novel"].sum())
    typer.echo(f"{len(result)} nuclei and frames: {counts}; {n_novel} unlike the training data. Results in {out}")
    return result


@app.command("classify-patches")
def classify_patches(
    crops: Annotated[Path, typer.Argument(help="npz file with an array x, or a folder of images of one size.")],
    out: Annotated[Path, typer.Option(help="Table to write (CSV), one row a crop, in order.")],
    model: Model = "chromatin-64",
    head: Head = "sparse",
    pixel_size_um: PixelSize = None,
    nucleus_diameter_px: Diameter = None,
    reconstruct: Reconstruct = False,
) -> None:
    """Classify ready crops with one nucleus in the middle of each."""
    scale = build(ScaleConfig, pixel_size_um=pixel_size_um, nucleus_diameter_px=nucleus_diameter_px)
    config = build(ClassifyConfig, model=model, head=head, reconstruct=reconstruct, scale=scale)
    from napari_cellinterp.cli.progress import run
    from napari_cellinterp.movies.crops import read_crops
    from napari_cellinterp.results.export import write_table
    from napari_cellinterp.results.files import check_writable
    from napari_cellinterp.workflows import classify_patches_job

    check_writable(out.parent)
    table = run(classify_patches_job(read_crops(crops), config))
    write_table(table, out)
    typer.echo(f"{len(table)} crops classified. Results in {out}")


@app.command()
def models(name: Annotated[str | None, typer.Argument(help="Bundle whose model card is shown.")] = None) -> None:
    """List the bundles, or show one's model card."""
    from napari_cellinterp.models.bundle_info import bundle_names, find_bundle, read_info
    from napari_cellinterp.models.card import model_card

    if name is not None:
        typer.echo(model_card(read_info(find_bundle(name))))
        return
    for known in bundle_names():
        info = read_info(find_bundle(known))
        typer.echo(f"{known}: {', '.join(info.classes)} ({', '.join(info.heads)}). {info.description}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the movie and the results.")] = DEMO_FOLDER,
    view: Annotated[bool, typer.Option(help="Open the result in napari, where there is a screen.")] = True,
) -> None:
    """Simulate a movie of dividing cells, classify it, write everything, and open it in napari."""
    from napari_cellinterp.cli.demo import agreement, open_in_napari, write_sample
    from napari_cellinterp.movies.stack import open_movie
    from napari_cellinterp.results.files import check_writable

    check_writable(out)
    path = write_sample(out)
    result = _classify(open_movie(path), ClassifyConfig(), out)
    typer.echo(agreement(result))
    if view:
        typer.echo(open_in_napari(out))


app.command()(teach.train)
app.command()(teach.tune)
app.command()(teach.reproduce)
app.command()(question.audit)
app.command()(question.explain)


def main() -> None:
    """Run the command line, and turn errors into one message and an exit code."""
    try:
        app()
    except CellInterpError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
