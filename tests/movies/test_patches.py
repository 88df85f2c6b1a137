"""Crops: where they are cut, at which scale, and that the camera drops out of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_cellinterp.errors import PatchesError
from napari_cellinterp.models.classifier import Classifier
from napari_cellinterp.movies.patches import Patches, crop_frame, normalise, patches_from_images, resample
from napari_cellinterp.movies.synthetic import simulate_scene

HEADS = ("cnn", "dense", "sparse", "symbolic")


def raw_crops(n: int = 3, n_channels: int = 1, seed: int = 0) -> np.ndarray:
    """Blobs on a noisy background, each with its own level and contrast, (n, n_channels, 64, 64) float32."""
    rng = np.random.default_rng(seed)
    ticks = np.arange(64) - 31.5
    r2 = ticks[:, None] ** 2 + ticks**2
    size = rng.uniform(40, 120, (n, n_channels, 1, 1))
    crops = rng.uniform(50, 500, size.shape) * np.exp(-r2 / size) + rng.uniform(10, 300, size.shape)
    return (crops + rng.normal(0, 5, crops.shape)).astype(np.float32)


def fading(i: int, side: int) -> float:
    """How much of the outermost pixel is left beyond the edge: all up to 8 px, none from 18 px."""
    outside = max(-i, i - (side - 1), 0)
    return 0.5 + 0.5 * np.cos(np.pi * min(max((outside - 8) / 10, 0), 1))


def slow_crop(planes: np.ndarray, y: float, x: float) -> np.ndarray:
    """One crop at the frame's own scale, pixel by pixel: the reference."""
    n_channels, height, width = planes.shape
    planes = planes.astype(np.float64)
    top, left = int(np.floor(y + 1)) - 32, int(np.floor(x + 1)) - 32
    background = np.array([np.sort(plane.ravel())[round((plane.size - 1) * 0.01)] for plane in planes])
    crop = np.empty((n_channels, 64, 64), np.float32)
    for i in range(64):
        for j in range(64):
            row, column = top + i, left + j
            pixel = planes[:, min(max(row, 0), height - 1), min(max(column, 0), width - 1)]
            weight = fading(row, height) * fading(column, width)
            crop[:, i, j] = background + (pixel - background) * weight
    return crop


@given(gain=st.floats(1e-3, 1e3), offset=st.floats(-2000, 2000), seed=st.integers(0, 50))
@settings(max_examples=40, deadline=None)
def test_gain_and_offset_of_the_camera_drop_out(gain, offset, seed):
    crops = raw_crops(seed=seed, n_channels=2)
    # float32 keeps seven digits; what an offset swallows isn't ours to bring back
    tolerance = 1e-5 + 1e-6 * abs(offset) / (gain * 50)
    if tolerance > 1e-2:
        return
    before, after = normalise(crops), normalise(crops * np.float64(gain) + offset)
    np.testing.assert_allclose(after.x, before.x, atol=tolerance)
    np.testing.assert_allclose(after.sharpness, before.sharpness, atol=2 * tolerance)


@pytest.mark.parametrize(("gain", "offset"), [(7.3, 0), (0.01, 0), (1, 5000), (40, -350), (0.5, 1234.5)])
def test_gain_and_offset_do_not_move_the_score(tiny_bundle, random_bundle, gain, offset):
    image = 100 * simulate_scene(np.random.default_rng(3), shape=(150, 150)).image
    y, x = np.array([3.0, 40, 75, 149]), np.array([10.0, 148, 80, 149])
    raw = [normalise(crop_frame(frame[None], y, x, 1.2)) for frame in (image, image * gain + offset)]
    for bundle in (tiny_bundle, random_bundle()):
        for head in HEADS:
            classifier = Classifier(bundle, head)
            before, after = (classifier(patches).score for patches in raw)
            spread = max(np.ptp(before), 1e-6)
            np.testing.assert_allclose(after, before, atol=2e-3 * spread, err_msg=f"{bundle.info.name} {head}")


