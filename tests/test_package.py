"""Importing the package is light, and its public names are known."""

import subprocess
import sys

import pytest

import napari_cellinterp

HEAVY = ["torch", "napari", "qtpy", "numpy"]


def test_import_is_light() -> None:
    code = f"import sys, napari_cellinterp; print([name for name in {HEAVY} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="clasify_movie"):
        _ = napari_cellinterp.clasify_movie


def test_version_is_a_version() -> None:
    assert napari_cellinterp.__version__.count(".") >= 2
