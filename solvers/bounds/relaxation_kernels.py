"""Compiled kernels of the perspective relaxation for a given splitting H = R + diag(D).

Around the minimizer c of the block (f = ½(w−c)ᵀH(w−c), constants left out) the relaxation is

    min_w ½wᵀRw − bᵀw + ½cᵀb + φ(w),   b = Hc,   φ(w) = min {½ Σ D_i w_i²/z_i : 0 ≤ z ≤ 1, Σz ≤ K}.

With τ = √(2·multiplier of Σz ≤ K) the optimal z is min(1, |w_i|√D_i/τ), and with r = b − Rw:

    z_i = 1 (full):  r_i = D_i w_i, |r_i| ≥ τ√D_i      0 < z_i < 1:  |r_i| = τ√D_i      z_i = 0:  |r_i| ≤ τ√D_i.

For a given partition these are linear equations in (w, τ): Newton's method on them, coordinate descent
to find the partition. Whatever w comes out, bound (B) at w is valid.

Arrays are float64 and C-contiguous; m is the number of free weights.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from cbs_opt.solvers.bounds.dense_kernels import (
    EPS,
    FAST,
    assign,
    cholesky,
    cholesky_solve,
    residual,
    sort_descending,
)


@njit(cache=True, error_model="numpy")
def budget_tau(w, D, K):
    """τ with Σ min(1, |w_i|√D_i/τ) = K (0 where at most K weights are non-zero)."""
    m = w.shape[0]
    a = np.empty(m)
    for i in range(m):
        a[i] = abs(w[i]) * np.sqrt(D[i])
    sort_descending(a)
    tail = 0.0
    for i in range(m):
        tail += a[i]
    # With the `full` largest at z = 1, τ = (sum of the others)/(K − full), valid once it exceeds each of them.
    for full in range(K):
        tau = tail / (K - full)
        if a[full] <= tau:
            return tau
        tail -= a[full]
    return 0.0


@njit(cache=True, error_model="numpy", fastmath=FAST)
def descend(R, D, w, r, tau):
    """One sweep of coordinate descent at fixed τ; w and r = b − Rw are updated. Returns the largest move."""
    m = w.shape[0]
    largest = 0.0
    for i in range(m):
        curvature = R[i, i]
        rho = r[i] + curvature * w[i]
        root = np.sqrt(D[i])
        size = abs(rho)
        if size <= tau * root:
            new = 0.0
        else:
            new = (size - tau * root) / curvature
            if new * root > tau:
                new = size / (curvature + D[i])
            if rho < 0.0:
                new = -new
        step = new - w[i]
        if step != 0.0:
            w[i] = new
            for j in range(m):
                r[j] -= R[i, j] * step
            move = abs(step) * np.sqrt(curvature + D[i])
            largest = max(largest, move)
    return largest


@njit(cache=True, error_model="numpy")
def newton(R, D, b, w, tau, K, fixed, work, L):
    """Solve the linear equations of the partition that (w, τ) shows; w is overwritten.

    With ``fixed`` τ stays, else the budget Σz = K determines it. Returns τ, or −1 where the equations
    have no admissible solution (w is then untouched).
    """
    m = w.shape[0]
    index = np.empty(m, np.int64)
    count = 0
    full = 0
    for i in range(m):
        if w[i] != 0.0:
            index[count] = i
            count += 1
            if abs(w[i]) * np.sqrt(D[i]) >= tau:
                full += 1
    if count == 0 or (full > K and not fixed):
        return -1.0
    M = work[:count, :count]
    u = np.empty(count)
    v = np.zeros(count)
    a = np.zeros(count)
    for p in range(count):
        i = index[p]
        for q in range(p + 1):
            M[p, q] = R[i, index[q]]
        root = np.sqrt(D[i])
        u[p] = b[i]
        if abs(w[i]) * root >= tau:
            M[p, p] += D[i]
        else:
            a[p] = root if w[i] > 0.0 else -root
            if fixed:
                u[p] -= tau * a[p]
            v[p] = a[p]
    factor = L[:count, :count]
    if not cholesky(M, factor):
        return -1.0
    cholesky_solve(factor, u)
    new_tau = tau
    if not fixed and full < count:
        cholesky_solve(factor, v)
        numerator = 0.0
        denominator = float(K - full)
        for p in range(count):
            numerator += a[p] * u[p]
            denominator += a[p] * v[p]
        if not (denominator > 0.0 and numerator > 0.0):
            return -1.0
        new_tau = numerator / denominator
        for p in range(count):
            u[p] -= new_tau * v[p]
    for p in range(count):
        # A weight that would change sign passes through zero; at fixed τ the caller sees to it.
        w[index[p]] = 0.0 if a[p] * u[p] < 0.0 and not fixed else u[p]
    return new_tau


@njit(cache=True, error_model="numpy", fastmath=FAST)
def evaluate(R, D, c, w, K, scores):
    """Bound (B) at w, from below, with its scores s_i = (r_i)²/(2D_i); everything relative to f = 0 at c.

    Returns the bound with the round-off margin of this evaluation subtracted, and the K-th and
    (K+1)-th largest score (0 ≤ K < m).

    Written around c so that nothing cancels: with d = w − c, q = Rd a pruned weight costs
    D_i c_i²/2 − q_i c_i, a kept one −q_i²/(2D_i), and s_i is the difference, (D_i c_i − q_i)²/(2D_i).
    """
    m = w.shape[0]
    q = np.empty(m)
    quadratic = 0.0
    spread = 0.0
    for i in range(m):
        total = 0.0
        size = 0.0
        for j in range(m):
            term = R[i, j] * (w[j] - c[j])
            total += term
            size += abs(term)
        q[i] = total
        spread = max(spread, size)
        quadratic += total * (w[i] - c[i])
    for i in range(m):
        scores[i] = (D[i] * c[i] - q[i]) ** 2 / (2.0 * D[i])
    order = scores.copy()
    sort_descending(order)
    kth = order[K - 1] if K > 0 else np.inf
    next_score = order[K]
    # Kept: everything above the K-th score, then ties until K are kept.
    above = 0
    for i in range(m):
        if scores[i] > kth:
            above += 1
    ties = K - above
    value = -0.5 * quadratic
    error = m * EPS * spread  # of each q_i
    margin = abs(quadratic)
    slack = 0.0
    for i in range(m):
        keep = K > 0 and scores[i] > kth
        if K > 0 and scores[i] == kth and ties > 0:
            keep = True
            ties -= 1
        if keep:
            cost = -q[i] * q[i] / (2.0 * D[i])
            slack += error * (abs(q[i]) + error) / D[i]
            margin += abs(cost)
        else:
            cost = 0.5 * D[i] * c[i] * c[i] - q[i] * c[i]
            slack += error * abs(c[i])
            margin += 0.5 * D[i] * c[i] * c[i] + abs(q[i] * c[i])
        slack += error * abs(w[i] - c[i])
        value += cost
    return value - slack - 4.0 * m * EPS * margin, kth, next_score


@njit(cache=True, error_model="numpy", fastmath=FAST)
def primal_value(R, D, c, w, K):
    """The relaxation's objective at w: an upper bound on its optimum, to see how far (B) still is."""
    m = w.shape[0]
    tau = budget_tau(w, D, K)
    value = 0.0
    for i in range(m):
        d = w[i] - c[i]
        total = 0.0
        for j in range(m):
            total += R[i, j] * (w[j] - c[j])
        z = 1.0
        if tau > 0.0:
            z = min(1.0, abs(w[i]) * np.sqrt(D[i]) / tau)
        value += 0.5 * d * total + 0.5 * D[i] * d * d
        if z > 0.0:
            value += 0.5 * D[i] * w[i] * w[i] * (1.0 / z - 1.0)
    return value


