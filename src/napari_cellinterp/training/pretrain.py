"""Make a whole bundle: all four schemes on one beta-TCVAE, with calibration, population and figures."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from multiprocessing import get_context
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from napari_cellinterp.config import Config, HeadConfig, HeadName, RiglConfig, SymbolicConfig, VaeConfig
from napari_cellinterp.events import EpochFinished
from napari_cellinterp.models.bundle import ModelBundle
from napari_cellinterp.models.bundle_info import (
    BundleInfo,
    Calibration,
    DataSource,
    Figure,
    Formula,
    HeadInfo,
    LatentInfo,
    NoveltyLimits,
    Run,
)
from napari_cellinterp.models.complexity import dense_expression_size, sparse_expression_size, tree_size
from napari_cellinterp.models.heads import Cnn, MaskedLinear, NetworkHead, SymbolicHead
from napari_cellinterp.models.novelty import NoveltyModel, Population, crop_statistics
from napari_cellinterp.training.datasets import LabelledCrops, binary_target, one_thread
from napari_cellinterp.training.fit import encode_all, encode_turns, fit_cnn, fit_dense, fit_sparse
from napari_cellinterp.training.symbolic import Candidate, pareto_front, search_formulas

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_cellinterp.events import Job
    from napari_cellinterp.models.vae import Decoder, Encoder

CLASSES = ("interphase", "metaphase")
CNN_LAYERS = (32, 16, 16, 16, 1)
MAX_LOSS_ABOVE_BEST = 0.01
"""The symbolic head is the simplest formula whose hinge loss is within this of the front's best."""

NOVEL_SHARE = 0.002
"""Share of the held-out population that is called novel by the distance alone."""

N_QUANTILES = 201
N_POPULATION = 3000
SYMBOLIC_CROPS = 4000

T = TypeVar("T")


class BundleConfig(Config):
    """Training of a whole bundle."""

    name: str
    description: str
    vae: VaeConfig = VaeConfig()
    head: HeadConfig = HeadConfig()
    cnn: HeadConfig = HeadConfig()
    rigl: RiglConfig = RiglConfig()
    symbolic: SymbolicConfig = SymbolicConfig()
    n_runs: int = 10


TINY = BundleConfig(
    name="tiny",
    description="Trained in seconds, for trying things out; don't believe it.",
    vae=VaeConfig(n_images=4_000, batch=32, learning_rate=2e-3),
    head=HeadConfig(n_epochs=6, batch=32),
    cnn=HeadConfig(n_epochs=6, batch=32),
    rigl=RiglConfig(n_epochs=15, warm_up_epochs=8, batch=32, update_interval_steps=10),
    symbolic=SymbolicConfig(n_generations=5, population=50, max_size=12),
    n_runs=1,
)
"""Settings that make a bundle in seconds."""


@dataclass(frozen=True)
class Split:
    """Interphase and metaphase crops to train heads on, or to test them with."""

    images: NDArray[np.uint8]
    target: NDArray[np.float32]

    @staticmethod
    def of(crops: LabelledCrops, n_a_class: int, seed: int) -> Split:
        """Draw as many crops of both classes; all there are where there are fewer."""
        rng, target = np.random.default_rng(seed), binary_target(crops.state)
        rows = [np.flatnonzero(target == sign) for sign in (-1, 1)]
        n = min(n_a_class, *map(len, rows))
        chosen = np.concatenate([rng.permutation(r)[:n] for r in rows])
        return Split(to_bytes(crops.patches.x[chosen]), target[chosen])


