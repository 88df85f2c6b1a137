"""How a bundle does on real nuclei that nothing was trained on. The data isn't part of the project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from skimage.filters import threshold_otsu

from napari_cellinterp.models.classifier import Classifier, class_probabilities
from napari_cellinterp.movies.patches import patches_from_images

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from napari_cellinterp.config import HeadName
    from napari_cellinterp.models.bundle import ModelBundle
    from napari_cellinterp.movies.patches import Patches
    from napari_cellinterp.training.datasets import LabelledCrops

    Rule = Callable[[ModelBundle, HeadName, Patches], NDArray[np.bool_]]
    """Says which patches are called mitotic."""

PLATES = ((5, 112, 55), (6, 112, 58), (22, 53, 91), (23, 52, 91))
"""Metaphase plates of the movie ``cancer_migration``, read by eye: frame, y, x."""

OTHER_PHASES = ((4, 110, 58), (21, 52, 88), (7, 112, 58), (24, 48, 95))
"""Its prometaphases and early anaphases, which aren't scored: frame, y, x."""

PLATE_REACH_PX = 9
OTHER_REACH_PX = 12
INTERPHASE, MITOTIC = "interphase", ("prometaphase", "metaphase", "anaphase")
"""The two sides; of the states of mitosis, a binary bundle knows only one."""

N_BOOTSTRAP = 2000

RELEASE_DIAMETER_PX = 15.0
"""Nuclear diameter of the crops ``mitotic_release_half``."""


@dataclass(frozen=True)
class MigrationResult:
    """What was called metaphase in ``cancer_migration``.

    Attributes
    ----------
    n_plates : int
        Of the four plates, how many were.
    n_false, n_interphase : int
        Of the scored interphase nuclei, how many were, and how many there are.
    """

    n_plates: int
    n_false: int
    n_interphase: int


def judge_migration(rows: pd.DataFrame) -> MigrationResult:
    """Compare a classification of ``cancer_migration`` with the key.

    Parameters
    ----------
    rows : pandas.DataFrame
        ``frame, y, x, state``, one row a nucleus and frame.
    """
    frame, y, x = (rows[name].to_numpy() for name in ("frame", "y", "x"))
    metaphase = (rows["state"] == "metaphase").to_numpy()

    def near(spot: tuple[int, int, int], reach: int) -> NDArray[np.bool_]:
        return np.asarray((frame == spot[0]) & (np.abs(y - spot[1]) <= reach) & (np.abs(x - spot[2]) <= reach))

    plates = [near(spot, PLATE_REACH_PX) for spot in PLATES]
    skipped = np.any([*plates, *(near(spot, OTHER_REACH_PX) for spot in OTHER_PHASES)], axis=0)
    skipped |= (frame >= 24) & (frame <= 28)
    skipped |= (frame >= 7) & (frame <= 9) & (y > 95) & (x > 35) & (x < 80)
    skipped |= (frame >= 11) & (frame <= 27) & (y < 60) & (x > 60) & (x < 110)
    return MigrationResult(
        n_plates=sum(bool(metaphase[plate].any()) for plate in plates),
        n_false=int((metaphase & ~skipped).sum()),
        n_interphase=int((~skipped).sum()),
    )


@dataclass(frozen=True)
class TwoSided:
    """How well two sides are told apart, such as mitotic and interphase.

    Attributes
    ----------
    sensitivity, specificity : float
        Share of the mitotic crops that were called so, and of the others that weren't; NaN where there are none.
    low, high : float
        95 % interval of the balanced accuracy over groups of crops (movies, images), by bootstrap.
    n : int
        Crops in all.
    """

    sensitivity: float
    specificity: float
    low: float
    high: float
    n: int

    @property
    def balanced_accuracy(self) -> float:
        """Mean of sensitivity and specificity."""
        return (self.sensitivity + self.specificity) / 2


def two_sided(called: NDArray[np.bool_], mitotic: NDArray[np.bool_], group: NDArray[np.generic]) -> TwoSided:
    """Compare calls with the truth.

    Parameters
    ----------
    called, mitotic : (n,) bool
        What was called mitotic, and what is.
    group : (n,) array
        Movie or image of each crop: crops of one are alike, so groups are what is drawn anew.
    """
    names, number = np.unique(group, return_inverse=True)
    counts = np.zeros((len(names), 4))
    for column, rows in enumerate((mitotic & called, mitotic, ~mitotic & ~called, ~mitotic)):
        counts[:, column] = np.bincount(number[rows], minlength=len(names))
    draws = np.random.default_rng(0).integers(0, len(names), (N_BOOTSTRAP, len(names)))
    sums = counts[draws].sum(axis=1)
    sums = sums[(sums[:, 1] > 0) & (sums[:, 3] > 0)]
    drawn = (sums[:, 0] / sums[:, 1] + sums[:, 2] / sums[:, 3]) / 2
    low, high = np.percentile(drawn, [2.5, 97.5]) if len(drawn) else (np.nan, np.nan)
    total = counts.sum(axis=0)
    sensitivity, specificity = (
        float(right / n) if n else np.nan for right, n in ((total[0], total[1]), (total[2], total[3]))
    )
    return TwoSided(sensitivity, specificity, float(low), float(high), len(called))


