"""What can be done with a trained model that was clicked, and how large the heads are; without Qt."""

from dataclasses import replace
from pathlib import Path

import pytest

from napari_cellinterp.explain.explain_report import Subject
from napari_cellinterp.explain.rashomon import TrainedModel, head_size
from napari_cellinterp.gui.head_sizes import sizes_table
from napari_cellinterp.gui.opening import Listed, opening_of
from napari_cellinterp.models.bundle_info import Run


@pytest.fixture(scope="module")
def bundle(random_bundle):
    """The random bundle, with one run a head that is the head's, one that isn't, and two alike of the dense."""
    made = random_bundle()
    heads = {}
    for name, info in made.info.heads.items():
        size = head_size(made, name)
        same = Run(seed=0, accuracy=0.9, expression_size=size.expression_size, latents=size.latents)
        other = same.model_copy(update={"seed": 1, "expression_size": 7})
        heads[name] = info.model_copy(update={"runs": (same, same if name == "dense" else other)})
    return replace(made, info=made.info.model_copy(update={"heads": heads}))


def opened(bundle, head, run=0, *, folder=None, is_classified=True):
    found = bundle.info.heads[head].runs[run]
    model = TrainedModel("random", head, found.accuracy, found.expression_size, found.latents)
    return opening_of(Listed(model, folder), Subject(bundle), is_classified=is_classified)


def test_the_heads_of_the_bundle_label_a_movie(bundle):
    found = opened(bundle, "sparse")
    assert (found.action, found.words) == ("label", "Open labels the movie with the bundle's sparse head.")
    unclassified = opened(bundle, "sparse", is_classified=False)
    assert unclassified.action is None
    assert "Classify a movie" in unclassified.words


def test_the_cnn_can_not(bundle):
    found = opened(bundle, "cnn")
    assert found.action is None
    assert "reads pixels" in found.words


def test_runs_that_are_not_in_the_bundle_say_so(bundle):
    found = opened(bundle, "sparse", run=1)
    assert found.action is None
    assert "aren't in the bundle" in found.words


def test_it_is_said_where_the_bundle_does_not_tell_which_run_it_holds(bundle):
    found = opened(bundle, "dense")
    assert found.action == "label"
    assert found.words.startswith("The bundle holds one of 2 runs of this size")


def test_formulas_go_to_their_page(bundle):
    formula = TrainedModel("random", "symbolic", 0.7, 1, formula="z0")
    assert opening_of(Listed(formula, None), Subject(bundle), is_classified=False).action == "formula"
    assert opened(bundle, "symbolic").action == "formula"


def test_formulas_of_several_classes_label_as_one_head(random_bundle, bundle):
    several = random_bundle(classes=("a", "b", "c"))
    size = head_size(several, "symbolic")
    run = Run(seed=0, accuracy=0.9, expression_size=size.expression_size, latents=size.latents)
    heads = several.info.heads | {"symbolic": several.info.heads["symbolic"].model_copy(update={"runs": (run,)})}
    several = replace(several, info=several.info.model_copy(update={"heads": heads}))
    assert opened(several, "symbolic").action == "label"


def test_other_bundles_are_read_only_without_a_classification(bundle):
    folder = Path("elsewhere")
    assert opened(bundle, "sparse", folder=folder, is_classified=False).action == "read"
    found = opened(bundle, "sparse", folder=folder)
    assert found.action is None
    assert "classified with random" in found.words


def test_the_table_holds_the_sizes(bundle):
    html = sizes_table(Subject(bundle))
    assert html.count("<tr>") == 7
    for head in bundle.heads:
        size = head_size(bundle, head)
        assert f"<b>{head}</b>" in html
        assert f">{size.expression_size:,}<" in html
    assert ">pixels<" in html
