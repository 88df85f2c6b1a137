"""Measure a bundle on real nuclei that it never saw: ``python scripts/validate.py MODEL [--data FOLDER] [--json OUT]``.

The folder holds ``cancer_migration`` and ``mitotic_release_half``; neither is part of the project.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cellinterp.config import ClassifyConfig, HeadName
from napari_cellinterp.models.bundle import ModelBundle, load_bundle
from napari_cellinterp.models.bundle_info import Figure
from napari_cellinterp.training.validation import judge_migration, judge_release
from napari_cellinterp.workflows import classify_movie

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = "python scripts/validate.py chromatin-64"
HEADS: tuple[HeadName, ...] = ("sparse", "symbolic", "dense", "cnn")


def figures(bundle: ModelBundle, data: Path) -> Iterator[Figure]:
    movie = data / "cancer_migration" / "movie.tif"
    given = data / "cancer_migration" / "labels.tif"
    for head in HEADS:
        for labels, name in ((given, "given masks"), (None, "found nuclei")):
            rows = classify_movie(movie, ClassifyConfig(head=head), labels=labels, bundle=bundle).rows
            result = judge_migration(rows)
            where = f"cancer_migration, {name}"
            share = result.n_false / result.n_interphase
            yield Figure(
                data=where, head=head, measure="plates found of 4", value=result.n_plates, n=4, command=COMMAND
            )
            yield Figure(
                data=where,
                head=head,
                measure="interphase called metaphase",
                value=share,
                n=result.n_interphase,
                command=COMMAND,
            )
        sensitivity, specificity, n = judge_release(data / "mitotic_release_half", bundle, head)
        for measure, value in (
            ("mitotic called metaphase", sensitivity),
            ("interphase called interphase", specificity),
        ):
            yield Figure(data="mitotic_release_half", head=head, measure=measure, value=value, n=n, command=COMMAND)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="name or folder of a bundle")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the real data")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    found = list(figures(load_bundle(options.model), options.data))
    for figure in found:
        print(f"{figure.data:38s} {figure.head:9s} {figure.measure:30s} {figure.value:8.4g}  (n = {figure.n})")
    if options.json:
        options.json.write_text(json.dumps([figure.model_dump() for figure in found], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
