"""The page of benchmark figures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPORT = Path(__file__).parents[2] / "benchmarks" / "report.py"


def report(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(REPORT), str(folder), "--out", str(folder / "page.md")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def write(folder: Path, script: str, figures: dict[str, float], cores: int = 2) -> None:
    result = {"machine": {"cpu_cores": cores}, "figures": figures}
    (folder / f"{script}.json").write_text(json.dumps(result), "utf-8")


def test_figures_stand_beside_their_budgets(tmp_path: Path) -> None:
    write(
        tmp_path, "classify", {"whole_job_nuclei_per_s": 16234.5, "share_of_encoder_speed": 0.5, "crops_per_s": 3.14159}
    )
    write(tmp_path, "training", {"share_of_encoder_speed": 0.5})
    assert report(tmp_path).returncode == 0
    lines = (tmp_path / "page.md").read_text("utf-8").splitlines()
    assert "| `whole_job_nuclei_per_s` | 16,234 | >= 15,000 | yes |" in lines
    assert "| `share_of_encoder_speed` | 0.5 | >= 0.6 | **no** |" in lines
    assert "| `crops_per_s` | 3.14 |  |  |" in lines
    # a budget belongs to a script, not to a key
    assert "| `share_of_encoder_speed` | 0.5 |  |  |" in lines


@pytest.mark.parametrize(("cores", "times_named"), [(2, 1), (4, 2)])
def test_the_machine_is_named_once_unless_there_are_two(tmp_path: Path, cores: int, times_named: int) -> None:
    write(tmp_path, "classify", {"crops_per_s": 1.0})
    write(tmp_path, "slider", {"decode_median_ms": 1.0}, cores)
    assert report(tmp_path).returncode == 0
    assert (tmp_path / "page.md").read_text("utf-8").count("cpu cores") == times_named


def test_no_figures(tmp_path: Path) -> None:
    answer = report(tmp_path)
    assert answer.returncode == 2
    assert "holds no JSON files" in answer.stderr
