"""What would change the model's mind: steps along the sign of a gradient, in the image or in the latents.

The fast gradient sign method (Goodfellow et al. 2015; Soelistyo & Lowe, eq. 1): x' = x + epsilon sign(grad L), with the
loss L = -y f(x) on the score itself, or, of several scores, minus the margin (`scoring.margins`). A probability would
saturate, and its gradient with it. Epsilon is in units of the model's input in [0, 1] for images, and in standard
deviations of the prior for latents. Nothing here is random.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_cellinterp.errors import QuestionError
from napari_cellinterp.events import finish
from napari_cellinterp.explain.attack_steps import BATCH, Attack, Way
from napari_cellinterp.models.heads import UNDEFINED, states_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor

    from napari_cellinterp.config import HeadName
    from napari_cellinterp.events import Job
    from napari_cellinterp.explain.scoring import Space
    from napari_cellinterp.models.bundle import ModelBundle

    Array = NDArray[np.float32]

GRID = 64
"""Epsilons, evenly spaced up to the largest, at which a flip is looked for."""

N_BISECTIONS = 12
"""Halvings of the first interval of the grid that flips."""


@dataclass(frozen=True, eq=False)
class Counterfactual:
    """One nucleus before and after an attack.

    Attributes
    ----------
    space : str
        What was changed.
    head : str
        Whose score was attacked.
    state : int
        Index of the class before.
    state_after : int
        Index of the class after; `UNDEFINED` where the score is.
    before, after, difference : (n_channels, 64, 64) float32
        The image, and what was added to it; where the latents were changed, images decoded from them.
    latents_before, latents_after : (n_latents,) float32
        Mean of the latents.
    reconstruction_before, reconstruction_after : (n_channels, 64, 64) float32
        Images decoded from those latents.
    epsilon : float
        Length of the step.
    scores_before, scores_after : (n_scores,) float32
        Of the head.
    clipped_share : float
        Share of the pixels that the limits 0 and 1 held back; 0 where the latents were changed.
    """

    space: Space
    head: HeadName
    state: int
    state_after: int
    before: Array
    after: Array
    difference: Array
    latents_before: Array
    latents_after: Array
    reconstruction_before: Array
    reconstruction_after: Array
    epsilon: float
    scores_before: Array
    scores_after: Array
    clipped_share: float


@dataclass(frozen=True, eq=False)
class Flip:
    """The smallest epsilon that changes the state of one nucleus.

    Attributes
    ----------
    epsilon : float or None
        None where the state never changed up to ``max_epsilon``.
    max_epsilon : float
        How far was looked.
    epsilons : (64,) float32
        The grid.
    scores : (64, n_scores) float32
        Along the grid; NaN where undefined, which is no flip.
    score_at_zero : (n_scores,) float32
        Before the attack.
    """

    epsilon: float | None
    max_epsilon: float
    epsilons: Array
    scores: Array
    score_at_zero: Array

    @property
    def n_undefined(self) -> int:
        """How many epsilons of the grid left the score undefined."""
        return int((~np.isfinite(self.scores)).any(axis=1).sum())


@dataclass(frozen=True, eq=False)
class AttackCurve:
    """How often a head is right about a set of nuclei when they are attacked.

    Attributes
    ----------
    epsilons : (n_epsilons,) float32
        Length of the attacks.
    accuracy : (n_epsilons,) float64
        Share of the nuclei that still get their state, 0 to 1.
    undefined : (n_epsilons,) float64
        Share whose score is undefined then: neither right nor flipped.
    """

    epsilons: Array
    accuracy: NDArray[np.float64]
    undefined: NDArray[np.float64]


def attack(
    bundle: ModelBundle,
    head: HeadName,
    inputs: Tensor,
    epsilon: float | Tensor,
    space: Space,
    state: Tensor | None = None,
    fixed: Sequence[int] = (),
    n_steps: int = 1,
) -> Tensor:
    """Change inputs so that the head becomes less sure of their states.

    Parameters
    ----------
    bundle : ModelBundle
        The model.
    head : str
        Whose score is attacked.
    inputs : (n, n_channels, 64, 64) or (n, n_latents) Tensor
        Images in [0, 1], or latents.
    epsilon : float or (n,) Tensor
        How far each pixel or latent moves: units of the image, or standard deviations of the prior.
    space : str
        Which of the two the inputs are.
    state : (n,) int64 Tensor, optional
        Class that the head is driven away from; its own answer by default.
    fixed : sequence of int
        Latents that stay as they are.
    n_steps : int
        1 is the fast gradient sign method. More take as many steps of epsilon / n_steps, each along its own gradient:
        together they never lead farther than epsilon. Images are clipped to [0, 1] after each.

    Returns
    -------
    Tensor
        Like ``inputs``. A pixel or latent whose gradient is undefined stays.

    Raises
    ------
    QuestionError
        If the inputs, the latents to fix or the numbers don't fit the model.
    BundleError
        If the model lacks the head.
    """
    way = Way(Attack(bundle, head, space, fixed, n_steps), inputs.float(), state)
    changed, _ = finish(way.walk_job(_one_each(epsilon, len(inputs)), torch.arange(len(inputs))))
    return changed


def counterfactual(
    bundle: ModelBundle,
    head: HeadName,
    x: ArrayLike,
    epsilon: float,
    space: Space,
    fixed: Sequence[int] = (),
    n_steps: int = 1,
    latents: ArrayLike | None = None,
) -> Counterfactual:
    """Attack one nucleus, and show it before and after.

    Parameters
    ----------
    x : (n_channels, 64, 64) array of float
        The nucleus's patch.
    latents : (n_latents,) array of float, optional
        Where an attack on the latents starts, instead of those of the patch.
    bundle, head, epsilon, space, fixed, n_steps
        See `attack`.

    Raises
    ------
    QuestionError
        As `attack`, and if the score is undefined before the attack.
    BundleError
        If the model lacks the head.
    """
    way = _way_of_one(Attack(bundle, head, space, fixed, n_steps), x, latents)
    end, clipped = finish(way.walk_job(_one_each(epsilon, 1), torch.tensor([0])))
    scores = way.attack.scores_of(end)
    both = torch.cat([way.start, end])
    with torch.no_grad():
        z = both if space == "latent" else bundle.encoder.encode(both)
        reconstructions = bundle.decoder(z).numpy()
    images = reconstructions if space == "latent" else both.numpy()
    return Counterfactual(
        space=space,
        head=head,
        state=int(way.state[0]),
        state_after=int(states_of(scores.numpy())[0]),
        before=images[0],
        after=images[1],
        difference=images[1] - images[0],
        latents_before=z[0].numpy(),
        latents_after=z[1].numpy(),
        reconstruction_before=reconstructions[0],
        reconstruction_after=reconstructions[1],
        epsilon=float(epsilon),
        scores_before=way.scores[0].numpy(),
        scores_after=scores[0].numpy(),
        clipped_share=float(clipped[0]),
    )


def find_flip(
    bundle: ModelBundle,
    head: HeadName,
    x: ArrayLike,
    space: Space,
    max_epsilon: float,
    fixed: Sequence[int] = (),
    n_steps: int = 1,
    latents: ArrayLike | None = None,
) -> Flip:
    """Find the smallest epsilon that changes the state of one nucleus.

    The score isn't monotone along the way: it is taken at all of a grid of epsilons, then the first interval whose end
    flips is halved again and again. A flip and back within one interval of the grid isn't seen.

    Parameters
    ----------
    x : (n_channels, 64, 64) array of float
        The nucleus's patch.
    max_epsilon : float
        How far is looked.
    latents : (n_latents,) array of float, optional
        Where an attack on the latents starts, instead of those of the patch.
    bundle, head, space, fixed, n_steps
        See `attack`.

    Raises
    ------
    QuestionError
        As `attack`, and if the score is undefined before the attack.
    BundleError
        If the model lacks the head.
    """
    return finish(find_flip_job(bundle, head, x, space, max_epsilon, fixed, n_steps, latents))


def find_flip_job(
    bundle: ModelBundle,
    head: HeadName,
    x: ArrayLike,
    space: Space,
    max_epsilon: float,
    fixed: Sequence[int] = (),
    n_steps: int = 1,
    latents: ArrayLike | None = None,
) -> Job[Flip]:
    """Do as `find_flip`, in steps between which it can be cancelled.

    Yields
    ------
    Stepped
        After each step of an attack.
    """
    way = _way_of_one(Attack(bundle, head, space, fixed, n_steps), x, latents)
    epsilons, rows = _grid(max_epsilon), torch.zeros(GRID, dtype=torch.int64)
    scores = yield from way.scores_job(epsilons, rows)
    flipped = epsilons[way.is_flip(scores, rows)]
    found = yield from _bisect_job(way, flipped[:1], max_epsilon)
    epsilon = float(found[0]) if len(flipped) else None
    return Flip(epsilon, float(max_epsilon), epsilons.numpy(), scores.numpy(), way.scores[0].numpy())


def find_flips(
    bundle: ModelBundle,
    head: HeadName,
    x: ArrayLike,
    space: Space,
    max_epsilon: float,
    fixed: Sequence[int] = (),
    n_steps: int = 1,
) -> Array:
    """Find the smallest epsilon that changes the state of each of many nuclei; see `find_flip`.

    Parameters
    ----------
    x : (n, n_channels, 64, 64) array of float
        Patches.
    bundle, head, space, max_epsilon, fixed, n_steps
        See `find_flip`.

    Returns
    -------
    (n,) float32
        NaN where the state never changes up to ``max_epsilon``, and where there is none before the attack.

    Raises
    ------
    QuestionError
        As `attack`.
    BundleError
        If the model lacks the head.
    """
    attack, epsilons = Attack(bundle, head, space, fixed, n_steps), _grid(max_epsilon)
    ways = (Way(attack, part) for part in torch.split(attack.inputs(x), BATCH))
    return torch.cat([finish(_bisect_job(way, _first_flips(way, epsilons), max_epsilon)) for way in ways]).numpy()


def attack_curve(
    bundle: ModelBundle,
    head: HeadName,
    x: ArrayLike,
    state: ArrayLike,
    epsilons: ArrayLike,
    space: Space,
    fixed: Sequence[int] = (),
    n_steps: int = 1,
) -> AttackCurve:
    """Measure how often a head is right about nuclei that are attacked, against the length of the attack.

    Parameters
    ----------
    x : (n, n_channels, 64, 64) array of float
        Patches.
    state : (n,) array of int
        True class of each, which it is driven away from.
    epsilons : (n_epsilons,) array of float
        Lengths of the attack.
    bundle, head, space, fixed, n_steps
        See `attack`.

    Raises
    ------
    QuestionError
        As `attack`, and if there is no nucleus.
    BundleError
        If the model lacks the head.
    """
    attack, lengths = Attack(bundle, head, space, fixed, n_steps), _checked(epsilons)
    way = Way(attack, attack.inputs(x), torch.from_numpy(np.array(state, np.int64)))
    n = len(way.start)
    if not n:
        raise QuestionError("There are no nuclei to attack.", "Give at least one.")
    answers = np.stack([states_of(way.scores_at(length.expand(n), torch.arange(n)).numpy()) for length in lengths])
    accuracy = (answers == way.state.numpy()).mean(axis=1)
    return AttackCurve(lengths.numpy(), accuracy, (answers == UNDEFINED).mean(axis=1))


def mean_and_sd(curves: Sequence[AttackCurve]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of several models' accuracies, (n_epsilons,) each (the paper's Fig. 14).

    Parameters
    ----------
    curves : sequence of AttackCurve
        Of the same epsilons. The standard deviation is that of these models, so 0 where there is one.
    """
    accuracy = np.stack([curve.accuracy for curve in curves])
    return accuracy.mean(axis=0), accuracy.std(axis=0)


