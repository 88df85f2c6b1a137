"""Every option of every job: the only home of each default, bound, unit and help text.

The command line's options and the widgets' forms are generated from these fields. A field's unit, where it has one, is
in ``json_schema_extra["unit"]``.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

HeadName = Literal["sparse", "symbolic", "dense", "cnn"]

Scaled = Literal["sparsity", "density"]

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
        description="Meaning of the file's axes, a letter each from T, C, Y, X, such as TYX; default: the file's own.",
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
        description="How far a nucleus must rise above the background, in standard deviations of its noise.",
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


class TimelapseConfig(Config):
    """A simulated movie of dividing cells."""

    n_frames: int = Field(36, ge=1, le=100_000, description="Frames.")
    height: int = Field(320, ge=64, description="Height of a frame.", json_schema_extra=unit("px"))
    width: int = Field(400, ge=64, description="Width of a frame.", json_schema_extra=unit("px"))
    n_nuclei: int = Field(42, ge=1, description="Nuclei in the first frame.")
    nucleus_diameter_px: float = Field(
        26.0, ge=6, le=120, description="Median diameter of an interphase nucleus.", json_schema_extra=unit("px")
    )
    pixel_size_um: float = Field(0.37, gt=0, description="Size of a pixel.", json_schema_extra=unit("um"))
    frame_interval_min: float = Field(6.0, gt=0, description="Time between frames.", json_schema_extra=unit("min"))
    share_dividing: float = Field(0.35, ge=0, le=1, description="Share of the nuclei that divide during the movie.")
    speed_px: float = Field(0.7, ge=0, description="Typical move between frames.", json_schema_extra=unit("px"))
    seed: int = Field(7, description="Seed of all that is random.")


class VaeConfig(Config):
    """Training of the beta-TCVAE (Soelistyo & Lowe, appendix B.1; Chen et al. 2018)."""

    n_channels: int = Field(1, ge=1, le=16, description="Channels of a patch.")
    n_latents: int = Field(32, ge=1, le=512, description="Latents.")
    alpha: float = Field(1.0, ge=0, description="Weight of the mutual information.")
    beta: float = Field(4.0, ge=0, description="Weight of the total correlation; the larger, the more independent.")
    gamma: float = Field(1.0, ge=0, description="Weight of the dimension-wise KL divergence.")
    estimator: Literal["weighted", "stratified"] = Field("stratified", description="Minibatch estimator of q(z).")
    n_dataset: int = Field(2_100_000, ge=2, description="Images that the estimator assumes the data set to have.")
    pixel_sd: float = Field(0.25, gt=0, description="Error of a pixel that counts as one standard deviation.")
    centre_radius_px: float = Field(
        14.0,
        gt=0,
        description="Pixels within about this radius count most in the reconstruction.",
        json_schema_extra=unit("px"),
    )
    centre_floor: float = Field(0.15, gt=0, le=1, description="Weight of far pixels, as a fraction of the centre's.")
    centre_steepness: float = Field(
        1.0,
        ge=1,
        le=8,
        description="1 lets the weights fall off as a Gaussian; more gives a flat top and a steep edge.",
    )
    guide_sd: float | None = Field(
        None,
        gt=0,
        description="Teach the first latents the outline of the central nucleus where its mask is known: error that "
        "counts as one standard deviation. Empty: no latent is taught anything, as in the paper.",
    )
    n_images: int = Field(2_000_000, ge=1, description="Images to train on, repeats counted.")
    batch: int = Field(128, ge=4, description="Images in a step, on each device.")
    learning_rate: float = Field(1e-3, gt=0, description="Largest of Adam; falls to zero along a cosine.")
    seed: int = Field(0, ge=0, description="Seed of all that is random.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="Where to train; auto takes a CUDA or Apple device where there is one."
    )
    n_devices: int = Field(1, ge=1, le=64, description="Devices that train side by side, each on crops of its own.")
    precision: Literal["32-true", "bf16-mixed"] = Field(
        "32-true", description="Numbers of the networks; bf16-mixed is faster where the device has bfloat16 units."
    )
    checkpoint_steps: int = Field(2000, ge=1, description="Steps between checkpoints.", json_schema_extra=unit("steps"))


class WeightedConfig(Config):
    """What all trainings of heads share."""

    interphase_weight: float = Field(
        1.0,
        gt=0,
        description="How much more an interphase crop counts than a metaphase one; above 1, false plates get rarer.",
    )


class HeadConfig(WeightedConfig):
    """Training of a dense head (Soelistyo & Lowe, appendix B.2)."""

    n_epochs: int = Field(60, ge=1, description="Passes over the training crops; more often over few crops.")
    batch: int = Field(64, ge=2, description="Crops in a step.")
    learning_rate: float = Field(
        2e-3, gt=0, description="Of Adam, at its largest: it rises at first, and falls to nearly zero."
    )
    dropout: float = Field(0.3, ge=0, lt=1, description="Share of units that are switched off in a step.")
    max_shift_px: int = Field(0, ge=0, le=16, description="Crops are moved by up to so many pixels, at random.")
    seed: int = Field(0, description="Seed of all that is random.")


class CnnConfig(HeadConfig):
    """Training of a CNN (Soelistyo & Lowe, appendix B.2)."""

    start: Literal["random", "encoder"] = Field(
        "encoder",
        description="Weights to begin with: random ones (the paper), or those of the beta-TCVAE's encoder, which has "
        "seen the unlabelled crops.",
    )
    max_shift_px: int = Field(
        2, ge=0, le=16, description="Crops are moved by up to so many pixels, at random, each time anew."
    )


class RiglConfig(WeightedConfig):
    """Training of a sparse head with modified RigL (Soelistyo & Lowe, appendix B.3, algorithm 1)."""

    sparsity: float = Field(0.951, ge=0, lt=1, description="Share of weights that are zero, S.")
    scaled: Scaled = Field(
        "sparsity",
        description="What the Erdos-Renyi rule is for: a layer's sparsity, as the paper says, or its density, as in "
        "RigL's own code, which leaves more weights to the first layer.",
    )
    reads: Literal["all", "taught"] = Field(
        "all", description="Latents that the head may read: all, or only those that are taught the outline (guide_sd)."
    )
    update_interval_steps: int = Field(
        115, ge=1, description="Steps between updates of the topology.", json_schema_extra=unit("steps")
    )
    update_fraction: float = Field(0.758, ge=0, le=1, description="Share of weights that the first update moves.")
    end_fraction: float = Field(0.75, gt=0, le=1, description="Share of the sparse phase in which topology may change.")
    n_epochs: int = Field(
        100,
        ge=1,
        description="Passes over the training crops, the dense warm-up included; more often over few crops.",
    )
    warm_up_epochs: int = Field(20, ge=0, description="Passes before the first pruning.")
    prune_epochs: int = Field(
        0,
        ge=0,
        description="Passes in which weights are pruned step by step, idle ones first; 0: all at once (the paper).",
    )
    batch: int = Field(64, ge=2, description="Crops in a step.")
    learning_rate: float = Field(1e-3, gt=0, description="Of Adam.")
    seed: int = Field(0, description="Seed of all that is random.")

    @model_validator(mode="after")
    def _sparse_at_last(self) -> Self:
        if self.warm_up_epochs >= self.n_epochs:
            raise ValueError(
                f"the dense warm-up of {self.warm_up_epochs} epochs leaves none of {self.n_epochs} for the sparse phase"
            )
        room = self.end_fraction * (self.n_epochs - self.warm_up_epochs)
        if self.prune_epochs and self.prune_epochs >= room:
            raise ValueError(
                f"pruning for {self.prune_epochs} epochs ends after the {room:g} that the topology may change in"
            )
        return self


class SymbolicConfig(WeightedConfig):
    """Search for a symbolic head (Soelistyo & Lowe, appendix B.4)."""

    engine: Literal["auto", "pysr", "operon"] = Field(
        "auto", description="What searches: PySR, which needs Julia, or operon; auto: PySR where its Julia is ready."
    )
    target: Literal["hinge", "squared"] = Field(
        "hinge", description="Loss of a formula: hinge loss on the labels, or squared error against the sparse head."
    )
    n_crops: int = Field(4000, ge=10, description="Training crops that a search sees, drawn at random, each turned.")
    max_size: int = Field(20, ge=1, le=100, description="Largest complexity of a formula.")
    parsimony: float = Field(0.001, ge=0, description="Loss that one more unit of complexity must win back.")
    n_generations: int = Field(300, ge=1, description="Generations of the search.")
    population: int = Field(1000, ge=10, description="Formulas alive at a time.")
    seed: int = Field(0, ge=0, description="Seed of all that is random.")


class TrainingConfig(Config):
    """Training of a whole bundle: one beta-TCVAE, and several models of each scheme."""

    name: str = Field(
        "my-cells", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the bundle, and of its folder."
    )
    description: str = Field("", description="What the bundle is for, in a sentence or two.")
    licence: str = Field("not stated", description="Licence of the bundle.")
    vae: VaeConfig = Field(default_factory=VaeConfig)
    dense: HeadConfig = Field(default_factory=HeadConfig)
    cnn: CnnConfig = Field(default_factory=CnnConfig)
    sparse: RiglConfig = Field(default_factory=RiglConfig)
    symbolic: SymbolicConfig = Field(default_factory=SymbolicConfig)
    n_runs: int = Field(10, ge=1, le=100, description="Models of each scheme; of formulas, so many of each loss.")
    validation_share: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="Share of the training scenes or tracks that choose among the runs and calibrate them.",
    )
    test_share: float = Field(
        0.1, gt=0, lt=1, description="Share of the scenes or tracks that only the figures are measured on."
    )
    seed: int = Field(0, ge=0, description="Seed of the splits.")

    @model_validator(mode="after")
    def _some_are_taught(self) -> Self:
        if self.sparse.reads == "taught" and self.vae.guide_sd is None:
            raise ValueError(
                "the sparse heads are to read only taught latents, but none is taught; set vae.guide_sd, or let them "
                "read all"
            )
        return self


TUNED = ("sparsity", "update_interval_steps", "update_fraction")
"""The fields of `RiglConfig` that a trial chooses."""


class TuneConfig(Config):
    """Tuning of the sparse head (Soelistyo & Lowe, appendix B.3.1)."""

    min_sparsity: float = Field(0.95, ge=0, lt=1, description="Smallest share of weights that are zero.")
    max_sparsity: float = Field(0.97, ge=0, lt=1, description="Largest share of weights that are zero.")
    min_update_interval_steps: int = Field(
        100, ge=1, description="Fewest steps between updates of the topology.", json_schema_extra=unit("steps")
    )
    max_update_interval_steps: int = Field(
        200, ge=1, description="Most steps between updates of the topology.", json_schema_extra=unit("steps")
    )
    min_update_fraction: float = Field(
        0.7, ge=0, le=1, description="Smallest share of weights that the first update moves."
    )
    max_update_fraction: float = Field(
        0.9, ge=0, le=1, description="Largest share of weights that the first update moves."
    )
    n_trials: int = Field(200, ge=1, description="Trials, those of all processes together.")
    n_runs: int = Field(5, ge=1, description="Heads that a trial trains, each from its own seed.")
    n_epochs: int = Field(40, ge=1, description="Passes of each run over the training crops, warm-up included.")
    seed: int = Field(0, ge=0, description="Seed of the search and of each trial's first run; the other runs count on.")
    rigl: RiglConfig = Field(default_factory=RiglConfig, description="What isn't tuned.")

    @model_validator(mode="after")
    def _ranges_and_runs(self) -> Self:
        for name in TUNED:
            low, high = self.range_of(name)
            if low > high:
                raise ValueError(f"min_{name} ({low:g}) is above max_{name} ({high:g})")
        if self.rigl.warm_up_epochs >= self.n_epochs:
            raise ValueError(
                f"the dense warm-up of {self.rigl.warm_up_epochs} epochs leaves none of a run's {self.n_epochs} "
                "for the sparse phase"
            )
        return self

    def range_of(self, name: str) -> tuple[float, float]:
        """Return the smallest and largest value of a field that is tuned."""
        return getattr(self, f"min_{name}"), getattr(self, f"max_{name}")

    def rigl_with(self, **values: Any) -> RiglConfig:
        """Return the settings of the sparse training with some replaced."""
        return RiglConfig(**self.rigl.model_dump() | values)


class CounterfactualConfig(Config):
    """How far counterfactuals are looked for (Soelistyo & Lowe, section 5.4)."""

    max_epsilon_image: float = Field(
        0.3,
        gt=0,
        le=1,
        description="Largest change of a pixel.",
        json_schema_extra=unit("units of the image, which goes from 0 to 1"),
    )
    max_epsilon_latent: float = Field(
        3.0,
        gt=0,
        le=20,
        description="Largest change of a latent.",
        json_schema_extra=unit("standard deviations of the prior"),
    )
    n_steps: int = Field(
        1,
        ge=1,
        le=100,
        description="Steps of an attack; 1 is the fast gradient sign method.",
        json_schema_extra=unit("steps"),
    )


class AuditConfig(Config):
    """The audit of the paper's domain constraints (Soelistyo & Lowe, section 4.1)."""

    n_crops: int = Field(300, ge=10, le=100_000, description="Simulated crops, where none are given.")
    seed: int = Field(70_000_000, ge=0, description="First scene of the simulated crops; none that models train on.")
    max_flipped_share: float = Field(
        0.05, ge=0, le=1, description="A constraint holds where at most this share of the nuclei changes its state."
    )
    small_epsilon_image: float = Field(
        0.02,
        gt=0,
        le=1,
        description="A change of all pixels that nobody sees, and that shouldn't change a state.",
        json_schema_extra=unit("units of the image, which goes from 0 to 1"),
    )
    usual_epsilon_latent: float = Field(
        1.0,
        gt=0,
        le=20,
        description="A change of the neighbourhood's latents that is usual between crops (the paper's).",
        json_schema_extra=unit("standard deviations of the prior"),
    )
    attack: CounterfactualConfig = Field(default_factory=CounterfactualConfig)
