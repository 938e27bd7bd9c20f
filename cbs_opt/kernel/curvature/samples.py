"""Curvature made of samples: GᵀG/m + λI of gradients, or XᵀX/m + λI of layer inputs."""

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
    """The curvature H = rowsᵀrows/m + λI of m samples, stored as a factor where m < n and otherwise in full.

    Parameters
    ----------
    rows : array, shape (m, n)
        One sample a row.
    field : str
        What the samples are called in messages, as 'G' or 'X'.
    damping, dampening_frac : float
        Exactly one of the two: λ itself, or λ as a fraction of the mean diagonal of rowsᵀrows/m.

    Raises
    ------
    InputError
        Both or neither are given, or λ is 0 although there are fewer samples than weights.
    NotPositiveDefiniteError
        H is stored in full and has no Cholesky factor with the margin that float64 needs.
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
