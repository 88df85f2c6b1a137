"""Crops of many nuclei: from a movie in blocks that span frames, or ready ones from files."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import count, cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from napari_cellinterp.errors import PatchesError
from napari_cellinterp.movies.patches import PatchBlock, Patches, ScaledFrame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from napari_cellinterp.movies.stack import Movie
    from napari_cellinterp.movies.track_table import TrackTable

S = TypeVar("S")
T = TypeVar("T")

BLOCK = 512
"""Crops that are classified at a time."""


def crop_blocks(
    movie: Movie, tracks: TrackTable, channels: range, zoom: float, n_rooms: int | None = None
) -> Iterator[tuple[int, Patches]]:
    """Crop nuclei in the order of the track table, in blocks that span frames.

    Parameters
    ----------
    movie : Movie
        The timelapse.
    tracks : TrackTable
        Where the nuclei are.
    channels : range
        Which channels.
    zoom : float
        Model pixels per movie pixel.
    n_rooms : int, optional
        Keep the memory of so many blocks and fill it in turns, which is faster: a block is then only good until so
        many more are asked for. By default each has memory of its own.

    Yields
    ------
    frame : int
        Frame of the block's last nucleus.
    patches : Patches
        `BLOCK` of them; the last block may be smaller.
    """
    y, x = tracks.rows["y"].to_numpy(), tracks.rows["x"].to_numpy()
    t, planes = 0, np.empty((len(channels), movie.height, movie.width), np.float32)
    rooms = (PatchBlock(BLOCK, len(channels)) for _ in (count() if n_rooms is None else range(n_rooms)))
    blocks = rooms if n_rooms is None else cycle(rooms)
    block = next(blocks)
    for t, rows in tracks.frames():
        for i, channel in enumerate(channels):
            with np.errstate(over="ignore"):  # numbers beyond float32 become infinite: `normalise` tells
                planes[i] = movie.plane(t, channel)
        frame, start = ScaledFrame(planes, zoom), rows.start
        while start < rows.stop:
            piece = slice(start, min(start + block.left, rows.stop))
            block.add(frame, y[piece], x[piece])
            start = piece.stop
            if not block.left:
                yield t, block.patches()
                block = next(blocks)
                block.clear()
    if block.left < BLOCK:
        yield t, block.patches()


def in_threads(
    work: Callable[[S], T], items: Iterator[S], n_threads: int, start: Callable[[], None] | None = None
) -> Iterator[T]:
    """Work on items in threads; give the results in the order of the items.

    At most one item more than there are threads is under way, so that memory holds few.

    Parameters
    ----------
    work : callable
        What is done with an item.
    items : iterator
        Made one by one in the calling thread.
    n_threads : int
        Threads.
    start : callable, optional
        Called first in each thread.
    """
    under_way: deque[Future[T]] = deque()
    with ThreadPoolExecutor(n_threads, initializer=start) as pool:
        for item in items:
            under_way.append(pool.submit(work, item))
            if len(under_way) > n_threads:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


def read_crops(path: str | Path) -> NDArray[Any]:
    """Read single-nucleus images from an npz file or a folder of images.

    Parameters
    ----------
    path : str or Path
        ``.npz`` with an array ``x``, or a folder of TIFF or PNG images of one size, taken in the order of their names.

    Returns
    -------
    (n, height, width) or (n, n_channels, height, width) array

    Raises
    ------
    PatchesError
        If there are no such images in it.
    """
    path = Path(path)
    if path.is_dir():
        return _read_crop_folder(path)
    if not path.is_file():
        raise PatchesError(f"There is no file {path}.", "Give an .npz file, or a folder of images.")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            if "x" not in archive:
                raise PatchesError(
                    f"{path} has no array x; it has: {', '.join(archive) or 'nothing'}.",
                    "Save the crops as numpy.savez(path, x=crops).",
                )
            crops = archive["x"]
    except PatchesError:
        raise
    except Exception as error:  # numpy and zipfile raise many kinds for a damaged archive
        raise PatchesError(f"{path} can't be read as an .npz file: {error}.", "Save it with numpy.savez.") from error
    if not isinstance(crops, np.ndarray):  # numpy hands out the bytes of what is no array
        raise PatchesError(f"x in {path} is no array.", "Save the crops as numpy.savez(path, x=crops).")
    return crops


def _read_crop_folder(folder: Path) -> NDArray[Any]:
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in {".tif", ".tiff", ".png"})
    if not files:
        raise PatchesError(f"The folder {folder} has no TIFF or PNG images.", "Give a folder with one image a nucleus.")
    images = []
    for file in files:
        try:
            images.append(_read_image(file))
        except Exception as error:  # each decoder raises its own kinds
            raise PatchesError(f"{file} can't be read as an image: {error}.", "Take it out of the folder.") from error
        if images[-1].shape != images[0].shape or images[-1].ndim != 2:
            raise PatchesError(
                f"{file} has shape {images[-1].shape}; {files[0].name} has {images[0].shape}.",
                "All crops of a folder must be grey images of one size.",
            )
    return np.stack(images)


def _read_image(file: Path) -> NDArray[Any]:
    import imagecodecs
    import tifffile

    # not scikit-image's reader: it tries one plugin after another and leaves a damaged file open
    return np.asarray(
        imagecodecs.png_decode(file.read_bytes()) if file.suffix.lower() == ".png" else tifffile.imread(file)
    )
