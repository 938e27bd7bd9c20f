"""How near a mask is to what linear rows allow: which kept weights to prune on the way to a pattern.

With no variables of its own, of what row r is exceeded by, over_r, the part min(A_ri/over_r, 1) goes with weight i.
With variables y of its own,

    violation(z) = min Σ_r t_r     over  A (z, y) − t ≤ b,  t ≥ 0,  y within its bounds, whole values not asked for,

is convex in z, and its slope in z_i over the violation says the same. A z that only whole values of y refuse has no
slope at all: then every kept weight counts alike.
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
"""The part of the largest slope below which one is none: what HiGHS' multipliers may be wrong by, and more."""


def relief_by_rows(pattern: Pattern, z: Mask) -> Vector:
    """``Pattern.relief`` by the pattern's rows."""
    kept = z & pattern.free
    if pattern.contains(z):
        return np.zeros(len(z))
    rows = pattern.rows()
    nearer = np.where(kept, _slopes(rows, z) if rows.own else _parts(rows, z), 0.0)
    return nearer if nearer.any() else kept.astype(np.float64)


def _parts(rows: Rows, z: Mask) -> Vector:
    """Σ_r min(A_ri/over_r, 1) over the rows that z exceeds."""
    over = rows.A @ z.astype(np.float64) - rows.limit
    exceeded = np.flatnonzero(over > 0)
    A = rows.A[exceeded].toarray()
    return np.asarray(np.clip(A / over[exceeded, None], 0.0, 1.0).sum(axis=0))


def _slopes(rows: Rows, z: Mask) -> Vector:
    """The slopes of the violation at z over it, shape (n,), none below zero."""
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
