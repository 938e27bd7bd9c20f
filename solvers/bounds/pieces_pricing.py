"""New pieces for a splitting: sets and directions whose violation (see ``pieces``) is large.

With G = R⁻¹ the best direction on S is u_S = (G_SS)⁻¹w_S, and it pays where

    ½w_Sᵀ(G_SS)⁻¹w_S · (1/z(S) − 1)/μ > 1.

Sets grow from the most violated pairs by one weight at a time, all of a round at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.arrays.types import Matrix, Vector
from cbs_opt.solvers.bounds.pieces_newton import WIDTH

VIOLATION = 1.2
"""New pieces have to be violated by this factor."""

GROWTH = 1.05
"""A set grows while its violation does by this factor."""

SEEDS = 10
"""Pairs to begin with, for each piece that is wanted."""

SHARES = 4
"""Uses of a set's weights by the better sets of its round, at the most."""


def priced(G: Matrix, w: Vector, z: Vector, mu: float, most: int) -> tuple[NDArray[np.int64], Matrix, Matrix]:
    """Members, indicators and directions of at most ``most`` violated sets; G = R⁻¹."""
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
    """Pairs grown by the weight that raises the violation most while it rises by 5 %, and their unit directions.

    With A = (G_SS)⁻¹ and g = G_Sk the value wᵀAw of S rises by (w_k − gᵀAw_S)²/(G_kk − gᵀAg) where k joins.
    The most violated set comes first.
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
    """The inverses A of a stack of matrices after one row and column more; p = Ag."""
    N, s = p.shape
    border = np.append(p, np.full((N, 1), -1.0), axis=1)
    larger = border[:, :, None] * (border / schur[:, None])[:, None, :]
    larger[:, :s, :s] += A
    return larger


def _spread_out(sets: NDArray[np.int64], m: int, most: int) -> list[int]:
    """The first ``most`` different sets that do not overlap too much with those before."""
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
