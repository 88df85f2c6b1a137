"""A model read aloud: its sizes, its network, its formula, its boundaries, as one HTML file and figures beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from napari_cellinterp.explain.figure_parts import SCHEMES, svg
from napari_cellinterp.explain.filmstrip_figure import filmstrip_figure
from napari_cellinterp.explain.formula_figures import formula_figure, terms_by_state_figure
from napari_cellinterp.explain.formulas import exports, undefined_parts
from napari_cellinterp.explain.rashomon import (
    head_size,
    mean_accuracy,
    rashomon_figure,
    trained_models,
)
from napari_cellinterp.explain.report_parts import cell, image, page, percent, table
from napari_cellinterp.explain.response import (
    boundary_latents,
    decision_map,
    important_latents,
    narrowest_layer,
    response_map,
)
from napari_cellinterp.explain.response_figure import decision_figure, fixed_words, response_figure
from napari_cellinterp.explain.topology import (
    Place,
    evaluate,
    graphml,
    head_topology,
    latent_label,
    latent_values,
    neuron_name,
    stream,
    subnetwork,
)
from napari_cellinterp.explain.topology_figure import topology_figure
from napari_cellinterp.models.card import model_card
from napari_cellinterp.models.expression import Expression
from napari_cellinterp.models.heads import SymbolicHead
from napari_cellinterp.models.latent_names import active_latents, latent_titles

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from napari_cellinterp.config import HeadName
    from napari_cellinterp.explain.topology import Topology
    from napari_cellinterp.models.bundle import ModelBundle

REPORT_NAME, GRAPH_NAME, FORMULAS_NAME = "explain.html", "topology.graphml", "formulas.txt"

MAX_RESPONSES = 6
"""Of the last hidden neurons those that move the score most are shown."""

MAX_STRIPS = 12
"""Latents in the filmstrip."""

MAX_NAMED = 4
"""More inputs than these aren't named one by one in a caption."""

