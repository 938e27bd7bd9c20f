"""Compiled kernels of the perspective relaxation for a given splitting H = R + diag(D).

Around the minimizer c of the block (f = ½(w−c)ᵀH(w−c), constants left out) the relaxation is

    min_w ½wᵀRw − bᵀw + ½cᵀb + φ(w),   b = Hc,   φ(w) = min {½ Σ D_i w_i²/z_i : 0 ≤ z ≤ 1, Σz ≤ K}.

With τ = √(2·multiplier of Σz ≤ K) the optimal z is min(1, |w_i|√D_i/τ), and with r = b − Rw:

    z_i = 1 (full):  r_i = D_i w_i, |r_i| ≥ τ√D_i      0 < z_i < 1:  |r_i| = τ√D_i      z_i = 0:  |r_i| ≤ τ√D_i.

For a given partition these are linear equations in (w, τ): Newton's method on them, coordinate descent
to find the partition. Where that does not converge, an interior-point method in z: min over w is a smooth
convex function of z, so it needs no more steps at condition 1e9 than at 10. Whatever w comes out, bound (B)
at w is valid.

Arrays are float64 and C-contiguous; m is the number of free weights.
"""

from __future__ import annotations

import numpy as np

from cbs_opt.solvers.compiled.compilation import compiled
from cbs_opt.solvers.compiled.dense import EPS, assign, cholesky, cholesky_solve, residual
from cbs_opt.solvers.compiled.oracle import budget_tau, choose_best

QUICK = 6
"""Most rounds of Newton's method from the warm start before the interior-point method takes over."""

SETTLING = 0.5
"""A round of Newton's method has to bring relaxation and bound closer by this factor, or it is the last one."""

BLEND = 0.2
"""How far the interior-point method starts from the z of the warm start, towards equal shares."""

START = 0.4
"""Complementarity at that start, in units of μK/m."""

CENTERING = 0.15
"""What an interior-point step leaves of the mean complementarity."""


@compiled(fast=True)
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


@compiled()
def newton(R, D, b, w, tau, K, work, L):
    """Solve the linear equations of the partition that (w, τ) shows; w is overwritten.

    Returns τ, or −1 where the equations have no admissible solution (w is then untouched).
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
    if count == 0 or full > K:
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
            v[p] = a[p]
    factor = L[:count, :count]
    if not cholesky(M, factor):
        return -1.0
    cholesky_solve(factor, u)
    new_tau = tau
    if full < count:
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
        # A weight that would change sign passes through zero.
        w[index[p]] = 0.0 if a[p] * u[p] < 0.0 else u[p]
    return new_tau


@compiled(fast=True)
def evaluate(R, D, c, w, K, scores):
    """Bound (B) at w, from below, with its scores s_i = (r_i)²/(2D_i); everything relative to f = 0 at c.

    Returns the bound with the round-off margin of this evaluation subtracted, the K-th and
    (K+1)-th largest score (0 ≤ K < m), and (w−c)ᵀR(w−c).

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
    kept = np.empty(m, np.bool_)
    kth, next_score = choose_best(scores, K, kept)
    value = -0.5 * quadratic
    error = m * EPS * spread  # of each q_i
    margin = abs(quadratic)
    slack = 0.0
    for i in range(m):
        if kept[i]:
            cost = -q[i] * q[i] / (2.0 * D[i])
            slack += error * (abs(q[i]) + error) / D[i]
            margin += abs(cost)
        else:
            cost = 0.5 * D[i] * c[i] * c[i] - q[i] * c[i]
            slack += error * abs(c[i])
            margin += 0.5 * D[i] * c[i] * c[i] + abs(q[i] * c[i])
        slack += error * abs(w[i] - c[i])
        value += cost
    return value - slack - 4.0 * m * EPS * margin, kth, next_score, quadratic


