"""Crops of real images: at the model's scale, centred, with the states that were read by eye."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from napari_cellinterp.errors import TrainingError
from napari_cellinterp.movies.shapes import STATES
from napari_cellinterp.movies.synthetic import simulate_scene
from napari_cellinterp.training import real_images
from napari_cellinterp.training.datasets import UNKNOWN
from napari_cellinterp.training.real_images import (
    cut_crops,
    found_crops,
    interphase_crops,
    labelled_crops,
    masked_crops,
    read_by_eye,
)

USES = ("train", "validation", "test")


def test_real_images_and_movies_with_masks(tmp_path):
    rows, columns = np.ogrid[:120, :160]
    labels = np.zeros((120, 160), np.uint16)
    for i, (y, x) in enumerate([(30, 30), (30, 80), (80, 40), (85, 120)]):
        labels[(rows - y) ** 2 + (columns - x) ** 2 < 12**2] = i + 1
    image = (200 * (labels > 0) + 20).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a_img.tif", image)
    tifffile.imwrite(tmp_path / "a_lab.tif", labels)
    tifffile.imwrite(tmp_path / "b_img.tif", image)
    tifffile.imwrite(tmp_path / "b_lab.tif", np.where(labels < 3, labels, 0).astype(np.uint16))
    found = masked_crops(tmp_path, seed=0)
    assert len(found) == 4, "an image of two nuclei tells no scale"
    assert (found.state == UNKNOWN).all()
    tifffile.imwrite(tmp_path / "movie.tif", np.stack([image] * 2), photometric="minisblack")
    tifffile.imwrite(tmp_path / "labels.tif", np.stack([labels] * 2), photometric="minisblack")
    found = masked_crops(tmp_path, seed=0)
    assert len(found) == 12
    assert len(set(found.scene)) == 2
    assert (found.scene < 0).all()
    assert (found.patches.x[:, 0, 30:34, 30:34] > 0.9).all()
    inside = (found.patches.x[:, 0] > 0.5).sum(axis=(1, 2))
    assert np.median(inside) == pytest.approx(np.pi * 14.5**2, rel=0.3)


def test_nuclei_without_masks_are_found_first():
    frame = simulate_scene(np.random.default_rng(3), shape=(400, 400)).image
    crops = found_crops(np.stack([frame, np.zeros_like(frame)]), seed=0)
    assert len(crops) > 5
    assert (crops.state == UNKNOWN).all()
    assert np.median(crops.patches.x[:, 0, 28:36, 28:36]) > 2 * np.median(crops.patches.x[:, 0, 0])


def test_the_labels_read_by_eye_are_whole():
    labels = read_by_eye()
    assert set(labels["state"]) == set(STATES)
    assert not labels.isna().any(axis=None)
    assert not labels.duplicated(["file", "plane", "y", "x"]).any()
    assert (labels.groupby("file")["use"].nunique() == 1).all(), "no image is for two uses"
    assert set(labels["use"]) == set(USES)


@pytest.mark.parametrize("use", USES)
def test_labelled_nuclei_are_cropped_with_their_states(real_data, use):
    labels = read_by_eye().query("use == @use")
    once, twice = (labelled_crops(real_data, use, n, 0) for n in (1, 2))
    assert len(once) == len(labels)
    assert len(twice) == 2 * len(once)
    counts = labels["state"].value_counts()
    assert {name: int((once.state == i).sum()) for i, name in enumerate(STATES)} == dict(counts)
    assert len(np.unique(once.scene)) == labels.groupby(["file", "plane"]).ngroups
    plates = once.patches.x[once.state == STATES.index("metaphase"), 0]
    assert np.median(plates[:, 30:34, 30:34]) > 0.7
    assert np.median((plates > 0.5).sum(axis=(1, 2))) < 0.8 * np.pi * 14.5**2, "plates are small"


@pytest.mark.parametrize("use", USES)
def test_only_crops_to_train_on_are_shown_as_other_microscopes_would(real_data, monkeypatch, use):
    shown = []
    for share in (0, 1):
        monkeypatch.setattr(real_images, "SHARE_EXPOSED", share)
        shown.append(labelled_crops(real_data, use, 2, 0).patches.x)
    assert np.array_equal(*shown) == (use != "train")


@pytest.mark.parametrize(("crops_of", "fewest"), [(interphase_crops, 2000), (cut_crops, 500)])
def test_no_nucleus_is_taken_for_interphase_where_states_were_read(real_data, crops_of, fewest):
    folder = real_data / "dsb2018_fluo"
    train, validation = (crops_of(folder, use, 100_000, 0) for use in USES[:2])
    names = np.array(sorted(path.name for path in folder.glob("*_img.tif")))
    read = read_by_eye()["file"].str.removeprefix("dsb2018_fluo/")
    assert not set(names[-np.unique(train.scene) - 1]) & set(read)
    assert not set(names[-np.unique(validation.scene) - 1]) & set(read)
    assert not set(train.scene) & set(validation.scene), "no image is for two uses"
    assert len(train) > 2 * len(validation) > 2 * fewest, "there are enough to choose from"


def test_cut_nuclei_lie_at_an_edge(tmp_path, monkeypatch):
    """Bright disks of radius 12 on black, of which an edge leaves little."""
    rows, columns = np.ogrid[:160, :160]
    labels = np.zeros((160, 160), np.uint16)
    for i, (y, x) in enumerate([(40, 40), (40, 120), (120, 40), (120, 120)]):
        labels[(rows - y) ** 2 + (columns - x) ** 2 < 12**2] = i + 1
    tifffile.imwrite(tmp_path / "a_img.tif", (200 * (labels > 0)).astype(np.uint8))
    tifffile.imwrite(tmp_path / "a_lab.tif", labels)
    (tmp_path / "mitotic_candidates.csv").write_text("file,label\na_img.tif,2\n", encoding="utf-8")
    monkeypatch.setattr(real_images, "SHARE_EXPOSED", 0)
    monkeypatch.setattr(real_images, "VISIBLE_SHARE", (0.05, 0.15))
    cut = cut_crops(tmp_path, "train", 100, 0)
    assert len(cut) == 3, "the candidate is left out"
    assert (cut.state == STATES.index("interphase")).all()
    assert (cut.patches.x[:, 0, 32, 32] > 0.9).all(), "what is left is in the middle"
    whole = interphase_crops(tmp_path, "train", 100, 0)
    bright = [(crops.patches.x > 0.9).sum(axis=(1, 2, 3)) for crops in (cut, whole)]
    assert bright[0].max() < bright[1].min()
    assert len(cut_crops(tmp_path, "train", 2, 0)) == 2
    with pytest.raises(TrainingError, match=r"mitotic_candidates\.csv isn't there"):
        cut_crops(tmp_path / "nowhere", "train", 2, 0)


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(TrainingError, match=read_by_eye().query("use == 'test'")["file"].min()):
        labelled_crops(tmp_path, "test", 1, 0)
