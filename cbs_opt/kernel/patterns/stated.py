"""A pattern that is given by its linear rows, and whose oracle is a mixed-integer program over them."""

from __future__ import annotations

import copy
from functools import cached_property
from typing import Self

import numpy as np

from cbs_opt.errors import PatternError
from cbs_opt.kernel.arrays.sums import sum_above
from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.patterns.base import RelaxedMask
from cbs_opt.kernel.patterns.forcing import Forcing, check_apart
from cbs_opt.kernel.patterns.program import Program
from cbs_opt.kernel.patterns.rows import Rows


class Stated(Forcing):
    """Z = the masks that ``rows`` allow; pruning one more free weight must never leave Z.

    Parameters
    ----------
    rows : Rows
        The pattern.

    Raises
    ------
    PatternError
        No mask is allowed.
    """

    def __init__(self, rows: Rows) -> None:
        self._state(rows)
        if not self.contains(self._keep):
            raise PatternError(
                f"pattern: no mask satisfies {self.limits_in_words()}; force fewer weights to stay, or relax the "
                "constraints"
            )

    def _state(self, rows: Rows) -> None:
        n = rows.n
        self._rows = rows
        self._force(rows.low[:n] == 1.0, rows.high[:n] == 0.0)
        self._last: tuple[bytes, tuple[Mask, float]] | None = None

    def limits_in_words(self) -> str:
        """The rows in words, without the weights that are forced or forbidden."""
        return f"{len(self._rows.b)} linear rows on {self.n} weights"

    @cached_property
    def _program(self) -> Program:
        return Program(self._rows)

    @property
    def n(self) -> int:
        return self._rows.n

    def satisfies(self, z: Mask) -> bool:
        """Whether the rows allow a mask that keeps what is forced to stay and prunes what is forbidden."""
        if self._rows.own == 0:
            return self._rows.hold(z.astype(np.float64))
        rows = self._rows.with_weights(z.astype(np.float64), z.astype(np.float64))
        return self._program.possible(rows.low, rows.high)

    @cached_property
    def _possible(self) -> Mask:
        """The weights that some mask keeps, shape (n,).

        Each call of the oracle asks for a mask that keeps as many weights as possible of those not yet known. Where it
        finds none although its bound leaves room for one (a rounded point may exceed a row), the remaining weights are
        tried one by one.
        """
        known = self._keep.copy()
        while True:
            unknown = self._own(~(known | self._forbid))
            x, bound = self._program.best(unknown)
            if x is None or x @ unknown < 0.5:
                break
            known |= x[: self.n] > 0.5
        if bound >= 1.0:
            for i in np.flatnonzero(~(known | self._forbid)):
                known[i] = self.contains(self._keep | (np.arange(self.n) == i))
        return known

    def argmax(self, scores: Vector) -> Mask:
        return self._answer(scores)[0].copy()

    def most(self, scores: Vector) -> float:
        found = self._answer(scores)[1]
        searched = min(found, self._program.relaxed(self._objective(scores)).value)
        return sum_above(np.append(scores[self._keep], max(searched, 0.0)))

    def _answer(self, scores: Vector) -> tuple[Mask, float]:
        """The oracle's mask, and an upper bound on the score of the free weights; the last answer is remembered."""
        key = scores.tobytes()
        if self._last is None or self._last[0] != key:
            x, bound = self._program.best(self._objective(scores))
            assert x is not None, "a mask was found when the pattern was made"
            z = self.filled(x, scores)
            self._last = key, (z if self.contains(z) else self._keep, bound)
        return self._last[1]

    def filled(self, x: Vector, scores: Vector) -> Mask:
        """The mask of a point x of the rows, filled up with weights that can be kept, too, the larger scores first."""
        z: Mask = x[: self.n] > 0.5
        rest = np.flatnonzero(self._possible & ~z)
        for i in rest[np.argsort(-scores[rest], kind="stable")]:
            z[i] = True
            z[i] = self.contains(z)
        return z

    def _objective(self, scores: Vector) -> Vector:
        """Scores of all columns: zero for weights that are forced, forbidden, or kept by no mask."""
        return self._own(np.where(self._possible & ~self._keep, scores, 0.0))

    def _own(self, scores: Vector | Mask) -> Vector:
        """Scores of z, zeros for the rows' own variables."""
        return np.concatenate([scores.astype(np.float64), np.zeros(self._rows.own)])

    def relaxed(self, scores: Vector) -> RelaxedMask:
        found = self._program.relaxed(self._objective(scores))
        most = sum_above(np.append(scores[self._keep], max(found.value, 0.0)))
        # Forced and forbidden weights cannot be decided differently, so their multipliers say nothing.
        d = np.where(self.free, found.d[: self.n], 0.0)
        can = self._keep | self._possible
        kept = np.where(can, most - np.maximum(-d, 0.0) * (1.0 - 1e-12), -np.inf)
        pruned = np.where(self._keep, -np.inf, most - np.maximum(d, 0.0) * (1.0 - 1e-12))
        return RelaxedMask(np.where(can, found.x[: self.n], 0.0), most, kept, pruned)

    def flip_values(self, scores: Vector, z: Mask) -> Vector:
        # From the linear relaxation: over-estimates, by up to its gap.
        found, most = self._program.relaxed(self._objective(scores)), self.most(scores)
        d, forced = found.d[: self.n], float(scores[self._keep].sum())
        least = np.where(z, np.maximum(d, 0.0), np.maximum(-d, 0.0))
        values = np.minimum(most, (found.value + forced) * (1.0 + 1e-12) - least)
        return np.where(self.free & (z | self._possible), values, -np.inf)

    def fixed(self, keep: Mask, prune: Mask) -> Self:
        keep, prune = self._keep | keep, self._forbid | prune
        check_apart(keep, prune)
        smaller = copy.copy(self)
        for name in ("_possible", "_program"):
            smaller.__dict__.pop(name, None)
        smaller._state(self._rows.with_weights(keep.astype(np.float64), (~prune).astype(np.float64)))
        if not smaller.contains(smaller._keep):
            raise PatternError(
                f"pattern: no mask of {self} keeps the {int(keep.sum())} weights that are forced to stay"
            )
        return smaller

    def rows(self) -> Rows:
        return self._rows
