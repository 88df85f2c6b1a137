"""What the counterfactual widget asks about a nucleus, what it knows so far, and that in words. Knows no Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_cellinterp.gui.counterfactual_questions import SPACES, Question, max_epsilon, spaces_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_cellinterp.config import HeadName
    from napari_cellinterp.explain.counterfactual import Counterfactual, Flip
    from napari_cellinterp.explain.scoring import Space
    from napari_cellinterp.gui.counterfactual_questions import Answer, FlipFound, Subject
    from napari_cellinterp.results.counterfactual_export import AttackedNucleus, ScoreCurve

SPACE_TITLES = {"image": "Image", "latent": "Latents"}
ATTACK_TITLES = {"image": "Image attack", "latent": "Latent attack"}
NAMES = {"sparse": "sparse head", "symbolic": "symbolic head", "dense": "dense head", "cnn": "CNN"}
"""What the heads are called in a sentence."""

UNITS = {"image": "", "latent": " SD"}
"""Behind an epsilon in a sentence."""


class Inquiry:
    """What is asked about a nucleus, and what is known so far."""

    def __init__(self) -> None:
        self.subject: Subject | None = None
        self.head: HeadName = "sparse"
        self.space: Space = "image"
        self.epsilons: dict[Space, float] = dict.fromkeys(SPACES, 0.0)
        self._flips: dict[tuple[HeadName, Space], Flip] = {}
        self._answers: dict[Space, Answer] = {}

    def take(self, subject: Subject | None) -> None:
        """Ask about another nucleus, or none; head, space and epsilons stay as far as they can."""
        self.subject, self._flips, self._answers = subject, {}, {}
        if subject is None:
            return
        self.choose(self.head if self.head in subject.bundle.heads else next(iter(subject.bundle.heads)), self.space)
        for space in SPACES:
            self.epsilons[space] = min(self.epsilons[space], max_epsilon(subject.config, space))

    def choose(self, head: HeadName, space: Space) -> None:
        """Ask about a head, and move the epsilon of a space."""
        self.head, self.space = head, space if space in spaces_of(head) else SPACES[0]

    def keep_flip(self, found: FlipFound) -> None:
        """Keep a flip that was found."""
        if found.flip is not None:
            self._flips[found.head, found.space] = found.flip

    def keep_answer(self, answer: Answer) -> bool:
        """Keep an answer; return whether it is still about what is asked."""
        question = answer.question
        still = question.subject is self.subject and question.head == self.head
        if still:
            self._answers[question.space] = answer
        return still

    def flip(self, space: Space) -> Flip | None:
        """Return the flip of the chosen head in a space, where it is known."""
        return self._flips.get((self.head, space))

    def answer(self, space: Space) -> Answer | None:
        """Return the newest answer about the nucleus and the chosen head; its epsilon may have moved on since."""
        answer = self._answers.get(space)
        return None if answer is None or answer.question.head != self.head else answer

    def found(self, space: Space) -> Counterfactual | None:
        """Return the newest attack in a space, where there is one."""
        answer = self.answer(space)
        return None if answer is None else answer.counterfactual

    def is_answered(self) -> bool:
        """Whether all attacks on the chosen head have an answer, of whatever epsilon."""
        return all(self.answer(space) is not None for space in spaces_of(self.head))

    def open_questions(self) -> list[Question]:
        """Return what has no answer yet."""
        if self.subject is None:
            return []
        asked = [Question(self.subject, self.head, space, self.epsilons[space]) for space in spaces_of(self.head)]
        answers = [self.answer(question.space) for question in asked]
        return [q for q, answer in zip(asked, answers, strict=True) if answer is None or answer.question != q]

    def drawn_spaces(self) -> list[Space]:
        """Return where the chosen head was attacked, with all that is drawn of it."""
        return [s for s in spaces_of(self.head) if self.found(s) is not None and self.flip(s) is not None]

    def has_curves(self) -> bool:
        """Whether there are scores against epsilon."""
        return bool(self._flips)

    def curves(self) -> list[ScoreCurve]:
        """Return the scores of all heads against epsilon, as far as they are known."""
        return [_curve(head, space, flip) for (head, space), flip in self._flips.items()]

    def attacks(self) -> list[AttackedNucleus]:
        """Return the attacks on the chosen head, to be drawn."""
        from napari_cellinterp.results.counterfactual_export import AttackedNucleus

        drawn = []
        for space in self.drawn_spaces():
            found, flip = self.found(space), self.flip(space)
            seen_as = {
                "reconstruction": found.reconstruction_before,
                "reconstruction after": found.reconstruction_after,
            }
            others = seen_as if space == "image" else {}
            words = f"{ATTACK_TITLES[space]}: " + sentence(self.head, found, flip, self.subject.bundle.info.classes)
            curve = _curve(self.head, space, flip)
            drawn.append(AttackedNucleus(words, found.epsilon, found.before, found.after, others, curve))
        return drawn


def _curve(head: HeadName, space: Space, flip: Flip) -> ScoreCurve:
    from napari_cellinterp.results.counterfactual_export import ScoreCurve

    epsilons, scores = whole_curve(flip)
    return ScoreCurve(head, space, epsilons, scores, flip.epsilon)


def whole_curve(flip: Flip) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return epsilons from 0 on, (65,), and the scores, (65, n_scores)."""
    return np.append(np.float32(0), flip.epsilons), np.concatenate([flip.score_at_zero[None], flip.scores])


def sentence(head: HeadName, found: Counterfactual, flip: Flip | None, classes: Sequence[str]) -> str:
    """Say what an attack does to a head's answer, and where that would change.

    Parameters
    ----------
    head : str
        Whose answer.
    found : Counterfactual
        The attack.
    flip : Flip or None
        None where it isn't known yet.
    classes : sequence of str
        Names of the states.
    """
    from napari_cellinterp.models.heads import UNDEFINED

    at, who, before = f"At ε = {_length(found.epsilon, found.space)}", NAMES[head], classes[found.state]
    if found.state_after == UNDEFINED:
        return f"{at} the {who}'s score is undefined; before, it calls the nucleus {before}."
    score, was = _deciding(found.scores_after, found.state_after), _deciding(found.scores_before, found.state)
    if found.state_after != found.state:
        after = classes[found.state_after]
        return f"{at} the {who} would call it {after} (score {score}), not {before} ({was}).{_clipped(found)}"
    ahead = ("" if flip is None else f" {_ahead(flip, found)}") + _clipped(found)
    if found.epsilon == 0:
        return f"Unchanged, the {who} calls it {before} (score {score}).{ahead}"
    return f"{at} the {who} still calls it {before} (score {score}, {was} before).{ahead}"


def _clipped(found: Counterfactual) -> str:
    """Say how many pixels couldn't go as far as epsilon; nothing where all could, or latents were changed."""
    return f" {found.clipped_share:.0%} of the pixels stop at 0 or 1 before that." if found.clipped_share > 0 else ""


def _ahead(flip: Flip, found: Counterfactual) -> str:
    if flip.epsilon is None:
        return f"It doesn't change its mind up to {_length(flip.max_epsilon, found.space)}."
    at = _length(flip.epsilon, found.space)
    back = "" if flip.epsilon > found.epsilon else ", and back again"
    return f"It changes its mind at {at}{back}."


def _length(epsilon: float, space: Space) -> str:
    return f"{epsilon:.3g}{UNITS[space]}"


def _deciding(scores: NDArray[np.float32], state: int) -> str:
    """Return the score that a state got: the only one, or that of its class."""
    return f"{float(scores[0] if len(scores) == 1 else scores[state]):+.2f}"