@njit(cache=True, error_model="numpy", fastmath=FAST)
def penalized_value(R, D, c, w, tau):
    """½(w−c)ᵀR(w−c) − Σ D_i c_i w_i + Σ φ_τ(w_i), small numbers where R is large and D small.

    φ_τ is the reverse Huber function: τ√D|w| near zero, ½Dw² + ½τ² beyond τ/√D.
    """
    m = w.shape[0]
    value = 0.0
    for i in range(m):
        total = 0.0
        for j in range(m):
            total += R[i, j] * (w[j] - c[j])
        size = abs(w[i]) * np.sqrt(D[i])
        value += 0.5 * total * (w[i] - c[i]) - D[i] * c[i] * w[i]
        value += 0.5 * size * size + 0.5 * tau * tau if size > tau else tau * size
    return value


@njit(cache=True, error_model="numpy")
def settle(R, D, b, c, w, tau, K, steps, r, trial, work, L):
    """Minimize the penalized function at fixed τ: coordinate descent, and Newton steps where they descend."""
    m = w.shape[0]
    value = penalized_value(R, D, c, w, tau)
    for _ in range(steps):
        before = value
        residual(R, b, w, r)
        moved = descend(R, D, w, r, tau)
        moved = descend(R, D, w, r, tau)
        value = penalized_value(R, D, c, w, tau)
        assign(trial, w)
        if newton(R, D, b, trial, tau, K, True, work, L) > 0.0:
            # All the way, every weight that changes sign stopped at zero; else as far as the first of them.
            longest = 1.0
            first = -1
            for i in range(m):
                if trial[i] * w[i] < 0.0:
                    reach = w[i] / (w[i] - trial[i])
                    if reach < longest:
                        longest = reach
                        first = i
            step = 1.0
            for attempt in range(6):
                for i in range(m):
                    new = w[i] + step * (trial[i] - w[i])
                    r[i] = 0.0 if new * w[i] < 0.0 or (i == first and attempt == 1) else new
                stepped = penalized_value(R, D, c, r, tau)
                if stepped < value:
                    value = stepped
                    assign(w, r)
                    break
                step = longest if attempt == 0 else 0.4 * step
        if before - value <= 1e-13 * abs(value) or moved == 0.0:
            break


