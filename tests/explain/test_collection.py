"""Bundles under a folder."""

from __future__ import annotations

import pytest

from napari_cellinterp.errors import BundleError
from napari_cellinterp.events import Progressed, finish
from napari_cellinterp.explain.collection import collect_job
from napari_cellinterp.models.bundle_info import INFO_NAME


@pytest.fixture
def folder(random_bundle, tmp_path):
    """A bundle, two runs with a bundle of the same name each, a damaged one, and a half-written one."""
    text = random_bundle().info.model_dump_json(exclude_none=True)
    places = {"alone": text.replace('"random"', '"other"'), "run1/model": text, "run2/model": text}
    for place, content in (places | {"bad": "{", ".half": text}).items():
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / INFO_NAME).write_text(content, encoding="utf-8")
    (tmp_path / "run3").mkdir()
    return tmp_path


def test_bundles_are_read_and_told_apart(folder):
    events = []
    found = finish(collect_job(folder), events.append)
    assert events == [Progressed(i, 4) for i in (1, 2, 3, 4)]
    names = {path.relative_to(folder).as_posix(): info.name for path, info in found.infos.items()}
    assert names == {"alone": "other", "run1/model": "random (run1/model)", "run2/model": "random (run2/model)"}


def test_what_can_not_be_read_is_named(folder):
    found = finish(collect_job(folder))
    assert len(found.problems) == 1
    assert "bad" in found.problems[0]


def test_a_bundle_itself_will_do(folder):
    assert list(finish(collect_job(folder / "alone")).infos) == [folder / "alone"]


def test_a_folder_without_models_is_refused(folder):
    with pytest.raises(BundleError, match="no model"):
        finish(collect_job(folder / "run3"))
