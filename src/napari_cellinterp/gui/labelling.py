"""Labels the movie of a session by a formula or another head, and back. Knows no Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_cellinterp.events import Progressed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_cellinterp.config import HeadName
    from napari_cellinterp.events import Job
    from napari_cellinterp.gui.session import Session
    from napari_cellinterp.models.bundle import ModelBundle
    from napari_cellinterp.models.expression import Expression
    from napari_cellinterp.results.table import Classification


def prepare_job(bundle: ModelBundle, formulas: Sequence[str]) -> Job[None]:
    """Calibrate formulas before they label a movie, so that stepping through them doesn't wait for it."""
    from napari_cellinterp.models.expression import Expression
    from napari_cellinterp.relabelling import formula_calibration

    for i, formula in enumerate(formulas, start=1):
        formula_calibration(bundle, Expression.parse(formula))
        yield Progressed(i, len(formulas))


class Labelling:
    """Gives the nuclei of a session other states, and the first ones back.

    Parameters
    ----------
    session : Session
        Whose movie.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._first: Classification | None = None

    @property
    def first(self) -> Classification | None:
        """The classification as it came."""
        return self._first

    @property
    def is_first(self) -> bool:
        """Whether the nuclei have the states that they came with."""
        return self._session.classification is self._first

    def begin(self) -> None:
        """Take the session's classification as the one to go back to."""
        self._first = self._session.classification

    def label(self, bundle: ModelBundle, head: HeadName | Expression) -> None:
        """Label the movie by a head of its model, or by a formula.

        Raises
        ------
        QuestionError, BundleError, ExpressionError
            As `napari_cellinterp.relabelling.relabel` does; the states stay as they are.
        """
        from napari_cellinterp.relabelling import relabel

        self._session.relabel(relabel(self._first, bundle, head))

    def restore(self) -> None:
        """Give the nuclei the states back that they came with."""
        if not self.is_first:
            self._session.relabel(self._first)
