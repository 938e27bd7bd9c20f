"""Compiled kernels of the relaxation with rank-one pieces, for a given splitting H = R + diag(D) + Σ q_e u_e u_eᵀ.

    V(z) = min_w ½wᵀRw − bᵀw + ½ Σ D_i w_i²/z_i + ½ Σ q_e (u_eᵀw)²/ζ(z(S_e))      (see ``compiled/pieces``)

is a smooth convex function of z. ζ is min(1, ·) with its kink rounded off (``node_state.ROUNDING``); it is concave and
never above min(1, ·). Newton's method minimizes V(z) − barrier·Σ(log z_i + log(1 − z_i)) over z with Σz = K in each
label, with primal-dual second derivatives of the barrier. From the parent's z it takes three to six steps of two
Cholesky factorizations each. The barrier does not fall: a node need not be bounded more exactly than its gap is wide,
and a centred point is better for the ascent of D and q (docs/decisions/0013). Bound (B) is evaluated at every step, and
valid at each.
"""

from __future__ import annotations

import numpy as np

from cbs_opt.solvers.compiled.compilation import compiled
from cbs_opt.solvers.compiled.dense import assign, cholesky, cholesky_inverse, cholesky_solve
from cbs_opt.solvers.compiled.pieces import add_pieces, along, evaluate_pieces, held
from cbs_opt.solvers.forms.node_state import ROUNDING

LONGEST = 0.9
"""The part of the way to the boundary that a step may go."""
CENTRED = 1.0
"""The search ends where the Newton decrement is below this, in units of the barrier."""
SHORTEST = 1e-3
"""The search ends where a step would have to be shorter than this."""
WANDER = 10.0
"""The multipliers α and β stay within this factor of their central values."""
LEAST = 1e-3
"""In a label of m weights with room K, no z starts below this part of K/m, or closer to 1 than this part of 1 − K/m."""


@compiled()
def share_of(s):
    """ζ(s), a smooth min(1, s), and its first and second derivatives."""
    root = np.sqrt((1.0 - s) ** 2 + 4.0 * ROUNDING)
    return 0.5 * (1.0 + s - root), 0.5 * (1.0 + (1.0 - s) / root), -2.0 * ROUNDING / root**3


@compiled(fast=True)
def schur_of_pieces(members, u, nu, cross, inverse, T, S):
    """S ← CᵀM⁻¹C (lower triangle) for C = diag(cross) + Σ_e ν_e u_e s_eᵀ, s_e the indicator of S_e.

    ``inverse`` holds the lower triangle of M⁻¹, which is copied to the upper one. T (m, m) is overwritten: its row j is
    M⁻¹ times column j of C.
    """
    m = cross.shape[0]
    y = np.empty(m)
    for j in range(m):
        for i in range(j):
            inverse[i, j] = inverse[j, i]
    for j in range(m):
        for i in range(m):
            T[j, i] = cross[j] * inverse[j, i]
    for e in range(nu.shape[0]):
        if nu[e] == 0.0:
            continue
        for i in range(m):
            y[i] = 0.0
        for a in range(members.shape[1]):
            k = members[e, a]
            if k < 0:
                break
            share = nu[e] * u[e, a]
            for i in range(m):
                y[i] += share * inverse[k, i]
        for a in range(members.shape[1]):
            k = members[e, a]
            if k < 0:
                break
            for i in range(m):
                T[k, i] += y[i]
    for j in range(m):
        for i in range(j + 1):
            S[j, i] = cross[i] * T[j, i]
    for e in range(nu.shape[0]):
        if nu[e] == 0.0:
            continue
        for j in range(m):
            y[j] = 0.0
        for a in range(members.shape[1]):
            k = members[e, a]
            if k < 0:
                break
            share = nu[e] * u[e, a]
            for j in range(m):
                y[j] += share * T[j, k]
        for a in range(members.shape[1]):
            k = members[e, a]
            if k < 0:
                break
            for j in range(k, m):
                S[j, k] += y[j]


