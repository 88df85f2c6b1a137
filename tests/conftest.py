"""What tests of several rooms share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real microscopy data; tests that need it skip where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CELLINTERP_REAL_DATA") or beside)
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set CELLINTERP_REAL_DATA)")
    return folder
