"""Training of the beta-TCVAE on any crops and devices, which can be stopped and goes on as if it hadn't been."""

from __future__ import annotations

import time
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_cellinterp.config import PATCH_PX
from napari_cellinterp.errors import TrainingError
from napari_cellinterp.events import EpochFinished, Progressed
from napari_cellinterp.models.vae import Decoder, Encoder
from napari_cellinterp.results.files import check_writable
from napari_cellinterp.training.checkpoint import Checkpoint
from napari_cellinterp.training.devices import on_each_device, open_fabric
from napari_cellinterp.training.fit import N_TURNS, turned_each
from napari_cellinterp.training.guides import guide_error, turned_outlines
from napari_cellinterp.training.schedule import learning_rate
from napari_cellinterp.training.stream import NOISE, TURNS, Draw
from napari_cellinterp.training.tcvae_loss import TcvaeLoss, decompose, pixel_weights, reconstruction_error

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from lightning_fabric import Fabric
    from numpy.typing import NDArray

    from napari_cellinterp.config import VaeConfig
    from napari_cellinterp.events import Job
    from napari_cellinterp.training.stream import Batch, CropStream

REPORT_STEPS = 100
PROGRESS_STEPS = 10
"""Steps between signs of life, at which a job can be cancelled."""


def new_vae(config: VaeConfig) -> tuple[Encoder, Decoder]:
    """Return an encoder and a decoder with the config's sizes and random weights from its seed."""
    torch.manual_seed(config.seed)
    sizes = (config.n_channels, config.n_latents)
    encoder = Encoder(*sizes)
    return encoder.to(memory_format=torch.channels_last), Decoder(*sizes)  # type: ignore[call-overload]


def fit_vae(
    encoder: Encoder, decoder: Decoder, crops: CropStream, config: VaeConfig, *, checkpoint: Path | None = None
) -> Job[None]:
    """Train encoder and decoder, in place.

    All that is random in a step follows from the seed and the step's number, so a run that goes on from its
    checkpoint reaches the weights of one that never stopped: bit for bit on the CPU with as many threads, and to
    rounding elsewhere.

    On several devices each draws crops of its own, ``config.batch`` a step. The estimator of the loss sees only the
    device's own batch (q(z) is estimated from as many images as on one device), and gradients are averaged.

    Parameters
    ----------
    encoder, decoder : Encoder, Decoder
        New networks, in ``channels_last`` memory format for speed; on the CPU afterwards, ready for use.
    crops : CropStream
        What to train on.
    config : VaeConfig
        Settings.
    checkpoint : Path, optional
        File to go on from where it is there, written every ``config.checkpoint_steps`` steps, at the end, and when
        the job is closed early.

    Yields
    ------
    Progressed
        Every ten steps; every hundred and at the end an `EpochFinished` with the terms of the loss, in nats per
        image, and the images per second since the last one.

    Raises
    ------
    TrainingError
        If the device is missing, the checkpoint is damaged or of another training, crops can't be made, or the loss
        isn't finite; the last good checkpoint stays.
    OutputError
        If the checkpoint can't be written; an older one stays.
    """
    if checkpoint is not None:
        check_writable(checkpoint.parent)
    fabric = open_fabric(config)
    kept = Checkpoint(checkpoint, config, crops.describe()) if checkpoint else None
    networks = _Vae(encoder, decoder)
    try:
        weights = yield from on_each_device(
            fabric, partial(_train, networks=networks, crops=crops, config=config, checkpoint=kept)
        )
        # after several processes the weights are in theirs
        networks.load_state_dict({name: torch.from_numpy(weight) for name, weight in weights.items()})
    finally:
        networks.cpu().eval()


class _Vae(nn.Module):
    """Both networks as one, for Fabric to wrap."""

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the decoded image, the sample of z, its mean and its log-variance."""
        mean, log_variance = self.encoder(x)
        z = mean + noise * (0.5 * log_variance).exp()
        return self.decoder(z), z, mean, log_variance


def _train(
    fabric: Fabric, networks: _Vae, crops: CropStream, config: VaeConfig, checkpoint: Checkpoint | None
) -> Job[dict[str, NDArray[np.float32]]]:
    """Train on one of Fabric's devices; return the weights."""
    trainer = _Trainer(fabric, networks, config)
    done = trainer.load(checkpoint)
    draw = Draw(config.batch, config.seed, done + 1, fabric.global_rank, fabric.world_size)
    pace = _Pace(config.batch * fabric.world_size, done)
    try:
        with closing(crops.batches(draw)) as batches:
            for step, batch in zip(range(done + 1, trainer.n_steps + 1), batches, strict=False):
                loss = trainer.step(step, *_prepared(batch, draw, step, config))
                done = step
                if step == trainer.n_steps or (checkpoint and step % config.checkpoint_steps == 0):
                    trainer.save(checkpoint, step)
                if step % REPORT_STEPS == 0 or step == trainer.n_steps:
                    figures = {name: float(term.detach()) for name, term in vars(loss).items()}
                    figures["images_per_s"] = pace.since_last(step)
                    yield EpochFinished(step, trainer.n_steps, "vae", tuple(figures.items()))
                elif step % PROGRESS_STEPS == 0:
                    yield Progressed(step, trainer.n_steps)
    except (GeneratorExit, KeyboardInterrupt):
        if not trainer.is_stepping:
            trainer.save(checkpoint, done)
        raise
    return {name: weight.detach().cpu().numpy() for name, weight in networks.state_dict().items()}


