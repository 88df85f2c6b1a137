"""Maps of latents, and what a lasso holds."""

import sys

import numpy as np
import pytest
from matplotlib.path import Path

from napari_cellinterp.errors import QuestionError
from napari_cellinterp.events import Progressed, finish
from napari_cellinterp.explain import embedding
from napari_cellinterp.explain.embedding import inside_lasso, principal_components, umap_job


@pytest.fixture
def blobs():
    """Return latents of two groups far apart, and which is which."""
    rng = np.random.default_rng(2)
    group = np.repeat([0, 1], 150)
    return (rng.normal(size=(300, 5)) + 12 * group[:, None]).astype(np.float32), group


def test_principal_components_against_the_singular_values():
    latents = np.random.default_rng(3).normal(size=(400, 6)).astype(np.float32) * (5, 1, 3, 1, 1, 1)
    found = principal_components(latents.astype(np.float32))
    u, s, _ = np.linalg.svd(latents - latents.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(found.positions), np.abs((u * s)[:, :2]), atol=1e-3)
    share = s[0] ** 2 / (s**2).sum()
    assert found.titles[0] == f"Principal component 1 ({100 * share:.0f} %)"


def test_principal_components_are_not_mirrored_from_run_to_run():
    latents = np.random.default_rng(3).normal(size=(400, 3)).astype(np.float32) * np.float32([4, 2, 1])
    whole, most = principal_components(latents).positions, principal_components(latents[:390]).positions
    for axis in range(2):
        assert np.corrcoef(whole[:390, axis], most[:, axis])[0, 1] > 0.9


def test_components_of_one_latent_and_of_nuclei_without_latents():
    latents = np.array([[1.0], [3.0], [np.nan]], np.float32)
    found = principal_components(latents).positions
    np.testing.assert_allclose(found[:2], [[-1, 0], [1, 0]], atol=1e-6)
    assert np.isnan(found[2]).all()


def test_constant_latents_have_components():
    np.testing.assert_array_equal(principal_components(np.ones((5, 3), np.float32)).positions, 0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Tensorflow:ImportWarning")  # umap tells what it doesn't need
def test_umap_keeps_groups_apart_and_is_seeded(blobs, monkeypatch):
    latents, group = blobs
    latents[7] = np.nan
    monkeypatch.setattr(embedding, "MAX_FITTED", 200)
    monkeypatch.setattr(embedding, "CHUNK", 60)
    events = []
    found = finish(umap_job(latents), events.append).positions
    assert events == [Progressed(n, 299) for n in (0, 200, 260, 299)]
    assert np.isnan(found[7]).all()
    there = np.isfinite(found).all(axis=1)
    assert there.sum() == 299
    centres = [found[there & (group == i)].mean(axis=0) for i in range(2)]
    nearest = np.linalg.norm(found[:, None] - centres, axis=2)[there].argmin(axis=1)
    np.testing.assert_array_equal(nearest, group[there])
    np.testing.assert_array_equal(finish(umap_job(latents)).positions, found)


def test_umap_says_what_it_lacks(blobs, monkeypatch):
    with pytest.raises(QuestionError, match="at least 16"):
        finish(umap_job(blobs[0][:5]))
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(QuestionError, match=r"napari-cellinterp\[embed\]"):
        finish(umap_job(blobs[0]))


def test_a_lasso_holds_what_matplotlib_says():
    rng = np.random.default_rng(4)
    positions = rng.normal(size=(5000, 2))
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    lasso = np.column_stack([np.cos(angle), np.sin(angle)]) * (1 + 0.4 * np.sin(5 * angle))[:, None]
    found = inside_lasso(positions, lasso)
    np.testing.assert_array_equal(found, Path(lasso).contains_points(positions))
    assert 500 < found.sum() < 4500


def test_a_lasso_that_crosses_itself_and_one_without_area():
    eight = [(0, 0), (2, 2), (2, 0), (0, 2)]
    positions = [(0.3, 1), (1.7, 1), (1, 0.3), (np.nan, 1), (1, np.nan)]
    assert inside_lasso(positions, eight).tolist() == [True, True, False, False, False]
    assert not inside_lasso(positions, [(0, 1), (2, 1)]).any()
