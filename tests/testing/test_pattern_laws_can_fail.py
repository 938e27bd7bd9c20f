"""Every law of patterns is broken on purpose by one that obeys the others, and is seen to be."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from wrapped_pattern import Wrapped

from cbs_opt import Cardinality
from cbs_opt.errors import PatternError
from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.kernel.patterns.rows import Named, Rows
from cbs_opt.testing import check_pattern
from cbs_opt.testing.pattern_laws import constraints_are_the_pattern, flips_are_no_less


class SmallestFirst(Wrapped):
    def argmax(self, scores: Vector) -> Mask:
        return self.inner.argmax(scores.max() - scores)


class Overfull(Wrapped):
    def argmax(self, scores: Vector) -> Mask:
        return self.inner.argmax(scores) | self.free


class LowMost(Wrapped):
    def most(self, scores: Vector) -> float:
        return math.nextafter(self.inner.most(scores), 0.0)


class MostOfAll(Wrapped):
    def most(self, scores: Vector) -> float:
        return float(scores.sum()) * 1.001


class LowFlips(Wrapped):
    def flip_values(self, scores: Vector, z: Mask) -> Vector:
        return self.inner.flip_values(scores, z) - 0.25


class FlipsOfNothing(Wrapped):
    def flip_values(self, scores: Vector, z: Mask) -> Vector:
        return np.maximum(self.inner.flip_values(scores, z), 0.0)


class ExactlyK(Wrapped):
    """Not monotone: pruning more than asked is refused."""

    def contains(self, z: Mask) -> bool:
        return self.inner.contains(z) and int((~z).sum()) == 3


class AllFree(Wrapped):
    free = property(lambda self: np.arange(self.n) > 1)  # type: ignore[assignment]


class Empty(Wrapped):
    def contains(self, z: Mask) -> bool:
        return False


class NoRelief(Wrapped):
    def relief(self, z: Mask) -> Vector:
        return np.zeros(self.n)


class ReliefForEver(Wrapped):
    def relief(self, z: Mask) -> Vector:
        return (z & self.free).astype(np.float64)


class ReliefByForce(Wrapped):
    def relief(self, z: Mask) -> Vector:
        return np.where(z, self.inner.relief(z).max(), 0.0)


class NeverFixed(Wrapped):
    def fixed(self, keep: Mask, prune: Mask) -> Pattern:
        return self.inner


class AlwaysRefused(Wrapped):
    def fixed(self, keep: Mask, prune: Mask) -> Pattern:
        raise PatternError("no")


class Unconstrained(Wrapped):
    def rows(self) -> Rows:
        return replace(self.inner.rows(), b=np.array([6.0]))


@pytest.mark.parametrize(
    ("pattern", "law"),
    [
        (SmallestFirst(), "the oracle is best"),
        (Overfull(), "the oracle is best"),
        (LowMost(), "most is no less"),
        (MostOfAll(), "most is no less"),
        (LowFlips(), "flip values are no less"),
        (FlipsOfNothing(), "flip values are no less"),
        (ExactlyK(), "pruning more never leaves Z"),
        (AllFree(), "only free weights differ"),
        (Empty(), "only free weights differ"),
        (NoRelief(), "relief leads into the pattern"),
        (ReliefForEver(), "relief leads into the pattern"),
        (ReliefByForce(), "relief leads into the pattern"),
        (NeverFixed(), "fixed is the subset"),
        (AlwaysRefused(), "fixed is the subset"),
        (Unconstrained(), "constraints are the pattern"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Pattern) else "",
)
def test_a_wrong_pattern_is_seen(pattern: Pattern, law: str) -> None:
    with pytest.raises(AssertionError, match=f"^law '{law}' is broken by wrapped: "):
        check_pattern(pattern)


def test_a_right_pattern_passes_and_flips_may_be_too_large_unless_they_have_to_be_exact() -> None:
    class HighFlips(Wrapped):
        def flip_values(self, scores: Vector, z: Mask) -> Vector:
            return self.inner.flip_values(scores, z) + 0.25

    check_pattern(Wrapped())
    check_pattern(HighFlips())
    flips_are_no_less(Wrapped(), np.arange(6.0), exact=True)
    with pytest.raises(AssertionError, match="none scores more"):
        flips_are_no_less(HighFlips(), np.arange(6.0), exact=True)


def test_constraints_with_variables_of_their_own_are_asked_of_a_solver() -> None:
    class Switched(Wrapped):
        """At most one of the weights 0 and 1, said by a switch: z_0 ≤ y, z_1 ≤ 1 − y."""

        def __init__(self, slack: int) -> None:
            super().__init__(Cardinality(2, 1))
            self.slack = slack

        def rows(self) -> Rows:
            nothing = np.zeros(2, dtype=np.bool_)
            rows = [Named("switched", 2, "weight 0 needs the switch on, weight 1 off")]
            A, b = [[1, 0, -1], [0, 1, 1]], [0, self.slack]
            switch = [Named("switch", 1, "1 lets weight 0 in")]
            return Rows.of(A, b, keep=nothing, forbid=nothing, constraints=rows, variables=switch)

    constraints_are_the_pattern(Switched(1))
    with pytest.raises(AssertionError, match=r"contains\(\[1, 1\]\) is False, but the constraints say True"):
        constraints_are_the_pattern(Switched(2))