def to_bytes(x: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return normalised patches times 255, rounded."""
    return (x * 255).round().astype(np.uint8)


def train_cnns(train: Split, config: BundleConfig) -> Job[list[Cnn]]:
    """Train the CNNs of scheme 1, one a run; they need no beta-TCVAE."""
    cnns = []
    for seed in range(config.n_runs):
        cnns.append((yield from fit_cnn(train.images, torch.from_numpy(train.target), _seeded(config.cnn, seed))))
    return cnns


def train_heads(
    encoder: Encoder,
    decoder: Decoder,
    cnns: Sequence[Cnn],
    train: Split,
    test: Split,
    held_out: LabelledCrops,
    config: BundleConfig,
    n_processes: int = 1,
) -> Job[ModelBundle]:
    """Train the heads of schemes 2 to 4 on a finished beta-TCVAE, and put the bundle together.

    Of each scheme the run with the best accuracy on ``test`` is kept, and the figures of all.

    Parameters
    ----------
    encoder, decoder : Encoder, Decoder
        Trained networks.
    cnns : sequence of Cnn
        Trained networks of scheme 1.
    train, test : Split
        Crops from different scenes.
    held_out : LabelledCrops
        All states, from the scenes of ``test``: the population that the bundle carries.
    config : BundleConfig
        Settings.
    n_processes : int
        Runs that are trained side by side.

    Yields
    ------
    EpochFinished
        After each run.
    """
    turned, seeds = encode_turns(encoder, train.images), range(config.n_runs)
    target = torch.from_numpy(train.target)
    networks = partial(_train_networks, turned, target, config)
    dense, sparse = zip(*(yield from _side_by_side("dense and sparse", networks, seeds, n_processes)), strict=True)
    teachers = sparse if config.symbolic.target == "squared" else dense
    search = partial(_search, turned, train.target, teachers, kept_latents(sparse), config.symbolic)
    fronts = yield from _side_by_side("symbolic", search, seeds, n_processes)
    latents = encode_all(encoder, test.images)[0]
    images = torch.from_numpy(test.images).float() / 255
    formulas = [SymbolicHead([_chosen(front).expression]) for front in fronts]
    schemes: dict[HeadName, tuple[Sequence[nn.Module], Tensor, Callable[[nn.Module], Run]]] = {
        "sparse": (sparse, latents, _describe_sparse),
        "symbolic": (formulas, latents, _describe_symbolic),
        "dense": (dense, latents, _describe_dense),
        "cnn": (cnns, images, _describe_cnn),
    }
    kept = {name: _best(*scheme, test.target) for name, scheme in schemes.items()}
    heads = {name: head for name, (head, _) in kept.items()}
    infos = {name: info for name, (_, info) in kept.items()}
    infos["symbolic"] = _with_front(infos["symbolic"], heads["symbolic"], fronts, latents, test.target)
    return assemble(encoder, decoder, heads, infos, held_out, config)


def _side_by_side(name: str, run: Callable[[int], T], seeds: range, n_processes: int) -> Job[list[T]]:
    """Call a run for each seed, several processes at once; give the results in order."""
    found: list[T] = []
    with ExitStack() as stack:
        results: Iterator[T] = map(run, seeds)
        if n_processes > 1:
            pool = ProcessPoolExecutor(n_processes, mp_context=get_context("spawn"), initializer=one_thread)
            results = stack.enter_context(pool).map(run, seeds)
        for result in results:
            found.append(result)
            yield EpochFinished(len(found), len(seeds), name, ())
    return found


def _train_networks(turned: Tensor, target: Tensor, config: BundleConfig, seed: int) -> tuple[NetworkHead, NetworkHead]:
    """Train a dense and a sparse head."""
    dense = _result(fit_dense(turned, target, _seeded(config.head, seed)))
    return dense, _result(fit_sparse(turned, target, _seeded(config.rigl, seed)))


def _result(job: Job[T]) -> T:
    while True:
        try:
            next(job)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


SeededConfig = TypeVar("SeededConfig", HeadConfig, RiglConfig, SymbolicConfig)


def _seeded(config: SeededConfig, seed: int) -> SeededConfig:
    return config.model_copy(update={"seed": config.seed + seed})


def _best(
    models: Sequence[nn.Module], inputs: Tensor, describe: Callable[[nn.Module], Run], target: NDArray[np.float32]
) -> tuple[nn.Module, HeadInfo]:
    """Measure all runs of a scheme; return the best one, and what the bundle says of all."""
    scores = [scores_of(model.eval(), inputs) for model in models]
    runs = [
        describe(model).model_copy(update={"seed": seed, "accuracy": accuracy(scores[seed], target)})
        for seed, model in enumerate(models)
    ]
    best = int(np.argmax([run.accuracy for run in runs]))
    return models[best], HeadInfo(calibration=(_calibrated(scores[best], target),), runs=tuple(runs))


def _with_front(
    info: HeadInfo, head: nn.Module, fronts: Sequence[list[Candidate]], latents: Tensor, target: NDArray[np.float32]
) -> HeadInfo:
    """Add the head's formula, and the Pareto front of all runs together."""
    assert isinstance(head, SymbolicHead)
    front = pareto_front([candidate for front in fronts for candidate in front])
    return info.model_copy(
        update={
            "expressions": tuple(str(expression) for expression in head.expressions),
            "front": tuple(_formula(candidate, latents, target) for candidate in front),
        }
    )


def kept_latents(heads: Sequence[nn.Module]) -> list[int]:
    """Return the latents that at least half of the sparse heads read, the most read first."""
    counts = np.sum([_first_mask(head).any(axis=0) for head in heads], axis=0)
    return [int(i) for i in np.argsort(-counts, kind="stable") if counts[i] >= max(1, len(heads) / 2)]


def _masks(head: nn.Module) -> list[NDArray[np.bool_]]:
    return [layer.mask.numpy().astype(bool) for layer in head.modules() if isinstance(layer, MaskedLinear)]


def _first_mask(head: nn.Module) -> NDArray[np.bool_]:
    return _masks(head)[0]


def _describe_dense(head: nn.Module) -> Run:
    assert isinstance(head, NetworkHead)
    layers = head.linear_layers()
    sizes = (layers[0].in_features, *(layer.out_features for layer in layers))
    masks = [np.ones((layer.out_features, layer.in_features), bool) for layer in layers]
    n_weights = sum(mask.size for mask in masks)
    size = dense_expression_size(sizes)
    return Run(seed=0, accuracy=0, n_weights=n_weights, expression_size=size, tree_size=tree_size(masks))


def _describe_sparse(head: nn.Module) -> Run:
    masks = _masks(head)
    return Run(
        seed=0,
        accuracy=0,
        n_weights=int(sum(mask.sum() for mask in masks)),
        expression_size=sparse_expression_size(masks),
        tree_size=tree_size(masks),
        latents=tuple(int(i) for i in np.flatnonzero(masks[0].any(axis=0))),
    )


def _describe_symbolic(head: nn.Module) -> Run:
    assert isinstance(head, SymbolicHead)
    (expression,) = head.expressions
    size = expression.size
    return Run(seed=0, accuracy=0, expression_size=size, tree_size=size, latents=expression.latents)


def _describe_cnn(model: nn.Module) -> Run:
    assert isinstance(model, Cnn)
    masks = [np.ones((n_out, n_in), bool) for n_in, n_out in pairwise(CNN_LAYERS)]
    size = dense_expression_size(CNN_LAYERS, batch_norm=True)
    n_weights = sum(mask.size for mask in masks)
    return Run(
        seed=0, accuracy=0, n_weights=n_weights, expression_size=size, tree_size=tree_size(masks, batch_norm=True)
    )


@torch.no_grad()
def scores_of(model: nn.Module, inputs: Tensor) -> NDArray[np.float64]:
    """Return the one score of each input, (n,) float64."""
    parts = [model(chunk)[:, 0] for chunk in torch.split(inputs, 512)]
    return torch.cat(parts).double().numpy()


def accuracy(scores: NDArray[np.float64], target: NDArray[np.float32]) -> float:
    """Share of right states; an undefined score is wrong."""
    return float((np.isfinite(scores) & ((scores >= 0) == (target > 0))).mean())


def _calibrated(scores: NDArray[np.float64], target: NDArray[np.float32]) -> Calibration:
    """Fit slope and offset of the logistic calibration by maximum likelihood."""
    good = np.isfinite(scores)
    scores, sign = scores[good], target[good]

    def loss(parameters: NDArray[np.float64]) -> float:
        return float(np.logaddexp(0, -sign * (parameters[0] * scores + parameters[1])).mean())

    slope, offset = minimize(loss, [1.0, 0.0], method="Nelder-Mead").x
    return Calibration(slope=float(slope), offset=float(offset))


def _search(
    turned: Tensor,
    target: NDArray[np.float32],
    teachers: Sequence[nn.Module],
    inputs: Sequence[int],
    config: SymbolicConfig,
    seed: int,
) -> list[Candidate]:
    """Search for formulas on a part of the crops, each under a random turn."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(target))[:SYMBOLIC_CROPS]
    turns = rng.integers(0, len(turned), len(rows))
    latents = turned[torch.from_numpy(turns), torch.from_numpy(rows)]
    scores = scores_of(teachers[seed], latents)
    chosen = target[rows].astype(np.float64)
    return _result(search_formulas(latents.double().numpy(), chosen, scores, inputs, _seeded(config, seed)))


def _chosen(front: Sequence[Candidate]) -> Candidate:
    best = min(candidate.loss for candidate in front)
    return next(candidate for candidate in front if candidate.loss <= best + MAX_LOSS_ABOVE_BEST)


def _formula(candidate: Candidate, latents: Tensor, target: NDArray[np.float32]) -> Formula:
    expression = candidate.expression
    return Formula(
        expression=str(expression),
        complexity=candidate.complexity,
        size=expression.size,
        loss=candidate.loss,
        accuracy=accuracy(expression.evaluate(latents.double().numpy()), target),
        target="hinge" if candidate.target == "hinge" else "squared_error",
    )


def assemble(
    encoder: Encoder,
    decoder: Decoder,
    heads: dict[HeadName, nn.Module],
    infos: dict[HeadName, HeadInfo],
    held_out: LabelledCrops,
    config: BundleConfig,
) -> ModelBundle:
    """Put a bundle together: order of the latents, population, limits of novelty, versions."""
    known = binary_target(held_out.state)
    rows = np.flatnonzero(known)
    rows = np.random.default_rng(0).permutation(rows)[:N_POPULATION]
    crops = held_out[np.sort(rows)]
    mean, log_variance = encode_all(encoder, to_bytes(crops.patches.x))
    latents, statistics = mean.numpy(), crop_statistics(crops.patches)
    kl = (0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)).mean(dim=0).numpy()
    order = np.argsort(-kl)
    quantiles = np.quantile(latents, np.linspace(0, 1, N_QUANTILES), axis=0).astype(np.float32)
    state = (binary_target(crops.state) > 0).astype(np.int64)
    population = Population(latents, state, statistics, quantiles)
    info = BundleInfo(
        name=config.name,
        description=config.description,
        licence="BSD-3-Clause",
        classes=CLASSES,
        n_channels=config.vae.n_channels,
        n_latents=config.vae.n_latents,
        filters=encoder.filters,
        latents=tuple(LatentInfo(index=int(i), name=f"z{i}", mean_kl=float(kl[i])) for i in order),
        heads=infos,
        novelty=_limits(population, crops.patches.top_share),
        versions={name: version(name) for name in ("napari-cellinterp", "torch", "numpy")},
        training={"config": config.model_dump_json()},
        files={},
    )
    return ModelBundle(info, encoder.eval(), decoder.eval(), heads, population)


def _limits(population: Population, top_share: NDArray[np.float32]) -> NoveltyLimits:
    unlimited = NoveltyLimits(max_novelty=np.inf, min_contrast=0, min_sharpness=0, max_top_share=1)
    novelty = NoveltyModel(population, unlimited).novelty(population.latents, population.statistics)
    sharpness, contrast = population.statistics.T
    return NoveltyLimits(
        max_novelty=float(np.quantile(novelty, 1 - NOVEL_SHARE)),
        min_contrast=float(min(0.3, np.quantile(contrast, NOVEL_SHARE))),
        min_sharpness=float(np.quantile(sharpness, NOVEL_SHARE)),
        max_top_share=max(0.05, float(np.quantile(top_share, 1 - NOVEL_SHARE))),
    )


def with_card(
    bundle: ModelBundle, data: Sequence[DataSource], figures: Sequence[Figure], **training: str
) -> ModelBundle:
    """Return the bundle with its model card filled in."""
    update = {"data": tuple(data), "figures": tuple(figures), "training": bundle.info.training | training}
    info = bundle.info.model_copy(update=update)
    return ModelBundle(info, bundle.encoder, bundle.decoder, bundle.heads, bundle.population)
