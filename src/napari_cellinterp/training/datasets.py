"""Crops to train on, with known states or without, and the scenes that they come from; simulated ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from napari_cellinterp.errors import TrainingError
from napari_cellinterp.movies.patches import STATISTICS, Patches, crop_frame, normalise, patches_from_images
from napari_cellinterp.movies.shapes import ANAPHASE, INTERPHASE, STATES
from napari_cellinterp.movies.synthetic import STILL_STATES, simulate_scene
from napari_cellinterp.movies.tracks import measure_labels
from napari_cellinterp.training.guides import outlines
from napari_cellinterp.training.workers import worker_pool

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_cellinterp.training.guides import Outlines

UNKNOWN = -1
"""State of a crop that nobody labelled."""

MIN_VISIBLE_PX = 12
CENTRE_ERROR_PX = 1.0
"""How far centres that are found lie from the true ones, standard deviation, model pixels."""

WIDEST_MARGIN_PX = 14
"""What is filled up on each side of the smallest windows, which still hold a nucleus of 29 px."""

SCENE_SIDE_PX = 640
"""Side of a simulated scene, model pixels."""

SCALES = (0.35, 1.25)
"""Smallest and largest scale of a simulated scene, pixels of the image per model pixel: nuclei of 10 to 36 px."""

MERGED_SHARE = 0.3
"""Of the pairs of nuclei that touch, how many are found as one."""


@dataclass(frozen=True)
class LabelledCrops:
    """Crops with the scene (or movie) that each comes from; splits go by scene.

    Attributes
    ----------
    patches : Patches
        n crops.
    state : (n,) int
        Index into a list of classes, for simulated crops `napari_cellinterp.movies.shapes.STATES`; `UNKNOWN` where
        it isn't known.
    scene : (n,) int
        Which scene or image the crop comes from.
    outline : (n, 4) float32
        Of the central nucleus, see `napari_cellinterp.training.guides`; NaN where its mask isn't known.
    """

    patches: Patches
    state: NDArray[np.int64]
    scene: NDArray[np.int64]
    outline: Outlines

    def __len__(self) -> int:
        """Return the number of crops."""
        return len(self.state)

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.int64] | slice) -> LabelledCrops:
        """Return the chosen crops."""
        return LabelledCrops(self.patches[rows], self.state[rows], self.scene[rows], self.outline[rows])

    @property
    def images(self) -> NDArray[np.uint8]:
        """The patches as bytes, (n, n_channels, 64, 64): what networks are trained on."""
        return to_bytes(self.patches.x)

    def of_classes(self, classes: Sequence[str], known: Sequence[str] = STATES) -> LabelledCrops:
        """Return the crops of some classes, their states counted anew in that order.

        Parameters
        ----------
        classes : sequence of str
            The classes to keep; there are no crops of those that aren't known.
        known : sequence of str
            What the states are now.
        """
        numbers = np.full(len(known) + 1, UNKNOWN)  # the last is for states that aren't known
        for number, name in enumerate(classes):
            if name in known:
                numbers[list(known).index(name)] = number
        state = numbers[self.state]
        return replace(self, state=state)[np.flatnonzero(state != UNKNOWN)]

    def balanced(self, n_a_class: int, seed: int) -> LabelledCrops:
        """Draw as many crops of each class; all there are of the rarest where there are fewer."""
        rng = np.random.default_rng(seed)
        classes = [np.flatnonzero(self.state == state) for state in np.unique(self.state[self.state != UNKNOWN])]
        n = min(n_a_class, *map(len, classes))
        return self[np.concatenate([rng.permutation(rows)[:n] for rows in classes])]

    def split(self, share: float, seed: int) -> tuple[LabelledCrops, LabelledCrops]:
        """Split by scene: no scene is on both sides, and each state is on both where two scenes have it.

        Parameters
        ----------
        share : float
            Of the scenes, for the second part; at least one scene, and at most all but one.
        seed : int
            Which scenes.

        Raises
        ------
        TrainingError
            If all crops come from one scene.
        """
        scenes, of_crop = np.unique(self.scene, return_inverse=True)
        if len(scenes) < 2:
            raise TrainingError(
                f"All {len(self)} crops come from one movie and track, so none can be held out.",
                "Give crops of several tracks, and say which track each belongs to.",
            )
        rng, held_out = np.random.default_rng(seed), np.zeros(len(scenes), bool)
        kinds = self._rarest_states(of_crop, len(scenes))
        for kind in np.unique(kinds):
            members = rng.permutation(np.flatnonzero(kinds == kind))
            held_out[members[: _share_of(len(members), share)]] = True
        if not held_out.any():
            held_out[rng.integers(len(scenes))] = True
        return self[~held_out[of_crop]], self[held_out[of_crop]]

    def _rarest_states(self, of_crop: NDArray[np.int64], n_scenes: int) -> NDArray[np.int64]:
        """Of each scene, the state among its crops that is the rarest in all; so rare ones get to both sides."""
        counts = np.bincount(self.state + 1)
        rarest = np.full(n_scenes, UNKNOWN)
        for state in np.argsort(-counts[1:], kind="stable"):
            rarest[np.unique(of_crop[self.state == state])] = state
        return rarest

    def save(self, path: Path) -> None:
        """Write to an npz file; patches as bytes."""
        statistics = {name: getattr(self.patches, name) for name in STATISTICS}
        np.savez(path, x=self.images, state=self.state, scene=self.scene, outline=self.outline, **statistics)

    @staticmethod
    def load(path: Path) -> LabelledCrops:
        """Read what `save` wrote."""
        with np.load(path) as archive:
            statistics = {name: archive[name] for name in STATISTICS}
            patches = Patches(archive["x"].astype(np.float32) / 255, **statistics)
            return LabelledCrops(patches, archive["state"], archive["scene"], archive["outline"])

    @staticmethod
    def concatenate(parts: list[LabelledCrops]) -> LabelledCrops:
        """Return the crops of several sets as one."""
        return LabelledCrops(
            Patches.concatenate([part.patches for part in parts]),
            np.concatenate([part.state for part in parts]),
            np.concatenate([part.scene for part in parts]),
            np.concatenate([part.outline for part in parts]),
        )


def _share_of(n: int, share: float) -> int:
    """Return so many of n; at least one, and one less than all, where there are two."""
    return min(n - 1, max(1, round(share * n)))


def to_bytes(x: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return normalised patches times 255, rounded."""
    return (x * 255).round().astype(np.uint8)