def judge_release(folder: Path, bundle: ModelBundle, head: HeadName, rule: Rule) -> TwoSided:
    """Classify the crops of ``mitotic_release_half``: mitotic (prometaphases and metaphases) against interphase."""
    with np.load(folder / "patches.npz") as archive:
        images, mitotic, movie = archive["x"], archive["y"] == "mitotic", archive["movie"]
    patches = patches_from_images(images, bundle.info.reference_diameter_px / RELEASE_DIAMETER_PX)
    return two_sided(rule(bundle, head, patches), mitotic, movie)


def judge_jurkat(folder: Path, bundle: ModelBundle, head: HeadName, rule: Rule) -> TwoSided:
    """Classify ``jurkat_ifc``, cells in flow: metaphase against G1, S and G2, on the DNA channel."""
    with np.load(folder / "jurkat_patches_40px.npz") as archive:
        images, phase = archive["x"][:, 1], archive["y"]
    interphase, metaphase = np.isin(phase, ("G1", "S_phase", "G2")), phase == "Metaphase"
    diameter = np.median([_diameter(image) for image in images[interphase]])
    rows = interphase | metaphase
    patches = patches_from_images(images[rows], bundle.info.reference_diameter_px / float(diameter))
    return two_sided(rule(bundle, head, patches), metaphase[rows], np.arange(rows.sum()))


def _diameter(image: NDArray[np.generic]) -> float:
    return float(2 * np.sqrt((image > threshold_otsu(image)).sum() / np.pi))


def judge_labelled(crops: LabelledCrops, bundle: ModelBundle, head: HeadName, rule: Rule) -> TwoSided:
    """Classify real crops whose states are known: the bundle's mitotic states against interphase.

    Parameters
    ----------
    crops : LabelledCrops
        States are indices into `napari_cellinterp.movies.shapes.STATES`; those that the bundle doesn't know, or that
        are neither, are left out.
    bundle : ModelBundle
        The model.
    head : str
        Scheme of the head.
    rule : callable
        `called_mitotic` or `shown_mitotic`.
    """
    known = crops.of_classes([INTERPHASE, *(name for name in MITOTIC if name in bundle.info.classes)])
    return two_sided(rule(bundle, head, known.patches), known.state > 0, known.scene)


def states_right(crops: LabelledCrops, bundle: ModelBundle, head: HeadName) -> dict[str, float]:
    """Share of the crops of each of the bundle's states that were called so."""
    known = crops.of_classes(bundle.info.classes)
    state = Classifier(bundle, head)(known.patches).state
    return {
        name: float((state[known.state == i] == i).mean())
        for i, name in enumerate(bundle.info.classes)
        if (known.state == i).any()
    }


def called_mitotic(bundle: ModelBundle, head: HeadName, patches: Patches) -> NDArray[np.bool_]:
    """Return whether each patch is called mitotic rather than interphase.

    With two classes its state says it; with more, whether the states of mitosis together are more probable than
    interphase, whatever the probability of states that are neither, such as apoptosis.
    """
    if len(bundle.info.classes) == 2:
        return shown_mitotic(bundle, head, patches)
    classes, scores = bundle.info.classes, Classifier(bundle, head)(patches).scores
    calibration = np.array([(c.slope, c.offset) for c in bundle.info.heads[head].calibration])
    probability = class_probabilities(scores, calibration)
    mitosis = probability[:, np.isin(classes, MITOTIC)].sum(axis=1)
    called: NDArray[np.bool_] = mitosis > probability[:, classes.index(INTERPHASE)]
    return called


def shown_mitotic(bundle: ModelBundle, head: HeadName, patches: Patches) -> NDArray[np.bool_]:
    """Return whether the state of each patch is one of mitosis."""
    return np.isin(Classifier(bundle, head)(patches).state, np.flatnonzero(np.isin(bundle.info.classes, MITOTIC)))
