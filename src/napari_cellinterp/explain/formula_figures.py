"""Figures of a formula: itself, and what its terms add for a nucleus and in each state."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.mathtext import MathTextParser

from napari_cellinterp.explain.figure_parts import WIDTH_INCHES, plain, wide_figure
from napari_cellinterp.explain.formulas import term_values
from napari_cellinterp.explain.topology import latent_label
from napari_cellinterp.results.colours import state_colour

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from napari_cellinterp.models.expression import Expression

POSITIVE, NEGATIVE = "#2166ac", "#c0282d"
"""What raises the score, and what lowers it; as in the drawing of a network."""

LINE_CHARACTERS, KEY_CHARACTERS = 80, 125
"""In a figure as wide as a report: a longer formula has each term on a line of its own, and a longer key of the latents
is wrapped."""

MAX_TERMS = 24
"""More terms than these aren't drawn: the smallest are summed up."""

MAX_DRAWN_CHARACTERS, MAX_LABEL_CHARACTERS = 700, 90
"""A longer formula isn't drawn, and of a longer term only the beginning stands beside its bar."""

FORMULA_POINTS, SMALLEST_POINTS = 17.0, 5.0

LINE_INCHES, KEY_LINE_INCHES = 0.55, 0.17

WHISKERS = (5, 95)
"""Percentiles."""


def formula_figure(
    expression: Expression, titles: Mapping[int, str], score: str = "score", width: float = WIDTH_INCHES
) -> Figure:
    """Draw a formula with the names of its latents.

    Parameters
    ----------
    expression : Expression
        The formula.
    titles : mapping of int to str
        What latents are called.
    score : str
        What it gives.
    width : float
        Of the figure, inches.
    """
    lines = _lines(expression, titles, round(LINE_CHARACTERS * width / WIDTH_INCHES))
    names = ", ".join(f"{titles[i]}: z{i}" for i in expression.latents if titles.get(i, f"z{i}") != f"z{i}")
    key = fill(plain(names), round(KEY_CHARACTERS * width / WIDTH_INCHES))
    below = KEY_LINE_INCHES * key.count("\n")
    height = 0.6 + LINE_INCHES * len(lines) + below
    figure = wide_figure(height, width)
    figure.set_layout_engine("none")
    above = 1 - below / height
    texts = [
        figure.text(0.02, 1 - above * (i + 0.6) / (len(lines) + 0.7), text, fontsize=FORMULA_POINTS, va="center")
        for i, text in enumerate([f"{plain(score)}  =  {lines[0]}", *lines[1:]])
    ]
    widest = max(text.get_window_extent().width for text in texts) / figure.bbox.width
    for text in texts:
        text.set_fontsize(max(SMALLEST_POINTS, FORMULA_POINTS * min(1, 0.96 / widest)))
    figure.text(0.02, 0.04, key, fontsize=9, color="0.35", va="bottom")
    return figure


def _lines(expression: Expression, titles: Mapping[int, str], line_characters: int) -> list[str]:
    terms = expression.terms()
    if len(str(expression)) > MAX_DRAWN_CHARACTERS:
        return [f"a formula of {expression.size} nodes, too long to be drawn"]
    n_characters = len(str(expression)) + sum(len(titles.get(i, "")) for i in expression.latents)
    if n_characters <= line_characters or len(terms) > MAX_TERMS:
        return [mathtext(expression, titles)]
    first, *others = (mathtext(term, titles) for term in terms)
    # the sign stands alone, or mathtext draws a minus without room behind it
    return [first, *(f"      $-$ ${text[2:]}" if text.startswith("$-") else f"      $+$ {text}" for text in others)]


def mathtext(expression: Expression, titles: Mapping[int, str]) -> str:
    """Return a formula as matplotlib draws it, names of several words in quotes; as plain text where it can't."""
    names = {
        i: f"\N{LEFT DOUBLE QUOTATION MARK}{title}\N{RIGHT DOUBLE QUOTATION MARK}" if " " in title else title
        for i, title in titles.items()
        if title != f"z{i}"
    }
    text = f"${expression.to_latex(names, digits=3)}$"
    try:
        MathTextParser("agg").parse(text)
    except (ValueError, RecursionError):
        return str(expression)
    return text


