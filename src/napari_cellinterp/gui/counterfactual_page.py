"""What the counterfactual widget shows of a nucleus: flips of all heads, epsilon, curves, and how it is attacked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QGroupBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_cellinterp.gui.counterfactual_inquiry import ATTACK_TITLES, NAMES, SPACE_TITLES, sentence
from napari_cellinterp.gui.counterfactual_parts import FLIP_COLOUR, AttackForm, AttackPlot, EpsilonBar, FlipTable
from napari_cellinterp.gui.counterfactual_questions import SPACES, max_epsilon, spaces_of
from napari_cellinterp.results.colours import state_colour

if TYPE_CHECKING:
    from napari_cellinterp.explain.scoring import Space
    from napari_cellinterp.gui.counterfactual_inquiry import Inquiry
    from napari_cellinterp.gui.counterfactual_questions import FlipFound


class CounterfactualPage(QWidget):
    """Table, epsilon, sentence, curves and settings of one nucleus.

    Parameters
    ----------
    inquiry : Inquiry
        What is asked and known; the page shows it, and changes nothing of it.
    """

    def __init__(self, inquiry: Inquiry) -> None:
        super().__init__()
        self._inquiry, self._is_saving = inquiry, False
        self.about, self.table, self.status = QLabel(), FlipTable(), QLabel()
        self.epsilon, self.sentence, self.legend = EpsilonBar(), QLabel(), QLabel()
        self.plots: dict[Space, AttackPlot] = {space: AttackPlot(space) for space in SPACES}
        self.keep, self.save_png, self.save_csv = map(QPushButton, ("Keep as layers", "Save PNG…", "Save CSV…"))
        self.form, self.held = AttackForm(), QLabel()
        self._build()

    def set_colour(self, colour: str) -> None:
        """Draw the curves in a colour that can be read on the background."""
        for plot in self.plots.values():
            plot.set_colour(colour)
        self.show_choice()

    def show_subject(self, track_id: int, frame: int) -> None:
        """Show another nucleus, of which nothing is known yet."""
        bundle, fixed = self._inquiry.subject.bundle, self._inquiry.subject.fixed
        self.table.set_heads(bundle.heads)
        self.about.setText(f"Track {track_id}, frame {frame}")
        self.held.setVisible(bool(fixed))
        self.held.setText(f"{len(fixed)} of {bundle.info.n_latents} latents are held fixed.")
        self.held.setToolTip(", ".join(f"z{i}" for i in fixed))
        self.show_choice()

    def show_flip(self, found: FlipFound) -> None:
        """Show a flip that was found."""
        self.table.show_flip(found, self._inquiry.subject.bundle.info.classes)
        if found.head == self._inquiry.head:
            self._show_curve(found.space)
            self.show_sentence()

    def show_choice(self) -> None:
        """Show which head and space are asked about, with all that is known."""
        inquiry = self._inquiry
        if inquiry.subject is None:
            return
        self.table.select(inquiry.head, inquiry.space)
        self._effect.setTitle(f"{ATTACK_TITLES[inquiry.space]} on the {NAMES[inquiry.head]}")
        self.epsilon.set_space(inquiry.space, max_epsilon(inquiry.subject.config, inquiry.space))
        for space in SPACES:
            self._show_curve(space)
        self.show_epsilons()
        self.show_sentence()
        self.show_exports()

    def _show_curve(self, space: Space) -> None:
        inquiry, plot = self._inquiry, self.plots[space]
        can = space in spaces_of(inquiry.head)
        plot.setEnabled(can)
        plot.show_title(ATTACK_TITLES[space] + ("" if can else ": n/a"), is_chosen=space == inquiry.space)
        plot.show_flip(inquiry.flip(space), max_epsilon(inquiry.subject.config, space))
        if space == inquiry.space:
            flip = inquiry.flip(space)
            self.epsilon.button.setEnabled(flip is not None and flip.epsilon is not None)

    def show_epsilons(self) -> None:
        """Show the epsilons of both spaces: the chosen one's slider, and the lines in the curves."""
        inquiry = self._inquiry
        self.epsilon.show_epsilon(inquiry.epsilons[inquiry.space])
        for space, plot in self.plots.items():
            plot.set_epsilon(inquiry.epsilons[space])

    def show_sentence(self) -> None:
        """Say what the attack does, or why nothing can be said."""
        inquiry = self._inquiry
        answer, found = inquiry.answer(inquiry.space), inquiry.found(inquiry.space)
        if found is not None:
            classes = inquiry.subject.bundle.info.classes
            self.sentence.setText(sentence(inquiry.head, found, inquiry.flip(inquiry.space), classes))
        elif answer is not None:
            self.sentence.setText(f"⚠ {answer.problem}")

    def show_legend(self) -> None:
        """Say what marks and colours mean, and how large the differences are that are drawn in full colour."""
        classes = self._inquiry.subject.bundle.info.classes
        squares = [f'<span style="color:{state_colour(i)}">■</span> {name}' for i, name in enumerate(classes)]
        curve = f'<span style="color:{FLIP_COLOUR}">◆</span> smallest flip, ┆ ε, {", ".join(squares)}'
        answers = [self._inquiry.answer(space) for space in spaces_of(self._inquiry.head)]
        scales = [f"±{answer.scale:g} ({SPACE_TITLES[answer.question.space].lower()})" for answer in answers]
        self.legend.setText(f"{curve}.<br>Pictures: black 0, white 1; differences blue to red, {', '.join(scales)}.")

    def show_exports(self) -> None:
        """Allow to keep and to save what there is."""
        is_drawn = bool(self._inquiry.drawn_spaces())
        self.keep.setEnabled(is_drawn)
        self.save_png.setEnabled(is_drawn and not self._is_saving)
        self.save_csv.setEnabled(self._inquiry.has_curves() and not self._is_saving)

    def set_saving(self, is_saving: bool) -> None:
        """Save one file at a time."""
        self._is_saving = is_saving
        self.show_exports()

    def _build(self) -> None:
        for label in (self.status, self.sentence, self.legend):
            label.setWordWrap(True)
        self.about.setStyleSheet("font-weight: bold;")
        self.keep.setToolTip("Copy the pictures to image layers that stay, below all others.")
        self.save_png.setToolTip("Both attacks as one figure: pictures, differences and curves.")
        self.save_csv.setToolTip("Scores of all heads against ε, in the image and in the latents.")
        layout = QVBoxLayout(self)
        layout.addWidget(self.about)
        for group in (self._flips_group(), self._effect_group(), self._attack_group()):
            layout.addWidget(group)
        layout.addStretch(1)

    def _flips_group(self) -> QGroupBox:
        group = QGroupBox("Smallest ε that changes the answer")
        layout = QVBoxLayout(group)
        layout.addWidget(self.table)
        layout.addWidget(self.status)
        return group

    def _effect_group(self) -> QGroupBox:
        self._effect, curves, exports = QGroupBox(), QHBoxLayout(), QHBoxLayout()
        for plot in self.plots.values():
            curves.addWidget(plot, 1)
        for button in (self.keep, self.save_png, self.save_csv):
            exports.addWidget(button, 1)
        layout = QVBoxLayout(self._effect)
        layout.addWidget(self.epsilon)
        layout.addWidget(self.sentence)
        layout.addLayout(curves)
        layout.addWidget(self.legend)
        layout.addLayout(exports)
        return self._effect

    def _attack_group(self) -> QGroupBox:
        group = QGroupBox("Attack")
        layout = QVBoxLayout(group)
        layout.addWidget(self.form)
        layout.addWidget(self.held)
        return group
