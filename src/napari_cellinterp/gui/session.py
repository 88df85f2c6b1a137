"""What the widgets of one viewer share: the movie, its classification and the selected nucleus. Knows no Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from psygnal import Signal

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from napari_cellinterp.config import ClassifyConfig
    from napari_cellinterp.movies.stack import Movie
    from napari_cellinterp.results.table import Classification

NONE = np.empty(0, np.int64)

REACH_PX = 8.0
"""A click this near to the centre of a nucleus, in model pixels, finds it even beside its mask."""


class Session:
    """The current movie, its classification, and what is selected in it.

    Signals are emitted in the thread that changes the session: change it in the viewer's thread only.
    """

    classified = Signal()
    """The classification is another one, or gone."""
    relabelled = Signal(object)
    """The same nuclei have other states: the classification before."""
    selected = Signal()
    """Another nucleus is selected, or none."""
    highlighted = Signal()
    """Other nuclei are highlighted, or none."""
    status_changed = Signal(str)
    """What is happening, in words."""

    def __init__(self) -> None:
        self.movie: Movie | None = None
        self.config: ClassifyConfig | None = None
        self.channels = range(1)
        self.classification: Classification | None = None
        self._row: int | None = None
        self._highlighted = NONE
        self._status = ""

    @property
    def highlighted_rows(self) -> NDArray[np.int64]:
        """Rows of the highlighted nuclei, in order."""
        return self._highlighted

    @property
    def row(self) -> int | None:
        """Row of the selected nucleus in the classification, or None."""
        return self._row

    @property
    def status(self) -> str:
        """What is happening, in words."""
        return self._status

    @status.setter
    def status(self, text: str) -> None:
        if text != self._status:
            self._status = text
            self.status_changed.emit(text)

    def set_result(
        self, movie: Movie, config: ClassifyConfig, classification: Classification, n_channels: int = 1
    ) -> None:
        """Take a new classification; nothing is selected or highlighted in it.

        Parameters
        ----------
        movie : Movie
            What was classified.
        config : ClassifyConfig
            With which settings.
        classification : Classification
            The result.
        n_channels : int
            How many channels the model reads.
        """
        self.movie, self.config, self.classification = movie, config, classification
        self.channels = range(config.movie.channel, config.movie.channel + n_channels)
        self._row = None
        self._announce()

    def relabel(self, classification: Classification) -> None:
        """Take other states of the same nuclei, as `napari_cellinterp.relabelling.relabel` gives them."""
        before, self.classification = self.classification, classification
        self.relabelled.emit(before)

    def clear(self) -> None:
        """Forget movie and classification."""
        self.movie, self.config, self.classification, self._row = None, None, None, None
        self._announce()

    def _announce(self) -> None:
        """Tell that all is another; what was highlighted is gone already when the first hear of it."""
        had_highlighted, self._highlighted = len(self._highlighted) > 0, NONE
        self.classified.emit()
        self.selected.emit()
        if had_highlighted:
            self.highlighted.emit()

    def select(self, row: int | None) -> None:
        """Select a nucleus by its row, or none.

        Raises
        ------
        IndexError
            If there is no such row.
        """
        n = 0 if self.classification is None else len(self.classification)
        if row is not None and not 0 <= row < n:
            raise IndexError(f"There is no row {row} in a classification with {n} rows.")
        if row != self._row:
            self._row = row
            self.selected.emit()

    def highlight(self, rows: NDArray[np.int64]) -> None:
        """Highlight nuclei by their rows, in place of others; none of them where there are no rows.

        Raises
        ------
        IndexError
            If there is no such row.
        """
        rows = np.unique(rows)
        n = 0 if self.classification is None else len(self.classification)
        if len(rows) and not 0 <= rows[0] <= rows[-1] < n:
            raise IndexError(f"There are no rows {rows[0]} to {rows[-1]} in a classification with {n} rows.")
        if not np.array_equal(rows, self._highlighted):
            self._highlighted = rows
            self.highlighted.emit()

    def nucleus(self) -> pd.Series | None:
        """Row of the table of the selected nucleus, or None."""
        if self.classification is None or self._row is None:
            return None
        return self.classification.rows.iloc[self._row]

    def row_at(self, frame: int, y: float, x: float) -> int | None:
        """Find the nucleus that covers a position, else the one whose centre is very near.

        Parameters
        ----------
        frame : int
            Counted from 0.
        y, x : float
            Pixels of the movie.

        Returns
        -------
        int or None
            Its row; None where there is none.
        """
        result = self.classification
        if result is None or not 0 <= frame < result.n_frames:
            return None
        row, column = round(y), round(x)
        _, height, width = result.masks.shape
        if not (0 <= row < height and 0 <= column < width):
            return None
        label = int(result.masks.frame(frame)[row, column])
        rows = result.frame_rows(frame)
        if label:
            found = np.flatnonzero(result.rows["label"].to_numpy()[rows] == label)
            return rows.start + int(found[0]) if len(found) else None
        away = np.hypot(*(result.rows[["y", "x"]].to_numpy()[rows] - (y, x)).T) * result.zoom
        near = int(away.argmin()) if len(away) else -1
        return rows.start + near if near >= 0 and away[near] <= REACH_PX else None

    def track_rows(self, row: int) -> NDArray[np.int64]:
        """Rows of the track that a nucleus belongs to, by frame."""
        if self.classification is None:
            return np.empty(0, np.int64)
        ids = self.classification.rows["track_id"].to_numpy()
        return np.flatnonzero(ids == ids[row])

    def state_rows(self, state: str, *, novel_only: bool = False) -> NDArray[np.int64]:
        """Rows with a state, by frame; with ``novel_only`` those of them that are flagged as novel."""
        if self.classification is None:
            return np.empty(0, np.int64)
        rows = self.classification.rows
        chosen = (rows["state"] == state).to_numpy()
        return np.flatnonzero(chosen & rows["is_novel"].to_numpy() if novel_only else chosen)

    def counts(self, frame: int | None = None) -> dict[str, int]:
        """Nuclei of each state, in one frame or in all; ``novel`` last, counted apart from the states."""
        result = self.classification
        if result is None:
            return {}
        rows = slice(None) if frame is None else result.frame_rows(frame)
        counted = np.bincount(result.state_index[rows], minlength=len(result.classes) + 1)
        counts = {name: int(n) for name, n in zip(result.classes, counted[1:], strict=True)}
        return counts | {"undefined": int(counted[0]), "novel": int(result.rows["is_novel"].to_numpy()[rows].sum())}


_sessions: WeakKeyDictionary[object, Session] = WeakKeyDictionary()


def session_of(viewer: object) -> Session:
    """Return the session of a viewer, which all widgets of the viewer share."""
    return _sessions.setdefault(viewer, Session())
