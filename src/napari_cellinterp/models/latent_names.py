"""What each latent is about, measured on its traversals, and the names that a person gives them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import numpy as np
import torch
from platformdirs import user_config_path
from scipy.ndimage import binary_dilation, label

from napari_cellinterp.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_cellinterp.models.bundle import ModelBundle
    from napari_cellinterp.models.vae import Decoder

    Floats = NDArray[np.float64]

MEASURED = ("size", "elongation", "diagonal elongation", "brightness")
"""Kinds of latents that change the central nucleus itself, as its traversal shows."""

CENTRAL = (*MEASURED, "raggedness")
"""All such kinds; one is too fine for the decoder to show, but a latent can be taught it."""

POSITION = ("x position", "y position")
"""Kinds of latents that move it within the crop."""

NEIGHBOURHOOD, MIXED, UNCLEAR, INACTIVE = "neighbourhood", "mixed", "unclear", "inactive"
"""Kinds of latents that change only what is around it, that and the nucleus, nothing much, and nothing at all."""

ACTIVE_KL = 0.1
"""Latents with less mean KL divergence from the prior, nats, say nothing of the crop."""

MIN_EFFECT = 0.35
"""A latent is about what its traversal changes by at least so much of the difference between two nuclei."""

TRAVERSED = (0.05, 0.95)
"""Quantiles of the population between which a latent is traversed."""

N_REFERENCES = 32
"""Nuclei at which each latent is traversed."""

INSIDE = 0.5
"""Pixels above this share of the middle's brightness belong to the central nucleus."""

MARGIN_PX = 3
"""So far around it, light is still its own."""

UNNAMED = re.compile(r"z\d+")


def latent_kinds(decoder: Decoder, latents: NDArray[np.float32], mean_kl: Sequence[float]) -> dict[int, str]:
    """Say what each latent is about: the property of a decoded nucleus that its traversal changes most.

    A change is counted in units of the difference between two nuclei of the population (the median of each). A
    latent is about the neighbourhood only where it changes nothing of the central nucleus; where it changes that too,
    but less, it is mixed.

    Parameters
    ----------
    decoder : Decoder
        Of the model.
    latents : (n, n_latents) float32
        Mean latents of a population of crops.
    mean_kl : (n_latents,) sequence of float
        Mean KL divergence of each latent from the prior, nats.

    Returns
    -------
    dict of int to str
        One of `MEASURED`, `POSITION`, `NEIGHBOURHOOD`, `MIXED`, `UNCLEAR` and `INACTIVE` for each latent.
    """
    references = latents[np.linspace(0, len(latents) - 1, min(N_REFERENCES, len(latents))).astype(int)]
    usual = _differences(_decoded(decoder, references), _decoded(decoder, np.roll(references, 1, axis=0)))
    return {
        i: _kind(decoder, references, i, np.quantile(latents[:, i], TRAVERSED), usual) if kl >= ACTIVE_KL else INACTIVE
        for i, kl in enumerate(mean_kl)
    }


def _kind(
    decoder: Decoder, references: NDArray[np.float32], i: int, ends: NDArray[np.floating], usual: dict[str, float]
) -> str:
    low, high = references.copy(), references.copy()
    low[:, i], high[:, i] = ends
    changes = _differences(_decoded(decoder, low), _decoded(decoder, high))
    effects = {name: change / max(usual[name], 1e-9) for name, change in changes.items()}
    around = effects.pop(NEIGHBOURHOOD)
    best = max(effects, key=effects.__getitem__)
    if max(effects[best], around) < MIN_EFFECT:
        return UNCLEAR
    if effects[best] >= around:
        return best
    return MIXED if effects[best] >= MIN_EFFECT else NEIGHBOURHOOD


@torch.no_grad()
def _decoded(decoder: Decoder, latents: NDArray[np.float32]) -> Floats:
    """Decode latents to images (n, 64, 64), the mean of their channels."""
    return np.asarray(decoder(torch.from_numpy(latents)).mean(dim=1).double().numpy())


def _differences(before: Floats, after: Floats) -> dict[str, float]:
    """Median difference of each property of the central nuclei, and of what is around them.

    The median, because now and then a nucleus merges with its neighbour as it is decoded.
    """
    found: dict[str, list[float]] = {name: [] for name in (*MEASURED, *POSITION, NEIGHBOURHOOD)}
    for a, b in zip(before, after, strict=True):
        inside_a, inside_b = central_mask(a), central_mask(b)
        of_a, of_b = _properties(a, inside_a), _properties(b, inside_b)
        for name, value in of_a.items():
            found[name].append(abs(of_b[name] - value))
        outside = ~binary_dilation(inside_a | inside_b, iterations=MARGIN_PX)
        found[NEIGHBOURHOOD].append(float(np.sqrt(np.mean((b - a)[outside] ** 2))) if outside.any() else 0.0)
    return {name: float(np.median(values)) for name, values in found.items()}


