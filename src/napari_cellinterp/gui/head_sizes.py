"""How large the heads of a model are, as a table. Knows no Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_cellinterp.explain.explain_report import Subject
    from napari_cellinterp.explain.rashomon import HeadSize

ROWS = {
    "weights": "n_weights",
    "parameters": "n_parameters",
    "with encoder": "n_with_encoder",
    "expression size": "expression_size",
    "tree size": "tree_size",
}
"""Titles of the figures, and what `HeadSize` calls them."""


def sizes_table(subject: Subject) -> str:
    """Return the sizes of all heads of a model as HTML: a column a head, a row a figure."""
    from napari_cellinterp.explain.figure_parts import SCHEMES
    from napari_cellinterp.explain.rashomon import head_size

    sizes = {name: head_size(subject.bundle, name) for name in SCHEMES if name in subject.bundle.heads}
    lines = [["", *(f"<b>{name}</b>" for name in sizes)]]
    for title, field in ROWS.items():
        lines.append([title, *(_number(getattr(size, field)) for size in sizes.values())])
    lines.append(["latents read", *(_latents(size) for size in sizes.values())])
    rows = "".join(f"<tr>{''.join(_cell(text) for text in line)}</tr>" for line in lines)
    return f'<table width="100%">{rows}</table>'


def _number(number: int | None) -> str:
    return "&ndash;" if number is None else f"{number:,}"


def _latents(size: HeadSize) -> str:
    return "pixels" if size.latents is None else f"{len(size.latents)}"


def _cell(text: str) -> str:
    return f'<td align="right" style="padding: 1px 4px">{text}</td>'
