"""Classify fluorescent nuclei in timelapses with models that can be read.

The names below are imported when they are first used, so that ``import napari_cellinterp`` needs neither torch nor Qt.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_cellinterp.models.bundle import load_bundle
    from napari_cellinterp.movies.stack import open_movie
    from napari_cellinterp.workflows import classify_movie, classify_patches

__version__ = version("napari-cellinterp")

__all__ = ["__version__", "classify_movie", "classify_patches", "load_bundle", "open_movie"]

_HOMES = {
    "classify_movie": "workflows",
    "classify_patches": "workflows",
    "load_bundle": "models.bundle",
    "open_movie": "movies.stack",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
