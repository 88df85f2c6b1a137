"""Turn the figures of the benchmarks into a page: ``report.py FOLDER_OF_JSON --out docs/benchmarks.md``.

Each file holds ``{"machine": {name: value}, "figures": {key: number}}`` and is named after its script.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple


class Budget(NamedTuple):
    """What a figure should be: at least or at most a value."""

    relation: str
    value: float

    def holds(self, figure: float) -> bool:
        """Whether the figure keeps the budget; NaN does not."""
        return figure >= self.value if self.relation == ">=" else figure <= self.value


BUDGETS = {
    ("classify", "whole_job_nuclei_per_s"): Budget(">=", 15_000),
    ("classify", "share_of_encoder_speed"): Budget(">=", 0.6),
    ("classify", "peak_memory_above_idle_mb"): Budget("<=", 1_000),
    ("slider", "event_to_pixels_p95_ms"): Budget("<=", 33),
    ("slider", "decode_median_ms"): Budget("<=", 5),
    ("slider", "traversal_grid_ms"): Budget("<=", 400),
    ("slider", "counterfactual_ms"): Budget("<=", 150),
    ("slider", "attack_of_1000_ms"): Budget("<=", 5_000),
    ("population", "brush_p95_ms"): Budget("<=", 100),
    ("annotate", "label_p95_ms"): Budget("<=", 100),
    ("annotate", "undo_p95_ms"): Budget("<=", 100),
}
"""Budgets for two CPU cores, by script and figure."""

Result = dict[str, dict[str, Any]]


def page(results: dict[str, Result]) -> str:
    """Write the whole page from the results by script."""
    machines = [result["machine"] for result in results.values()]
    shared = machines[0] if machines and all(machine == machines[0] for machine in machines) else None
    lines = ["# Benchmarks", "", "Written by `make bench`; budgets are for two CPU cores.", ""]
    if shared is not None:
        lines += [*machine_lines(shared), ""]
    for script, result in results.items():
        lines += [f"## {script}", ""]
        if shared is None:
            lines += [*machine_lines(result["machine"]), ""]
        lines += [*figure_lines(script, result["figures"]), ""]
    return "\n".join(lines)


def machine_lines(machine: dict[str, Any]) -> list[str]:
    """List what the figures were measured on."""
    return [f"- {name.replace('_', ' ')}: {value}" for name, value in machine.items()]


def figure_lines(script: str, figures: dict[str, float]) -> list[str]:
    """Tabulate the figures of a script, each beside its budget if it has one."""
    rows = ["| figure | value | budget | kept |", "|---|---:|---:|---|"]
    for key, figure in figures.items():
        budget = BUDGETS.get((script, key))
        allowed = f"{budget.relation} {number(budget.value)}" if budget else ""
        kept = ("yes" if budget.holds(figure) else "**no**") if budget else ""
        rows.append(f"| `{key}` | {number(figure)} | {allowed} | {kept} |")
    return rows


def number(value: float) -> str:
    """Write a figure with three significant digits, and all digits before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def main() -> None:
    """Read the folder, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the JSON files")
    parser.add_argument("--out", type=Path, required=True, help="page to write")
    options = parser.parse_args()
    results = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(options.folder.glob("*.json"))}
    if not results:
        parser.error(f"{options.folder} holds no JSON files; run the benchmarks with --json first")
    options.out.write_text(page(results), "utf-8")


if __name__ == "__main__":
    main()