def terms_figure(
    expression: Expression, nucleus: NDArray[np.floating], titles: Mapping[int, str], width: float = WIDTH_INCHES
) -> Figure:
    """Draw what each term adds to the score of one nucleus.

    Parameters
    ----------
    expression : Expression
        The formula.
    nucleus : (n_latents,) array
        Latents of the nucleus, standard deviations of the prior.
    titles : mapping of int to str
        What latents are called.
    width : float
        Of the figure, inches.
    """
    values = term_values(expression, nucleus[None])[0]
    labels, values = _largest(_labels(expression, titles), values[None])
    total = float(expression.evaluate(nucleus[None])[0])
    figure = wide_figure(1.4 + 0.38 * (len(labels) + 1), width)
    axes = figure.add_subplot()
    widths = np.append(np.nan_to_num(values[0]), np.nan_to_num(total))
    colours = [*(POSITIVE if value >= 0 else NEGATIVE for value in widths[:-1]), "0.35"]
    axes.barh(range(len(widths)), widths, color=colours)
    for i, value in enumerate([*values[0], total]):
        words = f"{value:+.3g}" if np.isfinite(value) else "undefined"
        axes.text(max(widths[i], 0), i, f"  {words}", va="center", fontsize=9)
    axes.set_yticks(range(len(widths)), [*labels, "score"], fontsize=_points(expression, width))
    axes.invert_yaxis()
    axes.axvline(0, color="0.3", linewidth=0.8)
    axes.margins(x=1.6 / width)
    numbers = ", ".join(f"{latent_label(i, titles)} = {nucleus[i]:.2f}" for i in expression.latents)
    numbers = plain(fill(numbers, round(7 * width)))
    axes.set(xlabel=f"added to the score (no unit)\n{numbers}", title="Terms for one nucleus")
    return figure


def terms_by_state_figure(
    expression: Expression,
    latents: NDArray[np.floating],
    state: NDArray[np.int64],
    classes: Sequence[str],
    titles: Mapping[int, str],
) -> Figure:
    """Draw what each term adds to the scores of a population, a box a state.

    Boxes are quartiles, whiskers the 5th and 95th percentile; nuclei for which a term is undefined are left out of it.

    Parameters
    ----------
    expression : Expression
        The formula.
    latents : (n, n_latents) array
        Of the population, standard deviations of the prior.
    state : (n,) int64
        Class of each nucleus.
    classes : sequence of str
        Their names.
    titles : mapping of int to str
        What latents are called.
    """
    labels, terms = _largest(_labels(expression, titles), term_values(expression, latents))
    values = np.column_stack([terms, expression.evaluate(latents)])
    figure = wide_figure(1.2 + 0.32 * len(classes) * values.shape[1])
    axes = figure.add_subplot()
    for k, name in enumerate(classes):
        _draw_boxes(
            axes, values[state == k], (k + 0.5) / len(classes) - 0.5, 0.7 / len(classes), state_colour(k), plain(name)
        )
    axes.set_yticks(range(values.shape[1]), [*labels, "score"], fontsize=_points(expression, WIDTH_INCHES))
    axes.set_ylim(values.shape[1] - 0.5, -0.5)
    axes.axvline(0, color="0.3", linewidth=0.8)
    axes.axhline(values.shape[1] - 1.5, color="0.7", linewidth=0.8)
    axes.set(xlabel="added to the score (no unit)", title="Terms over the population")
    axes.legend(loc="best", fontsize=9)
    return figure


def _draw_boxes(axes: Axes, values: NDArray[np.float64], shift: float, width: float, colour: str, name: str) -> None:
    boxes = axes.boxplot(
        [column[np.isfinite(column)] for column in values.T],
        positions=np.arange(values.shape[1]) + shift,
        widths=width * 0.9,
        whis=WHISKERS,
        showfliers=False,
        patch_artist=True,
        orientation="horizontal",
        manage_ticks=False,
    )
    for box, median in zip(boxes["boxes"], boxes["medians"], strict=True):
        box.set(facecolor=colour, alpha=0.8)
        median.set(color="black")
    if boxes["boxes"]:
        boxes["boxes"][0].set_label(name)


def _labels(expression: Expression, titles: Mapping[int, str]) -> list[str]:
    return [
        mathtext(term, titles) if len(str(term)) <= MAX_LABEL_CHARACTERS else f"{str(term)[:MAX_LABEL_CHARACTERS]}..."
        for term in expression.terms()
    ]


def _points(expression: Expression, width: float) -> float:
    """Return the size of the labels of the terms, so that the longest leaves room for the bars."""
    longest = max(len(str(term)) for term in expression.terms())
    return float(np.clip(60 * width / longest, SMALLEST_POINTS, 10))


def _largest(labels: list[str], values: NDArray[np.float64]) -> tuple[list[str], NDArray[np.float64]]:
    """Keep the terms (n, n_terms) that are largest on average, and sum up the others."""
    if len(labels) <= MAX_TERMS:
        return labels, values
    sizes = np.nan_to_num(np.abs(values)).mean(axis=0)
    kept, others = np.split(np.argsort(-sizes), [MAX_TERMS])
    kept = np.sort(kept)
    summed = np.column_stack([values[:, kept], values[:, others].sum(axis=1)])
    return [*(labels[i] for i in kept), f"{len(others)} more terms"], summed
