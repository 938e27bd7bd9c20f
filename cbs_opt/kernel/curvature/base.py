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
    """A symmetric positive definite H of order n, damping λ already included.

    Laws, whatever the storage: ``matvec(v)`` equals ``dense() @ v``, ``quadratic(v)`` equals
    ``v @ dense() @ v`` and ``diagonal()`` the diagonal of ``dense()``, up to round-off; ``dense()`` is
    ``row.dense()`` on each of ``rows`` equal blocks along its diagonal.

    Whatever else is done with a curvature is done by its dense form, unless a function of ``functools.singledispatch``
    is registered for its class beside the code that does it.
    """

    kind: ClassVar[str]
    """What it is called in messages and tables."""

    obtained: ClassVar[str] = ""
    """How one comes by such a curvature, for the message of a method that takes no other; empty: nothing to say."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.n:,} weights, damping {self.damping:.3g}>"

    @property
    @abstractmethod
    def n(self) -> int:
        """Number of weights."""

    @property
    @abstractmethod
    def damping(self) -> float:
        """The λ that was added to the diagonal, in the units of H (0: none)."""

    @property
    def mean_diagonal(self) -> float:
        """Mean of diag(H) without the damping, to the digits that λ has left of it."""
        return float(self.diagonal().mean()) - self.damping

    @property
    def dominance(self) -> float:
        """λ over ``mean_diagonal``: beyond 1 the model is about λ; inf where there is nothing else."""
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
        """How many rows of a layer share the curvature ``row``, none across rows; 1 unless it is stored so."""
        return 1

    @property
    def blocks(self) -> tuple[Curvature, ...]:
        """Curvatures of consecutive weights, none across them; itself alone unless it is stored so."""
        return (self,)

    @property
    def row(self) -> Curvature:
        """The curvature of one row, of order n / ``rows``."""
        return self

    def arrays(self) -> dict[str, Any]:
        """What a block file stores it by, under the names of ``cbs_opt.kernel.block_file``: H in full here."""
        return {"H": self.dense()}

    def dense(self) -> Matrix:
        """H as an (n, n) array, read-only where it is stored so.

        Raises
        ------
        TooLargeError
            Beyond ``MAX_DENSE`` weights.
        """
        self._require_formable()
        return self._form_dense()

    @abstractmethod
    def below(self) -> Curvature:
        """What proven bounds are computed on: a curvature H' with H − H' positive semidefinite, each entry exact.

        The curvature itself where its numbers are all that defines H. Else H, a product or a sum of the user's arrays,
        was rounded when it was formed, and the diagonal of H' is lower by as much as that may have added.

        Raises
        ------
        TooLargeError
            As ``dense``, where H is formed for it.
        NotPositiveDefiniteError
            H' has no Cholesky factor with the margin float64 needs; names a λ that would do.
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
        """What was altered when the curvature was taken in (empty: nothing)."""
        return ()
