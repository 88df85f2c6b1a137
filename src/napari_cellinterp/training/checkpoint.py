"""Where a training stands, in one safetensors file: weights, Adam's moments, step and settings. No pickle."""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from napari_cellinterp.errors import TrainingError
from napari_cellinterp.results.files import written_beside

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from napari_cellinterp.config import VaeConfig

FORMAT = "napari-cellinterp vae training 1"
MOMENTS = ("exp_avg", "exp_avg_sq")
FREE_FIELDS = frozenset({"device", "checkpoint_steps"})
"""Settings that may change between the parts of a run, as they don't change what is computed."""

BEGIN_ANEW = "Delete it, or name another file, to begin anew."


@dataclass(frozen=True)
class Checkpoint:
    """The file of one training.

    Attributes
    ----------
    path : Path
        File; it is replaced only by a whole one.
    config : VaeConfig
        Settings of the training.
    crops : str
        What it is trained on, from `CropStream.describe`.
    """

    path: Path
    config: VaeConfig
    crops: str

    def save(self, step: int, networks: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Write all that is needed to go on after a step.

        Raises
        ------
        TrainingError
            If a weight isn't finite; the file is then left as it was.
        OutputError
            If the file can't be written; an older one stays as it was.
        """
        tensors = _tensors(networks, optimiser)
        bad = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
        if bad:
            raise TrainingError(
                f"After step {step}, {bad[0]} holds values that aren't finite.", "Train with a lower learning_rate."
            )
        about = {
            "format": FORMAT,
            "step": str(step),
            "config": self.config.model_dump_json(),
            "crops": self.crops,
            "checksum": _checksum(tensors),
        }
        with written_beside(self.path) as beside, beside.open("wb") as file:
            file.write(save(tensors, about))
            file.flush()
            # the new file must be on the disk before it takes the old one's place
            os.fsync(file.fileno())

    def load(self, networks: nn.Module, optimiser: torch.optim.Optimizer) -> int:
        """Bring networks and optimiser to where the file left off, and return the step; 0 where there is no file.

        Raises
        ------
        TrainingError
            If the file is damaged, or belongs to another training.
        """
        if not self.path.exists():
            return 0
        about, tensors = self._read()
        self._check_same(about)
        wanted = {name: tensor.shape for name, tensor in networks.named_parameters()}
        for name, shape in wanted.items():
            if name not in tensors or tensors[name].shape != shape:
                raise TrainingError(f"{self.path} belongs to other networks: {name} differs.", BEGIN_ANEW)
        step = int(about["step"])
        _restore(tensors, step, networks, optimiser)
        return step

    def _read(self) -> tuple[dict[str, str], dict[str, Tensor]]:
        try:
            with safe_open(self.path, framework="pt") as file:
                about = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except (OSError, SafetensorError) as error:
            raise TrainingError(f"{self.path} can't be read as a checkpoint: {error}.", BEGIN_ANEW) from error
        if about.get("format") != FORMAT:
            raise TrainingError(f"{self.path} is no checkpoint of a training.", "Name another file.")
        if about["checksum"] != _checksum(tensors):
            raise TrainingError(f"{self.path} is damaged: its checksum doesn't fit its values.", BEGIN_ANEW)
        return about, tensors

    def _check_same(self, about: dict[str, str]) -> None:
        then, now = json.loads(about["config"]), json.loads(self.config.model_dump_json())
        then["crops"], now["crops"] = about["crops"], self.crops
        names = [name for name in {**now, **then} if name not in FREE_FIELDS and then.get(name) != now.get(name)]
        if names:
            differ = "; ".join(f"{name} is {then.get(name)} there, {now.get(name)} here" for name in names)
            raise TrainingError(f"{self.path} belongs to another training: {differ}.", BEGIN_ANEW)


def _tensors(networks: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return weights, and the moments under ``exp_avg/NAME``, on the CPU and in plain layout."""
    found: dict[str, Tensor] = {}
    for name, weight in networks.named_parameters():
        found[name] = weight.detach()
        for moment in MOMENTS:
            found[f"{moment}/{name}"] = optimiser.state[weight][moment]
    return {name: tensor.cpu().contiguous() for name, tensor in found.items()}


@torch.no_grad()
def _restore(tensors: dict[str, Tensor], step: int, networks: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    for name, weight in networks.named_parameters():
        weight.copy_(tensors[name])
        # moments take the weight's memory layout: a fused step walks both in the order in which they are stored
        moments = {moment: torch.empty_like(weight).copy_(tensors[f"{moment}/{name}"]) for moment in MOMENTS}
        optimiser.state[weight] = {"step": torch.tensor(float(step), device=weight.device), **moments}


def _checksum(tensors: dict[str, Tensor]) -> str:
    total = 0
    for name in sorted(tensors):
        total = zlib.crc32(tensors[name].numpy().tobytes(), zlib.crc32(name.encode(), total))
    return f"{total:08x}"
