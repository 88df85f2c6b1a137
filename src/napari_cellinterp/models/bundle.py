"""Save and load a model bundle: a folder with ``bundle.json`` and safetensors, never a pickle."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from napari_cellinterp.errors import BundleError, ExpressionError
from napari_cellinterp.models.bundle_info import (
    INFO_NAME,
    NETWORK_FILES,
    BundleInfo,
    bundle_hash,
    file_hash,
    find_bundle,
    read_info,
)
from napari_cellinterp.models.expression import Expression
from napari_cellinterp.models.heads import Cnn, NetworkHead, SymbolicHead
from napari_cellinterp.models.novelty import NoveltyModel, Population
from napari_cellinterp.models.vae import Decoder, Encoder

if TYPE_CHECKING:
    from torch import Tensor

    from napari_cellinterp.config import HeadName

FILE_NAMES = frozenset(f"{name}.safetensors" for name in NETWORK_FILES)
"""Files that a bundle may list; so none can lead out of its folder."""


@dataclass(frozen=True, eq=False)
class ModelBundle:
    """A trained model with all that is needed to use and to question it.

    Attributes
    ----------
    info : BundleInfo
        Classes, scale, figures: the content of ``bundle.json``.
    encoder, decoder : Encoder, Decoder
        The beta-TCVAE, in evaluation mode.
    heads : dict of str to Module
        By scheme; ``cnn`` reads patches, the others the mean of the latents.
    population : Population
        Held-out crops.
    hash : str
        SHA-256 of ``bundle.json``; empty for a bundle that wasn't saved yet.
    """

    info: BundleInfo
    encoder: Encoder
    decoder: Decoder
    heads: dict[HeadName, nn.Module]
    population: Population
    hash: str = ""

    def head(self, name: HeadName) -> nn.Module:
        """Return a head.

        Raises
        ------
        BundleError
            If the bundle doesn't have it.
        """
        if name not in self.heads:
            raise BundleError(
                f"The model {self.info.name!r} has no {name} head.", f"It has: {', '.join(sorted(self.heads))}."
            )
        return self.heads[name]

    def novelty_model(self) -> NoveltyModel:
        """Return the novelty model of the bundle's population."""
        return NoveltyModel(self.population, self.info.novelty)


def load_bundle(name_or_path: str | Path) -> ModelBundle:
    """Load a bundle, checking every file.

    Parameters
    ----------
    name_or_path : str or Path
        Name of a shipped or of one's own bundle, or path to a bundle's folder.

    Returns
    -------
    ModelBundle
        Networks in evaluation mode, on the CPU.

    Raises
    ------
    BundleError
        If a file is missing or has another hash or shape than ``bundle.json`` says, or the schema is newer.
    """
    folder = find_bundle(name_or_path)
    info = read_info(folder)
    for name, digest in info.files.items():
        _check_file(folder, name, digest)
    encoder = Encoder(info.n_channels, info.n_latents, info.filters)
    decoder = Decoder(info.n_channels, info.n_latents, info.filters)
    _load(encoder, folder / "encoder.safetensors", info)
    _load(decoder, folder / "decoder.safetensors", info)
    heads = {name: _load_head(folder, info, name) for name in info.heads}
    return ModelBundle(info, encoder, decoder, heads, _load_population(folder, info), bundle_hash(folder))


def _check_file(folder: Path, name: str, digest: str) -> None:
    if name not in FILE_NAMES:
        raise BundleError(
            f"{folder / INFO_NAME} lists {name!r}, which is no file of a bundle.", "Copy the bundle anew."
        )
    path = folder / name
    if not path.is_file():
        raise BundleError(f"The bundle lacks its file {path}.", "Copy the bundle anew.")
    found = file_hash(path)
    if found != digest:
        raise BundleError(
            f"{path} is not the file that the bundle was made with: its SHA-256 is {found[:12]}..., "
            f"not {digest[:12]}....",
            "Copy the bundle anew.",
        )


def _tensors(path: Path, info: BundleInfo) -> dict[str, Tensor]:
    if path.name not in info.files:
        raise BundleError(f"The bundle's {INFO_NAME} doesn't list {path.name}.", "Copy the bundle anew.")
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{path} can't be read: {error}.", "Copy the bundle anew.") from error


