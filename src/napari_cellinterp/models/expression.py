"""A formula as a value: read it, evaluate it with NumPy or torch, take it apart, print it.

The operators are those of the paper's symbolic regression (appendix B.4): + - * / and square, exp, log, sin, sqrt, abs;
a general power is read too. Nothing is simplified, so that sizes and complexities are those of the formula as written.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellinterp.errors import ExpressionError
from napari_cellinterp.models import expression_nodes, expression_text
from napari_cellinterp.models.expression_nodes import Constant, Latent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch
    from numpy.typing import ArrayLike, NDArray

    from napari_cellinterp.models.expression_nodes import Node


@dataclass(frozen=True, slots=True)
class Expression:
    """A formula over the latents; equal where the trees are equal, and printed so that it reads back as it is.

    Attributes
    ----------
    root : Node
        Tree of the formula, as `parse` makes it.
    """

    root: Node

    @classmethod
    def parse(cls, text: str) -> Expression:
        """Read a formula as a person, PySR or sympy writes it.

        Parameters
        ----------
        text : str
            Of numbers, latents (``z29``, ``z_29``, ``x29``), ``+ - * / ** ^``, brackets, and the functions square, exp,
            log, sin, sqrt, abs and Abs.

        Returns
        -------
        Expression
            The formula as written.

        Raises
        ------
        ExpressionError
            Where the text is anything else; the message names the token, its position and the nearest right name.

        Notes
        -----
        ``x**2`` is the unary square (2 nodes with a latent), every other power is binary. A literal negative number is
        one constant; a minus before anything else is a node of its own. A minus is applied after a power, as in Python.
        """
        return cls(expression_text.read(text))

    @property
    def latents(self) -> tuple[int, ...]:
        """Indices of the latents in the formula, sorted."""
        nodes = expression_nodes.walk(self.root)
        return tuple(sorted({node.index for node in nodes if isinstance(node, Latent)}))

    @property
    def size(self) -> int:
        """Number of nodes of the tree: the paper's expression size (appendix D).

        Every operator, constant and latent is one node. The square is a unary operator.
        """
        return sum(1 for _ in expression_nodes.walk(self.root))

    @property
    def complexity(self) -> int:
        """Like the size, but sin costs 3, exp and log 2 (appendix B.4 of the paper)."""
        return sum(expression_nodes.cost(node) for node in expression_nodes.walk(self.root))

    def __str__(self) -> str:
        return expression_text.write(self.root)

    def check_latents(self, n_latents: int) -> None:
        """Make sure that a model has the latents of the formula.

        Parameters
        ----------
        n_latents : int
            Number of latents of the model, which are numbered from 0.

        Raises
        ------
        ExpressionError
            If the formula uses one beyond the last.
        """
        beyond = [f"z{index}" for index in self.latents if index >= n_latents]
        if beyond:
            raise ExpressionError(
                f"The formula {self} uses {', '.join(beyond)}, but there are only {n_latents} latents.",
                f"Use z0 to z{n_latents - 1}, or the model that the formula was made for.",
            )

    def evaluate(self, latents: ArrayLike) -> NDArray[np.float64]:
        """Score of each row of latents.

        Parameters
        ----------
        latents : array_like
            (n, n_latents) floating point.

        Returns
        -------
        ndarray
            (n,) float64; NaN where any part of the formula is undefined or infinite.

        Raises
        ------
        ExpressionError
            If the array isn't two-dimensional, or lacks a latent.
        """
        values = self._checked(latents)
        with np.errstate(all="ignore"):
            scores: NDArray[np.float64] = expression_nodes.value(
                self.root, np, values, lambda number: np.full(len(values), number)
            )
        return scores

    def gradient(self, latents: ArrayLike) -> NDArray[np.float64]:
        """Differentiate the score by each latent, exactly.

        Parameters
        ----------
        latents : array_like
            (n, n_latents) floating point.

        Returns
        -------
        ndarray
            (n, n_latents) float64; 0 for latents that aren't in the formula, NaN in rows whose score is undefined and
            where the derivative itself is. At the kink of abs it is 0.

        Raises
        ------
        ExpressionError
            If the array isn't two-dimensional, or lacks a latent.
        """
        values = self._checked(latents)
        with np.errstate(all="ignore"):
            scores, slopes = expression_nodes.value_and_slopes(self.root, values)
        gradient = np.zeros_like(values)
        for index, slope in slopes.items():
            gradient[:, index] = np.where(np.isfinite(slope), slope, np.nan)
        gradient[np.isnan(scores)] = np.nan
        return gradient

    def torch_score(self, latents: torch.Tensor) -> torch.Tensor:
        """Score of each row of latents, differentiable.

        Parameters
        ----------
        latents : Tensor
            (n, n_latents) floating point, on any device. The formula is computed in its precision: give float64 for
            the very figures of `evaluate`.

        Returns
        -------
        Tensor
            (n,), dtype and device of ``latents``; NaN where any part of the formula is undefined or infinite.

        Raises
        ------
        ExpressionError
            If the tensor isn't two-dimensional, or lacks a latent.
        """
        import torch

        self._check_shape(tuple(latents.shape))
        score: torch.Tensor = expression_nodes.value(
            self.root, torch, latents, lambda number: latents.new_full((len(latents),), number)
        )
        return score

    def terms(self) -> tuple[Expression, ...]:
        """Top-level terms, each with its sign; their values sum to that of the formula."""
        return tuple(Expression(node) for node in expression_nodes.additive_terms(self.root))

    def to_latex(self, names: Mapping[int, str] | None = None, digits: int = 4) -> str:
        """LaTeX of the formula, without dollar signs; matplotlib can draw it too.

        Parameters
        ----------
        names : mapping of int to str, optional
            Plain names of latents; those without are set as z with an index.
        digits : int
            Significant digits of the constants.
        """
        return expression_text.latex(self.root, names or {}, digits)

    def to_sympy(self) -> Any:
        """Make a sympy expression over real symbols ``z0``, ``z1``, ...; sympy rearranges it."""
        return _to_sympy(self.root)

    def _checked(self, latents: ArrayLike) -> NDArray[np.float64]:
        values = np.asarray(latents, dtype=np.float64)
        self._check_shape(values.shape)
        return values

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 2:
            raise ExpressionError(f"Latents of shape {shape} were given.", "Give an array (n, n_latents).")
        self.check_latents(shape[1])


def _to_sympy(node: Node) -> Any:
    import sympy

    match node:
        case Constant(number):
            return sympy.Integer(int(number)) if number.is_integer() else sympy.Float(number)
        case Latent(index):
            return sympy.Symbol(f"z{index}", real=True)
    arguments = [_to_sympy(child) for child in expression_nodes.children(node)]
    return (_PYTHON.get(node.operator) or getattr(sympy, node.operator))(*arguments)


_PYTHON: dict[str, Callable[..., Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
    "neg": operator.neg,
    "square": lambda a: a**2,
    "abs": abs,
}
