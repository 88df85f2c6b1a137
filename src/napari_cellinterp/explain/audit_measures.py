"""What an audit measures: how the answers to crops change as the crops are changed.

Turns, erased neighbours, attacks on the image and on the latents, and crops that show no nucleus at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_cellinterp.errors import QuestionError
from napari_cellinterp.events import Progressed
from napari_cellinterp.explain.central import surroundings, without_neighbours
from napari_cellinterp.explain.counterfactual import (
    GRID,
    AttackCurve,
    attack,
    attack_curve,
    find_flips,
)
from napari_cellinterp.explain.scoring import margins, score_function
from napari_cellinterp.models.heads import UNDEFINED, states_of
from napari_cellinterp.models.novelty import crop_statistics
from napari_cellinterp.movies.patches import Patches, normalise

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_cellinterp.config import AuditConfig, HeadName
    from napari_cellinterp.events import Job
    from napari_cellinterp.models.bundle import ModelBundle

    Array = NDArray[np.float32]
    Masks = NDArray[np.bool_]

BATCH = 128
"""Crops in one pass through the networks, and in one step of an audit."""

MIN_NEIGHBOURS = 0.02
"""Crops with less than this share of their area under other nuclei count as crops without neighbours."""

CURVE = (0, 1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""Where along the grid of epsilons accuracies are measured: a curve is steepest at its beginning."""

SATURATION = 0.4
"""Level at which a saturated crop is cut off."""

SHIFTS_PX = (4, 16)
"""How far crops are shifted: by a usual error of centring, and beyond it."""

DOUBLE_PX = 12
"""How far each of a doubled crop's two nuclei lies from the middle."""


