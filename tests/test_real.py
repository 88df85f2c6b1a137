"""The shipped bundle on real nuclei that nothing was trained on."""

from __future__ import annotations

import pytest

from napari_cellinterp.config import ClassifyConfig
from napari_cellinterp.models.bundle import load_bundle
from napari_cellinterp.training.validation import judge_migration
from napari_cellinterp.workflows import classify_movie

MIN_PLATES = 3
MAX_FALSE_SHARE = 0.02


@pytest.mark.slow
@pytest.mark.parametrize("head", ["sparse", "symbolic"])
@pytest.mark.parametrize("source", ["given masks", "found nuclei"])
def test_plates_of_a_real_movie_are_found(real_data, head, source):
    folder = real_data / "cancer_migration"
    labels = folder / "labels.tif" if source == "given masks" else None
    result = classify_movie(folder / "movie.tif", ClassifyConfig(head=head), labels=labels)
    judged = judge_migration(result.rows)
    assert judged.n_interphase > 400
    assert judged.n_plates >= MIN_PLATES
    assert judged.n_false <= MAX_FALSE_SHARE * judged.n_interphase


@pytest.mark.parametrize(("name", "n_runs"), [("chromatin-64", 10), ("chromatin-64-phases", 3)])
def test_the_shipped_bundles_are_whole(name, n_runs):
    bundle = load_bundle(name)
    assert set(bundle.heads) == {"cnn", "dense", "sparse", "symbolic"}
    assert len(bundle.population.latents) >= 2000
    assert bundle.population.quantiles.shape[1] == bundle.info.n_latents
    assert len(bundle.info.heads["symbolic"].front) > 1
    for scheme, head in bundle.info.heads.items():
        assert len(head.runs) == (2 * n_runs if scheme == "symbolic" else n_runs)
    assert all(latent.name and not latent.name.startswith("z") for latent in bundle.info.latents)
    assert all(figure.command for figure in bundle.info.figures)