@given(seed=st.integers(0, 1000), n_channels=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_normalise_twice_is_normalise(seed, n_channels):
    once = normalise(raw_crops(2, n_channels, seed)).x
    np.testing.assert_allclose(normalise(once).x, once, atol=1e-6)


def test_percentiles_become_0_and_1():
    ramp = np.random.default_rng(0).permutation(4096).astype(np.float32).reshape(1, 1, 64, 64)
    patches = normalise(ramp)
    low, high = round(4095 * 0.01), round(4095 * 0.998)
    np.testing.assert_allclose(patches.x, np.clip((ramp - low) / (high - low), 0, 1), atol=1e-6)
    assert patches.background[0] == low
    assert patches.signal[0] == high - low
    assert patches.top_share[0] == np.float32(1 / 4096)
    assert patches.x.dtype == np.float32


def slow_statistics(crop: np.ndarray) -> list[float]:
    """Background, signal, top_share, sharpness and contrast of one crop, (64, 64): the reference."""
    ordered = np.sort(crop, axis=None)
    low, high = ordered[round(4095 * 0.01)], ordered[round(4095 * 0.998)]
    x = np.clip((crop - low) / np.where(high > low, high - low, np.inf), 0, 1)
    fine, coarse = (x.reshape(64 // n, n, 64 // n, n).mean(axis=(1, 3)) for n in (2, 8))
    steepest = max(np.abs(np.diff(fine, axis=axis)).max() for axis in (0, 1))
    return [low, high - low, np.mean(crop == ordered[-1]), steepest, np.ptp(coarse)]


@given(
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(["few levels", "gradient", "striped", "mostly black", "mostly saturated", "negative", "tiny"]),
)
@settings(max_examples=80, deadline=None)
def test_statistics_are_exact_whatever_the_pixels_look_like(seed, kind):
    rng = np.random.default_rng(seed)
    noise, ticks = rng.gamma(2, 50, (64, 64)), np.arange(64)
    crop = {
        "few levels": np.round(noise / 60),
        "gradient": noise + 40 * ticks,
        "striped": np.where(ticks % 2, noise, 1000 - noise),
        "mostly black": np.maximum(noise - 250, 0),
        "mostly saturated": np.minimum(noise, 30),
        "negative": -noise,
        "tiny": noise * 1e-20,
    }[kind].astype(np.float32)
    patches = normalise(crop[None, None])
    names = ("background", "signal", "top_share", "sharpness", "contrast")
    measured = [float(getattr(patches, name)[0]) for name in names]
    np.testing.assert_allclose(measured, slow_statistics(crop), rtol=2e-5, atol=2e-6 * (kind != "tiny"))


def test_each_channel_has_its_own_scale_and_the_first_is_measured():
    crops = raw_crops(2, 2)
    both, first, second = normalise(crops), normalise(crops[:, :1]), normalise(crops[:, 1:])
    np.testing.assert_array_equal(both.x[:, 0], first.x[:, 0])
    np.testing.assert_array_equal(both.x[:, 1], second.x[:, 0])
    for name in ("background", "signal", "top_share", "sharpness"):
        np.testing.assert_array_equal(getattr(both, name), getattr(first, name))


@pytest.mark.parametrize("value", [0, 7, -3.5, 65535, 1e6])
def test_a_constant_crop_becomes_zeros(value):
    patches = normalise(np.full((1, 1, 64, 64), value))
    assert not patches.x.any()
    assert patches.is_finite.all()
    assert patches.top_share[0] == 1
    assert patches.sharpness[0] == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_crops_that_are_not_numbers_are_zeros_and_leave_the_others_alone(bad):
    crops = raw_crops(3).astype(np.float64)
    crops[1, 0, 5, 5] = bad
    patches = normalise(crops)
    assert patches.is_finite.tolist() == [True, False, True]
    assert not patches.x[1].any()
    np.testing.assert_array_equal(patches.x[[0, 2]], normalise(raw_crops(3)).x[[0, 2]])


def test_sharpness_of_a_step_and_of_a_ramp():
    step, ramp = np.zeros((64, 64)), np.tile(np.arange(64.0), (64, 1))
    step[:, 32:] = 1
    sharpness = normalise(np.stack([step, ramp])[:, None]).sharpness
    assert sharpness[0] == 1
    assert sharpness[1] == pytest.approx(2 / 63, rel=0.05)


def test_slices_and_concatenation_keep_rows_together():
    patches = normalise(raw_crops(5))
    parts = Patches.concatenate([patches[:2], patches[np.array([False, False, True, True, True])]])
    assert len(parts) == 5
    for name in ("x", "background", "signal", "top_share", "sharpness", "is_finite"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(patches, name))


@pytest.mark.parametrize("n_channels", [1, 2])
def test_crops_are_those_of_a_slow_reference(n_channels):
    rng = np.random.default_rng(1)
    planes = rng.integers(0, 4000, (n_channels, 70, 90)).astype(np.uint16)
    y = np.concatenate([rng.uniform(-0.5, 69.5, 12), [0, 69, 35, 34.5, -0.5]])
    x = np.concatenate([rng.uniform(-0.5, 89.5, 12), [89, 0, 45, 44.5, 89.49]])
    crops = crop_frame(planes, y, x, 1.0)
    assert crops.shape == (17, n_channels, 64, 64)
    assert crops.dtype == np.float32
    for crop, yi, xi in zip(crops, y, x, strict=True):
        np.testing.assert_allclose(crop, slow_crop(planes, yi, xi), rtol=1e-5, atol=0.01, err_msg=f"at {yi}, {xi}")


@pytest.mark.parametrize("shift", [1, 2, 7])
def test_crops_move_with_the_image(shift):
    planes = np.random.default_rng(2).integers(0, 4000, (1, 150, 150)).astype(np.float32)
    y, x = np.array([60.0, 61.5, 70.25]), np.array([60.0, 71.5, 65.75])
    here = crop_frame(planes, y, x, 1.0)
    there = crop_frame(np.roll(planes, (shift, shift), axis=(1, 2)), y + shift, x + shift, 1.0)
    np.testing.assert_array_equal(there, here)


@pytest.mark.parametrize("zoom", [0.5, 1.0, 2.0])
def test_a_bright_pixel_lands_where_the_formula_says(zoom):
    planes, where, centre = np.zeros((2, 140, 140), np.float32), [(71, 66), (75, 60)], (68.3, 70.6)
    planes[0][where[0]], planes[1][where[1]] = 1000, 500
    crop = crop_frame(planes, *([c] for c in centre), zoom)[0]
    for spots, pixel in zip(crop, where, strict=True):
        assert middle(spots) == pytest.approx(expected_place(pixel, centre, (zoom, zoom)), abs=1e-3)


@pytest.mark.parametrize("zoom", [0.44, 0.73, 1.37, 2.9])
def test_a_spot_lands_right_where_sides_are_rounded(zoom):
    shape, where, centre = (141, 173), (70.25, 80.75), (68.3, 82.6)
    ticks = np.ogrid[: shape[0], : shape[1]]
    planes = np.exp(-sum((t - p) ** 2 for t, p in zip(ticks, where, strict=True)) / (2 * (2 / min(zoom, 1)) ** 2))
    crop = crop_frame(planes[None], [centre[0]], [centre[1]], zoom)[0, 0]
    ratios = [round(side * zoom) / side for side in shape]
    assert middle(crop) == pytest.approx(expected_place(where, centre, ratios), abs=0.03)


def middle(spots: np.ndarray) -> tuple[float, float]:
    return tuple(spots.sum(axis=1 - axis) @ np.arange(64) / spots.sum() for axis in (0, 1))


def expected_place(pixel, centre, ratios) -> list[float]:
    """Place in the crop: scaled as `resample` says, less the window's first row and column."""
    starts = [np.floor((c + 0.5) * r + 0.5) - 32 for c, r in zip(centre, ratios, strict=True)]
    return [(p + 0.5) * r - 0.5 - s for p, r, s in zip(pixel, ratios, starts, strict=True)]


def test_edge_nuclei_are_kept_and_go_on_beyond_the_edge():
    planes = np.full((2, 100, 100), 20, np.float32)
    planes[1] = 7
    planes[:, :10, :10] = 500
    crops = crop_frame(planes, [0, 99, 99], [0, 99, 0], 1.0)
    assert len(crops) == 3
    for channel, background in enumerate((20, 7)):
        crop = crops[0, channel]
        row, column = np.argwhere(crop == crop.max()).min(axis=0)
        assert (crop[row : row + 18, column : column + 18] == 500).all(), "10 px inside and 8 px beyond"
        assert crop[0, 0] == background, "faded where the margin ends"
        assert (crops[1, channel] == background).all()


def test_frames_smaller_than_the_border():
    planes = np.random.default_rng(0).integers(0, 99, (1, 9, 13)).astype(np.float32)
    for y, x in [(0, 0), (4, 6), (8, 12)]:
        np.testing.assert_allclose(crop_frame(planes, [y], [x], 1.0)[0], slow_crop(planes, y, x), rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float16, np.float64])
def test_every_type_of_pixel_gives_the_same_crops(dtype):
    planes = np.random.default_rng(0).integers(0, 200, (1, 90, 90))
    np.testing.assert_array_equal(
        crop_frame(planes.astype(dtype), [40], [50], 0.8), crop_frame(planes.astype(np.float32), [40], [50], 0.8)
    )


@pytest.mark.parametrize("zoom", [0.4, 0.5, 0.8, 1.25, 2, 3])
def test_resampling_keeps_a_flat_image_flat_and_a_ramp_a_ramp(zoom):
    side = 120
    ramp = np.tile(np.arange(side, dtype=np.float32), (side, 1))
    flat, scaled = resample(np.stack([np.full_like(ramp, 7), ramp]), zoom)
    np.testing.assert_allclose(flat, 7, rtol=1e-6)
    n = scaled.shape[1]
    assert scaled.shape == (round(side * zoom),) * 2
    inner = slice(n // 4, 3 * n // 4)
    np.testing.assert_allclose(scaled[5, inner], ((np.arange(n) + 0.5) * side / n - 0.5)[inner], atol=0.1)


def test_a_difference_of_scale_below_a_percent_is_left_alone():
    planes = np.random.default_rng(0).random((1, 50, 60), np.float32)
    assert resample(planes, 1.009).shape == (1, 50, 60)
    assert resample(planes, 1.02).shape == (1, 51, 61)


@pytest.mark.parametrize("zoom", [0.5, 1.0, 2.0])
def test_read_only_pixels_will_do(zoom):
    planes = np.random.default_rng(0).random((1, 80, 80), np.float32)
    planes.flags.writeable = False
    assert crop_frame(planes, [40], [40], zoom).shape == (1, 1, 64, 64)
    assert len(patches_from_images(planes, zoom)) == 1


@pytest.mark.parametrize(("height", "width"), [(64, 64), (20, 31), (101, 90), (20, 100), (65, 63)])
def test_images_are_cropped_or_padded_around_their_middle(height, width):
    rng = np.random.default_rng(0)
    images = np.full((2, height, width), 9, np.float32)
    inner = (slice(4, height - 4), slice(4, width - 4))
    images[0][inner] = rng.uniform(50, 99, (height - 8, width - 8))
    images[1][inner] = rng.uniform(50, 99, (height - 8, width - 8))
    expected = np.full((2, 64, 64), 9, np.float32)
    rows, columns = (
        np.arange(64) - 31 + (side - 1) // 2 if side % 2 else np.arange(64) - 32 + side // 2 for side in (height, width)
    )
    y, x = np.flatnonzero((rows >= 0) & (rows < height)), np.flatnonzero((columns >= 0) & (columns < width))
    expected[:, y[:, None], x] = images[:, rows[y][:, None], columns[x]]
    np.testing.assert_array_equal(patches_from_images(images, 1.0).x, normalise(expected[:, None]).x)


def test_a_neighbour_at_the_border_does_not_count_as_background():
    image = np.full((1, 30, 30), 9, np.float32)
    image[0, 10:20, 10:20] = 100
    image[0, :, 25:] = 60
    patch = patches_from_images(image, 1.0).x[0, 0]
    assert (patch[:17] == 0).all()


def test_channels_and_scale_of_images():
    images = raw_crops(3, 2)[:, :, 16:48, 16:48]
    patches = patches_from_images(images, 2.0)
    assert patches.x.shape == (3, 2, 64, 64)
    for channel in range(2):
        alone = patches_from_images(images[:, channel], 2.0)
        np.testing.assert_array_equal(patches.x[:, channel], alone.x[:, 0])
    np.testing.assert_array_equal(patches_from_images(images[:, 0], 1.0).x, patches_from_images(images[:, :1], 1.0).x)


def test_patches_stay_as_they_are():
    x = normalise(raw_crops(3, 2)).x
    np.testing.assert_allclose(patches_from_images(x, 1.0).x, x, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("zoom", [0.7, 1.0, 2.0])
def test_images_with_pixels_that_are_not_numbers(bad, zoom):
    images = raw_crops(2)[:, 0, 10:50, 10:50]
    images[0, 0, 20] = bad
    images[0, 20, 20] = bad
    patches = patches_from_images(images, zoom)
    assert patches.is_finite.tolist() == [False, True]
    assert not patches.x[0].any()


@pytest.mark.parametrize("shape", [(0, 64, 64), (0, 2, 20, 20)])
def test_no_images_give_no_patches(shape):
    n_channels = shape[1] if len(shape) == 4 else 1
    assert patches_from_images(np.empty(shape), 1.0).x.shape == (0, n_channels, 64, 64)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.zeros((64, 64)), r"float64 \(64, 64\)"),
        (np.zeros((2, 1, 1, 64, 64)), r"\(2, 1, 1, 64, 64\)"),
        (np.zeros(3), r"\(3,\)"),
        (np.zeros((2, 0, 64)), r"\(2, 0, 64\)"),
        (np.zeros((2, 64, 64), bool), "bool"),
        (np.zeros((2, 64, 64), complex), "complex128"),
        (np.full((2, 8, 8), "a"), "U1"),
    ],
)
def test_what_is_no_stack_of_images_is_an_error_that_says_so(images, said):
    with pytest.raises(PatchesError, match=said) as caught:
        patches_from_images(images, 1.0)
    assert caught.value.advice


@pytest.mark.parametrize("shape", [(1, 20, 1), (1, 1, 20), (1, 1, 1)])
def test_turned_images_one_pixel_wide_are_resampled(shape):
    image = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    for turned in (image[:, ::-1], image[:, :, ::-1], image[:, ::-1, ::-1]):
        np.testing.assert_array_equal(resample(turned, 1.5), resample(turned.copy(), 1.5))
