"""The report on a model: what it says, what it draws, and models that have little to read."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from napari_cellinterp.explain import explain_report
from napari_cellinterp.explain.explain_report import (
    MAX_RESPONSES,
    SECTIONS,
    Subject,
    boundary_section,
    complexity_section,
    formula_section,
    formulas_text,
    front_section,
    last_hidden,
    relevant_latents,
    report,
    response_section,
    topology_section,
    traversal_section,
    undefined_words,
)
from napari_cellinterp.explain.topology import Place, head_topology
from napari_cellinterp.models.bundle_info import Formula, Run
from napari_cellinterp.models.expression import Expression
from napari_cellinterp.models.heads import SymbolicHead


def named(bundle):
    """Give latents names, so that they needn't be measured."""
    latents = tuple(one.model_copy(update={"name": f"property {one.index}"}) for one in bundle.info.latents)
    return replace(bundle, info=bundle.info.model_copy(update={"latents": latents}))


def pruned(bundle, edges):
    """Leave the sparse head only some weights, a set of (target, source) a layer."""
    for layer, kept in zip(bundle.head("sparse").linear_layers(), edges, strict=True):
        layer.mask.zero_()
        for target, source in kept:
            layer.mask[target, source] = 1
    return bundle


def with_formulas(bundle, *texts, **changes):
    expressions = [Expression.parse(text) for text in texts]
    head = bundle.info.heads["symbolic"].model_copy(update={"expressions": texts, **changes})
    info = bundle.info.model_copy(update={"heads": bundle.info.heads | {"symbolic": head}})
    return replace(bundle, info=info, heads=bundle.heads | {"symbolic": SymbolicHead(expressions)})


def without(bundle, *names):
    infos = {name: head for name, head in bundle.info.heads.items() if name not in names}
    heads = {name: head for name, head in bundle.heads.items() if name not in names}
    return replace(bundle, info=bundle.info.model_copy(update={"heads": infos}), heads=heads)


