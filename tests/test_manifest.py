"""The manifest is valid, and is where npe2 looks for it in an editable install, a wheel and an sdist."""

import subprocess
import sys
import tarfile
import zipfile
from importlib.resources import files
from pathlib import Path

import pytest
from npe2 import PluginManifest

ROOT = Path(__file__).parents[1]
MANIFEST = ROOT / "napari.yaml"


def test_manifest_imports() -> None:
    manifest = PluginManifest.from_distribution("napari-cellinterp")
    assert manifest.name == "napari-cellinterp"
    manifest.validate_imports()


def test_manifest_validates() -> None:
    command = [sys.executable, "-m", "npe2", "validate", str(MANIFEST)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_installed_manifest_is_the_top_level_one() -> None:
    assert files("napari_cellinterp").joinpath("napari.yaml").read_bytes() == MANIFEST.read_bytes()


def test_configuration_has_titles() -> None:
    configuration = PluginManifest.from_file(MANIFEST).contributions.configurations or []
    properties = [item for entry in configuration for item in entry.properties.items()]
    assert [key for key, value in properties if not value.title] == []


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    # the wheel is built from the sdist, so that the sdist is seen to be complete
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return folder


@pytest.mark.slow
def test_wheel_holds_the_manifest_in_the_package(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = wheel.namelist()
        assert [name for name in names if name.endswith("napari.yaml")] == ["napari_cellinterp/napari.yaml"]
        assert wheel.read("napari_cellinterp/napari.yaml") == MANIFEST.read_bytes()
        entry_points = wheel.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    assert "[napari.manifest]" in entry_points
    assert "napari-cellinterp = napari_cellinterp:napari.yaml" in entry_points


@pytest.mark.slow
def test_wheel_holds_every_file_of_the_package(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    tracked = subprocess.run(["git", "ls-files", "src"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode != 0:
        pytest.skip("not a git checkout")
    assert {name.removeprefix("src/") for name in tracked.stdout.split()} <= names


@pytest.mark.slow
def test_sdist_holds_what_builds_it(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"napari.yaml", "hatch_build.py", "pyproject.toml", "LICENSE", "README.md"} <= names
