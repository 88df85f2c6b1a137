"""Latents are matched with the factors that they carry."""

import numpy as np
import pandas as pd

from napari_cellinterp.training.meaning import latent_meanings


def test_a_latent_is_about_the_factor_that_it_was_made_from():
    rng = np.random.default_rng(0)
    factors = pd.DataFrame(rng.normal(size=(600, 3)), columns=["area_px", "offset_x", "neighbours_3"])
    latents = np.stack(
        [
            np.exp(factors["area_px"]) + 0.1 * rng.normal(size=600),  # not linear, and noisy
            -factors["offset_x"],
            factors["neighbours_3"] + 0.3 * factors["area_px"],
            rng.normal(size=600),
        ],
        axis=1,
    ).astype(np.float32)
    meanings = latent_meanings(latents, factors)
    assert [m.factor for m in meanings[:3]] == ["area_px", "offset_x", "neighbours_3"]
    assert [m.is_central for m in meanings[:3]] == [True, False, False]
    assert max(meanings[3].information.values()) < 0.1
    assert meanings[2].information["area_px"] > 0.01
