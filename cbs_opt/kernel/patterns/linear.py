"""A pattern of linear constraints on the mask, as a matrix or as a function that adds them to a Pyomo model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, eye_array, hstack, vstack

from cbs_opt.errors import PatternError
from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.patterns.labelled import index_mask
from cbs_opt.kernel.patterns.pyomo_rule import System, system_of
from cbs_opt.kernel.patterns.rows import Named, Rows, of_order_one
from cbs_opt.kernel.patterns.stated import Stated


class Linear(Stated):
    """The pattern of any linear constraints on the mask.

        Z = {z : z ≤ z' for some z' ∈ {0,1}ⁿ with A z' ≤ b, z_i = 1 on ``keep``, z_i = 0 on ``forbid``}

    The constraints are on which weights *may* be other than zero (z'); a mask z may prune any of these weights besides.
    For instance, z'_0 = z'_1 says that weights 0 and 1 stay together, and then Z also has masks that prune only one of
    them. A weight in ``forbid`` has z_i = 0, but z'_i is not restricted by it.

    Parameters
    ----------
    A : array or sparse array, shape (constraints, n)
        The coefficients of z'.
    b : array, shape (constraints,)
        The right-hand sides. A row may be exceeded by round-off, 1e-12 of the numbers in it.
    keep, forbid : iterable of int, optional
        Weights that every mask keeps, and weights that every mask prunes.

    Raises
    ------
    PatternError
        Shapes do not agree, a number is not finite, an index lies outside [0, n) or is in both lists, or no mask is
        allowed.
    """

    def __init__(self, A: Any, b: Any, *, keep: Any = (), forbid: Any = ()) -> None:
        matrix, bound = csr_array(_numbers(A, "A", 2)), np.asarray(_numbers(b, "b", 1), dtype=np.float64)
        m, n = matrix.shape
        if len(bound) != m or n == 0:
            raise PatternError(f"b: has {len(bound)} entries for the {m} rows of A; they must agree")
        self._build(System.of_weights(matrix, bound), keep, forbid)

    @classmethod
    def from_rule(cls, n: int, rule: Callable[[Any], object], *, keep: Any = (), forbid: Any = ()) -> Linear:
        """The pattern of the constraints that ``rule(model)`` adds to a Pyomo model with binaries ``model.z``.

        The rule may add variables of its own; its constraints have to be linear in these and z. It is called once, and
        its constraints are read then.

        Parameters
        ----------
        n : int
            Number of weights.
        rule : callable
            ``rule(model)`` adds constraints to the model it is given; ``model.z[i]`` is 1 where weight i is kept.
        keep, forbid : iterable of int, optional
            Weights that every mask keeps, and weights that every mask prunes.

        Raises
        ------
        PatternError
            The rule uses something that the model does not have, such as ``model.w``, adds a constraint that is not
            linear, or leaves no mask.
        """
        pattern = cls.__new__(cls)
        pattern._build(system_of(n, rule), keep, forbid)
        return pattern

    def _build(self, system: System, keep: Any, forbid: Any) -> None:
        n = system.n
        kept, pruned = index_mask(keep, n, "keep"), index_mask(forbid, n, "forbid")
        both = np.flatnonzero(kept & pruned)
        if both.size:
            raise PatternError(f"keep: weight {both[0]} is forced to stay and forbidden at once; drop it from one")
        self._given, self._system = len(system.b), system
        # Pruning a weight can violate a row only where its coefficient is below zero: such weights get a z' beside z.
        weights = system.A[:, :n]
        self._copied = np.flatnonzero(np.asarray((weights < 0).sum(axis=0)).ravel() > 0).astype(np.int64)
        super().__init__(_closed(system, self._copied, kept, pruned))

    def satisfies(self, z: Mask) -> bool:
        x = z.astype(np.float64)
        if self._rows.own == len(self._copied) and (
            self._rows.own == 0 or self._rows.hold(np.concatenate([x, x[self._copied]]))
        ):
            return self._rows.own > 0 or self._rows.hold(x)
        return super().satisfies(z)

    def filled(self, x: Vector, scores: Vector) -> Mask:
        if self._rows.own == 0:
            return super().filled(x, scores)
        z: Mask = x[: self.n] > 0.5
        z[self._copied] = x[self.n : self.n + len(self._copied)] > 0.5
        return np.asarray(z & ~self._forbid)

    def limits_in_words(self) -> str:
        return f"{self._given} linear constraint{'' if self._given == 1 else 's'} on {self.n} weights"


def _closed(system: System, copied: NDArray[np.int64], keep: Mask, forbid: Mask) -> Rows:
    """Rows for the masks z ≤ z' with z' in ``system``; the weights ``copied`` have a variable z'_i beside z_i."""
    n, count, m = system.n, len(copied), len(system.b)
    own = system.A.shape[1] - n
    weights = system.A[:, :n]
    stays = np.ones(n)
    stays[copied] = 0.0
    direct = csr_array(weights.multiply(stays[None, :]))
    A = hstack([direct, weights[:, copied], system.A[:, n:]])
    above = hstack([eye_array(n, format="csr")[copied], -eye_array(count), csr_array((count, own))])
    A, b = of_order_one(csr_array(vstack([above, A])), np.concatenate([np.zeros(count), system.b]))
    constraints = (
        [Named("inside", count, "what is kept lies in a mask that satisfies the constraints")] if count else []
    )
    variables = (
        [Named("whole_mask", count, "1 keeps the weight in a mask that satisfies the constraints")] if count else []
    )
    if own:
        variables.append(Named("auxiliary", own, "variables of the constraints' own"))
    if m:
        constraints.append(Named("linear", m, "the constraints that were given"))
    return Rows(
        A,
        b,
        np.concatenate([np.maximum(keep, system.low[:n]), system.low[:n][copied], system.low[n:]]),
        np.concatenate([np.minimum(~forbid, system.high[:n]), system.high[:n][copied], system.high[n:]]),
        np.concatenate([np.ones(n + count, dtype=np.bool_), system.whole[n:]]),
        tuple(constraints),
        tuple(variables),
    )


def _numbers(value: Any, field: str, dimensions: int) -> Any:
    """``value`` as an array or sparse array of finite numbers with so many ``dimensions``."""
    array = value if hasattr(value, "tocsr") else np.asarray(value)
    if array.ndim != dimensions or array.dtype.kind not in "iufb":
        raise PatternError(f"{field}: give numbers in {dimensions} dimensions, one row a constraint")
    array = array.astype(np.float64)
    if not np.isfinite(array.data if hasattr(value, "tocsr") else array).all():
        raise PatternError(f"{field}: holds a number that is not finite; leave out what asks for nothing")
    return array
