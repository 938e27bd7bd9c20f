"""Compiled kernels of the selection's branch and bound: the splitting bound of a node, its relaxation, screening.

With p = 1 − z ∈ {0, 1}ⁿ the selection is min ½pᵀAp + ℓᵀp over Σp ≥ k. A node fixes pruned weights (p = 1: a constant,
and A_FP·1 joins ℓ) and kept ones (p = 0: their rows are dropped). Since p_i² = p_i, for any diagonal D, of either sign,
with R = A − diag(D) ⪰ 0, and for any point p̂

    ½pᵀAp + ℓᵀp = ½pᵀRp + (ℓ + ½D)ᵀp ≥ −½p̂ᵀRp̂ + sᵀp,     s = Rp̂ + ℓ + ½D,                      (S)

so that −½p̂ᵀRp̂ + min {sᵀp : p binary, Σp ≥ k} bounds the node: the k smallest s_i and all further negative ones. Its
maximum over p̂ is the convex box QP min ½pᵀRp + (ℓ + ½D)ᵀp, 0 ≤ p ≤ 1, Σp ≥ k. R ⪰ 0 holds for every
principal submatrix, so a node may use its parent's D as it is.

Arrays are float64 and C-contiguous; m is the number of free weights.
"""

from __future__ import annotations

import numpy as np

from cbs_opt.solvers.bounds.compilation import kernel
from cbs_opt.solvers.bounds.dense_kernels import EPS, assign, cholesky, sort_descending
from cbs_opt.solvers.bounds.splitting_kernels import ascend_splitting
from cbs_opt.solvers.exact.box_qp_kernels import interior_start, interior_step, newton_round

FREE, KEPT, PRUNED = 0, 1, 2
FATHOMED, LEAF, BRANCH = 0, 1, 2

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


@kernel()
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


@kernel()
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


@kernel()
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


@kernel()
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
        new, new_enter, new_leave, path_mu = relax(
            R, path_q, doubt, path_p, path_mu, k, target, path_low, work, L
        )
        if new > bound:
            bound, enter, leave, mu = new, new_enter, new_leave, path_mu
            assign(D, path_D)
            assign(p, path_p)
            assign(low, path_low)
            assign(q, path_q)
        share *= DECAY
    return bound, enter, leave, mu, max(share, LAST_SHARE)


