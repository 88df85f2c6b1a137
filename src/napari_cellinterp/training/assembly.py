"""Put a bundle together: heads with their figures, order of the latents, population, limits of novelty, model card."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from napari_cellinterp.models.bundle import ModelBundle
from napari_cellinterp.models.bundle_info import BundleInfo, LatentInfo, NoveltyLimits
from napari_cellinterp.models.latent_names import latent_kinds, numbered
from napari_cellinterp.models.novelty import NoveltyModel, Population, crop_statistics
from napari_cellinterp.training.fit import encode_all
from napari_cellinterp.training.guides import GUIDES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import nn

    from napari_cellinterp.config import HeadName, TrainingConfig
    from napari_cellinterp.models.bundle_info import DataSource, Figure, HeadInfo
    from napari_cellinterp.models.vae import Decoder, Encoder
    from napari_cellinterp.training.datasets import LabelledCrops

NOVEL_SHARE = 0.002
"""Share of the held-out population that is called novel by the distance alone."""

N_QUANTILES = 201
N_POPULATION = 3000


def assemble(
    encoder: Encoder,
    decoder: Decoder,
    heads: dict[HeadName, tuple[nn.Module, HeadInfo]],
    held_out: LabelledCrops,
    classes: Sequence[str],
    config: TrainingConfig,
    kinds: Mapping[int, str] | None = None,
) -> ModelBundle:
    """Put a bundle together.

    Parameters
    ----------
    encoder, decoder : Encoder, Decoder
        Trained networks.
    heads : dict
        By scheme, the head that is kept and what the bundle says of all runs.
    held_out : LabelledCrops
        Crops that nothing was trained on: the population that the bundle carries.
    classes : sequence of str
        In the order of the states.
    config : TrainingConfig
        Settings; kept in the bundle.
    kinds : mapping of int to str, optional
        What each latent is about; by default what the first ones were taught, and of the others what traversals show.
    """
    rows = np.random.default_rng(0).permutation(len(held_out))[:N_POPULATION]
    crops = held_out[np.sort(rows)]
    mean, log_variance = encode_all(encoder, crops.images)
    latents, statistics = mean.numpy(), crop_statistics(crops.patches)
    kl = (0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)).mean(dim=0).numpy()
    order = [int(i) for i in np.argsort(-kl)]
    taught = {} if config.vae.guide_sd is None else {i: guide.name for i, guide in enumerate(GUIDES)}
    if kinds is None:
        kinds = latent_kinds(decoder, latents, kl.tolist()) | taught
    names = numbered(kinds, sorted(order, key=lambda latent: latent not in taught))
    quantiles = np.quantile(latents, np.linspace(0, 1, N_QUANTILES), axis=0).astype(np.float32)
    population = Population(latents, crops.state, statistics, quantiles)
    info = BundleInfo(
        name=config.name,
        description=config.description,
        licence=config.licence,
        classes=tuple(classes),
        n_channels=encoder.n_channels,
        n_latents=mean.shape[1],
        filters=encoder.filters,
        latents=tuple(LatentInfo(index=i, name=names[i], mean_kl=float(kl[i])) for i in order),
        heads={name: described for name, (_, described) in heads.items()},
        novelty=_limits(population, crops.patches.top_share),
        versions={name: version(name) for name in ("napari-cellinterp", "torch", "numpy")},
        training={"config": config.model_dump_json()},
        files={},
    )
    return ModelBundle(
        info, encoder.eval(), decoder.eval(), {name: head for name, (head, _) in heads.items()}, population
    )


def _limits(population: Population, top_share: NDArray[np.float32]) -> NoveltyLimits:
    unlimited = NoveltyLimits(max_novelty=np.inf, min_contrast=0, min_sharpness=0, max_top_share=1)
    novelty = NoveltyModel(population, unlimited).novelty(population.latents, population.statistics)
    sharpness, contrast = population.statistics.T
    return NoveltyLimits(
        max_novelty=float(np.quantile(novelty, 1 - NOVEL_SHARE)),
        min_contrast=float(min(0.3, np.quantile(contrast, NOVEL_SHARE))),
        min_sharpness=float(np.quantile(sharpness, NOVEL_SHARE)),
        max_top_share=max(0.05, float(np.quantile(top_share, 1 - NOVEL_SHARE))),
    )


def with_card(
    bundle: ModelBundle, data: Sequence[DataSource], figures: Sequence[Figure], **training: str
) -> ModelBundle:
    """Return the bundle with its model card filled in."""
    update = {"data": tuple(data), "figures": tuple(figures), "training": bundle.info.training | training}
    info = bundle.info.model_copy(update=update)
    return ModelBundle(info, bundle.encoder, bundle.decoder, bundle.heads, bundle.population)
