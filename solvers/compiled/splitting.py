"""Compiled kernels that choose the splitting H = R + diag(D): the larger D is where it counts, the better is bound (B).

The relaxation's value is concave in D, and its derivative in D_i is ½w_i²(1/z_i − 1), so that only weights with
0 < z_i < 1 gain. gainᵀD + barrier·log det(H − D) is maximized one coordinate at a time.
"""

from __future__ import annotations

import numpy as np

from cbs_opt.solvers.compiled.compilation import compiled
from cbs_opt.solvers.compiled.dense import assign, cholesky, cholesky_inverse
from cbs_opt.solvers.compiled.relaxation import relax

STALL = 0.02
"""The improvement ends where four rounds neither close this part of the distance to the target nor raise the bound by
this part of itself."""

PATIENT = 50
"""A caller that asks for so many rounds or more wants the best bound rather than a quick one, and ``STALL`` is
ignored."""

LEAST_GAIN = 4e-3
"""Every weight counts for at least this part of the largest gain, so that its D_i keeps some size."""

LEAST_D = 0.05
"""D does not fall below this part of what an improvement begins with."""


@compiled(fast=True)
def ascend_splitting(H, D, gain, barrier, floor, work, L, inverse):
    """One sweep over the coordinates of D that raises gainᵀD + barrier·log det(H − D); H − D stays positive definite.

    The best step of D_i alone is 1/(R⁻¹)_ii − barrier/gain_i, after which R⁻¹ is changed by a rank-one update. The
    sweep goes from the last weight to the first, so that only the leading part of R⁻¹ is needed, and four updates are
    made at a time; until then x holds the rows that they need. D never falls below ``floor``. Returns False, with D
    unchanged, where H − D is not positive definite to begin with.
    """
    m = D.shape[0]
    for i in range(m):
        for j in range(i + 1):
            work[i, j] = H[i, j]
        work[i, i] -= D[i]
    if not cholesky(work, L):
        return False
    cholesky_inverse(L, inverse)
    x = np.empty((4, m))
    taken = np.zeros(4)
    for top in range(m - 1, -1, -4):
        low = max(top - 3, 0)
        for p in range(top - low + 1):
            i = top - p
            for j in range(i + 1):
                x[p, j] = inverse[i, j]
            for q in range(p):
                factor = taken[q] * x[q, i]
                for j in range(i + 1):
                    x[p, j] += factor * x[q, j]
            step = max(1.0 / x[p, i] - barrier / gain[i], floor[i] - D[i])
            shrink = 1.0 - step * x[p, i]
            taken[p] = 0.0
            if step != 0.0 and shrink > 1e-12:
                taken[p] = step / shrink
                D[i] += step
        if low == 0:
            break
        for j in range(low):
            f0, f1, f2, f3 = taken[0] * x[0, j], taken[1] * x[1, j], taken[2] * x[2, j], taken[3] * x[3, j]
            for k in range(j + 1):
                inverse[j, k] += f0 * x[0, k] + f1 * x[1, k] + f2 * x[2, k] + f3 * x[3, k]
    return True


@compiled()
def certify_splitting(H, D, shift, R, work, L):
    """R ← H − diag(D), shrinking D until R − shift·I has a Cholesky factor.

    ``shift`` covers the round-off of H and of the factorization, so that R ⪰ 0 is proven. Returns how often D was
    shrunk; −1 where no D will do, since H itself is not positive definite by that margin.
    """
    m = D.shape[0]
    for attempt in range(60):
        for i in range(m):
            for j in range(m):
                R[i, j] = H[i, j]
                work[i, j] = H[i, j]
            R[i, i] -= D[i]
            work[i, i] -= D[i] + shift
        if cholesky(work, L):
            return attempt
        for i in range(m):
            D[i] *= 1.0 - 0.5 ** max(1, 10 - attempt)
    return -1


