"""What every curvature offers, whatever it is stored as."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from cbs_opt.errors import TooLargeError
from cbs_opt.kernel.arrays.types import Matrix, Vector
from cbs_opt.kernel.curvature.damping import dominance

MAX_DENSE = 20_000
"""Largest n for which an n × n float64 matrix (3.2 GB) is formed on request."""


class Curvature(ABC):
    """A symmetric positive definite matrix H of order n, in some form of storage, with the damping λ included.

    Every curvature obeys these laws, up to round-off: ``matvec(v)`` equals ``dense() @ v``, ``quadratic(v)`` equals
    ``v @ dense() @ v``, ``diagonal()`` is the diagonal of ``dense()``, and ``dense()`` consists of ``rows`` equal
    blocks ``row.dense()`` along its diagonal. ``cbs_opt.testing.check_curvature`` tests them.

    Code that needs more than these methods, such as the OBS update, works on ``dense()``, unless a faster function is
    registered for the class, by ``functools.singledispatch``, in the module of that code.
    """

    kind: ClassVar[str]
    """The name of this kind of curvature in messages and tables."""

    obtained: ClassVar[str] = ""
    """How to get such a curvature, for the message of a method that takes no other; may be empty."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.n:,} weights, damping {self.damping:.3g}>"

    @property
    @abstractmethod
    def n(self) -> int:
        """Number of weights."""

    @property
    @abstractmethod
    def damping(self) -> float:
        """The λ that was added to the diagonal, in the units of H; 0 where none was."""

    @property
    def mean_diagonal(self) -> float:
        """The mean of diag(H) without the damping, computed as a difference: a large λ leaves it few digits."""
        return float(self.diagonal().mean()) - self.damping

    @property
    def dominance(self) -> float:
        """λ over ``mean_diagonal``: above 1 the model is more about λ than about samples; inf where H is λI."""
        return dominance(self.damping, self.mean_diagonal)

    @abstractmethod
    def matvec(self, v: Vector) -> Vector:
        """H v for ``v`` of shape (n,)."""

    @abstractmethod
    def quadratic(self, v: Vector) -> float:
        """vᵀH v (no ½), for ``v`` of shape (n,)."""

    @abstractmethod
    def diagonal(self) -> Vector:
        """diag(H), shape (n,)."""

    @abstractmethod
    def inverse_diagonal(self) -> Vector:
        """diag(H⁻¹), shape (n,)."""

    @abstractmethod
    def solve(self, v: Vector) -> Vector:
        """H⁻¹ v for ``v`` of shape (n,)."""

    @abstractmethod
    def _form_dense(self) -> Matrix:
        """H as an (n, n) array."""

    @property
    def rows(self) -> int:
        """The number of rows of a layer that share the curvature ``row`` and do not interact; 1 unless stored so."""
        return 1

    @property
    def blocks(self) -> tuple[Curvature, ...]:
        """The blocks along the diagonal of H, in order; the curvature itself alone unless H is stored by blocks."""
        return (self,)

    @property
    def row(self) -> Curvature:
        """The curvature of one row, of order n / ``rows``."""
        return self

    def arrays(self) -> dict[str, Any]:
        """The arrays of a block file that hold this curvature, by the names in ``cbs_opt.kernel.block_file``."""
        return {"H": self.dense()}

    def dense(self) -> Matrix:
        """H as an (n, n) array, which must not be written to: it may be the stored one.

        Raises
        ------
        TooLargeError
            Beyond ``MAX_DENSE`` weights.
        """
        self._require_formable()
        return self._form_dense()

    @abstractmethod
    def below(self) -> Curvature:
        """The curvature on which proven bounds are computed: an H' that float64 holds exactly, with H − H' ⪰ 0.

        Here H is the matrix that the user's arrays define in exact arithmetic. Where float64 holds it as it is, H' is
        the curvature itself. Otherwise H, a product or a sum of those arrays, was rounded when it was formed, and the
        diagonal of H' is lowered by as much as the rounding may have added.

        Raises
        ------
        TooLargeError
            H' is a full matrix, and there are more than ``MAX_DENSE`` weights.
        NotPositiveDefiniteError
            H' has no Cholesky factor with the margin that float64 needs; the message names a λ that suffices.
        """

    def _require_formable(self) -> None:
        if self.n > MAX_DENSE:
            gigabytes = 8e-9 * self.n * self.n
            raise TooLargeError(
                f"the dense {self.n} × {self.n} curvature would take {gigabytes:,.0f} GB; "
                "cut the network into smaller blocks or use a method that works on the factor"
            )

    @property
    def notes(self) -> tuple[str, ...]:
        """What was altered when the curvature was made, one sentence each; empty if nothing was."""
        return ()
