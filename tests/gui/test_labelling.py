"""The movie labelled by formulas and other heads, and back; without Qt."""

import numpy as np
import pytest

from napari_cellinterp.errors import QuestionError
from napari_cellinterp.events import Progressed, finish
from napari_cellinterp.gui.labelling import Labelling, prepare_job
from napari_cellinterp.gui.session import Session
from napari_cellinterp.models.bundle import load_bundle
from napari_cellinterp.models.expression import Expression
from napari_cellinterp.relabelling import formula_calibration, relabel


@pytest.fixture(scope="module")
def bundle(model_path):
    return load_bundle(model_path)


@pytest.fixture
def session(movie, config, classification):
    session = Session()
    session.set_result(movie, config, classification)
    return session


def test_labels_and_goes_back(session, bundle, classification):
    labelling, said = Labelling(session), []
    labelling.begin()
    session.relabelled.connect(said.append)
    labelling.restore()
    assert said == []
    labelling.label(bundle, Expression.parse("z0 - 1"))
    labelling.label(bundle, "dense")
    assert not labelling.is_first
    expected = relabel(classification, bundle, "dense")
    assert session.classification.rows["state"].tolist() == expected.rows["state"].tolist()
    labelling.restore()
    assert session.classification is classification is labelling.first
    assert labelling.is_first
    assert len(said) == 3


def test_states_stay_where_a_head_can_not_label(session, bundle, classification):
    labelling = Labelling(session)
    labelling.begin()
    with pytest.raises(QuestionError, match="reads pixels"):
        labelling.label(bundle, "cnn")
    assert session.classification is classification


def test_formulas_are_calibrated_beforehand(bundle):
    texts = ["3*z0 - 0.25", "z1 - 0.125"]
    assert finish(prepare_job(bundle, texts)) is None
    hits = formula_calibration.cache_info().hits
    slopes = [formula_calibration(bundle, Expression.parse(text))[0].slope for text in texts]
    assert formula_calibration.cache_info().hits == hits + 2
    assert np.isfinite(slopes).all()
    assert list(prepare_job(bundle, texts)) == [Progressed(1, 2), Progressed(2, 2)]