@njit(cache=True, error_model="numpy")
def relax(R, D, b, c, K, w, tau, target, tolerance, rounds, scores, work, L):
    """Maximize (B) over w, from (w, τ). Stops at ``target``, at relative ``tolerance``, or after ``rounds``.

    Newton's method on (w, τ) together first; where its partition does not settle, a bracketed search for
    τ, each value minimized to the end: slower, and sure.

    Returns bound, K-th and next score, τ, and the best value of the relaxation that was seen (an upper
    bound on what (B) can reach with this D); w and scores hold the point that gave the bound.
    """
    m = w.shape[0]
    r = np.empty(m)
    best_w = w.copy()
    best_scores = scores.copy()
    trial = np.empty(m)
    if not tau > 0.0:
        tau = budget_tau(c, D, K)
    round_number = 0
    best, best_kth, best_next = evaluate(R, D, c, w, K, best_scores)
    best_tau = tau
    primal = primal_value(R, D, c, w, K)
    low, high = 0.0, np.inf
    quick = 8
    for round_number in range(rounds):
        # τ = 0: at most K weights of c are not zero, c itself is feasible and the bound 0 is all there is.
        if not tau > 0.0 or best >= target or primal - best <= tolerance * abs(best):
            break
        if round_number < quick:
            residual(R, b, w, r)
            for _ in range(3):
                descend(R, D, w, r, tau)
            assign(trial, w)
            new_tau = newton(R, D, b, trial, tau, K, False, work, L)
            if new_tau > 0.0:
                assign(w, trial)
                tau = new_tau
            else:
                new_tau = budget_tau(w, D, K)
                tau = new_tau if new_tau > 0.0 else 0.5 * tau
        else:
            if round_number == quick:
                assign(w, best_w)
                tau = best_tau
            settle(R, D, b, c, w, tau, K, 30 + m, r, trial, work, L)
        bound, kth, next_score = evaluate(R, D, c, w, K, scores)
        if bound > best:
            best, best_kth, best_next, best_tau = bound, kth, next_score, tau
            assign(best_w, w)
            assign(best_scores, scores)
        primal = min(primal, primal_value(R, D, c, w, K))
        if round_number >= quick:
            used = 0.0
            for i in range(m):
                used += min(1.0, abs(w[i]) * np.sqrt(D[i]) / tau)
            if used > K:
                low = tau
            else:
                high = tau
            assign(trial, w)
            proposed = newton(R, D, b, trial, tau, K, False, work, L)
            if proposed > low and proposed < high:
                tau = proposed
            elif high == np.inf:
                tau = 2.0 * tau
            elif low == 0.0:
                tau = 0.5 * tau
            else:
                tau = np.sqrt(low * high)
            if high < np.inf and high - low <= 1e-15 * high:
                break
    assign(w, best_w)
    assign(scores, best_scores)
    return best, best_kth, best_next, best_tau, primal, round_number
