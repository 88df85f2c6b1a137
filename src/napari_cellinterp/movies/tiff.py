"""Open TIFF, OME-TIFF and ImageJ TIFF without reading planes."""

from __future__ import annotations

import contextlib
import logging
import struct
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
import zarr

from napari_cellinterp.errors import MovieError
from napari_cellinterp.movies.axes import say_shape
from napari_cellinterp.movies.metadata import Calibration, from_imagej, from_ome_xml, from_resolution_tags
from napari_cellinterp.movies.planes import Reopening, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".tf8", ".tf2")


def open_tiff(path: Path) -> Source:
    """Open the first series of a TIFF.

    Raises
    ------
    MovieError
        The file is no TIFF, ends too early, or is compressed in a way that can't be read here.
    """
    with _hearing_tifffile() as said, contextlib.ExitStack() as closing:
        try:
            tif = closing.enter_context(_open_file(path))
            series = tif.series[0]
            _require_whole(tif, series, path)
            _require_decoder(series, path)
            notes = (*_series_notes(tif, path), *(f"While opening {path.name}: {text}" for text in said))
            calibration = _calibration(tif)
            axes, array = series.axes, Reopening(partial(_open_array, path))
        except MovieError:
            raise
        except Exception as error:
            raise MovieError(
                f"{path} can't be read as TIFF ({_first_line(error)}).",
                "Check that it opens in Fiji or napari, and save it from there as TIFF or OME-TIFF.",
            ) from error
    return Source(array, axes, calibration, notes, path)


class SeriesArray:
    """The array of one TIFF series: planes that lie uncompressed in one run are read without a detour.

    Slices like an array of the series' shape.
    """

    def __init__(self, series: Any) -> None:
        self._series = series
        self._array = zarr.open_array(series.aszarr(level=0, chunkmode="page"), mode="r")
        self.shape, self.dtype = self._array.shape, self._array.dtype

    def __getitem__(self, index: tuple[slice, ...]) -> Any:
        offset = self._offset(index)
        if offset is None:
            return self._array[index]
        page = self._series.keyframe
        handle = page.parent.filehandle
        with handle.lock:
            plane = handle.read_array(page.parent.byteorder + page.dtype.char, page.size, offset)
        return plane.reshape((1,) * (len(self.shape) - 2) + self.shape[-2:])

    def _offset(self, index: tuple[slice, ...]) -> int | None:
        """Where in the file the plane begins, if it lies there as it will be in memory."""
        page = self._series.keyframe
        sizes = [len(range(n)[i]) for n, i in zip(self.shape, index, strict=True)]
        whole_page = tuple(sizes) == (1,) * (len(sizes) - 2) + page.shape == (1,) * (len(sizes) - 2) + self.shape[-2:]
        if self._series.dataoffset is None or not whole_page:
            return None
        at = [range(n)[i][0] for n, i in zip(self.shape, index, strict=True)][:-2]
        number = int(np.ravel_multi_index(at, self.shape[:-2])) if at else 0
        return int(self._series.dataoffset) + number * int(page.nbytes)


def _open_array(path: Path) -> tuple[SeriesArray, Callable[[], None]]:
    with _hearing_tifffile():
        tif = _open_file(path)
        try:
            return SeriesArray(tif.series[0]), tif.close
        except BaseException:
            tif.close()
            raise


def _open_file(path: Path) -> Any:
    """Open the file; single images of one size, as written one after the other, count as one series."""
    tif = tifffile.TiffFile(path)
    try:
        single = _is_run_of_single_images(tif.series)
    except BaseException:
        tif.close()
        raise
    if not single:
        return tif
    tif.close()
    return tifffile.TiffFile(path, is_shaped=False)


def _is_run_of_single_images(series: Sequence[Any]) -> bool:
    return len(series) > 1 and all(
        one.kind == "shaped" and one.axes == "YX" and one.shape == series[0].shape and one.dtype == series[0].dtype
        for one in series
    )


