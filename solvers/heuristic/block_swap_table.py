"""Exact exchanges of pairs within a small set of candidates, by a tableau that two pivots an exchange keep up to date.

The candidates are C = Q ∪ P', Q being kept and P' pruned. With all other kept weights eliminated (a Schur complement),
f is a quadratic ½xᵀHx − bᵀx in x = w_C but for a constant. Sweeping [H b] on Q (Goodnight, A tutorial on the SWEEP
operator, The American Statistician 33, 1979) leaves

    G_QQ = B = H_QQ⁻¹,   G_QP' = T = B H_QP',   G_P'P' = the Schur complement,   last column: x on Q, residual r on P',

from which the change of the optimum for every exchange of i ∈ Q for j ∈ P' is read off as in ``swap_state``:

    Δ_ij = x_i²/(2B_ii) − (r_j + T_ij x_i/B_ii)² / (2(σ_j + T_ij²/B_ii)),      σ the diagonal of G_P'P'.

The best exchange is made by two pivots of O(|C|²) operations, and so on until none helps.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from cbs_opt.kernel.arrays.types import EPS, Mask, Matrix, Vector

Groups = np.ndarray


def best_exchanges(
    H: Matrix, b: Vector, kept: Mask, groups: Groups, least: float, most: int
) -> tuple[Mask, float, int]:
    """Exchange pairs of the same group, the best first, until no exchange helps.

    Parameters
    ----------
    H, b : arrays, shape (c, c) and (c,)
        The quadratic ½xᵀHx − bᵀx of the candidates; H positive definite.
    kept : boolean array, shape (c,)
        The candidates that are kept at first.
    groups : integer array, shape (c,)
        A kept weight is exchanged only for a pruned one of its own group.
    least : float
        Decrease of the optimum below which an exchange is not made.
    most : int
        Exchanges at the most.

    Returns
    -------
    mask : boolean array, shape (c,)
        The candidates that are kept in the end.
    fall : float
        By how much the optimum fell.
    made : int
        Number of exchanges.
    """
    Q = kept.copy()
    G = _swept(H, b, Q)
    total, made = 0.0, 0
    while made < most:
        leaving, entering = np.flatnonzero(Q), np.flatnonzero(~Q)
        if not leaving.size or not entering.size:
            break
        change = _changes(G, H, leaving, entering)
        change[groups[leaving][:, None] != groups[entering]] = np.inf
        i, j = np.unravel_index(int(np.argmin(change)), change.shape)
        if not change[i, j] < -least:
            break
        total -= float(change[i, j])
        made += 1
        for pivot in (leaving[i], entering[j]):
            _sweep(G, pivot)
        Q[leaving[i]], Q[entering[j]] = False, True
    return Q, total, made


def _swept(H: Matrix, b: Vector, Q: Mask) -> Matrix:
    """[H b] swept on Q, shape (c, c + 1)."""
    q, p = np.flatnonzero(Q), np.flatnonzero(~Q)
    G = np.empty((len(H), len(H) + 1))
    right = np.column_stack([H, b])
    G[:] = right
    if q.size:
        solved = cho_solve(cho_factor(H[np.ix_(q, q)], lower=True), np.column_stack([np.eye(len(q)), right[q]]))
        inverse, T = solved[:, : len(q)], solved[:, len(q) :]
        G[p] = right[p] - H[np.ix_(p, q)] @ T
        G[q] = T
        G[np.ix_(p, q)] = -T[:, p].T
        G[np.ix_(q, q)] = inverse
    return G


def _sweep(G: Matrix, k: int) -> None:
    """One pivot, in place; the same pivot again undoes it."""
    pivot = G[k, k]
    row, column = G[k] / pivot, G[:, k].copy()
    G -= column[:, None] * row
    G[k] = row
    G[:, k] = -column / pivot
    G[k, k] = 1.0 / pivot


def _changes(G: Matrix, H: Matrix, leaving: np.ndarray, entering: np.ndarray) -> Matrix:
    """Δ of every exchange of a ``leaving`` for an ``entering`` weight, shape (L, E)."""
    T = G[np.ix_(leaving, entering)]
    B, x = G[leaving, leaving][:, None], G[leaving, -1][:, None]
    schur = np.maximum(G[entering, entering], EPS * H[entering, entering])
    share = T / B
    return np.asarray(0.5 * (x * x / B - (G[entering, -1] + share * x) ** 2 / (schur + share * T)))
