"""The four schemes of the paper, several models of each: CNNs, and dense, sparse and symbolic heads on latents."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import torch

from napari_cellinterp.config import CnnConfig, HeadConfig, RiglConfig, SymbolicConfig
from napari_cellinterp.events import EpochFinished
from napari_cellinterp.models.heads import read_latents
from napari_cellinterp.training.assessment import chosen_formula, scores_of
from napari_cellinterp.training.fit import fit_cnn, fit_dense, fit_sparse
from napari_cellinterp.training.symbolic import Searched, search_each_class, search_formulas
from napari_cellinterp.training.workers import finish_in_worker, worker_pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_cellinterp.config import TrainingConfig
    from napari_cellinterp.events import Job
    from napari_cellinterp.models.heads import Cnn, NetworkHead
    from napari_cellinterp.models.vae import Encoder

T = TypeVar("T")
R = TypeVar("R")
SeededConfig = TypeVar("SeededConfig", CnnConfig, HeadConfig, RiglConfig, SymbolicConfig)

TARGETS = ("hinge", "squared")
"""Losses that formulas are searched with: so many runs of each (Soelistyo & Lowe, appendix B.4)."""


class Labelled(NamedTuple):
    """Latents with known classes.

    Attributes
    ----------
    turned : (8, n, n_latents) Tensor
        Of n crops under all flips and quarter turns.
    moved : (n_views, n, n_latents) Tensor
        What dense heads are trained on: of the crops turned and moved, or the same as ``turned``.
    state : (n,) int64 Tensor
        Class of each crop, from 0.
    n_classes : int
        How many classes there are.
    """

    turned: Tensor
    moved: Tensor
    state: Tensor
    n_classes: int


def train_cnns(
    images: NDArray[np.uint8],
    state: Tensor,
    n_classes: int,
    config: TrainingConfig,
    n_processes: int = 1,
    encoder: Encoder | None = None,
) -> Job[list[Cnn]]:
    """Train the CNNs of scheme 1; parameters as in `fit_cnn`."""
    fit = partial(_cnn, images, state, n_classes, config.cnn, encoder)
    return (yield from _side_by_side("cnn", fit, range(config.n_runs), n_processes))


def train_networks(
    crops: Labelled, config: TrainingConfig, n_processes: int = 1
) -> Job[tuple[list[NetworkHead], list[NetworkHead]]]:
    """Train the dense heads of scheme 2, and the sparse ones of scheme 3."""
    fit = partial(_dense_and_sparse, crops, config)
    pairs = yield from _side_by_side("dense and sparse heads", fit, range(config.n_runs), n_processes)
    return [dense for dense, _ in pairs], [sparse for _, sparse in pairs]


def search_heads(
    crops: Labelled,
    dense: Sequence[NetworkHead],
    sparse: Sequence[NetworkHead],
    config: TrainingConfig,
    n_processes: int = 1,
) -> Job[list[Searched]]:
    """Search for the formulas of scheme 4, of the latents that the sparse heads kept.

    Returns
    -------
    list of Searched
        The runs with the hinge loss, then those with the squared error against the sparse heads.
    """
    inputs = kept_latents(sparse)
    runs = [(target, seed) for target in TARGETS for seed in range(config.n_runs)]
    search = partial(_search, crops, inputs, (dense, sparse), config.symbolic)
    return (yield from _side_by_side("formulas", search, runs, n_processes))


def kept_latents(heads: Sequence[NetworkHead]) -> list[int]:
    """Return the latents that at least a third of the sparse heads read, the most read first."""
    n_latents = heads[0].linear_layers()[0].in_features
    counts = np.bincount([i for head in heads for i in read_latents(head)], minlength=n_latents)
    return [int(i) for i in np.argsort(-counts, kind="stable") if counts[i] >= max(1, len(heads) / 3)]


def _side_by_side(name: str, work: Callable[[R], T], runs: Sequence[R], n_processes: int) -> Job[list[T]]:
    """Do the work of each run, several processes at once; give the results in order."""
    found: list[T] = []
    with ExitStack() as stack:
        results: Iterator[T] = map(work, runs)
        if n_processes > 1:
            results = stack.enter_context(worker_pool(n_processes)).map(work, runs)
        for result in results:
            found.append(result)
            yield EpochFinished(len(found), len(runs), name, ())
    return found


def _cnn(
    images: NDArray[np.uint8], state: Tensor, n_classes: int, config: CnnConfig, encoder: Encoder | None, seed: int
) -> Cnn:
    return finish_in_worker(fit_cnn(images, state, _seeded(config, seed), n_classes, encoder))


def _dense_and_sparse(crops: Labelled, config: TrainingConfig, seed: int) -> tuple[NetworkHead, NetworkHead]:
    dense = finish_in_worker(fit_dense(crops.moved, crops.state, _seeded(config.dense, seed), crops.n_classes))
    sparse = finish_in_worker(fit_sparse(crops.turned, crops.state, _seeded(config.sparse, seed), crops.n_classes))
    return dense, sparse


def _seeded(config: SeededConfig, seed: int) -> SeededConfig:
    return config.model_copy(update={"seed": config.seed + seed})


def _search(
    crops: Labelled,
    inputs: Sequence[int],
    networks: tuple[Sequence[NetworkHead], Sequence[NetworkHead]],
    config: SymbolicConfig,
    run: tuple[str, int],
) -> Searched:
    """Search on a part of the crops, each under a random turn."""
    target, seed = run
    config = _seeded(config.model_copy(update={"target": target}), seed)
    rng = np.random.default_rng(seed)
    rows = torch.from_numpy(rng.permutation(len(crops.state))[: config.n_crops])
    latents = crops.turned[torch.from_numpy(rng.integers(0, len(crops.turned), len(rows))), rows]
    # the dense head only guides the search with the hinge loss; the sparse one is what the squared error is from
    teacher = networks[target == "squared"][seed]
    scores, state = scores_of(teacher, latents), crops.state[rows].numpy()
    z = latents.double().numpy()
    if crops.n_classes > 2:
        return finish_in_worker(search_each_class(z, state, scores, inputs, config, crops.n_classes))
    sign = np.where(state == 1, 1.0, -1.0)
    front = finish_in_worker(search_formulas(z, sign, scores[:, 0], inputs, config))
    return Searched([front], [chosen_formula(front, config.interphase_weight)])
