"""Curvature made of samples, GᵀG/m or XᵀX/m, and the damping on top."""

from __future__ import annotations

import numpy as np

from cbs_opt.errors import InputError
from cbs_opt.kernel.arrays.types import Matrix
from cbs_opt.kernel.curvature.base import Curvature
from cbs_opt.kernel.curvature.damping import resolve_damping
from cbs_opt.kernel.curvature.dense import DenseCurvature
from cbs_opt.kernel.curvature.factor import FactorCurvature
from cbs_opt.kernel.curvature.second_moment import second_moment


def curvature_of_samples(
    rows: Matrix, field: str, damping: float | None = None, dampening_frac: float | None = None
) -> Curvature:
    """H = rowsᵀrows/m + λI for m samples, one a row: its factor while m < n, else H itself, the smaller of the two.

    Parameters
    ----------
    rows : array, shape (m, n)
    field : str
        What the samples are called in messages.
    damping, dampening_frac : float
        Exactly one: λ itself, or λ as a fraction of the mean diagonal.
    """
    m, n = rows.shape
    mean_diagonal = float(np.einsum("ij,ij->", rows, rows)) / (m * n)
    lam = resolve_damping(damping, dampening_frac, mean_diagonal)
    if m < n and lam == 0:
        raise InputError(
            f"damping: is 0, but {m} samples cannot determine {n} weights ({field}ᵀ{field} is singular); add damping"
        )
    if m < n:
        return FactorCurvature.of_samples(rows, lam)
    H, slack = second_moment(rows, lam, m)
    return DenseCurvature.formed(H, slack, lam)
