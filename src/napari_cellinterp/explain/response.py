"""What a neuron answers over its inputs, and where a head changes its mind between two latents.

After Soelistyo & Lowe, Figures 7 to 10 (response maps of sub-networks) and 12 (decision boundaries).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_cellinterp.errors import QuestionError
from napari_cellinterp.explain.topology import evaluate, head_topology, latent_values, subnetwork
from napari_cellinterp.explain.traversal import decode_images, latent_ranges
from napari_cellinterp.models.expression import Expression
from napari_cellinterp.models.heads import SymbolicHead, read_latents, states_of
from napari_cellinterp.models.latent_names import active_latents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_cellinterp.config import HeadName
    from napari_cellinterp.explain.topology import Place, Topology
    from napari_cellinterp.models.bundle import ModelBundle

    Array = NDArray[np.float32]
    Floats = NDArray[np.float64]

N_STEPS = 81
"""Points along each axis of a map; the CNN, which reads decoded images, is asked at fewer."""

N_CNN_STEPS = 25

N_CNN_NUCLEI = 100
"""Nuclei that the CNN, for which each must be decoded, is asked about."""

N_TILES = 7
"""Nuclei along an axis."""

N_ALIKE = 15
"""Nuclei of the population whose mean stands for a value of a neuron."""

USUAL = (0.001, 0.999)
"""Quantiles of the population between which a hidden neuron is varied; latents as in traversals."""

SPREAD = (0.05, 0.95)
"""Quantiles between which an input is moved to see how much it matters."""


@dataclass(frozen=True, eq=False)
class ResponseMap:
    """The values of a neuron over one or two inputs.

    Attributes
    ----------
    neuron : Place
        Whose values they are; after Mish but for a score.
    inputs : tuple of Place
        What is varied: latents, or neurons of earlier layers. The first along x.
    axes : tuple of (n,) float64
        Values of each input; latents in standard deviations of the prior.
    response : (n,) or (n_y, n_x) float64
        Of the neuron.
    fixed : dict of Place to float
        The other inputs, at the population's median.
    tiles : tuple of (N_TILES, 64, 64) float32
        For each input a nucleus at even steps along the axis, decoded: of a latent the median nucleus with that value,
        of a neuron the mean of those of the population that are nearest to it.
    """

    neuron: Place
    inputs: tuple[Place, ...]
    axes: tuple[Floats, ...]
    response: Floats
    fixed: dict[Place, float]
    tiles: tuple[Array, ...]

    @property
    def gradient(self) -> tuple[Floats, ...]:
        """Slope of the response along each input, by central differences, of the shape of the response."""
        slopes = np.gradient(self.response, *reversed(self.axes))
        return tuple(reversed(slopes)) if isinstance(slopes, tuple | list) else (slopes,)


@dataclass(frozen=True, eq=False)
class DecisionMap:
    """The scores of a head over two latents.

    Attributes
    ----------
    name : str
        The head, or the formula.
    latents : tuple of int
        The two that are varied, the first along x.
    axes : tuple of (n,) float64
        Their values, standard deviations of the prior.
    scores : (n_y, n_x, n_scores) float64
        NaN where they are undefined.
    fixed : dict of int to float
        The other latents that are read, and where they are held.
    tiles : tuple of (N_TILES, 64, 64) float32
        The nucleus at even steps along each axis, decoded.
    """

    name: str
    latents: tuple[int, int]
    axes: tuple[Floats, Floats]
    scores: Floats
    fixed: dict[int, float]
    tiles: tuple[Array, Array]

    @property
    def states(self) -> NDArray[np.int64]:
        """Class at each point, (n_y, n_x); -1 where the score is undefined."""
        return states_of(self.scores.reshape(-1, self.scores.shape[-1])).reshape(self.scores.shape[:2])


def response_map(
    bundle: ModelBundle, head: HeadName, neuron: Place, inputs: Sequence[Place] = (), starts: Sequence[Place] = ()
) -> ResponseMap:
    """Vary one or two inputs of a neuron, and hold the others at the population's median.

    Parameters
    ----------
    bundle : ModelBundle
        The model.
    head : str
        ``sparse`` or ``dense``.
    neuron : Place
        Which neuron.
    inputs : sequence of Place, optional
        One or two of its inputs; by default the two that matter most.
    starts : sequence of Place, optional
        Neurons of earlier layers that are taken as inputs, as in the paper's Figure 10.

    Raises
    ------
    BundleError
        If the bundle doesn't have the head.
    QuestionError
        If the neuron isn't connected, nothing flows into it, or an input isn't one of its own.
    """
    whole = head_topology(bundle.head(head))
    part = subnetwork(whole, [neuron], starts)
    values = evaluate(whole, latent_values(whole, bundle.population.latents))
    chosen = tuple(inputs) or tuple(important_inputs(part, neuron, values)[:2])
    if not chosen or len(chosen) > 2 or not set(chosen) <= set(part.inputs):
        names = ", ".join(f"{place.number} of layer {place.layer}" for place in part.inputs) or "none"
        raise QuestionError("A response is mapped over one or two inputs of the neuron.", f"Choose of these: {names}.")
    axes = tuple(_axis(bundle, place, values) for place in chosen)
    fixed = {place: float(np.median(values[place])) for place in part.inputs if place not in chosen}
    grids = np.meshgrid(*axes)
    given = {place: np.full(grids[0].size, value) for place, value in fixed.items()}
    given |= {place: grid.ravel() for place, grid in zip(chosen, grids, strict=True)}
    response = evaluate(part, given)[neuron].reshape(grids[0].shape)
    tiles = tuple(_tiles(bundle, place, axis, values) for place, axis in zip(chosen, axes, strict=True))
    return ResponseMap(neuron, chosen, axes, response, fixed, tiles)


def important_inputs(part: Topology, neuron: Place, values: dict[Place, Floats]) -> list[Place]:
    """Return the inputs of a neuron, those first that move it most between their 5 and 95 % quantiles.

    Parameters
    ----------
    part : Topology
        All that flows into the neuron.
    neuron : Place
        Which one.
    values : dict of Place to (n,) array
        Of the inputs over the population; while one is moved the others are at their median.
    """
    middle = {place: np.full(2, np.median(values[place])) for place in part.inputs}
    moves = {
        place: abs(np.diff(evaluate(part, middle | {place: np.quantile(values[place], SPREAD)})[neuron])[0])
        for place in part.inputs
    }
    return sorted(moves, key=lambda place: -moves[place])


def narrowest_layer(topology: Topology) -> tuple[Place, ...]:
    """Return the neurons of the first hidden layer through which at most two numbers flow; none where there isn't one.

    All later layers depend on these alone: the head is then two sub-networks and a map of two numbers.
    """
    for layer in range(1, topology.last_layer):
        sources = {edge.source for edge in topology.edges if edge.target.layer == layer + 1}
        if 1 <= len(sources) <= 2:
            return tuple(sorted(sources))
    return ()


def _axis(bundle: ModelBundle, place: Place, values: dict[Place, Floats]) -> Floats:
    if place.layer == 0:
        return _latent_axis(bundle, place.number, N_STEPS)
    low, high = np.quantile(values[place], USUAL)
    spare = 0.0 if high > low else 0.5  # a neuron may have one value for all nuclei
    return np.linspace(low - spare, high + spare, N_STEPS, dtype=np.float64)


def _latent_axis(bundle: ModelBundle, latent: int, n_steps: int) -> Floats:
    span = latent_ranges(bundle)[latent]
    return np.linspace(span.low, span.high, n_steps, dtype=np.float64)


def _tiles(bundle: ModelBundle, place: Place, axis: Floats, values: dict[Place, Floats]) -> Array:
    latents, steps = bundle.population.latents, tile_positions(axis)
    if place.layer == 0:
        return _latent_tiles(bundle, np.median(latents, axis=0), place.number, axis)
    nearest = [np.argsort(np.abs(values[place] - step))[:N_ALIKE] for step in steps]
    return _decoded(bundle, np.stack([latents[rows].mean(axis=0) for rows in nearest]))


def tile_positions(axis: Floats) -> Floats:
    """Return where the middles of the nuclei along an axis are, (N_TILES,)."""
    low, high = axis[0], axis[-1]
    steps: Floats = low + (high - low) * (np.arange(N_TILES) + 0.5) / N_TILES
    return steps


def _latent_tiles(bundle: ModelBundle, nucleus: Array, latent: int, axis: Floats) -> Array:
    points = np.repeat(nucleus[None].astype(np.float32), N_TILES, axis=0)
    points[:, latent] = tile_positions(axis)
    return _decoded(bundle, points)


def _decoded(bundle: ModelBundle, latents: Array) -> Array:
    images: Array = decode_images(bundle, latents).mean(axis=1)
    return images


def decision_map(
    bundle: ModelBundle, head: HeadName | Expression, latents: tuple[int, int], nucleus: Array | None = None
) -> DecisionMap:
    """Score a head, or any formula, over two latents while the others are fixed.

    Parameters
    ----------
    bundle : ModelBundle
        The model.
    head : str or Expression
        Which head, or a formula. The CNN scores the decoded images.
    latents : tuple of int
        The two that are varied, the first along x.
    nucleus : (n_latents,) array, optional
        Where the others are fixed; by default at the population's medians.

    Raises
    ------
    BundleError, ExpressionError
        If the bundle doesn't have the head, or a latent of the formula.
    QuestionError
        If there are no two such latents.
    """
    n = bundle.info.n_latents
    if latents[0] == latents[1] or not all(0 <= i < n for i in latents):
        raise QuestionError(
            f"A boundary is drawn in two latents, not in z{latents[0]} and z{latents[1]}.",
            f"Choose two of z0 to z{n - 1}.",
        )
    if isinstance(head, Expression):
        head.check_latents(n)
    middle = np.median(bundle.population.latents, axis=0) if nucleus is None else np.asarray(nucleus, np.float32)
    n_steps = N_CNN_STEPS if head == "cnn" else N_STEPS
    x, y = (_latent_axis(bundle, i, n_steps) for i in latents)
    points = np.tile(middle.astype(np.float32), (n_steps, n_steps, 1))
    points[..., latents[0]], points[..., latents[1]] = x[None, :], y[:, None]
    scores = score_points(bundle, head, points.reshape(-1, n)).reshape(n_steps, n_steps, -1)
    tiles = _latent_tiles(bundle, middle, latents[0], x), _latent_tiles(bundle, middle, latents[1], y)
    fixed = {i: float(middle[i]) for i in read_of(bundle, head) if i not in latents}
    return DecisionMap(str(head), latents, (x, y), scores, fixed, tiles)


@torch.inference_mode()
def score_points(bundle: ModelBundle, head: HeadName | Expression, latents: Array) -> Floats:
    """Return the scores (n, n_scores) of latents (n, n_latents); NaN where they are undefined."""
    if isinstance(head, Expression):
        return head.evaluate(latents)[:, None]
    network = bundle.head(head)
    if isinstance(network, SymbolicHead):
        return np.stack([expression.evaluate(latents) for expression in network.expressions], axis=1)
    given = decode_images(bundle, latents) if head == "cnn" else latents
    scores: Floats = network(torch.from_numpy(given)).numpy().astype(np.float64)
    return scores


def read_of(bundle: ModelBundle, head: HeadName | Expression) -> tuple[int, ...]:
    """Return the latents that a head or a formula reads; the CNN sees all that the decoder shows."""
    if isinstance(head, Expression):
        return head.latents
    return tuple(sorted(active_latents(bundle))) if head == "cnn" else read_latents(bundle.head(head))


def important_latents(bundle: ModelBundle, head: HeadName | Expression) -> list[int]:
    """Return the latents that a head or a formula reads, those first without which its scores change most.

    Each latent in turn is set to its median in the whole population, and the scores compared: the mean absolute change,
    over nuclei whose scores are defined before and after.
    """
    latents = bundle.population.latents[: N_CNN_NUCLEI if head == "cnn" else None]
    before = score_points(bundle, head, latents)
    changes: dict[int, float] = {}
    for i in read_of(bundle, head):
        without = latents.copy()
        without[:, i] = np.median(latents[:, i])
        change = np.abs(score_points(bundle, head, without) - before)
        changes[i] = float(np.mean(change[np.isfinite(change)])) if np.isfinite(change).any() else 0.0
    return sorted(changes, key=lambda i: -changes[i])


def boundary_latents(bundle: ModelBundle, head: HeadName | Expression) -> tuple[int, int] | None:
    """Return the two latents that matter most to a head; None where it reads none.

    Where it reads one only, the other is that of the largest mean KL divergence: the boundary is then a straight line.
    """
    found = important_latents(bundle, head)[:2]
    if not found:
        return None
    others = [latent.index for latent in bundle.info.latents if latent.index not in found]
    return (found[0], [*found[1:], *others][0]) if len(found) + len(others) > 1 else None
