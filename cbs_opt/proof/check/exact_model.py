"""The block in exact arithmetic: f(w) and its gradient without any rounding.

    f(w) = offset + gᵀd + ½ dᵀH d,   d = w − w̄,        p = ∇f(w) = g + H d,        f(w) = offset + ½ (g + p)ᵀd

where the float64 numbers H, g, w̄ and offset of the problem are taken as the exact rationals that they are. A factored
curvature stands for H = AᵀA + λI with its A and λ, and this product is formed without rounding, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import singledispatch

import numpy as np

from cbs_opt.errors import TooLargeError
from cbs_opt.kernel.arrays.types import Vector
from cbs_opt.kernel.curvature import BlockDiagonalCurvature, Curvature, DiagonalCurvature, FactorCurvature
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.proof.check.integers import Integers, exponent_of, fraction, integers

MOST_WEIGHTS = 2_000
"""Largest n for which an n × n matrix of exact numbers is formed."""

MOST_PRODUCTS = 100_000_000
"""Largest number m·n² of multiplications for forming AᵀA exactly (some ten seconds)."""


@dataclass(frozen=True, eq=False)
class Gradient:
    """f and ∇f at a point w, exactly.

    Parameters
    ----------
    w : integers (n,), in units of 2^w_exponent
        The point.
    w_exponent : int
        The unit of w.
    p : integers (n,), in units of 2^p_exponent
        ∇f(w).
    p_exponent : int
        The unit of p.
    rise : int, in units of 2^(w_exponent + p_exponent)
        2·(f(w) − offset).
    """

    w: Integers
    w_exponent: int
    p: Integers
    p_exponent: int
    rise: int


@dataclass(frozen=True, eq=False)
class ExactModel:
    """The numbers of a problem as exact rationals.

    Parameters
    ----------
    H : integers (n, n), in units of 2^H_exponent
        The curvature, damping included.
    H_exponent : int
        The unit of H.
    w_bar, g : arrays, shape (n,)
        The trained weights and the first-order term.
    offset : Fraction
        f(w̄).
    """

    H: Integers
    H_exponent: int
    w_bar: Vector
    g: Vector
    offset: Fraction

    @classmethod
    def of(cls, problem: PruningProblem) -> ExactModel:
        """The exact model of ``problem``.

        Raises
        ------
        TooLargeError
            There are too many weights, or samples, to form an exact n × n matrix.
        """
        reason = too_large(problem)
        if reason:
            raise TooLargeError(reason)
        H, exponent = exact(problem.curvature)
        return cls(H, exponent, problem.w_bar, problem.linear_term(), Fraction(problem.offset))

    @property
    def n(self) -> int:
        """Number of weights."""
        return len(self.w_bar)

    def gradient(self, w: Vector, low: Vector | None = None) -> Gradient:
        """f and ∇f at ``w``, shape (n,), or at the exact sum w + ``low`` where ``low`` is given."""
        low = np.zeros_like(w) if low is None else low
        w_exponent = exponent_of(w, low, self.w_bar)
        point = integers(w, w_exponent) + integers(low, w_exponent)
        d = point - integers(self.w_bar, w_exponent)
        product_exponent = self.H_exponent + w_exponent
        p_exponent = min(product_exponent, exponent_of(self.g)) if self.g.any() else product_exponent
        g = integers(self.g, p_exponent)
        p = g + (self.H.dot(d) << (product_exponent - p_exponent))
        return Gradient(point, w_exponent, p, p_exponent, int((g + p).dot(d)))

    def value(self, w: Vector) -> Fraction:
        """f(w), exactly."""
        at = self.gradient(w)
        return self.offset + fraction(at.rise, at.w_exponent + at.p_exponent - 1)


def too_large(problem: PruningProblem) -> str:
    """Why the exact n × n matrix of ``problem`` cannot be formed; empty where it can."""
    if problem.n > MOST_WEIGHTS:
        return f"proof: takes at most {MOST_WEIGHTS} weights on a {problem.curvature.kind} curvature, not {problem.n}"
    if products(problem.curvature) > MOST_PRODUCTS:
        return f"proof: forming AᵀA exactly for {problem.n} weights takes too long; use the dual certificate"
    return ""


@singledispatch
def products(curvature: Curvature) -> int:
    """The number of multiplications for forming H exactly; 0 where H is stored in full."""
    return 0


@products.register
def _factor_products(curvature: FactorCurvature) -> int:
    return curvature.m * curvature.n * curvature.n


@products.register
def _block_products(curvature: BlockDiagonalCurvature) -> int:
    return sum(products(block) for block in set(curvature.blocks))


@singledispatch
def exact(curvature: Curvature) -> tuple[Integers, int]:
    """H as integers, shape (n, n), and their common exponent: by default, those of the dense form.

    A function that is registered here for a class is trusted, and must not round anything.
    """
    dense = curvature.dense()
    exponent = exponent_of(dense)
    return integers(np.triu(dense) + np.triu(dense, 1).T, exponent), exponent


@exact.register
def _exact_diagonal(curvature: DiagonalCurvature) -> tuple[Integers, int]:
    diagonal = curvature.diagonal()
    exponent = exponent_of(diagonal)
    H = np.full((curvature.n, curvature.n), 0, dtype=object)
    H[np.diag_indices(curvature.n)] = integers(diagonal, exponent)
    return H, exponent


@exact.register
def _exact_factor(curvature: FactorCurvature) -> tuple[Integers, int]:
    e = exponent_of(curvature.A)
    A = integers(curvature.A, e)
    damping = np.array([curvature.damping])
    exponent = min(2 * e, exponent_of(damping))
    H = A.T.dot(A) << (2 * e - exponent)
    H[np.diag_indices(curvature.n)] += int(integers(damping, exponent)[0])
    return H, exponent


@exact.register
def _exact_blocks(curvature: BlockDiagonalCurvature) -> tuple[Integers, int]:
    forms = {id(block): exact(block) for block in curvature.blocks}
    exponent = min(e for _, e in forms.values())
    H = np.full((curvature.n, curvature.n), 0, dtype=object)
    for block, part in zip(curvature.blocks, curvature.slices, strict=True):
        values, e = forms[id(block)]
        H[part, part] = values << (e - exponent)
    return H, exponent
