"""The reproduction runs as a whole on a reduced benchmark, and its report says what it should."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from napari_cellinterp.cli.app import app
from napari_cellinterp.training.reproduction import PAPER, QUICK


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> str:
    out = tmp_path_factory.mktemp("reproduction") / "report.md"
    result = CliRunner().invoke(app, ["reproduce", "--quick", "--out", str(out)], catch_exceptions=False)
    assert result.exit_code == 0
    assert (out.parent / "report-run" / "run.json").is_file()
    return out.read_text(encoding="utf-8")


def table(text: str, first_column: str) -> list[list[str]]:
    """Return the rows of the table with that first column, header first."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first_column} |"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return [rows[0], *rows[2:]]


@pytest.mark.slow
def test_every_scheme_stands_beside_the_paper(text):
    header, *rows = table(text, "scheme")
    assert all(len(row) == len(header) for row in rows)
    labels = [row[0] for row in rows]
    for paper in PAPER.values():
        assert any(label.startswith(paper.label) for label in labels)
    assert sum("formula" in label for label in labels) == 3, "each loss, and both"
    for row in rows:
        accuracy, spread = map(float, re.fullmatch(r"([\d.]+)% ± ([\d.]+)", row[1]).groups())
        assert 30 <= accuracy <= 100
        assert spread < 40
    by_label = dict(zip(labels, rows, strict=True))
    assert by_label["1 CNN, dense head"][4] == "1040"
    assert by_label["2 VAE, dense head"][6] == "8641"
    assert float(by_label["2 VAE, dense head"][1].split("%")[0]) > 55, "better than a coin"


@pytest.mark.slow
def test_latents_and_formulas_are_listed_and_the_run_is_told(text):
    header, *rows = table(text, "latent")
    assert header[-1] == "kept by"
    assert rows
    assert all(re.fullmatch(r"\d of 2", row[-1]) for row in rows)
    assert {row[4] for row in rows} <= {"yes", "no"}
    accuracies = [float(row[1].rstrip("% |")) for row in table(text, "latents")[1:]]
    assert all(40 <= accuracy <= 100 for accuracy in accuracies)
    assert {row[0] for row in table(text, "target")[1:]} == {"hinge", "squared_error"}
    assert "nothing else" in text, "a quick run is no claim"
    assert "cellinterp reproduce" in text
    assert QUICK.name in text
