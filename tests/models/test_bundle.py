"""Bundles: what is saved comes back, and what is damaged is refused by name."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_cellinterp.errors import BundleError
from napari_cellinterp.models import bundle as bundle_module
from napari_cellinterp.models import bundle_info
from napari_cellinterp.models.bundle import load_bundle, save_bundle
from napari_cellinterp.models.bundle_info import bundle_names, file_hash, find_bundle, read_info
from napari_cellinterp.models.classifier import Classifier
from napari_cellinterp.movies.patches import normalise

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HEADS = ("cnn", "dense", "sparse", "symbolic")


@pytest.fixture
def folder(tmp_path: Path, saved: Path) -> Path:
    """A bundle of one's own, to damage."""
    return shutil.copytree(saved, tmp_path / "mine")


@pytest.fixture(scope="module")
def saved(tmp_path_factory, random_bundle) -> Path:
    return save_bundle(random_bundle(), tmp_path_factory.mktemp("bundles") / "random")


def edit(folder: Path, change: Callable[[dict], None]) -> None:
    path = folder / "bundle.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def replace_tensors(folder: Path, name: str, **tensors: torch.Tensor | None) -> None:
    """Change tensors of a file, and its hash in bundle.json with it."""
    path = folder / name
    content = {key: value for key, value in (load_file(path) | tensors).items() if value is not None}
    save_file(content, path)
    edit(folder, lambda info: info["files"].update({name: file_hash(path)}))


@pytest.mark.parametrize(
    ("n_channels", "classes"), [(1, ("interphase", "metaphase")), (2, ("a", "b", "c")), (3, ("no", "yes"))]
)
def test_all_heads_give_the_same_scores_after_a_round_trip(tmp_path, random_bundle, n_channels, classes):
    before = random_bundle(n_channels, classes)
    after = load_bundle(save_bundle(before, tmp_path / "copy"))
    crops = np.random.default_rng(0).gamma(2, 20, (9, n_channels, 64, 64))
    patches = normalise(crops)
    for head in HEADS:
        one, two = (Classifier(bundle, head, reconstruct=True)(patches) for bundle in (before, after))
        for name in ("scores", "state", "probability", "latents", "novelty", "flag", "reconstruction_error"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=f"{head} {name}")
    for name in ("latents", "state", "statistics", "quantiles"):
        np.testing.assert_array_equal(getattr(before.population, name), getattr(after.population, name))
    assert after.info.model_copy(update={"files": {}}) == before.info
    assert len(after.hash) == 64


def test_a_bundle_holds_a_json_and_safetensors_only(saved):
    names = sorted(path.name for path in saved.iterdir())
    assert names == sorted(["bundle.json", *(f"{n}.safetensors" for n in bundle_info.NETWORK_FILES)])
    files = read_info(saved).files
    assert sorted(files) == names[1:]
    assert all(file_hash(saved / name) == digest for name, digest in files.items())


def test_networks_come_back_ready_for_use(saved):
    bundle = load_bundle(saved)
    for network in (bundle.encoder, bundle.decoder, *bundle.heads.values()):
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())


def test_channels_last_networks_can_be_saved(tmp_path, random_bundle):
    bundle = random_bundle()
    bundle.encoder.to(memory_format=torch.channels_last)
    loaded = load_bundle(save_bundle(bundle, tmp_path / "b"))
    x = torch.rand(2, 1, 64, 64)
    torch.testing.assert_close(loaded.encoder.encode(x), bundle.encoder.encode(x))


def test_a_relative_path_through_a_parent_will_do(folder, monkeypatch):
    (folder.parent / "here").mkdir()
    monkeypatch.chdir(folder.parent / "here")
    assert load_bundle("../mine").info.name == "random"


