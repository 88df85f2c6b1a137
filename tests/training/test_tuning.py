"""Tuning of the sparse head: exact numbers of trials over stops, kills and processes, and trials that can be redone."""

from __future__ import annotations

import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path

import optuna
import pandas as pd
import pytest
import torch
from optuna.trial import TrialState
from pydantic import ValidationError

from napari_cellinterp.config import TUNED, RiglConfig, TuneConfig
from napari_cellinterp.errors import TrainingError
from napari_cellinterp.events import finish
from napari_cellinterp.training.fit import fit_sparse
from napari_cellinterp.training.tuning import STUDY_NAME, tune

RIGL = RiglConfig(warm_up_epochs=1, batch=16, learning_rate=0.02)
TINY = TuneConfig(
    n_trials=3,
    n_runs=2,
    n_epochs=3,
    min_sparsity=0.5,
    min_update_interval_steps=1,
    max_update_interval_steps=3,
    rigl=RIGL,
)


def data(n: int = 64, n_classes: int = 2, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Crops whose class is the place of one latent: turned latents, states; the same for as many held-out ones."""
    z = torch.randn(2 * n, 12, generator=torch.Generator().manual_seed(seed))
    state = torch.arange(2 * n) % n_classes
    z[:, 4] += 4 * state
    return z[:n].expand(8, n, 12).contiguous(), state[:n], z[n:].contiguous(), state[n:]


def trials_in(folder: Path) -> dict[TrialState, int]:
    """How many trials the journal holds in each state, read by Optuna alone."""
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / STUDY_NAME)))
    names = optuna.get_all_study_names(storage)
    states = [trial.state for name in names for trial in optuna.load_study(study_name=name, storage=storage).trials]
    return {state: states.count(state) for state in states}


def test_the_defaults_are_the_paper_s():
    config = TuneConfig()
    assert [config.range_of(name) for name in TUNED] == [(0.95, 0.97), (100, 200), (0.7, 0.9)]
    assert (config.n_trials, config.n_runs, config.n_epochs) == (200, 5, 40)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"min_sparsity": 0.98}, "min_sparsity \\(0.98\\) is above max_sparsity \\(0.97\\)"),
        ({"n_epochs": 20}, "warm-up of 20 epochs leaves none of a run's 20"),
    ],
)
def test_settings_that_cannot_be_are_refused(values, problem):
    with pytest.raises(ValidationError, match=problem):
        TuneConfig(**values)


def test_the_best_trial_and_an_event_a_trial(tmp_path, capfd):
    events = []
    tuned = finish(tune(*data(), TINY, tmp_path), events.append)
    assert [(event.done, event.total, event.name) for event in events] == [(n, 3, "tuning") for n in (1, 2, 3)]
    table = tuned.trials
    assert table["trial"].tolist() == [0, 1, 2]
    assert table["objective"].is_unique
    best = table.sort_values("objective").iloc[-1]
    assert dict(events[-1].figures)["best"] == best["objective"]
    assert {name: getattr(tuned.rigl, name) for name in TUNED} == {name: best[name] for name in TUNED}
    assert tuned.rigl.model_copy(update={name: getattr(RIGL, name) for name in TUNED}) == RIGL
    assert table["sparsity"].between(0.5, 0.97).all()
    assert table["update_fraction"].between(0.7, 0.9).all()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_trial_can_be_redone_by_hand_from_its_row(tmp_path, n_classes):
    turned, state, held_out, held_out_state = data(n_classes=n_classes)
    config = TINY.model_copy(update={"n_trials": 1, "seed": 5, "min_sparsity": 0.8, "max_sparsity": 0.85})
    row = finish(tune(turned, state, held_out, held_out_state, config, tmp_path, n_classes=n_classes)).trials.iloc[0]
    accuracies, sparsities = [], []
    for seed in (5, 6):
        rigl = RiglConfig(
            sparsity=row["sparsity"],
            update_interval_steps=int(row["update_interval_steps"]),
            update_fraction=row["update_fraction"],
            n_epochs=3,
            warm_up_epochs=1,
            batch=16,
            learning_rate=0.02,
            seed=seed,
        )
        head = finish(fit_sparse(turned, state, rigl, n_classes))
        scores = head(held_out)
        called = scores.argmax(dim=1) if n_classes > 2 else (scores[:, 0] >= 0).long()
        accuracies.append((called == held_out_state).double().mean().item())
        weights = torch.cat([layer.weight.flatten() for layer in head.linear_layers()])
        sparsities.append((weights == 0).double().mean().item())
    assert row["accuracy"] == pytest.approx(sum(accuracies) / 2)
    assert row["final_sparsity"] == pytest.approx(sum(sparsities) / 2)
    assert row["objective"] == pytest.approx(row["accuracy"] + row["final_sparsity"])
    assert 0 < row["accuracy"] < 1 or row["final_sparsity"] < 1


def test_a_stopped_study_goes_on_and_draws_other_trials(tmp_path):
    job = tune(*data(), TINY, tmp_path)
    next(job)
    next(job)
    job.close()
    events = []
    tuned = finish(tune(*data(), TINY, tmp_path), events.append)
    assert [event.done for event in events] == [3]
    assert len(tuned.trials) == tuned.trials["sparsity"].nunique() == 3
    again = finish(tune(*data(), TINY, tmp_path), events.append)
    pd.testing.assert_frame_equal(again.trials, tuned.trials)
    assert len(events) == 1
    assert again.rigl == tuned.rigl
    assert trials_in(tmp_path) == {TrialState.COMPLETE: 3}


def test_a_search_in_one_process_repeats_itself(tmp_path):
    tables = [finish(tune(*data(), TINY, tmp_path / name)).trials for name in "ab"]
    pd.testing.assert_frame_equal(*tables)
    other = finish(tune(*data(), TINY.model_copy(update={"seed": 9}), tmp_path / "c")).trials
    assert not set(other["sparsity"]) & set(tables[0]["sparsity"])


def test_two_jobs_may_take_turns_on_one_study(tmp_path):
    jobs = [tune(*data(), TINY, tmp_path) for _ in range(2)]
    assert [next(jobs[i]).done for i in (0, 1, 0)] == [1, 2, 3]
    assert [len(finish(job).trials) for job in jobs] == [3, 3]
    assert trials_in(tmp_path) == {TrialState.COMPLETE: 3}


def test_a_trial_that_comes_too_late_does_not_count(tmp_path, monkeypatch):
    def overtaken(*arguments):
        monkeypatch.undo()
        finish(tune(*data(), TINY, tmp_path))
        return fit_sparse(*arguments)

    monkeypatch.setattr("napari_cellinterp.training.tuning.fit_sparse", overtaken)
    table = finish(tune(*data(), TINY, tmp_path)).trials
    assert table["trial"].tolist() == [1, 2, 3]
    assert trials_in(tmp_path) == {TrialState.COMPLETE: 3, TrialState.FAIL: 1}


def test_an_error_within_a_trial_gives_it_up(tmp_path, monkeypatch):
    monkeypatch.setattr("napari_cellinterp.training.tuning.fit_sparse", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        finish(tune(*data(), TINY, tmp_path))
    monkeypatch.undo()
    assert trials_in(tmp_path) == {TrialState.FAIL: 1}
    assert len(finish(tune(*data(), TINY, tmp_path)).trials) == 3


def test_heads_without_a_single_weight_are_bad_trials_not_crashes(tmp_path):
    config = TINY.model_copy(update={"min_sparsity": 0.9999, "max_sparsity": 0.99999})
    table = finish(tune(*data(), config, tmp_path)).trials
    assert table["final_sparsity"].tolist() == [1, 1, 1]
    assert table["accuracy"].tolist() == [0.5, 0.5, 0.5]


def test_heads_that_diverge_are_wrong_everywhere(tmp_path):
    config = TINY.model_copy(update={"n_trials": 1, "rigl": RIGL.model_copy(update={"learning_rate": 1e30})})
    assert finish(tune(*data(), config, tmp_path)).trials["accuracy"].tolist() == [0]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"update": {"n_runs": 1}}, "n_runs was 2 there, and is 1 now"),
        ({"update": {"rigl": RIGL.model_copy(update={"batch": 8})}}, "rigl.batch was 16 there, and is 8 now"),
        ({"seed": 1}, "data was '[0-9a-f]{64}' there"),
        ({"n_classes": 3}, "n_classes was 2 there, and is 3 now"),
    ],
)
def test_other_data_or_settings_are_refused(tmp_path, change, problem):
    job = tune(*data(), TINY, tmp_path)
    next(job)
    job.close()
    config = TINY.model_copy(update=change.get("update", {}))
    with pytest.raises(TrainingError, match=problem):
        finish(tune(*data(seed=change.get("seed", 0)), config, tmp_path, n_classes=change.get("n_classes", 2)))
    assert trials_in(tmp_path) == {TrialState.COMPLETE: 1}


@pytest.mark.parametrize(
    ("content", "is_whole"), [(b"", True), (b"\x89PNG\r\n\x1a\n", False), (b"no journal", False), (b"{}\n", False)]
)
def test_what_is_no_journal_is_refused_and_left_alone(tmp_path, content, is_whole):
    (tmp_path / STUDY_NAME).write_bytes(content)
    job = tune(*data(), TINY, tmp_path)
    if is_whole:
        assert len(finish(job).trials) == 3
        return
    with pytest.raises(TrainingError, match=r"can't be read.*Delete the file"):
        finish(job)
    assert (tmp_path / STUDY_NAME).read_bytes() == content


def test_a_damaged_line_is_refused_and_a_torn_one_dropped(tmp_path):
    job = tune(*data(), TINY, tmp_path)
    next(job)
    job.close()
    path = tmp_path / STUDY_NAME
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + b"\xff" + whole[201:])
    with pytest.raises(TrainingError, match="can't be read"):
        finish(tune(*data(), TINY, tmp_path))
    path.write_bytes(whole + b'{"op_code":4,"wor')
    assert len(finish(tune(*data(), TINY, tmp_path)).trials) == 3


@pytest.mark.parametrize(
    ("state", "held_out_state", "n_classes", "problem"),
    [
        ([0, 1, 0, 1], [0, 0], 2, "All 2 held-out crops are of class 0"),
        ([1, 1, 1, 1], [0, 1], 2, "All 4 training crops are of class 1"),
        ([0, 1, 0, 1], [], 2, "no held-out crops"),
        ([0, 1, 0, 2], [0, 1], 2, "training crops' states go from 0 to 2, with 2 classes"),
        ([0, 1, 0, -1], [0, 1], 2, "training crops' states go from -1 to 1"),
        ([0, 1, 0], [0, 1], 2, "4 training crops and 3 states"),
        ([0, 1, 0, 1], [0, 1], 1, "at least two classes"),
    ],
)
def test_data_without_a_question_are_refused(tmp_path, state, held_out_state, n_classes, problem):
    held_out = torch.tensor(held_out_state, dtype=torch.int64)
    job = tune(
        torch.zeros(8, 4, 12), torch.tensor(state), torch.zeros(len(held_out), 12), held_out, TINY, tmp_path,
        n_classes=n_classes,
    )  # fmt: skip
    with pytest.raises(TrainingError, match=problem):
        finish(job)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_processes_stop_with_the_job_and_reach_the_exact_number(tmp_path):
    config = TINY.model_copy(update={"n_trials": 5})
    job = tune(*data(), config, tmp_path, n_processes=2)
    next(job)
    workers = active_children()
    assert len(workers) == 2
    job.close()
    assert not any(worker.is_alive() for worker in workers)
    assert trials_in(tmp_path) == {TrialState.COMPLETE: 1, TrialState.FAIL: 1}
    events = []
    table = finish(tune(*data(), config, tmp_path, n_processes=2), events.append).trials
    assert [event.done for event in events] == [2, 3, 4, 5]
    assert len(table) == table["sparsity"].nunique() == 5
    row = table.iloc[-1]
    only = {f"{side}_{name}": row[name] for name in TUNED for side in ("min", "max")}
    alone = finish(tune(*data(), TuneConfig(**TINY.model_dump() | only | {"n_trials": 1}), tmp_path / "alone")).trials
    assert alone.iloc[0].drop("trial").to_dict() == row.drop("trial").to_dict()


@pytest.mark.slow
def test_a_process_that_dies_ends_the_job_and_keeps_the_trials(tmp_path):
    job = tune(*data(), TINY.model_copy(update={"n_trials": 40}), tmp_path, n_processes=2)
    next(job)
    for worker in active_children():
        worker.kill()
    with pytest.raises(TrainingError, match="A process that ran trials died"):
        finish(job)
    assert not active_children()
    found = trials_in(tmp_path)
    assert found[TrialState.COMPLETE] >= 1
    assert TrialState.RUNNING not in found


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_tuning import TINY, data, finish, tune
config = TINY.model_copy(update={update!r})
print(len(finish(tune(*data(), config, Path({folder!r}))).trials))
"""


def started(folder: Path, **update: int) -> subprocess.Popen[str]:
    """Begin a tuning as another program would."""
    script = SCRIPT.format(here=str(Path(__file__).parent), update=update, folder=str(folder))
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_killed_program_s_trial_never_counts_and_two_programs_share_one_study(tmp_path):
    update = {"n_trials": 6, "n_runs": 60}
    killed = started(tmp_path, **update)
    deadline = time.monotonic() + 120
    while not ((tmp_path / STUDY_NAME).exists() and trials_in(tmp_path).get(TrialState.RUNNING)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    killed.kill()
    killed.communicate()
    left = trials_in(tmp_path)
    assert left[TrialState.RUNNING] == 1
    assert left.get(TrialState.COMPLETE, 0) < 6
    programs = [started(tmp_path, **update) for _ in range(2)]
    assert [program.communicate(timeout=300)[0] for program in programs] == ["6\n", "6\n"]
    found = trials_in(tmp_path)
    assert found[TrialState.COMPLETE] == 6
    assert found[TrialState.RUNNING] == 1
