"""PySR in its own process, played by small scripts, or PySR itself with Julia played: none of this needs Julia."""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from napari_cellinterp.config import SymbolicConfig
from napari_cellinterp.errors import TrainingError
from napari_cellinterp.events import finish
from napari_cellinterp.training.symbolic import pysr_engine, search_formulas

CONFIG = SymbolicConfig(engine="pysr", n_generations=40)
LATENTS = np.random.default_rng(0).normal(size=(60, 20))
SIGN = np.sign(LATENTS[:, 17] - 0.5)

GROWING = """
import sys, time
from pathlib import Path
run = Path.cwd() / "run"
run.mkdir()
rows = ['1,0.9,"z17"', '5,0.2,"z17 * 3.0 - 1.2"']
for step in (1, 2):
    print(f"Progress: {step * 20} / 40 total iterations (50.000%)", flush=True)
    (run / "hall_of_fame.csv").write_text("\\n".join(["Complexity,Loss,Equation", *rows[:step]]) + "\\n")
    time.sleep(0.15)
"""
FAILING = "import sys; sys.exit('first line\\n\\nERROR: DomainError with -1.0')"
SILENT = "pass"
FOREVER = """
import os, subprocess, sys, time
from pathlib import Path
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
Path("pids.part").write_text(f"{os.getpid()} {child.pid} {Path.cwd()}")
Path("pids.part").rename(sys.argv[1])
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def ready(monkeypatch):
    monkeypatch.setattr(pysr_engine, "POLL_S", 0.02)
    monkeypatch.setattr(pysr_engine, "julia_problem", lambda: "")


def play(monkeypatch, script, *arguments):
    monkeypatch.setattr(pysr_engine, "_command", lambda folder: [sys.executable, "-c", script, *map(str, arguments)])


def search(config=CONFIG):
    return search_formulas(LATENTS, SIGN, SIGN, [17, 3], config)


def test_formulas_are_found_and_their_constants_refined(monkeypatch):
    play(monkeypatch, GROWING)
    events = []
    front = finish(search(), events.append)
    assert {c.expression.latents for c in front} == {(17,)}
    assert front[-1].accuracy > 0.95
    told = [event for event in events if event.name == "pysr"]
    assert {(event.done, event.total) for event in told} <= {(0, 40), (20, 40), (40, 40)}
    seen = [dict(event.figures) for event in told if event.figures]
    assert seen[0] == {"loss": 0.9, "complexity": 1}
    assert seen[-1] == {"loss": 0.2, "complexity": 5}


def test_a_failure_shows_what_pysr_said(monkeypatch):
    play(monkeypatch, FAILING)
    with pytest.raises(TrainingError, match=r"exit code 1\): first line\nERROR: DomainError with -1.0"):
        finish(search())


def test_a_run_that_wrote_nothing(monkeypatch):
    play(monkeypatch, SILENT)
    with pytest.raises(TrainingError, match=r"There is no .*hall_of_fame\.csv"):
        finish(search())


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_closing_the_job_kills_the_whole_group_and_leaves_no_file(monkeypatch, tmp_path):
    play(monkeypatch, FOREVER, tmp_path / "pids")
    with closing(search()) as job:
        deadline = time.monotonic() + 10
        while not (tmp_path / "pids").exists() and time.monotonic() < deadline:
            next(job)
    parent, child, folder = (tmp_path / "pids").read_text().split()
    assert not alive(int(parent))
    deadline = time.monotonic() + 5
    while alive(int(child)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(int(child))
    assert not Path(folder).exists()


def test_the_settings_of_the_paper():
    settings = pysr_engine.settings(SymbolicConfig())
    assert settings["binary_operators"] == ["+", "-", "*", "/"]
    assert settings["unary_operators"] == ["square", "exp", "log", "sin", "sqrt", "abs"]
    assert settings["complexity_of_operators"] == {"sin": 3, "exp": 2, "log": 2}
    assert (settings["parsimony"], settings["maxsize"]) == (0.001, 20)
    assert "max(zero(prediction), one(prediction) - target * prediction)" in settings["elementwise_loss"]
    squared = pysr_engine.settings(SymbolicConfig(target="squared", seed=3, max_size=4, population=60))
    assert "(prediction - target)^2" in squared["elementwise_loss"]
    assert (squared["random_state"], squared["maxsize"], squared["populations"]) == (3, 7, 2)


JULIA = """
from pathlib import Path
from unittest.mock import MagicMock
import numpy as np

