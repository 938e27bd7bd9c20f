"""Linear systems without rounding: the independent check of bounds and of the exact update."""

from __future__ import annotations

from fractions import Fraction


def solved(A: list[list[Fraction]], b: list[Fraction]) -> list[Fraction]:
    """A⁻¹b for a positive definite A, which needs no pivoting, by Gauss–Jordan elimination."""
    system = [[*row, right] for row, right in zip(A, b, strict=True)]
    for i, row in enumerate(system):
        row[:] = [entry / row[i] for entry in row]
        for other in system:
            if other is not row:
                factor = other[i]
                other[:] = [x - factor * y for x, y in zip(other, row, strict=True)]
    return [row[-1] for row in system]
