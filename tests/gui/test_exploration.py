"""Latents that are changed by hand can be taken back, one step at a time."""

from __future__ import annotations

import numpy as np
import pytest

from napari_cellinterp.errors import QuestionError
from napari_cellinterp.gui.exploration import Exploration


@pytest.fixture(scope="module")
def bundle(random_bundle):
    return random_bundle()


@pytest.fixture
def exploration(bundle):
    exploration = Exploration(bundle)
    exploration.take(3, np.random.default_rng(0).random((1, 64, 64), np.float32))
    return exploration


def test_a_nucleus_begins_with_its_own_latents(exploration, bundle):
    assert not exploration.is_changed
    assert not exploration.can_undo
    np.testing.assert_array_equal(exploration.latents, exploration.start)
    assert set(exploration.decoded().scores) == set(bundle.heads)


def test_a_drag_is_one_step(exploration):
    for value in (0.1, 0.2, 0.3):
        exploration.move(4, value)
    exploration.settle()
    exploration.move(5, 1.0)
    exploration.settle()
    exploration.undo()
    assert exploration.latents[4] == pytest.approx(0.3)
    assert exploration.latents[5] == exploration.start[5]
    exploration.undo()
    assert not exploration.is_changed
    exploration.redo()
    exploration.redo()
    assert exploration.latents[5] == 1
    assert not exploration.can_redo


def test_a_new_step_ends_redo(exploration):
    exploration.move(4, 1)
    exploration.settle()
    exploration.undo()
    exploration.move(6, 1)
    exploration.settle()
    assert not exploration.can_redo


def test_resets_are_steps_too(exploration):
    exploration.jump(exploration.start + 1)
    exploration.reset(2)
    assert exploration.latents[2] == exploration.start[2]
    assert exploration.latents[3] == exploration.start[3] + 1
    exploration.reset()
    assert not exploration.is_changed
    exploration.undo()
    exploration.undo()
    np.testing.assert_array_equal(exploration.latents, exploration.start + 1)


def test_says_when_something_changes_and_only_then(exploration):
    said = []
    exploration.changed.connect(lambda: said.append(exploration.latents.copy()))
    exploration.move(4, 2.0)
    exploration.move(4, 2.0)
    assert len(said) == 1
    exploration.settle()
    exploration.undo()
    np.testing.assert_array_equal(said[-1], exploration.start)


def test_a_crop_of_another_model_is_refused_and_the_nucleus_kept(exploration):
    start = exploration.start
    with pytest.raises(QuestionError, match=r"\(2, 64, 64\)"):
        exploration.take(7, np.zeros((2, 64, 64), np.float32))
    assert exploration.row == 3
    assert exploration.start is start
