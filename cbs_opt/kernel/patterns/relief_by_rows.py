"""``Pattern.relief`` from linear rows: how much pruning each kept weight brings a mask nearer to the pattern.

Where the rows have no variables besides z, and z exceeds row r by over_r, pruning weight i removes the part
min(A_ri/over_r, 1) of the excess. Where they have variables y of their own,

    violation(z) = min Σ_r t_r     over  A (z, y) − t ≤ b,  t ≥ 0,  y within its bounds (whole or not),

is a convex function of z, and the slope in z_i divided by the violation takes the place of that part. A mask may be
outside the pattern only because no *whole* y fits; its violation is then zero, and all kept weights count alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array, eye_array, hstack

from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.patterns.program import Program
from cbs_opt.kernel.patterns.rows import Named, Rows, largest_entries

if TYPE_CHECKING:
    from cbs_opt.kernel.patterns.base import Pattern

SLOPE = 1e-6
"""Slopes below this part of the largest one count as zero: they may be errors of HiGHS' multipliers."""


def relief_by_rows(pattern: Pattern, z: Mask) -> Vector:
    """``Pattern.relief``, computed from ``pattern.rows()``."""
    kept = z & pattern.free
    if pattern.contains(z):
        return np.zeros(len(z))
    rows = pattern.rows()
    nearer = np.where(kept, _slopes(rows, z) if rows.own else _parts(rows, z), 0.0)
    return nearer if nearer.any() else kept.astype(np.float64)


def _parts(rows: Rows, z: Mask) -> Vector:
    """Σ_r min(A_ri/over_r, 1) over the rows r that z exceeds, where A_ri > 0; shape (n,)."""
    over = rows.A @ z.astype(np.float64) - rows.limit
    exceeded = np.flatnonzero(over > 0)
    A = rows.A[exceeded].toarray()
    return np.asarray(np.clip(A / over[exceeded, None], 0.0, 1.0).sum(axis=0))


def _slopes(rows: Rows, z: Mask) -> Vector:
    """The slopes of the violation at z divided by the violation, shape (n,), none below zero or above one."""
    m, fixed = len(rows.b), z.astype(np.float64)
    unit = np.where(largest_entries(rows.A) > 0, largest_entries(rows.A), 1.0)
    A = csr_array(hstack([csr_array(rows.A.multiply(1.0 / unit[:, None])), -eye_array(m)]))
    most = np.abs(rows.limit / unit) + np.asarray(abs(A).sum(axis=1)).ravel()
    own = slice(rows.n, None)
    stretched = Rows(
        A,
        rows.limit / unit,
        np.concatenate([fixed, rows.low[own], np.zeros(m)]),
        np.concatenate([fixed, rows.high[own], most]),
        np.concatenate([rows.whole, np.zeros(m, dtype=np.bool_)]),
        rows.constraints,
        (*rows.variables, Named("exceeded_by", m, "what a row is exceeded by")),
    )
    found = Program(stretched).relaxed(np.concatenate([np.zeros(len(rows.low)), -np.ones(m)]))
    slopes = np.maximum(-found.d[: rows.n], 0.0)
    slopes = np.where(slopes > SLOPE * slopes.max(initial=0.0), slopes, 0.0)
    violation = float(found.x[-m:].sum())
    return np.minimum(slopes / violation, 1.0) if violation > 0 else slopes