def _require_whole(tif: Any, series: Any, path: Path) -> None:
    """Compare where pages and pixels should lie with where the file ends."""
    promised, present = _promised_planes(tif), len(tif.pages)
    page = series.keyframe
    held = int(np.prod(series.shape)) // (page.imagelength * page.imagewidth)
    if _chain_is_broken(tif):
        detail = f"the list of its images breaks off after {present}"
    elif promised > max(present, held):
        detail = f"it announces {promised} images and holds {max(present, held)}"
    elif missing := _bytes_beyond_end(series):
        detail = f"{missing} bytes of the pixels of {say_shape(series.shape)} are missing"
    else:
        return
    raise MovieError(f"{path} is incomplete: {detail}.", "Copy or export it again; the copy may have been cut short.")


def _promised_planes(tif: Any) -> int:
    """Return how many images ImageJ says it wrote; its big files have but one page."""
    return int((tif.imagej_metadata or {}).get("images", 1))


def _chain_is_broken(tif: Any) -> bool:
    """Whether the last page that can be reached points to another one."""
    layout, handle = tif.tiff, tif.filehandle
    page = tif.pages[len(tif.pages) - 1]
    with handle.lock:
        handle.seek(page.offset)
        (n_tags,) = struct.unpack(layout.tagnoformat, handle.read(layout.tagnosize))
        handle.seek(page.offset + layout.tagnosize + n_tags * layout.tagsize)
        pointer = handle.read(layout.offsetsize)
    return len(pointer) < layout.offsetsize or struct.unpack(layout.offsetformat, pointer) != (0,)


def _bytes_beyond_end(series: Any) -> int:
    if series.dataoffset is not None:
        size = series.keyframe.parent.filehandle.size
        return max(0, int(series.dataoffset + series.nbytes - size))
    beyond = 0
    for page in series.pages:
        if page is not None:
            ends = (a + b for a, b in zip(page.dataoffsets, page.databytecounts, strict=False))
            beyond = max(beyond, max(ends, default=0) - page.parent.filehandle.size)
    return beyond


def _require_decoder(series: Any, path: Path) -> None:
    """Refuse a compression that needs a package which is absent; without data a decoder does nothing."""
    try:
        series.keyframe.decode(None, 0)
    except (ValueError, NotImplementedError) as error:
        raise MovieError(
            f"The pixels of {path} can't be decoded here: {_first_line(error)}.",
            "Install imagecodecs (pip install imagecodecs), or save the movie without compression.",
        ) from error


def _series_notes(tif: Any, path: Path) -> Iterator[str]:
    series = tif.series[0]
    if len(tif.series) > 1:
        sizes = ", ".join(say_shape(one.shape) for one in tif.series[:4])
        yield f"{path.name} holds {len(tif.series)} image series ({sizes}); the first one was used."
    if series.is_multifile:
        yield f"{path.name} is one of several files of a set; all of them were read as one movie."
    if absent := sum(page is None for page in series.pages):
        yield f"{absent} of {len(series.pages)} planes are not in the file; they read as blank."


def _calibration(tif: Any) -> Calibration:
    page = tif.pages.first
    if tif.is_ome and tif.ome_metadata:
        return from_ome_xml(tif.ome_metadata)
    if tif.is_imagej and tif.imagej_metadata:
        return from_imagej(tif.imagej_metadata, page.resolution)
    return from_resolution_tags(page.resolution, int(page.resolutionunit))


@contextlib.contextmanager
def _hearing_tifffile() -> Iterator[list[str]]:
    """Collect what tifffile would only log."""
    said: list[str] = []

    def hear(record: logging.LogRecord) -> bool:
        said.append(_first_line(record.getMessage()))
        return False

    logger = logging.getLogger("tifffile")
    logger.addFilter(hear)
    try:
        yield said
    finally:
        logger.removeFilter(hear)


def _first_line(message: object) -> str:
    return (str(message).strip().splitlines() or [type(message).__name__])[0][:200].rstrip(".")