def _first_flips(way: Way, epsilons: Tensor) -> Tensor:
    """Return the first epsilon of the grid that flips each input, (n,); NaN where none does."""
    first = torch.full((len(way.start),), torch.nan)
    for epsilon in epsilons:  # one after the other, because most nuclei flip early
        rows = torch.nonzero(first.isnan() & (way.state != UNDEFINED))[:, 0]
        if not len(rows):
            break
        first[rows[way.is_flip(way.scores_at(epsilon.expand(len(rows)), rows), rows)]] = epsilon
    return first


def _bisect_job(way: Way, first: Tensor, max_epsilon: float) -> Job[Tensor]:
    """Return the smallest flip within the interval of the grid that ends at each first one, (n,); NaN stays."""
    rows = torch.nonzero(first.isfinite())[:, 0]
    high, found = first[rows], first.clone()
    low = high - max_epsilon / GRID
    for _ in range(N_BISECTIONS if len(rows) else 0):
        middle = (low + high) / 2
        scores = yield from way.scores_job(middle, rows)
        flips = way.is_flip(scores, rows)
        low, high = torch.where(flips, low, middle), torch.where(flips, middle, high)
    found[rows] = high
    return found


def _grid(max_epsilon: float) -> Tensor:
    if not 0 < max_epsilon < np.inf:
        raise QuestionError(f"The largest epsilon is {max_epsilon:g}.", "Take a number above 0.")
    return torch.arange(1, GRID + 1) * (max_epsilon / GRID)


