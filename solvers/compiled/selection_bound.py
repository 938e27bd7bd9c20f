"""Compiled kernels of the bound (S) of a node of the selection problem, which ``selection_node`` defines."""

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
"""Rounds of a relaxation at the most."""

CLOSE = 0.1
"""A relaxation ends where its optimum cannot be further on the way to the target by more than this part of the rest."""

LEAST_GAIN = 0.1
"""In the choice of the splitting every weight counts for at least this part of ¼, the largest p(1 − p)."""

LEAST_D = -1.0
"""D_i may fall to this multiple of A_ii, where that lets others rise."""

DECAY, LAST_SHARE = 0.7, 3e-3
"""The barrier falls by the factor DECAY in each round; later nodes begin with at least LAST_SHARE of the mean of
gain·A_ii."""

STALL = 0.01
"""The ascent ends where eight rounds do not close this part of the distance to the target."""

TINY = 1e-280
"""Added to the margin of every diagonal entry, for weights whose A_ii vanishes in float64."""


@compiled()
def bound_at(R, q, doubt, p, k, low):
    """The bound (S) at p, less its round-off.

    Parameters
    ----------
    R, q : arrays (m, m), (m,)
        R = A − diag(D) and q = ℓ + ½D, on the free weights.
    doubt : array (m,)
        The round-off of each q_i.
    p : array (m,)
        The point p̂ of (S), in [0, 1].
    k : int
        Least number of ones, ≤ m.
    low : array (m,), overwritten
        The scores s, each lowered by its round-off.

    Returns
    -------
    bound : float
        The bound.
    enter, leave : float
        Forcing p_i = 1 raises the bound by max(0, low_i − enter), forcing p_i = 0 by max(0, leave − low_i).
    gap : float
        The optimum of the relaxation is at most this much above the bound; inf where Σp < k.
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
    """Maximize (S) over p, from (p, μ); stops at ``target``, or where not much more can be reached.

    Returns the bound, its thresholds enter and leave, and μ. On return p and low hold the point that gave the bound.
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
    """R ← A − diag(D), lowering D, even below zero, until R ⪰ 0 is proven in spite of round-off.

    The rounding of A's entries and of the factorization perturbs R by at most (m + 4)²·ε·√A_ii√A_jj in norm. Returns
    False where no D that is tried will do.
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
    """Improve the splitting along a falling barrier, from a certified D; D, p, low and q hold the best on return.

    The relaxation's value is concave in D, with derivative ½p_i(1 − p_i). Each round relaxes, averages the gains, and
    sweeps once over the coordinates of D; the path goes on even where its bound is not better. ``share`` is the barrier
    as a share of the mean of gain·A_ii; the share that is returned is meant for the next call. Returns the bound, its
    thresholds enter and leave, μ, and share.
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