class _Trainer:
    """Networks and optimiser on one device."""

    def __init__(self, fabric: Fabric, networks: _Vae, config: VaeConfig) -> None:
        self.fabric, self.networks, self.config = fabric, networks.train(), config
        self.is_stepping = False  # whether weights and moments are those of two different steps
        self.n_steps = max(1, config.n_images // (config.batch * fabric.world_size))
        weights = pixel_weights(PATCH_PX, config.centre_radius_px, config.centre_floor, config.centre_steepness)
        self.pixel_weights = fabric.to_device(weights)
        self.adam = torch.optim.Adam(networks.parameters(), config.learning_rate, fused=True)
        self.wrapped, self.wrapped_adam = fabric.setup(networks, self.adam)

    def load(self, checkpoint: Checkpoint | None) -> int:
        """Go on from a checkpoint where there is one; return the steps that are done."""
        return checkpoint.load(self.networks, self.adam) if checkpoint else 0

    def save(self, checkpoint: Checkpoint | None, step: int) -> None:
        """Write the checkpoint if there is to be one; of several devices only the first does."""
        if checkpoint and self.fabric.is_global_zero:
            checkpoint.save(step, self.networks, self.adam)

    def step(self, step: int, x: Tensor, noise: Tensor, outline: Tensor) -> TcvaeLoss:
        """Take one step on images (n, n_channels, 64, 64), bytes or in [0, 1].

        Parameters
        ----------
        step : int
            From 1.
        x : (n, n_channels, 64, 64) Tensor
            Images.
        noise : (n, n_latents) Tensor
            Of the samples of z.
        outline : (n, 4) Tensor
            Of the central nuclei.
        """
        rate = learning_rate(step, self.n_steps, self.config.learning_rate)
        for group in self.adam.param_groups:
            group["lr"] = rate
        x, noise, outline = self.fabric.to_device((x, noise, outline))
        x = (x.float() / 255 if x.dtype == torch.uint8 else x).contiguous(memory_format=torch.channels_last)
        loss = self._loss(x, noise, outline)
        total = loss.total(self.config.alpha, self.config.beta, self.config.gamma)
        if not total.isfinite():
            raise _not_finite(x, float(total.detach()), step, rate)
        self.wrapped_adam.zero_grad(set_to_none=True)
        self.fabric.backward(total)
        self.is_stepping = True
        self.wrapped_adam.step()
        self.is_stepping = False
        return loss

    def _loss(self, x: Tensor, noise: Tensor, outline: Tensor) -> TcvaeLoss:
        decoded, z, mean, log_variance = self.wrapped(x, noise)
        reconstruction = reconstruction_error(decoded, x, self.pixel_weights, self.config.pixel_sd)
        terms = decompose(z, mean, log_variance, self.config.n_dataset, self.config.estimator)
        guide_sd = self.config.guide_sd
        if guide_sd is not None and not outline.isfinite().any():
            raise TrainingError(
                f"The latents are to be guided (guide_sd {guide_sd:g}), but no crop of a batch has a mask.",
                "Give a movie with its labels, or leave guide_sd empty.",
            )
        guidance = mean.new_zeros(()) if guide_sd is None else guide_error(mean, outline, guide_sd)
        return TcvaeLoss(reconstruction, *terms, guidance)


def _not_finite(x: Tensor, total: float, step: int, rate: float) -> TrainingError:
    advice = (
        "Begin anew with a lower learning_rate or a larger pixel_sd; a checkpoint still holds the last good weights."
    )
    if not x.isfinite().all():
        advice = "Crops of this step hold values that aren't finite: clean them first."
    return TrainingError(f"The loss became {total} in step {step}, at a learning rate of {rate:.2g}.", advice)


def _prepared(batch: Batch, draw: Draw, step: int, config: VaeConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Flip and turn each crop at random, and its outline; between them the noise of the sample of z, (n, n_latents)."""
    n = len(batch.images)
    turns = draw.rng(step, TURNS).integers(0, N_TURNS, n)
    # from torch's own generator on the CPU, which draws alike for every device
    generator = torch.Generator().manual_seed(int(draw.rng(step, NOISE).integers(2**63)))
    noise = torch.randn(n, config.n_latents, generator=generator)
    outline = turned_outlines(torch.from_numpy(batch.outline), torch.from_numpy(turns))
    return turned_each(torch.from_numpy(batch.images), turns), noise, outline


class _Pace:
    """Images per second of a run, from one report to the next."""

    def __init__(self, images_per_step: int, step: int) -> None:
        self.images_per_step, self.step, self.time_s = images_per_step, step, time.perf_counter()

    def since_last(self, step: int) -> float:
        """Return the images per second since the last call."""
        before, self.step, self.time_s = (self.step, self.time_s), step, time.perf_counter()
        return self.images_per_step * (step - before[0]) / (self.time_s - before[1])
