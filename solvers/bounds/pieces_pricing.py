"""New pieces for a splitting: sets of weights, with directions, whose violation (see ``pieces``) is large.

With G = R⁻¹ the best direction on a set S is u_S = (G_SS)⁻¹w_S, and a piece with it pays where its violation

    ½w_Sᵀ(G_SS)⁻¹w_S · (1/z(S) − 1)/μ

exceeds 1. Sets grow from the most violated pairs by one weight at a time, all sets of a round together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.arrays.types import Matrix, Vector
from cbs_opt.solvers.bounds.pieces_newton import WIDTH

VIOLATION = 1.2
"""New pieces are made of pairs with a violation above this."""

GROWTH = 1.05
"""A set grows as long as one more weight raises its violation by this factor."""

SEEDS = 10
"""So many pairs are grown for each piece that is wanted."""

SHARES = 4
"""A set is left out if the better sets of its round use its weights more often than this, counted over all its
weights."""


def priced(G: Matrix, w: Vector, z: Vector, mu: float, most: int) -> tuple[NDArray[np.int64], Matrix, Matrix]:
    """At most ``most`` violated sets, for G = R⁻¹: their members, which entries are members, and unit directions."""
    m = len(w)
    d = G.diagonal()
    i, j = np.triu_indices(m, 1)
    det = d[i] * d[j] - G[i, j] ** 2
    independent = det > 1e-10 * d[i] * d[j]
    values = (w[i] ** 2 * d[j] - 2 * w[i] * w[j] * G[i, j] + w[j] ** 2 * d[i]) / np.where(independent, det, 1.0)
    violation = np.where(independent, 0.5 * values * (1 / (z[i] + z[j]) - 1) / mu, 0.0)
    top = np.argsort(-violation)[: SEEDS * most]
    top = top[violation[top] > VIOLATION]
    sets, u = _grown(G, w, z, mu, np.column_stack([i[top], j[top]]), violation[top])
    chosen = _spread_out(sets, m, most)
    sets, u = sets[chosen], u[chosen]
    return np.maximum(sets, 0), (sets >= 0).astype(float), u


def _grown(
    G: Matrix, w: Vector, z: Vector, mu: float, pairs: NDArray[np.int64], violation: Vector
) -> tuple[NDArray[np.int64], Matrix]:
    """The sets grown from ``pairs``, the most violated first, and their unit directions.

    A set takes in the weight that raises its violation most, as long as that rises by the factor ``GROWTH``. With
    A = (G_SS)⁻¹ and g = G_Sk the value w_SᵀAw_S of S rises by (w_k − gᵀAw_S)²/(G_kk − gᵀAg) when k joins.
    """
    N, d = len(pairs), G.diagonal()
    sets, u = np.full((N, WIDTH), -1, dtype=np.int64), np.zeros((N, WIDTH))
    sets[:, :2] = pairs
    i, j = pairs.T
    det = d[i] * d[j] - G[i, j] ** 2
    A = np.stack([d[j], -G[i, j], -G[i, j], d[i]], axis=1).reshape(N, 2, 2) / det[:, None, None]
    rows = np.arange(N)
    for size in range(2, WIDTH + 1):
        S = sets[rows, :size]
        x = (A @ w[S][:, :, None])[:, :, 0]
        u[rows, :size] = x / np.sqrt((x * x).sum(1))[:, None]
        if size == WIDTH or not len(rows):
            break
        g = G[S]
        p = A @ g
        schur = d - (g * p).sum(1)
        independent = schur > 1e-10 * d
        gap = w - (x[:, None, :] @ g)[:, 0]
        rises = (x * w[S]).sum(1)[:, None] + gap**2 / np.where(independent, schur, 1.0)
        violations = 0.5 * rises * (1 / (z[S].sum(1)[:, None] + z) - 1) / mu
        violations[~independent] = -1.0
        np.put_along_axis(violations, S, -1.0, axis=1)
        k = violations.argmax(1)
        here = np.arange(len(rows))
        raised = violations[here, k]
        grows = raised > GROWTH * violation[rows]
        here, rows, k = here[grows], rows[grows], k[grows]
        violation[rows], sets[rows, size] = raised[grows], k
        A = _bordered(A[here], p[here, :, k], schur[here, k])
    order = np.argsort(-violation, kind="stable")
    return sets[order], u[order]


def _bordered(A: Matrix, p: Matrix, schur: Vector) -> Matrix:
    """The inverses of a stack of matrices after one row and column are added, from their inverses A; p = Ag."""
    N, s = p.shape
    border = np.append(p, np.full((N, 1), -1.0), axis=1)
    larger = border[:, :, None] * (border / schur[:, None])[:, None, :]
    larger[:, :s, :s] += A
    return larger


def _spread_out(sets: NDArray[np.int64], m: int, most: int) -> list[int]:
    """The first ``most`` different sets that do not overlap too much with those chosen before them."""
    used, seen, chosen = [0] * m, set(), []
    for e, row in enumerate(sets.tolist()):
        members = [i for i in row if i >= 0]
        key = frozenset(members)
        if key in seen or sum(used[i] for i in members) > SHARES:
            continue
        seen.add(key)
        chosen.append(e)
        for i in members:
            used[i] += 1
        if len(chosen) == most:
            break
    return chosen
