"""Heads are measured as they should be, the right one is kept, and its scores become honest probabilities."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_cellinterp.models.bundle_info import HeadInfo
from napari_cellinterp.models.expression import Expression
from napari_cellinterp.models.heads import Cnn, NetworkHead, SymbolicHead, read_latents, states_of
from napari_cellinterp.training.assessment import (
    Judged,
    calibrated,
    chosen_formula,
    describe,
    keep_best,
    with_front,
)
from napari_cellinterp.training.symbolic import Candidate, Searched


def formulas(*texts: str) -> SymbolicHead:
    return SymbolicHead([Expression.parse(text) for text in texts])


def judged(latents, state) -> Judged:
    images = np.zeros((len(state), 1, 64, 64), np.uint8)
    return Judged(images, torch.tensor(np.asarray(latents), dtype=torch.float32), np.asarray(state))


def sparse_head() -> NetworkHead:
    """Two of four latents, one neuron a layer."""
    head = NetworkHead(4, sparse=True)
    active = [[(0, 1), (0, 3)], [(2, 0)], [(5, 2)], [(0, 5)]]
    for layer, weights in zip(head.linear_layers(), active, strict=True):
        layer.mask.zero_()
        for weight in weights:
            layer.mask[weight] = 1
    return head


def constant_head(score: float) -> NetworkHead:
    """A dense head that gives every nucleus the same score."""
    head = NetworkHead(2).requires_grad_(False)
    last = head.linear_layers()[-1]
    last.weight.zero_()
    last.bias.fill_(score)
    return head


def probabilities(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def drawn(probability: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a class for each row of probabilities."""
    return (probability.cumsum(axis=1) < rng.random((len(probability), 1))).sum(axis=1)


@pytest.mark.parametrize(
    ("scores", "state"),
    [
        ([[-0.1], [0.0], [3.0], [np.nan], [np.inf]], [0, 1, 1, -1, -1]),
        ([[1, 2, 3], [-1, -2, -3], [0, np.nan, 9], [0, 5, -np.inf]], [2, 0, -1, -1]),
    ],
    ids=["one score", "several"],
)
def test_states_of_scores(scores, state):
    assert states_of(np.array(scores)).tolist() == state


def test_an_undefined_score_is_wrong_on_both_sides():
    latents = [[-1.0], [-2.0], [0.5], [2.0]]
    assert judged(latents, [0, 1, 0, 1]).accuracy(formulas("log(z0)")) == 0.5


def test_a_cnn_is_judged_on_images_and_heads_on_latents():
    torch.manual_seed(0)
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 64, 64), np.uint8)
    crops = Judged(images, torch.tensor([[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]), np.zeros(3, np.int64))
    cnn = Cnn().eval()
    with torch.no_grad():
        expected = cnn(torch.from_numpy(images).float() / 255)
    np.testing.assert_allclose(crops.scores(cnn), expected, rtol=1e-5)
    np.testing.assert_array_equal(crops.scores(formulas("z1", "z0")), [[4, 1], [5, 2], [6, 3]])


def test_sizes_of_networks():
    """Of the paper's Table 1 and its equations 11, 13 and 14; dense trees have no other size."""
    dense, cnn, sparse = describe(NetworkHead()), describe(Cnn()), describe(sparse_head())
    assert (dense.n_weights, dense.expression_size, dense.tree_size) == (1040, 8641, 8641)
    assert dense.latents == tuple(range(32))
    assert (cnn.n_weights, cnn.expression_size, cnn.tree_size) == (1040, 9697, 9697)
    assert cnn.latents is None
    assert sparse.n_weights == 5
    assert sparse.expression_size == (8 * 2 + 1) + (8 + 1) + (8 + 1) + (4 + 1)
    assert sparse.tree_size == 8 * 3 + 8 * 2 + 8 * 2 + (4 + 1)


def test_the_size_of_formulas_is_that_of_their_trees():
    run = describe(formulas("z3 + 2*z1", "z1**2"))
    assert run.expression_size == run.tree_size == 5 + 2
    assert run.n_weights is None
    assert run.latents == (1, 3)


def test_nothing_but_a_head_is_described():
    with pytest.raises(TypeError, match="Linear is no head"):
        describe(torch.nn.Linear(2, 1))


def test_latents_that_heads_read():
    assert read_latents(NetworkHead(3)) == (0, 1, 2)
    assert read_latents(sparse_head()) == (1, 3)
    assert read_latents(formulas("z7 - z2*z7", "z5 + 1")) == (2, 5, 7)
    assert read_latents(formulas("1.5")) == ()


def three_scores():
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 2, (4000, 3))
    return scores, drawn(probabilities(1.2 * scores + [0.5, -1.0, 0.0]), rng)


