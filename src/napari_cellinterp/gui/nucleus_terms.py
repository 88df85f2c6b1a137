"""The selected nucleus put into a formula, as a part of the Formula page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtWidgets import QGroupBox, QLabel, QVBoxLayout

from napari_cellinterp.gui.figure_view import ExportButton, FigureView, figure_formats

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_cellinterp.models.expression import Expression

SELECT_FIRST = "Select a nucleus of a classified movie: its latents are put into the formula here."


def score_words(expressions: Sequence[Expression], shown: int, nucleus: NDArray[np.floating], classes: Sequence[str]):
    """Say what formulas, one a score, make of a nucleus's latents (n_latents,), and why where they are undefined."""
    from napari_cellinterp.explain.formulas import undefined_parts
    from napari_cellinterp.models.heads import states_of

    scores = np.stack([expression.evaluate(nucleus[None]) for expression in expressions], axis=1)
    state = int(states_of(scores)[0])
    if state < 0:
        parts = [part for expression in expressions for part in undefined_parts(expression, nucleus[None])]
        return "Undefined: " + "; ".join(f"{part.reason} in {part.part}" for part in parts) + "."
    rule = f"{classes[1]} where it is 0 or more" if len(classes) == 2 else "the largest score wins"
    return f"Score {scores[0, shown]:+.3g}: <b>{classes[state]}</b> ({rule})."


class NucleusTerms(QGroupBox):
    """The formula with the numbers of a nucleus, and what each term adds to its score."""

    def __init__(self) -> None:
        super().__init__("The selected nucleus")
        self.words, self.numbers, self.terms = QLabel(SELECT_FIRST), FigureView(), FigureView()
        self.export = ExportButton(figure_formats(self.terms, outlined=True), lambda: "terms")
        self.export.setEnabled(False)
        self.words.setWordWrap(True)
        layout = QVBoxLayout(self)
        for part in (self.words, self.numbers, self.terms, self.export):
            layout.addWidget(part)

    def show_nucleus(
        self,
        expressions: Sequence[Expression],
        shown: int,
        nucleus: NDArray[np.floating] | None,
        classes: Sequence[str],
        titles: Mapping[int, str],
    ) -> None:
        """Put a nucleus's latents (n_latents,) into the formula of a score; None for no nucleus."""
        self.export.setEnabled(nucleus is not None)
        if nucleus is None:
            self.words.setText(SELECT_FIRST)
            self.numbers.show_figure(None)
            self.terms.show_figure(None)
            return
        from napari_cellinterp.explain.figure_parts import NARROW_INCHES
        from napari_cellinterp.explain.formula_figures import formula_figure, terms_figure
        from napari_cellinterp.explain.formulas import with_values

        expression = expressions[shown]
        score = float(expression.evaluate(nucleus[None])[0])
        total = f"{score:+.3g}" if np.isfinite(score) else "undefined"
        self.words.setText(score_words(expressions, shown, nucleus, classes))
        self.numbers.show_figure(formula_figure(with_values(expression, nucleus), {}, total, NARROW_INCHES))
        self.terms.show_figure(terms_figure(expression, nucleus, titles, NARROW_INCHES))
