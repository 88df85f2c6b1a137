"""A head's states beside those that a person gave: the confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_cellinterp.errors import QuestionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

UNDEFINED = "undefined"


@dataclass(frozen=True, eq=False)
class Confusion:
    """True states against those that a head gave.

    Attributes
    ----------
    truth_names : tuple of str
        Of the lines: the model's classes, then other states that the person named.
    state_names : tuple of str
        Of the columns: the model's classes; ``undefined`` last, where some nuclei have no score.
    truth, state : (n,) int64
        Line and column of each nucleus; -1 in ``truth`` where it has no label.
    """

    truth_names: tuple[str, ...]
    state_names: tuple[str, ...]
    truth: NDArray[np.int64]
    state: NDArray[np.int64]

    @property
    def counts(self) -> NDArray[np.int64]:
        """Nuclei in each cell, (n_truth, n_states)."""
        table = np.zeros((len(self.truth_names), len(self.state_names)), np.int64)
        labelled = self.truth >= 0
        np.add.at(table, (self.truth[labelled], self.state[labelled]), 1)
        return table

    @property
    def n(self) -> int:
        """Nuclei whose true state is one of the model's classes: those that accuracies are about."""
        return int(self._known.sum())

    @property
    def accuracy(self) -> float:
        """Share of them that is right; NaN where there are none."""
        return float(np.trace(self._known) / self.n) if self.n else float("nan")

    @property
    def balanced_accuracy(self) -> float:
        """Mean share that is right of each true state; of the states that some nucleus has."""
        of_each = self._known.sum(axis=1)
        there = of_each > 0
        return float(np.mean(np.diag(self._known)[there] / of_each[there])) if self.n else float("nan")

    def rows(self, line: int, column: int) -> NDArray[np.int64]:
        """Return the nuclei of a cell."""
        return np.flatnonzero((self.truth == line) & (self.state == column))

    @property
    def _known(self) -> NDArray[np.int64]:
        n_classes = len(self.state_names) - (self.state_names[-1] == UNDEFINED)
        return self.counts[:n_classes]


def confusion(truth: NDArray[np.object_], state: NDArray[np.int64], classes: Sequence[str]) -> Confusion:
    """Count which true state was called what.

    Parameters
    ----------
    truth : (n,) array of str
        The person's label of each nucleus; empty where there is none. Case doesn't matter.
    state : (n,) int64
        The head's, as painted: 0 undefined, 1 the first class, and so on.
    classes : sequence of str
        Of the model.
    """
    proper = {name.lower(): name for name in classes}
    named = np.array([proper.get(name.lower(), name) for name in truth], object)
    others = sorted(set(named) - set(classes) - {""})
    lines = (*classes, *others)
    number = {name: i for i, name in enumerate(lines)} | {"": -1}
    columns = (*classes, UNDEFINED) if (state == 0).any() else tuple(classes)
    return Confusion(
        truth_names=lines,
        state_names=columns,
        truth=np.array([number[name] for name in named], np.int64),
        state=np.where(state == 0, len(classes), state - 1),
    )


def labels_of_rows(rows: pd.DataFrame, labels: pd.DataFrame, source: str) -> NDArray[np.object_]:
    """Find the label of each nucleus by the columns that both tables have.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of a classification.
    labels : pandas.DataFrame
        A column ``state``, and columns that ``rows`` has too: what nuclei are found by.
    source : str
        Where the labels come from, for the message.

    Returns
    -------
    (n,) array of str
        Empty where a nucleus has none.

    Raises
    ------
    QuestionError
        If no label belongs to a nucleus.
    """
    keys = [name for name in labels.columns if name != "state"]
    given = labels.assign(**{key: pd.to_numeric(labels[key], errors="coerce") for key in keys})
    given = given[given[keys].notna().all(axis=1) & given["state"].notna()]
    texts = given["state"].astype(str).str.strip()
    given = given.assign(state=texts)[texts != ""].drop_duplicates(keys, keep="last").astype(dict.fromkeys(keys, float))
    found = rows[keys].astype(float).merge(given, on=keys, how="left")["state"].fillna("").to_numpy(object)
    if not (found != "").any():
        raise QuestionError(
            f"None of the {len(given):,} labels in {source} belongs to a nucleus of this movie: the labels have "
            f"{_spans(given, keys)}, and the nuclei have {_spans(rows, keys)}.",
            "Give the labels of this movie, with the track ids of this classification and frames counted from 0.",
        )
    return found


def _spans(table: pd.DataFrame, keys: Sequence[str]) -> str:
    if not len(table):
        return "nothing in them"
    return ", ".join(f"{key} {table[key].min():g} to {table[key].max():g}" for key in keys)