def _load(module: nn.Module, path: Path, info: BundleInfo) -> None:
    try:
        module.load_state_dict(_tensors(path, info))
    except RuntimeError as error:
        detail = str(error).splitlines()[-1].strip()
        raise BundleError(f"{path} doesn't fit the sizes in {INFO_NAME}: {detail}", "Copy the bundle anew.") from error
    module.eval().requires_grad_(False)


def _load_head(folder: Path, info: BundleInfo, name: HeadName) -> nn.Module:
    head: nn.Module
    if name == "symbolic":
        return _load_symbolic(folder, info)
    if name == "cnn":
        head = Cnn(info.n_channels, info.n_scores, info.filters)
    else:
        head = NetworkHead(info.n_latents, info.n_scores, sparse=name == "sparse")
    _load(head, folder / f"{name}.safetensors", info)
    return head


def _load_symbolic(folder: Path, info: BundleInfo) -> nn.Module:
    texts = info.heads["symbolic"].expressions
    if len(texts) != info.n_scores:
        raise BundleError(
            f"The symbolic head of {folder} has {len(texts)} formulas, but {info.n_scores} are needed.",
            "Copy the bundle anew.",
        )
    try:
        expressions = [Expression.parse(text) for text in texts]
        for expression in expressions:
            expression.check_latents(info.n_latents)
    except ExpressionError as error:
        raise BundleError(
            f"The symbolic head of {folder} can't be read: {error.problem}", "Copy the bundle anew."
        ) from error
    return SymbolicHead(expressions).eval()


def _load_population(folder: Path, info: BundleInfo) -> Population:
    path = folder / "population.safetensors"
    tensors = _tensors(path, info)
    try:
        population = Population(**{key: tensors[key].numpy() for key in Population.__dataclass_fields__})
    except KeyError as error:
        raise BundleError(f"{path} lacks {error}.", "Copy the bundle anew.") from error
    n = len(population.latents)
    expected = {"latents": (n, info.n_latents), "state": (n,), "statistics": (n, 2)}
    for name, shape in expected.items():
        found = getattr(population, name).shape
        if found != shape:
            raise BundleError(f"{path} has {name} of shape {found}, not {shape}.", "Copy the bundle anew.")
    return population


def save_bundle(bundle: ModelBundle, folder: Path) -> Path:
    """Write a bundle beside its place, then move it there, so that no half-written bundle is ever seen.

    Parameters
    ----------
    bundle : ModelBundle
        What to write; the hashes in its ``info.files`` are made anew.
    folder : Path
        Folder of the bundle; one that is there already is replaced.

    Returns
    -------
    Path
        The folder.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write_tensors(bundle, beside)
        files = {path.name: file_hash(path) for path in sorted(beside.glob("*.safetensors"))}
        info = bundle.info.model_copy(update={"files": files})
        (beside / INFO_NAME).write_text(info.model_dump_json(indent=1, exclude_none=True) + "\n", encoding="utf-8")
        beside.chmod(0o755)
        for path in beside.iterdir():  # safetensors keeps its files to their owner
            path.chmod(0o644)
        _swap(beside, folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return folder


def _swap(new: Path, folder: Path) -> None:
    """Put a new folder in a place; the old one goes only after the new one is there."""
    if not folder.exists():
        os.replace(new, folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
    old.rmdir()  # Windows puts no folder in the place of another, even an empty one
    os.replace(folder, old)
    try:
        os.replace(new, folder)
    except BaseException:
        os.replace(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write_tensors(bundle: ModelBundle, folder: Path) -> None:
    modules: dict[str, nn.Module] = {"encoder": bundle.encoder, "decoder": bundle.decoder}
    modules |= {name: head for name, head in bundle.heads.items() if name != "symbolic"}
    for name, module in modules.items():
        state = {key: value.contiguous() for key, value in module.state_dict().items()}
        save_file(state, folder / f"{name}.safetensors")
    population = {key: torch.from_numpy(np.ascontiguousarray(v)) for key, v in vars(bundle.population).items()}
    save_file(population, folder / "population.safetensors")
