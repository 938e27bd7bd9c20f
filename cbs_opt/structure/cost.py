"""The cost of a network, in operations or parameters, as a function of how many units each set keeps.

A weight has outputs of one or several sets along one dimension and inputs of others along another. If k_s units of each
set s are kept, it costs amount · (α_0 + Σ α_s k_s)(β_0 + Σ β_s k_s). The cost of the network is therefore exactly the
quadratic function

    cost(k) = c + Σ_s l_s k_s + Σ_{s ≤ t} Q_st k_s k_t.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cbs_opt.kernel.arrays.types import Matrix, Vector


class Factor(NamedTuple):
    """The number of positions of an axis: ``fixed``, plus ``each[s]`` for every unit that set s keeps."""

    fixed: float
    each: Mapping[int, float]


class Term(NamedTuple):
    """One product in the cost: amount · rows · columns."""

    rows: Factor
    columns: Factor
    amount: float


def counted(set_of: NDArray[np.int64], units: Sequence[int]) -> Factor:
    """The ``Factor`` of an axis, from the set of each position (−1: none) and the number of units of each set.

    All units of a set have equally many positions on the axis.
    """
    each = {int(s): float((set_of == s).sum()) / units[s] for s in np.unique(set_of) if s >= 0}
    return Factor(float((set_of < 0).sum()), each)


@dataclass(frozen=True, eq=False)
class Cost:
    """The quadratic function cost(k) of this module.

    Parameters
    ----------
    constant : float
        c, the cost of what is never removed.
    linear : array, shape (sets,)
        l_s.
    quadratic : array, shape (sets, sets)
        Q_st in the upper triangle, the diagonal included.
    """

    constant: float
    linear: Vector
    quadratic: Matrix

    @classmethod
    def of_terms(cls, sets: int, terms: Iterable[Term]) -> Cost:
        """The cost that is the sum of ``terms``, for so many ``sets``."""
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
        """The cost where ``kept`` units of each set are kept, shape (sets,)."""
        k = np.asarray(kept, dtype=np.float64)
        return float(self.constant + self.linear @ k + k @ self.quadratic @ k)
