"""PySR's saved runs: read whole, cut off, and with other names."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_cellinterp.errors import TrainingError
from napari_cellinterp.events import Warned, finish
from napari_cellinterp.models.expression import Expression
from napari_cellinterp.training.symbolic import Goal, read_runs
from napari_cellinterp.training.symbolic.hall_of_fame import HEADER, Entry, entries_of, with_latents

SAVED = f"""{HEADER}
1,0.8,"z17"
5,0.4f0,"(z17 + z21) - 1.5f-1"
8,0.05,"exp(z3) * square(z29)"
"""


def written(path, entries):
    """Write a file as PySR does."""
    rows = [f'{entry.complexity},{entry.loss!r},"{entry.equation}"\n' for entry in entries]
    path.write_text(f"{HEADER}\n" + "".join(rows), encoding="utf-8")
    return path


def saved(folder, text=SAVED, backup=None):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "hall_of_fame.csv"
    path.write_text(text, encoding="utf-8")
    if backup is not None:
        path.with_name("hall_of_fame.csv.bak").write_text(backup, encoding="utf-8")
    return path


equations = st.text("xz0123456789 +-*/(),.^", min_size=1).map(str.strip).filter(bool)
entries = st.builds(Entry, st.integers(1, 99), st.floats(0, 1e9), equations)


@given(st.lists(entries, min_size=1, max_size=6))
def test_what_is_written_is_read(tmp_path_factory, rows):
    path = written(tmp_path_factory.mktemp("run") / "hall_of_fame.csv", rows)
    read = entries_of(path)
    assert read.entries == tuple(rows)
    assert (read.path, read.n_damaged) == (path, 0)


@given(st.lists(entries, min_size=2, max_size=4), st.data())
def test_a_file_cut_anywhere_gives_its_whole_rows(tmp_path_factory, rows, data):
    path = written(tmp_path_factory.mktemp("run") / "hall_of_fame.csv", rows)
    text = path.read_text()
    first_row_ends = text.index("\n", len(HEADER) + 1) + 1
    cut = data.draw(st.integers(first_row_ends, len(text)))
    path.write_text(text[:cut])
    read = entries_of(path)
    n_whole = text[:cut].count('"') // 2
    assert read.entries == tuple(rows[:n_whole])
    assert read.n_damaged == (0 if text[cut - 1] in '\n"' and text[:cut].count('"') % 2 == 0 else 1)


def test_formulas_are_read_with_their_latents_and_figures(tmp_path):
    saved(tmp_path)
    events = []
    front = finish(read_runs(tmp_path), events.append)
    assert [(c.complexity, c.loss) for c in front] == [(1, 0.8), (5, 0.4), (6, 0.05)]
    assert front[1].expression == Expression.parse("z17 + z21 - 0.15")
    assert all(math.isnan(c.accuracy) for c in front)
    assert events == []


def test_formulas_are_measured_anew(tmp_path):
    path = saved(tmp_path, f'{HEADER}\n1,77.0,"x0"\n3,66.0,"x0 * x1"\n')
    latents = np.random.default_rng(0).normal(size=(50, 9))
    scores = latents[:, 4] * latents[:, 8]
    goal = Goal(latents, np.sign(scores), scores, np.ones(50), "squared")
    front = finish(read_runs(path, inputs=[8, 4], goal=goal))
    assert str(front[-1].expression) == "z8*z4"
    assert (front[-1].loss, front[-1].accuracy, front[-1].target) == (0, 1, "squared")


@pytest.mark.parametrize(
    ("equation", "inputs", "first", "expected"),
    [
        ("x0 + exp(x1)", [17, 3], 0, "z17 + exp(z3)"),
        ("x1 + exp(x2)", [17, 3], 1, "z17 + exp(z3)"),
        ("x1 * x10", list(range(20, 31)), 0, "z21 * z30"),
        ("x0 - x1", [1, 0], 0, "z1 - z0"),
        ("x_0 * 2.0", [5], 0, "z5 * 2.0"),
        ("z17 - max(z3, 0)", None, 0, "z17 - max(z3, 0)"),
    ],
)
def test_names_of_variables(equation, inputs, first, expected):
    assert with_latents(equation, inputs, first) == expected


@pytest.mark.parametrize(
    ("inputs", "first", "message"),
    [
        (None, 0, "uses x2, but no inputs were given"),
        ([4, 5], 0, "uses x2, but 2 inputs were given, counted from 0"),
        ([4, 5, 6], 3, "uses x2, but 3 inputs were given, counted from 3"),
    ],
)
def test_names_that_lead_nowhere(inputs, first, message):
    with pytest.raises(TrainingError, match=message):
        with_latents("sin(x2)", inputs, first)


def test_half_a_row_is_left_out_and_told(tmp_path):
    path = saved(tmp_path, SAVED + '9,0.01,"exp(z3) * (z2')
    events = []
    assert len(finish(read_runs(path), events.append)) == 3
    (event,) = events
    assert isinstance(event, Warned)
    assert (event.kind, event.count) == ("damaged_rows", 1)
    assert str(path) in event.message


def test_quoted_commas_stay_in_the_formula_which_is_told_where_it_cannot_be_read(tmp_path):
    path = saved(tmp_path, SAVED + '9,0.01,"max(z3, z4)"\n10,0.001,"cos(z3)"\n')
    assert entries_of(path).entries[3] == Entry(9, 0.01, "max(z3, z4)")
    events = []
    assert len(finish(read_runs(path), events.append)) == 3
    (event,) = events
    assert (event.kind, event.count) == ("unread_formulas", 2)
    assert "max(z3, z4)" in event.message


@pytest.mark.parametrize("loss", ["NaN", "Inf", "0.1.2"])
def test_a_loss_that_is_no_number_is_a_damaged_row(tmp_path, loss):
    read = entries_of(saved(tmp_path, SAVED + f'9,{loss},"z3"\n'))
    assert (len(read.entries), read.n_damaged) == (3, 1)


def test_the_more_whole_of_file_and_backup_is_read(tmp_path):
    cut = SAVED[:40]
    assert entries_of(saved(tmp_path / "a", cut, SAVED)).path.name == "hall_of_fame.csv.bak"
    assert entries_of(saved(tmp_path / "b", SAVED, cut)).path.name == "hall_of_fame.csv"
    assert len(entries_of(saved(tmp_path / "c", "", SAVED)).entries) == 3
    saved(tmp_path / "d", "", SAVED).unlink()
    assert len(finish(read_runs(tmp_path / "d"))) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no formulas: it is empty"),
        (f"{HEADER}\n", "has no formulas: it starts with"),
        ("Complexity,Lo", "has no formulas"),
        ("1,0.8,x0\n", "starts with '1,0.8,x0', so it isn't"),
        ("Complexity|MSE|Equation\n1|0.8|x0\n", "starts with 'Complexity.MSE.Equation'"),
    ],
)
def test_files_that_are_no_hall_of_fame(tmp_path, text, message):
    with pytest.raises(TrainingError, match=message) as error:
        finish(read_runs(saved(tmp_path, text)))
    assert "hall_of_fame.csv" in str(error.value)
    assert HEADER in str(error.value)


def test_several_runs_share_a_front(tmp_path):
    saved(tmp_path / "20260101_a")
    saved(tmp_path / "20260101_b" / "deeper", f'{HEADER}\n1,0.1,"z5"\n')
    front = finish(read_runs(tmp_path))
    assert [(str(c.expression), c.loss) for c in front] == [("z5", 0.1), ("exp(z3)*z29**2", 0.05)]


def test_where_there_is_nothing(tmp_path):
    with pytest.raises(TrainingError, match=r"no hall_of_fame\.csv in"):
        finish(read_runs(tmp_path))
    with pytest.raises(TrainingError, match=r"no .*other\.csv"):
        finish(read_runs(tmp_path / "other.csv"))
