"""The decomposed loss of the beta-TCVAE (Chen et al. 2018, arXiv 1802.04942)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from torch import Tensor

Estimator = Literal["weighted", "stratified"]


@dataclass(frozen=True)
class TcvaeLoss:
    """The terms of the loss, each a scalar in nats per image.

    Attributes
    ----------
    reconstruction : Tensor
        Weighted squared error of the decoded image, as a Gaussian's negative log-likelihood without its constant.
    mutual_information : Tensor
        I(z; n), between latents and the index of the image.
    total_correlation : Tensor
        KL(q(z) || prod_j q(z_j)), how far the latents are from independent.
    dimension_wise_kl : Tensor
        sum_j KL(q(z_j) || p(z_j)).
    guidance : Tensor
        How far the first latents are from the outline that they are taught, see
        `napari_cellinterp.training.guides.guide_error`; 0 where they are taught nothing.
    """

    reconstruction: Tensor
    mutual_information: Tensor
    total_correlation: Tensor
    dimension_wise_kl: Tensor
    guidance: Tensor

    def total(self, alpha: float, beta: float, gamma: float) -> Tensor:
        """Return the weighted sum that is minimised (Chen et al. 2018, eq. 4, and the guidance)."""
        return (
            self.reconstruction
            + alpha * self.mutual_information
            + beta * self.total_correlation
            + gamma * self.dimension_wise_kl
            + self.guidance
        )


def log_gaussian(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the log-density of z under independent Gaussians, element by element."""
    return -0.5 * (math.log(2 * math.pi) + log_variance + (z - mean) ** 2 / log_variance.exp())


def log_importance_weights(n_batch: int, n_dataset: int, estimator: Estimator) -> Tensor:
    """Logarithms of the weights that turn a batch's densities into the data set's.

    Parameters
    ----------
    n_batch, n_dataset : int
        Images in the batch, and in the data set.
    estimator : str
        ``weighted``: every image counts 1 / (n_batch * n_dataset) (Chen et al. 2018, sec. 4.1). ``stratified``:
        each image's own density counts 1 / n_dataset, one other stands for all images that aren't in the batch, the
        rest 1 / (n_batch - 1); each row sums to 1 (Chen et al. 2018, appendix C.2).

    Returns
    -------
    (n_batch, n_batch) float64 tensor
        Row: the sample; column: the image whose density is evaluated.
    """
    if estimator == "weighted":
        return torch.full((n_batch, n_batch), -math.log(n_batch * n_dataset), dtype=torch.float64)
    n_others = n_batch - 1
    weights = torch.full((n_batch, n_batch), 1 / n_others, dtype=torch.float64)
    rows = torch.arange(n_batch)
    weights[rows, rows] = 1 / n_dataset
    weights[rows, (rows + 1) % n_batch] = (n_dataset - n_others) / (n_dataset * n_others)
    return weights.log()


def decompose(
    z: Tensor, mean: Tensor, log_variance: Tensor, n_dataset: int, estimator: Estimator = "stratified"
) -> tuple[Tensor, Tensor, Tensor]:
    """Estimate mutual information, total correlation and dimension-wise KL from one batch.

    Parameters
    ----------
    z, mean, log_variance : (n, n_latents) Tensor
        Samples, and the Gaussians that they were drawn from.
    n_dataset : int
        Images in the data set.
    estimator : str
        See `log_importance_weights`.

    Returns
    -------
    tuple of Tensor
        Three scalars, nats.
    """
    log_weights = log_importance_weights(len(z), n_dataset, estimator).to(z)
    pairs = log_gaussian(z[:, None], mean[None], log_variance[None])
    log_q_z_given_n = log_gaussian(z, mean, log_variance).sum(1)
    log_q_z = torch.logsumexp(log_weights + pairs.sum(2), dim=1)
    log_q_each = torch.logsumexp(log_weights[:, :, None] + pairs, dim=1).sum(1)
    log_p_z = log_gaussian(z, torch.zeros_like(z), torch.zeros_like(z)).sum(1)
    return (log_q_z_given_n - log_q_z).mean(), (log_q_z - log_q_each).mean(), (log_q_each - log_p_z).mean()


def pixel_weights(side_px: int, radius_px: float, floor: float, steepness: float = 1.0) -> Tensor:
    """Weights of the pixels' errors, (side_px, side_px), mean 1: more in the middle, where the nucleus is.

    Parameters
    ----------
    side_px : int
        Side of the patch.
    radius_px : float
        Standard deviation of the Gaussian around the centre; infinity weighs all pixels alike.
    floor : float
        Weight far from the centre, as a fraction of the centre's.
    steepness : float
        Power of the exponent: 1 gives a Gaussian, more a flat top with a steeper edge (a super-Gaussian).
    """
    ticks = torch.arange(side_px) - (side_px - 1) / 2
    bell = torch.exp(-(((ticks[:, None] ** 2 + ticks[None] ** 2) / (2 * radius_px**2)) ** steepness))
    weights = floor + (1 - floor) * bell
    return weights / weights.mean()


def reconstruction_error(decoded: Tensor, x: Tensor, weights: Tensor, pixel_sd: float) -> Tensor:
    """Return the mean over images of the sum over pixels of the weighted squared error over 2 pixel_sd^2."""
    return ((decoded - x) ** 2 * weights).sum(dim=(1, 2, 3)).mean() / (2 * pixel_sd**2)
