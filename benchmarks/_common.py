"""What benchmarks share: timing in turns, the machine's description, and the command line."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

N_REPEATS = 5


def seconds(job: Callable[[], object]) -> float:
    """Time one run of a job."""
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def in_turns(jobs: dict[str, Callable[[], object]]) -> dict[str, NDArray[np.float64]]:
    """Return times of some runs of each job, after one that isn't counted, in turns, for slow spells to meet all."""
    for job in jobs.values():
        job()
    times = [[seconds(job) for job in jobs.values()] for _ in range(N_REPEATS)]
    return dict(zip(jobs, np.array(times).T, strict=True))


def n_cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, object]:
    """Describe what the figures are measured on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": n_cores(),
        "torch_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def write_figures(about: str | None, figures: Callable[[bool], dict[str, float]], **more: object) -> None:
    """Read the command line, measure, and write and print the figures; ``more`` goes to the machine's description."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--quick", action="store_true", help="a small run, to see that it works")
    options = parser.parse_args()
    result = {"machine": machine() | more, "figures": figures(options.quick)}
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
