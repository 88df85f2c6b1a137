"""Write a file beside its place, then move it there: nothing half-written is ever seen under a final name."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cellinterp.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder, which becomes ``path`` if the block ends without an error.

    Raises
    ------
    OutputError
        If the folder can't be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".", suffix=f"-{path.name}", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise _refused(path, error) from error
    beside = Path(name)
    try:
        yield beside
        beside.chmod(0o644)
        os.replace(beside, path)
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        beside.unlink(missing_ok=True)


def _refused(path: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    return OutputError(f"{path} can't be written: {reason}.", "Choose another folder, or make room there.")


def check_writable(folder: Path) -> None:
    """Make sure, before hours of work, that a folder can be written to.

    Raises
    ------
    OutputError
        If it can't.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _refused(folder, error) from error
