"""How much work a computation is, in the additions and multiplications of a large matrix product.

Work of another kind, like sorting or many small factorizations, counts about as many operations as a matrix product
does in the same time.
"""

from __future__ import annotations

from typing import NamedTuple


class Operations(NamedTuple):
    """Numbers of additions and multiplications: ``single`` in float32 (or less), ``double`` in float64."""

    single: float = 0.0
    double: float = 0.0

    def and_(self, *others: Operations) -> Operations:
        """The sum of these operations and all of ``others``."""
        every = (self, *others)
        return Operations(sum(one.single for one in every), sum(one.double for one in every))

    def times(self, factor: float) -> Operations:
        """These operations repeated ``factor`` times."""
        return Operations(self.single * factor, self.double * factor)


class LayerSize(NamedTuple):
    """The size of a layer, on which the work of pruning it depends.

    Parameters
    ----------
    rows, inputs : int
        The shape of the layer's weights, one output a row.
    kept : float
        The mean number of weights that a row keeps.
    """

    rows: int
    inputs: int
    kept: float

    @property
    def weights(self) -> int:
        """The number of weights."""
        return self.rows * self.inputs


SORTED = 6_000
"""The number of operations that take about as long as sorting does for each weight."""


def ranking(size: LayerSize) -> Operations:
    """The work of ranking all weights of a layer, as the oracle of a pattern does."""
    return Operations(double=SORTED * size.weights)
