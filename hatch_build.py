"""Editable installs: put the top-level napari.yaml where npe2 looks for it, inside the package."""

import os
import shutil
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManifestHook(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            return
        source = Path(self.root, "napari.yaml")
        target = Path(self.root, "src", "napari_cellinterp", "napari.yaml")
        target.unlink(missing_ok=True)
        if os.name == "nt":
            shutil.copyfile(source, target)
        else:
            target.symlink_to(os.path.relpath(source, target.parent))