def central_mask(image: Floats) -> NDArray[np.bool_]:
    """Return the pixels of the nucleus in the middle of a decoded image (64, 64)."""
    height, width = image.shape
    middle = image[height // 2 - 2 : height // 2 + 2, width // 2 - 2 : width // 2 + 2]
    parts, _ = label(image >= INSIDE * middle.mean())
    own = np.bincount(parts[height // 2 - 2 : height // 2 + 2, width // 2 - 2 : width // 2 + 2].ravel())
    own[0] = 0
    mask: NDArray[np.bool_] = parts == own.argmax() if own.any() else np.ones(image.shape, bool)
    return mask


def _properties(image: Floats, inside: NDArray[np.bool_]) -> dict[str, float]:
    """Measure a nucleus: its diameter and position in pixels, its elongation and brightness without unit.

    The elongation is (length - width) / (length + width) of the ellipse with its second moments, times the cosine
    (along the axes) or the sine (along the diagonals) of twice its angle.
    """
    y, x = (axis.astype(np.float64) for axis in np.nonzero(inside))
    values = image[inside]
    vyy, vxx, vxy = y.var() + 1 / 12, x.var() + 1 / 12, float(np.mean((y - y.mean()) * (x - x.mean())))
    across = np.hypot(vxx - vyy, 2 * vxy)
    length, width = np.sqrt((vxx + vyy + across) / 2), np.sqrt(max((vxx + vyy - across) / 2, 1e-9))
    elongation = (length - width) / (length + width) / max(across, 1e-9)
    return {
        "size": float(np.sqrt(4 * len(values) / np.pi)),
        "elongation": float(elongation * (vxx - vyy)),
        "diagonal elongation": float(elongation * 2 * vxy),
        "brightness": float(values.mean()),
        "x position": float(x.mean()),
        "y position": float(y.mean()),
    }


def numbered(kinds: Mapping[int, str], order: Sequence[int]) -> dict[int, str]:
    """Return names of latents: their kinds, with a number from the second of a kind on, in an order.

    Inactive ones have no number: there is nothing to tell them apart by.
    """
    names: dict[int, str] = {}
    counts: dict[str, int] = {}
    for i in order:
        kind = kinds[i]
        counts[kind] = counts.get(kind, 0) + 1
        names[i] = kind if counts[kind] == 1 or kind == INACTIVE else f"{kind} {counts[kind]}"
    return names


def kinds_of(bundle: ModelBundle) -> dict[int, str]:
    """Return the kind of each latent of a bundle: that of its name, or measured where it has none."""
    named = _own_names(bundle)
    if named:
        return {i: re.sub(r" \d+$", "", name) for i, name in named.items()}
    by_index = {latent.index: latent.mean_kl for latent in bundle.info.latents}
    mean_kl = [by_index[i] for i in range(bundle.info.n_latents)]
    return latent_kinds(bundle.decoder, bundle.population.latents, mean_kl)


def central_latents(bundle: ModelBundle) -> tuple[int, ...]:
    """Return the latents that change the central nucleus itself, those of the largest mean KL first."""
    return _of_kind(bundle, CENTRAL)


def neighbourhood_latents(bundle: ModelBundle) -> tuple[int, ...]:
    """Return the latents that change only what is around the central nucleus."""
    return _of_kind(bundle, (NEIGHBOURHOOD,))


def active_latents(bundle: ModelBundle) -> tuple[int, ...]:
    """Return the latents that say something of the crop, those of the largest mean KL first."""
    return tuple(latent.index for latent in bundle.info.latents if latent.mean_kl >= ACTIVE_KL)


def _of_kind(bundle: ModelBundle, kinds: Sequence[str]) -> tuple[int, ...]:
    found = kinds_of(bundle)
    return tuple(latent.index for latent in bundle.info.latents if found[latent.index] in kinds)


def latent_titles(bundle: ModelBundle) -> dict[int, str]:
    """Return what each latent is called: the person's name for it, else the automatic one, else its number."""
    automatic = _own_names(bundle) or numbered(kinds_of(bundle), [latent.index for latent in bundle.info.latents])
    return automatic | read_user_names(bundle.hash)


def _own_names(bundle: ModelBundle) -> dict[int, str]:
    """Return the names that the bundle gives to its latents; none where any of them is but a number."""
    named = {latent.index: latent.name for latent in bundle.info.latents}
    return {} if any(UNNAMED.fullmatch(name) for name in named.values()) else named


def user_names_path(bundle_hash: str) -> Path:
    """Return the file with a person's own names for the latents of a bundle."""
    return user_config_path("napari-cellinterp") / "latent-names" / f"{bundle_hash[:16]}.json"


def read_user_names(bundle_hash: str) -> dict[int, str]:
    """Return a person's own names for the latents of a bundle; none where the file isn't there or is damaged."""
    try:
        names = json.loads(user_names_path(bundle_hash).read_text(encoding="utf-8"))
        return {int(i): str(name) for i, name in names.items() if str(name).strip()}
    except (OSError, ValueError, AttributeError):
        return {}


def save_user_name(bundle_hash: str, latent: int, name: str) -> None:
    """Keep a person's own name for a latent; an empty one brings the automatic name back.

    Raises
    ------
    OutputError
        If it can't be written.
    """
    names = read_user_names(bundle_hash)
    names.pop(latent, None)
    if name.strip():
        names[latent] = name.strip()
    path = user_names_path(bundle_hash)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".part")
        beside.write_text(json.dumps({str(i): names[i] for i in sorted(names)}, indent=1) + "\n", encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise OutputError(f"The name can't be kept in {path}: {error}.", "Make that folder writable.") from error
