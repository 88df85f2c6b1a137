"""Commands that question a model: audit, explain."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, get_args

import typer

from napari_cellinterp.cli.options import build, option
from napari_cellinterp.config import AuditConfig, ClassifyConfig, CounterfactualConfig, HeadName, ScaleConfig

# Heavy rooms are imported inside the commands, so that --help answers at once.

Folder = Annotated[Path, typer.Option(help="Folder for audit.html and audit.json.")]
Crops = Annotated[
    Path | None,
    typer.Argument(
        help="npz file with an array x (and y or state with the names of the true classes), or a folder of images of "
        "one size; by default crops are simulated."
    ),
]
Models = Annotated[list[str], option(ClassifyConfig, "model")]


class Scheme(StrEnum):
    """The heads; typer takes no list of literals."""

    cnn = "cnn"
    dense = "dense"
    sparse = "sparse"
    symbolic = "symbolic"


Heads = Annotated[list[Scheme] | None, typer.Option("--head", help="Which heads; default: all that a model has.")]


def audit(
    out: Folder,
    crops: Crops = None,
    model: Models = ["chromatin-64"],  # noqa: B006
    head: Heads = None,
    n_crops: Annotated[int | None, option(AuditConfig, "n_crops")] = None,
    seed: Annotated[int | None, option(AuditConfig, "seed")] = None,
    steps: Annotated[int | None, option(CounterfactualConfig, "n_steps", "--steps")] = None,
    pixel_size_um: Annotated[float | None, option(ScaleConfig, "pixel_size_um")] = None,
    nucleus_diameter_px: Annotated[float | None, option(ScaleConfig, "nucleus_diameter_px")] = None,
) -> None:
    """Measure whether only the central nucleus decides, how little flips a state, and whether turning does."""
    config = build(AuditConfig, n_crops=n_crops, seed=seed, attack=build(CounterfactualConfig, n_steps=steps))
    scale = build(ScaleConfig, pixel_size_um=pixel_size_um, nucleus_diameter_px=nucleus_diameter_px)
    from napari_cellinterp.cli.progress import run
    from napari_cellinterp.questioning import audit_job, write_audit_job
    from napari_cellinterp.results.files import check_writable

    check_writable(out)
    heads: list[HeadName] = [name for name in get_args(HeadName) if name in (head or ())]
    audits = run(audit_job(model, heads, config, crops=crops, scale=scale))
    run(write_audit_job(audits, out))
    for found in audits:
        broken = [one.name for one in found.constraints if one.holds is False]
        typer.echo(
            f"{found.model}, {found.head}: {'broken: ' + '; '.join(broken) if broken else 'all constraints hold'}"
        )


def explain(
    model: Annotated[str, typer.Argument(help="Name of a model, or folder of a bundle.")],
    out: Annotated[Path, typer.Option(help="Folder for explain.html, its figures, topology.graphml and formulas.txt.")],
) -> None:
    """Read a model: its formula, its sparse network drawn, response maps, boundaries, and accuracy against size."""
    from napari_cellinterp.cli.progress import run
    from napari_cellinterp.questioning import explain_job
    from napari_cellinterp.results.files import check_writable

    check_writable(out)
    path = run(explain_job(model, out))
    typer.echo(f"How {model} decides: {path}")
