"""The bound of a node of the selection problem, as compiled loops."""

from __future__ import annotations

import numpy as np

from cbs_opt.solvers.compiled.box_qp import interior_start, interior_step, newton_round
from cbs_opt.solvers.compiled.compilation import compiled
from cbs_opt.solvers.compiled.dense import EPS, assign, cholesky
from cbs_opt.solvers.compiled.oracle import sort_descending
from cbs_opt.solvers.compiled.splitting import ascend_splitting

QUICK = 5
"""Rounds of Newton's method from the warm start before the interior-point method takes over."""

ROUNDS = 25
"""Rounds in all."""

CLOSE = 0.1
"""A relaxation is good enough when its optimum cannot close more than this part of the way to the target."""

LEAST_GAIN = 0.1
"""Every weight counts for at least this part of ¼, the largest p(1 − p), in the choice of the splitting."""

LEAST_D = -1.0
"""D_i may fall to this times A_ii, where that lets others rise."""

DECAY, LAST_SHARE = 0.7, 3e-3
"""The barrier falls by this factor a round; later nodes begin with at least this share of the mean of gain·A_ii."""

STALL = 0.01
"""Eight rounds have to close this part of the distance to the target, or no more follow."""

TINY = 1e-280
"""Added to what the diagonal may lose, for weights whose A_ii vanishes in float64."""


@compiled()
def bound_at(R, q, doubt, p, k, low):
    """(S) at p, from below.

    Parameters
    ----------
    R, q : arrays (m, m), (m,)
        q = ℓ + ½D.
    doubt : array (m,)
        What q_i may be wrong by.
    k : int
        Least number of ones, ≤ m.
    low : array (m,), overwritten
        s, each lowered by its round-off; what is forced to 1 or 0 costs its distance to the thresholds.

    Returns
    -------
    bound : float
    enter, leave : float
        Forcing p_i = 1 raises the bound by max(0, low_i − enter), p_i = 0 by max(0, leave − low_i).
    gap : float
        The relaxation's optimum is at most this above the bound; inf where Σp < k.
    """
    m = p.shape[0]
    quadratic, linear, margin, total = 0.0, 0.0, 0.0, 0.0
    for i in range(m):
        value, size = 0.0, 0.0
        for j in range(m):
            term = R[i, j] * p[j]
            value += term
            size += abs(term)
        error = (m + 8.0) * EPS * size + doubt[i]
        quadratic += p[i] * value
        margin += p[i] * error
        low[i] = value + q[i] - error
        linear += p[i] * (value + q[i])
        total += p[i]
    order = low.copy()
    sort_descending(order)
    chosen, size, count = 0.0, 0.0, 0
    for r in range(m):
        smallest = order[m - 1 - r]
        if r >= k and smallest >= 0.0:
            break
        chosen += smallest
        size += abs(smallest)
        count += 1
    enter = max(0.0, order[m - k]) if k > 0 else 0.0
    leave = 0.0
    if count <= k:
        leave = order[m - 1 - k] if k < m else np.inf
    bound = chosen - 0.5 * quadratic - margin - (m + 8.0) * EPS * (abs(quadratic) + size)
    gap = linear - chosen if total >= k * (1.0 - 1e-12) else np.inf
    return bound, enter, leave, gap


@compiled()
def relax(R, q, doubt, p, mu, k, target, low, work, L):
    """Maximize (S) over p, from (p, μ); stops at ``target`` or where it cannot be reached.

    Returns bound, enter and leave thresholds, μ; p and low hold the point that gave the bound.
    """
    m = p.shape[0]
    best_p, best_low = p.copy(), low.copy()
    best, enter, leave, gap = bound_at(R, q, doubt, p, k, best_low)
    best_mu, most = mu, best + gap
    alpha, beta, step = np.empty(m), np.empty(m), np.empty(m)
    for round_number in range(ROUNDS):
        if best >= target or most - best <= CLOSE * (target - best):
            break
        if round_number < QUICK:
            mu = newton_round(R, q, p, mu, k, step, work, L)
        else:
            if round_number == QUICK:
                mu = interior_start(R, q, p, alpha, beta, k)
            mu = interior_step(R, q, p, alpha, beta, mu, k, work, L)
            if mu < 0.0:
                break
        bound, new_enter, new_leave, gap = bound_at(R, q, doubt, p, k, low)
        most = min(most, bound + gap)
        if bound > best:
            best, enter, leave, best_mu = bound, new_enter, new_leave, mu
            assign(best_p, p)
            assign(best_low, low)
    assign(p, best_p)
    assign(low, best_low)
    return best, enter, leave, best_mu


