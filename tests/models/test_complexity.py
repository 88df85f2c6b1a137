"""Sizes of networks against the paper's figures and counts by hand."""

from itertools import pairwise

import numpy as np
import pytest

from napari_cellinterp.errors import OptionError
from napari_cellinterp.models.complexity import dense_expression_size, n_weights, sparse_expression_size, tree_size
from napari_cellinterp.models.expression import Expression

PAPER_LAYERS = (32, 16, 16, 16, 1)
DENSE = [np.ones((n_out, n_in), bool) for n_in, n_out in pairwise(PAPER_LAYERS)]

# three inputs, of which one is unused; two hidden neurons, of which the second has no source; one output
SPARSE = [np.array([[1, 0, 1], [0, 0, 0]], bool), np.array([[1, 0]], bool)]


def test_paper_dense_head() -> None:
    assert dense_expression_size(PAPER_LAYERS) == 8641
    assert n_weights(DENSE) == 1040


def test_paper_dense_head_with_batch_norm() -> None:
    assert dense_expression_size(PAPER_LAYERS, batch_norm=True) == 9697


@pytest.mark.parametrize(
    ("layers", "plain", "with_batch_norm"),
    [((5, 1), 21, 21), ((5, 3), 63, 63), ((2, 3, 1), 3 * 24 + 13, 3 * 46 + 13)],
)
def test_dense_by_hand(layers: tuple[int, ...], plain: int, with_batch_norm: int) -> None:
    assert dense_expression_size(layers) == plain
    assert dense_expression_size(layers, batch_norm=True) == with_batch_norm


def test_dense_tree_is_the_dense_expression() -> None:
    assert tree_size(DENSE) == 8641
    assert tree_size(DENSE, batch_norm=True) == 9697
    # eq. 14 counts seven nodes less for each of the 48 hidden neurons
    assert sparse_expression_size(DENSE) == 8641 - 7 * 48


def test_sparse_by_hand() -> None:
    assert sparse_expression_size(SPARSE) == (8 * 2 + 1) + (4 * 1 + 1) == 22
    assert tree_size(SPARSE) == 8 * 3 + 5 == 29
    assert tree_size(SPARSE, batch_norm=True) == 8 * 2 + 30 + 5 == 51
    assert n_weights(SPARSE) == 3


def test_a_pruned_output_counts_nothing() -> None:
    nothing = [np.zeros((2, 3), bool), np.zeros((1, 2), bool)]
    assert sparse_expression_size(nothing) == tree_size(nothing) == n_weights(nothing) == 0


def test_weights_count_where_not_zero() -> None:
    assert n_weights([[[0.0, -0.3, 1e-9]]]) == 2


def test_output_neuron_is_the_formula_of_its_sum() -> None:
    assert Expression.parse("0.1 + 0.2*z0 + 0.3*z1 + 0.4*z2").size == tree_size([np.ones((1, 3))])


@pytest.mark.parametrize("layers", [(), (32,), (32, 0, 1)])
def test_not_a_network(layers: tuple[int, ...]) -> None:
    with pytest.raises(OptionError, match="aren't a network"):
        dense_expression_size(layers)


@pytest.mark.parametrize(
    ("masks", "problem"),
    [
        ([], "don't follow"),
        ([np.ones((2, 3)), np.ones((1, 3))], r"\(2, 3\), \(1, 3\)"),
        ([np.ones(3)], "isn't a matrix"),
    ],
)
def test_masks_that_are_no_network(masks: list[np.ndarray], problem: str) -> None:
    with pytest.raises(OptionError, match=problem):
        sparse_expression_size(masks)
