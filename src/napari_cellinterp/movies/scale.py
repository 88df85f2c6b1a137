"""Choose the zoom that brings a movie's nuclei to the size that the model was trained on.

Size decides the class, and cell lines differ, so the nuclear diameter comes before the pixel size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_cellinterp.errors import OptionError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_cellinterp.config import ScaleConfig

MIN_NUCLEI = 20
PLAUSIBLE_PIXEL_SIZE_UM = (0.05, 5.0)
DISAGREEMENT = 0.25
ZOOM_LIMITS = (1 / 32, 32.0)


@dataclass(frozen=True)
class Scale:
    """Model pixels per movie pixel, and why.

    Attributes
    ----------
    zoom : float
        Model pixels per movie pixel.
    reason : str
        Where it comes from, in words.
    warning : str
        What is odd about it, in words; empty where nothing is.
    """

    zoom: float
    reason: str
    warning: str = ""


def choose_scale(
    config: ScaleConfig,
    diameters_px: NDArray[np.float64],
    file_pixel_size_um: float | None,
    reference_diameter_px: float,
    reference_pixel_size_um: float,
) -> Scale:
    """Choose the scale of a movie.

    Parameters
    ----------
    config : ScaleConfig
        What the user says.
    diameters_px : (n,) float64
        Diameters of the given or found nuclei.
    file_pixel_size_um : float or None
        Pixel size from the file, where it has one.
    reference_diameter_px, reference_pixel_size_um : float
        Of the model.

    Raises
    ------
    OptionError
        If nothing tells the scale, or what tells it is out of bounds.
    """
    if config.nucleus_diameter_px is not None:
        diameter = config.nucleus_diameter_px
        return _checked(Scale(reference_diameter_px / diameter, f"nuclear diameter of {diameter:g} px, as given"))
    if config.pixel_size_um is not None:
        size = config.pixel_size_um
        return _checked(Scale(size / reference_pixel_size_um, f"pixel size of {size:g} um, as given"))
    low, high = PLAUSIBLE_PIXEL_SIZE_UM
    by_file = None
    if file_pixel_size_um is not None and low <= file_pixel_size_um <= high:
        zoom = file_pixel_size_um / reference_pixel_size_um
        by_file = Scale(zoom, f"pixel size of {file_pixel_size_um:g} um, from the file")
    if len(diameters_px) >= MIN_NUCLEI or (by_file is None and len(diameters_px)):
        return _checked(_by_nuclei(diameters_px, by_file, reference_diameter_px))
    if by_file is None:
        raise OptionError(
            "Nothing tells how large the nuclei are: no masks, and no pixel size in the file.",
            "Give the diameter of an interphase nucleus in pixels (--nucleus-diameter-px; Scale in the viewer).",
        )
    return _checked(by_file)


def _by_nuclei(diameters_px: NDArray[np.float64], by_file: Scale | None, reference_diameter_px: float) -> Scale:
    diameter = float(np.median(diameters_px))
    zoom, warning = reference_diameter_px / diameter, ""
    if len(diameters_px) < MIN_NUCLEI:
        warning = (
            f"The scale rests on only {len(diameters_px)} nuclei (median diameter {diameter:.1f} px). "
            "If they aren't typical, give the nuclear diameter (--nucleus-diameter-px; Scale in the viewer)."
        )
    elif by_file is not None and not 1 / (1 + DISAGREEMENT) <= zoom / by_file.zoom <= 1 + DISAGREEMENT:
        warning = (
            f"Nuclei of {diameter:.1f} px (median) and the {by_file.reason} disagree about the scale "
            f"({zoom:.2f} and {by_file.zoom:.2f} model pixels per pixel). The nuclei were followed; give "
            "the pixel size to follow the file (--pixel-size-um; Scale in the viewer)."
        )
    return Scale(zoom, f"median diameter of {diameter:.1f} px of {len(diameters_px)} nuclei", warning)


def _checked(scale: Scale) -> Scale:
    if not ZOOM_LIMITS[0] <= scale.zoom <= ZOOM_LIMITS[1]:
        raise OptionError(
            f"The scale ({scale.reason}) would zoom by {scale.zoom:.3g}, beyond {ZOOM_LIMITS[0]:.3g} to "
            f"{ZOOM_LIMITS[1]:g}.",
            "Give the diameter of an interphase nucleus in pixels (--nucleus-diameter-px; Scale in the viewer).",
        )
    return scale
