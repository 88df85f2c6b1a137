"""The process that runs PySR: ``python -m napari_cellinterp.training.symbolic.pysr_process FOLDER RUN``.

The folder holds the settings (task.json) and the crops (data.npz); PySR writes its hall of fame to FOLDER/RUN.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np


def main(folder: Path, run: str) -> None:
    """Run PySR on the task in a folder."""
    from pysr import PySRRegressor  # type: ignore[import-untyped]

    task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    model = PySRRegressor(**task["settings"], output_directory=str(folder), run_id=run)
    with np.load(folder / "data.npz") as data:
        model.fit(data["x"], data["y"], weights=data["weights"], variable_names=task["names"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
