"""The record of a run: what ``run.json`` holds."""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_cellinterp.config import ClassifyConfig
    from napari_cellinterp.movies.stack import Movie
    from napari_cellinterp.results.table import Classification

VERSIONED = ("napari-cellinterp", "torch", "openvino", "numpy", "scikit-image", "laptrack")
"""What may move the numbers; OpenVINO only where it is installed."""


def run_record(movie: Movie, classification: Classification, config: ClassifyConfig) -> dict[str, Any]:
    """Return what ``run.json`` holds: model, options, versions, counts, warnings and timing."""
    rows = classification.rows
    flags = rows.loc[rows["flag"] != "", "flag"].value_counts()
    return {
        "model": classification.bundle_name,
        "bundle_hash": classification.bundle_hash,
        "head": classification.head,
        **({"formula": classification.formula} if classification.formula else {}),
        "movie": {
            "source": movie.source,
            "shape_tcyx": movie.data.shape,
            "pixel_size_um": movie.pixel_size_um,
            "frame_interval_min": movie.frame_interval_min,
            "notes": movie.notes,
        },
        "scale": {"zoom": classification.zoom, "reason": classification.scale_reason},
        "options": config.model_dump(mode="json"),
        "counts": {
            "nuclei_and_frames": len(rows),
            "tracks": int(rows["track_id"].nunique()),
            **classification.counts(),
            "novel": int(rows["is_novel"].sum()),
            "flags": {str(name): int(n) for name, n in flags.items()},
        },
        "warnings": classification.warnings,
        "seconds": classification.seconds,
        "versions": dict(_versions()),
    }


def _versions() -> Iterator[tuple[str, str]]:
    for name in VERSIONED:
        with suppress(PackageNotFoundError):
            yield name, version(name)
