"""A pattern spoken to through another class."""

from __future__ import annotations

from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.patterns import Cardinality, Pattern
from cbs_opt.kernel.patterns.rows import Rows


class Wrapped(Pattern):
    """A cardinality spoken to through another class: whatever a subclass does not break is right."""

    def __init__(self, inner: Pattern | None = None) -> None:
        self.inner = Cardinality(6, 3, keep=[1], forbid=[4]) if inner is None else inner

    n = property(lambda self: self.inner.n)  # type: ignore[assignment]
    free = property(lambda self: self.inner.free)  # type: ignore[assignment]

    def contains(self, z: Mask) -> bool:
        return self.inner.contains(z)

    def argmax(self, scores: Vector) -> Mask:
        return self.inner.argmax(scores)

    def flip_values(self, scores: Vector, z: Mask) -> Vector:
        return self.inner.flip_values(scores, z)

    def relief(self, z: Mask) -> Vector:
        return self.inner.relief(z)

    def fixed(self, keep: Mask, prune: Mask) -> Pattern:
        return self.inner.fixed(keep, prune)

    def rows(self) -> Rows:
        return self.inner.rows()

    def __str__(self) -> str:
        return "wrapped"
