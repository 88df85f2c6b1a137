"""The session's logic, without Qt."""

import subprocess
import sys

import numpy as np
import pytest

from napari_cellinterp.gui.session import Session, session_of


@pytest.fixture
def session(movie, config, classification):
    session = Session()
    session.set_result(movie, config, classification)
    return session


def test_signals(session, movie, config, classification):
    said = []
    session.classified.connect(lambda: said.append("classified"))
    session.selected.connect(lambda: said.append("selected"))
    session.status_changed.connect(said.append)
    session.select(3)
    session.select(3)
    assert said == ["selected"]
    session.set_result(movie, config, classification)
    assert session.row is None
    session.status = session.status = "so"
    session.clear()
    assert said == ["selected", "classified", "selected", "so", "classified", "selected"]
    assert session.classification is None
    assert session.nucleus() is None


def test_no_such_row(session, classification):
    with pytest.raises(IndexError, match="no row"):
        session.select(len(classification))
    with pytest.raises(IndexError, match="0 rows"):
        Session().select(0)


def test_row_at_every_nucleus(session, classification):
    for row, nucleus in enumerate(classification.rows.itertuples()):
        ys, xs = np.nonzero(classification.masks.frame(nucleus.frame) == nucleus.label)
        assert session.row_at(nucleus.frame, float(ys[0]), float(xs[0])) == row


@pytest.mark.parametrize("position", [(-1, 5, 5), (5, 5, 5), (0, -3, 5), (0, 5, 192), (0, 160, 5)])
def test_row_at_nothing(session, position):
    assert session.row_at(*position) is None


def test_row_at_background(session, classification):
    rows = classification.rows
    here = rows.loc[rows["frame"] == 0, ["y", "x"]].to_numpy()
    pixels = np.argwhere(classification.masks.frame(0) == 0)
    distance = np.array([np.hypot(*(here - pixel).T).min() for pixel in pixels])
    assert session.row_at(0, *pixels[distance.argmax()]) is None
    assert session.row_at(0, *pixels[distance.argmin()]) is not None


def test_row_at_every_centre(session, classification):
    rows = classification.rows
    found = [session.row_at(*position) for position in rows[["frame", "y", "x"]].itertuples(index=False)]
    assert sum(row == i for i, row in enumerate(found)) > 0.9 * len(rows)


def test_track_and_states(session, classification):
    rows = classification.rows
    track = session.track_rows(7)
    assert (rows["track_id"].iloc[track] == rows["track_id"].iloc[7]).all()
    assert (np.diff(rows["frame"].iloc[track]) > 0).all()
    found = np.concatenate([session.state_rows(name) for name in classification.classes])
    assert sorted(found) == list(range(len(rows)))
    novel = session.state_rows("interphase", novel_only=True)
    assert rows["is_novel"].iloc[novel].all()


def test_counts(session, classification):
    total = session.counts()
    assert {name: total[name] for name in classification.classes} == classification.counts()
    assert total["undefined"] == 0
    assert total["novel"] == classification.rows["is_novel"].sum()
    each = [session.counts(t) for t in range(classification.n_frames)]
    assert {name: sum(count[name] for count in each) for name in total} == total
    assert Session().counts() == {}


def test_one_session_a_viewer():
    class Viewer:
        pass

    one, other = Viewer(), Viewer()
    assert session_of(one) is session_of(one)
    assert session_of(one) is not session_of(other)


def test_knows_no_qt_and_no_torch():
    code = "import sys, napari_cellinterp.gui.session; print({'qtpy', 'napari', 'torch'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"


def test_highlighting(session, movie, config, classification):
    said = []
    session.highlighted.connect(lambda: said.append(session.highlighted_rows.tolist()))
    session.highlight(np.array([5, 2, 5]))
    session.highlight(np.array([2, 5]))
    session.relabel(classification)
    assert said == [[2, 5]]
    session.set_result(movie, config, classification)
    session.clear()
    assert said == [[2, 5], []]
    with pytest.raises(IndexError, match="no rows 0 to 3"):
        session.highlight(np.array([0, 3]))
