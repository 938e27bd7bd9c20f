"""The problem of the free weights alone, with all decided weights eliminated, and a bound on its round-off.

Let P be pruned and U kept, and let x minimize f subject to that. Eliminating U by a Schur complement leaves, on the
free weights F and with c_F = x_F,

    f = f(c) + base + ½ (w − c_F)ᵀ H_F (w − c_F),     H_F = H_FF − H_FU H_UU⁻¹ H_UF,          (reduced)

which is a problem of the same kind. Computed in float64 it is a rounded copy of the exact problem: with e = w − c_F the
exact loss, relative to f(c), is at least

    base − β − Σ σĝ_p|e_p| + ½eᵀH_F e − ½γ (Σ ĝ_p|e_p|)²                                      (round-off)

with ĝ, σ and γ as in ``node_margin`` (``compiled/node.py``), and β for the round-off of the base and of the solve for
x.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.linalg import LinAlgError
from numpy.typing import NDArray

from cbs_opt.kernel.arrays.types import Matrix, Vector
from cbs_opt.kernel.curvature import DenseCurvature
from cbs_opt.solvers.bounds.centered import CenteredBlock


@dataclass(frozen=True, eq=False)
class Reduction:
    """The reduced problem of the free weights, with all that bounds its round-off.

    Parameters
    ----------
    block : CenteredBlock
        The whole problem.
    order : int array (a,)
        The weights that are not pruned: first the kept ones, then the m free ones.
    kept : int
        How many weights are kept.
    d : array (n,)
        x − c.
    H, c, base : arrays (m, m), (m,), float
        H_F, c_F and base.
    reach : array (m,)
        ĝ.
    shift : float
        Where H_F − diag(D + shift) has a Cholesky factor, D is a splitting of the exact H_F.
    """

    block: CenteredBlock
    order: NDArray[np.int64]
    kept: int
    d: Vector
    H: Matrix
    c: Vector
    base: float
    reach: Vector
    shift: float

    @classmethod
    def of(cls, block: CenteredBlock, state: NDArray[np.int8]) -> Self:
        """The reduction by ``state`` (n,), which says FREE, KEPT or PRUNED of each weight.

        Raises
        ------
        LinAlgError
            The computed H_UU or H_F is not positive definite.
        """
        from cbs_opt.solvers.compiled.node import active, eliminate, reach_of_free, schur_complement, splitting_shift

        order, kept = active(state)
        W, L, d = np.empty((len(order),) * 2), np.empty((len(order),) * 2), np.empty(len(state))
        ok, base, _ = eliminate(block.H, block.c, state, order, W, L, d)
        if not ok:
            raise LinAlgError("what the decided weights leave is not positive definite up to round-off")
        free = order[kept:]
        H = np.empty((len(free),) * 2)
        schur_complement(W, L, kept, H)
        reach = reach_of_free(block.H, order, kept, L)
        shift = splitting_shift(block.H, H, reach, kept)
        return cls(block, order, kept, d, H, (block.c + d)[free], base, reach, shift)

    @property
    def free(self) -> NDArray[np.int64]:
        """F, ascending, shape (m,)."""
        return self.order[self.kept :]

    def margin(self, D: Vector, scores: Vector, w: Vector) -> float:
        """How much round-off may have added to base plus a bound (B) at ``w``; all arguments have shape (m,)."""
        from cbs_opt.solvers.compiled.node import node_margin

        block = self.block
        return float(
            node_margin(block.H, self.d, self.order, self.kept, self.reach, block.smallest, D, scores, w, self.c)
        )

    @property
    def least(self) -> float:
        """The lower bound that the base alone proves for every mask; −inf where it proves none."""
        return self.base - 1.01 * self._errors[2] if self.block.smallest > 0 else -math.inf

    def slack(self, V: float) -> float:
        """How much round-off may have added to base + ½eᵀH_Fe, wherever ½eᵀH_Fe is at most ``V``.

        There |e_p| ≤ √(2V(H_F⁻¹)_pp). The factor 2 is raised to 3 because H_F⁻¹ is computed, which is enough where
        λ_min(H) allows an elimination at all.
        """
        if not self.block.smallest > 0:
            return math.inf
        sigma, gamma, beta = self._errors
        t = float(self.reach @ np.sqrt(3.0 * V * DenseCurvature(self.H).inverse_diagonal()))
        return 1.01 * (beta + sigma * t + 0.5 * gamma * t * t)

    @cached_property
    def _errors(self) -> tuple[float, float, float]:
        """σ, γ and β."""
        from cbs_opt.solvers.compiled.node import elimination_error

        block = self.block
        sigma, gamma, beta = elimination_error(block.H, self.d, self.order, self.kept, block.smallest, self.c)
        return float(sigma), float(gamma), float(beta)
