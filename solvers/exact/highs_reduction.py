"""The free weights alone, everything decided being eliminated, and what round-off may have made of them.

With P (pruned) and U (kept) fixed, eliminating U by a Schur complement leaves on the free weights F, at the minimizer x
of what is decided, c_F = x_F,

    f = f(c) + base + ½ (w − c_F)ᵀ H_F (w − c_F),     H_F = H_FF − H_FU H_UU⁻¹ H_UF,          (reduced)

again a problem of the same kind. Of the exact one it is a rounded copy: with e = w − c_F the exact loss is at least

    base − β − Σ σĝ_p|e_p| + ½eᵀH_F e − ½γ (Σ ĝ_p|e_p|)²                                      (round-off)

with ĝ, σ, γ as in ``node_margin`` (``compiled/node.py``) and β for the base and for what the solve for x left.
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
    """(reduced) and (round-off).

    Parameters
    ----------
    block : CenteredBlock
    order : int array (a,)
        The weights that are not pruned: ``kept`` of them that stay, then the m free ones.
    d : array (n,)
        x − c.
    H, c, base : arrays (m, m), (m,), float
        H_F, c_F and base.
    reach : array (m,)
        ĝ.
    shift : float
        D is a splitting of the exact H_F where H_F − diag(D + shift) has a Cholesky factor.
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
        """That of what ``state``, (n,), says of each weight.

        Raises
        ------
        LinAlgError
            Round-off left no positive definite H_UU or H_F.
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
        """What (round-off) may have added, together with the base, to a bound (B) at ``w``; all of shape (m,)."""
        from cbs_opt.solvers.compiled.node import node_margin

        block = self.block
        return float(
            node_margin(block.H, self.d, self.order, self.kept, self.reach, block.smallest, D, scores, w, self.c)
        )

    @property
    def least(self) -> float:
        """What the base proves of every mask."""
        return self.base - 1.01 * self._errors[2] if self.block.smallest > 0 else -math.inf

    def slack(self, V: float) -> float:
        """What (round-off) may have added to base and ½eᵀH_Fe together, wherever the latter is at most ``V``.

        There |e_p| ≤ √(2V(H_F⁻¹)_pp). A half is added for H_F⁻¹ being computed; λ_min(H) is good enough for that.
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
