"""What exchanges of single weights gain on the selection objective, kept up to date while exchanges are made.

With p = 1 − z, A = diag(w̄) H diag(w̄) and the gradient u = A p − g∘w̄, keeping the pruned weight i again lowers the
objective by a_i = u_i − ½A_ii, pruning the kept weight j raises it by b_j = u_j + ½A_jj, and doing both changes it by
b_j − A_ij − a_i. Where H = FᵀF + λI is given by its factor F, no column of A is formed: the m numbers F(p∘w̄) are kept,
and the gains of the few weights that are looked at are computed from them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import singledispatch

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.curvature import Curvature, DenseCurvature, FactorCurvature
from cbs_opt.kernel.problem import PruningProblem

Indices = NDArray[np.intp]


class Gains(ABC):
    """What exchanges gain at a mask that changes with every exchange made."""

    def __init__(self, problem: PruningProblem, z: Mask) -> None:
        self.problem, self.w_bar, H = problem, problem.w_bar, problem.curvature
        self.half_diagonal = 0.5 * H.diagonal() * self.w_bar**2
        self.gradient = self.w_bar * (H.matvec(np.where(z, 0.0, self.w_bar)) - problem.linear_term())

    def column(self, i: np.intp) -> Vector:
        """Column i of A, shape (n,), without forming A."""
        return column_of(self.problem.curvature, self.w_bar, i)

    @abstractmethod
    def changes(self, i: np.intp, window: Indices) -> Vector:
        """By how much the objective changes, b_j − A_ij − a_i, if i is kept and j pruned, for each j of ``window``."""

    @abstractmethod
    def exchange(self, i: np.intp, j: np.intp) -> None:
        """Make an exchange: keep the pruned weight i, prune the kept weight j."""


class _Columns(Gains):
    """Gains by the gradient of all weights, updated by two columns of A with each exchange."""

    def changes(self, i: np.intp, window: Indices) -> Vector:
        self._last = (i, self.column(i))
        b = self.gradient[window] + self.half_diagonal[window]
        return np.asarray(b - self._last[1][window] - (self.gradient[i] - self.half_diagonal[i]))

    def exchange(self, i: np.intp, j: np.intp) -> None:
        entered = self._last[1] if self._last[0] == i else self.column(i)
        self.gradient += self.column(j) - entered


class _Factored(Gains):
    """Gains by the image F(p∘w̄), updated by two columns of F with each exchange."""

    def __init__(self, factor: FactorCurvature, problem: PruningProblem, z: Mask) -> None:
        super().__init__(problem, z)
        self.factor = factor
        self.removed = np.where(z, 0.0, self.w_bar)
        self.image = self.factor.image(self.removed)
        self.g = problem.linear_term()

    def changes(self, i: np.intp, window: Indices) -> Vector:
        looked_at = np.concatenate(([i], window))
        columns = self.factor.columns(looked_at)
        w = self.w_bar[looked_at]
        slope = self.image @ columns + self.factor.damping * self.removed[looked_at] - self.g[looked_at]
        interaction = w[1:] * w[0] * (columns[:, 0] @ columns[:, 1:])
        b = w[1:] * slope[1:] + self.half_diagonal[window]
        return np.asarray(b - interaction - (w[0] * slope[0] - self.half_diagonal[i]))

    def exchange(self, i: np.intp, j: np.intp) -> None:
        columns = self.factor.columns(np.array([i, j]))
        self.image += columns @ np.array([-self.w_bar[i], self.w_bar[j]])
        self.removed[i], self.removed[j] = 0.0, self.w_bar[j]


@singledispatch
def gains_of(curvature: Curvature, problem: PruningProblem, z: Mask) -> Gains:
    """The gains at ``z`` for ``problem``, whose curvature is the first argument, in the form that suits it."""
    return _Columns(problem, z)


@gains_of.register
def _factored(curvature: FactorCurvature, problem: PruningProblem, z: Mask) -> Gains:
    return _Factored(curvature, problem, z)


@singledispatch
def column_of(H: Curvature, w_bar: Vector, i: np.intp) -> Vector:
    """Column i of A = diag(w̄) H diag(w̄), shape (n,), by one product with H."""
    unit = np.zeros(len(w_bar))
    unit[i] = w_bar[i]
    return w_bar * H.matvec(unit)


@column_of.register
def _dense_column(H: DenseCurvature, w_bar: Vector, i: np.intp) -> Vector:
    return np.asarray(w_bar[i] * w_bar * H.dense()[i])
