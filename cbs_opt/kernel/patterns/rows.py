"""A pattern as linear rows, the form in which every mixed-integer solver gets it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import block_array, csr_array

from cbs_opt.kernel.arrays.types import EPS, Mask, Vector

ROUND_OFF = 1e-12
"""A row may be exceeded by this part of the sum of all numbers in it, which allows for rounding in float64."""

USUAL = (1e-3, 1e6)
"""A row whose largest entry lies between these is not scaled."""


@dataclass(frozen=True)
class Named:
    """A family of consecutive constraints or variables that have one name.

    Parameters
    ----------
    name : str
        The name of the family in a Pyomo model; no formulation uses it.
    count : int
        The number of constraints or variables.
    doc : str
        What they mean, in words.
    """

    name: str
    count: int
    doc: str


@dataclass(frozen=True, eq=False)
class Rows:
    """The set {z ∈ {0,1}ⁿ : A (z, y) ≤ b for some y, low ≤ (z, y) ≤ high}, where y are variables of the pattern's own.

    Parameters
    ----------
    A : sparse array, shape (m, n + own)
        Coefficients of z and of the pattern's own variables.
    b : array, shape (m,)
        Right-hand sides.
    low, high : array, shape (n + own,)
        Bounds of the variables. Those of z_i are (1, 1) where the weight is forced to stay, (0, 0) where it is
        forbidden, and otherwise (0, 1).
    whole : mask, shape (n + own,)
        The variables that take whole values only, all of z among them.
    constraints : tuple of Named
        The names of the rows; their counts add up to m.
    variables : tuple of Named
        The names of the pattern's own variables y; their counts add up to ``own``, which may be 0.
    """

    A: csr_array
    b: Vector
    low: Vector
    high: Vector
    whole: Mask
    constraints: tuple[Named, ...]
    variables: tuple[Named, ...] = ()

    @classmethod
    def of(
        cls, A: Any, b: Any, *, keep: Mask, forbid: Mask, constraints: Sequence[Named], variables: Sequence[Named] = ()
    ) -> Rows:
        """Rows whose own variables, if any, are binary; rows of very small or very large entries are scaled.

        Parameters
        ----------
        A : array or sparse array, shape (m, n + own)
            Coefficients.
        b : array, shape (m,)
            Right-hand sides.
        keep, forbid : mask, shape (n,)
            Weights forced to stay, and weights forced to zero.
        constraints, variables : sequence of Named
            The names of the rows, and of the pattern's own variables.
        """
        own = sum(family.count for family in variables)
        low = np.concatenate([keep.astype(np.float64), np.zeros(own)])
        high = np.concatenate([(~forbid).astype(np.float64), np.ones(own)])
        whole = np.ones(len(low), dtype=np.bool_)
        matrix, bound = of_order_one(csr_array(A, dtype=np.float64), np.asarray(b, dtype=np.float64))
        return cls(matrix, bound, low, high, whole, tuple(constraints), tuple(variables))

    @property
    def own(self) -> int:
        """The number of variables besides z."""
        return sum(family.count for family in self.variables)

    @property
    def n(self) -> int:
        """Number of weights."""
        return len(self.low) - self.own

    @cached_property
    def limit(self) -> Vector:
        """b with the tolerance of each row, as ``limits`` computes it; shape (m,)."""
        return limits(self.A, self.b, self.whole)

    def hold(self, x: Vector) -> bool:
        """Whether (z, y) = ``x``, shape (n + own,), satisfies the rows, to their tolerance, and the bounds."""
        return bool((self.A @ x <= self.limit).all() and (x >= self.low).all() and (x <= self.high).all())

    def with_weights(self, low: Vector, high: Vector) -> Rows:
        """The same rows with other bounds on z, of shape (n,) each."""
        own = slice(self.n, None)
        return Rows(
            self.A,
            self.b,
            np.concatenate([low, self.low[own]]),
            np.concatenate([high, self.high[own]]),
            self.whole,
            self.constraints,
            self.variables,
        )


def limits(A: csr_array, b: Vector, whole: Mask) -> Vector:
    """b with the tolerance of each row, shape (m,).

    A row of whole numbers and whole variables has none: its limit is b rounded down to a whole number. All other rows
    may be exceeded by ``ROUND_OFF``.
    """
    broken = csr_array(((A.data != np.round(A.data)) | ~whole[A.indices], A.indices, A.indptr), shape=A.shape)
    among_whole = np.asarray(broken.sum(axis=1)).ravel() == 0
    forgiven = b + ROUND_OFF * (np.abs(b) + np.asarray(abs(A).sum(axis=1)).ravel())
    return np.where(among_whole, np.floor(b + 4.0 * EPS * np.abs(b)), forgiven)


def of_order_one(A: csr_array, b: Vector) -> tuple[csr_array, Vector]:
    """A and b, with rows of very small or large entries scaled by powers of two, for absolute tolerances of solvers."""
    top = largest_entries(A)
    unusual = (top > 0) & ((top < USUAL[0]) | (top > USUAL[1]))
    if not unusual.any():
        return A, b
    unit = np.where(unusual, 2.0 ** -np.floor(np.log2(np.where(top > 0, top, 1.0))), 1.0)
    return csr_array(A.multiply(unit[:, None])), b * unit


def largest_entries(A: csr_array) -> Vector:
    """The largest |A_rj| of every row, shape (m,)."""
    return np.asarray(abs(A).max(axis=1).todense()).ravel() if A.nnz else np.zeros(A.shape[0])


def together(parts: Sequence[Rows]) -> Rows:
    """The rows of the masks that satisfy all ``parts``, each part with its own variables."""
    n = parts[0].n
    left = [part.A[:, :n] for part in parts]
    own = [part.A[:, n:] for part in parts]
    grid: list[list[Any]] = [
        [z, *(y if k == j else csr_array((z.shape[0], other.shape[1])) for j, other in enumerate(own))]
        for k, (z, y) in enumerate(zip(left, own, strict=True))
    ]
    return Rows(
        csr_array(block_array(grid)),
        np.concatenate([part.b for part in parts]),
        np.concatenate([np.max([part.low[:n] for part in parts], axis=0), *(part.low[n:] for part in parts)]),
        np.concatenate([np.min([part.high[:n] for part in parts], axis=0), *(part.high[n:] for part in parts)]),
        np.concatenate([parts[0].whole[:n], *(part.whole[n:] for part in parts)]),
        _apart([part.constraints for part in parts]),
        _apart([part.variables for part in parts]),
    )


def _apart(families: Sequence[tuple[Named, ...]]) -> tuple[Named, ...]:
    """All families, with a number added to names that occur several times."""
    seen: Counter[str] = Counter()
    apart = []
    for family in (family for part in families for family in part):
        seen[family.name] += 1
        number = seen[family.name]
        name = family.name if number == 1 else f"{family.name}_{number}"
        apart.append(Named(name, family.count, family.doc))
    return tuple(apart)
