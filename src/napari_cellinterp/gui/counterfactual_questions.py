"""What the counterfactual widget asks a model, as jobs for a thread of their own. Knows no Qt."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from napari_cellinterp.errors import CellInterpError
from napari_cellinterp.events import Event, Progressed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_cellinterp.config import CounterfactualConfig, HeadName
    from napari_cellinterp.events import Job
    from napari_cellinterp.explain.counterfactual import Counterfactual, Flip
    from napari_cellinterp.explain.scoring import Space
    from napari_cellinterp.models.bundle import ModelBundle

    Crop = NDArray[np.float32]

Hold = Literal["nothing", "central", "neighbourhood"]

SPACES: tuple[Space, ...] = ("image", "latent")


class LazyModel:
    """The model of a classification: loaded, and its latents measured, when a job first needs it.

    Parameters
    ----------
    model : str
        Name or folder of the bundle.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._held: dict[Hold, tuple[int, ...]] = {"nothing": ()}

    @cached_property
    def bundle(self) -> ModelBundle:
        """The bundle."""
        from napari_cellinterp.models.bundle import load_bundle

        return load_bundle(self._model)

    def held(self, hold: Hold) -> tuple[int, ...]:
        """Return the latents that a choice holds fixed; to say what latents are about takes seconds."""
        if hold not in self._held:
            from napari_cellinterp.models.latent_names import central_latents, neighbourhood_latents

            find = central_latents if hold == "central" else neighbourhood_latents
            self._held[hold] = find(self.bundle)
        return self._held[hold]

    def knows(self, hold: Hold) -> bool:
        """Whether the latents that a choice holds fixed were looked for."""
        return hold in self._held


@dataclass(frozen=True, eq=False)
class Subject(Event):
    """A nucleus that is ready to be asked about, and how it is asked.

    Attributes
    ----------
    bundle : ModelBundle
        The model.
    row : int
        Of the nucleus, in the classification.
    crop : (n_channels, 64, 64) float32
        As the model sees it.
    fixed : tuple of int
        Latents that stay as they are.
    config : CounterfactualConfig
        How far, and in how many steps.
    """

    bundle: ModelBundle
    row: int
    crop: Crop
    fixed: tuple[int, ...]
    config: CounterfactualConfig

    def held_in(self, space: Space) -> tuple[int, ...]:
        """Return the latents that stay as they are in an attack; an image has none."""
        return self.fixed if space == "latent" else ()


@dataclass(frozen=True, eq=False)
class FlipFound(Progressed):
    """The smallest flip of one head in one space was looked for.

    Attributes
    ----------
    head, space : str
        Of what.
    flip : Flip or None
        None where the question has no answer.
    problem : str
        Why not.
    """

    head: HeadName
    space: Space
    flip: Flip | None
    problem: str = ""


@dataclass(frozen=True)
class Question:
    """What does a nucleus become at an epsilon? Equal ones have the same answer."""

    subject: Subject
    head: HeadName
    space: Space
    epsilon: float


@dataclass(frozen=True, eq=False)
class Answer(Event):
    """A question's answer, or why it has none.

    Attributes
    ----------
    question : Question
        What was asked.
    counterfactual : Counterfactual or None
        None where there is no answer.
    scale : float
        Ends of the colours that its difference is shown in.
    problem : str
        Why there is no answer.
    """

    question: Question
    counterfactual: Counterfactual | None
    scale: float = 1.0
    problem: str = ""


def spaces_of(head: HeadName) -> tuple[Space, ...]:
    """Return what can be changed for a head: the CNN reads pixels only."""
    return SPACES[:1] if head == "cnn" else SPACES


def max_epsilon(config: CounterfactualConfig, space: Space) -> float:
    """Return how far is looked in a space."""
    return config.max_epsilon_image if space == "image" else config.max_epsilon_latent


def search_job(
    model: LazyModel, row: int, cut: Callable[[], Crop], hold: Hold, config: CounterfactualConfig, first: HeadName
) -> Job[None]:
    """Make a nucleus ready, then look for the smallest flip of each head in each space.

    Parameters
    ----------
    model : LazyModel
        Whose heads.
    row : int
        Of the nucleus, in the classification.
    cut : callable
        Returns its crop.
    hold : str
        Which latents stay as they are.
    config : CounterfactualConfig
        How far, and in how many steps.
    first : str
        Head that is looked at first.
    """
    from napari_cellinterp.explain.counterfactual import find_flip_job

    subject = Subject(model.bundle, row, cut(), model.held(hold), config)
    yield subject
    heads = sorted(subject.bundle.heads, key=lambda head: head != first)
    cells = [(head, space) for head in heads for space in spaces_of(head)]
    for done, (head, space) in enumerate(cells, start=1):
        how = max_epsilon(config, space), subject.held_in(space), config.n_steps
        try:
            flip = yield from find_flip_job(subject.bundle, head, subject.crop, space, *how)
        except CellInterpError as error:
            yield FlipFound(done, len(cells), head, space, None, str(error))
        else:
            yield FlipFound(done, len(cells), head, space, flip)


def answer_job(questions: Sequence[Question]) -> Job[None]:
    """Answer questions, one after the other."""
    from napari_cellinterp.explain.counterfactual import counterfactual
    from napari_cellinterp.results.counterfactual_export import difference_scale

    for question in questions:
        subject, space = question.subject, question.space
        how = question.epsilon, space, subject.held_in(space), subject.config.n_steps
        try:
            found = counterfactual(subject.bundle, question.head, subject.crop, *how)
        except CellInterpError as error:
            yield Answer(question, None, problem=str(error))
        else:
            yield Answer(question, found, difference_scale(found.difference))
