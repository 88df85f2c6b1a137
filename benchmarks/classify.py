"""How fast, and in how much memory, a movie that is found and tracked already is cropped, encoded and scored.

``python benchmarks/classify.py --json OUT [--quick]``
"""

from __future__ import annotations

import os
import resource
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import tifffile
import torch

from _common import in_turns, write_figures
from napari_cellinterp.config import REFERENCE_DIAMETER_PX, TimelapseConfig
from napari_cellinterp.events import finish
from napari_cellinterp.models.bundle import load_bundle
from napari_cellinterp.models.classifier import Classifier
from napari_cellinterp.models.compiled import BATCH, is_available
from napari_cellinterp.movies.crops import crop_blocks, in_threads
from napari_cellinterp.movies.patches import Patches
from napari_cellinterp.movies.stack import Movie, open_movie
from napari_cellinterp.movies.timelapse import simulate_frames
from napari_cellinterp.movies.track_table import TrackTable
from napari_cellinterp.workflows import score_nuclei

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIAMETER_PX = 26.0


def simulate(folder: Path, n_frames: int, side: int, n_nuclei: int) -> tuple[Movie, TrackTable]:
    """Simulate a movie on disk, with its true tracks."""
    config = TimelapseConfig(
        n_frames=n_frames,
        height=side,
        width=side,
        n_nuclei=n_nuclei,
        nucleus_diameter_px=DIAMETER_PX,
        share_dividing=0.1,
    )
    path, truth = folder / f"movie-{side}.tif", []
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for frame in simulate_frames(config):
            writer.write(frame.image, contiguous=True)
            truth.append(frame.truth)
    return open_movie(path), TrackTable.from_rows(pd.concat(truth))


def enlarge(folder: Path, movie: Movie, tracks: TrackTable, n_bytes: int) -> tuple[Movie, TrackTable]:
    """Tile a movie's frames side by side and over time until it is larger than ``n_bytes``."""
    tiles = 3
    frame_bytes = movie.height * movie.width * tiles**2 * 2
    n_frames = int(np.ceil(n_bytes / frame_bytes))
    path, rows = folder / "large.tif", []
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for t in range(n_frames):
            source = t % movie.n_frames
            writer.write(np.tile(movie.plane(source, 0), (tiles, tiles)), contiguous=True)
            frame = tracks.rows[tracks.rows["frame"] == source]
            for i in range(tiles**2):
                moved = frame.assign(
                    frame=t, y=frame["y"] + (i // tiles) * movie.height, x=frame["x"] + (i % tiles) * movie.width
                )
                rows.append(moved.assign(track_id=moved["track_id"] + i * 100_000))
    return open_movie(path), TrackTable.from_rows(pd.concat(rows))


def encode_in_threads(classifier: Classifier, x: NDArray[np.float32]) -> None:
    """Encode ready patches as the whole job does: side by side, each thread on one core."""
    n_threads = torch.get_num_threads()
    parts = iter(np.array_split(x, n_threads))
    for _ in in_threads(classifier.encode, parts, n_threads, partial(torch.set_num_threads, 1)):
        pass
    torch.set_num_threads(n_threads)


def encode_plainly(classifier: Classifier, x: NDArray[np.float32]) -> None:
    """Encode with torch alone, batch by batch, all cores on one batch."""
    with torch.inference_mode():
        for start in range(0, len(x), 4 * BATCH):
            classifier.bundle.encoder.encode(torch.from_numpy(x[start : start + 4 * BATCH]))


def memory_mb() -> float:
    """Memory of this process now, resident."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak_memory_mb() -> float:
    """Largest memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def figures(quick: bool) -> dict[str, float]:
    zoom = REFERENCE_DIAMETER_PX / DIAMETER_PX
    classifier = Classifier(load_bundle("chromatin-64"), "sparse")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        movie, tracks = simulate(folder, 6 if quick else 60, 512 if quick else 1024, 100 if quick else 420)
        large = enlarge(folder, movie, tracks, 2 * 10**8 if quick else 2 * 10**9)
        blocks = [patches for _, patches in crop_blocks(movie, tracks, range(1), zoom)]
        ready = Patches.concatenate(blocks[:8])
        classifier(ready[:BATCH])
        del blocks
        n, n_ready = len(tracks), len(ready)

        idle = memory_mb()
        peak_before = peak_memory_mb()
        finish(score_nuclei(*large, 0, zoom, classifier))
        # The peak only ever grows: where the large movie stayed below it, it bounds what the movie needed.
        above_idle = max(peak_memory_mb(), peak_before) - idle

        times = in_turns(
            {
                "torch": lambda: encode_plainly(classifier, ready.x),
                "encoder": lambda: encode_in_threads(classifier, ready.x),
                "crops": lambda: [None for _ in crop_blocks(movie, tracks, range(1), zoom)],
                "whole": lambda: finish(score_nuclei(movie, tracks, 0, zoom, classifier)),
            }
        )
        encoder, plain = n_ready / times["encoder"], n_ready / times["torch"]
        crops, whole = n / times["crops"], n / times["whole"]
    return {
        "whole_job_nuclei_per_s": float(np.median(whole)),
        "encoder_only_nuclei_per_s": float(np.median(encoder)),
        "share_of_encoder_speed": float(np.median(whole / encoder)),
        "times_torch_encoder": float(np.median(whole / plain)),
        "crops_per_s": float(np.median(crops)),
        "peak_memory_above_idle_mb": above_idle,
        "n_nuclei": n,
        "large_movie_mb": 2 * large[0].n_frames * large[0].height * large[0].width / 1e6,
    }


if __name__ == "__main__":
    write_figures(__doc__, figures, encoder="OpenVINO" if is_available() else "torch")