READABLE: tuple[HeadName, ...] = ("sparse", "symbolic")
"""Heads that are made to be read."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A model that is explained.

    Attributes
    ----------
    bundle : ModelBundle
        The model.
    """

    bundle: ModelBundle

    @cached_property
    def titles(self) -> dict[int, str]:
        """What latents are called."""
        return latent_titles(self.bundle)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the states."""
        return self.bundle.info.classes

    @property
    def readable(self) -> list[HeadName]:
        """Those of its heads that are made to be read."""
        return [name for name in READABLE if name in self.bundle.heads]

    @cached_property
    def sparse(self) -> Topology | None:
        """Graph of the sparse head, where there is one."""
        return head_topology(self.bundle.head("sparse")) if "sparse" in self.bundle.heads else None

    @property
    def formulas(self) -> dict[str, Expression]:
        """Formulas of the symbolic head, by what each is the score of."""
        head = self.bundle.heads.get("symbolic")
        if not isinstance(head, SymbolicHead):
            return {}
        names = [self.classes[1]] if len(self.classes) == 2 else self.classes
        return dict(zip(names, head.expressions, strict=True))

    def name(self, place: Place) -> str:
        """Return what a neuron of the sparse head is called."""
        assert self.sparse is not None
        return neuron_name(place, self.sparse.last_layer, self.titles, self.classes)


@dataclass(frozen=True, eq=False)
class Section:
    """A part of the report.

    Attributes
    ----------
    title : str
        Its heading.
    parts : list of str
        HTML.
    files : dict of str to bytes
        What is written beside the report, by path from its folder.
    """

    title: str
    parts: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    def say(self, sentence: str) -> None:
        """Add a paragraph."""
        self.parts.append(f"<p>{escape(sentence)}</p>")

    def show(self, figure: Figure, name: str, caption: str, *, outlined: bool = False) -> None:
        """Add a figure, and its SVG file."""
        self.files[f"figures/{name}.svg"] = svg(figure, outlined=outlined)
        self.parts.append(image(figure, escape(caption)))

    def html(self) -> str:
        """Return the section."""
        return "\n".join([f"<h2>{escape(self.title)}</h2>", *self.parts])


def report(subject: Subject, sections: Sequence[Section]) -> dict[str, bytes]:
    """Return all files of a report by path from its folder, the page last."""
    files = {name: content for section in sections for name, content in section.files.items()}
    names = ", ".join(sorted(files))
    parts = [f"<p>{escape(subject.bundle.info.description)}</p>", *(section.html() for section in sections)]
    parts.append(f"<p><small>Beside this file: {escape(names)}.</small></p>")
    return files | {REPORT_NAME: page(f"How {subject.bundle.info.name} decides", parts).encode()}


def formula_section(subject: Subject) -> Section:
    """Show the formula, what its terms add, and where it is undefined."""
    section = Section("The formula")
    if not subject.formulas:
        section.say("The model has no symbolic head.")
        return section
    population = subject.bundle.population
    for i, (name, expression) in enumerate(subject.formulas.items()):
        ending = f"-{i}" if len(subject.formulas) > 1 else ""
        rule = f"{name} where it is 0 or more" if len(subject.classes) == 2 else "the largest score wins"
        section.show(
            formula_figure(expression, subject.titles, f"score ({name})"),
            f"formula{ending}",
            f"Score of {name}: {expression}. Size {expression.size} nodes; {rule}.",
            outlined=True,
        )
        section.say(undefined_words(expression, population.latents))
        section.show(
            terms_by_state_figure(expression, population.latents, population.state, subject.classes, subject.titles),
            f"terms{ending}",
            f"What each term adds to the score of {name}, over {len(population.state)} held-out nuclei by their "
            "labelled state. Boxes: quartiles; whiskers: 5th to 95th percentile.",
            outlined=True,
        )
    section.files[FORMULAS_NAME] = formulas_text(subject.formulas, subject.titles).encode()
    return section


def undefined_words(expression: Expression, latents: NDArray[np.floating], whose: str = "population") -> str:
    """Say for how many nuclei of a population, or of a movie, a formula is undefined, and why."""
    n_undefined, n = int(np.isnan(expression.evaluate(latents)).sum()), len(latents)
    if not n_undefined:
        return f"It is defined for all {n} nuclei of the {whose}."
    parts = "; ".join(f"{one.reason} in {one.part} ({one.count})" for one in undefined_parts(expression, latents))
    return f"It is undefined for {n_undefined} of {n} nuclei of the {whose}: {parts}."


def formulas_text(formulas: Mapping[str, Expression], titles: Mapping[int, str]) -> str:
    """Return formulas in all languages, as a text file."""
    names = {i: title for i, title in titles.items() if title != f"z{i}"}
    lines: list[str] = []
    for name, expression in formulas.items():
        latents = ", ".join(latent_label(i, titles) for i in expression.latents) or "none"
        lines += [f"Score of {name}", "=" * (9 + len(name)), f"Latents: {latents}", ""]
        for title, text in exports(expression, names).items():
            lines += [title, "-" * len(title), text.rstrip("\n"), ""]
    return "\n".join(lines)


def topology_section(subject: Subject) -> Section:
    """Draw the sparse head, and what flows through it."""
    section, graph = Section("The sparse network"), subject.sparse
    if graph is None:
        section.say("The model has no sparse head.")
        return section
    section.show(
        topology_figure(graph, subject.titles, subject.classes),
        "topology",
        f"All {len(graph.edges)} weights of the sparse head. Numbers in hidden neurons count them within their layer: "
        "neuron 5 of layer 2 is called h2.5 here.",
    )
    section.files[GRAPH_NAME] = graphml(graph, subject.titles, subject.classes)
    for i, place in enumerate(narrowest_layer(graph)):
        inputs = subnetwork(graph, [place]).inputs
        if len(inputs) < len(graph.inputs):
            section.show(
                topology_figure(graph, subject.titles, subject.classes, stream(graph, inputs)),
                f"stream-{i}",
                f"The stream from the latents of {subject.name(place)}: {_names(subject, inputs)}.",
            )
    return section


def response_section(subject: Subject) -> Section:
    """Map the answers of the last hidden neurons of the sparse head, and of the score over a narrow layer."""
    section, graph = Section("What the neurons answer"), subject.sparse
    if graph is None or not graph.edges:
        section.say("The model has no sparse head with a connection left, so there is no neuron to ask.")
        return section
    asked = last_hidden(subject.bundle, graph)
    section.say(
        "Arrows point to larger responses. The nuclei along an axis are decoded: the population's median nucleus with "
        "that value of a latent, or the mean of those nuclei whose neuron has the value."
    )
    if len(asked) > MAX_RESPONSES:
        section.say(f"Of {len(asked)} last hidden neurons, the {MAX_RESPONSES} that move the score most are shown.")
    section.parts.append('<div class="row">')
    for place in asked[:MAX_RESPONSES]:
        _show_response(section, subject, place)
    starts = narrowest_layer(graph)
    if starts:
        for neuron in graph.layer(graph.last_layer):
            _show_response(section, subject, neuron.place, starts)
    section.parts.append("</div>")
    return section


def last_hidden(bundle: ModelBundle, graph: Topology) -> list[Place]:
    """Return the last hidden neurons that something flows into, those first that move the scores most.

    How much is the largest weight to a score times the standard deviation over the population.
    """
    values = evaluate(graph, latent_values(graph, bundle.population.latents))
    moves: dict[Place, float] = {}
    for edge in graph.edges:
        if edge.target.layer == graph.last_layer and subnetwork(graph, [edge.source]).inputs:
            moves[edge.source] = max(moves.get(edge.source, 0), abs(edge.weight) * float(values[edge.source].std()))
    return sorted(moves, key=lambda place: -moves[place])


def _show_response(section: Section, subject: Subject, place: Place, starts: Sequence[Place] = ()) -> None:
    assert subject.sparse is not None
    if not subnetwork(subject.sparse, [place], starts).inputs:
        return
    found = response_map(subject.bundle, "sparse", place, starts=starts)
    over = " and ".join(subject.name(one) for one in found.inputs)
    held = held_words({subject.name(one): value for one, value in found.fixed.items()})
    section.show(
        response_figure(found, subject.sparse.last_layer, subject.titles, subject.classes),
        f"response-{place.layer}-{place.number}",
        f"Response of {subject.name(place)} over {over}. {held}",
    )


def held_words(fixed: Mapping[str, float]) -> str:
    """Say which inputs are held fixed, or how many where they are many."""
    if len(fixed) > MAX_NAMED:
        return f"The other {len(fixed)} inputs are held at the population's median."
    return fixed_words(fixed)


def boundary_section(subject: Subject) -> Section:
    """Draw where the readable heads change their mind, in the two latents that matter most to each."""
    section = Section("Where it changes its mind")
    if not subject.readable:
        section.say("The model has no sparse and no symbolic head.")
        return section
    section.parts.append('<div class="row">')
    for head in subject.readable:
        chosen = boundary_latents(subject.bundle, head)
        if chosen is None:
            section.say(f"The {head} head reads no latent: its score is the same for every nucleus.")
            continue
        found = decision_map(subject.bundle, head, chosen)
        section.show(
            decision_figure(found, subject.bundle, subject.titles, f"Scheme {SCHEMES[head]}"),
            f"boundary-{head}",
            f"The {head} head over {' and '.join(latent_label(i, subject.titles) for i in chosen)}. Shaded: its "
            f"answer; dots: held-out nuclei in the colour of their label. Dots differ in the latents that are held "
            f"fixed, so some lie on the wrong side though the head is right. "
            + held_words({latent_label(i, subject.titles): value for i, value in found.fixed.items()}),
        )
    section.parts.append("</div>")
    return section


def complexity_section(subject: Subject) -> Section:
    """Compare the sizes of all heads, and show accuracy against size of all that was trained."""
    section, info = Section("How much there is to read"), subject.bundle.info
    names = [name for name in SCHEMES if name in subject.bundle.heads]
    header = ["Scheme", "Accuracy of its runs", "Weights", "Parameters", "With encoder", "Expression size"]
    rows = [_size_row(subject, name) for name in names]
    section.parts.append(table([*header, "Tree size", "Latents that it reads"], rows))
    section.parts.append(
        "<p><small>Accuracy: mean and standard deviation, held-out crops. Weights are without biases. Expression size: "
        "nodes of the equivalent formula as the paper counts them (appendix C; its eq. 14 for sparse heads); tree "
        "size: nodes of the tree itself.</small></p>"
    )
    models, n_unknown = trained_models([info])
    left_out = f" {n_unknown} runs of unknown size are left out." if n_unknown else ""
    section.show(
        rashomon_figure(models),
        "accuracy-against-size",
        f"{len(models)} trained models. Those on the line are beaten by none that is as small.{left_out}",
    )
    return section


def _size_row(subject: Subject, name: HeadName) -> list[str]:
    size, accuracy = head_size(subject.bundle, name), mean_accuracy(subject.bundle.info, name)
    known = "&ndash;"
    if accuracy is not None:
        mean, sd, n = accuracy
        known = f"{percent(mean)} &plusmn; {percent(sd)} ({n} {'run' if n == 1 else 'runs'})"
    latents = "pixels"
    if size.latents is not None:
        latents = _few([latent_label(i, subject.titles) for i in size.latents])
    numbers = [size.n_weights, size.n_parameters, size.n_with_encoder, size.expression_size, size.tree_size]
    counts = ["&ndash;" if number is None else f"{number}" for number in numbers]
    return [cell(SCHEMES[name]), cell(known), *map(cell, counts), cell(escape(latents))]


def _few(names: Sequence[str]) -> str:
    return f"{len(names)} latents" if len(names) > MAX_STRIPS else ", ".join(names) or "none"


def _names(subject: Subject, places: Sequence[Place]) -> str:
    return _few([subject.name(place) for place in places])


def front_section(subject: Subject) -> Section:
    """List the formulas of the Pareto front."""
    section, head = Section("Shorter and longer formulas"), subject.bundle.info.heads.get("symbolic")
    if head is None or not head.front:
        section.say("The model tells of no other formulas.")
        return section
    several = len(subject.formulas) > 1
    header = [*(["Score of"] if several else []), "Formula", "Size", "Complexity", "Accuracy", "Loss", "Searched for"]
    names = list(subject.formulas)
    used = set(subject.formulas.values())
    rows = [
        [
            *([cell(escape(names[one.score_index]))] if several else []),
            cell(
                f"<code>{escape(one.expression)}</code>",
                "holds" if Expression.parse(one.expression) in used else "",
            ),
            *(cell(text) for text in (f"{one.size}", f"{one.complexity}", percent(one.accuracy), f"{one.loss:.3g}")),
            cell(escape(one.target.replace("_", " "))),
        ]
        for one in head.front
    ]
    section.parts.append(table(header, rows))
    against_rest = "Accuracy and loss are those of one score alone, where 0 parts its class from the rest. "
    section.parts.append(
        "<p><small>The Pareto front of the symbolic regression by loss and complexity (sin counts 3, exp and log 2). "
        f"{against_rest if several else ''}"
        "Green: the formulas that this model uses, which need not be on it.</small></p>"
    )
    return section


def traversal_section(subject: Subject) -> Section:
    """Show how nucleus and scores change along the latents that the readable heads read."""
    section, bundle = Section("What the latents show"), subject.bundle
    heads = subject.readable or [name for name in ("dense", "cnn") if name in bundle.heads]
    latents = relevant_latents(subject)
    if not heads or not latents:
        section.say("No head reads a latent.")
        return section
    shown = latents[:MAX_STRIPS]
    left_out = f" {len(latents) - len(shown)} more are left out." if len(latents) > len(shown) else ""
    section.show(
        filmstrip_figure(bundle, shown, heads[:2], subject.titles),
        "traversals",
        "The population's median nucleus, decoded with one latent at a time set to the value in the corner (standard "
        f"deviations of the prior); under it the scores.{left_out}",
    )
    return section


def relevant_latents(subject: Subject) -> list[int]:
    """Return the latents of the formula, then those of the sparse head, those that matter most first.

    Without such heads all that say something of the crop.
    """
    found = [i for head in reversed(subject.readable) for i in important_latents(subject.bundle, head)]
    return list(dict.fromkeys(found)) if subject.readable else list(active_latents(subject.bundle))


def card_section(subject: Subject) -> Section:
    """Show the model card."""
    section = Section("Model card")
    section.parts.append(f"<pre>{escape(model_card(subject.bundle.info))}</pre>")
    return section


SECTIONS: tuple[Callable[[Subject], Section], ...] = (
    formula_section,
    topology_section,
    response_section,
    boundary_section,
    traversal_section,
    complexity_section,
    front_section,
    card_section,
)
"""In the order of the report."""
