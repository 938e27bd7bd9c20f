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
    """The largest Σ z_i s_i, for scores s ≥ 0, over a relaxation of Z in which it is quick to find.

    Parameters
    ----------
    z : array, shape (n,)
        A point of the relaxation with the largest Σ z_i s_i, each z_i in [0, 1].
    most : float
        An upper bound on Σ z_i s_i over the relaxation, and so over the masks of Z.
    kept, pruned : arrays, shape (n,)
        For each i, an upper bound on Σ_j z_j s_j over the masks of Z that keep weight i, and over those that prune it;
        −inf where there is no such mask.
    """

    z: Vector
    most: float
    kept: Vector
    pruned: Vector


class Pattern(ABC):
    """A set Z ⊆ {0,1}ⁿ of allowed masks: heuristics are written against ``argmax``, proven bounds against ``most``.

    The *score* of a mask z is Σ z_i s_i, for given scores s ≥ 0 of the weights. Every pattern obeys these laws, which
    ``cbs_opt.testing.check_pattern`` tests:

    - for every s ≥ 0, ``argmax(s)`` lies in Z, and no mask in Z has a larger score (up to round-off, or to the
      tolerance of a solver that computes it);
    - ``most(s)`` is never below the score of a mask of Z, at any scale of the scores: proven bounds rest on this;
    - Z is monotone in the free weights: pruning one more free weight never leaves Z. Where weights are kept together,
      Z also holds every mask that keeps only some of them, since a kept weight may be zero;
    - ``flip_values(s, argmax(s))[i]`` is at least the best score of the masks in Z that differ from ``argmax(s)`` in
      coordinate i (a larger value makes a bound weaker, never wrong), and −inf where there is no such mask;
    - ``rows`` describe exactly the masks of Z;
    - ``labelled`` and ``grouped``, where they are not None, are the same set of masks.
    """

    exact_flips: bool = False
    """Whether each of the ``flip_values`` is the score of a mask in Z, so that none is an over-estimate."""

    @property
    @abstractmethod
    def n(self) -> int:
        """Number of weights."""

    @property
    @abstractmethod
    def free(self) -> Mask:
        """The weights that are neither forced to stay nor forbidden to (forced to zero), shape (n,)."""

    @property
    def units(self) -> NDArray[np.int64]:
        """The unit, 0 … units − 1, with which each weight is kept or pruned, shape (n,); by default one of its own.

        If a mask of Z keeps some weights of a unit, then the same mask with all free weights of that unit kept is in Z,
        too.
        """
        return np.arange(self.n)

    @property
    def labelled(self) -> Labelled | None:
        """The same set as a ``Labelled``, for methods that need one; None where the set is none."""
        return None

    @property
    def grouped(self) -> Grouped | None:
        """The same set as a ``Grouped``, for methods that need one; None where the set is none."""
        return None

    @property
    def parts(self) -> tuple[Pattern, ...]:
        """The patterns of which Z is the intersection; the pattern itself unless ``intersect`` made it of others."""
        return (self,)

    @abstractmethod
    def contains(self, z: Mask) -> bool:
        """Whether the mask ``z``, shape (n,), is allowed."""

    @abstractmethod
    def argmax(self, scores: Vector) -> Mask:
        """A mask in Z with the largest Σ z_i s_i, for scores s ≥ 0 of shape (n,); ties keep the lower index."""

    def most(self, scores: Vector) -> float:
        """An upper bound on Σ z_i s_i over the masks of Z, for scores s ≥ 0, as proven bounds need it.

        By default this is the score of ``argmax``, rounded upwards. A class whose oracle rounds before it compares, or
        uses a solver with a tolerance, has to override this method and add what that may have lost.
        """
        return sum_above(scores[self.argmax(scores)])

    def relaxed(self, scores: Vector) -> RelaxedMask:
        """The oracle of a relaxation of Z: of Z itself unless its best mask takes long to find, as for budgets."""
        z, most = self.argmax(scores), self.most(scores)
        others = self.flip_values(scores, z)
        return RelaxedMask(z.astype(np.float64), most, np.where(z, most, others), np.where(z, others, most))

    @abstractmethod
    def flip_values(self, scores: Vector, z: Mask) -> Vector:
        """For each i, the largest Σ z'_j s_j over the z' in Z with z'_i ≠ z_i, or more, where ``z = argmax(scores)``.

        It is −inf where there is no such z'.
        """

    def relief(self, z: Mask) -> Vector:
        """How much pruning each weight brings ``z`` nearer to Z, shape (n,).

        For every limit that ``z`` exceeds, this is the part of the excess, from 0 to 1, that pruning the weight would
        remove; the parts are summed over the limits. The entry is zero for weights that are pruned or forced to stay,
        and all are zero once z is in Z. If z is outside Z but keeps all forced and no forbidden weights, at least one
        entry is above zero.
        """
        return relief_by_rows(self, z)

    @abstractmethod
    def fixed(self, keep: Mask, prune: Mask) -> Pattern:
        """The pattern of those masks of Z that keep all of ``keep`` and prune all of ``prune``, masks of shape (n,).

        Raises
        ------
        PatternError
            There is no such mask.
        """

    @abstractmethod
    def rows(self) -> Rows:
        """Z as linear constraints on z and, possibly, variables of the pattern's own.

        No formulation uses the names of these constraints and variables, so that both fit into one Pyomo model.
        """

    def constrain(self, model: ConcreteModel) -> None:
        """Add ``rows`` to a Pyomo model that has binaries ``model.z`` over the set ``model.I``."""
        in_pyomo.constrain(model, self.rows())

    def limits_in_words(self) -> str:
        """The pattern in words, without the weights that are forced or forbidden where these are stated separately."""
        return str(self)

    @abstractmethod
    def __str__(self) -> str:
        """The pattern in words."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self}>"