@pytest.fixture(autouse=True)
def _undrawn(request, monkeypatch):
    """Make the figures, but spend no time on drawing them, where the test isn't marked so."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(explain_report, "svg", lambda figure, outlined: b"<svg/>")
        monkeypatch.setattr(explain_report, "image", lambda figure, caption: f"<figcaption>{caption}</figcaption>")


@pytest.fixture
def drawn():
    """Have the figures drawn."""


@pytest.fixture
def bundle(random_bundle):
    small = [{(0, 0), (0, 1), (1, 2)}, {(3, 0), (4, 1)}, {(5, 3), (5, 4), (6, 4)}, {(0, 5), (0, 6)}]
    return pruned(named(random_bundle()), small)


def text_of(section):
    return unescape(re.sub(r"<[^>]+>", " ", re.sub(r"<img[^>]*>", "", section.html())))


def test_the_whole_report_needs_no_other_file(bundle):
    subject = Subject(bundle)
    files = report(subject, [make(subject) for make in SECTIONS])
    html = files["explain.html"].decode()
    assert list(files)[-1] == "explain.html"
    assert html.startswith("<!doctype html>")
    assert not re.search(r"(?:src|href)=\"(?!data:)", html)
    assert "How random decides" in html
    figures = {name for name in files if name.endswith(".svg")}
    assert html.count("<figcaption") == len(figures)
    expected = {"formula", "terms", "topology", "stream-0", "response-3-5", "boundary-sparse", "boundary-symbolic"}
    assert {f"figures/{name}.svg" for name in (*expected, "traversals", "accuracy-against-size")} <= figures
    assert "not trained at all" in html.lower()  # the model card's description


def test_the_same_model_gives_the_same_files(bundle, drawn):
    first, again = (formula_section(Subject(bundle)).files for _ in range(2))
    assert first == again
    assert ElementTree.fromstring(first["figures/formula.svg"]).tag.endswith("svg")


def test_the_formula_with_its_terms_and_exports(bundle):
    section = formula_section(Subject(bundle))
    words = text_of(section)
    assert "Score of metaphase: z0 - 2*z1**2. Size 6 nodes; metaphase where it is 0 or more." in words
    assert "defined for all 200 nuclei" in words
    written = section.files["formulas.txt"].decode()
    assert "Latents: z0 property 0, z1 property 1" in written
    assert "=A2 - 2*(B2^2)" in written
    for language in ("LaTeX", "SymPy", "NumPy", "PyTorch", "C", "Excel"):
        assert f"\n{language}" in written


def test_an_undefined_formula_is_counted():
    latents = np.array([[1.0], [-1.0], [0.0], [2.0]])
    words = undefined_words(Expression.parse("log(z0)"), latents)
    assert words == (
        "It is undefined for 2 of 4 nuclei of the population: "
        "logarithm of zero in log(z0) (1); logarithm of a negative number in log(z0) (1)."
    )


def test_a_formula_that_is_never_defined_is_still_reported(bundle):
    subject = Subject(with_formulas(bundle, "log(-1 - z0**2)"))
    assert "undefined for 200 of 200 nuclei" in text_of(formula_section(subject))
    assert "figures/boundary-symbolic.svg" in boundary_section(subject).files
    assert traversal_section(subject).files


def test_formulas_of_several_classes_have_sections_of_their_own(random_bundle):
    classes = ("a", "b", "c")
    subject = Subject(named(random_bundle(classes=classes)))
    section = formula_section(subject)
    assert {f"figures/terms-{i}.svg" for i in range(3)} <= set(section.files)
    assert "Score of c: z2 - 2*z3**2. Size 6 nodes; the largest score wins." in text_of(section)
    assert section.files["formulas.txt"].decode().count("Score of ") == 3
    assert "figures/boundary-symbolic.svg" in boundary_section(subject).files


def test_the_network_with_its_graph_and_streams(bundle):
    section = topology_section(Subject(bundle))
    assert "All 10 weights" in text_of(section)
    assert section.files["topology.graphml"].count(b"<edge") == 10
    assert "from the latents of h1.1: z2 property 2." in text_of(section)


def test_responses_are_of_the_last_hidden_neurons(bundle):
    section = response_section(Subject(bundle))
    assert set(section.files) == {f"figures/response-{name}.svg" for name in ("3-5", "3-6", "4-0")}
    assert "Response of score (metaphase) over h1." in text_of(section)


def test_last_hidden_neurons_are_in_order_of_what_they_move(bundle):
    head = bundle.head("sparse")
    with torch.no_grad():
        head.linear_layers()[3].weight[0, 6] = 1000
    assert last_hidden(bundle, head_topology(head)) == [Place(3, 6), Place(3, 5)]


def test_of_a_wide_head_a_few_neurons_are_shown(random_bundle):
    section = response_section(Subject(named(random_bundle())))
    assert len(section.files) == MAX_RESPONSES
    assert "Of 16 last hidden neurons" in text_of(section)
    assert "The other 30 inputs are held" in text_of(section)


def test_a_head_without_connections(bundle):
    subject = Subject(pruned(bundle, [set()] * 4))
    assert "no neuron to ask" in text_of(response_section(subject))
    assert "All 0 weights" in text_of(topology_section(subject))
    assert "The sparse head reads no latent" in text_of(boundary_section(subject))
    assert relevant_latents(subject) == [1, 0]
    assert report(subject, [make(subject) for make in SECTIONS])["explain.html"]


def test_a_model_with_nothing_that_can_be_read(bundle):
    subject = Subject(without(bundle, "sparse", "symbolic"))
    files = report(subject, [make(subject) for make in SECTIONS])
    assert {"topology.graphml", "formulas.txt"}.isdisjoint(files)
    html = files["explain.html"].decode()
    for sentence in ("no symbolic head", "no sparse head", "no sparse and no symbolic head"):
        assert sentence in html
    assert "dense" in text_of(complexity_section(subject))
    assert relevant_latents(subject) == list(range(32))


def test_latents_of_the_formula_come_before_the_others(bundle):
    found = relevant_latents(Subject(with_formulas(bundle, "z9 - 0.1*z2")))
    assert found[:2] == [9, 2]
    assert set(found) == {0, 1, 2, 9}


def test_constant_latents(bundle, drawn):
    bundle.population.latents[:] = 0.5
    subject = Subject(bundle)
    for make in (formula_section, response_section):
        assert make(subject).files


def test_odd_names_of_latents_and_a_formula_that_is_too_long_to_be_drawn(bundle, drawn):
    latents = tuple(one.model_copy(update={"name": f"a$b${one.index}_{{ <i>"}) for one in bundle.info.latents)
    made = replace(bundle, info=bundle.info.model_copy(update={"latents": latents}))
    text = "z0"
    for _ in range(6):
        text = f"({text})*1.2345678901234567 + ({text})*7.654321"
    subject = Subject(with_formulas(made, f"z3 - log({text})"))
    for make in (formula_section, topology_section, boundary_section):
        section = make(subject)
        assert section.files
        assert "<i>" not in section.html()


def test_sizes_and_runs_in_a_table(bundle):
    runs = tuple(Run(seed=i, accuracy=0.9 + 0.02 * i, expression_size=150 + i) for i in range(3))
    heads = bundle.info.heads | {"sparse": bundle.info.heads["sparse"].model_copy(update={"runs": runs})}
    words = text_of(complexity_section(Subject(replace(bundle, info=bundle.info.model_copy(update={"heads": heads})))))
    assert "92.0\xa0% ± 2.0\xa0% (3 runs)" in words
    assert "9697" in words
    assert "3 trained models" in words


def test_the_front_names_the_formula_in_use(bundle):
    front = tuple(
        Formula(expression=text, complexity=3, size=3, loss=0.2, accuracy=0.8, target="squared_error")
        for text in ("z0", "z0 - 2*z1**2")
    )
    section = front_section(Subject(with_formulas(bundle, "z0 - 2*z1**2", front=front)))
    assert re.findall(r'class="holds"><code>([^<]*)', section.html()) == ["z0 - 2*z1**2"]
    assert "squared error" in text_of(section)
    assert "no other formulas" in text_of(front_section(Subject(bundle)))


def test_a_formula_longer_than_excel_takes_is_exported_all_the_same():
    text = "z0"
    for _ in range(8):
        text = f"({text})*1.2345678901234567 + ({text})*7.654321"
    assert "Excel takes 8192" in formulas_text({"metaphase": Expression.parse(text)}, {})
