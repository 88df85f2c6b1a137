"""What the figures of all reports share: light background, one colour a head."""

from __future__ import annotations

from io import BytesIO

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLOURS = {"cnn": "#d55e00", "dense": "#cc79a7", "sparse": "#0072b2", "symbolic": "#009e73"}
"""Of the heads; colour-blind-safe (after Okabe and Ito 2008)."""

SCHEMES = {"cnn": "1 (CNN)", "dense": "2 (dense)", "sparse": "3 (sparse)", "symbolic": "4 (symbolic)"}
"""Names of the heads in figures: the paper's schemes."""

WIDTH_INCHES, NARROW_INCHES = 10.0, 5.6
"""Of figures in a report, and beside a movie."""


def png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110, facecolor="white")
    return buffer.getvalue()


def svg(figure: Figure, *, outlined: bool = False) -> bytes:
    """Return a figure as SVG whose text can be edited; outlined, as formulas need it, it looks the same everywhere."""
    buffer = BytesIO()
    with rc_context({"svg.fonttype": "path" if outlined else "none", "svg.hashsalt": "cellinterp"}):
        figure.savefig(buffer, format="svg", facecolor="white", metadata={"Date": None})
    return buffer.getvalue()


def pdf(figure: Figure) -> bytes:
    """Return a figure as PDF whose text can be edited."""
    buffer = BytesIO()
    with rc_context({"pdf.fonttype": 42}):
        figure.savefig(buffer, format="pdf", facecolor="white", metadata={"CreationDate": None})
    return buffer.getvalue()


def plain(text: str) -> str:
    """Return text as figures show it letter by letter: a dollar sign in a person's name for a latent is no formula."""
    return text.replace("$", r"\$")


def wide_figure(height: float, width: float = WIDTH_INCHES) -> Figure:
    """Return a figure as wide as a report, or of another width; inches."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained")
    return figure