@compiled(fast=True)
def primal_value(quadratic, D, c, w, K):
    """The relaxation's objective at w: an upper bound on its optimum, to see how far (B) still is.

    ``quadratic`` is (w−c)ᵀR(w−c).
    """
    m = w.shape[0]
    tau = budget_tau(w, D, K)
    value = 0.5 * quadratic
    for i in range(m):
        d = w[i] - c[i]
        z = 1.0
        if tau > 0.0:
            z = min(1.0, abs(w[i]) * np.sqrt(D[i]) / tau)
        value += 0.5 * D[i] * d * d
        if z > 0.0:
            value += 0.5 * D[i] * w[i] * w[i] * (1.0 / z - 1.0)
    return value


@compiled()
def best_weights(R, D, b, z, w, work, L):
    """w ← (R + diag(D/z))⁻¹b, the relaxation's best weights for given z > 0; False where it cannot be factorized."""
    m = w.shape[0]
    for i in range(m):
        for j in range(i + 1):
            work[i, j] = R[i, j]
        work[i, i] += D[i] / z[i]
        w[i] = b[i]
    if not cholesky(work, L):
        return False
    cholesky_solve(L, w)
    return True


@compiled()
def interior_start(R, D, b, w, tau, z, alpha, beta, K, work, L):
    """A point inside near the z that (w, τ) shows, w for this z. Returns μ, or −1 where nothing can be factorized."""
    m = w.shape[0]
    share = K / m
    for i in range(m):
        shown = min(1.0, abs(w[i]) * np.sqrt(D[i]) / tau)
        z[i] = (1.0 - BLEND) * shown + BLEND * 0.9 * share
    if not best_weights(R, D, b, z, w, work, L):
        return -1.0
    mu = 0.5 * tau * tau
    t = START * mu * share
    for i in range(m):
        alpha[i] = t / (1.0 - z[i])
        beta[i] = t / z[i]
    return mu


@compiled()
def interior_step(R, D, b, w, z, alpha, beta, mu, K, work, L, p, q):
    """One primal-dual Newton step in z, with the best w for it; all arrays are updated.

    min over w is a smooth convex function of z with derivative −½D_i(w_i/z_i)²; α, β, μ ≥ 0 are the multipliers
    of z ≤ 1, z ≥ 0 and Σz ≤ K. Its Hessian is never formed: the step of z is eliminated from the Newton
    equations in (w, z), which leaves one Cholesky factorization, and a second one for the new w.
    Returns the new μ, or −1 where a factorization failed.
    """
    m = w.shape[0]
    used = 0.0
    gap = 0.0
    for i in range(m):
        used += z[i]
        gap += alpha[i] * (1.0 - z[i]) + beta[i] * z[i]
    slack = K - used
    if not slack > 0.0:
        return -1.0
    t = CENTERING * (gap + mu * slack) / (2 * m + 1)
    E = np.empty(m)
    coupling = np.empty(m)
    rhs = np.empty(m)
    for i in range(m):
        ratio = w[i] / z[i]
        barrier = alpha[i] / (1.0 - z[i]) + beta[i] / z[i]
        coupling[i] = D[i] * ratio / z[i]
        E[i] = D[i] * ratio * ratio / z[i] + barrier
        rhs[i] = 0.5 * D[i] * ratio * ratio - mu - t / (1.0 - z[i]) + t / z[i]
        for j in range(i + 1):
            work[i, j] = R[i, j]
        # D_i/z_i − coupling²/E, without the cancellation.
        work[i, i] += D[i] / z[i] * barrier / E[i]
        p[i] = coupling[i] * rhs[i] / E[i]
        q[i] = coupling[i] / E[i]
    if not cholesky(work, L):
        return -1.0
    cholesky_solve(L, p)
    cholesky_solve(L, q)
    constant, slope = 0.0, 0.0
    for i in range(m):
        constant += (rhs[i] + coupling[i] * p[i]) / E[i]
        slope += (1.0 + coupling[i] * q[i]) / E[i]
    step_mu = (t - mu * slack + mu * constant) / (slack + mu * slope)
    longest = 1.0
    change = 0.0
    for i in range(m):
        step_z = (rhs[i] + coupling[i] * (p[i] - step_mu * q[i]) - step_mu) / E[i]
        step_alpha = (t + alpha[i] * step_z) / (1.0 - z[i]) - alpha[i]
        step_beta = (t - beta[i] * step_z) / z[i] - beta[i]
        change += step_z
        if step_z < 0.0:
            longest = min(longest, -0.99 * z[i] / step_z)
        elif step_z > 0.0:
            longest = min(longest, 0.99 * (1.0 - z[i]) / step_z)
        if step_alpha < 0.0:
            longest = min(longest, -0.99 * alpha[i] / step_alpha)
        if step_beta < 0.0:
            longest = min(longest, -0.99 * beta[i] / step_beta)
        p[i] = step_z
        E[i] = step_alpha
        q[i] = step_beta
    if change > 0.0:
        longest = min(longest, 0.99 * slack / change)
    if step_mu < 0.0:
        longest = min(longest, -0.99 * mu / step_mu)
    for i in range(m):
        z[i] += longest * p[i]
        alpha[i] += longest * E[i]
        beta[i] += longest * q[i]
    if not best_weights(R, D, b, z, w, work, L):
        return -1.0
    return mu + longest * step_mu