def in_smaller_windows(crops: LabelledCrops, share: float, seed: int) -> LabelledCrops:
    """Show some of the crops as if they came from patches smaller than 64x64 pixels: filled up around a central square.

    Parameters
    ----------
    crops : LabelledCrops
        n crops.
    share : float
        Of the crops, how many are shown so.
    seed : int
        Which ones, and how large their squares are.
    """
    rng = np.random.default_rng(seed)
    margin = np.where(rng.random(len(crops)) < share, rng.integers(1, WIDEST_MARGIN_PX + 1, len(crops)), 0)
    parts = [crops[np.flatnonzero(margin == 0)]]
    for width in range(1, WIDEST_MARGIN_PX + 1):
        chosen = crops[np.flatnonzero(margin == width)]
        squares = chosen.patches.x[:, :, width:-width, width:-width]
        parts.append(replace(chosen, patches=patches_from_images(squares, 1.0)))
    order = np.argsort(margin, kind="stable")
    return LabelledCrops.concatenate(parts)[np.argsort(order)]


def simulate_scene_crops(seed: int, states: Mapping[int, float] = STILL_STATES) -> LabelledCrops:
    """Simulate one scene at a random magnification and crop all of its nuclei as the main job would.

    Of two nuclei in interphase that touch, and of the sisters of an anaphase, some are one crop, as where a program
    finds them as one.

    Parameters
    ----------
    seed : int
        Of the scene; also its number in the result.
    states : mapping of int to float
        How often each state of `napari_cellinterp.movies.shapes.STATES` is drawn.
    """
    rng = np.random.default_rng(seed)
    zoom = float(np.exp(rng.uniform(*np.log(SCALES))))
    side = round(SCENE_SIDE_PX * zoom)
    scene = simulate_scene(rng, shape=(side, side), zoom=zoom, states=states)
    labels = with_merged_pairs(scene.labels, scene.factors.state, rng)
    found = measure_labels(labels)
    found = found[found["area_px"] >= MIN_VISIBLE_PX * zoom**2]
    y = found["y"].to_numpy() + rng.normal(0, CENTRE_ERROR_PX * zoom, len(found))
    x = found["x"].to_numpy() + rng.normal(0, CENTRE_ERROR_PX * zoom, len(found))
    patches = normalise(crop_frame(scene.image[None], y, x, 1 / zoom))
    ids = found["label"].to_numpy()
    outline = outlines(labels, ids, 1 / zoom)
    return LabelledCrops(patches, scene.factors.state[ids - 1], np.full(len(found), seed), outline)


def with_merged_pairs(
    labels: NDArray[np.int32], state: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int32]:
    """Give some touching nuclei one mask, as where a program finds them as one.

    Parameters
    ----------
    labels : (height, width) int32
        Masks: 0 background, i + 1 for the i-th nucleus.
    state : (n,) int
        State of each nucleus; both are in interphase, or both in anaphase, and none is in two pairs.
    rng : numpy.random.Generator
        Decides which pairs: `MERGED_SHARE` of them.

    Returns
    -------
    (height, width) int32
        The masks; of a pair, both have one of its labels.
    """
    number, free = np.arange(labels.max() + 1), np.ones(labels.max() + 1, bool)
    for one, other in rng.permutation(_touching(labels)):
        alike = state[one - 1] == state[other - 1] and state[one - 1] in (INTERPHASE, ANAPHASE)
        if alike and free[[one, other]].all() and rng.random() < MERGED_SHARE:
            number[other] = one
            free[[one, other]] = False
    merged: NDArray[np.int32] = number[labels].astype(np.int32)
    return merged


def _touching(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the labels (n, 2) of each two masks that have neighbouring pixels; the smaller one first."""
    sides = [(labels[:, 1:], labels[:, :-1]), (labels[1:], labels[:-1])]
    pairs = np.concatenate([np.stack([one.ravel(), other.ravel()], axis=1) for one, other in sides])
    pairs = pairs[(pairs > 0).all(axis=1) & (pairs[:, 0] != pairs[:, 1])]
    touching: NDArray[np.int32] = np.unique(np.sort(pairs, axis=1), axis=0)
    return touching


def simulate_crops(
    n_crops: int, first_seed: int, n_processes: int = 2, states: Mapping[int, float] = STILL_STATES
) -> Iterator[LabelledCrops]:
    """Simulate scenes in worker processes until there are enough crops; scene by scene, in order of their seeds."""
    simulate = partial(simulate_scene_crops, states=states)
    n = 0
    with worker_pool(n_processes) as pool:
        seed = first_seed
        while n < n_crops:
            for crops in pool.map(simulate, range(seed, seed + 8 * n_processes)):
                if n < n_crops:  # no more scenes where there are more processes
                    n += len(crops)
                    yield crops
            seed += 8 * n_processes
