"""What heads say of a movie's nuclei; no viewer needed."""

import subprocess
import sys

import numpy as np
import pytest

from napari_cellinterp.config import ClassifyConfig
from napari_cellinterp.events import finish
from napari_cellinterp.gui.opinions import Opinions, cnn_job, opinions_job
from napari_cellinterp.models.bundle import load_bundle
from napari_cellinterp.workflows import classify_movie


@pytest.fixture(scope="module")
def bundle(model_path):
    return load_bundle(model_path)


@pytest.mark.parametrize("head", ["sparse", "cnn"])
def test_opinions_are_those_of_a_classification_with_that_head(movie, simulated, classification, bundle, head):
    expected = classify_movie(
        movie, ClassifyConfig(head=head), labels=simulated.labels, tracks=simulated.tracks, bundle=bundle
    )
    job = cnn_job(movie, classification, bundle, 0) if head == "cnn" else opinions_job(classification, bundle)
    found = finish(job)[head]
    np.testing.assert_allclose(found.score, expected.rows["score"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.probability, expected.rows["probability"], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found.state, expected.state_index)


def test_the_cnn_is_known_where_it_classified(movie, simulated, bundle):
    result = classify_movie(
        movie, ClassifyConfig(head="cnn"), labels=simulated.labels, tracks=simulated.tracks, bundle=bundle
    )
    assert list(finish(opinions_job(result, bundle))) == ["sparse", "symbolic", "dense", "cnn"]


def test_heads_are_compared_or_left_out(classification, bundle):
    opinions, said = Opinions(), []
    opinions.changed.connect(lambda: said.append(list(opinions.compared)))
    assert opinions.disagreement is None
    opinions.add(finish(opinions_job(classification, bundle)))
    assert opinions.disagreement.titles[:3] == ("sparse alone", "formula alone", "dense alone")
    opinions.compare("symbolic", False)
    assert opinions.disagreement.titles == ("sparse and dense differ",)
    opinions.clear()
    assert said == [["sparse", "symbolic", "dense"], ["sparse", "dense"], []]
    assert opinions.disagreement is None


def test_knows_no_qt_and_no_torch():
    code = "import sys, napari_cellinterp.gui.opinions; print({'qtpy', 'napari', 'torch'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
