"""Which of the things that tell the scale is followed."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from napari_cellinterp.config import ScaleConfig
from napari_cellinterp.errors import OptionError
from napari_cellinterp.movies.scale import choose_scale


def chosen(diameter=None, pixel_size=None, nuclei=(), file=None):
    config = ScaleConfig(nucleus_diameter_px=diameter, pixel_size_um=pixel_size)
    return choose_scale(config, np.asarray(nuclei, float), file, 29.0, 0.333)


MANY = np.full(20, 14.5)


@pytest.mark.parametrize(
    ("given", "zoom", "said"),
    [
        ({"diameter": 10, "nuclei": MANY, "file": 0.333}, 2.9, "diameter of 10 px, as given"),
        ({"pixel_size": 0.666, "nuclei": MANY, "file": 0.333}, 2.0, "pixel size of 0.666 um, as given"),
        ({"nuclei": MANY, "file": 0.666}, 2.0, "of 20 nuclei"),
        ({"nuclei": MANY}, 2.0, "of 20 nuclei"),
        ({"nuclei": [*MANY, *[1000] * 19]}, 2.0, "14.5 px of 39 nuclei"),
        ({"nuclei": MANY[:19], "file": 0.1665}, 0.5, "0.1665 um, from the file"),
        ({"file": 0.333}, 1.0, "from the file"),
        ({"file": 0.05}, 0.05 / 0.333, "from the file"),
        ({"file": 5.0}, 5 / 0.333, "from the file"),
        ({"nuclei": MANY[:3]}, 2.0, "of 3 nuclei"),
        ({"nuclei": MANY[:3], "file": 0.049}, 2.0, "of 3 nuclei"),
        ({"nuclei": MANY[:3], "file": 5.01}, 2.0, "of 3 nuclei"),
    ],
)
def test_the_order_of_the_rules(given, zoom, said):
    scale = chosen(**given)
    assert scale.zoom == pytest.approx(zoom)
    assert said in scale.reason


@pytest.mark.parametrize(
    ("file_zoom", "warned"),
    [(2.0, False), (2 * 1.24, False), (2 / 1.24, False), (2 * 1.26, True), (2 / 1.26, True), (0.2, True)],
)
def test_a_disagreement_of_more_than_a_quarter_is_said(file_zoom, warned):
    scale = chosen(nuclei=MANY, file=file_zoom * 0.333)
    assert scale.zoom == pytest.approx(2.0)
    assert bool(scale.warning) is warned
    if warned:
        assert f"{file_zoom:.2f}" in scale.warning
        assert "2.00" in scale.warning


def test_what_is_given_needs_no_warning():
    assert not chosen(diameter=10, nuclei=MANY, file=0.333).warning
    assert not chosen(pixel_size=0.1, nuclei=MANY, file=0.333).warning


def test_few_nuclei_alone_are_followed_but_not_trusted():
    assert "only 5 nuclei" in chosen(nuclei=MANY[:5]).warning
    assert not chosen(nuclei=MANY[:5], file=0.333).warning


@pytest.mark.parametrize("file", [None, 0.0499, 5.1, 1e6])
def test_where_nothing_tells_the_scale_the_diameter_is_asked_for(file):
    with pytest.raises(OptionError, match="Nothing tells how large") as caught:
        chosen(file=file)
    assert "--nucleus-diameter-px" in caught.value.advice


@pytest.mark.parametrize("given", [{"nuclei": np.full(30, 0.8)}, {"nuclei": np.full(30, 1000.0)}, {"pixel_size": 20}])
def test_an_absurd_zoom_is_an_error(given):
    with pytest.raises(OptionError, match="beyond"):
        chosen(**given)


def test_diameter_and_pixel_size_exclude_each_other():
    with pytest.raises(ValidationError, match=r"nucleus_diameter_px \(12\) and pixel_size_um \(0.5\) were both given"):
        ScaleConfig(nucleus_diameter_px=12, pixel_size_um=0.5)