def _one_each(epsilon: float | Tensor, n: int) -> Tensor:
    epsilons = _checked(epsilon)
    if epsilons.ndim and len(epsilons) != n:
        raise QuestionError(f"{len(epsilons)} epsilons were given for {n} inputs.", "Give one for all, or one each.")
    return epsilons.expand(n)


def _checked(epsilon: ArrayLike | Tensor) -> Tensor:
    given = epsilon if isinstance(epsilon, torch.Tensor) else torch.from_numpy(np.array(epsilon, np.float32))
    epsilons = given.float()
    if not bool((epsilons.isfinite() & (epsilons >= 0)).all()):
        raise QuestionError(f"Epsilon is {given.tolist()}.", "Take a number that is at least 0.")
    return epsilons


def _way_of_one(attack: Attack, x: ArrayLike, latents: ArrayLike | None) -> Way:
    """Return the way of one nucleus, whose score must be defined."""
    if latents is not None and attack.space == "image":
        raise QuestionError(
            "Latents were given as the start of an attack on the image.", "Leave them out, or attack the latents."
        )
    start = attack.inputs(np.asarray(x)[None]) if latents is None else torch.from_numpy(np.array([latents], np.float32))
    way = Way(attack, start)
    if int(way.state[0]) == UNDEFINED:
        raise QuestionError(
            f"The {attack.head} head's score of this nucleus is undefined, so there is no state to change.",
            "Choose another nucleus, or another head.",
        )
    return way
