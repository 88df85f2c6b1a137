"""Agreement of heads by numbers."""

import numpy as np
import pytest

from napari_cellinterp.explain.agreement import Opinion, disagreement, pairwise_agreement


def opinion(state, probability=None):
    state = np.array(state, np.int64)
    probability = np.full(len(state), 0.9) if probability is None else probability
    return Opinion(np.zeros(len(state), np.float32), state, np.where(state > 0, probability, np.nan).astype(np.float32))


@pytest.fixture
def three():
    return {
        "sparse": opinion([1, 1, 2, 1, 0, 2], [0.9, 0.8, 0.6, 0.9, 0.9, 0.9]),
        "symbolic": opinion([1, 2, 1, 1, 1, 2], [0.9, 0.7, 0.9, 0.9, 0.9, 0.9]),
        "dense": opinion([1, 1, 1, 2, 1, 2], [0.9, 0.95, 0.8, 0.99, 0.9, 0.9]),
    }


def test_pairwise(three):
    share, n = pairwise_agreement(three)
    assert n.tolist() == [[5, 5, 5], [5, 6, 6], [5, 6, 6]]
    np.testing.assert_allclose(share, [[1, 3 / 5, 3 / 5], [3 / 5, 1, 4 / 6], [3 / 5, 4 / 6, 1]])


def test_who_stands_alone(three):
    found = disagreement(three)
    assert found.titles == ("sparse alone", "symbolic alone", "dense alone", "no head alone")
    assert found.pattern.tolist() == [0, 2, 1, 3, 0, 0]
    assert found.counts.tolist() == [1, 1, 1, 0]
    assert found.n_undefined == 1


def test_the_firmest_comes_first(three):
    found = disagreement(three)
    np.testing.assert_allclose(found.sureness, [0, 0.7, 0.6, 0.9, 0, 0], rtol=1e-6)
    assert found.rows.tolist() == [3, 1, 2]


def test_two_heads_just_differ():
    found = disagreement({"sparse": opinion([1, 2]), "dense": opinion([2, 2])})
    assert found.titles == ("sparse and dense differ",)
    assert found.pattern.tolist() == [1, 0]


def test_four_heads_two_against_two_and_all_different():
    states = ([1, 1, 1], [1, 1, 2], [2, 1, 3], [2, 3, 4])
    found = disagreement(dict(zip("abcd", map(opinion, states), strict=True)))
    assert [(*found.titles, "")[i - 1] for i in found.pattern] == ["no head alone", "d alone", "no head alone"]


def test_one_head_agrees_with_itself():
    found = disagreement({"sparse": opinion([1, 2, 0])})
    assert not found.pattern.any()
    assert found.n_undefined == 1


def test_nothing_to_compare():
    share, n = pairwise_agreement({"a": opinion([0, 0]), "b": opinion([1, 2])})
    assert n[0, 1] == 0
    assert np.isnan(share[0, 1])
