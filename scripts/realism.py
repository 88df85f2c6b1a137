"""Compare simulated crops with real ones: ``python scripts/realism.py [--data FOLDER]``.

Prints, for interphase and metaphase, the quartiles of some measures of simulated crops, and of real ones whose states
were read by eye, and how far apart the two distributions are (Kolmogorov-Smirnov: 0 the same, 1 disjoint).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter, label
from scipy.stats import ks_2samp

from napari_cellinterp.movies.shapes import STATES
from napari_cellinterp.training.datasets import LabelledCrops, simulate_scene_crops
from napari_cellinterp.training.real_images import labelled_crops

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_SCENES = 60
FIRST_SCENE = 2_000_000


def measures(image: NDArray[np.float32]) -> dict[str, float]:
    """Measure a normalised crop (64, 64) and the nucleus in its middle, where it is above half its brightness."""
    smooth = gaussian_filter(image, 1)
    level = smooth[28:36, 28:36].max()
    regions, _ = label(smooth > level / 2)
    nucleus = regions == regions[32, 32] if regions[32, 32] else np.zeros(image.shape, bool)
    rows, columns = np.nonzero(nucleus)
    spread = np.linalg.eigvalsh(np.cov(rows, columns)) if len(rows) > 2 else np.ones(2)
    inside = image[nucleus] if nucleus.any() else np.zeros(1)
    steepest = np.hypot(*np.gradient(smooth)).max()
    return {
        "mean level": image.mean(),
        "level of the nucleus": inside.mean(),
        "texture": inside.std() / max(1e-3, inside.mean()),
        "area, px": float(nucleus.sum()),
        "elongation": float(np.sqrt(max(spread[1], 1e-3) / max(spread[0], 1e-3))),
        "steepest edge": steepest / max(1e-3, level),
        "noise": float(np.median(np.abs(image - gaussian_filter(image, 0.8)))),
        "level of the rest": image[~nucleus].mean(),
    }


def table(crops: LabelledCrops, state: str) -> pd.DataFrame:
    rows = np.flatnonzero(crops.state == STATES.index(state))
    return pd.DataFrame([measures(crops.patches.x[row, 0]) for row in rows])


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the real data")
    options = parser.parse_args()
    simulated = LabelledCrops.concatenate([simulate_scene_crops(FIRST_SCENE + i) for i in range(N_SCENES)])
    real = LabelledCrops.concatenate([labelled_crops(options.data, use, 1, 5) for use in ("train", "test")])
    for state in ("interphase", "metaphase"):
        ours, theirs = table(simulated, state), table(real, state)
        print(f"\n{state}: {len(ours)} simulated, {len(theirs)} real\n")
        print("| measure | simulated | real | KS |\n|---|---|---|---|")
        for name in ours:
            columns = [" ".join(f"{q:.3g}" for q in np.quantile(t[name], (0.25, 0.5, 0.75))) for t in (ours, theirs)]
            distance = ks_2samp(ours[name], theirs[name]).statistic
            print(f"| {name} | {columns[0]} | {columns[1]} | {distance:.2f} |")


if __name__ == "__main__":
    main()
