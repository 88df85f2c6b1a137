"""Scores become states; what is no nucleus is said to be none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.special import expit, softmax

from napari_cellinterp.errors import PatchesError
from napari_cellinterp.models.bundle_info import NoveltyLimits
from napari_cellinterp.models.classifier import Classifier, class_probabilities, decide
from napari_cellinterp.models.heads import UNDEFINED
from napari_cellinterp.models.novelty import FLAGS, NoveltyModel, Population, crop_statistics
from napari_cellinterp.movies.patches import crop_frame, normalise
from napari_cellinterp.movies.synthetic import Culture, Optics, simulate_scene
from napari_cellinterp.training.datasets import simulate_scene_crops

HEADS = ("cnn", "dense", "sparse", "symbolic")


@pytest.mark.parametrize(
    ("score", "state"),
    [(0.0, 1), (-0.0, 1), (1e-30, 1), (-1e-30, 0), (3.0, 1), (-3.0, 0), (np.nan, -1), (np.inf, -1), (-np.inf, -1)],
)
def test_the_threshold_is_zero_and_belongs_to_the_upper_class(score, state):
    states, probability = decide(np.array([[score]], np.float32), np.array([[1.0, 0.0]]))
    assert states.tolist() == [state]
    assert np.isnan(probability[0]) == (state == UNDEFINED)


@given(
    values=st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=20),
    slope=st.floats(-5, 5),
    offset=st.floats(-20, 20),
)
def test_calibration_never_moves_a_state(values, slope, offset):
    scores = np.array(values, np.float32)[:, None]
    state, probability = decide(scores, np.array([[slope, offset]]))
    np.testing.assert_array_equal(state, scores[:, 0] >= 0)
    upper = expit(np.clip(slope * scores[:, 0] + offset, -80, 80))
    np.testing.assert_allclose(probability, np.where(state == 1, upper, 1 - upper), atol=1e-6)


def test_of_several_classes_the_largest_score_wins_and_any_undefined_one_spoils_it():
    scores = np.array([[1, 3, 2], [5, -1, 5], [0, np.nan, 9], [-3, -2, -1]], np.float32)
    calibration = np.array([[1.0, 0], [2.0, -1], [0.5, 0.3]])
    state, probability = decide(scores, calibration)
    assert state.tolist() == [1, 0, UNDEFINED, 2]
    expected = softmax(np.nan_to_num(scores) * calibration[:, 0] + calibration[:, 1], axis=1)
    np.testing.assert_allclose(probability[[0, 1, 3]], expected[[0, 1, 3], [1, 0, 2]], rtol=1e-5)
    assert np.isnan(probability[2])


def test_probabilities_of_all_classes_sum_to_one():
    scores = np.array([[1, 3, 2], [5, -1, 5], [0, np.nan, 9]], np.float32)
    calibration = np.array([[2.0, 0], [2.0, -1], [2.0, 0.3]])
    found = class_probabilities(scores, calibration)
    np.testing.assert_allclose(found[:2], softmax(scores[:2] * 2 + calibration[:, 1], axis=1), rtol=1e-6)
    assert np.isnan(found[2]).all()
    two = class_probabilities(np.array([[-1], [0], [4], [np.inf]], np.float32), np.array([[0.5, 1.0]]))
    np.testing.assert_allclose(two[:3, 1], expit([0.5, 1.0, 3.0]))
    np.testing.assert_allclose(two[:3].sum(axis=1), 1)
    assert np.isnan(two[3]).all()


def one_crop(image: np.ndarray):
    return normalise(np.asarray(image, np.float32)[None, None])


def blob(width: float = 11.0) -> np.ndarray:
    ticks = np.arange(64) - 31.5
    inside = np.hypot(ticks[:, None], ticks) < width
    rng = np.random.default_rng(0)
    return 50 + 200 * gaussian_filter(inside.astype(float), 1) + rng.normal(0, 2, (64, 64))


def flag_of(bundle, image) -> tuple[str, float, int]:
    result = Classifier(bundle, "cnn")(one_crop(image))
    return FLAGS[result.flag[0]], float(result.scores[0, 0]), int(result.state[0])


@pytest.mark.parametrize("level", [0, 250, 65535])
def test_a_blank_crop_is_flagged(tiny_bundle, level):
    flag, _, state = flag_of(tiny_bundle, np.full((64, 64), level))
    assert flag == "blank"
    assert state != UNDEFINED  # the state is the head's answer all the same


@pytest.mark.parametrize("noise", ["normal", "poisson"])
def test_a_crop_of_noise_alone_is_flagged(tiny_bundle, noise):
    rng = np.random.default_rng(0)
    image = rng.normal(100, 10, (64, 64)) if noise == "normal" else rng.poisson(40, (64, 64))
    assert flag_of(tiny_bundle, image)[0] == "blank"


def test_a_saturated_crop_is_flagged(tiny_bundle):
    assert flag_of(tiny_bundle, np.minimum(blob(), 120))[0] == "saturated"


def test_a_crop_out_of_focus_is_flagged(tiny_bundle):
    assert flag_of(tiny_bundle, gaussian_filter(blob(), 8))[0] == "blurred"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("head", HEADS)
def test_a_crop_with_pixels_that_are_not_numbers_has_no_state(tiny_bundle, head, bad):
    images = np.stack([blob(), blob()])[:, None]
    images[1, 0, 3, 3] = bad
    result = Classifier(tiny_bundle, head)(normalise(images))
    assert FLAGS[result.flag[1]] == "not_finite"
    assert result.state[1] == UNDEFINED
    assert np.isnan(result.score[1])
    assert np.isnan(result.probability[1])
    assert np.isfinite(result.score[0])
    assert np.isfinite(result.novelty).all()


def test_usual_crops_are_not_flagged(tiny_bundle):
    crops = [simulate_scene_crops(seed).of_classes(tiny_bundle.info.classes) for seed in (201, 202, 203)]
    flags = np.concatenate([Classifier(tiny_bundle, "dense")(c.patches).flag for c in crops])
    assert (flags == 0).mean() >= 0.95


def test_flags_come_in_order(random_bundle):
    limits = NoveltyLimits(max_novelty=1, min_contrast=0.5, min_sharpness=0.5, max_top_share=0.5)
    model = NoveltyModel(random_bundle().population, limits)
    crops = np.zeros((6, 1, 64, 64), np.float32)
    crops[:, 0, 20:40, 20:40] = 1
    crops[0, 0, 0, 0] = np.nan
    crops[1] = 3
    crops[2] = 1 - crops[2]
    statistics = np.array([[0, 0], [0, 0], [0, 1], [0.4, 1], [1, 1], [1, 1]], np.float32)
    flags = model.flags(normalise(crops), statistics, np.array([9, 9, 9, 9, 9, 0.5], np.float32))
    assert [FLAGS[i] for i in flags] == ["not_finite", "blank", "saturated", "blurred", "unlike_training", ""]


def test_novelty_is_one_for_the_population_and_grows_with_distance():
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(4000, 6)).astype(np.float32) @ rng.normal(size=(6, 6)).astype(np.float32)
    statistics = np.stack([np.exp(rng.normal(0, 0.5, 4000)), rng.normal(0.7, 0.4, 4000)], axis=1).astype(np.float32)
    population = Population(latents, np.zeros(4000, int), statistics, latents[:5])
    model = NoveltyModel(population, NoveltyLimits(max_novelty=3, min_contrast=0, min_sharpness=0, max_top_share=1))
    usual = model.novelty(latents, statistics)
    # less than 1 by the shrinkage of the covariance
    assert 0.7 < np.sqrt((usual**2).mean()) <= 1
    far = [model.novelty(latents[:50] + k * latents.std(axis=0), statistics[:50]).mean() for k in range(4)]
    assert np.all(np.diff(far) > 0)


def test_contrast_and_sharpness_of_known_crops():
    halves, chequers = np.zeros((64, 64)), np.indices((64, 64)).sum(axis=0) % 2
    halves[:, 32:] = 1
    statistics = crop_statistics(normalise(np.stack([halves, chequers])[:, None]))
    np.testing.assert_allclose(statistics, [[1, 1], [0, 0]], atol=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_scores_do_not_depend_on_the_batch(random_bundle, head):
    patches = normalise(np.random.default_rng(0).gamma(2, 20, (300, 1, 64, 64)))
    classifier = Classifier(random_bundle(), head, reconstruct=True)
    everything, alone = classifier(patches), classifier(patches[280:281])
    assert everything.scores.shape == (300, 1)
    assert everything.latents.shape == (300, 32)
    np.testing.assert_allclose(everything.scores[280], alone.scores[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(everything.reconstruction_error[280], alone.reconstruction_error[0], rtol=1e-4)


def test_the_reconstruction_error_is_the_mean_squared_one(random_bundle):
    import torch

    bundle = random_bundle(2)
    patches = normalise(np.random.default_rng(0).gamma(2, 20, (4, 2, 64, 64)))
    decoded = bundle.decoder(bundle.encoder.encode(torch.from_numpy(patches.x))).numpy()
    result = Classifier(bundle, "symbolic", reconstruct=True)(patches)
    np.testing.assert_allclose(
        result.reconstruction_error, ((decoded - patches.x) ** 2).mean(axis=(1, 2, 3)), rtol=1e-5
    )
    assert Classifier(bundle, "symbolic")(patches).reconstruction_error is None


def test_the_winner_s_score_of_several_classes(random_bundle):
    patches = normalise(np.random.default_rng(0).gamma(2, 20, (20, 1, 64, 64)))
    result = Classifier(random_bundle(1, ("a", "b", "c")), "dense")(patches)
    np.testing.assert_array_equal(result.score, result.scores.max(axis=1))
    np.testing.assert_array_equal(result.state, result.scores.argmax(axis=1))


@pytest.mark.parametrize(("model_channels", "patch_channels"), [(1, 2), (2, 1), (2, 3)])
def test_another_number_of_channels_is_an_error(random_bundle, model_channels, patch_channels):
    classifier = Classifier(random_bundle(model_channels), "cnn")
    patches = normalise(np.random.default_rng(0).random((2, patch_channels, 64, 64)))
    with pytest.raises(
        PatchesError, match=f"have {patch_channels} channels, but the model 'random' reads {model_channels}"
    ):
        classifier(patches)


@pytest.mark.parametrize("head", HEADS)
def test_no_patches_have_no_scores(random_bundle, head):
    result = Classifier(random_bundle(), head)(normalise(np.empty((0, 1, 64, 64))))
    assert result.scores.shape == (0, 1)
    assert len(result.state) == len(result.flag) == len(result.score) == 0


def test_a_head_learns_plates_in_seconds(tiny_bundle):
    """Even the tiny bundle's CNN tells long plates from round nuclei: the whole path carries the signal."""
    culture = Culture(
        diameter_px=29, diameter_sd=0.05, brightness_sd=0.1, elongation=1.1, texture=0.1, lobes=0.01, density=0.15,
        condensation=2.5, plate_scale=1.0,
    )  # fmt: skip
    optics = Optics(
        blur_px=0.8, haze=0, background=0.1, gradient=0, photons=500, read_noise=0.01, resampled_blur_px=0,
        saturation=np.inf,
    )  # fmt: skip
    scores = []
    for state in (0, 2):
        rng = np.random.default_rng(7)
        scene = simulate_scene(rng, shape=(500, 500), culture=culture, optics=optics, states={state: 1.0})
        crops = crop_frame(scene.image[None], scene.factors.y, scene.factors.x, 1.0)
        scores.append(Classifier(tiny_bundle, "cnn")(normalise(crops)).score)
    interphase, metaphase = scores
    assert (metaphase[:, None] > interphase).mean() > 0.8