@compiled()
def newton_round(R, D, b, w, tau, K, r, trial, work, L):
    """Three sweeps of coordinate descent, then Newton's step for the partition they show; w is updated. Returns τ."""
    residual(R, b, w, r)
    for _ in range(3):
        descend(R, D, w, r, tau)
    assign(trial, w)
    new_tau = newton(R, D, b, trial, tau, K, work, L)
    if new_tau > 0.0:
        assign(w, trial)
        return new_tau
    new_tau = budget_tau(w, D, K)
    return new_tau if new_tau > 0.0 else 0.5 * tau


@compiled()
def relax(R, D, b, c, K, w, tau, target, tolerance, rounds, scores, work, L):
    """Maximize (B) over w, from (w, τ). Stops at ``target``, at relative ``tolerance``, or after ``rounds``.

    Newton's method on (w, τ) first, warm and usually done after a few rounds. Where its partition does
    not settle, an interior-point method, warm too: 4–8 more rounds, whatever the condition.

    Returns bound, K-th and next score, τ, and the best value of the relaxation that was seen (an upper bound on
    what (B) can reach with this D); w and scores hold the point that gave the bound.
    """
    m = w.shape[0]
    r = np.empty(m)
    best_w = w.copy()
    best_scores = scores.copy()
    trial = np.empty(m)
    z = np.empty(m)
    alpha = np.empty(m)
    beta = np.empty(m)
    if not tau > 0.0:
        tau = budget_tau(c, D, K)
    best, best_kth, best_next, quadratic = evaluate(R, D, c, w, K, best_scores)
    best_tau = tau
    primal = primal_value(quadratic, D, c, w, K)
    mu = 0.0
    apart = np.inf
    quick = QUICK
    round_number = 0
    # τ = 0: at most K weights of c are not zero, c itself is feasible and the bound 0 is all there is.
    while tau > 0.0 and best < target and primal - best > tolerance * abs(best) and round_number < rounds:
        if quick > 0:
            quick -= 1
            tau = newton_round(R, D, b, w, tau, K, r, trial, work, L)
        else:
            if quick == 0:
                quick = -1
                assign(w, best_w)
                tau = budget_tau(w, D, K)
                if not tau > 0.0:
                    assign(w, c)
                    tau = budget_tau(w, D, K)
                mu = interior_start(R, D, b, w, tau, z, alpha, beta, K, work, L)
            if mu > 0.0:
                mu = interior_step(R, D, b, w, z, alpha, beta, mu, K, work, L, r, trial)
            if not mu > 0.0:
                break
            tau = np.sqrt(2.0 * mu)
        round_number += 1
        bound, kth, next_score, quadratic = evaluate(R, D, c, w, K, scores)
        if bound > best:
            best, best_kth, best_next, best_tau = bound, kth, next_score, tau
            assign(best_w, w)
            assign(best_scores, scores)
        value = primal_value(quadratic, D, c, w, K)
        if quick > 0 and not value - bound < SETTLING * apart:
            quick = 0
        apart = value - bound
        if value < primal:
            primal = value
    assign(w, best_w)
    assign(scores, best_scores)
    return best, best_kth, best_next, best_tau, primal
