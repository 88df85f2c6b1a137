"""Measure a bundle on real nuclei that it never saw: ``python scripts/validate.py MODEL [--data FOLDER] [--json OUT]``.

``--crops OUT.npz`` writes the labelled crops that no shipped head was trained on, for `cellinterp audit`.

The folder holds ``cancer_migration``, ``mitotic_release_half``, ``jurkat_ifc``, and the image sets of the states that
were read by eye; none is part of the project. Nuclei labelled for validation are hard: many are there because some head
took them for a plate.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_cellinterp.config import ClassifyConfig, HeadName
from napari_cellinterp.models.bundle import ModelBundle, load_bundle
from napari_cellinterp.models.bundle_info import Figure
from napari_cellinterp.training.real_images import labelled_crops
from napari_cellinterp.training.validation import (
    called_mitotic,
    judge_jurkat,
    judge_labelled,
    judge_migration,
    judge_release,
    shown_mitotic,
    states_right,
)
from napari_cellinterp.workflows import classify_movie

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from napari_cellinterp.training.datasets import LabelledCrops

HEADS: tuple[HeadName, ...] = ("sparse", "symbolic", "dense", "cnn")
CLASSES = ("interphase", "metaphase")

N_DRAWS, SEED = 20, 5
"""How often each labelled nucleus is cropped: a single draw of the errors of scale and centre may be off by points."""

HELD_OUT = f"dsb2018_fluo, held-out images, {N_DRAWS} crops a nucleus"
HARD = f"labelled for validation, {N_DRAWS} crops a nucleus"


def figures(bundle: ModelBundle, data: Path) -> Iterator[Figure]:
    """Measure all heads of a bundle."""
    labelled = {
        HELD_OUT: labelled_crops(data, "test", N_DRAWS, SEED),
        HARD: labelled_crops(data, "validation", N_DRAWS, SEED),
    }
    for head in HEADS:
        for where, measure, value, n in measures(bundle, head, data, labelled):
            command = f"python scripts/validate.py {bundle.info.name}"
            yield Figure(data=where, head=head, measure=measure, value=value, n=n, command=command)


def measures(
    bundle: ModelBundle, head: HeadName, data: Path, labelled: Mapping[str, LabelledCrops]
) -> Iterator[tuple[str, str, float, int]]:
    """Yield data set, measure, value and number of crops, of one head."""
    migration = data / "cancer_migration"
    for labels, name in ((migration / "labels.tif", "given masks"), (None, "found nuclei")):
        rows = classify_movie(migration / "movie.tif", ClassifyConfig(head=head), labels=labels, bundle=bundle).rows
        result = judge_migration(rows)
        share = result.n_false / result.n_interphase
        yield f"cancer_migration, {name}", "plates found of 4", result.n_plates, 4
        yield f"cancer_migration, {name}", "interphase called metaphase", share, result.n_interphase
    for name, judge in (
        ("mitotic_release_half", partial(judge_release, data / "mitotic_release_half")),
        ("jurkat_ifc", partial(judge_jurkat, data / "jurkat_ifc")),
        *((where, partial(judge_labelled, crops)) for where, crops in labelled.items()),
    ):
        sides = judge(bundle, head, called_mitotic)
        yield name, "sensitivity", sides.sensitivity, sides.n
        yield name, "specificity", sides.specificity, sides.n
        yield name, "balanced accuracy", sides.balanced_accuracy, sides.n
        yield name, "balanced accuracy, 95 % from", sides.low, sides.n
        yield name, "balanced accuracy, 95 % to", sides.high, sides.n
        if len(bundle.info.classes) > 2:
            shown = judge(bundle, head, shown_mitotic)
            yield name, "balanced accuracy of the states shown", shown.balanced_accuracy, shown.n
    if len(bundle.info.classes) > 2:
        held_out = labelled[HELD_OUT]
        for state, share in states_right(held_out, bundle, head).items():
            n = int((held_out.of_classes([state]).state == 0).sum())
            yield HELD_OUT, f"{state} called so", share, n


def write_crops(data: Path, out: Path) -> None:
    """Write held-out labelled crops in interphase and metaphase as npz: ``x``, and ``y`` with the names."""
    crops = labelled_crops(data, "test", 1, SEED).of_classes(CLASSES)
    np.savez(out, x=crops.patches.x, y=np.array(CLASSES)[crops.state])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="name or folder of a bundle")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the real data")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--crops", type=Path, help="only write held-out labelled crops (x, y) here")
    options = parser.parse_args()
    if options.crops:
        write_crops(options.data, options.crops)
        return
    found = list(figures(load_bundle(options.model), options.data))
    for figure in found:
        print(f"{figure.data:38s} {figure.head:9s} {figure.measure:30s} {figure.value:8.4g}  (n = {figure.n})")
    if options.json:
        options.json.write_text(json.dumps([figure.model_dump() for figure in found], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
