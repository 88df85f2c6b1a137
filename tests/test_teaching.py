"""Training on one's own crops: every form of source, stages made once, clear errors, and a bundle that works."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_cellinterp.config import (
    ClassifyConfig,
    CnnConfig,
    HeadConfig,
    RiglConfig,
    ScaleConfig,
    SymbolicConfig,
    TrainingConfig,
    TuneConfig,
)
from napari_cellinterp.errors import BundleError, CellInterpError, OptionError, PatchesError, TracksError, TrainingError
from napari_cellinterp.events import Warned, finish
from napari_cellinterp.models.bundle import load_bundle
from napari_cellinterp.movies.shapes import ANAPHASE, INTERPHASE, METAPHASE
from napari_cellinterp.teaching import Lesson, read_config, train_job, tune_job
from napari_cellinterp.training.datasets import LabelledCrops, simulate_scene_crops, to_bytes
from napari_cellinterp.training.own_data import OwnCrops, prepared, read_source
from napari_cellinterp.workflows import classify_patches

SHORT = TrainingConfig(
    name="mine",
    dense=HeadConfig(n_epochs=4, batch=16),
    cnn=CnnConfig(n_epochs=2, batch=16),
    sparse=RiglConfig(n_epochs=10, warm_up_epochs=5, batch=16, update_interval_steps=5),
    symbolic=SymbolicConfig(engine="operon", n_generations=2, population=30, max_size=8, n_crops=60),
    n_runs=1,
    test_share=0.25,
    validation_share=0.25,
)


@pytest.fixture(scope="module")
def crops() -> LabelledCrops:
    states = {INTERPHASE: 0.5, METAPHASE: 0.3, ANAPHASE: 0.2}
    scenes = LabelledCrops.concatenate([simulate_scene_crops(seed, states) for seed in (21, 24)])
    return scenes.of_classes(("interphase", "metaphase", "anaphase")).balanced(30, 0)


@pytest.fixture(scope="module")
def npz(crops, tmp_path_factory):
    """Crops of 15 tracks a class, two crops each."""
    path = tmp_path_factory.mktemp("own") / "crops.npz"
    names = np.array(["interphase", "metaphase", "anaphase"])
    np.savez(path, x=crops.patches.x, y=names[crops.state], track_id=np.arange(len(crops)) // 2)
    return path


def read(path, **kwargs):
    return finish(read_source(path, kwargs.pop("config", ClassifyConfig()), **kwargs))


def test_an_npz_file_is_read_with_its_tracks(npz, crops):
    own = read(npz)
    np.testing.assert_allclose(own.patches.x, crops.patches.x, atol=1e-6)
    assert len(set(own.track)) == len(crops) / 2
    assert sorted(set(own.state)) == ["anaphase", "interphase", "metaphase"]


def test_crops_of_no_known_track_are_a_track_each_and_that_is_said(tmp_path):
    path, events = tmp_path / "crops.npz", []
    np.savez(path, x=np.random.default_rng(0).random((6, 40, 40)))
    own = finish(read_source(path, ClassifyConfig()), events.append)
    assert [event.kind for event in events if isinstance(event, Warned)] == ["no_tracks"]
    assert len(set(own.track)) == 6
    assert set(own.state) == {""}
    assert own.patches.x.shape == (6, 1, 64, 64)


def test_ready_crops_are_scaled_where_their_scale_is_given(tmp_path):
    path = tmp_path / "crops.npz"
    disk = np.hypot(*(np.mgrid[:40, :40] - 19.5)) < 7
    np.savez(path, x=np.stack([disk * 1.0] * 2), track_id=[0, 1])
    own = read(path, config=ClassifyConfig(scale=ScaleConfig(nucleus_diameter_px=14)))
    assert (own.patches.x > 0.5).sum(axis=(1, 2, 3)) == pytest.approx(np.pi * 14.5**2, rel=0.1)


def test_a_folder_of_folders_is_read(tmp_path, crops):
    for name, state in (("interphase", 0), ("metaphase", 1)):
        (tmp_path / name).mkdir()
        for i, image in enumerate(crops.patches.x[crops.state == state][:3]):
            tifffile.imwrite(tmp_path / name / f"{i}.tif", image[0])
    own = read(tmp_path)
    assert list(own.state) == ["interphase"] * 3 + ["metaphase"] * 3
    assert len(set(own.track)) == 6


def movie_with_states(folder) -> tuple[np.ndarray, pd.DataFrame]:
    """Write a movie of three still nuclei and a table with some states."""
    rows, columns = np.mgrid[:120, :120]
    spots = [(30, 30), (30, 85), (85, 60)]
    frame = sum(np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 90) for y, x in spots)
    tifffile.imwrite(
        folder / "movie.tif",
        (np.stack([frame] * 3) * 900 + 50).astype(np.uint16),
        imagej=True,
        metadata={"axes": "TYX"},
    )
    table = pd.DataFrame(
        [(i + 1, t, y, x, "metaphase" if i else "") for t in range(3) for i, (y, x) in enumerate(spots)],
        columns=["track_id", "frame", "y", "x", "state"],
    )
    table.to_csv(folder / "tracks.csv", index=False)
    return frame, table


def test_a_movie_with_tracks_and_states_is_read(tmp_path):
    _, table = movie_with_states(tmp_path)
    config = ClassifyConfig(scale=ScaleConfig(nucleus_diameter_px=20))
    own = read(tmp_path / "movie.tif", tracks=tmp_path / "tracks.csv", config=config)
    assert len(own.patches) == len(table)
    assert list(own.state).count("metaphase") == 6
    assert list(own.state).count("") == 3
    assert len(set(own.track)) == 3
    assert (own.patches.x[:, 0, 30:34, 30:34] > 0.8).all()
    assert np.abs(own.outline[:, 1:3]).max() < 0.4, "nuclei that are found are round"


def test_a_point_without_a_nucleus_teaches_no_shape(tmp_path):
    _, table = movie_with_states(tmp_path)
    table.loc[len(table)] = (4, 1, 105, 105, "metaphase")
    table.to_csv(tmp_path / "tracks.csv", index=False)
    config = ClassifyConfig(scale=ScaleConfig(nucleus_diameter_px=20))
    own = read(tmp_path / "movie.tif", tracks=tmp_path / "tracks.csv", config=config)
    is_empty = np.char.endswith(own.track, "|4")
    assert is_empty.sum() == 1
    np.testing.assert_array_equal(np.isnan(own.outline), np.repeat(is_empty[:, None], own.outline.shape[1], axis=1))


def test_results_of_classify_are_read_with_corrected_states(tmp_path, crops):
    table = pd.DataFrame({"track_id": [1, 1, 2], "frame": [0, 1, 1], "state": ["interphase", "metaphase", ""]})
    table.to_csv(tmp_path / "nuclei.csv", index=False)
    np.savez(tmp_path / "patches.npz", x=crops.patches.x[:3], track_id=[2, 1, 1], frame=[1, 0, 1])
    own = read(tmp_path)
    assert list(own.state) == ["", "interphase", "metaphase"]
    assert own.track[1] == own.track[2] != own.track[0]
    np.testing.assert_allclose(own.patches.x, crops.patches.x[:3], atol=1e-6)


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        ({"y": ["a"] * 5}, PatchesError, r"y in .* has shape \(5,\), but there are 6 crops"),
        ({"track_id": np.zeros((6, 2))}, PatchesError, "track_id"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, arrays, error, message):
    path = tmp_path / "crops.npz"
    np.savez(path, x=np.zeros((6, 40, 40)), **arrays)
    with pytest.raises(error, match=message):
        read(path)


def test_sources_that_are_none_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(TrainingError, match="holds no folders"):
        read(tmp_path / "empty")
    with pytest.raises(TrainingError, match="neither an npz file nor a folder"):
        read(tmp_path / "notes.txt")
    movie_with_states(tmp_path)
    pd.DataFrame({"track_id": [1], "frame": [0], "y": [3], "x": [3]}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(TracksError, match="no column state"):
        read(tmp_path / "movie.tif", tracks=tmp_path / "t.csv")


def own_crops(counts: dict[str, int], crops_a_track: int = 1) -> OwnCrops:
    state = np.array([name for name, n in counts.items() for _ in range(n)])
    track = np.array([f"{name}{i // crops_a_track}" for name, n in counts.items() for i in range(n)])
    crops = simulate_scene_crops(34)[np.arange(len(state)) % 50]
    return OwnCrops(crops.patches, state, track, crops.outline)


def test_sets_share_no_track_and_unlabelled_crops_train_the_vae():
    own = own_crops({"metaphase": 60, "interphase": 60, "": 40}, crops_a_track=3)
    data = prepared(own, None, SHORT)
    assert data.classes == ("interphase", "metaphase")
    tracks = [set(part.scene) for part in (data.train, data.validation, data.test)]
    assert sum(map(len, tracks)) == len(set().union(*tracks))
    assert sum(map(len, (data.train, data.validation, data.test))) == 120
    assert len(data.stream.images) > len(data.train) + len(data.validation), "the unlabelled ones too"
    assert len(data.stream.images) + len(data.test) <= len(own.patches)
    rows = [np.flatnonzero((own.outline == outline).all(axis=1))[0] for outline in data.stream.outline]
    np.testing.assert_array_equal(to_bytes(own.patches.x[rows]), data.stream.images)


@pytest.mark.parametrize(
    ("counts", "classes", "message"),
    [
        ({"interphase": 50}, None, "All crops are of one class, 'interphase'"),
        ({"interphase": 50, "metaphase": 3}, None, r"There are \d crops of the class 'metaphase'"),
        ({"interphase": 50, "metaphase": 50}, ("interphase", "prophase"), "No crop is labelled 'prophase'"),
        ({"": 50}, None, "All crops are of one class, none"),
    ],
)
def test_classes_that_can_not_be_learned_are_named(counts, classes, message):
    with pytest.raises(TrainingError, match=message):
        prepared(own_crops(counts), classes, SHORT)


def test_crops_of_different_channels_are_not_mixed():
    one = own_crops({"a": 2})
    two = replace(one, patches=replace(one.patches, x=np.repeat(one.patches.x, 2, axis=1)))
    with pytest.raises(TrainingError, match="different numbers of channels: 1, 2"):
        OwnCrops.concatenate([one, two])


@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_settings_are_read_from_files(tmp_path, suffix):
    path = tmp_path / f"settings{suffix}"
    path.write_text(
        'name = "a"\n[sparse]\nsparsity = 0.96\n' if suffix == ".toml" else '{"sparse": {"sparsity": 0.96}}'
    )
    config = read_config(path, name="b", n_runs=None)
    assert config == TrainingConfig(name="b", sparse=RiglConfig(sparsity=0.96))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sparsity = 0.9", "sparsity in .*: Extra inputs are not permitted"),
        ("[sparse]\nsparsity = 1.5", r"sparse.sparsity in .* \(got 1.5\)"),
        ("[sparse\n", "can't be read"),
        ('name = "../x"', "name in .*pattern"),
    ],
)
def test_bad_settings_are_named(tmp_path, text, message):
    path = tmp_path / "settings.toml"
    path.write_text(text)
    with pytest.raises(OptionError, match=message):
        read_config(path)


@given(text=st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_any_text_is_settings_or_a_clear_error(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("settings") / "a.toml"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        read_config(path)
    except OptionError as error:
        assert str(path) in str(error)


def test_three_classes_are_taught_on_a_trained_encoder_and_used(npz, tiny_bundle_path, tmp_path):
    lesson = Lesson([npz], tmp_path / "run", SHORT, model=str(tiny_bundle_path))
    assert finish(train_job(lesson, "heads")) is None
    heads = (tmp_path / "run" / "heads.safetensors").read_bytes()
    path = finish(train_job(lesson, "all"))
    assert (tmp_path / "run" / "heads.safetensors").read_bytes() == heads, "a finished stage is kept"
    bundle = load_bundle(path)
    assert bundle.info.classes == ("interphase", "anaphase", "metaphase")
    assert set(bundle.heads) == {"cnn", "dense", "sparse", "symbolic"}
    assert len(bundle.info.heads["symbolic"].runs) == 2, "one a loss"
    assert {run.target for run in bundle.info.heads["symbolic"].runs} == {"hinge", "squared_error"}
    assert {formula.score_index for formula in bundle.info.heads["symbolic"].front} == {0, 1, 2}
    np.testing.assert_array_equal(
        bundle.encoder.mean.weight.detach(), load_bundle(tiny_bundle_path).encoder.mean.weight.detach()
    )
    with np.load(npz) as archive:
        for head in bundle.heads:
            table = classify_patches(archive["x"][:8], ClassifyConfig(head=head), bundle=bundle)
            assert {"score", "score_anaphase", "state"} <= set(table.columns)
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert {"cnn", "formulas"} <= set(history["stage"])
    assert json.loads((tmp_path / "run" / "stages.json").read_text()).keys() == {"cnn", "heads", "formulas"}


def test_another_lesson_in_the_same_folder_is_refused(npz, tiny_bundle_path, tmp_path):
    lesson = Lesson([npz], tmp_path, SHORT, model=str(tiny_bundle_path), classes=("interphase", "metaphase"))
    finish(train_job(lesson, "vae"))
    other = Lesson([npz], tmp_path, SHORT, model=str(tiny_bundle_path), classes=("interphase", "anaphase"))
    with pytest.raises(TrainingError, match="holds another run"):
        finish(train_job(other, "vae"))


def test_a_beta_tcvae_of_few_crops_is_warned_of_and_trained(npz, tmp_path):
    config = SHORT.model_copy(update={"vae": SHORT.vae.model_copy(update={"n_images": 64, "batch": 16})})
    events = []
    finish(train_job(Lesson([npz], tmp_path, config), "vae"), events.append)
    assert "few_crops" in {event.kind for event in events if isinstance(event, Warned)}
    assert (tmp_path / "vae.safetensors").is_file()


def test_a_model_for_other_channels_or_that_is_not_there_is_refused(npz, random_bundle, tmp_path):
    from napari_cellinterp.models.bundle import save_bundle

    path = save_bundle(random_bundle(n_channels=2), tmp_path / "two")
    with pytest.raises(TrainingError, match=r"crops have 1 channels, but the model .* reads 2"):
        finish(train_job(Lesson([npz], tmp_path / "run", SHORT, model=str(path)), "vae"))
    with pytest.raises(BundleError):
        finish(train_job(Lesson([npz], tmp_path / "run", SHORT, model="nobody"), "vae"))


def test_tuning_gives_settings_that_can_be_used(npz, tiny_bundle_path, tmp_path):
    lesson = Lesson([npz], tmp_path, SHORT, model=str(tiny_bundle_path))
    tuning = TuneConfig(n_trials=2, n_runs=1, n_epochs=6, rigl=SHORT.sparse)
    path = finish(tune_job(lesson, tuning))
    tuned = read_config(path).sparse
    assert 0.95 <= tuned.sparsity <= 0.97
    assert tuned.n_epochs == SHORT.sparse.n_epochs


def test_a_cancelled_lesson_goes_on(npz, tiny_bundle_path, tmp_path):
    config = SHORT.model_copy(update={"n_runs": 2})
    lesson = Lesson([npz], tmp_path, config, model=str(tiny_bundle_path))
    job = train_job(lesson, "all")
    for event in job:
        if getattr(event, "name", "") == "dense and sparse heads":
            break
    job.close()
    assert (tmp_path / "cnn.safetensors").is_file()
    assert not (tmp_path / "heads.safetensors").exists()
    assert load_bundle(finish(train_job(lesson, "all"))).info.name == "mine"


def test_errors_are_all_of_our_own_kind(tmp_path):
    for content in (b"", b"PK\x03\x04broken", b"x" * 100):
        path = tmp_path / "a.npz"
        path.write_bytes(content)
        with pytest.raises(CellInterpError):
            read(path)
