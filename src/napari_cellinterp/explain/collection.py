"""What all bundles under a folder say of themselves."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_cellinterp.errors import BundleError
from napari_cellinterp.events import Progressed
from napari_cellinterp.models.bundle_info import INFO_NAME, read_info

if TYPE_CHECKING:
    from pathlib import Path

    from napari_cellinterp.events import Job
    from napari_cellinterp.models.bundle_info import BundleInfo

PATTERNS = (INFO_NAME, f"*/{INFO_NAME}", f"*/*/{INFO_NAME}")
"""A bundle itself, a folder of bundles, and a folder of runs that each hold theirs."""


@dataclass(frozen=True)
class Collection:
    """Bundles that were found.

    Attributes
    ----------
    infos : dict of Path to BundleInfo
        What each says of itself, by folder; those of one name are told apart by their folders.
    problems : tuple of str
        Why others can't be read, one each.
    """

    infos: dict[Path, BundleInfo]
    problems: tuple[str, ...]


def collect_job(folder: Path) -> Job[Collection]:
    """Read what the bundles in a folder and in its sub-folders say of themselves; no weights are loaded.

    Raises
    ------
    BundleError
        If there are none.
    """
    folders = sorted({path.parent for pattern in PATTERNS for path in folder.glob(pattern) if _is_whole(path, folder)})
    if not folders:
        raise BundleError(
            f"There is no model in {folder}: none of its folders holds a {INFO_NAME}.",
            "Choose a folder whose sub-folders are bundles, or runs with theirs.",
        )
    infos: dict[Path, BundleInfo] = {}
    problems: list[str] = []
    for i, one in enumerate(folders, start=1):
        try:
            infos[one] = read_info(one)
        except BundleError as error:
            problems.append(error.problem)
        yield Progressed(i, len(folders))
    return Collection(_told_apart(infos, folder), tuple(problems))


def _is_whole(path: Path, folder: Path) -> bool:
    """Whether a bundle isn't half-written: those are hidden."""
    return not any(part.startswith(".") for part in path.relative_to(folder).parts)


def _told_apart(infos: dict[Path, BundleInfo], folder: Path) -> dict[Path, BundleInfo]:
    n_named = Counter(info.name for info in infos.values())
    return {
        path: info
        if n_named[info.name] == 1
        else info.model_copy(update={"name": f"{info.name} ({path.relative_to(folder)})"})
        for path, info in infos.items()
    }