class JuliaError(Exception):
    pass

AnyValue = VectorValue = object

def convert(kind, value):
    return value

def search(x, y, *, weights, niterations, variable_names, run_id, options, parallelism, **others):
    assert x.shape == (2, 60) and y.shape == weights.shape == (60,)
    assert set(y) == {-1.0, 1.0} and set(weights[y < 0]) == {2.0} and set(weights[y > 0]) == {1.0}
    assert (niterations, variable_names, parallelism) == (40, ["z17", "z3"], "serial")
    assert (options["maxsize"], options["parsimony"], options["deterministic"]) == (20, 0.001, True)
    assert any("weight * max(zero(prediction)" in str(call) for call in Main.mock_calls)
    assert options["elementwise_loss"] is not None and options["complexity_of_operators"] is not None
    loss = float(np.mean((x[0] - y) ** 2))
    rows = [f'1,{loss + 1},"z17"', f'5,{loss},"(z17 * 3.0) - 1.2"']
    folder = Path(options["output_directory"]) / run_id
    folder.mkdir(exist_ok=True)
    (folder / "hall_of_fame.csv").write_text("\\n".join(["Complexity,Loss,Equation", *rows]) + "\\n")

Main = MagicMock()
Main.copy = Main.PythonCall.PyArray = lambda value: value
Main.SymbolicRegression.Options = lambda **options: options
Main.SymbolicRegression.equation_search.side_effect = search  # PySR calls it as it is, or without Python's lock
Main.SymbolicRegression.equation_search._jl_call_nogil = search
"""
"""Plays the bridge to Julia; PySR's own Python code runs on it, up to Julia's search and from its file on."""


def test_the_process_hands_the_task_to_pysr(monkeypatch, tmp_path):
    (tmp_path / "juliacall.py").write_text(JULIA)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (*_, best) = finish(search(CONFIG.model_copy(update={"interphase_weight": 2.0})))
    assert best.expression.latents == (17,)
    assert best.accuracy > 0.95


class TestProbe:
    @pytest.fixture(autouse=True)
    def fresh(self, monkeypatch):
        self.runs = []
        monkeypatch.undo()
        probe = pysr_engine.julia_problem
        probe.cache_clear()
        yield
        probe.cache_clear()

    def play(self, monkeypatch, script):
        def command():
            self.runs.append(script)
            return [sys.executable, "-c", script]

        monkeypatch.setattr(pysr_engine, "_probe", command)

    def test_it_says_what_is_missing(self, monkeypatch):
        self.play(monkeypatch, "import sys; sys.exit('Traceback\\nException: could not find Julia 1.10')")
        expected = (
            r'pysr can\'t be used: Exception: could not find Julia 1\.10 Run `python -c "import pysr"` once with '
            r"internet.*engine operon"
        )
        with pytest.raises(TrainingError, match=expected):
            finish(search())

    def test_it_asks_once_and_stays_offline(self, monkeypatch):
        self.play(monkeypatch, "import os, sys; sys.exit(os.environ['PYTHON_JULIAPKG_OFFLINE'] != 'yes')")
        assert pysr_engine.julia_problem() == pysr_engine.julia_problem() == ""
        assert len(self.runs) == 1

    def test_it_does_not_wait_forever(self, monkeypatch):
        monkeypatch.setattr(pysr_engine, "PROBE_S", 0.1)
        self.play(monkeypatch, "import time; time.sleep(60)")
        assert pysr_engine.julia_problem() == "it didn't start within 0.1 s."

    @pytest.mark.parametrize(("code", "engine"), [(0, "pysr"), (1, "operon")])
    def test_the_engine_auto(self, monkeypatch, code, engine):
        self.play(monkeypatch, f"import sys; sys.exit({code})")
        play(monkeypatch, GROWING)
        config = SymbolicConfig(n_generations=1, population=20, max_size=5)
        events = []
        finish(search(config), events.append)
        assert events[0].name == engine

    def test_the_real_probe_downloads_nothing(self, monkeypatch):
        if os.environ.get("PYTHON_JULIAPKG_EXE"):
            pytest.skip("Julia is there")
        problem = pysr_engine.julia_problem()
        assert "pysr" not in sys.modules
        assert "juliacall" not in sys.modules
        assert isinstance(problem, str)