def test_calibration_of_one_score_finds_the_curve_that_made_the_states():
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 2, 4000)
    state = (rng.random(4000) < 1 / (1 + np.exp(-(1.5 * scores - 0.8)))).astype(int)
    (found,) = calibrated(scores[:, None], state)
    assert found.slope == pytest.approx(1.5, abs=0.15)
    assert found.offset == pytest.approx(-0.8, abs=0.15)


def test_calibration_of_three_scores_finds_the_curve_that_made_the_states():
    scores, state = three_scores()
    found = calibrated(scores, state)
    assert len({calibration.slope for calibration in found}) == 1
    assert found[0].slope == pytest.approx(1.2, abs=0.12)
    given = probabilities(found[0].slope * scores + [calibration.offset for calibration in found])
    weight = 1 / np.bincount(state)[state]
    np.testing.assert_allclose(np.average(given, axis=0, weights=weight), 1 / 3, atol=0.01)


def test_how_many_crops_of_a_class_there_are_moves_no_probability():
    scores, state = three_scores()
    few = np.flatnonzero((state != 1) | (np.arange(len(state)) % 4 == 0))
    all_of_it, fewer = calibrated(scores, state), calibrated(scores[few], state[few])
    offsets = [[calibration.offset - found[0].offset for calibration in found] for found in (all_of_it, fewer)]
    np.testing.assert_allclose(offsets[0], offsets[1], atol=0.25)


@pytest.mark.parametrize("n_scores", [1, 3])
def test_undefined_scores_are_left_out_of_the_calibration(n_scores):
    rng = np.random.default_rng(1)
    scores = rng.normal(0, 2, (300, n_scores))
    state = drawn(probabilities(np.c_[np.zeros(300), scores][:, -max(2, n_scores) :]), rng)
    with_gaps = np.concatenate([scores, np.full((200, n_scores), 5.0)])
    with_gaps[300:, 0] = np.tile([np.nan, np.inf], 100)
    assert calibrated(with_gaps, np.concatenate([state, np.zeros(200, int)])) == calibrated(scores, state)


def test_the_best_on_validation_is_kept_and_the_test_accuracy_is_told():
    validation, test = judged(np.zeros((10, 2)), [1] * 8 + [0] * 2), judged(np.zeros((10, 2)), [1] * 3 + [0] * 7)
    heads = [constant_head(-1), constant_head(1), constant_head(1)]
    head, info = keep_best(heads, validation, test, [None] * 3)
    assert head is heads[1], "the first of the best"
    assert [(run.seed, run.accuracy) for run in info.runs] == [(0, 0.7), (1, 0.3), (2, 0.3)]
    (calibration,) = info.calibration
    assert calibration.slope + calibration.offset == pytest.approx(np.log(4), abs=0.05), "8 of 10 of this score"


@pytest.mark.parametrize(("interphase_weight", "best"), [(1.0, 1), (5.0, 0)])
def test_interphase_counts_in_the_choice_as_in_the_training(interphase_weight, best):
    crops = judged(np.zeros((10, 2)), [1] * 8 + [0] * 2)
    heads = [constant_head(-1), constant_head(1)]
    head, info = keep_best(heads, crops, crops, [None] * 2, interphase_weight)
    assert head is heads[best]
    assert [run.accuracy for run in info.runs] == [0.2, 0.8], "the figures weigh all crops alike"


@pytest.mark.parametrize(("n_wrong", "kept"), [(1, "z0"), (5, "z0 + z1")])
def test_of_formulas_nearly_as_good_the_simpler_is_kept(n_wrong, kept):
    """Only a few of a thousand need z1."""
    state = np.arange(1000) % 2
    latents = np.c_[2.0 * state - 1, np.zeros(1000)]
    latents[:n_wrong] = np.c_[-latents[:n_wrong, 0], 5 * latents[:n_wrong, 0]]
    crops = judged(latents, state)
    heads = [formulas("z0 + z1"), formulas("1"), formulas("z0")]
    head, info = keep_best(heads, crops, crops, ["hinge", "hinge", "squared_error"])
    assert [str(expression) for expression in head.expressions] == [kept]
    assert [run.accuracy for run in info.runs] == [1, 0.5, 1 - n_wrong / 1000]
    assert [run.target for run in info.runs] == ["hinge", "hinge", "squared_error"]


def candidate(text: str, loss: float = 1.0, accuracy: float = 0.5, target: str = "hinge") -> Candidate:
    return Candidate(Expression.parse(text), loss, accuracy, target)


@pytest.mark.parametrize(
    ("accuracies", "chosen"),
    [([0.5, 0.949, 0.9505], 1), ([0.5, 0.947, 0.9505], 2), ([0.95, 0.949, 0.9505], 0), ([0.5, 0.96, 0.9505], 1)],
)
def test_the_simplest_formula_near_the_best_is_chosen(accuracies, chosen):
    front = [candidate(text, accuracy=a) for text, a in zip(("z0", "z0 + 1", "z0 + z1*z2"), accuracies, strict=True)]
    assert chosen_formula(front) is front[chosen]