@compiled()
def certify(A, D, R, work, L):
    """R ← A − diag(D), lowering D until R ⪰ 0 is proven in spite of round-off; below zero where it must be.

    Rounding A's entries and its factorization perturb R by at most (m + 4)²·ε·√A_ii√A_jj in norm. Where A itself
    lacks a Cholesky factor D falls further; at D_i = −m·A_ii it ends.
    """
    m = D.shape[0]
    share = 2.0**-10
    margin = (m + 4.0) ** 2 * EPS
    depth = 4.0
    for _ in range(100):
        for i in range(m):
            for j in range(m):
                R[i, j] = A[i, j]
                work[i, j] = A[i, j]
            R[i, i] -= D[i]
            work[i, i] -= D[i] + margin * (A[i, i] + abs(D[i])) + TINY
        if cholesky(work, L):
            return True
        if share > 1.0:
            depth *= 2.0
        for i in range(m):
            D[i] -= min(1.0, share) * (D[i] + depth * (margin * A[i, i] + TINY))
        share *= 2.0
    return False


@compiled(inlined=True)
def improve_splitting(A, ell, doubt, D, p, mu, k, target, rounds, share, low, R, q, work, L):
    """Follow the splitting along a falling barrier from a certified D; D, p, low and q hold the best found.

    The relaxation's value is concave in D, with derivative ½p_i(1 − p_i). Each round relaxes, averages the
    gains, and sweeps once over the coordinates of D; the path moves on whether its bound is better or not. ``share`` is
    the barrier as a share of the mean of gain·A_ii; what was returned goes on.
    Returns bound, enter and leave thresholds, μ, share.
    """
    m = D.shape[0]
    inverse = np.empty((m, m))
    path_D, path_p, path_q, path_low = D.copy(), p.copy(), q.copy(), low.copy()
    gain, floor = np.zeros(m), np.empty(m)
    for i in range(m):
        floor[i] = LEAST_D * A[i, i]
    bound, enter, leave, mu = relax(R, q, doubt, p, mu, k, target, low, work, L)
    assign(path_p, p)
    path_mu = mu
    checkpoint = bound
    for round_number in range(rounds):
        if bound >= target:
            break
        if round_number % 8 == 7:
            if bound - checkpoint < STALL * (target - bound):
                break
            checkpoint = bound
        unit = 0.0
        for i in range(m):
            fresh = max(path_p[i] * (1.0 - path_p[i]), 0.25 * LEAST_GAIN)
            gain[i] = fresh if round_number == 0 else 0.5 * (gain[i] + fresh)
            unit += gain[i] * A[i, i] / m
        if not ascend_splitting(A, path_D, gain, share * unit, floor, work, L, inverse):
            break
        if not certify(A, path_D, R, work, L):
            break
        for i in range(m):
            path_q[i] = ell[i] + 0.5 * path_D[i]
        new, new_enter, new_leave, path_mu = relax(R, path_q, doubt, path_p, path_mu, k, target, path_low, work, L)
        if new > bound:
            bound, enter, leave, mu = new, new_enter, new_leave, path_mu
            assign(D, path_D)
            assign(p, path_p)
            assign(low, path_low)
            assign(q, path_q)
        share *= DECAY
    return bound, enter, leave, mu, max(share, LAST_SHARE)
