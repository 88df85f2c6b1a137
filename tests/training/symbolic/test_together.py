"""Formulas of several classes that are fitted together."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from napari_cellinterp.config import SymbolicConfig
from napari_cellinterp.events import finish
from napari_cellinterp.models.expression import Expression
from napari_cellinterp.training.symbolic.together import _Softmax, _terms, fit_together

CONFIG = SymbolicConfig(max_size=15)


def drawn(scores: np.ndarray, seed: int = 0) -> np.ndarray:
    """Draw classes with the probabilities that scores (n, n_classes) say."""
    noise = np.random.default_rng(seed).gumbel(size=scores.shape)
    return (scores + noise).argmax(axis=1)


def differences(formulas: list[Expression], latents: np.ndarray) -> np.ndarray:
    """Scores less the first one: what a softmax knows."""
    scores = np.stack([formula.evaluate(latents) for formula in formulas], axis=1)
    return scores[:, 1:] - scores[:, :1]


@pytest.fixture(scope="module")
def latents() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(20_000, 6))


def test_scores_are_the_logarithms_of_odds(latents):
    scores = np.stack([np.zeros(len(latents)), 1 + 2 * latents[:, 0], 1.5 * latents[:, 3] ** 2 - 2], axis=1)
    formulas = finish(fit_together(latents, drawn(scores), [], range(6), CONFIG))
    assert set().union(*(formula.latents for formula in formulas)) == {0, 3}
    moderate = np.abs(latents).max(axis=1) < 1.5
    np.testing.assert_allclose(
        differences(formulas, latents)[moderate], (scores[:, 1:] - scores[:, :1])[moderate], atol=0.3
    )


def test_terms_that_a_search_found_take_part(latents):
    wave = 4 * np.sin(3 * latents[:, 2])
    state = drawn(np.stack([np.zeros(len(latents)), wave, 2 * latents[:, 1]], axis=1))
    found = [Expression.parse("1 - 0.2*sin(3*z2) + z1/7")]
    formulas = finish(fit_together(latents, state, found, [1, 2], CONFIG))
    assert any("sin(3*z2)" in str(formula) for formula in formulas)
    without = finish(fit_together(latents, state, [], [1, 2], CONFIG))

    def accuracy(formulas: list[Expression]) -> float:
        scores = np.stack([formula.evaluate(latents) for formula in formulas], axis=1)
        return float((scores.argmax(axis=1) == state).mean())

    assert accuracy(formulas) > accuracy(without) + 0.1


def test_an_undefined_term_is_left_out(latents):
    state = drawn(3 * latents[:, :3])
    formulas = finish(fit_together(latents, state, [Expression.parse("5*log(z0) + z1")], [0, 1, 2], CONFIG))
    assert np.isfinite(differences(formulas, latents)).all()
    assert not any("log" in str(formula) for formula in formulas)


def test_what_does_not_pay_goes(latents):
    state = drawn(latents[:, :3])
    sizes = [
        sum(formula.complexity for formula in finish(fit_together(latents, state, [], range(6), config)))
        for config in (CONFIG.model_copy(update={"parsimony": price}) for price in (0.0, 1e-3, 1.0))
    ]
    assert sizes[0] > sizes[1] > sizes[2] == 3, "three constants are left where nothing pays"


@pytest.mark.parametrize("max_size", [5, 9, 14])
def test_no_formula_is_too_complex(latents, max_size):
    config = CONFIG.model_copy(update={"parsimony": 0.0, "max_size": max_size})
    formulas = finish(fit_together(latents, drawn(2 * latents[:, :4]), [], range(6), config))
    assert max(formula.complexity for formula in formulas) <= max_size
    assert all(formula.latents for formula in formulas)


def test_interphase_may_count_more(latents):
    state = drawn(latents[:, :3])

    def share_of_interphase(weight: float) -> float:
        config = CONFIG.model_copy(update={"interphase_weight": weight})
        return float(
            (differences(finish(fit_together(latents, state, [], range(3), config)), latents) < 0).all(1).mean()
        )

    assert share_of_interphase(4.0) > share_of_interphase(1.0) + 0.1


def test_classes_that_a_latent_parts_end_all_the_same(latents):
    state = np.digitize(latents[:, 0], [-0.5, 0.5])
    formulas = finish(fit_together(latents, state, [], range(6), CONFIG))
    scores = np.stack([formula.evaluate(latents) for formula in formulas], axis=1)
    assert (scores.argmax(axis=1) == state).mean() > 0.98


def test_the_search_tells_how_far_it_is_and_can_be_left(latents):
    search = fit_together(latents[:500], drawn(latents[:500, :3]), [], range(3), CONFIG)
    events = [next(search) for _ in range(3)]
    search.close()
    assert [event.total for event in events] == [18, 18, 18]
    assert [event.done for event in events] == [0, 1, 2]
    assert all(np.isfinite(dict(event.figures)["cross-entropy"]) for event in events)


def test_terms_are_taken_without_their_factors_each_once():
    found = [Expression.parse("1 - 0.2*sin(3*z2) + z1/7"), Expression.parse("-sin(3*z2) + 2*z2**2")]
    assert [str(term) for term in _terms(found, [2, 1])] == ["z2", "z1", "z2**2", "z1**2", "sin(3*z2)"]


def test_the_term_that_matters_most_comes_first(latents):
    wide = latents * [1, 10, 1, 1, 1, 1]  # its factor is small, its effect large
    state = drawn(np.stack([np.zeros(len(wide)), 0.4 * wide[:, 1] + wide[:, 0], wide[:, 2]], axis=1))
    formulas = finish(fit_together(wide, state, [], range(3), CONFIG))
    text = str(formulas[1])
    assert text.index("z1") < text.index("z0")


def test_softmax_regression_agrees_with_scikit_learn(latents):
    x, state = latents[:3000], drawn(latents[:3000, :3])
    softmax = _Softmax.of(x, state, np.ones(len(x)))
    factors, loss, _ = softmax.fit(np.zeros((3, 7)), np.ones((3, 7), bool))
    theirs = LogisticRegression(C=1 / (1e-4 * len(x)), tol=1e-10, max_iter=1000).fit(x, state)
    found, expected = (f - f.mean(axis=0) for f in (factors[:, 1:], theirs.coef_))
    np.testing.assert_allclose(found, expected, atol=1e-3)
    entropy = -log_softmax(theirs.decision_function(x), axis=1)[range(len(x)), state].mean()
    assert loss == pytest.approx(entropy, abs=1e-3)


def test_what_a_term_gives_is_estimated_before_it_goes(latents):
    x, state = latents[:3000], drawn(0.5 * latents[:3000, :3])
    softmax = _Softmax.of(x, state, np.ones(len(x)))
    chosen = np.ones((3, 7), bool)
    chosen[0] = False  # or the other classes make up for what goes
    factors, loss, gains = softmax.fit(np.zeros((3, 7)), chosen)
    assert np.isinf(gains[0]).all()
    for term in (2, 5):
        without = chosen.copy()
        without[1, term] = False
        assert softmax.fit(np.where(without, factors, 0), without)[1] - loss == pytest.approx(gains[1, term], rel=0.1)