def test_files_that_are_not_listed_are_left_alone(folder):
    (folder / "notes.txt").write_text("mine")
    (folder / "weights.pkl").write_bytes(b"\x80")
    assert load_bundle(folder).hash == load_bundle(folder).hash


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def relist(folder: Path, name: str) -> None:
    edit(folder, lambda info: info["files"].update({name: "0" * 64}))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "changed file": (lambda f: change_a_byte(f / "dense.safetensors"), r"dense\.safetensors.*SHA-256"),
    "truncated file": (lambda f: truncate(f / "encoder.safetensors"), r"encoder\.safetensors.*SHA-256"),
    "missing file": (lambda f: (f / "cnn.safetensors").unlink(), r"lacks.*cnn\.safetensors"),
    "unlisted file": (lambda f: edit(f, lambda i: i["files"].pop("cnn.safetensors")), r"doesn't list cnn\.safetensors"),
    "truncated json": (lambda f: truncate(f / "bundle.json"), r"bundle\.json can't be read"),
    "no json": (lambda f: (f / "bundle.json").write_bytes(b"\xff\xfe\x00"), r"bundle\.json can't be read"),
    "json of another kind": (lambda f: (f / "bundle.json").write_text("[1, 2]"), r"bundle\.json is damaged"),
    "newer schema": (lambda f: edit(f, lambda i: i.update(schema_version=2)), r"schema version 2.*reads up to 1"),
    "unknown field": (lambda f: edit(f, lambda i: i.update(colour="red")), "damaged at colour"),
    "missing field": (lambda f: edit(f, lambda i: i.pop("classes")), "damaged at classes"),
    "one class": (lambda f: edit(f, lambda i: i.update(classes=["a"])), "damaged at classes"),
    "wrong number of calibrations": (
        lambda f: edit(f, lambda i: i["heads"]["dense"].update(calibration=[])),
        "dense head has 0 calibrations for 1",
    ),
    "wrong number of classes": (lambda f: edit(f, lambda i: i.update(classes=["a", "b", "c"])), "1 calibrations for 3"),
    "parent folder": (lambda f: relist(f, "../secret.safetensors"), r"lists '\.\./secret\.safetensors'"),
    "folder within": (lambda f: relist(f, "a/encoder.safetensors"), "lists 'a/encoder"),
    "absolute path": (lambda f: relist(f, "/encoder.safetensors"), "lists '/encoder"),
    "backslash": (lambda f: relist(f, "..\\encoder.safetensors"), r"lists '\.\."),
    "itself": (lambda f: relist(f, "bundle.json"), "lists 'bundle.json'"),
    "another shape": (
        lambda f: replace_tensors(f, "encoder.safetensors", **{"mean.weight": torch.zeros(31, 256)}),
        r"encoder\.safetensors doesn't fit.*mean\.weight",
    ),
    "a tensor less": (
        lambda f: replace_tensors(f, "sparse.safetensors", **{"layers.0.mask": None}),
        r"sparse\.safetensors doesn't fit",
    ),
    "a tensor more": (
        lambda f: replace_tensors(f, "decoder.safetensors", extra=torch.zeros(1)),
        r"decoder\.safetensors doesn't fit.*extra",
    ),
    "other latents": (lambda f: edit(f, lambda i: i.update(n_latents=16)), r"encoder\.safetensors doesn't fit"),
    "other channels": (lambda f: edit(f, lambda i: i.update(n_channels=2)), r"encoder\.safetensors doesn't fit"),
    "narrow population": (
        lambda f: replace_tensors(f, "population.safetensors", latents=torch.zeros(200, 7)),
        r"latents of shape \(200, 7\)",
    ),
    "short population": (
        lambda f: replace_tensors(f, "population.safetensors", state=torch.zeros(3, dtype=torch.int64)),
        r"state of shape \(3,\)",
    ),
    "poor population": (
        lambda f: replace_tensors(f, "population.safetensors", quantiles=None),
        r"population\.safetensors lacks 'quantiles'",
    ),
    "formula with errors": (
        lambda f: edit(f, lambda i: i["heads"]["symbolic"].update(expressions=["z0 +"])),
        "symbolic head.*can't be read",
    ),
    "formula beyond the latents": (
        lambda f: edit(f, lambda i: i["heads"]["symbolic"].update(expressions=["z0 + z32"])),
        "z32",
    ),
    "two formulas": (
        lambda f: edit(f, lambda i: i["heads"]["symbolic"].update(expressions=["z0", "z1"])),
        "2 formulas, but 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGES)
def test_what_is_damaged_is_refused_by_name(folder, kind):
    damage, said = DAMAGES[kind]
    (folder.parent / "secret.safetensors").write_bytes((folder / "encoder.safetensors").read_bytes())
    damage(folder)
    with pytest.raises(BundleError, match=rf"(?s){said}") as caught:
        load_bundle(folder)
    assert caught.value.advice


def test_safetensors_that_are_none_are_refused(folder):
    (folder / "dense.safetensors").write_bytes(b"not tensors at all")
    edit(folder, lambda i: i["files"].update({"dense.safetensors": file_hash(folder / "dense.safetensors")}))
    with pytest.raises(BundleError, match=r"dense\.safetensors can't be read"):
        load_bundle(folder)


@pytest.fixture
def shelves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Empty places for shipped bundles and for one's own."""
    places = (tmp_path / "shipped", tmp_path / "own")
    for place in places:
        place.mkdir()
    monkeypatch.setattr(bundle_info, "shipped_folder", lambda: places[0])
    monkeypatch.setattr(bundle_info, "user_folder", lambda: places[1])
    return places


def test_names_are_looked_up_shipped_first(shelves, saved):
    shipped, own = shelves
    for place in (shipped / "a", own / "a", own / "b", own / ".b-killed"):
        shutil.copytree(saved, place)
    (own / "empty").mkdir()
    assert bundle_names() == ["a", "b"]
    assert find_bundle("a") == shipped / "a"
    assert find_bundle("b") == own / "b"
    assert find_bundle(own / "a") == own / "a"


def test_an_unknown_name_is_answered_with_the_known_ones(shelves, saved):
    shutil.copytree(saved, shelves[0] / "chromatin-9")
    with pytest.raises(BundleError, match=r"no model named 'chromatin-8'.*chromatin-9"):
        load_bundle("chromatin-8")


def test_a_folder_that_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match=r"not a model bundle: it holds no bundle\.json"):
        load_bundle(tmp_path)


