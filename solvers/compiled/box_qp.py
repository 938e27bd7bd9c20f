"""Compiled steps for the box QP  min ½pᵀRp + qᵀp,  0 ≤ p ≤ 1,  Σp ≥ k  with R ⪰ 0.

Coordinate descent shows which p_i are at a bound. Given these, the optimality conditions are linear in the other p_i
and in μ, the multiplier of Σp ≥ k, and one Cholesky factorization solves them (a primal-dual active-set step,
Hintermüller, Ito & Kunisch, SIAM J. Optimization 13, 2002). Where the set of p_i at a bound does not settle, a
primal-dual interior-point method takes about ten steps, whatever R is (Nocedal & Wright, Numerical Optimization, 2006,
§16.6).
"""

from __future__ import annotations

import numpy as np

from cbs_opt.solvers.compiled.compilation import compiled
from cbs_opt.solvers.compiled.dense import cholesky, cholesky_solve

SWEEPS = 2
"""Sweeps of coordinate descent before each active-set step."""
CENTERING = 0.1
"""An interior-point step aims at this part of the mean complementarity."""


@compiled(fast=True)
def gradient(R, q, p, s):
    """s ← Rp + q."""
    m = p.shape[0]
    for i in range(m):
        total = 0.0
        for j in range(m):
            total += R[i, j] * p[j]
        s[i] = total + q[i]


@compiled(fast=True)
def sweep(R, p, s, mu):
    """One sweep of coordinate descent at fixed μ; updates p and s = Rp + q."""
    m = p.shape[0]
    for i in range(m):
        if R[i, i] > 0.0:
            new = min(1.0, max(0.0, p[i] - (s[i] - mu) / R[i, i]))
            step = new - p[i]
            if step != 0.0:
                p[i] = new
                for j in range(m):
                    s[j] += R[i, j] * step


@compiled(inlined=True)
def newton_round(R, q, p, mu, k, s, work, L):
    """Sweeps of coordinate descent, then an active-set step for the p_i they leave inside; updates p, overwrites s.

    Returns μ ≥ 0. Where the equations of the step cannot be solved, p is what the sweeps left.
    """
    m = p.shape[0]
    gradient(R, q, p, s)
    for _ in range(SWEEPS):
        sweep(R, p, s, mu)
    index = np.empty(m, np.int64)
    count, ones = 0, 0.0
    for i in range(m):
        if 0.0 < p[i] < 1.0:
            index[count] = i
            count += 1
        else:
            ones += p[i]
    if count == 0:
        return mu
    M, factor = work[:count, :count], L[:count, :count]
    step, e = np.empty(count), np.ones(count)
    used = ones
    for a in range(count):
        i = index[a]
        for b in range(a + 1):
            M[a, b] = R[i, index[b]]
        step[a] = -s[i]
        used += p[i]
    if not cholesky(M, factor):
        return mu
    cholesky_solve(factor, step)
    cholesky_solve(factor, e)
    # The new p is p + step + μe with the μ that makes Σp = k, or μ = 0 where Σp is above k without it.
    left, slope = k - used, 0.0
    for a in range(count):
        left -= step[a]
        slope += e[a]
    new_mu = max(0.0, left / slope) if k > 0 and slope > 0.0 else 0.0
    for a in range(count):
        i = index[a]
        p[i] = min(1.0, max(0.0, p[i] + step[a] + new_mu * e[a]))
    return new_mu


@compiled(inlined=True)
def interior_start(R, q, p, alpha, beta, k):
    """Set p inside the box with Σp > k, and the multipliers α of p ≤ 1 and β of p ≥ 0; returns μ."""
    m = p.shape[0]
    share = 0.5 * (1.0 + k / m)
    unit = 0.0
    for i in range(m):
        p[i] = share
    gradient(R, q, p, alpha)
    for i in range(m):
        unit += abs(alpha[i]) / m
    for i in range(m):
        # Both are positive and satisfy s + α − β = 0 from the start.
        s = alpha[i]
        alpha[i] = max(0.0, -s) + 0.1 * unit
        beta[i] = max(0.0, s) + 0.1 * unit
    return 0.1 * unit if k > 0 else 0.0


@compiled(inlined=True)
def interior_step(R, q, p, alpha, beta, mu, k, work, L):
    """One primal-dual Newton step, which updates p, α and β; returns μ, or −1 where the factorization failed."""
    m = p.shape[0]
    used, complementarity = 0.0, 0.0
    for i in range(m):
        used += p[i]
        complementarity += alpha[i] * (1.0 - p[i]) + beta[i] * p[i]
    slack = used - k
    if k > 0:
        if not slack > 0.0:
            return -1.0
        complementarity += mu * slack
    t = CENTERING * complementarity / (2 * m + 1)
    step, e, s = np.empty(m), np.ones(m), np.empty(m)
    gradient(R, q, p, s)
    push = t / slack if k > 0 else 0.0
    for i in range(m):
        for j in range(i + 1):
            work[i, j] = R[i, j]
        work[i, i] += alpha[i] / (1.0 - p[i]) + beta[i] / p[i]
        step[i] = -s[i] - t / (1.0 - p[i]) + t / p[i] + push
    if not cholesky(work, L):
        return -1.0
    cholesky_solve(L, step)
    change = 0.0
    if k > 0:
        # (M + (μ/slack)eeᵀ)⁻¹ is applied by the formula of Sherman and Morrison.
        cholesky_solve(L, e)
        total, slope = 0.0, 0.0
        for i in range(m):
            total += step[i]
            slope += e[i]
        shrink = mu * total / (slack + mu * slope)
        for i in range(m):
            step[i] -= shrink * e[i]
            change += step[i]
    step_mu = (t - mu * slack - mu * change) / slack if k > 0 else 0.0
    longest = 1.0
    for i in range(m):
        step_alpha = (t + alpha[i] * step[i]) / (1.0 - p[i]) - alpha[i]
        step_beta = (t - beta[i] * step[i]) / p[i] - beta[i]
        if step[i] < 0.0:
            longest = min(longest, -0.99 * p[i] / step[i])
        elif step[i] > 0.0:
            longest = min(longest, 0.99 * (1.0 - p[i]) / step[i])
        if step_alpha < 0.0:
            longest = min(longest, -0.99 * alpha[i] / step_alpha)
        if step_beta < 0.0:
            longest = min(longest, -0.99 * beta[i] / step_beta)
        e[i], s[i] = step_alpha, step_beta
    if change < 0.0:
        longest = min(longest, -0.99 * slack / change)
    if step_mu < 0.0:
        longest = min(longest, -0.99 * mu / step_mu)
    for i in range(m):
        p[i] += longest * step[i]
        alpha[i] += longest * e[i]
        beta[i] += longest * s[i]
    return mu + longest * step_mu
