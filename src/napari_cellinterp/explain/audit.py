"""Measure how far a head keeps to the paper's domain constraints (Soelistyo & Lowe, section 4.1).

Only the central nucleus decides; no hyper-sensitivity to pixels; rotation and reflection do not matter. What is
measured is how the score moves, and how often the state changes, as crops are changed in ways that should not matter;
and what a head says of crops that are none.
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
    Counterfactual,
    attack,
    attack_curve,
    counterfactual,
    find_flips,
)
from napari_cellinterp.explain.scoring import margins, score_function
from napari_cellinterp.models.heads import UNDEFINED, read_latents, states_of
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


@dataclass(frozen=True, eq=False)
class Example:
    """One nucleus, questioned.

    Attributes
    ----------
    image : Counterfactual
        Attack on the image at its smallest flip.
    latents : Counterfactual or None
        Attack on all latents at its smallest flip.
    neighbourhood : Counterfactual or None
        Attack on the neighbourhood's latents at the usual epsilon.
    central : (64, 64) bool
        Mask of the central nucleus.
    """

    image: Counterfactual
    latents: Counterfactual | None
    neighbourhood: Counterfactual | None
    central: Masks


@dataclass(frozen=True)
class Constraint:
    """A domain constraint, and how often changes that should not matter break it.

    Attributes
    ----------
    name : str
        In words.
    flipped_shares : dict of str to float or None
        By change, the share of the nuclei whose state it changes; None where it could not be made.
    limit : float
        Largest share at which the constraint holds.
    """

    name: str
    flipped_shares: dict[str, float | None]
    limit: float

    @property
    def holds(self) -> bool | None:
        """Whether all shares are within the limit; None where nothing could be measured."""
        known = [share for share in self.flipped_shares.values() if share is not None]
        return all(share <= self.limit for share in known) if known else None


@dataclass(frozen=True, eq=False)
class Audit:
    """All figures of one head of one model on one set of crops.

    Attributes
    ----------
    model, model_hash, head : str
        The subject.
    crops : str
        What it was audited on, in words.
    classes : tuple of str
        Of the model.
    n_crops, n_undefined : int
        Crops with a score, and those without, which were left out.
    accuracy : float or None
        Share of the crops whose state is right; None where the truth isn't known.
    typical_margin : float
        Median margin of the head's own states: the unit of all moves.
    reads : tuple of int
        Latents that the head reads; none for the CNN.
    turned : tuple of Moves
        Under the seven turns and reflections.
    erased : Erasing
        Neighbours erased from the image.
    all_latents, beside_central, neighbourhood : LatentAttack or None
        Attacks on all latents, on all but the central ones (as the paper's Fig. 19), and only on those of the
        neighbourhood.
    image : ImageAttack
        Attack on the pixels.
    odd : tuple of OddCrops
        Crops that aren't as they should be.
    examples : tuple of Example
        One nucleus of each state, with the median of its smallest flips.
    config : AuditConfig
        Limits and settings.
    """

    model: str
    model_hash: str
    head: HeadName
    crops: str
    classes: tuple[str, ...]
    n_crops: int
    n_undefined: int
    accuracy: float | None
    typical_margin: float
    reads: tuple[int, ...]
    turned: tuple[Moves, ...]
    erased: Erasing
    all_latents: LatentAttack | None
    beside_central: LatentAttack | None
    neighbourhood: LatentAttack | None
    image: ImageAttack
    odd: tuple[OddCrops, ...]
    examples: tuple[Example, ...]
    config: AuditConfig

    @property
    def flipped_by_neighbourhood(self) -> float | None:
        """Share of the nuclei whose state changes at the usual epsilon on the neighbourhood's latents."""
        if self.neighbourhood is None:
            return None
        return float((self.neighbourhood.flips <= self.config.usual_epsilon_latent).mean())

    @property
    def flipped_by_erasing(self) -> float | None:
        """Share of the nuclei with neighbours whose state changes as these are erased; None where there are none."""
        moved = self.erased.with_neighbours
        return float(moved.flipped.mean()) if len(moved) else None

    @property
    def flipped_by_pixels(self) -> float:
        """Share of the nuclei whose state changes at the small epsilon on the image."""
        return float((self.image.flips <= self.config.small_epsilon_image).mean())

    @property
    def flipped_by_turning(self) -> float:
        """Share of the nuclei whose state changes under at least one turn or reflection."""
        return float(np.any([moved.flipped for moved in self.turned], axis=0).mean())

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """The paper's three, in its order."""
        limit, usual = self.config.max_flipped_share, self.config.usual_epsilon_latent
        small = self.config.small_epsilon_image
        around = {
            f"neighbourhood latents changed by {usual:g} SD": self.flipped_by_neighbourhood,
            "neighbours erased": self.flipped_by_erasing,
        }
        return (
            Constraint("Only the central nucleus decides", around, limit),
            Constraint(
                "No hyper-sensitivity to pixels", {f"pixels changed by {small:g}": self.flipped_by_pixels}, limit
            ),
            Constraint("Rotation and reflection do not matter", {"any turn": self.flipped_by_turning}, limit),
        )


def audit(
    bundle: ModelBundle,
    head: HeadName,
    crops: AuditCrops,
    central: Sequence[int],
    neighbourhood: Sequence[int],
    config: AuditConfig,
) -> Job[Audit]:
    """Audit one head of a model; nothing is random.

    Parameters
    ----------
    bundle, head : ModelBundle, str
        The subject.
    crops : AuditCrops
        What it is audited on.
    central, neighbourhood : sequence of int
        Latents that change the central nucleus, and those that change only what is around it.
    config : AuditConfig
        Limits and settings.

    Yields
    ------
    Progressed
        Crops whose smallest flip is known.

    Raises
    ------
    CellInterpError
        If the crops don't fit the model, it lacks the head, or no score is defined.
    """
    subject = subject_of(bundle, head, crops)
    image = yield from image_attack(subject, config)
    every = range(bundle.info.n_latents)
    all_latents = latent_attack(subject, every, config)
    accuracy = None if crops.state is None else float((subject.state == subject.truth).mean())
    return Audit(
        model=bundle.info.name,
        model_hash=bundle.hash,
        head=head,
        crops=crops.name,
        classes=bundle.info.classes,
        n_crops=len(subject.crops),
        n_undefined=subject.n_undefined,
        accuracy=accuracy,
        typical_margin=float(np.median(subject.margins_of(subject.scores))),
        reads=() if head == "cnn" else read_latents(bundle.head(head)),
        turned=turned_moves(subject),
        erased=erasing(subject),
        all_latents=all_latents,
        beside_central=latent_attack(subject, [i for i in every if i not in central], config),
        neighbourhood=latent_attack(subject, neighbourhood, config),
        image=image,
        odd=odd_crops(subject),
        examples=_examples(subject, image, all_latents, neighbourhood, config),
        config=config,
    )


def _examples(
    subject: Subject,
    image: ImageAttack,
    all_latents: LatentAttack | None,
    neighbourhood: Sequence[int],
    config: AuditConfig,
) -> tuple[Example, ...]:
    found = []
    for state in range(len(subject.bundle.info.classes)):
        rows = np.flatnonzero((subject.state == state) & (subject.truth == state) & np.isfinite(image.flips))
        if len(rows):
            row = int(rows[np.argsort(image.flips[rows], kind="stable")[len(rows) // 2]])
            found.append(_example(subject, row, image, all_latents, neighbourhood, config))
    return tuple(found)


def _example(
    subject: Subject,
    row: int,
    image: ImageAttack,
    all_latents: LatentAttack | None,
    neighbourhood: Sequence[int],
    config: AuditConfig,
) -> Example:
    bundle, head, x, n_steps = subject.bundle, subject.head, subject.x[row], config.attack.n_steps
    latents = around = None
    if all_latents is not None and np.isfinite(all_latents.flips[row]):
        latents = counterfactual(bundle, head, x, float(all_latents.flips[row]), "latent", n_steps=n_steps)
    if head != "cnn" and len(neighbourhood):
        fixed = [i for i in range(bundle.info.n_latents) if i not in neighbourhood]
        around = counterfactual(bundle, head, x, config.usual_epsilon_latent, "latent", fixed, n_steps)
    at_flip = counterfactual(bundle, head, x, float(image.flips[row]), "image", n_steps=n_steps)
    return Example(at_flip, latents, around, subject.crops.central[row])
