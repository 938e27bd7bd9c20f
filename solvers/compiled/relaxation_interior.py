"""Compiled interior-point steps of the perspective relaxation, in z.

The minimum over w is a smooth convex function of z, so that a condition number of 1e9 takes no more steps than one
of 10. The notation is that of ``compiled/relaxation``.
"""

from __future__ import annotations

import numpy as np

from cbs_opt.solvers.compiled.compilation import compiled
from cbs_opt.solvers.compiled.dense import cholesky, cholesky_solve, eliminate_small

BLEND = 0.2
"""The interior-point method starts from the z of the warm start, moved by this part of the way towards equal shares."""

START = 0.4
"""The complementarity at that start, in units of μK/m."""

LEAST_TAU = 1e-3
"""A smaller τ, such as the 0 of a label whose few weights may all stay, is raised to this part of the largest τ
there."""

CENTERING = 0.15
"""An interior-point step aims at this part of the mean complementarity."""


@compiled()
def positives(x):
    """How many entries of x are positive."""
    count = 0
    for i in range(x.shape[0]):
        if x[i] > 0.0:
            count += 1
    return count


@compiled(inlined=True)
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


@compiled(inlined=True)
def interior_start(R, D, b, w, tau, z, alpha, beta, mu, room, work, L):
    """Set z inside its bounds near the one that (w, τ) shows, and w and μ for it; False where a factor is missing."""
    m = w.shape[0]
    label_of, most = room
    labels = most.shape[0]
    largest = 0.0
    count = np.zeros(labels, np.int64)
    for i in range(m):
        count[label_of[i]] += 1
    for label in range(labels):
        largest = max(largest, tau[label])
    for label in range(labels):
        threshold = max(tau[label], LEAST_TAU * largest)
        mu[label] = 0.5 * threshold * threshold
    if positives(mu) < labels:
        return False
    for i in range(m):
        label = label_of[i]
        share = most[label] / count[label]
        shown = min(1.0, abs(w[i]) * np.sqrt(D[i]) / max(tau[label], LEAST_TAU * largest))
        z[i] = (1.0 - BLEND) * shown + BLEND * 0.9 * share
    if not best_weights(R, D, b, z, w, work, L):
        return False
    for i in range(m):
        label = label_of[i]
        t = START * mu[label] * (most[label] / count[label])
        alpha[i] = t / (1.0 - z[i])
        beta[i] = t / z[i]
    return True


@compiled(inlined=True)
def interior_step(R, D, b, w, z, alpha, beta, mu, room, work, L, p, q):
    """One primal-dual Newton step in z, with the best w for the new z; all arrays are updated.

    The minimum over w is a smooth convex function of z with derivative −½D_i(w_i/z_i)². α, β, μ ≥ 0 are the multipliers
    of z ≤ 1, z ≥ 0 and Σz ≤ K, with one μ for each label. The Hessian is never formed: the step of z is eliminated from
    the Newton equations in (w, z), which takes one Cholesky factorization, and a second one gives the new w. Returns
    False where a factorization fails or some μ is no longer positive.
    """
    m = w.shape[0]
    label_of, most = room
    labels = most.shape[0]
    slack = np.zeros(labels)
    gap = 0.0
    for i in range(m):
        slack[label_of[i]] += z[i]
        gap += alpha[i] * (1.0 - z[i]) + beta[i] * z[i]
    for label in range(labels):
        slack[label] = most[label] - slack[label]
        gap += mu[label] * slack[label]
    if positives(slack) < labels:
        return False
    t = CENTERING * gap / (2 * m + labels)
    E = np.empty(m)
    coupling = np.empty(m)
    rhs = np.empty(m)
    Q = np.zeros((labels, m))
    for i in range(m):
        ratio = w[i] / z[i]
        barrier = alpha[i] / (1.0 - z[i]) + beta[i] / z[i]
        coupling[i] = D[i] * ratio / z[i]
        E[i] = D[i] * ratio * ratio / z[i] + barrier
        rhs[i] = 0.5 * D[i] * ratio * ratio - mu[label_of[i]] - t / (1.0 - z[i]) + t / z[i]
        for j in range(i + 1):
            work[i, j] = R[i, j]
        # This is D_i/z_i − coupling²/E, written without cancellation.
        work[i, i] += D[i] / z[i] * barrier / E[i]
        p[i] = coupling[i] * rhs[i] / E[i]
        Q[label_of[i], i] = coupling[i] / E[i]
    if not cholesky(work, L):
        return False
    cholesky_solve(L, p)
    for label in range(labels):
        cholesky_solve(L, Q[label])
    # For each label: the step of Σz without a step of μ, and how much a step of each μ takes off it.
    step_mu = np.zeros(labels)
    slope = np.zeros((labels, labels))
    for i in range(m):
        label = label_of[i]
        step_mu[label] += (rhs[i] + coupling[i] * p[i]) / E[i]
        for other in range(labels):
            own = 1.0 if other == label else 0.0
            slope[label, other] += (own + coupling[i] * Q[other, i]) / E[i]
    for label in range(labels):
        step_mu[label] = t - mu[label] * slack[label] + mu[label] * step_mu[label]
        for other in range(labels):
            slope[label, other] *= mu[label]
        slope[label, label] += slack[label]
    eliminate_small(slope, step_mu)
    longest = 1.0
    change = np.zeros(labels)
    for i in range(m):
        label = label_of[i]
        pull = p[i]
        for other in range(labels):
            pull -= step_mu[other] * Q[other, i]
        step_z = (rhs[i] + coupling[i] * pull - step_mu[label]) / E[i]
        step_alpha = (t + alpha[i] * step_z) / (1.0 - z[i]) - alpha[i]
        step_beta = (t - beta[i] * step_z) / z[i] - beta[i]
        change[label] += step_z
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
    for label in range(labels):
        if change[label] > 0.0:
            longest = min(longest, 0.99 * slack[label] / change[label])
        if step_mu[label] < 0.0:
            longest = min(longest, -0.99 * mu[label] / step_mu[label])
    for i in range(m):
        z[i] += longest * p[i]
        alpha[i] += longest * E[i]
        beta[i] += longest * q[i]
    if not best_weights(R, D, b, z, w, work, L):
        return False
    for label in range(labels):
        mu[label] += longest * step_mu[label]
    return positives(mu) == labels
