"""The compiled encoder says what torch's says."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from napari_cellinterp.models import classifier
from napari_cellinterp.models.classifier import Classifier
from napari_cellinterp.models.compiled import BATCH, CompiledEncoder
from napari_cellinterp.models.vae import Encoder
from napari_cellinterp.movies.patches import normalise

pytest.importorskip("openvino", reason="OpenVINO is an optional extra")


def random_patches(n, n_channels=1):
    return np.random.default_rng(0).random((n, n_channels, 64, 64), np.float32)


@torch.inference_mode()
def plain(encoder, x):
    return encoder.encode(torch.from_numpy(x)).numpy()


@pytest.mark.parametrize(("n", "n_channels"), [(1, 1), (BATCH, 1), (BATCH + 1, 1), (2 * BATCH + 30, 2), (0, 1)])
def test_any_number_of_patches_and_channels(n, n_channels):
    torch.manual_seed(0)
    encoder, x = Encoder(n_channels).eval(), random_patches(n, n_channels)
    np.testing.assert_allclose(CompiledEncoder(encoder, 2)(x), plain(encoder, x), atol=1e-5)


def test_threads_do_not_mix_their_patches():
    torch.manual_seed(0)
    encoder, x = Encoder().eval(), random_patches(8 * BATCH)
    compiled = CompiledEncoder(encoder, 2)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(compiled, np.split(x, 16)))
    np.testing.assert_allclose(np.concatenate(together), plain(encoder, x), atol=1e-5)


def test_scores_do_not_depend_on_it(tiny_bundle, monkeypatch):
    patches = normalise(random_patches(70))
    fast = Classifier(tiny_bundle, "sparse", reconstruct=True)(patches)
    monkeypatch.setattr(classifier, "is_available", lambda: False)
    slow = Classifier(tiny_bundle, "sparse", reconstruct=True)(patches)
    np.testing.assert_allclose(fast.latents, slow.latents, atol=1e-5)
    np.testing.assert_allclose(fast.scores, slow.scores, atol=1e-4)
    np.testing.assert_allclose(fast.reconstruction_error, slow.reconstruction_error, atol=1e-6)
