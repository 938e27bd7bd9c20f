"""Curvature H of the quadratic loss model: dense, factor, diagonal, block-diagonal, rows of a layer."""

from cbs_opt.kernel.curvature.base import Curvature
from cbs_opt.kernel.curvature.block_diagonal import BlockDiagonalCurvature
from cbs_opt.kernel.curvature.damping import resolve_damping
from cbs_opt.kernel.curvature.dense import DenseCurvature
from cbs_opt.kernel.curvature.diagonal import DiagonalCurvature
from cbs_opt.kernel.curvature.factor import FactorCurvature
from cbs_opt.kernel.curvature.rows import RowsCurvature

__all__ = [
    "BlockDiagonalCurvature",
    "Curvature",
    "DenseCurvature",
    "DiagonalCurvature",
    "FactorCurvature",
    "RowsCurvature",
    "resolve_damping",
]
