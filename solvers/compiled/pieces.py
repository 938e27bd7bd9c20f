"""Compiled kernels of bound (B) with rank-one pieces beside the diagonal.

    H = R + diag(D) + Σ_e q_e u_e u_eᵀ,   R ⪰ 0,   each u_e on a small set S_e of weights.

Where z is 0 or 1, (u_eᵀw)² is 0 unless a weight of S_e is kept, so that it may be divided by min(1, z(S_e)), with
z(S) = Σ_{i ∈ S} z_i. This is the hull of one such square (Atamtürk & Gómez, *Rank-one convexification for sparse
regression*, arXiv:1901.10334). Around the minimizer c of the block, where f = ½(w−c)ᵀH(w−c), the relaxation is

    min ½wᵀRw − bᵀw + ½cᵀb + ½ Σ D_i w_i²/z_i + ½ Σ q_e (u_eᵀw)²/ζ_e,    b = Hc,
    0 ≤ z ≤ 1,   Σz ≤ K,   ζ_e ≤ 1,   ζ_e ≤ z(S_e).

Let d = w − c for any w, p = Rd, and take any slopes a_e and any θ_e ∈ [0, 1]. With ρ = −p − Σ a_e u_e and
P_e = (q_e u_eᵀc + a_e)²/(2q_e), every w' that is zero where z is has

    f(w') ≥ −½dᵀp − Σ a_e²/(2q_e) + Σ θ_e P_e
            + Σ_{z_i=0} (D_i c_i²/2 + ρ_i c_i) − Σ_{z_i=1} (ρ_i²/(2D_i) + Σ_{e∋i} θ_e P_e)

To see this, linearize ½(w' − c)ᵀR(w' − c) at d and every ½q_e y², y = u_eᵀ(w' − c), at slope a_e. Where none of S_e is
kept, y is −u_eᵀc, and the linearization is short by P_e; and min(1, z(S)) ≤ θ z(S) + 1 − θ. So a weight has the score
s_i = (D_i c_i + ρ_i)²/(2D_i) + Σ_{e∋i} θ_e P_e.

Pieces are given by arrays: ``members`` (E, width), the weights of S_e followed by −1; ``u`` (E, width), the entries of
u_e at these weights; ``q`` (E,). m is the number of free weights.
"""

from __future__ import annotations

import numpy as np

from cbs_opt.solvers.compiled.compilation import compiled
from cbs_opt.solvers.compiled.dense import EPS, cholesky
from cbs_opt.solvers.compiled.oracle import choose_best


@compiled()
def along(members, u, e, w):
    """u_eᵀw."""
    total = 0.0
    for a in range(members.shape[1]):
        i = members[e, a]
        if i < 0:
            break
        total += u[e, a] * w[i]
    return total


@compiled()
def held(members, e, z):
    """z(S_e)."""
    total = 0.0
    for a in range(members.shape[1]):
        i = members[e, a]
        if i < 0:
            break
        total += z[i]
    return total


@compiled()
def add_pieces(M, members, u, factor):
    """M ← M + Σ_e factor_e u_e u_eᵀ, both triangles."""
    for e in range(factor.shape[0]):
        if factor[e] == 0.0:
            continue
        for a in range(members.shape[1]):
            i = members[e, a]
            if i < 0:
                break
            for b in range(members.shape[1]):
                j = members[e, b]
                if j < 0:
                    break
                M[i, j] += factor[e] * u[e, a] * u[e, b]


@compiled()
def remainder(H, D, members, u, q, R):
    """R ← H − diag(D) − Σ q uuᵀ."""
    m = D.shape[0]
    factor = np.empty(q.shape[0])
    for i in range(m):
        for j in range(m):
            R[i, j] = H[i, j]
        R[i, i] -= D[i]
    for e in range(q.shape[0]):
        factor[e] = -q[e]
    add_pieces(R, members, u, factor)


