"""One colour a state, the same everywhere; colour-blind-safe (after Okabe and Ito 2008)."""

from __future__ import annotations

_COLOURS = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#d55e00", "#0072b2")

UNDEFINED_COLOUR = "#999999"


def state_colour(i: int) -> str:
    """Return the colour of the i-th class, counted from 0, as ``#rrggbb``; classes beyond the palette start anew."""
    return _COLOURS[i % len(_COLOURS)]
