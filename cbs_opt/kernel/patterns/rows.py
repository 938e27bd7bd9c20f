"""A pattern as linear rows: what a mixed-integer solver is told of it, whichever solver that is."""

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
"""A row may be exceeded by this part of all numbers in it: what sums of float64 numbers may be wrong by."""

USUAL = (1e-3, 1e6)
"""Largest entries of a row that need no other unit."""


@dataclass(frozen=True)
class Named:
    """So many constraints or variables that belong together, one after the other.

    Parameters
    ----------
    name : str
        What they are called in a Pyomo model; no formulation has it.
    count : int
        How many.
    doc : str
        What they say, in words.
    """

    name: str
    count: int
    doc: str


@dataclass(frozen=True, eq=False)
class Rows:
    """{z ∈ {0,1}ⁿ : A (z, y) ≤ b for some y}, low ≤ (z, y) ≤ high, y a pattern's own variables (there may be none).

    Parameters
    ----------
    A : sparse array, shape (m, n + own)
        Coefficients of z and of the pattern's own variables.
    b : array, shape (m,)
        Right-hand sides.
    low, high : array, shape (n + own,)
        Those of z are 1, 1 where a weight is forced to stay, 0, 0 where it is forbidden, else 0, 1.
    whole : mask, shape (n + own,)
        Which variables take whole values only: all of z.
    constraints : tuple of Named
        What the rows are called; their counts add up to m.
    variables : tuple of Named
        What the pattern's own variables are called; their counts add up to ``own``.
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
        """Rows whose own variables, if any, are 0/1; very small or large ones are brought to order one.

        Parameters
        ----------
        A : array or sparse array, shape (m, n + own)
            Coefficients.
        b : array, shape (m,)
            Right-hand sides.
        keep, forbid : mask, shape (n,)
            Weights forced to stay, and weights forced to zero.
        constraints, variables : sequence of Named
            What the rows are called, and the variables of the pattern's own.
        """
        own = sum(family.count for family in variables)
        low = np.concatenate([keep.astype(np.float64), np.zeros(own)])
        high = np.concatenate([(~forbid).astype(np.float64), np.ones(own)])
        whole = np.ones(len(low), dtype=np.bool_)
        matrix, bound = of_order_one(csr_array(A, dtype=np.float64), np.asarray(b, dtype=np.float64))
        return cls(matrix, bound, low, high, whole, tuple(constraints), tuple(variables))

    @property
    def own(self) -> int:
        """How many variables there are beside z."""
        return sum(family.count for family in self.variables)

    @property
    def n(self) -> int:
        """Number of weights."""
        return len(self.low) - self.own

    @cached_property
    def limit(self) -> Vector:
        """b and what is forgiven of each row, see ``limits``; shape (m,)."""
        return limits(self.A, self.b, self.whole)

    def hold(self, x: Vector) -> bool:
        """Whether (z, y) = ``x``, shape (n + own,), satisfies rows and bounds."""
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
    """b and what is forgiven of each row, shape (m,): round-off, or down to a whole number where all else is whole."""
    broken = csr_array(((A.data != np.round(A.data)) | ~whole[A.indices], A.indices, A.indptr), shape=A.shape)
    among_whole = np.asarray(broken.sum(axis=1)).ravel() == 0
    forgiven = b + ROUND_OFF * (np.abs(b) + np.asarray(abs(A).sum(axis=1)).ravel())
    return np.where(among_whole, np.floor(b + 4.0 * EPS * np.abs(b)), forgiven)


def of_order_one(A: csr_array, b: Vector) -> tuple[csr_array, Vector]:
    """A and b, rows without entries of usual size multiplied by powers of two: solvers have absolute tolerances."""
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
    """The masks that satisfy all ``parts``, each with variables of its own."""
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
    """All of them, those that share a name numbered."""
    seen: Counter[str] = Counter()
    apart = []
    for family in (family for part in families for family in part):
        seen[family.name] += 1
        number = seen[family.name]
        name = family.name if number == 1 else f"{family.name}_{number}"
        apart.append(Named(name, family.count, family.doc))
    return tuple(apart)
