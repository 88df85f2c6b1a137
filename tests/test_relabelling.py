"""States anew from the latents that a classification kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_cellinterp.config import ClassifyConfig, TimelapseConfig
from napari_cellinterp.errors import ExpressionError, QuestionError
from napari_cellinterp.models.expression import Expression
from napari_cellinterp.movies.timelapse import simulate_movie
from napari_cellinterp.relabelling import latent_scores, relabel
from napari_cellinterp.workflows import classify_movie

FIVE = ("interphase", "prometaphase", "metaphase", "anaphase", "apoptosis")


@pytest.fixture(scope="module")
def movie():
    return simulate_movie(TimelapseConfig(n_frames=3, height=160, width=160, n_nuclei=9))


@pytest.fixture(scope="module")
def bundle(random_bundle):
    return random_bundle()


def classified(movie, bundle, head):
    return classify_movie(movie[0], ClassifyConfig(head=head), labels=movie[1], bundle=bundle)


@pytest.mark.parametrize("head", ["dense", "sparse", "symbolic"])
@pytest.mark.parametrize("classes", [FIVE[:2], FIVE])
def test_a_relabelled_movie_equals_one_classified_with_that_head(movie, random_bundle, head, classes):
    bundle = random_bundle(classes=classes)
    found = relabel(classified(movie, bundle, "cnn"), bundle, head)
    expected = classified(movie, bundle, head)
    assert found.head == head
    assert not found.formula
    assert list(found.rows) == list(expected.rows)
    numbers = expected.rows.select_dtypes("number").columns
    np.testing.assert_allclose(found.rows[numbers], expected.rows[numbers], rtol=1e-4, atol=1e-4)
    assert found.rows["state"].tolist() == expected.rows["state"].tolist()
    np.testing.assert_array_equal(found.paint(1), expected.paint(1))


def test_a_formula_gives_its_own_scores_and_calibrated_probabilities(movie, bundle):
    before = classified(movie, bundle, "sparse")
    found = relabel(before, bundle, Expression.parse("2*z1 - 0.5"))
    np.testing.assert_allclose(found.rows["score"], 2 * before.latents[:, 1] - 0.5, rtol=1e-5, atol=1e-6)
    assert (found.rows["state"] == "metaphase").tolist() == (before.latents[:, 1] >= 0.25).tolist()
    assert found.rows["probability"].between(0, 1).all()
    assert (found.head, found.formula) == ("symbolic", str(Expression.parse("2*z1 - 0.5")))
    assert before.head == "sparse"
    assert not before.formula


def test_nuclei_where_a_formula_is_undefined_have_no_state(movie, bundle):
    before = classified(movie, bundle, "sparse")
    undefined = before.latents[:, 0] < 0
    assert 0 < undefined.sum() < len(before)
    found = relabel(before, bundle, Expression.parse("sqrt(z0) + 1"))
    assert (found.rows["state"] == "").tolist() == undefined.tolist()
    assert found.rows["probability"].isna().tolist() == undefined.tolist()


def test_nuclei_whose_pixels_are_no_numbers_stay_without_a_state(movie, bundle):
    images = movie[0].astype(np.float32)
    images[1, :80] = np.nan
    before = classify_movie(images, ClassifyConfig(head="sparse"), labels=movie[1], bundle=bundle)
    broken = (before.rows["flag"] == "not_finite").to_numpy()
    assert 0 < broken.sum() < len(before)
    found = relabel(before, bundle, "dense")
    assert (found.rows["state"] == "").tolist() == broken.tolist()


def test_what_can_not_be_relabelled(movie, bundle, random_bundle):
    before = classified(movie, bundle, "sparse")
    with pytest.raises(QuestionError, match="reads pixels"):
        relabel(before, bundle, "cnn")
    with pytest.raises(ExpressionError, match="z40"):
        relabel(before, bundle, Expression.parse("z40"))
    with pytest.raises(QuestionError, match="not with this random"):
        relabel(replace(before, bundle_hash="1" * 64), bundle, "dense")
    other = random_bundle(classes=FIVE)
    with pytest.raises(QuestionError, match="5 classes"):
        latent_scores(classified(movie, other, "sparse"), other, Expression.parse("z0"))
