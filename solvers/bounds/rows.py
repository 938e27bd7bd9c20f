"""A proven lower bound on the joint problem of a whole layer, whose rows share one curvature H₁ and one pattern.

Bound (B) with one splitting H₁ = R + diag(D) for all rows, around w̄: for any e in the place of w − w̄ and q = g + Re,

    bound(e) = offset − ½eᵀRe + Σ_{z_i=0} (½D_i w̄_i² − q_i w̄_i) − Σ_{z_i=1} q_i²/(2D_i),
    z = argmax_{z∈Z} Σ z_i s_i,    s_i = (D_i w̄_i − q_i)²/(2D_i).

``rows_admm`` finds e for given D, ``rows_splitting`` the D for given e, in turn. What they find proves nothing: here R
is shown to be positive semidefinite, and (B) is evaluated in float64 on the data of the problem, less its round-off.

The rows could have a D each; one for all costs a layer of MLPNet 15–20 % of the bound, and saves a factor of as many
rows in time and memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import LinAlgError, cholesky

from cbs_opt.kernel.arrays.types import EPS, Matrix, Vector
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.sums import sum_below
from cbs_opt.solvers.bounds.rows_admm import Point, Relaxation
from cbs_opt.solvers.bounds.rows_splitting import ascended, first_splitting, gain_of
from cbs_opt.solvers.bounds.shrinking import shrinking
from cbs_opt.solvers.forms.layer_tensors import Layer, shared_curvature

if TYPE_CHECKING:
    import torch

ROUNDS = 20
"""Improvements of the splitting that are tried."""

FIRST, BETWEEN, LAST = 100, 30, 300
"""ADMM iterations at the first splitting, after a change of it, and at the end."""

STALL = 2e-3
"""Relative improvement of the bound by four rounds below which no more follow."""


@dataclass(frozen=True, eq=False)
class RowsBound:
    """A proven bound and the relaxed point behind it.

    Parameters
    ----------
    value : float
        ≤ f(w) for every w whose support lies in the pattern.
    iterations : int
        Of ADMM.
    scores : array, shape (n,)
        s of (B): the gain of keeping each weight; the relaxation's ranking.
    relaxed : array, shape (n,)
        The relaxed mask z, 0 … 1.
    """

    value: float
    iterations: int
    scores: Vector
    relaxed: Vector


def rows_bound(problem: PruningProblem, device: str = "cpu") -> tuple[float, int]:
    """A proven lower bound under a cardinality or quotas, and the iterations it took; −∞ where nothing is proven.

    Takes ``RowsCurvature``, and any curvature that can be formed densely as a layer of one row.
    """
    found = bound_rows(problem, device)
    return found.value, found.iterations


def bound_rows(problem: PruningProblem, device: str = "cpu") -> RowsBound:
    """The bound with the relaxed point that gave it."""
    problem = problem.below()
    layer = Layer.of(problem, device)
    D, point = _improved(layer)
    rows, H = shared_curvature(problem)
    scale = layer.scale
    E = point.w.cpu().numpy() / scale - problem.w_bar.reshape(rows, len(H))
    value, scores = certified(problem, D.cpu().numpy() * scale**2, E)
    if problem.g is None:
        value = max(value, problem.offset)  # f ≥ f(w̄), as H is positive definite
    return RowsBound(value, point.iterations, scores, point.z.cpu().numpy().ravel())


def _improved(layer: Layer) -> tuple[torch.Tensor, Point]:
    """The best splitting found, and the relaxed point of it."""
    relaxation = Relaxation(layer)
    D = first_splitting(layer.U)
    point = relaxation.solve(D, relaxation.start(), FIRST, 1e-4)
    gain = None
    share, checkpoint = 1.0, point.bound
    for number in range(ROUNDS):
        fresh = gain_of(D, point)
        if not float(fresh.max()) > 0:
            break
        gain = fresh if gain is None else 0.5 * (gain + fresh)
        full = ascended(layer.U, D, gain, share * float((gain * D).mean()))
        for length in (1.0, 0.4, 0.16):
            trial_D = D + length * (full - D)
            trial = relaxation.solve(trial_D, point, BETWEEN, 1e-4)
            if trial.bound > point.bound + 1e-4 * abs(point.bound):
                D, point = trial_D, trial
                break
        else:
            share *= 0.4
        if number % 4 == 3:
            if point.bound - checkpoint < STALL * abs(point.bound):
                break
            checkpoint = point.bound
    return D, relaxation.solve(D, point, LAST, 1e-6)


# ---------------------------------------------------------------- the proof


def certified(problem: PruningProblem, D: Vector, E: Matrix) -> tuple[float, Vector]:
    """(B) for the splitting ``D`` (d,) at w̄ + ``E`` (rows, d), less its round-off, and its scores (n,).

    −∞ where no multiple of D leaves an R that can be shown to be positive semidefinite.
    """
    rows, H = shared_curvature(problem)
    d = len(H)
    split = _proven_splitting(H, D)
    if split is None:
        return -np.inf, np.zeros(problem.n)
    R, D = split
    w_bar, g = problem.w_bar.reshape(rows, d), problem.linear_term().reshape(rows, d)
    image = E @ R
    q = image + g
    scores = (D * w_bar - q) ** 2 / (2.0 * D)
    z = problem.Z.argmax(scores.ravel()).reshape(rows, d)
    kept, pruned = q * q / (2.0 * D), 0.5 * D * w_bar * w_bar
    costs = np.where(z, -kept, pruned - q * w_bar)
    squares = E * image
    value = problem.offset - 0.5 * float(squares.sum()) + float(costs.sum())
    # (ER)_i is wrong by at most (d+4)·eps·√R_ii·Σ_j |E_j|√R_jj, since |R_ij| ≤ √(R_ii R_jj).
    root = np.sqrt(R.diagonal())
    reach = np.abs(E) @ root
    unit = (d + 4) * EPS
    error = unit * reach[:, None] * root + EPS * (np.abs(g) + np.abs(q))
    slip = error * np.maximum(np.abs(q) / D, np.abs(w_bar)) + error * error / (2.0 * D)
    slip += 16.0 * EPS * (kept + pruned + np.abs(q * w_bar))
    total = float(slip.sum()) + 0.5 * unit * float((reach * reach).sum())
    sums = abs(problem.offset) + float(np.abs(squares).sum()) + float(np.abs(costs).sum())
    total += (64.0 + np.log2(problem.n)) * EPS * sums
    return sum_below(value, -1.01 * total), scores.ravel()


def _proven_splitting(H: Matrix, D: Vector) -> tuple[Matrix, Vector] | None:
    """R ⪰ 0, shown by Cholesky, and the D with H = R + diag(D) exactly; D is shrunk where need be."""
    diagonal = H.diagonal()
    # Units that are powers of two lose no digit: the diagonal of the scaled H lies in [¼, 1).
    unit = np.ldexp(1.0, -np.frexp(np.sqrt(diagonal))[1])
    R = H.copy()
    at = np.diag_indices(len(H))
    for smaller in shrinking(D):
        R[at] = diagonal - smaller
        exact = diagonal - R.diagonal()  # one of the two differences is exact (Sterbenz), and so H = R + diag(exact)
        scaled = R * unit * unit[:, None]
        # A Cholesky factorization that succeeds proves A + δI ⪰ 0 for δ = (d+1)·eps/2·trace/(1 − …) (S. M. Rump,
        # BIT Numerical Mathematics 46, 2006); twice that is subtracted first.
        scaled[at] -= (len(H) + 8) * EPS * float(np.trace(scaled))
        if (exact > 0).all() and (R.diagonal() > 0).all():
            try:
                cholesky(scaled, lower=True, overwrite_a=True, check_finite=False)
                return R, exact
            except LinAlgError:
                pass
    return None
