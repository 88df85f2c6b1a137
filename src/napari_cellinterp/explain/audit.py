"""Measure how far a head keeps to the paper's domain constraints (Soelistyo & Lowe, section 4.1).

Only the central nucleus decides; no hyper-sensitivity to pixels; rotation and reflection do not matter. What is
measured is how the score moves, and how often the state changes, as crops are changed in ways that should not matter;
and what a head says of crops that are none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_cellinterp.explain.audit_measures import (
    AuditCrops,
    Erasing,
    ImageAttack,
    LatentAttack,
    Moves,
    OddCrops,
    Subject,
    erasing,
    image_attack,
    latent_attack,
    odd_crops,
    subject_of,
    turned_moves,
)
from napari_cellinterp.explain.counterfactual import Counterfactual, counterfactual
from napari_cellinterp.models.heads import read_latents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_cellinterp.config import AuditConfig, HeadName
    from napari_cellinterp.events import Job
    from napari_cellinterp.models.bundle import ModelBundle

    Array = NDArray[np.float32]
    Masks = NDArray[np.bool_]


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
