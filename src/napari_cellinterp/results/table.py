"""The result of the main job: one row a nucleus and frame, and the pixels that belong to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_cellinterp.models.novelty import FLAGS

if TYPE_CHECKING:
    from napari_cellinterp.models.classifier import Answer, Scores
    from napari_cellinterp.movies.masks import FrameMasks
    from napari_cellinterp.movies.track_table import TrackTable

Columns = dict[str, NDArray[Any]]

MAX_TABLE_ID = 1 << 24
"""Label ids up to this are looked up in a table of that length; larger ones by search."""


@dataclass(frozen=True, eq=False)
class Classification:
    """All nuclei of a movie with their states.

    Attributes
    ----------
    rows : pandas.DataFrame
        The track table's columns (``track_id, frame, y, x, label, parent_track_id``) and ``score, state, probability,
        novelty, is_novel, flag``; with several classes also ``score_CLASS`` each, and ``reconstruction_error`` where
        it was asked for. ``state`` is empty where the score is undefined.
    classes : tuple of str
        Names of the states; the label image paints the first as 1, the second as 2, and so on.
    masks : FrameMasks
        Label ids of the movie.
    zoom : float
        Model pixels per movie pixel.
    bundle_name, bundle_hash, head : str
        What classified them.
    latents : (n, n_latents) float32
        Mean of the latents of each row; any head but the CNN can score them anew.
    formula : str
        What gave the scores, where it isn't the head of the bundle but another formula.
    scale_reason : str
        Where the zoom comes from, in words.
    warnings : dict of str to int
        What was odd, and how often.
    seconds : dict of str to float
        How long each stage took.
    """

    rows: pd.DataFrame
    classes: tuple[str, ...]
    masks: FrameMasks
    zoom: float
    bundle_name: str
    bundle_hash: str
    head: str
    latents: NDArray[np.float32]
    formula: str = ""
    scale_reason: str = ""
    warnings: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of nuclei and frames."""
        return len(self.rows)

    @cached_property
    def n_frames(self) -> int:
        """Frames of the movie."""
        return self.masks.shape[0]

    @cached_property
    def state_index(self) -> NDArray[np.int64]:
        """State of each row as painted: 0 undefined, 1 the first class, and so on."""
        number = {name: i + 1 for i, name in enumerate(self.classes)}
        return np.asarray(self.rows["state"].map(number).fillna(0), np.int64)

    @cached_property
    def _frame_starts(self) -> NDArray[np.int64]:
        return np.searchsorted(self.rows["frame"].to_numpy(), np.arange(self.n_frames + 1))

    def frame_rows(self, t: int) -> slice:
        """Return which rows belong to a frame."""
        return slice(int(self._frame_starts[t]), int(self._frame_starts[t + 1]))

    def paint(self, t: int) -> NDArray[np.uint8]:
        """Return the image of states of a frame, (height, width) uint8: 0 background, states from 1."""
        rows = self.frame_rows(t)
        return paint(self.masks.frame(t), self.rows["label"].to_numpy()[rows], self.state_index[rows])

    def counts(self) -> dict[str, int]:
        """Return how many rows each state has, in the order of the classes; ``undefined`` last, where there are any."""
        counted = np.bincount(self.state_index, minlength=len(self.classes) + 1)
        counts = {name: int(n) for name, n in zip(self.classes, counted[1:], strict=True)}
        return counts | ({"undefined": int(counted[0])} if counted[0] else {})

    def counts_over_time(self) -> NDArray[np.int64]:
        """Return nuclei of each state in each frame, (n_frames, n_classes)."""
        table = np.zeros((self.n_frames, len(self.classes) + 1), np.int64)
        np.add.at(table, (self.rows["frame"].to_numpy(), self.state_index), 1)
        return table[:, 1:]


def paint(labels: NDArray[np.integer], ids: NDArray[np.int64], values: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Replace label ids by values; ids that aren't given become 0.

    Parameters
    ----------
    labels : array of int
        Label image, or some of its pixels.
    ids, values : (n,) int
        What replaces what; id 0 is ignored.
    """
    known = ids > 0
    ids, values = ids[known], values[known]
    top = int(labels.max(initial=0))
    if top <= MAX_TABLE_ID:
        table = np.zeros(top + 1, np.uint8)
        inside = ids <= top
        table[ids[inside]] = values[inside]
        painted: NDArray[np.uint8] = table[labels]
        return painted
    order = np.argsort(ids)
    ids, values = ids[order], values[order]
    place = np.searchsorted(ids, labels).clip(0, max(0, len(ids) - 1))
    return (
        np.where(ids[place] == labels, values[place], 0).astype(np.uint8)
        if len(ids)
        else np.zeros_like(labels, np.uint8)
    )


def score_columns(scores: Scores, classes: tuple[str, ...]) -> pd.DataFrame:
    """Return the columns that a head adds to the track table, one row a nucleus."""
    first, several = answer_columns(scores, classes)
    columns: dict[str, object] = {
        **first,
        "novelty": scores.novelty,
        "is_novel": scores.flag > 0,
        "flag": np.array(FLAGS, dtype=object)[scores.flag],
        **several,
    }
    if scores.reconstruction_error is not None:
        columns["reconstruction_error"] = scores.reconstruction_error
    return pd.DataFrame(columns)


def answer_columns(answer: Answer, classes: tuple[str, ...]) -> tuple[Columns, Columns]:
    """Return ``score, state, probability``, and ``score_CLASS`` each where there are several scores."""
    names = np.array([*classes, ""], dtype=object)
    first = {"score": answer.score, "state": names[answer.state], "probability": answer.probability}
    n_scores = answer.scores.shape[1]
    several = {f"score_{name}": answer.scores[:, i] for i, name in enumerate(classes)} if n_scores > 1 else {}
    return first, several


def classification_rows(tracks: TrackTable, scores: pd.DataFrame) -> pd.DataFrame:
    """Put the track table and the scores of its rows side by side."""
    return pd.concat([tracks.rows.reset_index(drop=True), scores.reset_index(drop=True)], axis=1)
