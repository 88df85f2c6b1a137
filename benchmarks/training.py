"""How fast the beta-TCVAE trains: on ready crops, on crops simulated meanwhile, and beside a plain loop.

``python benchmarks/training.py --json OUT [--quick]``

``times_pythae`` compares with a plain loop of our own that stands in for such a library, which isn't run itself: eager,
float32, images in torch's default layout, torch's own Mish and default Adam, and stratified weights filled in each
step.
``share_of_encoder`` is what is left of the encoder's own speed, forward and without gradients, once decoder, loss,
gradients and Adam are added. The ``step_*`` figures are networks and Adam alone, in either memory layout and in
bfloat16.
"""

from __future__ import annotations

import math
from contextlib import closing, nullcontext
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from _common import in_turns, n_cores, write_figures
from napari_cellinterp.config import PATCH_PX, VaeConfig
from napari_cellinterp.events import finish
from napari_cellinterp.models.activation import Mish
from napari_cellinterp.training.stream import Draw, SimulatedCrops, StoredCrops
from napari_cellinterp.training.tcvae_loss import pixel_weights
from napari_cellinterp.training.vae_training import fit_vae, new_vae

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_cellinterp.training.stream import CropStream

CONFIG = VaeConfig(device="cpu")


def train(crops: CropStream, n_steps: int, **changes: object) -> None:
    """Train new networks for some steps."""
    config = CONFIG.model_copy(update={"n_images": n_steps * CONFIG.batch, **changes})
    finish(fit_vae(*new_vae(config), crops, config))


class Stream:
    """One stream of simulated crops for all runs: its workers begin once, as in a long training."""

    def __init__(self) -> None:
        # small blocks: what was simulated ahead is soon used up, and doesn't flatter the figure
        self.crops = SimulatedCrops(first_scene=5_000_000, scenes_per_block=12, n_processes=n_cores())
        self.opened = self.crops.batches(Draw(CONFIG.batch))

    def batches(self, _: Draw) -> object:
        """Yield where the last run stopped."""
        while True:
            yield next(self.opened)

    def describe(self) -> str:
        """Return the description of the crops."""
        return self.crops.describe()


def plain_loop(x: Tensor, n_steps: int) -> None:
    """Train as tutorials do."""
    encoder, decoder = (plain(network.to(memory_format=torch.contiguous_format)) for network in new_vae(CONFIG))
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], CONFIG.learning_rate)
    weights = pixel_weights(PATCH_PX, CONFIG.centre_radius_px, CONFIG.centre_floor)
    for step in range(n_steps):
        batch = x[torch.randint(len(x), (CONFIG.batch,))].rot90(step % 4, dims=(2, 3))
        mean, log_variance = encoder(batch)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        error = ((decoder(z) - batch) ** 2 * weights).sum(dim=(1, 2, 3)) / (2 * CONFIG.pixel_sd**2)
        loss = (error + plain_divergence(z, mean, log_variance)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def plain(network: nn.Module) -> nn.Module:
    """Return the network with torch's own Mish."""
    for module in list(network.modules()):
        for name, part in module.named_children():
            if isinstance(part, Mish):
                setattr(module, name, nn.Mish())
    return network


def plain_divergence(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the weighted terms of each image, (n,), by minibatch-stratified sampling."""

    def density(value: Tensor, centre: Tensor, log_spread: Tensor) -> Tensor:
        constant = math.log(2 * math.pi)
        return -0.5 * (constant + log_spread + (value - centre) ** 2 * torch.exp(-log_spread))

    n, others, n_dataset = len(z), len(z) - 1, CONFIG.n_dataset
    weights = torch.full((n, n), 1 / others)
    weights.view(-1)[:: n + 1] = 1 / n_dataset
    weights.view(-1)[1 :: n + 1] = weights[-1, 0] = (n_dataset - others) / (n_dataset * others)
    weights = weights.log()
    pairs = density(z.reshape(n, 1, -1), mean.reshape(1, n, -1), log_variance.reshape(1, n, -1))
    log_q = torch.logsumexp(weights + pairs.sum(dim=2), dim=1)
    log_product = torch.logsumexp(weights.reshape(n, n, 1) + pairs, dim=1).sum(dim=1)
    log_posterior = density(z, mean, log_variance).sum(dim=1)
    log_prior = density(z, torch.zeros_like(z), torch.zeros_like(z)).sum(dim=1)
    return (log_posterior - log_q) + CONFIG.beta * (log_q - log_product) + (log_product - log_prior)


def bare_step(x: Tensor, *, last: bool, bfloat16: bool = False) -> Callable[[], None]:
    """Return a step of networks and Adam alone, under one choice of layout and numbers."""
    layout = torch.channels_last if last else torch.contiguous_format
    networks = [network.to(memory_format=layout) for network in new_vae(CONFIG)]
    optimiser = torch.optim.Adam([p for network in networks for p in network.parameters()], fused=True)
    encoder, decoder = networks
    x = x[: CONFIG.batch].contiguous(memory_format=layout)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16) if bfloat16 else nullcontext():
            mean, log_variance = encoder(x)
            loss = (decoder(mean).float() - x).square().mean() + log_variance.float().square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def repeated(step: Callable[[], None], n_steps: int) -> None:
    for _ in range(n_steps):
        step()


def encode(x: Tensor) -> None:
    encoder = new_vae(CONFIG)[0].eval()
    with torch.inference_mode():
        for chunk in x.contiguous(memory_format=torch.channels_last).split(CONFIG.batch):
            encoder(chunk)


def figures(quick: bool) -> dict[str, float]:
    n_steps, n_crops = (2, 256) if quick else (20, 4096)
    crops = SimulatedCrops(first_scene=6_000_000, n_processes=n_cores())
    with closing(crops.batches(Draw(CONFIG.batch))) as batches:
        stored = StoredCrops(np.concatenate([batch.images for batch in islice(batches, n_crops // CONFIG.batch)]))
    x = torch.from_numpy(stored.images).float() / 255
    stream = Stream()
    jobs = {
        "images_per_s": partial(train, stored, n_steps),
        "encoder_only_images_per_s": partial(encode, x),
        "plain_loop_images_per_s": partial(plain_loop, x, n_steps),
        "step_default_layout_images_per_s": partial(repeated, bare_step(x, last=False), n_steps),
        "step_channels_last_images_per_s": partial(repeated, bare_step(x, last=True), n_steps),
        "step_bfloat16_images_per_s": partial(repeated, bare_step(x, last=True, bfloat16=True), n_steps),
    }
    images = dict.fromkeys(jobs, n_steps * CONFIG.batch) | {"encoder_only_images_per_s": len(x)}
    times = in_turns(jobs)
    # apart from the others, as the workers go on simulating
    with closing(stream.opened):
        times |= in_turns({"streamed_images_per_s": partial(train, stream, n_steps)})
    speeds = {key: images.get(key, n_steps * CONFIG.batch) / values for key, values in times.items()}
    ours = speeds["images_per_s"]
    return {key: float(np.median(speed)) for key, speed in speeds.items()} | {
        "share_of_encoder": float(np.median(ours / speeds["encoder_only_images_per_s"])),
        "times_pythae": float(np.median(ours / speeds["plain_loop_images_per_s"])),
        "streamed_share": float(np.median(speeds["streamed_images_per_s"]) / np.median(ours)),
    }


if __name__ == "__main__":
    write_figures(__doc__, figures)
