"""Splits every block of H into AᵀA + diag(λ), or into such a sum that lies below it: (D) is evaluated on these.

A factor block is such a sum as it stands, and a diagonal block has no A. A dense block is split by its eigenvalues,

    H = V diag(e) Vᵀ,   δ ≈ e_min,   F = diag(e − δ)^½ Vᵀ,   λ = min_i ( E_ii − Σ_{j≠i} |E_ij| ),   E = H − FᵀF,

in units where its diagonal is near one (powers of two, which round nothing). By Gershgorin's theorem, with the
round-off of E subtracted from λ, H ⪰ FᵀF + λI is proven, however inexact the eigenvalues are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import singledispatch

import numpy as np
from scipy.linalg import eigh

from cbs_opt.errors import NotPositiveDefiniteError
from cbs_opt.kernel.arrays.types import EPS, Matrix, Vector, rounded_up
from cbs_opt.kernel.curvature import BlockDiagonalCurvature, Curvature, DiagonalCurvature, FactorCurvature


@dataclass(frozen=True, eq=False)
class DualBlock:
    """One block of H as AᵀA + diag(λ), or such a sum that is proven to lie below the block.

    Parameters
    ----------
    factor : FactorCurvature or None
        Holds A (m, n_b); None where the block is diagonal.
    damping : array, shape (n_b,)
        λ > 0 of each weight of the block.
    part : slice
        The weights of the block.
    """

    factor: FactorCurvature | None
    damping: Vector
    part: slice

    @property
    def m(self) -> int:
        """How many entries of α belong to the block."""
        return 0 if self.factor is None else self.factor.m


@singledispatch
def pieces_of(curvature: Curvature) -> tuple[DualBlock, ...]:
    """The blocks of a curvature, in the order of the weights. A class without a rule here is split by its eigenvalues.

    Raises
    ------
    NotPositiveDefiniteError
        The smallest eigenvalue of a dense block is lost in round-off, or the damping of a factor in the rounding of G;
        the message names a damping that would do.
    """
    return (DualBlock(*split_dense(curvature.below().dense()), slice(0, curvature.n)),)


@pieces_of.register
def _diagonal(curvature: DiagonalCurvature) -> tuple[DualBlock, ...]:
    return (DualBlock(None, curvature.below().diagonal(), slice(0, curvature.n)),)


@pieces_of.register
def _factor(curvature: FactorCurvature) -> tuple[DualBlock, ...]:
    return (DualBlock(curvature, _own_damping(curvature), slice(0, curvature.n)),)


@pieces_of.register
def _block_diagonal(curvature: BlockDiagonalCurvature) -> tuple[DualBlock, ...]:
    made = {id(block): pieces_of(block) for block in {id(block): block for block in curvature.blocks}.values()}
    return tuple(
        replace(piece, part=slice(part.start + piece.part.start, part.start + piece.part.stop))
        for block, part in zip(curvature.blocks, curvature.slices, strict=True)
        for piece in made[id(block)]
    )


def _own_damping(curvature: FactorCurvature) -> Vector:
    """λ less what rounding the entries of A may have changed, shape (n,), rounded down."""
    lam, slack = curvature.damping, curvature.slack
    damping = np.where(slack > 0.0, np.nextafter(lam - slack, -np.inf), lam)
    if not (damping > 0.0).all():
        needed = rounded_up(2.0 * float(slack.max()))
        raise NotPositiveDefiniteError(
            f"damping: {lam:.6g} is less than what the rounding of G/√m may change; give at least {needed:.3g}", needed
        )
    return damping


def split_dense(H: Matrix) -> tuple[FactorCurvature, Vector]:
    """A and λ > 0 (n,) with H ⪰ AᵀA + diag(λ), proven in spite of round-off.

    Raises
    ------
    NotPositiveDefiniteError
        The smallest eigenvalue of H is lost in round-off.
    """
    n = len(H)
    units = np.ldexp(1.0, np.frexp(np.sqrt(H.diagonal()))[1])
    U = H / units / units[:, None]
    spectrum, V = eigh(U)
    for share in (1.0, 0.5):
        F = np.sqrt(np.maximum(spectrum - share * spectrum[0], 0.0))[:, None] * V.T
        E = U - F.T @ F
        rows = np.abs(E).sum(axis=1) - np.abs(E.diagonal())
        error = (n + 2) * EPS * (np.abs(F).T @ np.abs(F).sum(axis=1) + np.abs(U).sum(axis=1))
        least = float((E.diagonal() - rows - 2.0 * error).min())
        if least > 0:
            damping = least * units**2
            return FactorCurvature(F * units, float(damping.min())), damping
    size = float(np.abs(spectrum).max() * units.max() ** 2)
    needed = rounded_up(64.0 * n * n * EPS * size)
    raise NotPositiveDefiniteError(
        f"H: a dense block of {n} weights is singular but for round-off (smallest eigenvalue {spectrum[0]:.3g} where "
        f"its diagonal is near one); add damping of at least {needed:.3g}",
        needed,
    )
