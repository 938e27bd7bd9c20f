"""Compiled kernels of the perspective relaxation for a given splitting H = R + diag(D).

Around the minimizer c of the block, where f = ½(w−c)ᵀH(w−c), the relaxation is

    min_w ½wᵀRw − bᵀw + ½cᵀb + φ(w),   b = Hc,   φ(w) = min {½ Σ D_i w_i²/z_i : 0 ≤ z ≤ 1, Σz ≤ K}.

(Each label of a pattern has its own Σz ≤ K over its weights, and so its own τ below; a cardinality has one label.)
With τ = √(2·multiplier of Σz ≤ K) the optimal z is min(1, |w_i|√D_i/τ), and with r = b − Rw:

    z_i = 1 (full):  r_i = D_i w_i, |r_i| ≥ τ√D_i      0 < z_i < 1:  |r_i| = τ√D_i      z_i = 0:  |r_i| ≤ τ√D_i.

For a given partition of the weights into these three cases, the conditions are linear equations in (w, τ). Coordinate
descent finds the partition, and Newton's method solves the equations. Where that does not converge, an interior-point
method in z takes over (``relaxation_interior``). Whatever w comes out, bound (B) at w is valid.

Arrays are float64 and C-contiguous; m is the number of free weights.
"""

from __future__ import annotations

import numpy as np

from cbs_opt.solvers.compiled.compilation import compiled
from cbs_opt.solvers.compiled.dense import EPS, assign, cholesky, cholesky_solve, eliminate_small, residual
from cbs_opt.solvers.compiled.oracle import budget_tau, choose_best
from cbs_opt.solvers.compiled.relaxation_interior import interior_start, interior_step, positives

QUICK = 6
"""Most rounds of Newton's method from the warm start before the interior-point method takes over."""

SETTLING = 0.5
"""A round of Newton's method that does not bring relaxation and bound closer by this factor is the last one."""


@compiled(fast=True)
def descend(R, D, w, r, tau, labels):
    """One sweep of coordinate descent at fixed τ (labels,); updates w and r = b − Rw, and returns the largest move."""
    m = w.shape[0]
    largest = 0.0
    for i in range(m):
        curvature = R[i, i]
        rho = r[i] + curvature * w[i]
        root = np.sqrt(D[i])
        size = abs(rho)
        threshold = tau[labels[i]]
        if size <= threshold * root:
            new = 0.0
        else:
            new = (size - threshold * root) / curvature
            if new * root > threshold:
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


@compiled(inlined=True)
def newton(R, D, b, w, tau, room, work, L):
    """Solve the linear equations of the partition that (w, τ) shows; w and tau are overwritten.

    Returns False where the equations have no admissible solution; τ is then unchanged.
    """
    m = w.shape[0]
    label_of, most = room
    labels = most.shape[0]
    index = np.empty(m, np.int64)
    full = np.zeros(labels, np.int64)
    place = np.full(labels, -1, np.int64)  # the place of a label among those that keep some weight in part
    count = 0
    partial = 0
    for i in range(m):
        if w[i] != 0.0:
            index[count] = i
            count += 1
            label = label_of[i]
            if abs(w[i]) * np.sqrt(D[i]) >= tau[label]:
                full[label] += 1
            elif place[label] < 0:
                place[label] = partial
                partial += 1
    if count == 0:
        return False
    for label in range(labels):
        if full[label] > most[label]:
            return False
    M = work[:count, :count]
    u = np.empty(count)
    V = np.zeros((partial, count))
    a = np.zeros(count)
    for p in range(count):
        i = index[p]
        for q in range(p + 1):
            M[p, q] = R[i, index[q]]
        root = np.sqrt(D[i])
        label = label_of[i]
        u[p] = b[i]
        if abs(w[i]) * root >= tau[label]:
            M[p, p] += D[i]
        else:
            a[p] = root if w[i] > 0.0 else -root
            V[place[label], p] = a[p]
    factor = L[:count, :count]
    if not cholesky(M, factor):
        return False
    cholesky_solve(factor, u)
    new_tau = np.zeros(partial)
    slope = np.zeros((partial, partial))
    for label in range(labels):
        if place[label] >= 0:
            cholesky_solve(factor, V[place[label]])
            slope[place[label], place[label]] = float(most[label] - full[label])
    for p in range(count):
        s = place[label_of[index[p]]]
        if s >= 0:
            new_tau[s] += a[p] * u[p]
            for t in range(partial):
                slope[s, t] += a[p] * V[t, p]
    if not eliminate_small(slope, new_tau):
        return False
    for s in range(partial):
        if not new_tau[s] > 0.0:
            return False
    for p in range(count):
        for s in range(partial):
            u[p] -= new_tau[s] * V[s, p]
    for p in range(count):
        # A weight that would change sign passes through zero.
        w[index[p]] = 0.0 if a[p] * u[p] < 0.0 else u[p]
    for label in range(labels):
        if place[label] >= 0:
            tau[label] = new_tau[place[label]]
    return True


