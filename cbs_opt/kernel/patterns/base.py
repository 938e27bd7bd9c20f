"""The interface of a pattern Z ⊆ {0,1}ⁿ (z_i = 1 keeps weight i, z_i = 0 prunes it)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.arrays.sums import sum_above
from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.patterns import in_pyomo
from cbs_opt.kernel.patterns.relief_by_rows import relief_by_rows
from cbs_opt.kernel.patterns.rows import Rows

if TYPE_CHECKING:
    from pyomo.environ import ConcreteModel

    from cbs_opt.kernel.patterns.grouped import Grouped
    from cbs_opt.kernel.patterns.labelled import Labelled


class RelaxedMask(NamedTuple):
    """What the scores s ≥ 0 are worth in a relaxation of Z that is quick to ask.

    Parameters
    ----------
    z : array, shape (n,)
        A point of the relaxation, in [0, 1], where Σ z_i s_i is largest.
    most : float
        What Σ z_i s_i exceeds nowhere in it, and so for no mask of Z.
    kept, pruned : arrays, shape (n,)
        The same where weight i is kept, and where it is pruned; −inf where it cannot be.
    """

    z: Vector
    most: float
    kept: Vector
    pruned: Vector


class Pattern(ABC):
    """A set Z of allowed masks: heuristics are written against ``argmax``, proven bounds against ``most``.

    Laws every pattern obeys:

    - ``contains(argmax(s))`` for every score vector s ≥ 0, and no mask in Z scores more (but for round-off, or the
      tolerance of a solver that is asked);
    - ``most(s)`` is never below what a mask of Z scores, at whatever scale the scores are: what is proven rests on it;
    - Z is monotone in the free weights: pruning one more free weight never leaves Z (where weights are kept together,
      Z holds all masks inside one that keeps them together; a kept weight may be zero);
    - ``flip_values(s, argmax(s))[i]`` is the best score of any mask in Z that differs from
      ``argmax(s)`` in coordinate i, or more (an over-estimate is a weaker bound, never a wrong one);
      −inf where there is no such mask;
    - ``rows`` allow the masks of Z and no other;
    - ``labelled`` and ``grouped``, where they are not None, hold the same masks.
    """

    exact_flips: bool = False
    """Whether ``flip_values`` are attained, none an over-estimate."""

    @property
    @abstractmethod
    def n(self) -> int:
        """Number of weights."""

    @property
    @abstractmethod
    def free(self) -> Mask:
        """Weights neither forced nor forbidden, shape (n,)."""

    @property
    def units(self) -> NDArray[np.int64]:
        """The unit each weight is kept or pruned with, 0 … units − 1, shape (n,); each weight is its own by default.

        Where a mask of Z keeps a weight, Z holds the mask that keeps all free weights of its unit, too.
        """
        return np.arange(self.n)

    @property
    def labelled(self) -> Labelled | None:
        """The same set in terms of labels with room, for methods that need them; None where it cannot be said so."""
        return None

    @property
    def grouped(self) -> Grouped | None:
        """The same set in terms of groups that stay or go, for methods that need them; None where that cannot be."""
        return None

    @property
    def parts(self) -> tuple[Pattern, ...]:
        """The patterns whose masks in common these are: itself, unless it was made of others."""
        return (self,)

    @abstractmethod
    def contains(self, z: Mask) -> bool:
        """Whether the mask ``z``, shape (n,), is allowed."""

    @abstractmethod
    def argmax(self, scores: Vector) -> Mask:
        """A mask in Z with the largest Σ z_i s_i, for scores s ≥ 0 of shape (n,); ties keep the lower index."""

    def most(self, scores: Vector) -> float:
        """A number that Σ z_i s_i exceeds for no mask in Z, for scores s ≥ 0: the one to use in a proven bound.

        As it stands it trusts ``argmax`` to be best and rounds its sum upwards. An oracle that rounds on its way, or
        asks a solver with a tolerance, says here what that may have lost.
        """
        return sum_above(scores[self.argmax(scores)])

    def relaxed(self, scores: Vector) -> RelaxedMask:
        """The oracle of a relaxation of Z: Z itself, unless the best mask takes long to find (budgets, linear rows)."""
        z, most = self.argmax(scores), self.most(scores)
        others = self.flip_values(scores, z)
        return RelaxedMask(z.astype(np.float64), most, np.where(z, most, others), np.where(z, others, most))

    @abstractmethod
    def flip_values(self, scores: Vector, z: Mask) -> Vector:
        """For each i, the largest Σ z'_j s_j over z' in Z with z'_i ≠ z_i, where ``z = argmax(scores)``."""

    def relief(self, z: Mask) -> Vector:
        """The part of what ``z`` keeps too much that goes where a weight is pruned, shape (n,): summed over the limits.

        Zero for weights that are pruned or forced to stay, and for all once z is in Z; of a z outside Z that keeps what
        is forced to stay and nothing forbidden, some weight is worth more than zero.
        """
        return relief_by_rows(self, z)

    @abstractmethod
    def fixed(self, keep: Mask, prune: Mask) -> Pattern:
        """The masks of Z that keep all of ``keep`` and prune all of ``prune``.

        Raises
        ------
        PatternError
            When there is none.
        """

    @abstractmethod
    def rows(self) -> Rows:
        """Z as linear rows over z and variables of the pattern's own; their names are those of no formulation."""

    def constrain(self, model: ConcreteModel) -> None:
        """Add ``rows`` to a Pyomo model that has binaries ``model.z`` over the set ``model.I``."""
        in_pyomo.constrain(model, self.rows())

    def limits_in_words(self) -> str:
        """The pattern in words, without what is forced or forbidden where that can be told apart."""
        return str(self)

    @abstractmethod
    def __str__(self) -> str:
        """The pattern in words."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self}>"