@kernel()
def process(A, ell, state, D, p, mu, share, k, cutoff, rounds, passes):
    """Bound one node, screen it until nothing more is fixed, and choose where to branch.

    Parameters
    ----------
    A, ell : arrays (n, n), (n,)
        The root problem.
    state : int8 array (n,), overwritten
        FREE, KEPT or PRUNED; screening fixes more.
    D, p : arrays (n,), overwritten on the free weights
        Certified splitting and warm start in, better ones out.
    mu, share : float
        Warm starts: multiplier of Σp ≥ k, barrier of the splitting ascent.
    k : int
        Least number of pruned weights in all.
    cutoff : float
        Nodes that cannot get below it are of no interest.
    rounds : int
        Rounds of splitting improvement.
    passes : int
        How often a node is reduced again after screening fixed something.

    Returns
    -------
    outcome : FATHOMED, LEAF or BRANCH
    bound : float
        A lower bound on the node, margin subtracted; for a leaf its value, likewise.
    mu, share : float
        Warm starts for the children.
    branch : int
        The weight to branch on.
    """
    n = ell.shape[0]
    best = -np.inf
    order = np.empty(n, np.int64)
    # Linear term and constant of the node, and what they may be wrong by.
    linear, doubts = np.empty(n), np.empty(n)
    round_number = -1
    while True:
        round_number += 1
        free, pruned = 0, 0
        for i in range(n):
            if state[i] == FREE:
                order[free] = i
                free += 1
            elif state[i] == PRUNED:
                pruned += 1
        if k - pruned >= free:
            for r in range(free):
                state[order[r]] = PRUNED
            free, pruned = 0, pruned + free
        constant, margin = 0.0, 0.0
        for i in range(n):
            if state[i] == KEPT:
                continue
            total, size = ell[i], abs(ell[i])
            for j in range(n):
                if state[j] == PRUNED:
                    half = 0.5 * A[i, j] if state[i] == PRUNED else A[i, j]
                    total += half
                    size += abs(half)
            linear[i] = total
            doubts[i] = (pruned + 6.0) * EPS * size
            if state[i] == PRUNED:
                constant += total
                margin += doubts[i] + (n + 2.0) * EPS * abs(total) + TINY
        if free == 0:
            return LEAF, max(best, constant - margin), mu, share, -1
        least = max(k - pruned, 0)
        AF, R = np.empty((free, free)), np.empty((free, free))
        work, L = np.empty((free, free)), np.empty((free, free))
        lF, DF, pF, q = np.empty(free), np.empty(free), np.empty(free), np.empty(free)
        low, doubt = np.zeros(free), np.empty(free)
        for r in range(free):
            i = order[r]
            for t in range(free):
                AF[r, t] = A[i, order[t]]
                R[r, t] = AF[r, t]
            lF[r], DF[r], pF[r] = linear[i], D[i], p[i]
            R[r, r] -= DF[r]
            q[r] = lF[r] + 0.5 * DF[r]
            doubt[r] = doubts[i] + 4.0 * EPS * (abs(lF[r]) + abs(DF[r]) + AF[r, r])
        target = cutoff - constant + margin
        if rounds > 0 and round_number == 0:
            bound, enter, leave, mu, share = improve_splitting(
                AF, lF, doubt, DF, pF, mu, least, target, rounds, share, low, R, q, work, L
            )
        else:
            bound, enter, leave, mu = relax(R, q, doubt, pF, mu, least, target, low, work, L)
        own = constant + bound - margin - 4.0 * EPS * (abs(constant) + abs(bound))
        best = max(best, own)
        for r in range(free):
            D[order[r]] = DF[r]
            p[order[r]] = pF[r]
        if best >= cutoff:
            return FATHOMED, best, mu, share, -1
        fixed, branch, largest = 0, -1, -1.0
        for r in range(free):
            i = order[r]
            # A rise belongs to the bound of these scores, `own`, not to a better one from elsewhere.
            if own + max(0.0, low[r] - enter) * (1.0 - 1e-9) >= cutoff:
                state[i] = KEPT
                fixed += 1
            elif own + max(0.0, leave - low[r]) * (1.0 - 1e-9) >= cutoff:
                state[i] = PRUNED
                fixed += 1
            else:
                weight = AF[r, r] * (pF[r] * (1.0 - pF[r]) + 1e-6)
                if weight > largest:
                    largest, branch = weight, i
        if fixed == 0 or (branch >= 0 and round_number >= passes):
            return BRANCH, best, mu, share, branch


@kernel()
def selection_value(A, ell, p):
    """½pᵀAp + ℓᵀp for a boolean p."""
    n = ell.shape[0]
    value = 0.0
    for i in range(n):
        if p[i]:
            value += ell[i]
            for j in range(n):
                if p[j]:
                    value += 0.5 * A[i, j]
    return value


@kernel()
def descend(A, ell, free, k, p):
    """Best flips and exchanges of free weights from p, in place, until none helps; p keeps Σp ≥ k. Returns the value.

    Pruning j costs b_j = u_j + ½A_jj and keeping i again gains a_i = u_i − ½A_ii, u = Ap + ℓ; doing both costs
    b_j − A_ij − a_i.
    """
    n = ell.shape[0]
    u = np.empty(n)
    value = selection_value(A, ell, p)
    while True:
        count = 0
        for i in range(n):
            total = ell[i]
            for j in range(n):
                if p[j]:
                    total += A[i, j]
            u[i] = total
            count += p[i]
        best, leave, enter = 0.0, -1, -1
        for i in range(n):
            if not free[i]:
                continue
            if not p[i] and u[i] + 0.5 * A[i, i] < best:
                best, enter, leave = u[i] + 0.5 * A[i, i], i, -1
            if not p[i]:
                continue
            gain = u[i] - 0.5 * A[i, i]
            if count > k and -gain < best:
                best, enter, leave = -gain, -1, i
            for j in range(n):
                if free[j] and not p[j]:
                    change = u[j] + 0.5 * A[j, j] - A[i, j] - gain
                    if change < best:
                        best, enter, leave = change, j, i
        if enter < 0 and leave < 0:
            return value
        if enter >= 0:
            p[enter] = True
        if leave >= 0:
            p[leave] = False
        new = selection_value(A, ell, p)
        # The value depends on p alone and falls with every step: round-off cannot make it go round in circles.
        if not new < value:
            if enter >= 0:
                p[enter] = False
            if leave >= 0:
                p[leave] = True
            return value
        value = new
