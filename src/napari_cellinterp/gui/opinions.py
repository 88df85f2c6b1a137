"""What the heads of a model say of the nuclei of a movie, and which heads are compared. Knows no Qt."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

from napari_cellinterp.events import Progressed
from napari_cellinterp.explain.agreement import Disagreement, Opinion, disagreement

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from napari_cellinterp.config import HeadName
    from napari_cellinterp.events import Job
    from napari_cellinterp.models.bundle import ModelBundle
    from napari_cellinterp.movies.stack import Movie
    from napari_cellinterp.results.table import Classification

LATENT_HEADS: tuple[HeadName, ...] = ("sparse", "symbolic", "dense")
"""Heads that read the latents that a classification keeps."""

SHORT_TITLES: dict[HeadName, str] = {"sparse": "sparse", "symbolic": "formula", "dense": "dense", "cnn": "CNN"}
"""Of all heads, in the order in which they are shown."""


class Opinions:
    """Opinions by head, and those heads that the person compares."""

    changed = Signal()
    """There is another opinion, or others are compared."""

    def __init__(self) -> None:
        self.by_head: dict[HeadName, Opinion] = {}
        self._left_out: set[HeadName] = set()

    @property
    def compared(self) -> dict[HeadName, Opinion]:
        """Opinions of the heads that are compared."""
        return {head: opinion for head, opinion in self.by_head.items() if head not in self._left_out}

    @cached_property
    def disagreement(self) -> Disagreement | None:
        """Where the compared heads disagree; None where none is compared."""
        named = {SHORT_TITLES[head]: opinion for head, opinion in self.compared.items()}
        return disagreement(named) if named else None

    def add(self, opinions: dict[HeadName, Opinion]) -> None:
        """Take more opinions."""
        known = self.by_head | opinions
        self.by_head = {head: known[head] for head in SHORT_TITLES if head in known}
        self._tell()

    def compare(self, head: HeadName, is_compared: bool) -> None:
        """Compare a head with the others, or leave it out."""
        (self._left_out.discard if is_compared else self._left_out.add)(head)
        self._tell()

    def clear(self) -> None:
        """Forget all: the nuclei are others."""
        self.by_head = {}
        self._left_out.clear()
        self._tell()

    def _tell(self) -> None:
        self.__dict__.pop("disagreement", None)
        self.changed.emit()


def opinion_of(rows: pd.DataFrame, classes: Sequence[str]) -> Opinion:
    """Return the opinion that a table of scores holds."""
    number = {name: i + 1 for i, name in enumerate(classes)}
    return Opinion(
        score=rows["score"].to_numpy(np.float32),
        state=rows["state"].map(number).fillna(0).to_numpy(np.int64),
        probability=rows["probability"].to_numpy(np.float32),
    )


def opinions_job(classification: Classification, bundle: ModelBundle) -> Job[dict[HeadName, Opinion]]:
    """Ask the heads that read latents; of the CNN only what the classification knows.

    Parameters
    ----------
    classification : Classification
        Whose nuclei.
    bundle : ModelBundle
        The model that classified them.
    """
    from napari_cellinterp.relabelling import relabel

    classes, found = classification.classes, {}
    asked = [head for head in LATENT_HEADS if head in bundle.heads]
    for i, head in enumerate(asked):
        found[head] = opinion_of(relabel(classification, bundle, head).rows, classes)
        yield Progressed(i + 1, len(asked))
    if classification.head == "cnn":
        found["cnn"] = opinion_of(classification.rows, classes)
    return found


def cnn_job(
    movie: Movie, classification: Classification, bundle: ModelBundle, channel: int
) -> Job[dict[HeadName, Opinion]]:
    """Ask the CNN: read the crops anew.

    Parameters
    ----------
    movie : Movie
        What was classified.
    classification : Classification
        Whose nuclei.
    bundle : ModelBundle
        The model that classified them.
    channel : int
        First channel that it reads.
    """
    from napari_cellinterp.models.classifier import Classifier
    from napari_cellinterp.movies.track_table import TrackTable
    from napari_cellinterp.workflows import score_nuclei

    tracks, asked = TrackTable(classification.rows), Classifier(bundle, "cnn")
    table, _ = yield from score_nuclei(movie, tracks, channel, classification.zoom, asked)
    return {"cnn": opinion_of(table, classification.classes)}