@pytest.mark.parametrize(("interphase_weight", "chosen"), [(1.0, 0), (7.0, 1)])
def test_where_interphase_counts_more_a_simpler_formula_may_cost_less(interphase_weight, chosen):
    """With 1 : 7, the same share of the weighted crops is four times as many metaphases."""
    front = [candidate("z0", accuracy=0.949), candidate("z0 + 1", accuracy=0.9496)]
    front.append(candidate("z0 + z1*z2", accuracy=0.95))
    assert chosen_formula(front, interphase_weight) is front[chosen]


def test_fronts_are_told_for_each_score_and_loss():
    def run(*losses: float, target: str) -> Searched:
        """Of each of three scores; the second formula is beaten where its loss is larger than the first's."""
        texts = ("z0", "z0 - z1", "log(z0) + z1")
        front = [candidate(t, loss, target=target) for t, loss in zip(texts, losses, strict=True)]
        return Searched([front] * 3, [candidate("z2", 99, target=target)] * 3)

    runs = [
        run(0.9, 0.5, 0.4, target="hinge"),
        run(0.8, 0.95, 0.3, target="hinge"),
        run(7, 8, 6, target="squared"),
    ]
    test = judged([[1.0, 0.0], [1.0, 2.0], [-1.0, 0.0], [-1.0, -2.0]], [0, 1, 2, 2])
    head = formulas("z0", "z1", "z0 - z1")
    before = HeadInfo(calibration=())
    info = with_front(before, head, runs, test)
    assert info.expressions == ("z0", "z1", "z0 - z1")
    assert before.front == (), "the info that was given stays as it was"
    for score_index in range(3):
        for target, expected in (
            ("hinge", [("z0", 0.8), ("z0 - z1", 0.5), ("log(z0) + z1", 0.3)]),
            ("squared_error", [("z0", 7), ("log(z0) + z1", 6)]),
        ):
            front = [f for f in info.front if (f.score_index, f.target) == (score_index, target)]
            assert [(f.expression, f.loss) for f in front] == expected
            assert all(f.complexity == Expression.parse(f.expression).complexity for f in front)
    assert len(info.front) == 3 * (3 + 2)
    # crops 0 and 1 are positive under z0, 0 and 3 under z0 - z1; under the logarithm 0 and 1 are, while 2 and 3 are
    # undefined, which is wrong on either side
    right = {(f.expression, f.score_index): f.accuracy for f in info.front}
    assert [right["z0", i] for i in range(3)] == [0.75, 0.75, 0]
    assert [right["z0 - z1", i] for i in range(3)] == [0.75, 0.25, 0.5]
    assert [right["log(z0) + z1", i] for i in range(3)] == [0.25, 0.25, 0]


def test_the_own_formula_stands_beside_the_front_once():
    found = [candidate("z1", loss=0.5), candidate("z0", loss=0.4), candidate("z1", loss=0.5)]
    runs = [Searched([[one]], [one]) for one in found]
    test = judged([[1.0, -1.0], [2.0, 1.0]], [1, 1])
    info = with_front(HeadInfo(calibration=()), formulas("z1"), runs, test)
    assert [(f.expression, f.loss, f.accuracy) for f in info.front] == [("z0", 0.4, 1), ("z1", 0.5, 0.5)]


def test_a_formula_that_was_fitted_together_with_others_stands_beside_the_front():
    runs = [Searched([[candidate("z0", loss=0.2)]] * 3, [candidate(f"z{i} + 1", loss=0.9) for i in range(3)])]
    head = formulas("z0 + 1", "z1 + 1", "z2 + 1")
    info = with_front(HeadInfo(calibration=()), head, runs, judged([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]], [0, 1, 2]))
    assert [f.expression for f in info.front if f.score_index == 1] == ["z0", "z1 + 1"]


def test_of_one_score_the_second_class_is_the_positive_one():
    runs = [Searched([[candidate("z0")]], [candidate("z0")])]
    info = with_front(HeadInfo(calibration=()), formulas("z0"), runs, judged([[1.0], [2.0], [-1.0]], [1, 1, 0]))
    assert [(f.accuracy, f.score_index, f.target) for f in info.front] == [(1, 0, "hinge")]


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e4])
def test_calibration_knows_scores_of_any_size(size):
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 2, 4000)
    state = (rng.random(4000) < 1 / (1 + np.exp(0.8 - 1.5 * scores))).astype(np.int64)
    (found,) = calibrated(scores[:, None] * size, state)
    assert found.slope * size == pytest.approx(1.5, rel=0.1)
    assert found.offset == pytest.approx(-0.8, abs=0.15)


def test_calibration_of_undefined_scores_changes_nothing():
    (found,) = calibrated(np.full((5, 1), np.nan), np.zeros(5, np.int64))
    assert (found.slope, found.offset) == (1.0, 0.0)
