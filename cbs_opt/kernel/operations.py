"""How much work something is, in additions and multiplications of matrix products.

What is no matrix product, like sorting or many small factorizations, counts as many operations as a product does in the
time that it takes, about.
"""

from __future__ import annotations

from typing import NamedTuple


class Operations(NamedTuple):
    """Additions and multiplications in float32 (or less) and in float64."""

    single: float = 0.0
    double: float = 0.0

    def and_(self, *others: Operations) -> Operations:
        """All of them, one after the other."""
        every = (self, *others)
        return Operations(sum(one.single for one in every), sum(one.double for one in every))

    def times(self, factor: float) -> Operations:
        """The same so many times."""
        return Operations(self.single * factor, self.double * factor)


class LayerSize(NamedTuple):
    """What the work on a layer depends on.

    Parameters
    ----------
    rows, inputs : int
    kept : float
        Weights that a row keeps, in the mean.
    """

    rows: int
    inputs: int
    kept: float

    @property
    def weights(self) -> int:
        """How many there are."""
        return self.rows * self.inputs


SORTED = 6_000
"""Operations in whose time one of many weights is sorted."""


def ranking(size: LayerSize) -> Operations:
    """Of ranking all weights of a layer, as the oracle of a pattern does."""
    return Operations(double=SORTED * size.weights)