@compiled()
def start_inside(z, room):
    """Move z inside 0 < z < 1 with Σz = K in each label, by one factor for all z, or by one part of their ways to 1."""
    label_of, most = room
    count, total = np.zeros(most.shape[0]), np.zeros(most.shape[0])
    for label in label_of:
        count[label] += 1.0
    for i in range(z.shape[0]):
        label = label_of[i]
        share = most[label] / count[label]
        z[i] = min(max(z[i], LEAST * share), 1.0 - LEAST * (1.0 - share))
        total[label] += z[i]
    for i in range(z.shape[0]):
        label = label_of[i]
        K = most[label]
        if total[label] > K:
            z[i] *= K / total[label]
        else:
            z[i] += (K - total[label]) / (count[label] - total[label]) * (1.0 - z[i])


@compiled()
def project(L, room, z, step, right):
    """Correct ``step`` such that Σz = K holds in each label after it, by multiples of the columns of M⁻¹A.

    A (m, labels) holds the indicators of the labels, and L is the Cholesky factor of M. Returns the Newton decrement.
    """
    label_of, most = room
    m, labels = step.shape[0], most.shape[0]
    columns = np.empty((labels, m))
    gram, factor = np.zeros((labels, labels)), np.empty((labels, labels))
    level = np.empty(labels)
    for label in range(labels):
        for i in range(m):
            columns[label, i] = 1.0 if label_of[i] == label else 0.0
        cholesky_solve(L, columns[label])
        level[label] = -float(most[label])
    for i in range(m):
        level[label_of[i]] += step[i] + z[i]
        for label in range(labels):
            gram[label_of[i], label] += columns[label, i]
    if not cholesky(gram, factor):
        return -np.inf
    cholesky_solve(factor, level)
    decrement = 0.0
    for i in range(m):
        for label in range(labels):
            step[i] -= level[label] * columns[label, i]
        decrement -= (right[i] + level[label_of[i]]) * step[i]
    return decrement


