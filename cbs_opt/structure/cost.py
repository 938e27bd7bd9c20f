"""What a network costs, in operations or parameters, as a function of how many units each set keeps.

Every weight has outputs of one or several sets along one dimension and inputs along another. With k_s units kept of set
s it costs amount · (α_0 + Σ α_s k_s)(β_0 + Σ β_s k_s), so that the whole is a quadratic form,

    cost(k) = c + Σ_s l_s k_s + Σ_{s ≤ t} Q_st k_s k_t,

exactly, whatever is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cbs_opt.kernel.arrays.types import Matrix, Vector


class Factor(NamedTuple):
    """How many positions an axis has: ``fixed`` of them, and so many for each unit of some sets."""

    fixed: float
    each: Mapping[int, float]


class Term(NamedTuple):
    """amount · rows · columns."""

    rows: Factor
    columns: Factor
    amount: float


def counted(set_of: NDArray[np.int64], units: Sequence[int]) -> Factor:
    """The positions of an axis by the sets they belong to (−1: none), every unit of a set having as many."""
    each = {int(s): float((set_of == s).sum()) / units[s] for s in np.unique(set_of) if s >= 0}
    return Factor(float((set_of < 0).sum()), each)


@dataclass(frozen=True, eq=False)
class Cost:
    """The quadratic form.

    Parameters
    ----------
    constant : float
    linear : array, shape (sets,)
    quadratic : array, shape (sets, sets)
        Upper triangle, the diagonal included.
    """

    constant: float
    linear: Vector
    quadratic: Matrix

    @classmethod
    def of_terms(cls, sets: int, terms: Iterable[Term]) -> Cost:
        """The sum of these terms."""
        constant, linear, quadratic = 0.0, np.zeros(sets), np.zeros((sets, sets))
        for rows, columns, amount in terms:
            constant += amount * rows.fixed * columns.fixed
            for one, other in ((rows, columns), (columns, rows)):
                for s, each in one.each.items():
                    linear[s] += amount * each * other.fixed
            for s, a in rows.each.items():
                for t, b in columns.each.items():
                    quadratic[min(s, t), max(s, t)] += amount * a * b
        return cls(constant, linear, quadratic)

    def of(self, kept: ArrayLike) -> float:
        """The cost with so many units kept, shape (sets,)."""
        k = np.asarray(kept, dtype=np.float64)
        return float(self.constant + self.linear @ k + k @ self.quadratic @ k)