@dataclass(frozen=True, eq=False)
class AuditCrops:
    """Crops that heads are audited on.

    Attributes
    ----------
    name : str
        Where they come from, in words.
    patches : Patches
        n crops.
    state : (n,) int64 or None
        True class of each, in the bundle's order; None where it isn't known.
    central, others : (n, 64, 64) bool
        Masks of the central nucleus (empty where none was found) and of all others.
    """

    name: str
    patches: Patches
    state: NDArray[np.int64] | None
    central: Masks
    others: Masks

    def __len__(self) -> int:
        """Return the number of crops."""
        return len(self.patches)

    def __getitem__(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> AuditCrops:
        """Return the chosen crops."""
        state = None if self.state is None else self.state[rows]
        return AuditCrops(self.name, self.patches[rows], state, self.central[rows], self.others[rows])

    @property
    def has_nucleus(self) -> NDArray[np.bool_]:
        """Whether the central nucleus of each crop is known, (n,) bool."""
        return np.asarray(self.central.any(axis=(1, 2)))

    @property
    def has_neighbours(self) -> NDArray[np.bool_]:
        """Whether other nuclei cover more than `MIN_NEIGHBOURS` of each crop, (n,) bool."""
        return np.asarray(self.others.mean(axis=(1, 2)) >= MIN_NEIGHBOURS)


@dataclass(frozen=True, eq=False)
class Subject:
    """A head, the crops that it is audited on, and what it says of them as they are.

    Attributes
    ----------
    bundle, head : ModelBundle, str
        The model, and which of its heads.
    crops : AuditCrops
        n crops whose score is defined.
    n_undefined : int
        Crops that were left out because it isn't.
    scores : (n, n_scores) float32
        Of the head.
    state : (n,) int64
        The head's answers.
    """

    bundle: ModelBundle
    head: HeadName
    crops: AuditCrops
    n_undefined: int
    scores: Array
    state: NDArray[np.int64]

    def __getitem__(self, rows: NDArray[np.bool_]) -> Subject:
        """Return the same head with the chosen crops."""
        return Subject(self.bundle, self.head, self.crops[rows], 0, self.scores[rows], self.state[rows])

    @property
    def x(self) -> Array:
        """The patches, (n, n_channels, 64, 64)."""
        return self.crops.patches.x

    @property
    def truth(self) -> NDArray[np.int64]:
        """The true classes; where they aren't known, the head's own answers."""
        return self.state if self.crops.state is None else self.crops.state

    def margins_of(self, scores: Array) -> Array:
        """Return how far scores are from losing the states, (n,) float32."""
        return margins(torch.from_numpy(scores), torch.from_numpy(self.state)).numpy()

    def scores_of(self, x: Array) -> Array:
        """Return the head's scores of patches, (n, n_scores) float32."""
        return _in_batches(score_function(self.bundle, self.head, "image"), x)


@torch.no_grad()
def _in_batches(network: Callable[[Tensor], Tensor], x: Array) -> Array:
    return torch.cat([network(part) for part in torch.split(torch.from_numpy(x), BATCH)]).numpy()


def subject_of(bundle: ModelBundle, head: HeadName, crops: AuditCrops) -> Subject:
    """Ask a head of all crops.

    Raises
    ------
    QuestionError
        If there is no crop with a defined score, or the crops have another number of channels than the model.
    BundleError
        If the model lacks the head.
    """
    n_channels = crops.patches.x.shape[1]
    if n_channels != bundle.info.n_channels:
        raise QuestionError(
            f"The crops have {n_channels} channels, but the model {bundle.info.name!r} reads {bundle.info.n_channels}.",
            "Give crops of the model's channels.",
        )
    network = score_function(bundle, head, "image")
    scores = _in_batches(network, crops.patches.x)
    scores[~crops.patches.is_finite] = np.nan
    state = states_of(scores)
    known = state != UNDEFINED
    if not known.any():
        raise QuestionError(
            f"The {head} head's score is undefined for all of {len(crops)} crops.",
            "Audit another head, or other crops.",
        )
    return Subject(bundle, head, crops[known], int((~known).sum()), scores[known], state[known])


@dataclass(frozen=True, eq=False)
class Moves:
    """What a change of n crops does to a head.

    Attributes
    ----------
    move : (n,) float32
        How far the margin of the head's own state moved, in typical (median) margins: -1 takes a typical nucleus to
        the boundary. NaN where the score is undefined after the change.
    flipped : (n,) bool
        Whether the state changed; an undefined one is none.
    """

    move: Array
    flipped: NDArray[np.bool_]

    def __len__(self) -> int:
        """Return the number of crops."""
        return len(self.move)

    def __getitem__(self, rows: NDArray[np.bool_]) -> Moves:
        """Return those of the chosen crops."""
        return Moves(self.move[rows], self.flipped[rows])


def moves(subject: Subject, changed: Array) -> Moves:
    """Measure what a change does.

    Parameters
    ----------
    subject : Subject
        The head and its crops.
    changed : (n, n_channels, 64, 64) float32
        The crops after the change.
    """
    scores = subject.scores_of(changed)
    before, after = subject.margins_of(subject.scores), subject.margins_of(scores)
    typical = max(float(np.median(before)), float(np.finfo(np.float32).tiny))
    state = states_of(scores)
    defined = state != UNDEFINED
    move = np.where(defined, (after - before) / typical, np.nan).astype(np.float32)
    return Moves(move, defined & (state != subject.state))


def turned_moves(subject: Subject) -> tuple[Moves, ...]:
    """Measure the seven quarter turns and reflections of a square that change something."""
    found = []
    for turn in range(1, 8):
        turned = np.rot90(subject.x, turn % 4, axes=(2, 3))
        found.append(moves(subject, np.ascontiguousarray(turned[..., ::-1] if turn >= 4 else turned)))
    return tuple(found)


@dataclass(frozen=True, eq=False)
class Erasing:
    """What erasing the neighbours from the image does.

    Attributes
    ----------
    with_neighbours, without : Moves
        Of crops that have neighbours, and of those that have none: there, only noise and blur are erased.
    latents_moved : (n_latents,) float32
        Root mean square of each latent's move in crops with neighbours, standard deviations of the prior; NaN where
        there are none.
    """

    with_neighbours: Moves
    without: Moves
    latents_moved: Array


def erasing(subject: Subject) -> Erasing:
    """Erase the neighbours from those crops in which the central nucleus is known."""
    part = subject[subject.crops.has_nucleus]
    erased = without_neighbours(part.x, part.crops.central)
    found, some = moves(part, erased), part.crops.has_neighbours
    encode = subject.bundle.encoder.encode
    moved = _in_batches(encode, erased[some]) - _in_batches(encode, part.x[some])
    rms = np.sqrt(np.mean(moved**2, axis=0)) if some.any() else np.full(moved.shape[1], np.nan, np.float32)
    return Erasing(found[some], found[~some], rms)


@dataclass(frozen=True, eq=False)
class LatentAttack:
    """An attack on some of the latents.

    Attributes
    ----------
    free : tuple of int
        Latents that could change; all others stayed.
    curve : AttackCurve
        Accuracy against epsilon.
    flips : (n,) float32
        Smallest epsilon that changes each nucleus's state; NaN where none did.
    """

    free: tuple[int, ...]
    curve: AttackCurve
    flips: Array


def latent_attack(subject: Subject, free: Sequence[int], config: AuditConfig) -> LatentAttack | None:
    """Attack some latents; None where there are none to attack, as for the CNN."""
    if subject.head == "cnn" or not len(free):
        return None
    limit = config.attack.max_epsilon_latent
    fixed = [i for i in range(subject.bundle.info.n_latents) if i not in free]
    question: dict[str, Any] = {"fixed": fixed, "n_steps": config.attack.n_steps}
    flips = find_flips(subject.bundle, subject.head, subject.x, "latent", limit, **question)
    epsilons = _epsilons(limit, config.usual_epsilon_latent)
    curve = attack_curve(subject.bundle, subject.head, subject.x, subject.truth, epsilons, "latent", **question)
    return LatentAttack(tuple(free), curve, flips)


def _epsilons(limit: float, special: float) -> NDArray[np.float64]:
    """Return the epsilons of a curve: fixed shares of its end, and one that is asked for."""
    return np.unique([*(limit * i / GRID for i in CURVE), min(special, limit)])


@dataclass(frozen=True, eq=False)
class Landing:
    """Where in the crop, and how, attacks on the image landed: of m nuclei, each at its smallest flip.

    Attributes
    ----------
    energy_share : (m,) float32
        Share of the change's energy (its sum of squares) that lies on the central nucleus.
    area_share : (m,) float32
        Share of the crop that is the central nucleus: what the energy's share is of a change that is the same
        everywhere.
    effect_share : (m,) float32
        What the change's part on the central nucleus does alone to the score, relative to what all of it does.
    coherence : (m,) float32
        Correlation of the changes of neighbouring pixels: near 1 for patches, near 0 for scattered pixels.
    seen : (m,) float32
        How much of the change the beta-TCVAE sees: root mean square of the reconstruction's change, relative to the
        image's.
    """

    energy_share: Array
    area_share: Array
    effect_share: Array
    coherence: Array
    seen: Array


@dataclass(frozen=True, eq=False)
class ImageAttack:
    """An attack on the pixels.

    Attributes
    ----------
    curve : AttackCurve
        Accuracy against epsilon.
    flips : (n,) float32
        Smallest epsilon that changes each nucleus's state; NaN where none did.
    landing : Landing
        Where those flips landed.
    """

    curve: AttackCurve
    flips: Array
    landing: Landing


def image_attack(subject: Subject, config: AuditConfig) -> Job[ImageAttack]:
    """Attack the image; reports each batch."""
    limit, n_steps = config.attack.max_epsilon_image, config.attack.n_steps
    found = []
    for start in range(0, len(subject.x), BATCH):
        part = subject.x[start : start + BATCH]
        found.append(find_flips(subject.bundle, subject.head, part, "image", limit, n_steps=n_steps))
        yield Progressed(min(start + BATCH, len(subject.x)), len(subject.x))
    flips = np.concatenate(found)
    epsilons = _epsilons(limit, config.small_epsilon_image)
    curve = attack_curve(subject.bundle, subject.head, subject.x, subject.truth, epsilons, "image", n_steps=n_steps)
    return ImageAttack(curve, flips, _landing(subject, flips, n_steps))


def _landing(subject: Subject, flips: Array, n_steps: int) -> Landing:
    rows = np.isfinite(flips) & subject.crops.has_nucleus
    if not rows.any():
        return Landing(*np.empty((5, 0), np.float32))
    part = subject[rows]
    inside = surroundings(part.crops.central)[:, None] < 0.5
    state, epsilon = torch.from_numpy(part.state), torch.from_numpy(flips[rows])
    attacked = attack(
        part.bundle, part.head, torch.from_numpy(part.x), epsilon, "image", state=state, n_steps=n_steps
    ).numpy()
    change = attacked - part.x
    energy = change**2
    before, all_of_it, inner = (
        part.margins_of(scores)
        for scores in (part.scores, part.scores_of(attacked), part.scores_of(part.x + change * inside))
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        return Landing(
            energy_share=(energy * inside).sum(axis=(1, 2, 3)) / energy.sum(axis=(1, 2, 3)),
            area_share=inside.mean(axis=(1, 2, 3), dtype=np.float32),
            effect_share=(before - inner) / (before - all_of_it),
            coherence=_coherence(change),
            seen=_rms(_reconstructed(part.bundle, attacked) - _reconstructed(part.bundle, part.x)) / _rms(change),
        )


def _coherence(change: Array) -> Array:
    """Return the correlation of pixels with those below and to the right of them, (n,)."""
    down = (change[:, :, 1:] * change[:, :, :-1]).mean(axis=(1, 2, 3))
    right = (change[..., 1:] * change[..., :-1]).mean(axis=(1, 2, 3))
    correlation: Array = (down + right) / 2 / (change**2).mean(axis=(1, 2, 3))
    return correlation


def _rms(images: Array) -> Array:
    return np.asarray(np.sqrt((images**2).mean(axis=(1, 2, 3))))


def _reconstructed(bundle: ModelBundle, x: Array) -> Array:
    return _in_batches(lambda part: bundle.decoder(bundle.encoder.encode(part)), x)


@dataclass(frozen=True, eq=False)
class OddCrops:
    """What a head says of crops that aren't as they should be.

    Attributes
    ----------
    name : str
        What was done to them.
    state : (n,) int64
        The head's answers; `UNDEFINED` where it has none.
    changed_share : float
        Share whose state isn't the one before.
    flagged_share : float
        Share that is flagged as unlike the training data.
    """

    name: str
    state: NDArray[np.int64]
    changed_share: float
    flagged_share: float


def odd_crops(subject: Subject) -> tuple[OddCrops, ...]:
    """Show a head crops that aren't as they should be, normalised as in classification."""
    x = subject.x
    changed = {
        "saturated (cut off at 40 % of the range)": np.minimum(x, SATURATION),
        **{f"shifted by {px} px": _shifted(x, px) for px in SHIFTS_PX},
        "doubled (two such nuclei side by side)": np.maximum(_shifted(x, -DOUBLE_PX), _shifted(x, DOUBLE_PX)),
    }
    found = [_odd(subject, "as they are", subject.crops.patches, subject.state)]
    found += [_odd(subject, name, normalise(images), subject.state) for name, images in changed.items()]
    # a blank crop had no state before that could change
    blank = normalise(np.zeros_like(x[:1]))
    return (*found, _odd(subject, "blank (all zeros)", blank, None))


def _odd(subject: Subject, name: str, patches: Patches, before: NDArray[np.int64] | None) -> OddCrops:
    state = states_of(subject.scores_of(patches.x))
    model, statistics = subject.bundle.novelty_model(), crop_statistics(patches)
    latents = _in_batches(subject.bundle.encoder.encode, patches.x)
    flags = model.flags(patches, statistics, model.novelty(latents, statistics))
    changed = np.nan if before is None else float((state != before).mean())
    return OddCrops(name, state, changed, float((flags > 0).mean()))


def _shifted(x: Array, px: int) -> Array:
    """Return images moved to the right, with background (0) where they were."""
    shifted = np.zeros_like(x)
    if px > 0:
        shifted[..., px:] = x[..., :-px]
    else:
        shifted[..., :px] = x[..., -px:]
    return shifted
