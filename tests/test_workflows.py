"""The main job end to end: whatever the nuclei come from, and whatever is odd about the movie."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from napari_cellinterp import workflows
from napari_cellinterp.config import ClassifyConfig
from napari_cellinterp.errors import BundleError, MovieError, NucleiError, OptionError, TracksError
from napari_cellinterp.events import FrameClassified, FrameSearched, ScaleChosen, TracksLinked, Warned, finish
from napari_cellinterp.movies import crops as crops_module
from napari_cellinterp.movies.patches import crop_frame
from napari_cellinterp.movies.stack import movie_from_array
from napari_cellinterp.movies.synthetic import Culture, Optics, compose, draw_factors, expose
from napari_cellinterp.movies.track_table import TrackTable
from napari_cellinterp.movies.tracks import write_tracks
from napari_cellinterp.workflows import classify_movie, classify_movie_job, classify_patches, export_patches_job

SIDE, SPACING, N_FRAMES = 260, 52, 3


@dataclass(frozen=True)
class Simulated:
    """A movie of 25 nuclei on a grid, two pixels a frame to the right, every fifth of them a plate."""

    image: np.ndarray
    labels: np.ndarray
    tracks: TrackTable


@pytest.fixture(scope="module")
def simulated() -> Simulated:
    rng = np.random.default_rng(4)
    culture = Culture(
        diameter_px=29, diameter_sd=0.05, brightness_sd=0.15, elongation=1.2, texture=0.12, lobes=0.02, density=0.3,
        condensation=2, plate_scale=1,
    )  # fmt: skip
    optics = Optics(
        blur_px=1, haze=0, background=0.2, gradient=0.1, photons=300, read_noise=0.02, resampled_blur_px=0,
        saturation=np.inf,
    )  # fmt: skip
    factors = draw_factors(np.where(np.arange(25) % 5 == 2, 2, 0), culture, rng)
    grid = 26.0 + SPACING * np.arange(5)
    y, x = (axis.ravel() + rng.uniform(-3, 3, 25) for axis in np.meshgrid(grid, grid, indexing="ij"))
    frames = [compose(factors.at(y, x + 2 * t), (SIDE, SIDE), 1.0) for t in range(N_FRAMES)]
    image = np.stack([expose(signal, optics, 1.0, rng) for signal, _ in frames])
    labels = np.stack([mask for _, mask in frames])
    rows = pd.concat(
        [pd.DataFrame({"track_id": np.arange(1, 26), "frame": t, "y": y, "x": x + 2 * t}) for t in range(3)]
    )
    return Simulated((1000 * image).astype(np.uint16), labels.astype(np.uint16), TrackTable.from_rows(rows))


@pytest.fixture(scope="module")
def bundle(random_bundle):
    return random_bundle()


def config(head="dense", **settings) -> ClassifyConfig:
    return ClassifyConfig(head=head, **settings)


def warned(result) -> dict[str, int]:
    return {kind: n for kind, n in result.warnings.items() if kind != "notes"}


def test_nuclei_are_found_linked_and_classified(simulated, bundle):
    events = []
    result = classify_movie(simulated.image, config(), bundle=bundle, progress=events.append)
    rows = result.rows
    assert len(result) == 75
    assert rows.groupby("frame").size().tolist() == [25, 25, 25]
    assert rows["track_id"].nunique() == 25
    assert (rows.groupby("track_id").size() == 3).all()
    assert set(rows["state"]) <= set(bundle.info.classes)
    assert np.isfinite(rows[["score", "probability", "novelty"]]).all(axis=None)
    np.testing.assert_array_equal(rows["state"] == "metaphase", rows["score"] >= 0)
    assert [e.done for e in events if isinstance(e, FrameSearched)] == [1, 2, 3]
    assert [e.n_nuclei for e in events if isinstance(e, FrameSearched)] == [25, 25, 25]
    assert [e.n_tracks for e in events if isinstance(e, TracksLinked)] == [25]
    assert [e.zoom for e in events if isinstance(e, ScaleChosen)] == [result.zoom]
    assert sum(e.n_nuclei for e in events if isinstance(e, FrameClassified)) == 75
    assert result.zoom == pytest.approx(1, abs=0.25)
    assert (result.bundle_name, result.head, result.classes) == ("random", "dense", ("interphase", "metaphase"))


def test_positions_are_those_of_the_nuclei_and_masks_lie_under_them(simulated, bundle):
    result = classify_movie(simulated.image, config(), bundle=bundle)
    true = simulated.tracks.rows
    for t in range(N_FRAMES):
        rows, at = result.rows[result.rows["frame"] == t], true[true["frame"] == t]
        distance = np.hypot(*(rows[a].to_numpy()[:, None] - at[a].to_numpy() for a in "yx"))
        assert (distance.min(axis=1) < 3).all()
        masks = result.masks.frame(t)
        under = masks[rows["y"].round().astype(int), rows["x"].round().astype(int)]
        np.testing.assert_array_equal(under, rows["label"])
        painted = result.paint(t)
        np.testing.assert_array_equal(painted > 0, masks > 0)
        assert painted[int(rows["y"].iloc[0]), int(rows["x"].iloc[0])] == 1 + (rows["score"].iloc[0] >= 0)


def test_labels_are_linked_anew_unless_they_are_tracks(simulated, bundle):
    shuffled = simulated.labels.copy()
    for t in range(1, N_FRAMES):
        ids = np.concatenate([[0], 1 + np.random.default_rng(t).permutation(25)])
        shuffled[t] = ids[simulated.labels[t]]
    anew = classify_movie(simulated.image, config(), labels=shuffled, bundle=bundle)
    kept = classify_movie(simulated.image, config(labels_are_tracks=True), labels=shuffled, bundle=bundle)
    keys = ["frame", "label"]
    anew_rows, kept_rows = (r.rows.sort_values(keys, ignore_index=True) for r in (anew, kept))
    columns = [*keys, "y", "x", "score", "state", "probability", "novelty", "flag"]
    pd.testing.assert_frame_equal(anew_rows[columns], kept_rows[columns], atol=1e-5, rtol=1e-5)
    np.testing.assert_array_equal(kept_rows["track_id"], kept_rows["label"])
    step = anew_rows.sort_values(["track_id", "frame"]).groupby("track_id")["x"].diff().dropna()
    assert len(step) == 50
    assert (step.abs() < 6).all()


def test_labels_from_a_file_are_as_good(simulated, bundle, tmp_path):
    tifffile.imwrite(tmp_path / "movie.tif", simulated.image, photometric="minisblack", metadata={"axes": "TYX"})
    tifffile.imwrite(tmp_path / "labels.tif", simulated.labels, photometric="minisblack", metadata={"axes": "TYX"})
    by_file = classify_movie(tmp_path / "movie.tif", config(), labels=tmp_path / "labels.tif", bundle=bundle)
    by_array = classify_movie(simulated.image, config(), labels=simulated.labels, bundle=bundle)
    pd.testing.assert_frame_equal(by_file.rows, by_array.rows)


def test_tracks_keep_their_ids_and_take_the_nucleus_under_them(simulated, bundle, tmp_path):
    rows = simulated.tracks.rows.assign(track_id=lambda r: 10 * r["track_id"])
    tracks = TrackTable.from_rows(rows.assign(parent_track_id=np.where(rows["track_id"] == 20, 10, 0)))
    write_tracks(tracks, tmp_path / "tracks.csv")
    for given in (tracks, tmp_path / "tracks.csv"):
        result = classify_movie(simulated.image, config(), tracks=given, bundle=bundle)
        pd.testing.assert_frame_equal(result.rows[["track_id", "frame"]], tracks.rows[["track_id", "frame"]])
        np.testing.assert_allclose(result.rows[["y", "x"]], tracks.rows[["y", "x"]])
        assert set(result.rows.loc[result.rows["track_id"] == 20, "parent_track_id"]) == {10}
        assert (result.rows["label"] > 0).all()
        assert not result.rows.duplicated(["frame", "label"]).any()
    found = classify_movie(simulated.image, config(), bundle=bundle)
    for t in range(N_FRAMES):
        np.testing.assert_array_equal(result.masks.frame(t) > 0, found.masks.frame(t) > 0)


def test_points_get_the_given_mask_under_them_or_a_disk(simulated, bundle):
    on_nuclei = simulated.tracks.rows[["frame", "y", "x"]].to_numpy()[:10]
    beside = [[1, 52.0, 52.0]]
    tracks = TrackTable.from_points(np.concatenate([on_nuclei, beside]))
    result = classify_movie(simulated.image, config(), tracks=tracks, labels=simulated.labels, bundle=bundle)
    assert len(result) == 11
    last = result.rows.iloc[-1]
    disk = result.masks.frame(1) == last["label"]
    assert disk.any()
    assert not (disk & (simulated.labels[1] > 0)).any()
    assert result.paint(1)[52, 52] == 1 + (last["score"] >= 0)
    for row in result.rows.iloc[:10].itertuples():
        np.testing.assert_array_equal(result.masks.frame(0) == row.label, simulated.labels[0] == row.label)


def test_points_outside_the_image_are_left_out_and_counted(simulated, bundle):
    points = [[0, 26, 26], [1, -8, 20], [2, 30, 1000], [2, 78, 78]]
    result = classify_movie(simulated.image, config(), tracks=TrackTable.from_points(points), bundle=bundle)
    assert len(result) == 2
    assert result.warnings["points_outside"] == 2


def scaled_config(**settings) -> ClassifyConfig:
    return config(scale={"nucleus_diameter_px": 29}, **settings)


@pytest.mark.parametrize("head", ["cnn", "dense", "sparse", "symbolic"])
def test_crops_of_the_nuclei_have_the_scores_of_the_movie(simulated, bundle, head):
    settings = scaled_config(head=head, reconstruct=True)
    result = classify_movie(simulated.image, settings, labels=simulated.labels, bundle=bundle)
    crops = [
        crop_frame(simulated.image[t][None], rows["y"], rows["x"], 1.0) for t, rows in result.rows.groupby("frame")
    ]
    table = classify_patches(np.concatenate(crops), config(head=head, reconstruct=True), bundle=bundle)
    assert table["index"].tolist() == list(range(75))
    for name in ("score", "probability", "novelty", "reconstruction_error"):
        np.testing.assert_allclose(table[name], result.rows[name], rtol=1e-5, atol=1e-5)
    for name in ("state", "flag", "is_novel"):
        assert table[name].tolist() == result.rows[name].tolist()


def test_exported_patches_have_the_scores_of_the_movie(simulated, bundle, tmp_path):
    movie = movie_from_array(simulated.image)
    result = classify_movie(movie, config(), bundle=bundle)
    some = np.array([70, 3, 40])
    path = finish(export_patches_job(movie, result, some, tmp_path / "patches.npz", range(1)))
    with np.load(path) as archive:
        x, track_id, frame = (archive[name] for name in ("x", "track_id", "frame"))
    table = classify_patches(crops_module.read_crops(path), config(), bundle=bundle)
    assert x.shape == (3, 1, 64, 64)
    rows = result.rows.set_index(["track_id", "frame"]).loc[list(zip(track_id, frame, strict=True))]
    np.testing.assert_allclose(table["score"], rows["score"], rtol=1e-5, atol=1e-5)
    assert sorted(zip(track_id, frame, strict=True)) == sorted(
        zip(result.rows["track_id"].iloc[some], result.rows["frame"].iloc[some], strict=True)
    )
    with pytest.raises(NucleiError, match="no nuclei to save"):
        finish(export_patches_job(movie, result, [], tmp_path / "none.npz", range(1)))


def test_blocks_smaller_than_a_frame_give_the_same_scores(simulated, bundle, monkeypatch):
    whole = classify_movie(simulated.image, config(), labels=simulated.labels, bundle=bundle)
    monkeypatch.setattr(crops_module, "BLOCK", 7)
    monkeypatch.setattr(workflows, "BLOCK", 7)
    pieces = classify_movie(simulated.image, config(), labels=simulated.labels, bundle=bundle)
    pd.testing.assert_frame_equal(pieces.rows, whole.rows, atol=1e-5, rtol=1e-5)
    crops = np.random.default_rng(0).gamma(2, 9, (16, 40, 50))
    table = classify_patches(crops, config(), bundle=bundle)
    alone = pd.concat([classify_patches(crop[None], config(), bundle=bundle) for crop in crops])
    np.testing.assert_allclose(table["score"], alone["score"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("gain", "offset"), [(3, 0), (1, 900), (0.37, 50)])
def test_gain_and_offset_of_the_camera_change_no_score(simulated, bundle, gain, offset):
    other = simulated.image.astype(np.float32) * gain + offset
    one, two = (
        classify_movie(i, config(), labels=simulated.labels, bundle=bundle).rows for i in (simulated.image, other)
    )
    np.testing.assert_allclose(two["score"], one["score"], atol=1e-3 * np.ptp(one["score"]))


@pytest.mark.parametrize("zoom", [0.5, 2.0])
def test_scores_follow_the_scale(simulated, bundle, zoom):
    """A movie taken at another magnification gives nearly the same scores."""
    from napari_cellinterp.movies.patches import resample

    image = resample(simulated.image, zoom)
    rows = simulated.tracks.rows
    moved = TrackTable.from_rows(rows.assign(y=(rows["y"] + 0.5) * zoom - 0.5, x=(rows["x"] + 0.5) * zoom - 0.5))
    one = classify_movie(simulated.image, scaled_config(), tracks=simulated.tracks, bundle=bundle)
    settings = config(scale={"nucleus_diameter_px": 29 * zoom})
    two = classify_movie(image, settings, tracks=moved, bundle=bundle)
    assert two.zoom == pytest.approx(1 / zoom)
    assert np.corrcoef(one.rows["score"], two.rows["score"])[0, 1] > 0.9


def test_frames_that_are_odd_are_counted_and_the_job_goes_on(simulated, bundle):
    noise = np.random.default_rng(0).normal(200, 5, simulated.image[:1].shape)
    blank = np.full_like(simulated.image[:2], 300)
    image = np.concatenate([simulated.image[:1], blank, noise, simulated.image[1:]])
    result = classify_movie(image, config(), bundle=bundle)
    assert result.rows.groupby("frame").size().to_dict() == {0: 25, 4: 25, 5: 25}
    assert warned(result)["blank_frames"] == 2
    assert warned(result)["frames_without_nuclei"] == 1
    assert not result.paint(2).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_pixels_that_are_not_numbers_leave_states_empty(simulated, bundle, bad):
    image = simulated.image.astype(np.float32)
    y, x = simulated.tracks.rows.loc[12, ["y", "x"]].astype(int)
    image[0, y, x] = bad
    result = classify_movie(image, config(), labels=simulated.labels, bundle=bundle)
    spoilt = result.rows["flag"] == "not_finite"
    near = (result.rows["frame"] == 0) & (np.hypot(result.rows["y"] - y, result.rows["x"] - x) < 20)
    assert spoilt[near].all()
    assert result.warnings["not_finite_crops"] == spoilt.sum() < 12
    assert (result.rows.loc[spoilt, "state"] == "").all()
    assert result.rows.loc[spoilt, "is_novel"].all()
    assert result.rows.loc[spoilt, "score"].isna().all()
    assert (result.rows.loc[~spoilt, "state"] != "").all()
    assert result.counts()["undefined"] == spoilt.sum()
    assert not result.paint(0)[simulated.labels[0] == result.rows.loc[near, "label"].iloc[0]].any()


def test_what_cannot_be_classified_is_an_error_that_says_what_to_do(simulated, bundle):
    empty = np.zeros((2, 100, 100), np.uint16)
    noise = np.random.default_rng(0).normal(100, 5, (2, 100, 100))
    one_point = TrackTable.from_points([[0, 50, 50]])
    later = TrackTable.from_points([[3, 50, 50]])
    far = TrackTable.from_points([[0, 5000, 50]])
    no_points = TrackTable.from_rows(pd.DataFrame(columns=["track_id", "frame", "y", "x"]))
    cases = [
        (NucleiError, "No nuclei were found in any of the 2 frames", {"movie": empty}),
        (NucleiError, "No nuclei were found", {"movie": noise}),
        (NucleiError, "all of it is 0", {"movie": simulated.image, "labels": np.zeros_like(simulated.labels)}),
        (TracksError, "30 x 30|30, 30", {"movie": simulated.image, "labels": np.ones((3, 30, 30), int)}),
        (TracksError, "frame 3", {"movie": simulated.image, "tracks": later}),
        (TracksError, "outside", {"movie": simulated.image, "tracks": far}),
        (NucleiError, "no tracks or points", {"movie": simulated.image, "tracks": no_points}),
        (OptionError, "Nothing tells how large", {"movie": empty, "tracks": one_point}),
        (MovieError, "no channel 7", {"movie": simulated.image, "config": config(movie={"channel": 7})}),
    ]
    for kind, said, given in cases:
        with pytest.raises(kind, match=said) as caught:
            classify_movie(**({"config": config(), "bundle": bundle} | given))
        assert caught.value.advice, said


def test_a_model_or_head_that_is_not_there(simulated, bundle):
    with pytest.raises(BundleError, match="no model named 'nonesuch'"):
        classify_movie(simulated.image, config(model="nonesuch"))
    with pytest.raises(BundleError, match="no model named 'nonesuch'"):
        classify_patches(np.zeros((1, 64, 64)), config(model="nonesuch"))


def test_the_model_of_the_config_is_used(simulated, tiny_bundle_path, tiny_bundle):
    settings = config(model=str(tiny_bundle_path))
    by_name = classify_movie(simulated.image, settings, labels=simulated.labels)
    by_hand = classify_movie(simulated.image, config(), labels=simulated.labels, bundle=tiny_bundle)
    pd.testing.assert_frame_equal(by_name.rows, by_hand.rows)
    assert by_name.bundle_hash == tiny_bundle.hash
    assert len(by_name.bundle_hash) == 64


@pytest.mark.parametrize("head", ["cnn", "sparse"])
def test_two_channels_from_the_movie_to_the_scores(simulated, random_bundle, head):
    bundle = random_bundle(2)
    second = np.roll(simulated.image, 5, axis=1) // 2 + 40
    movie = np.stack([np.zeros_like(second), simulated.image, second], axis=1)
    settings = scaled_config(head=head, movie={"channel": 1})
    result = classify_movie(movie, settings, labels=simulated.labels, bundle=bundle)
    crops = [crop_frame(movie[t, 1:], rows["y"], rows["x"], 1.0) for t, rows in result.rows.groupby("frame")]
    table = classify_patches(np.concatenate(crops), config(head=head), bundle=bundle)
    np.testing.assert_allclose(result.rows["score"], table["score"], rtol=1e-5, atol=1e-5)
    other = movie.copy()
    other[:, 2] = simulated.image[:, ::-1]
    changed = classify_movie(other, settings, labels=simulated.labels, bundle=bundle)
    assert not np.allclose(changed.rows["score"], result.rows["score"], atol=1e-3)
    with pytest.raises(MovieError, match="no channel 3"):
        classify_movie(movie, config(movie={"channel": 2}), labels=simulated.labels, bundle=bundle)


def test_several_classes_have_a_score_each(simulated, random_bundle):
    classes = ("interphase", "metaphase", "anaphase")
    result = classify_movie(simulated.image, config(), labels=simulated.labels, bundle=random_bundle(1, classes))
    scores = result.rows[[f"score_{name}" for name in classes]].to_numpy()
    np.testing.assert_array_equal(result.rows["state"], np.array(classes)[scores.argmax(axis=1)])
    np.testing.assert_array_equal(result.rows["score"], scores.max(axis=1))
    assert sum(result.counts().values()) == 75


@pytest.mark.parametrize("kind", [FrameSearched, TracksLinked, ScaleChosen, FrameClassified])
def test_a_job_that_is_closed_half_way_leaves_no_thread(simulated, bundle, monkeypatch, kind):
    monkeypatch.setattr(crops_module, "BLOCK", 10)
    before = set(threading.enumerate())
    with closing(classify_movie_job(simulated.image, config(), bundle=bundle)) as job:
        for event in job:
            if isinstance(event, kind):
                break
    assert set(threading.enumerate()) <= before


def test_an_error_while_cropping_ends_the_job_and_its_thread(simulated, bundle, monkeypatch):
    monkeypatch.setattr(crops_module, "ScaledFrame", lambda planes, zoom: 1 / 0)
    before = set(threading.enumerate())
    with pytest.raises(ZeroDivisionError):
        classify_movie(simulated.image, config(), bundle=bundle)
    assert set(threading.enumerate()) <= before


def test_notes_of_the_movie_are_passed_on(simulated, bundle, tmp_path):
    tifffile.imwrite(tmp_path / "movie.tif", simulated.image, photometric="minisblack")
    events = []
    result = classify_movie(tmp_path / "movie.tif", config(), bundle=bundle, progress=events.append)
    notes = [e for e in events if isinstance(e, Warned) and e.kind == "notes"]
    assert len(notes) == result.warnings["notes"] == 1
    assert "time" in notes[0].message


def test_a_still_image_is_a_movie_of_one_frame(simulated, bundle):
    result = classify_movie(simulated.image[0], config(), bundle=bundle)
    assert len(result) == result.rows["track_id"].nunique() == 25
    assert result.n_frames == 1


def test_no_crops_have_an_empty_table(bundle):
    table = classify_patches(np.empty((0, 64, 64)), config(), bundle=bundle)
    assert len(table) == 0
    assert list(table.columns)[:3] == ["index", "score", "state"]


def test_crops_of_another_scale(bundle):
    crops = gaussian_filter(np.random.default_rng(0).gamma(2, 9, (3, 64, 64)), (0, 4, 4))
    doubled = crops.repeat(2, axis=1).repeat(2, axis=2)
    here = classify_patches(crops, config(), bundle=bundle)
    there = classify_patches(doubled, config(scale={"nucleus_diameter_px": 58}), bundle=bundle)
    assert np.abs(there["score"] - here["score"]).max() < 0.1 * max(np.ptp(here["score"]), 0.1)
