"""Compiled kernels of the selection's branch and bound: bound a node, screen it, and choose a branch.

With p = 1 − z ∈ {0, 1}ⁿ the selection is min ½pᵀAp + ℓᵀp over Σp ≥ k. A node fixes some weights as pruned (p = 1, which
gives a constant and adds A_FP·1 to ℓ) and some as kept (p = 0, whose rows and columns are dropped). Since p_i² = p_i,
for any diagonal D, of either sign, with R = A − diag(D) ⪰ 0, and for any point p̂

    ½pᵀAp + ℓᵀp = ½pᵀRp + (ℓ + ½D)ᵀp ≥ −½p̂ᵀRp̂ + sᵀp,     s = Rp̂ + ℓ + ½D,                      (S)

so that −½p̂ᵀRp̂ + min {sᵀp : p binary, Σp ≥ k} bounds the node. The minimum is the sum of the k smallest s_i and all
further negative ones. The maximum of the bound over p̂ is the value of the convex box QP that minimizes
½pᵀRp + (ℓ + ½D)ᵀp over 0 ≤ p ≤ 1 with Σp ≥ k. Where R ⪰ 0, so is every principal submatrix, so that a node may use its
parent's D as it is.

Arrays are float64 and C-contiguous; m is the number of free weights.
"""

from __future__ import annotations

import numpy as np

from cbs_opt.solvers.compiled.compilation import compiled
from cbs_opt.solvers.compiled.dense import EPS
from cbs_opt.solvers.compiled.selection_bound import TINY, improve_splitting, relax

FREE, KEPT, PRUNED = 0, 1, 2
FATHOMED, LEAF, BRANCH = 0, 1, 2


@compiled()
def process(A, ell, state, D, p, mu, share, k, cutoff, rounds, passes):
    """Bound one node, screen it until nothing more is fixed, and choose where to branch.

    Parameters
    ----------
    A, ell : arrays (n, n), (n,)
        The root problem.
    state : int8 array (n,), overwritten
        FREE, KEPT or PRUNED; screening fixes more.
    D, p : arrays (n,), overwritten on the free weights
        A certified splitting and a point to start from; better ones on return.
    mu, share : float
        The multiplier of Σp ≥ k and the barrier of the splitting ascent to start from.
    k : int
        Least number of pruned weights in all.
    cutoff : float
        A node whose bound reaches this is fathomed.
    rounds : int
        Rounds of splitting improvement.
    passes : int
        How often the node is bounded again after screening fixed something.

    Returns
    -------
    outcome : FATHOMED, LEAF or BRANCH
    bound : float
        A lower bound on the node, less its margin; for a leaf its value, less its margin.
    mu, share : float
        The multiplier and the barrier for the children to start from.
    branch : int
        The weight to branch on; −1 for none.
    """
    n = ell.shape[0]
    best = -np.inf
    order = np.empty(n, np.int64)
    # The linear term of the node, and its round-off.
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
            # The rise by another decision belongs to the bound of these scores, `own`, and not to a better bound.
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


@compiled()
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


@compiled()
def descend(A, ell, free, k, p):
    """Make the best flip or exchange of free weights in p, in place, until none helps; returns the value of p.

    Σp stays at least k. With u = Ap + ℓ, pruning j costs b_j = u_j + ½A_jj, keeping i again gains a_i = u_i − ½A_ii,
    and doing both costs b_j − A_ij − a_i.
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
        # The value depends on p alone and has to fall with every step, so that round-off cannot make an endless loop.
        if not new < value:
            if enter >= 0:
                p[enter] = False
            if leave >= 0:
                p[leave] = True
            return value
        value = new
