"""Compiled kernels that improve the splitting H = R + diag(D) + Σ q_e u_e u_eᵀ for given directions u_e.

As in ``compiled/splitting``, the relaxation's value is concave in (D, q), with derivatives ½w_i²(1/z_i − 1) and
½(u_eᵀw)²(1/ζ_e − 1), and gainᵀ(D, q) + barrier·log det R is maximized one coordinate at a time.
"""

from __future__ import annotations

import numpy as np

from cbs_opt.solvers.compiled.compilation import compiled
from cbs_opt.solvers.compiled.dense import assign, cholesky, cholesky_inverse
from cbs_opt.solvers.compiled.pieces import along, certify_pieces, held
from cbs_opt.solvers.compiled.pieces_relaxation import relax_pieces, share_of
from cbs_opt.solvers.compiled.splitting import LEAST_GAIN

ROUNDS = 20
"""Evaluations of (B) in a relaxation at the most."""
FIRST_ROUNDS = 2
"""Evaluations of (B) in the relaxation that only shows where D and q have to grow: at the parent's z, and after a
step."""


@compiled(fast=True)
def raise_one(inverse, x, factor, count):
    """inverse ← inverse + factor·xxᵀ, in the lower triangle of the first ``count`` rows."""
    for j in range(count):
        f = factor * x[j]
        for k in range(j + 1):
            inverse[j, k] += f * x[k]


@compiled()
def by_last_member(members):
    """The pieces in the descending order of their last members, and these members."""
    E = members.shape[0]
    last = np.empty(E, np.int64)
    names = np.empty(E, np.int64)
    for e in range(E):
        highest = np.int64(-1)
        for a in range(members.shape[1]):
            highest = max(highest, members[e, a])
        at = e
        while at > 0 and last[at - 1] < highest:
            last[at] = last[at - 1]
            names[at] = names[at - 1]
            at -= 1
        last[at] = highest
        names[at] = e
    return names, last


@compiled(fast=True)
def ascend_pieces(inverse, D, members, u, q, gain_D, gain_q, barrier, floor):
    """One sweep over the coordinates that raises gainᵀ(D, q) + barrier·log det R; D ≥ floor and q ≥ 0 are updated.

    The best step of a single coordinate with direction v is 1/(vᵀR⁻¹v) − barrier/gain, after which R is still positive
    definite. R⁻¹ (``inverse``, lower triangle, overwritten) is then changed by a rank-one update. The sweep goes from
    the last weight to the first, and takes a piece with its last member, so that only the leading part of R⁻¹ is
    needed.
    """
    m = D.shape[0]
    names, last = by_last_member(members)
    x = np.empty(m)
    at = 0
    for i in range(m - 1, -1, -1):
        while at < names.shape[0] and last[at] == i:
            e = names[at]
            at += 1
            for j in range(i + 1):
                x[j] = 0.0
            for a in range(members.shape[1]):
                k = members[e, a]
                if k < 0:
                    break
                weight = u[e, a]
                for j in range(k):
                    x[j] += weight * inverse[k, j]
                for j in range(k, i + 1):
                    x[j] += weight * inverse[j, k]
            curvature = along(members, u, e, x)
            step = -q[e]
            if gain_q[e] > 0.0:
                step = max(1.0 / curvature - barrier / gain_q[e], step)
            shrink = 1.0 - step * curvature
            if step != 0.0 and shrink > 1e-12:
                raise_one(inverse, x, step / shrink, i + 1)
                q[e] += step
        step = max(1.0 / inverse[i, i] - barrier / gain_D[i], floor[i] - D[i])
        shrink = 1.0 - step * inverse[i, i]
        if step != 0.0 and shrink > 1e-12:
            for j in range(i):
                x[j] = inverse[i, j]
            raise_one(inverse, x, step / shrink, i)
            D[i] = max(D[i] + step, floor[i])  # the rounded sum may lie below the floor


@compiled()
def gains_of_pieces(members, u, w, z):
    """The derivatives of the relaxation's value in D, raised to a part of the largest, those in q, and that largest."""
    m = w.shape[0]
    gain_D, gain_q = np.empty(m), np.empty(members.shape[0])
    largest = 0.0
    for i in range(m):
        gain_D[i] = 0.5 * w[i] * w[i] * (1.0 / z[i] - 1.0)
        largest = max(largest, gain_D[i])
    for i in range(m):
        gain_D[i] = max(gain_D[i], LEAST_GAIN * largest)
    for e in range(members.shape[0]):
        pull = along(members, u, e, w)
        zeta, _, _ = share_of(held(members, e, z))
        gain_q[e] = 0.5 * pull * pull * (1.0 / zeta - 1.0)
    return gain_D, gain_q, largest


@compiled(inlined=True)
def improve_pieces(
    H, D, members, u, q, floor, b, c, room, w, z, first, second, target, shift, improve, scores, R, M, L
):
    """Relax at the barrier ``first``, ascend the splitting once, and relax again at the barrier ``second``.

    D, q, w, z and scores hold the better of the two on return; R is overwritten. Without ``improve`` there is one
    relaxation, at ``second``. Returns the bound, and how much round-off may have changed all scores together.
    """
    # For numba a literal number is a type of its own, for which the whole relaxation would be compiled once more.
    rounds = np.int64(FIRST_ROUNDS if improve else ROUNDS)
    bound, doubt = relax_pieces(
        R, H, D, members, u, q, b, c, room, w, z, first if improve else second, target, rounds, scores
    )
    if not improve or bound >= target or not bound > -np.inf:
        return bound, doubt
    gain_D, gain_q, largest = gains_of_pieces(members, u, w, z)
    if not largest > 0.0 or not cholesky(R, L):
        return bound, doubt
    cholesky_inverse(L, M)
    new_D, new_q, new_w, new_z, new_scores = D.copy(), q.copy(), w.copy(), z.copy(), np.empty(D.shape[0])
    ascend_pieces(M, new_D, members, u, new_q, gain_D, gain_q, second, floor)
    if certify_pieces(H, new_D, members, u, new_q, shift, R, M, L):
        new, new_doubt = relax_pieces(
            R, H, new_D, members, u, new_q, b, c, room, new_w, new_z, second, target, np.int64(ROUNDS), new_scores
        )
        if new > bound:
            assign(D, new_D)
            assign(q, new_q)
            assign(w, new_w)
            assign(z, new_z)
            assign(scores, new_scores)
            return new, new_doubt
    return bound, doubt