@compiled(inlined=True)
def splitting_gain(D, w, tau, labels, least):
    """The gain ½w_i²(1/z_i − 1) of each D_i, raised to ``least`` times the largest, and the largest gain."""
    m = w.shape[0]
    gain = np.zeros(m)
    largest = 0.0
    for i in range(m):
        size = abs(w[i]) * np.sqrt(D[i])
        threshold = tau[labels[i]]
        if size < threshold and size > 0.0:
            gain[i] = 0.5 * w[i] * w[i] * (threshold / size - 1.0)
            largest = max(largest, gain[i])
    for i in range(m):
        gain[i] = max(gain[i], least * largest)
    return gain, largest


@compiled(inlined=True)
def improve_splitting(H, D, b, c, room, w, tau, target, shift, rounds, share, tolerance, scores, R, work, L):
    """Relax, then alternate splitting ascent and relaxation ``rounds`` times; D, w, τ, scores and R hold the best.

    The relaxation's value is concave in D (for fixed (w, z) it is linear), so that a step that does not help is
    shortened, and then the barrier is lowered. Gains are averaged over the rounds, since the relaxed point jumps
    between faces where the best D makes it degenerate. ``share`` is the barrier as a share of the mean of gain·D: 1 to
    begin with, and then what the last call returned. Returns the bound and share.
    """
    m = D.shape[0]
    # The root may take its time. At other nodes a step that does not help at once is not worth more relaxations, and
    # the first relaxation need not be exact, since it serves to show where D has to grow.
    steps, trials = (40, 3) if rounds > 2 else (30, 1)
    first = 10.0 * tolerance if 0 < rounds <= 2 else tolerance
    trial_D = np.empty(m)
    full_D = np.empty(m)
    inverse = np.empty((m, m))
    trial_w = np.empty(m)
    trial_tau = np.empty(tau.shape[0])
    trial_scores = np.empty(m)
    gain = np.zeros(m)
    floor = np.empty(m)
    for i in range(m):
        floor[i] = LEAST_D * D[i]
    bound, _ = relax(R, D, b, c, room, w, tau, target, first, steps, scores, work, L)
    checkpoint = bound
    barrier = -1.0
    unit = 0.0
    for round_number in range(rounds):
        if bound >= target:
            break
        if round_number % 4 == 3:
            # At this rate the rest of the way would take very many rounds.
            left = min(target - bound, abs(bound))
            if rounds < PATIENT and bound - checkpoint < STALL * left:
                break
            checkpoint = bound
        fresh, largest = splitting_gain(D, w, tau, room.labels, LEAST_GAIN)
        if largest == 0.0:
            break
        for i in range(m):
            gain[i] = fresh[i] if round_number == 0 else 0.5 * (gain[i] + fresh[i])
        if barrier < 0.0:
            for i in range(m):
                unit += gain[i] * D[i] / m
            barrier = share * unit
        assign(full_D, D)
        if not ascend_splitting(H, full_D, gain, barrier, floor, work, L, inverse):
            break
        step = 1.0
        accepted = False
        for _ in range(trials):
            for i in range(m):
                trial_D[i] = D[i] + step * (full_D[i] - D[i])
            if certify_splitting(H, trial_D, shift, R, work, L) < 0:
                break
            assign(trial_w, w)
            assign(trial_tau, tau)
            new, _ = relax(R, trial_D, b, c, room, trial_w, trial_tau, target, tolerance, steps, trial_scores, work, L)
            if new > bound + 1e-4 * abs(bound):
                bound = new
                assign(tau, trial_tau)
                assign(D, trial_D)
                assign(w, trial_w)
                assign(scores, trial_scores)
                accepted = True
                break
            step *= 0.4
        if not accepted:
            barrier *= 0.6
    for i in range(m):
        for j in range(m):
            R[i, j] = H[i, j]
        R[i, i] -= D[i]
    return bound, barrier / unit if unit > 0.0 else share
