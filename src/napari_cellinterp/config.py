"""Every option of every job: the only home of each default, bound, unit and help text.

The command line's options and the widgets' forms are generated from these fields. A field's unit, where it has one, is
in ``json_schema_extra["unit"]``.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

HeadName = Literal["sparse", "symbolic", "dense", "cnn"]

PATCH_PX = 64
"""Side of a patch in model pixels (the paper's 21.3 um)."""

REFERENCE_DIAMETER_PX = 29.0
"""Median nuclear diameter in model pixels that a bundle is trained at, unless it says otherwise."""

REFERENCE_PIXEL_SIZE_UM = 0.333
"""Size of a model pixel in um (the paper's 64 pixels over 21.3 um)."""


def unit(name: str) -> dict[str, Any]:
    """Extra of a field that names its unit."""
    return {"unit": name}


class Config(BaseModel):
    """Base of all configs: frozen, and strict about unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class MovieConfig(Config):
    """How a file is read as a movie (T, C, Y, X)."""

    axes: str | None = Field(
        None,
        pattern=r"^[A-Za-z]+$",
        description="Meaning of the file's axes, one letter each from T, C, Y, X, such as TYX; default: the file's own.",
    )
    channel: int = Field(0, ge=0, description="Channel with the chromatin stain, counted from 0.")
    frame_interval_min: float | None = Field(
        None, gt=0, description="Time between frames; default: the file's own.", json_schema_extra=unit("min")
    )


class ScaleConfig(Config):
    """What brings the movie's nuclei to the size that the model was trained on; at most one of the two."""

    nucleus_diameter_px: float | None = Field(
        None,
        ge=3,
        le=500,
        description="Median diameter of an interphase nucleus in the movie; default: measured on the nuclei.",
        json_schema_extra=unit("px"),
    )
    pixel_size_um: float | None = Field(
        None,
        ge=0.01,
        le=20,
        description="Size of a pixel of the movie, instead of a diameter.",
        json_schema_extra=unit("um"),
    )

    @model_validator(mode="after")
    def _not_both(self) -> Self:
        if self.nucleus_diameter_px is not None and self.pixel_size_um is not None:
            raise ValueError(
                f"nucleus_diameter_px ({self.nucleus_diameter_px:g}) and pixel_size_um ({self.pixel_size_um:g}) were "
                "both given; give only one of them"
            )
        return self


class NucleiConfig(Config):
    """How nuclei are found in a frame."""

    min_contrast: float = Field(
        4.0,
        ge=0,
        le=100,
        description="How far a nucleus must rise above the background, in standard deviations of the background's noise.",
    )
    min_area_fraction: float = Field(
        0.12,
        gt=0,
        lt=1,
        description="Smallest accepted area, as a fraction of the area of a nucleus of the median diameter.",
    )
    split_touching: bool = Field(True, description="Split nuclei that touch each other.")


class LinkingConfig(Config):
    """How nuclei are linked into tracks."""

    max_step_diameters: float = Field(
        1.0,
        gt=0,
        le=10,
        description="Farthest move between frames, in nuclear diameters.",
        json_schema_extra=unit("nuclear diameters"),
    )
    max_gap_frames: int = Field(
        1, ge=0, le=10, description="Frames that a nucleus may be missed for.", json_schema_extra=unit("frames")
    )
    divisions: bool = Field(True, description="Look for divisions, and keep the parent of each daughter.")


class ClassifyConfig(Config):
    """The main job: a movie in, labelled nuclei out."""

    model: str = Field("chromatin-64", min_length=1, description="Name of a bundle, or path to a bundle's folder.")
    head: HeadName = Field("sparse", description="Which head of the bundle gives the states.")
    reconstruct: bool = Field(
        False, description="Also decode each nucleus and report the reconstruction error (ten times slower)."
    )
    labels_are_tracks: bool = Field(
        False, description="The ids of the label image are already tracks; else they are linked anew."
    )
    movie: MovieConfig = Field(default_factory=MovieConfig)
    scale: ScaleConfig = Field(default_factory=ScaleConfig)
    nuclei: NucleiConfig = Field(default_factory=NucleiConfig)
    linking: LinkingConfig = Field(default_factory=LinkingConfig)
