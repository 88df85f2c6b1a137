"""How a bundle does on real nuclei that nothing was trained on. The data isn't part of the project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_cellinterp.models.classifier import Classifier
from napari_cellinterp.movies.patches import patches_from_images

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from napari_cellinterp.config import HeadName
    from napari_cellinterp.models.bundle import ModelBundle

PLATES = ((5, 112, 55), (6, 112, 58), (22, 53, 91), (23, 52, 91))
"""Metaphase plates of the movie ``cancer_migration``, read by eye: frame, y, x."""

OTHER_PHASES = ((4, 110, 58), (21, 52, 88), (7, 112, 58), (24, 48, 95))
"""Its prometaphases and early anaphases, which aren't scored: frame, y, x."""

PLATE_REACH_PX = 9
OTHER_REACH_PX = 12
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


def judge_release(folder: Path, bundle: ModelBundle, head: HeadName) -> tuple[float, float, int]:
    """Classify the crops of ``mitotic_release_half``.

    Returns
    -------
    sensitivity : float
        Share of mitotic crops, prometaphases among them, that were called metaphase.
    specificity : float
        Share of interphase crops that were called interphase.
    n : int
        Crops in all.
    """
    with np.load(folder / "patches.npz") as archive:
        images, mitotic = archive["x"], archive["y"] == "mitotic"
    patches = patches_from_images(images, bundle.info.reference_diameter_px / RELEASE_DIAMETER_PX)
    state = Classifier(bundle, head)(patches).state
    return float((state[mitotic] == 1).mean()), float((state[~mitotic] == 0).mean()), len(state)
