"""The quadratic model of one layer: how much its outputs change, on average over samples and positions.

For output row r of a layer with weight matrix W̄ (out, in), inputs X̂ (columns x̂, see ``patches``) in the network
pruned so far and X in the dense one,

    f_r(w) = 1/(2·columns) ‖X̂ᵀw − Xᵀw̄_r‖² + λ/2 ‖w − w̄_r‖²
           = offset_r + g_rᵀ(w − w̄_r) + ½ (w − w̄_r)ᵀ H (w − w̄_r),

    H = X̂X̂ᵀ/columns + λI,   g_r = X̂(X̂ − X)ᵀw̄_r/columns,   offset_r = ‖(X̂ − X)ᵀw̄_r‖²/(2·columns).

With X̂ = X (the plain layer Gram) g = 0 and offset = 0. All rows of a group share H. The sums that H, g and offset are
made from are added up by ``layer_sums``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.arrays.types import EPS, Matrix, Vector
from cbs_opt.kernel.curvature import DenseCurvature, RowsCurvature
from cbs_opt.kernel.curvature.damping import dominance
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.network.targets import Target


@dataclass(frozen=True, eq=False)
class LayerModel:
    """The quadratic models of all rows of one layer.

    Parameters
    ----------
    target : Target
        The layer.
    w_bar : array, shape (out, in)
        The trained weights as a matrix.
    gram : array, shape (groups, in, in)
        X̂X̂ᵀ/columns of each group, without damping.
    g : array, shape (out, in)
        First-order terms; zero for the plain layer Gram.
    offset : array, shape (out,)
        f_r(w̄_r).
    damping : float
        λ, the same for all rows.
    columns : int
        The number of columns that the mean was taken over: samples times positions.
    precision : str
        The precision in which the network computed: 'float32' or 'float64'. On a CPU and without ``slack``, the
        products of its inputs are computed in it (at least in float32), a few thousand of them added up; everything
        else is float64.
    notes : tuple of str
        What was altered or looks wrong.
    slack : array, shape (groups, in), optional
        e ≥ 0 of each group: with ``gram`` − diag(e) in place of ``gram``, f is nowhere above the f of the layer's
        inputs in exact arithmetic (``layer_sums``). Left out, ``gram``, g and offset are the data that bounds are
        about.
    sibling : LayerModel, optional
        The model of a layer with the same inputs, and so with the same curvature, which is formed only once.
    """

    target: Target
    w_bar: Matrix
    gram: NDArray[np.float64]
    g: Matrix
    offset: Vector
    damping: float
    columns: int
    precision: str
    slack: Matrix | None = None
    notes: tuple[str, ...] = ()
    sibling: LayerModel | None = None

    @property
    def name(self) -> str:
        """The layer's module name."""
        return self.target.name

    @property
    def dominance(self) -> float:
        """λ divided by the mean diagonal of the Gram matrices; inf if they are zero."""
        return dominance(self.damping, float(np.einsum("gii->gi", self.gram).mean()))

    @property
    def H(self) -> NDArray[np.float64]:
        """gram + λI, shape (groups, in, in); a new array each time."""
        return self.gram + self.damping * np.eye(self.target.inputs)

    @property
    def B(self) -> Matrix:
        """b_r = H w̄_r − g_r, shape (out, in)."""
        product = np.concatenate([w @ H for w, H in zip(self._by_group(self.w_bar), self.gram, strict=True)])
        return product + self.damping * self.w_bar - self.g

    @property
    def c(self) -> Vector:
        """The constants c_r of f_r(w) = c_r − b_rᵀw + ½wᵀHw, shape (out,)."""
        # f(w̄) = offset = c − bᵀw̄ + ½w̄ᵀHw̄ and b = Hw̄ − g give c = offset + ½(b − g)ᵀw̄.
        return self.offset + 0.5 * np.einsum("ri,ri->r", self.B - self.g, self.w_bar)

    def losses(self, w: Matrix) -> Vector:
        """f_r(w_r) of each row, shape (out,), for weights ``w`` of shape (out, in)."""
        d = w - self.w_bar
        image = np.concatenate([part @ H for part, H in zip(self._by_group(d), self.gram, strict=True)])
        return self.offset + np.einsum("ri,ri->r", self.g + 0.5 * (image + self.damping * d), d)

    @cached_property
    def curvatures(self) -> tuple[DenseCurvature, ...]:
        """H of each group, one object shared by all rows of the group, and by the layers with the same inputs."""
        if self.sibling is not None:
            return self.sibling.curvatures
        if self.slack is None:
            return tuple(DenseCurvature(H, self.damping) for H in self.gram)
        damped = self.H
        of_damping = EPS * np.einsum("gii->gi", damped)
        return tuple(
            DenseCurvature.formed(H, e, self.damping) for H, e in zip(damped, self.slack + of_damping, strict=True)
        )

    def problem(self, row: int) -> PruningProblem:
        """The pruning problem of one output row, without a pattern."""
        g = self.g[row] if self.g[row].any() else None
        H = self.curvatures[self.target.group(row)]
        name = f"{self.target.tensor} row {row}"
        return PruningProblem(self.w_bar[row], H, g=g, offset=float(self.offset[row]), name=name)

    def _by_group(self, matrix: Matrix) -> list[Matrix]:
        return np.split(matrix, self.target.groups)


def groups(target: Target) -> Iterator[tuple[int, slice]]:
    """Each group of the layer with its rows; only a grouped convolution has more than one."""
    size = target.outputs // target.groups
    for group in range(target.groups):
        yield group, slice(group * size, (group + 1) * size)


def group_problem(layer: LayerModel, group: int, rows: slice, pattern: Pattern) -> PruningProblem:
    """The rows of one group as one problem: its weights are those of row after row, and f is summed over the rows.

    Parameters
    ----------
    layer : LayerModel
        The layer's model, from ``layer_grams`` or ``sequential_layers``.
    group : int
        The group of a grouped convolution; 0 for any other layer.
    rows : slice
        The rows of the layer that are the group's outputs.
    pattern : Pattern
        A pattern of (number of rows) · in weights.
    """
    w_bar, g = layer.w_bar[rows], layer.g[rows]
    name = layer.target.tensor if layer.target.groups == 1 else f"{layer.target.tensor} group {group}"
    return PruningProblem(
        w_bar.ravel(),
        RowsCurvature(layer.curvatures[group], len(w_bar)),
        g=g.ravel() if np.any(g) else None,
        offset=float(layer.offset[rows].sum()),
        pattern=pattern,
        name=name,
    )
