"""The proof of a layer's bound: R ⪰ 0 shown by Cholesky, and (B) of ``rows`` evaluated in float64, less round-off."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from cbs_opt.kernel.arrays.sums import sum_below
from cbs_opt.kernel.arrays.types import EPS, Mask, Matrix, Vector
from cbs_opt.kernel.device import device_named, tensor
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.solvers.bounds.shrinking import shrinking
from cbs_opt.solvers.forms.layer_tensors import memory_of, shared_curvature

if TYPE_CHECKING:
    import torch

ENTRIES = 2**20
"""Entries of the matrices that are factorized together on the CPU: so many as its cache holds."""


def certified(
    problem: PruningProblem,
    D: Matrix,
    E: Matrix,
    device: str = "cpu",
    check: Callable[[], None] = lambda: None,
) -> tuple[float, Vector]:
    """The bound (B) at w̄ + E, less its round-off, and its scores (n,).

    The bound is −∞ where no multiple of D leaves an R that can be shown to be positive semidefinite, or where D, E or
    the bound is not finite.

    Parameters
    ----------
    D : array, shape (d,) or (rows, d)
        A splitting for all rows, or one for each.
    E : array, shape (rows, d)
        The step from w̄ at which (B) is evaluated; any step gives a valid bound.
    device : str
        Where the Cholesky factorizations are made: 'cpu' or 'cuda'.
    check : callable
        Called between the factorizations; it may raise.
    """
    rows, H = shared_curvature(problem)
    d = len(H)
    finite = bool(np.isfinite(E).all() and np.isfinite(D).all())
    split = proven_splittings(H, np.atleast_2d(D), device, check) if finite else None
    if split is None:
        return -np.inf, np.zeros(problem.n)
    rest, D = split
    w_bar, g = problem.w_bar.reshape(rows, d), problem.linear_term().reshape(rows, d)
    outside = H.copy()
    outside[np.diag_indices(d)] = 0.0
    image = E @ outside + E * rest
    q = image + g
    scores = (D * w_bar - q) ** 2 / (2.0 * D)
    z = problem.Z.argmax(scores.ravel()).reshape(rows, d)
    kept, pruned = q * q / (2.0 * D), 0.5 * D * w_bar * w_bar
    costs = np.where(z, -kept, pruned - q * w_bar)
    squares = E * image
    value = problem.offset - 0.5 * float(squares.sum()) + float(costs.sum())
    # (ER)_i is wrong by at most (d+4)·eps·√R_ii·Σ_j |E_j|√R_jj, since |R_ij| ≤ √(R_ii R_jj).
    root = np.sqrt(rest)
    reach = (np.abs(E) * root).sum(1)
    unit = (d + 4) * EPS
    error = unit * reach[:, None] * root + EPS * (np.abs(g) + np.abs(q))
    slip = error * np.maximum(np.abs(q) / D, np.abs(w_bar)) + error * error / (2.0 * D)
    slip += 16.0 * EPS * (kept + pruned + np.abs(q * w_bar))
    total = float(slip.sum()) + 0.5 * unit * float((reach * reach).sum())
    sums = abs(problem.offset) + float(np.abs(squares).sum()) + float(np.abs(costs).sum())
    total += (64.0 + np.log2(problem.n)) * EPS * sums
    proven = sum_below(value, -1.01 * total)
    return (proven if np.isfinite(proven) else -np.inf), scores.ravel()


def proven_splittings(H: Matrix, D: Matrix, device: str, check: Callable[[], None]) -> tuple[Matrix, Matrix] | None:
    """diag(R) and D, (k, d) each, with H = R + diag(D) exactly and every R ⪰ 0 shown by Cholesky.

    The given D is shrunk where need be; None where even then some R cannot be shown to be positive semidefinite.
    """
    diagonal = H.diagonal()
    # Units that are powers of two lose no digit: the diagonal of the scaled H lies in [¼, 1).
    unit = np.ldexp(1.0, -np.frexp(np.sqrt(diagonal))[1])
    scaled = tensor(H * unit * unit[:, None], device_named(device))
    rest, exact = np.empty_like(D), np.empty_like(D)
    missing = np.arange(len(D))
    for smaller in shrinking(D):
        R = diagonal - smaller[missing]
        taken = diagonal - R  # one of the two differences is exact (Sterbenz's lemma), and so H = R + diag(taken)
        rest[missing], exact[missing] = R, taken
        # A Cholesky factorization that succeeds proves A + δI ⪰ 0 for δ = (d+1)·eps/2·trace/(1 − …) (S. M. Rump,
        # BIT Numerical Mathematics 46, 2006); twice that is subtracted first.
        units = R * unit * unit
        units -= (len(H) + 8) * EPS * units.sum(1, keepdims=True)
        shown: Mask = np.asarray(((taken > 0) & (R > 0)).all(1))
        shown[shown] = _factorized(scaled, units[shown], check)
        missing = missing[~shown]
        if not len(missing):
            return rest, exact
    return None


def _factorized(scaled: torch.Tensor, diagonals: Matrix, check: Callable[[], None]) -> Mask:
    """Whether ``scaled`` has a Cholesky factor with each of the ``diagonals`` (k, d) in the place of its own, (k,)."""
    import torch

    d = len(scaled)
    entries = memory_of(scaled) / 24 if scaled.is_cuda else ENTRIES
    together = max(1, int(entries // (d * d)))
    shown = []
    for start in range(0, len(diagonals), together):
        check()
        part = tensor(np.ascontiguousarray(diagonals[start : start + together]), scaled.device)
        stack = scaled.expand(len(part), d, d).clone()
        stack.diagonal(dim1=1, dim2=2).copy_(part)
        factor, info = torch.linalg.cholesky_ex(stack)
        pivots = factor.diagonal(dim1=1, dim2=2)
        shown.append((info == 0) & (pivots > 0).all(1) & pivots.isfinite().all(1))
    return torch.cat(shown).cpu().numpy() if shown else np.zeros(0, dtype=bool)
