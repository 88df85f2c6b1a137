"""What can be done with a trained model that was clicked: read it, show its formula, label with it. Knows no Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from napari_cellinterp.explain.explain_report import Subject
    from napari_cellinterp.explain.rashomon import TrainedModel


@dataclass(frozen=True, eq=False)
class Listed:
    """A trained model, and where its bundle is.

    Attributes
    ----------
    model : TrainedModel
        Its figures.
    folder : Path or None
        Of its bundle; None for the bundle that is read.
    """

    model: TrainedModel
    folder: Path | None


@dataclass(frozen=True)
class Opening:
    """What opening a trained model does.

    Attributes
    ----------
    words : str
        That, or why it can't be opened.
    action : {'read', 'formula', 'label'} or None
        Read another bundle, show a formula, label the movie with a head; None where nothing can be done.
    """

    words: str
    action: Literal["read", "formula", "label"] | None = None


def opening_of(listed: Listed, subject: Subject, *, is_classified: bool) -> Opening:
    """Say what opening a trained model does.

    Parameters
    ----------
    listed : Listed
        What was clicked.
    subject : Subject
        The bundle that is read.
    is_classified : bool
        Whether it classified the viewer's movie.
    """
    if listed.folder is not None:
        return _of_other_bundle(subject.bundle.info.name, is_classified)
    if listed.model.formula:
        return Opening("Open shows it on the Formula page.", "formula")
    return _of_run(listed.model, subject, is_classified)


def _of_other_bundle(name: str, is_classified: bool) -> Opening:
    if is_classified:
        return Opening(f"The movie was classified with {name}: to read this model, classify the movie with it.")
    return Opening(f"Open reads this model in place of {name}.", "read")


def _of_run(model: TrainedModel, subject: Subject, is_classified: bool) -> Opening:
    from napari_cellinterp.explain.rashomon import head_size, n_runs_like

    size = head_size(subject.bundle, model.head)
    if not size.is_of(model):
        return Opening("Its weights aren't in the bundle, which holds another run of this scheme.")
    n_alike = n_runs_like(subject.bundle.info, model.head, size)
    doubt = f"The bundle holds one of {n_alike} runs of this size and doesn't say which. " if n_alike > 1 else ""
    if model.head == "cnn":
        return Opening(f"{doubt}The CNN reads pixels, not latents: to see its labels, classify the movie with it.")
    if model.head == "symbolic" and subject.bundle.info.n_scores == 1:
        return Opening(f"{doubt}Open shows its formula.", "formula")
    if not is_classified:
        return Opening(f"{doubt}Classify a movie with this model first: then this head can label it.")
    return Opening(f"{doubt}Open labels the movie with the bundle's {model.head} head.", "label")