def test_a_head_that_is_not_there(random_bundle):
    bundle = random_bundle()
    bundle.heads.pop("cnn")
    with pytest.raises(BundleError, match=r"no cnn head.*dense, sparse, symbolic"):
        Classifier(bundle, "cnn")


class KilledError(BaseException):
    """Stands for a signal."""


def kill(*_: object, **__: object) -> None:
    raise KilledError


@pytest.mark.parametrize("moment", ["save_file", "file_hash", "_swap"])
@pytest.mark.parametrize("is_there", [True, False])
def test_a_save_that_is_killed_leaves_the_old_bundle_and_nothing_else(
    tmp_path, random_bundle, monkeypatch, moment, is_there
):
    place = tmp_path / "bundle"
    if is_there:
        save_bundle(random_bundle(), place)
        before = load_bundle(place).hash
    monkeypatch.setattr(bundle_module, moment, kill)
    with pytest.raises(KilledError):
        save_bundle(random_bundle(2), place)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == (["bundle"] if is_there else [])
    if is_there:
        assert load_bundle(place).hash == before


def test_the_old_bundle_comes_back_where_the_new_one_cannot_be_put(tmp_path, random_bundle, monkeypatch):
    place = save_bundle(random_bundle(), tmp_path / "bundle")
    before, replace, calls = load_bundle(place).hash, bundle_module.os.replace, []

    def fail_second(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise PermissionError(target)
        replace(source, target)

    monkeypatch.setattr(bundle_module.os, "replace", fail_second)
    with pytest.raises(PermissionError):
        save_bundle(random_bundle(2), place)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert load_bundle(place).hash == before


def test_a_save_replaces_the_old_bundle(tmp_path, random_bundle):
    place = save_bundle(random_bundle(), tmp_path / "new" / "bundle")
    (place / "stale.txt").write_text("old")
    save_bundle(random_bundle(2), place)
    assert load_bundle(place).info.n_channels == 2
    assert not (place / "stale.txt").exists()
    assert [path.name for path in place.parent.iterdir()] == ["bundle"]
