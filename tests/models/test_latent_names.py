"""Latents are named after what their traversals change, and a person's own names are kept apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from napari_cellinterp.errors import OutputError
from napari_cellinterp.models import latent_names
from napari_cellinterp.models.latent_names import (
    central_latents,
    kinds_of,
    latent_kinds,
    latent_titles,
    neighbourhood_latents,
    numbered,
    read_user_names,
    save_user_name,
)

DRAWN = (
    "neighbourhood",
    "diagonal elongation",
    "x position",
    "size",
    "y position",
    "brightness",
    "elongation",
    "inactive",
    "size",
)


class Drawing(nn.Module):
    """Draws an ellipse and a neighbour; each latent is one property of them."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        around, diagonal, shift_x, size, shift_y, bright, axial, _, size_too = z.T[:, :, None, None]
        ticks = torch.arange(64) - 31.5
        x, y = ticks[None, None, :] - 2 * shift_x, ticks[None, :, None] - 2 * shift_y
        strength = torch.exp(2 * 0.12 * torch.stack([axial, diagonal]))
        u, v = (x + y) / 2**0.5, (x - y) / 2**0.5
        radius2 = (x**2 / strength[0] + y**2 * strength[0] + u**2 / strength[1] + v**2 * strength[1]) / 2
        nucleus = torch.sigmoid((100 * torch.exp(0.2 * (size + size_too)) - radius2) / 8)
        neighbour = torch.sigmoid((60 - (ticks[None, None, :] - 24) ** 2 - (ticks[None, :, None] - 24) ** 2) / 6)
        image = nucleus * torch.sigmoid(0.5 * bright) + 0.4 * neighbour * torch.sigmoid(1.5 * around)
        return image[:, None]


def population(n: int = 200) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, len(DRAWN))).astype(np.float32)


def test_kinds_are_what_the_traversals_change():
    kinds = latent_kinds(Drawing(), population(), [1.0] * 7 + [0.01, 1.0])
    assert tuple(kinds[i] for i in range(len(DRAWN))) == DRAWN


def test_a_latent_that_changes_nothing_is_unclear():
    assert latent_kinds(Drawing(), population(), [1.0] * len(DRAWN))[7] == "unclear"


def test_a_second_latent_of_a_kind_gets_a_number():
    kinds = {0: "size", 1: "size", 2: "inactive", 3: "inactive"}
    assert numbered(kinds, [1, 2, 0, 3]) == {1: "size", 2: "inactive", 0: "size 2", 3: "inactive"}


def test_a_latent_of_nucleus_and_neighbours_is_mixed():
    class Both(Drawing):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            z = z.clone()
            z[:, 3] += 0.4 * z[:, 0]
            return super().forward(z)

    assert latent_kinds(Both(), population(), [1.0] * len(DRAWN))[0] == "mixed"


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(latent_names, "user_config_path", lambda _name: tmp_path / "config")
    return tmp_path


@pytest.fixture
def named(random_bundle):
    bundle = random_bundle()
    names = {0: "size", 1: "size 2", 2: "neighbourhood"}
    latents = tuple(
        latent.model_copy(update={"name": names.get(latent.index, "inactive")}) for latent in bundle.info.latents
    )
    return type(bundle)(
        bundle.info.model_copy(update={"latents": latents}),
        bundle.encoder,
        bundle.decoder,
        bundle.heads,
        bundle.population,
        "a" * 64,
    )


def test_a_bundle_says_which_latents_are_central(named):
    assert central_latents(named) == (0, 1)
    assert neighbourhood_latents(named) == (2,)
    assert kinds_of(named)[1] == "size"


def test_latents_without_names_are_measured(random_bundle):
    bundle = random_bundle()
    latents = tuple(latent.model_copy(update={"name": f"z{latent.index}"}) for latent in bundle.info.latents)
    unnamed = replace(bundle, info=bundle.info.model_copy(update={"latents": latents}))
    assert set(kinds_of(unnamed)) == set(range(32))
    assert not any(name.startswith("z") for name in kinds_of(unnamed).values())


def test_own_names_are_kept_apart_and_can_be_taken_back(named, own_folder):
    assert latent_titles(named)[1] == "size 2"
    save_user_name(named.hash, 1, "  roundness ")
    save_user_name(named.hash, 5, "dust")
    assert latent_titles(named)[1] == "roundness"
    assert latent_titles(named)[5] == "dust"
    assert read_user_names("b" * 64) == {}
    save_user_name(named.hash, 1, "")
    assert latent_titles(named)[1] == "size 2"


def test_damaged_own_names_are_no_reason_to_stop(named, own_folder):
    save_user_name(named.hash, 1, "roundness")
    latent_names.user_names_path(named.hash).write_text("[1, 2")
    assert latent_titles(named)[1] == "size 2"


def test_a_name_that_cannot_be_kept_is_said(named, own_folder):
    (own_folder / "config").write_text("a file")
    with pytest.raises(OutputError, match="can't be kept"):
        save_user_name(named.hash, 1, "roundness")