@compiled()
def relax_pieces(R, H, D, members, u, q, b, c, room, w, z, barrier, target, rounds, scores):
    """Minimize V(z) with the barrier over Σz = K in each label, from ``z``, and evaluate bound (B) on the way.

    The search ends at the bound ``target``, at a centred point, or after ``rounds`` evaluations. On return w, z and
    scores hold the point of the best bound. Returns that bound, and how much round-off may have changed all scores
    together.
    """
    m = w.shape[0]
    E = q.shape[0]
    start_inside(z, room)
    zeta, theta, bend, pull = np.empty(E), np.empty(E), np.empty(E), np.empty(E)
    slope, factor, nu, standing = np.empty(E), np.empty(E), np.empty(E), np.empty(E)
    for e in range(E):
        standing[e] = q[e] * along(members, u, e, c)
    trial_z, trial_w, trial_scores = z.copy(), np.empty(m), np.empty(m)
    base_z = z.copy()
    alpha, beta, step = np.empty(m), np.empty(m), np.zeros(m)
    right, cross = np.empty(m), np.empty(m)
    M, L, S, inverse, T = np.empty((m, m)), np.empty((m, m)), np.empty((m, m)), np.empty((m, m)), np.empty((m, m))
    for i in range(m):
        alpha[i] = barrier / (1.0 - z[i])
        beta[i] = barrier / z[i]
    best, best_doubt = -np.inf, np.inf
    value = np.inf
    length = 0.0
    for round_number in range(rounds):
        for i in range(m):
            for j in range(i + 1):
                M[i, j] = R[i, j]
                M[j, i] = R[i, j]
            M[i, i] += D[i] / trial_z[i]
            trial_w[i] = b[i]
        for e in range(E):
            zeta[e], theta[e], bend[e] = share_of(held(members, e, trial_z))
            factor[e] = q[e] / zeta[e]
        add_pieces(M, members, u, factor)
        if not cholesky(M, L):
            break
        cholesky_solve(L, trial_w)
        new = 0.0
        for i in range(m):
            new -= 0.5 * b[i] * trial_w[i] + barrier * np.log(trial_z[i] * (1.0 - trial_z[i]))
        if new > value + 1e-12 * abs(value):
            length *= 0.3
            if length < SHORTEST:
                break
            for i in range(m):
                trial_z[i] = base_z[i] + length * step[i]
            continue
        value = new
        for e in range(E):
            pull[e] = along(members, u, e, trial_w)
            slope[e] = q[e] * pull[e] / zeta[e] - standing[e]
        bound, doubt = evaluate_pieces(R, H, D, members, u, q, c, trial_w, slope, theta, room, trial_scores)
        if bound > best:
            best, best_doubt = bound, doubt
            assign(w, trial_w)
            assign(z, trial_z)
            assign(scores, trial_scores)
        if best >= target or round_number == rounds - 1:
            break
        for i in range(m):
            for j in range(i + 1):
                S[i, j] = 0.0
            ratio = trial_w[i] / trial_z[i]
            cross[i] = -D[i] * ratio / trial_z[i]
            S[i, i] = D[i] * ratio * ratio / trial_z[i] + alpha[i] / (1.0 - trial_z[i]) + beta[i] / trial_z[i]
            right[i] = -0.5 * D[i] * ratio * ratio + barrier / (1.0 - trial_z[i]) - barrier / trial_z[i]
        for e in range(E):
            ratio = pull[e] / zeta[e]
            energy = 0.5 * q[e] * ratio * ratio
            nu[e] = -q[e] * ratio / zeta[e] * theta[e]
            add = 2.0 * energy / zeta[e] * theta[e] * theta[e] - energy * bend[e]
            for a in range(members.shape[1]):
                i = members[e, a]
                if i < 0:
                    break
                right[i] -= theta[e] * energy
                for o in range(members.shape[1]):
                    j = members[e, o]
                    if j < 0:
                        break
                    if j <= i:
                        S[i, j] += add
        cholesky_inverse(L, inverse)
        schur_of_pieces(members, u, nu, cross, inverse, T, M)
        for i in range(m):
            base_z[i] = trial_z[i]
            step[i] = -right[i]
            for j in range(i + 1):
                M[i, j] = S[i, j] - M[i, j]
        if not cholesky(M, L):
            break
        cholesky_solve(L, step)
        decrement = project(L, room, trial_z, step, right)
        if decrement < CENTRED * barrier:
            break
        length, dual = 1.0, 1.0
        for i in range(m):
            if step[i] < 0.0:
                length = min(length, -LONGEST * trial_z[i] / step[i])
            elif step[i] > 0.0:
                length = min(length, LONGEST * (1.0 - trial_z[i]) / step[i])
            move = barrier / (1.0 - trial_z[i]) - alpha[i] + alpha[i] * step[i] / (1.0 - trial_z[i])
            if move < 0.0:
                dual = min(dual, -LONGEST * alpha[i] / move)
            move = barrier / trial_z[i] - beta[i] - beta[i] * step[i] / trial_z[i]
            if move < 0.0:
                dual = min(dual, -LONGEST * beta[i] / move)
        for i in range(m):
            a, o = 1.0 - trial_z[i], trial_z[i]
            alpha[i] += dual * (barrier / a - alpha[i] + alpha[i] * step[i] / a)
            beta[i] += dual * (barrier / o - beta[i] - beta[i] * step[i] / o)
            trial_z[i] = base_z[i] + length * step[i]
            a, o = 1.0 - trial_z[i], trial_z[i]
            alpha[i] = min(max(alpha[i], barrier / a / WANDER), WANDER * barrier / a)
            beta[i] = min(max(beta[i], barrier / o / WANDER), WANDER * barrier / o)
    return best, best_doubt
