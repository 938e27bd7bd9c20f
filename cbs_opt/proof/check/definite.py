"""Proof that H − diag(D) is positive semidefinite on a set of weights, in integer arithmetic.

    R = L Lᵀ + E  with E symmetric, diagonally dominant and of nonnegative diagonal   ⟹   R ⪰ 0

for *any* matrix L: LLᵀ ⪰ 0, and E ⪰ 0 by Gershgorin. So L may come from a float64 Cholesky factorization of R − shift·I
that need not be trusted; E is then shift·I plus the round-off of the factorization. What has to be right is
E = R − LLᵀ, and this is computed exactly: L is rounded to 63 bits behind the point and cut into three digits of 21
bits. The products of the digit matrices are float64 matrix products in which every partial sum is an integer below
2^53, and so exact in any order of summation (the error-free splitting of Ozaki, Ogita, Oishi & Rump, Numerical
Algorithms 59, 2012). They are then added up as 64-bit integers.

For criteria in floating-point arithmetic see S. M. Rump, Verification of positive definiteness, BIT 46 (2006).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.arrays.types import Matrix, Vector
from cbs_opt.proof.certificate.record import NotVerifiedError
from cbs_opt.proof.check.exact_model import ExactModel
from cbs_opt.proof.check.integers import exponent_of, integers, shifted

DIGIT = 21
"""Bits of a digit."""

PLACES = 6 * DIGIT
"""Bits behind the point of R and LLᵀ."""

GRID = 2.0**40
"""In the scaled units the entries of V, with V Vᵀ subtracted from H, are multiples of 1/GRID, of at most 41 bits."""

MOST_COLUMNS = 2_000
"""The largest number of columns of V."""

ROUND_OFF = 2.0**-53
"""In practice the row sums of the round-off of a factorization stay below this times (order + 8). It serves to choose
the shift; no proof rests on it."""


class Definiteness:
    """The H of a model, scaled by powers of two to a diagonal in [¼, 1) and cut into digits, once for many proofs."""

    def __init__(self, model: ExactModel) -> None:
        bits = np.array([int(value).bit_length() if value > 0 else 0 for value in model.H.diagonal()])
        if not bits.all():
            raise NotVerifiedError("the diagonal of H is not positive")
        # H_ii < 2^(bits + H_exponent); t makes H_ii·2^(2t) lie in [¼, 1).
        self.t: NDArray[np.int64] = -((bits + model.H_exponent + 1) // 2)
        scaled = shifted(model.H, model.H_exponent + PLACES + self.t + self.t[:, None])
        self._digits = _digits(scaled)
        self.H: Matrix = sum(np.ldexp(self._digits[k].astype(np.float64), DIGIT * k - PLACES) for k in range(5))

    def on_grid(self, V: Matrix) -> Matrix:
        """V, shape (n, E), rounded so that ``proves`` multiplies it exactly; in the square root of the units of H."""
        places = self.t[:, None]
        return np.asarray(np.ldexp(np.rint(np.ldexp(V, places) * GRID) / GRID, -places))

    def proves(
        self, active: NDArray[np.int64], D: Vector, pieces: Matrix | None = None, *, strict: bool = False
    ) -> bool:
        """Whether H_AA − diag(D_A) − V_A V_Aᵀ ⪰ 0 is proven for the weights A = ``active``.

        Parameters
        ----------
        active : integer array (|A|,)
            The indices of the weights A.
        D : array (|A|,)
            D_A, in the units of H.
        pieces : array (n, E), optional
            V, in the square root of the units of H and rounded by ``on_grid``; 0 if left out.
        strict : bool
            Ask for a margin, so that the same is proven without ``strict`` on other machines, whose factorization
            rounds differently.
        """
        a = len(active)
        if a == 0:
            return True
        with np.errstate(all="ignore"):
            scaled_D = np.ldexp(D, 2 * self.t[active])
        if not (np.isfinite(scaled_D).all() and (D > 0.0).all() and (scaled_D < 1.0).all()):
            return False
        R = self.H[active[:, None], active]
        round_off = ROUND_OFF * (a + 8)
        shift, reserve = (4.0 * round_off, 3.0 * round_off) if strict else (2.0 * round_off, 0.0)
        R[np.diag_indices(a)] -= scaled_D + shift
        V = None if pieces is None or not pieces.size else np.ldexp(pieces[active], self.t[active][:, None])
        if V is not None:
            if not (np.abs(V).max() <= 1.0 and V.shape[1] <= MOST_COLUMNS and (np.rint(V * GRID) == V * GRID).all()):
                return False
            R -= V @ V.T
        try:
            L: Matrix = np.linalg.cholesky(R).astype(np.float64, copy=False)
        except np.linalg.LinAlgError:
            return False
        if not np.abs(L).max() <= 1.0:
            return False
        E = self._digits[:, active[:, None], active]
        exponent = exponent_of(scaled_D)
        E[:, np.arange(a), np.arange(a)] -= _digits(shifted(integers(scaled_D, exponent), exponent + PLACES))
        for factor in (L,) if V is None else (L, V):
            for place, product in enumerate(_square(factor)):
                E[place] -= product
        return _dominant(E, reserve)


def _digits(values: NDArray[np.object_]) -> NDArray[np.int64]:
    """Integers below 2^147 as Σ_k digit_k 2^(21k), k = 0 … 4, with all digits but the top one in [0, 2^21)."""
    stack = np.empty((5, *values.shape), dtype=np.int64)
    for place in range(4):
        stack[place] = values & (2**DIGIT - 1)
        values = values >> DIGIT
    stack[4] = values
    return stack


def _square(L: Matrix) -> list[NDArray[np.int64]]:
    """L'L'ᵀ as Σ_k digit_k 2^(21k − 126), for L' = L rounded to 63 bits behind the point; |L_ij| ≤ 1, order ≤ 2000."""
    parts = []
    rest = L
    for _ in range(3):
        rest = np.ldexp(rest, DIGIT)
        part = np.rint(rest)
        rest = rest - part
        parts.append(part)
    high, middle, low = parts

    def product(x: Matrix, y: Matrix) -> NDArray[np.int64]:
        return (x @ y.T).astype(np.int64)  # |x|, |y| ≤ 2^21: sums of 2000 products stay below 2^53

    def twice(x: Matrix, y: Matrix) -> NDArray[np.int64]:
        one = product(x, y)
        return one + one.T

    return [
        product(low, low),
        twice(middle, low),
        twice(high, low) + product(middle, middle),
        twice(high, middle),
        product(high, high),
    ]


def _dominant(E: NDArray[np.int64], reserve: float) -> bool:
    """Whether Σ_k E_k 2^(21k − 126) − reserve·I is diagonally dominant with a diagonal ≥ 0; E is overwritten."""
    half = 2 ** (DIGIT - 1)
    for place in range(4):
        carry = (E[place] + half) >> DIGIT
        E[place] -= carry << DIGIT
        E[place + 1] += carry
    if np.abs(E[4]).max() > 256:
        return False  # E is far from zero, so that L is no factor of R
    # In units of the third digit, the two lower digits, and the bits that H and D lost in ``shifted``, are less than 1.
    # Entries stay below 2^51, and sums of 2000 of them below 2^62.
    rounded = (((E[4] << DIGIT) + E[3]) << DIGIT) + E[2]
    diagonal = rounded.diagonal()
    largest = np.abs(rounded) + 1
    off_diagonal = largest.sum(axis=1) - largest.diagonal()
    return bool((diagonal - 1 - math.ceil(math.ldexp(reserve, PLACES - 2 * DIGIT)) >= off_diagonal).all())
