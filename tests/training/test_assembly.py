"""What a bundle says of its latents."""

from __future__ import annotations

import pytest

from napari_cellinterp.config import TrainingConfig, VaeConfig
from napari_cellinterp.training.assembly import assemble
from napari_cellinterp.training.datasets import simulate_scene_crops
from napari_cellinterp.training.guides import GUIDES
from napari_cellinterp.training.vae_training import new_vae

CLASSES = ("interphase", "metaphase")


@pytest.fixture(scope="module")
def crops():
    return simulate_scene_crops(3).of_classes(CLASSES)


def names(crops, config, kinds=None):
    encoder, decoder = new_vae(config.vae)
    bundle = assemble(encoder.eval(), decoder.eval(), {}, crops, CLASSES, config, kinds)
    return {latent.index: latent.name for latent in bundle.info.latents}


def test_latents_that_were_taught_have_the_names_of_what_they_were_taught(crops):
    taught = names(crops, TrainingConfig(vae=VaeConfig(guide_sd=0.1)))
    untaught = names(crops, TrainingConfig())
    expected = [guide.name for guide in GUIDES]
    assert [taught[i] for i in range(len(GUIDES))] == expected
    assert [untaught[i] for i in range(len(GUIDES))] != expected


def test_the_names_of_a_model_that_heads_are_trained_on_stay(crops):
    kinds = dict.fromkeys(range(32), "mixed") | {7: "size"}
    found = names(crops, TrainingConfig(), kinds)
    assert found[7] == "size"
    assert sum(name.startswith("mixed") for name in found.values()) == 31


def test_a_taught_latent_comes_before_others_of_its_kind(crops):
    found = names(crops, TrainingConfig(vae=VaeConfig(guide_sd=0.1)), dict.fromkeys(range(32), "size"))
    assert sorted(found[i] for i in range(4)) == ["size", "size 2", "size 3", "size 4"]