@compiled()
def certify_pieces(H, D, members, u, q, shift, R, M, L):
    """R ← H − diag(D) − Σ q uuᵀ, shrinking D and q until R − shift·I has a Cholesky factor; False if it never has.

    ``shift`` covers the round-off of H and of the factorization; that of subtracting the pieces is added to it here.
    """
    m = D.shape[0]
    trace = 0.0
    for i in range(m):
        trace += H[i, i]
    more = shift + 4.0 * (q.shape[0] + 2) * EPS * trace
    for attempt in range(60):
        remainder(H, D, members, u, q, R)
        for i in range(m):
            for j in range(i + 1):
                M[i, j] = R[i, j]
            M[i, i] -= more
        if cholesky(M, L):
            return True
        less = 1.0 - 0.5 ** max(1, 10 - attempt)
        for i in range(m):
            D[i] *= less
        for e in range(q.shape[0]):
            q[e] *= less
    return False


@compiled(fast=True)
def evaluate_pieces(R, H, D, members, u, q, c, w, slope, theta, room, scores):
    """The bound (B) with pieces at w, less the round-off of its evaluation, and its scores; all relative to f(c) = 0.

    Parameters
    ----------
    R, H : arrays (m, m)
        R as ``certify_pieces`` leaves it; √H_ii is the unit in which the round-off of R is measured.
    w : array (m,)
        The point at which (B) is evaluated.
    slope, theta : arrays (E,)
        a_e and θ_e.
    room : Room
        How many of the free weights may be kept.
    scores : array (m,), overwritten
        The scores of (B).

    Returns
    -------
    bound : float
        The bound, less the round-off of this evaluation; −inf where it is not a number.
    doubt : float
        How much round-off may have changed all scores together.
    """
    m = w.shape[0]
    E = q.shape[0]
    reach = 0.0
    root = np.empty(m)
    for i in range(m):
        root[i] = np.sqrt(H[i, i])
        reach += root[i] * abs(w[i] - c[i])
    pushed = np.zeros(m)
    rho = np.zeros(m)
    bonus = np.zeros(m)
    value = 0.0
    margin = 0.0
    slack = 0.0
    for e in range(E):
        if q[e] == 0.0:
            continue
        standing = 0.0
        size = 0.0
        for a in range(members.shape[1]):
            i = members[e, a]
            if i < 0:
                break
            standing += u[e, a] * c[i]
            size += abs(u[e, a] * c[i])
            rho[i] -= slope[e] * u[e, a]
            pushed[i] += abs(slope[e] * u[e, a])
        pull = q[e] * standing + slope[e]
        left_out = theta[e] * pull * pull / (2.0 * q[e])
        value += left_out - slope[e] * slope[e] / (2.0 * q[e])
        error = (members.shape[1] + 4) * EPS * (q[e] * size + abs(slope[e]))
        slack += (1 + members.shape[1]) * error * (abs(pull) + error) / q[e]  # of P_e itself, and in every bonus
        margin += left_out + slope[e] * slope[e] / (2.0 * q[e])
        for a in range(members.shape[1]):
            i = members[e, a]
            if i < 0:
                break
            bonus[i] += left_out
    quadratic = 0.0
    for i in range(m):
        total = 0.0
        for j in range(m):
            total += R[i, j] * (w[j] - c[j])
        rho[i] -= total
        quadratic += total * (w[i] - c[i])
    value -= 0.5 * quadratic
    margin += abs(quadratic)
    terms = 2.0 * (m + 2 * E + 8) * EPS
    doubt = slack
    for i in range(m):
        scores[i] = (D[i] * c[i] + rho[i]) ** 2 / (2.0 * D[i]) + bonus[i]
        error = terms * (root[i] * reach + pushed[i])
        doubt += error * (np.sqrt(2.0 * scores[i] / D[i]) + error / D[i]) + terms * scores[i]
    if not doubt >= 0.0:  # some score is a NaN, which has no place in the order
        return -np.inf, np.inf
    kept = np.empty(m, np.bool_)
    choose_best(scores, room, kept)
    for i in range(m):
        error = terms * (root[i] * reach + pushed[i])
        stays = rho[i] * rho[i] / (2.0 * D[i]) + bonus[i]
        value += -stays if kept[i] else 0.5 * D[i] * c[i] * c[i] + rho[i] * c[i]
        # For a kept and for a pruned weight, since with the exact scores another mask may be the best.
        slack += error * (max((abs(rho[i]) + error) / D[i], abs(c[i])) + abs(w[i] - c[i]))
        margin += stays + 2.0 * bonus[i] + 0.5 * D[i] * c[i] * c[i] + abs(rho[i] * c[i])
    return value - slack - terms * margin, doubt
