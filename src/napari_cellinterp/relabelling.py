"""Give the nuclei of a classification states anew, by another head or formula, from the latents that it kept."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from napari_cellinterp.errors import QuestionError
from napari_cellinterp.explain.response import score_points
from napari_cellinterp.models.classifier import Answer, decide
from napari_cellinterp.models.expression import Expression
from napari_cellinterp.results.table import answer_columns
from napari_cellinterp.training.assessment import calibrated

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_cellinterp.config import HeadName
    from napari_cellinterp.models.bundle import ModelBundle
    from napari_cellinterp.models.bundle_info import Calibration
    from napari_cellinterp.results.table import Classification


def relabel(classification: Classification, bundle: ModelBundle, head: HeadName | Expression) -> Classification:
    """Score the nuclei of a classification by another head, or by a formula; no pixel is read.

    Parameters
    ----------
    classification : Classification
        What was classified with the same model, by any head.
    bundle : ModelBundle
        That model.
    head : str or Expression
        Whose states the nuclei get. The probability of a formula is calibrated on the model's population.

    Returns
    -------
    Classification
        The same nuclei with other scores, states and probabilities.

    Raises
    ------
    QuestionError
        If the model is another one, the head is the CNN, which reads pixels, or a formula can't tell so many classes
        apart.
    BundleError, ExpressionError
        If the model doesn't have the head, or a latent of the formula.
    """
    if bundle.hash != classification.bundle_hash:
        raise QuestionError(
            f"The nuclei were classified with {classification.bundle_name} (hash {classification.bundle_hash[:8]}…), "
            f"not with this {bundle.info.name} (hash {bundle.hash[:8]}…).",
            "Classify the movie with this model first.",
        )
    scores = latent_scores(classification, bundle, head)
    answer = Answer(scores, *decide(scores, _slopes(bundle, head)))
    first, several = answer_columns(answer, bundle.info.classes)
    name, formula = ("symbolic", str(head)) if isinstance(head, Expression) else (head, "")
    rows = classification.rows.assign(**first, **several)
    return replace(classification, rows=rows, head=name, formula=formula)


def latent_scores(
    classification: Classification, bundle: ModelBundle, head: HeadName | Expression
) -> NDArray[np.float32]:
    """Return the scores (n, n_scores) that a head or a formula gives the nuclei; NaN where they are undefined.

    Raises
    ------
    QuestionError, BundleError, ExpressionError
        As `relabel` does.
    """
    if head == "cnn":
        raise QuestionError("The CNN reads pixels, not latents.", "Classify the movie anew with the cnn head.")
    if isinstance(head, Expression):
        head.check_latents(bundle.info.n_latents)
        if bundle.info.n_scores > 1:
            raise QuestionError(
                f"One formula can't tell {len(bundle.info.classes)} classes apart.", "Choose the symbolic head."
            )
    scores = score_points(bundle, head, classification.latents).astype(np.float32)
    scores[(classification.rows["flag"] == "not_finite").to_numpy()] = np.nan
    return scores


def _slopes(bundle: ModelBundle, head: HeadName | Expression) -> NDArray[np.float64]:
    """Slope and offset of each score's calibration, (n_scores, 2)."""
    calibration = (
        formula_calibration(bundle, head) if isinstance(head, Expression) else bundle.info.heads[head].calibration
    )
    return np.array([(c.slope, c.offset) for c in calibration])


@lru_cache(maxsize=64)
def formula_calibration(bundle: ModelBundle, formula: Expression) -> tuple[Calibration, ...]:
    """Calibrate a formula on the model's population; kept, because the fit is most of what relabelling takes."""
    return calibrated(score_points(bundle, formula, bundle.population.latents), bundle.population.state)
