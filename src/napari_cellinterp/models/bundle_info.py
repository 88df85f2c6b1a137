"""What a bundle says of itself, and where bundles live. Needs no torch, so that menus open fast."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal, Self

from platformdirs import user_data_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from napari_cellinterp.config import REFERENCE_DIAMETER_PX, REFERENCE_PIXEL_SIZE_UM, HeadName
from napari_cellinterp.errors import BundleError

SCHEMA_VERSION: Literal[1] = 1
INFO_NAME = "bundle.json"

FormulaTarget = Literal["hinge", "squared_error"]

NETWORK_FILES = ("encoder", "decoder", "dense", "sparse", "cnn", "population")
"""Names, without ``.safetensors``, that a bundle may hold."""


class Info(BaseModel):
    """Base of the parts of ``bundle.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Run(Info):
    """One of the trained models of a scheme; only the best one's weights are in the bundle."""

    seed: int
    accuracy: float = Field(description="On held-out crops, 0 to 1.")
    n_weights: int | None = None
    expression_size: int | None = Field(None, description="As the paper counts it (its eq. 11, 13 and 14).")
    tree_size: int | None = Field(None, description="Nodes of the true expression tree.")
    latents: tuple[int, ...] | None = Field(None, description="Latents that the head reads.")
    target: FormulaTarget | None = Field(None, description="Of a symbolic head: the loss that it was searched with.")


class Formula(Info):
    """One formula of the Pareto front of the symbolic regression."""

    expression: str
    complexity: int
    size: int
    loss: float
    accuracy: float = Field(description="On held-out crops, 0 to 1.")
    target: FormulaTarget
    score_index: int = Field(0, description="Which of the head's scores the formula is for.")


class Calibration(Info):
    """Logistic calibration of a score: probability of the upper class = 1 / (1 + exp(-(slope * score + offset)))."""

    slope: float
    offset: float


class HeadInfo(Info):
    """A head of the bundle, with the figures of all runs of its scheme."""

    calibration: tuple[Calibration, ...] = Field(description="One a score.")
    runs: tuple[Run, ...] = ()
    expressions: tuple[str, ...] = Field((), description="Of a symbolic head: one a score.")
    front: tuple[Formula, ...] = Field((), description="Of a symbolic head: the Pareto front, and its own formula.")


class LatentInfo(Info):
    """A latent variable, in the order of mean KL."""

    index: int
    name: str
    mean_kl: float = Field(description="Mean KL divergence from the prior, nats.")


class NoveltyLimits(Info):
    """Beyond these a nucleus is unlike all that the model was trained on; see `napari_cellinterp.models.novelty`."""

    max_novelty: float
    min_contrast: float
    min_sharpness: float
    max_top_share: float


class Figure(Info):
    """A measured figure of the model card."""

    data: str
    head: str
    measure: str
    value: float
    n: int
    command: str


class DataSource(Info):
    """A set of crops that the bundle was trained on."""

    name: str
    licence: str
    n_crops: int
    use: str


class BundleInfo(Info):
    """All of ``bundle.json``."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str
    description: str
    licence: str
    classes: tuple[str, ...] = Field(min_length=2, description="In the order of the scores.")
    n_channels: int = Field(ge=1)
    n_latents: int = Field(ge=1)
    filters: tuple[int, ...]
    patch_px: Literal[64] = 64
    reference_diameter_px: float = Field(REFERENCE_DIAMETER_PX, gt=0)
    reference_pixel_size_um: float = Field(REFERENCE_PIXEL_SIZE_UM, gt=0)
    latents: tuple[LatentInfo, ...]
    heads: dict[HeadName, HeadInfo]
    novelty: NoveltyLimits
    data: tuple[DataSource, ...] = ()
    figures: tuple[Figure, ...] = ()
    versions: dict[str, str] = Field(default_factory=dict)
    training: dict[str, str] = Field(default_factory=dict, description="Settings, commands and history, in words.")
    files: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]]

    @model_validator(mode="after")
    def _a_calibration_a_score(self) -> Self:
        for name, head in self.heads.items():
            if len(head.calibration) != self.n_scores:
                raise ValueError(f"the {name} head has {len(head.calibration)} calibrations for {self.n_scores} scores")
        return self

    @property
    def n_scores(self) -> int:
        """Scores a head gives: one for two classes, else one a class."""
        return 1 if len(self.classes) == 2 else len(self.classes)


def shipped_folder() -> Path:
    """Folder with the bundles that come with the package."""
    return Path(__file__).with_name("pretrained")


def user_folder() -> Path:
    """Folder where a person's own bundles are kept."""
    return user_data_path("napari-cellinterp") / "models"


def bundle_names() -> list[str]:
    """Names of all bundles that are found by name, the shipped ones first."""
    names: dict[str, None] = {}
    for folder in (shipped_folder(), user_folder()):
        if folder.is_dir():
            found = (path for path in sorted(folder.iterdir()) if (path / INFO_NAME).is_file())
            names.update({path.name: None for path in found if not path.name.startswith(".")})  # half-written
    return list(names)


def find_bundle(name_or_path: str | Path) -> Path:
    """Return the folder of a bundle.

    Parameters
    ----------
    name_or_path : str or Path
        Name of a shipped or of one's own bundle, or path to a bundle's folder.

    Raises
    ------
    BundleError
        If there is none.
    """
    for folder in (shipped_folder() / name_or_path, user_folder() / name_or_path, Path(name_or_path)):
        if (folder / INFO_NAME).is_file():
            return folder
    if Path(name_or_path).is_dir():
        raise BundleError(
            f"The folder {str(name_or_path)!r} is not a model bundle: it holds no {INFO_NAME}.",
            "Choose the folder that holds it.",
        )
    known = ", ".join(bundle_names()) or "none"
    raise BundleError(
        f"There is no model named {str(name_or_path)!r}.",
        f"Known models: {known}. Or give the path of a bundle folder.",
    )


def read_info(folder: Path) -> BundleInfo:
    """Read and check ``bundle.json``.

    Raises
    ------
    BundleError
        If it is damaged, or of a newer schema.
    """
    path = folder / INFO_NAME
    try:
        raw = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} can't be read: {error}.", "Copy the bundle anew.") from error
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BundleError(
            f"{path} has schema version {version}; this version of napari-cellinterp reads up to {SCHEMA_VERSION}.",
            "Update napari-cellinterp.",
        )
    try:
        return BundleInfo.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(
            f"{path} is damaged at {where or 'its top'}: {first['msg']}.", "Copy the bundle anew."
        ) from error


def bundle_hash(folder: Path) -> str:
    """SHA-256 of ``bundle.json``, which holds the hashes of all other files."""
    return hashlib.sha256((folder / INFO_NAME).read_bytes()).hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
