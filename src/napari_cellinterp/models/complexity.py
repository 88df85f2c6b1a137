"""Sizes of networks: weights, and nodes of the equivalent formula (appendix C of the paper).

A neuron of M sources, ``b + sum of w x``, is a tree of 4M + 1 nodes: a weight, a source, a product and a sum for each
source, and the bias. Mish, ``x tanh(log(1 + exp(x)))``, holds its argument twice and six nodes more: 8(M + 1) (eq. 10).
Batch normalisation adds 11 nodes to the argument: 8M + 30 (eq. 12). Sources count as leaves wherever they stand: the
size of a network is the sum over its neurons, each counted once.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from napari_cellinterp.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


def dense_expression_size(layer_sizes: Sequence[int], batch_norm: bool = False) -> int:
    """Expression size of a fully connected head (eq. 11 of the paper; with batch normalisation eq. 13).

    Parameters
    ----------
    layer_sizes : sequence of int
        Neurons a layer, from the inputs to the outputs: the paper's head is (32, 16, 16, 16, 1).
    batch_norm : bool
        Whether batch normalisation comes before each Mish; never in the last layer.

    Returns
    -------
    int
        8641 for the paper's scheme 2, 9697 for its scheme 1.

    Raises
    ------
    OptionError
        If there are fewer than two layers, or an empty one.
    """
    if len(layer_sizes) < 2 or min(layer_sizes) < 1:
        raise OptionError(f"Layers of {tuple(layer_sizes)} neurons aren't a network.", "Give two layers or more.")
    *hidden, last = pairwise(layer_sizes)
    return _output_size(last[0]) * last[1] + sum(n_out * _mish_size(n_in, batch_norm) for n_in, n_out in hidden)


def sparse_expression_size(masks: Sequence[ArrayLike]) -> int:
    """Expression size of a sparse head (eq. 14 of the paper), the figure of its Table 1.

    The equation counts 8M + 1 for a hidden neuron of M active sources, seven less than the tree of appendix C has (see
    `tree_size`), and 4M + 1 for an output. Neurons without an active source count nothing.

    Parameters
    ----------
    masks : sequence of array_like
        One a layer from the inputs on, (n_out, n_in) bool: which weights are active. Numbers count where not zero.

    Returns
    -------
    int
        Expression size.

    Raises
    ------
    OptionError
        If the masks aren't matrices that follow upon each other.
    """
    *hidden, last = _sources(masks)
    return sum(_output_size(m) for m in last) + sum(8 * m + 1 for layer in hidden for m in layer)


def tree_size(masks: Sequence[ArrayLike], batch_norm: bool = False) -> int:
    """Nodes of the trees that appendix C of the paper draws, summed over the neurons that have an active source.

    A hidden neuron of M active sources is the tree of Mish with its weighted sum in it twice: 8(M + 1) nodes, 8M + 30
    with batch normalisation. An output is the weighted sum alone: 4M + 1. So a dense network has the same size here as
    in `dense_expression_size`. The source of a weight is one leaf, whatever that neuron's own tree is.

    Parameters
    ----------
    masks : sequence of array_like
        One a layer from the inputs on, (n_out, n_in) bool: which weights are active. Numbers count where not zero.
    batch_norm : bool
        Whether batch normalisation comes before each Mish.

    Returns
    -------
    int
        Number of nodes.

    Raises
    ------
    OptionError
        If the masks aren't matrices that follow upon each other.
    """
    *hidden, last = _sources(masks)
    return sum(_output_size(m) for m in last) + sum(_mish_size(m, batch_norm) for layer in hidden for m in layer)


def n_weights(masks: Sequence[ArrayLike]) -> int:
    """Active weights of a head, without biases, as in Table 1 of the paper.

    Parameters
    ----------
    masks : sequence of array_like
        One a layer from the inputs on, (n_out, n_in) bool: which weights are active. Numbers count where not zero.

    Returns
    -------
    int
        1040 for the paper's dense head (32, 16, 16, 16, 1).

    Raises
    ------
    OptionError
        If the masks aren't matrices that follow upon each other.
    """
    return sum(sum(layer) for layer in _sources(masks))


def _mish_size(n_sources: int, batch_norm: bool) -> int:
    return 8 * n_sources + (30 if batch_norm else 8)


def _output_size(n_sources: int) -> int:
    return 4 * n_sources + 1


def _sources(masks: Sequence[ArrayLike]) -> list[list[int]]:
    """Numbers of active sources by layer, of the neurons that have any."""
    active = [_matrix(mask) for mask in masks]
    shapes = [layer.shape for layer in active]
    if not active or any(after[1] != before[0] for before, after in pairwise(shapes)):
        raise OptionError(
            f"Masks of shapes {shapes} don't follow upon each other.", "Give one (n_out, n_in) a layer, inputs first."
        )
    return [[int(m) for m in layer.sum(axis=1) if m > 0] for layer in active]


def _matrix(mask: ArrayLike) -> NDArray[np.bool_]:
    matrix: NDArray[np.bool_] = np.asarray(mask) != 0
    if matrix.ndim != 2:
        raise OptionError(f"A mask of shape {matrix.shape} isn't a matrix.", "Give one (n_out, n_in) a layer.")
    return matrix
