"""The main job end to end."""

from __future__ import annotations

from napari_cellinterp.models.bundle import load_bundle


def test_tiny(tiny_bundle_path):
    bundle = load_bundle(tiny_bundle_path)
    print(bundle.info.model_dump_json(indent=1)[:6000])
