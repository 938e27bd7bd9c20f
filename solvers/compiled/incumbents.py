"""Compiled kernels that look for incumbents: greedy OBS and the exchange of pairs, on one dense block.

They do what ``greedy_obs`` and ``swap`` do, for blocks so small that calls into NumPy take longer than the arithmetic.
Values are in the units of ``CenteredBlock``, with f(c) = 0. S are the kept and P the pruned weights, B = (H_SS)⁻¹ and
w_S = c_S + B H_SP c_P. Pruning i ∈ S costs w_i²/(2B_ii). Exchanging it for j ∈ P changes the value by

    Δ_ij = w_i²/(2B_ii) − (r_j + T_ij w_i/B_ii)² / (2(σ_j + T_ij²/B_ii)),

with T = B H_SP, r = H(c − w) and σ_j = H_jj − H_jS T_:j; see ``cbs_opt.solvers.heuristic.swap_state``.
"""

from __future__ import annotations

import numpy as np

from cbs_opt.solvers.compiled.compilation import compiled
from cbs_opt.solvers.compiled.dense import EPS, cholesky, cholesky_inverse
from cbs_opt.solvers.compiled.node import support_value
from cbs_opt.solvers.forms.node_state import KEPT

SHRUNK = 1e-5
"""Share of its freshly computed value at which a diagonal entry of B has lost too many digits."""

LEAST_DECREASE = 1e-12
"""Relative decrease of the value below which an exchange is round-off."""


@compiled()
def kept_first(mask):
    """All weights, the kept ones first, and how many are kept."""
    n = mask.shape[0]
    order = np.empty(n, np.int64)
    k = 0
    for i in range(n):
        if mask[i]:
            order[k] = i
            k += 1
    last = k
    for i in range(n):
        if not mask[i]:
            order[last] = i
            last += 1
    return order, k


@compiled(fast=True)
def retuned(H, c, order, k, w, B):
    """B ← (H_SS)⁻¹, both triangles, and w ← w_S, for S the first ``k`` of ``order``; False where H_SS has no factor."""
    n = order.shape[0]
    L = np.empty((k, k))
    pull = np.empty(k)
    for p in range(k):
        i = order[p]
        for q in range(p + 1):
            B[p, q] = H[i, order[q]]
        total = 0.0
        for q in range(k, n):
            total += H[i, order[q]] * c[order[q]]
        pull[p] = total
    if not cholesky(B, L):
        return False
    cholesky_inverse(L, B)
    for p in range(k):
        for q in range(p):
            B[q, p] = B[p, q]
    for p in range(k):
        total = c[order[p]]
        for q in range(k):
            total += B[p, q] * pull[q]
        w[p] = total
    return True


@compiled(fast=True)
def prune_one(B, w, there, p, column):
    """Prune the p-th weight of S: re-tune the others and downdate B; ``there`` says which are left."""
    k = w.shape[0]
    pivot = 1.0 / B[p, p]
    factor = w[p] * pivot
    for q in range(k):
        column[q] = B[p, q]
    for q in range(k):
        if there[q]:
            w[q] -= factor * column[q]
            share = pivot * column[q]
            for j in range(k):
                B[q, j] -= share * column[j]


@compiled()
def greedy(H, c, state, room):
    """Prune one weight after the other, the cheapest first, until every label has room for what it keeps.

    Parameters
    ----------
    H, c : arrays (n, n), (n,)
        The block.
    state : int8 array (n,)
        FREE, KEPT or PRUNED; only free weights are chosen.
    room : Room
        Most weights of each label.

    Returns
    -------
    ok : bool
        False where the computed H_SS is not positive definite, or no free weight is left to prune.
    mask : bool array (n,)
        The mask, 1 keeps; in the pattern if ``ok``.
    """
    n = c.shape[0]
    mask = np.empty(n, np.bool_)
    there = np.empty(n, np.bool_)
    fresh = np.empty(n)
    column = np.empty(n)
    label_of, most = room
    crowd = np.zeros(most.shape[0], np.int64)
    for i in range(n):
        mask[i] = state[i] <= KEPT
        if mask[i]:
            crowd[label_of[i]] += 1
    excess = 0
    for label in range(crowd.shape[0]):
        crowd[label] -= most[label]
        excess += max(crowd[label], 0)
    while excess > 0:
        order, k = kept_first(mask)
        B = np.empty((k, k))
        w = np.empty(k)
        if not retuned(H, c, order, k, w, B):
            return False, mask
        for p in range(k):
            there[p] = True
            fresh[p] = B[p, p]
        sound = True
        while excess > 0 and sound:
            cheapest = -1
            least = np.inf
            for p in range(k):
                if there[p] and state[order[p]] != KEPT and crowd[label_of[order[p]]] > 0:
                    cost = w[p] * w[p] / B[p, p]
                    if cost < least:
                        least = cost
                        cheapest = p
            if cheapest < 0:
                return False, mask
            there[cheapest] = False
            mask[order[cheapest]] = False
            crowd[label_of[order[cheapest]]] -= 1
            excess -= 1
            # With ``cheapest`` as it is, whose −1 is a type of its own, the kernel would be compiled once more.
            prune_one(B, w, there, np.int64(cheapest), column)
            for p in range(k):
                if there[p] and not B[p, p] >= SHRUNK * fresh[p]:
                    sound = False
    return True, mask


@compiled(fast=True, inlined=True)
def best_exchange(H, c, mask, state, labels):
    """The exchange of two free weights of one label with the least Δ < 0: (Δ, i, j); (0, −1, −1) if there is none."""
    n = c.shape[0]
    order, k = kept_first(mask)
    B = np.empty((k, k))
    w = np.empty(k)
    best, leaving, entering = 0.0, -1, -1
    if not retuned(H, c, order, k, w, B):
        return best, leaving, entering
    cross = np.empty(k)
    T = np.empty(k)
    for place in range(k, n):
        j = order[place]
        if state[j] >= KEPT:
            continue
        residual = 0.0
        for q in range(k, n):
            residual += H[j, order[q]] * c[order[q]]
        for p in range(k):
            cross[p] = H[j, order[p]]
            residual += cross[p] * (c[order[p]] - w[p])
        schur = H[j, j]
        for p in range(k):
            total = 0.0
            for q in range(k):
                total += B[p, q] * cross[q]
            T[p] = total
            schur -= cross[p] * total
        schur = max(schur, EPS * H[j, j])
        for p in range(k):
            if state[order[p]] >= KEPT or labels[order[p]] != labels[j]:
                continue
            share = T[p] / B[p, p]
            entered = residual + share * w[p]
            change = 0.5 * (w[p] * w[p] / B[p, p] - entered * entered / (schur + share * T[p]))
            if change < best:
                best, leaving, entering = change, order[p], j
    return best, leaving, entering


@compiled(fast=True)
def exchange(H, c, mask, state, labels):
    """Exchange pairs of free weights of one label in ``mask``, in place, the best first, until none helps.

    An exchange is made only if the value computed from scratch at the new mask is smaller, so that round-off cannot
    make the search go round in circles. Returns the value and its margin for round-off.
    """
    value, margin = support_value(H, c, mask)
    while True:
        change, leaving, entering = best_exchange(H, c, mask, state, labels)
        if leaving < 0 or not change < -LEAST_DECREASE * value:
            return value, margin
        mask[leaving] = False
        mask[entering] = True
        new, new_margin = support_value(H, c, mask)
        if not new < (1.0 - LEAST_DECREASE) * value:
            mask[leaving] = True
            mask[entering] = False
            return value, margin
        value, margin = new, new_margin