@compiled(fast=True)
def evaluate(R, D, c, w, room, scores):
    """The bound (B) at w, less the round-off of its evaluation, with its scores s; all relative to f(c) = 0.

    Returns the bound and (w−c)ᵀR(w−c). Everything is computed around c, so that nothing cancels: with d = w − c and
    q = Rd a pruned weight costs D_i c_i²/2 − q_i c_i and a kept one −q_i²/(2D_i). s_i is the difference of the two,
    (D_i c_i − q_i)²/(2D_i).
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
    choose_best(scores, room, kept)
    value = -0.5 * quadratic
    error = m * EPS * spread  # of each q_i
    margin = abs(quadratic)
    slack = 0.0
    for i in range(m):
        stays, goes = q[i] * q[i] / (2.0 * D[i]), 0.5 * D[i] * c[i] * c[i] - q[i] * c[i]
        value += -stays if kept[i] else goes
        # For a kept and for a pruned weight, since with the exact scores another mask may be the best.
        slack += error * (max((abs(q[i]) + error) / D[i], abs(c[i])) + abs(w[i] - c[i]))
        margin += stays + 0.5 * D[i] * c[i] * c[i] + abs(q[i] * c[i])
    return value - slack - 4.0 * m * EPS * margin, quadratic


@compiled(fast=True)
def primal_value(quadratic, D, c, w, room):
    """The relaxation's objective at w, which is an upper bound on its optimum and so on what (B) can reach with this D.

    ``quadratic`` is (w−c)ᵀR(w−c).
    """
    m = w.shape[0]
    label_of, most = room
    tau = np.empty(most.shape[0])
    budget_tau(w, D, room, tau)
    value = 0.5 * quadratic
    for i in range(m):
        d = w[i] - c[i]
        z = 1.0
        threshold = tau[label_of[i]]
        if threshold > 0.0:
            z = min(1.0, abs(w[i]) * np.sqrt(D[i]) / threshold)
        value += 0.5 * D[i] * d * d
        if z > 0.0:
            value += 0.5 * D[i] * w[i] * w[i] * (1.0 / z - 1.0)
    return value


@compiled(inlined=True)
def newton_round(R, D, b, w, tau, room, r, trial, work, L):
    """Three sweeps of coordinate descent, then Newton's step for the partition that they show; updates w and τ."""
    residual(R, b, w, r)
    for _ in range(3):
        descend(R, D, w, r, tau, room.labels)
    assign(trial, w)
    if newton(R, D, b, trial, tau, room, work, L):
        assign(w, trial)
        return
    fresh = np.empty(tau.shape[0])
    budget_tau(w, D, room, fresh)
    for label in range(tau.shape[0]):
        tau[label] = fresh[label] if fresh[label] > 0.0 else 0.5 * tau[label]


@compiled()
def relax(R, D, b, c, room, w, tau, target, tolerance, rounds, scores, work, L):
    """Maximize (B) over w, from (w, τ). Stops at ``target``, at relative ``tolerance``, or after ``rounds``.

    Newton's method on (w, τ) comes first; from a warm start it is usually done after a few rounds. Where its partition
    does not settle, an interior-point method follows from the best point so far: 4 to 8 more rounds, whatever the
    condition.

    Returns the bound and the best value of the relaxation that was seen (an upper bound on what (B) can reach with this
    D). On return w, τ (labels,) and scores hold the point that gave the bound.
    """
    m = w.shape[0]
    labels = tau.shape[0]
    r = np.empty(m)
    best_w = w.copy()
    best_scores = scores.copy()
    trial = np.empty(m)
    z = np.empty(m)
    alpha = np.empty(m)
    beta = np.empty(m)
    mu = np.empty(labels)
    if positives(tau) < labels:
        fresh = np.empty(labels)
        budget_tau(c, D, room, fresh)
        for label in range(labels):
            if not tau[label] > 0.0:
                tau[label] = fresh[label]
    best, quadratic = evaluate(R, D, c, w, room, best_scores)
    best_tau = tau.copy()
    primal = primal_value(quadratic, D, c, w, room)
    inside = False
    apart = np.inf
    quick = QUICK
    round_number = 0
    # All τ are 0 where c has at most K non-zero weights in each label: c is then feasible, and 0 is the best bound.
    while positives(tau) > 0 and best < target and primal - best > tolerance * abs(best) and round_number < rounds:
        if quick > 0:
            quick -= 1
            newton_round(R, D, b, w, tau, room, r, trial, work, L)
        else:
            if quick == 0:
                quick = -1
                assign(w, best_w)
                budget_tau(w, D, room, tau)
                if positives(tau) == 0:
                    assign(w, c)
                    budget_tau(w, D, room, tau)
                inside = interior_start(R, D, b, w, tau, z, alpha, beta, mu, room, work, L)
            if inside:
                inside = interior_step(R, D, b, w, z, alpha, beta, mu, room, work, L, r, trial)
            if not inside:
                break
            for label in range(labels):
                tau[label] = np.sqrt(2.0 * mu[label])
        round_number += 1
        bound, quadratic = evaluate(R, D, c, w, room, scores)
        if bound > best:
            best = bound
            assign(best_tau, tau)
            assign(best_w, w)
            assign(best_scores, scores)
        value = primal_value(quadratic, D, c, w, room)
        if quick > 0 and not value - bound < SETTLING * apart:
            quick = 0
        apart = value - bound
        if value < primal:
            primal = value
    assign(w, best_w)
    assign(tau, best_tau)
    assign(scores, best_scores)
    return best, primal
