"""The parts of an HTML report that needs no other file."""

from __future__ import annotations

from base64 import b64encode
from html import escape
from typing import TYPE_CHECKING

from napari_cellinterp.explain.figure_parts import png

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 1100px; margin: 2em auto;
       padding: 0 1em; }
h1, h2 { font-weight: 600; } h2 { margin-top: 2em; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; margin: 1em 0; } th, td { border: 1px solid #ccc; padding: .35em .6em;
        text-align: left; vertical-align: top; } th { background: #f4f4f4; }
.holds { background: #e3f4e8; } .broken { background: #fbe6df; } .unknown { color: #777; }
.row { display: flex; flex-wrap: wrap; gap: 0 2em; } .row figure { flex: 1 1 26em; max-width: 34em; }
pre { white-space: pre-wrap; font-size: 12px; background: #f8f8f8; padding: 1em; overflow-wrap: anywhere; }
figure { margin: 1.5em 0; } img { max-width: 100%; } figcaption, small { color: #555; }
"""


def page(title: str, parts: Sequence[str]) -> str:
    """Return a whole page of parts that are HTML already."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head><body><h1>{escape(title)}</h1>\n" + "\n".join(parts) + "</body></html>\n"
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of cells that are HTML already."""
    head = "".join(f"<th>{name}</th>" for name in header)
    body = "".join("<tr>" + "".join(row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def cell(text: str, kind: str = "") -> str:
    """Return a cell of a table, of text that is HTML already; ``kind`` is a class of `STYLE`."""
    return f'<td class="{kind}">{text}</td>' if kind else f"<td>{text}</td>"


def percent(share: float | None) -> str:
    """Return a share in percent; a dash where it isn't known."""
    return "&ndash;" if share is None else f"{100 * share:.1f}&nbsp;%"


def image(figure: Figure, caption: str) -> str:
    """Return a figure inside the page, with a caption that is HTML already."""
    data = b64encode(png(figure)).decode()
    alt = caption.split(".")[0]
    return f'<figure><img alt="{alt}" src="data:image/png;base64,{data}"><figcaption>{caption}</figcaption></figure>'
