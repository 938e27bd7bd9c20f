"""The oracle of a pattern in compiled form: the best of the scores, and what follows from them."""

from __future__ import annotations

import numpy as np

from cbs_opt.solvers.compiled.compilation import compiled
from cbs_opt.solvers.forms.node_state import FREE, KEPT, PRUNED

CAUTION = 1e-9
"""Part of a rise in (B) that screening leaves out: many times the round-off of a difference of scores."""


@compiled()
def sort_descending(a):
    """Sort in place, largest first (Shell's method with Ciura's gaps: small, and quick to compile)."""
    n = a.shape[0]
    for gap in (701, 301, 132, 57, 23, 10, 4, 1):
        for i in range(gap, n):
            value = a[i]
            j = i
            while j >= gap and a[j - gap] < value:
                a[j] = a[j - gap]
                j -= gap
            a[j] = value


@compiled()
def choose_best(scores, K, chosen):
    """chosen ← the K largest scores, of ties the first. Returns the K-th (∞ for K = 0) and the next; 0 ≤ K < m."""
    m = scores.shape[0]
    order = scores.copy()
    sort_descending(order)
    kth = order[K - 1] if K > 0 else np.inf
    ties = K
    for i in range(m):
        if scores[i] > kth:
            ties -= 1
    for i in range(m):
        chosen[i] = scores[i] > kth
        if K > 0 and scores[i] == kth and ties > 0:
            chosen[i] = True
            ties -= 1
    return kth, order[K]


@compiled()
def budget_tau(w, D, K):
    """τ with Σ min(1, |w_i|√D_i/τ) = K (0 where at most K weights are non-zero)."""
    m = w.shape[0]
    a = np.empty(m)
    for i in range(m):
        a[i] = abs(w[i]) * np.sqrt(D[i])
    sort_descending(a)
    tail = 0.0
    for i in range(m):
        tail += a[i]
    # With the `full` largest at z = 1, τ = (sum of the others)/(K − full), valid once it exceeds each of them.
    for full in range(K):
        tau = tail / (K - full)
        if a[full] <= tau:
            return tau
        tail -= a[full]
    return 0.0


@compiled()
def settle(state, K):
    """Fix what is free in a node without a choice: keep it, or prune it where no weight more may be kept (K ≤ 0)."""
    for i in range(state.shape[0]):
        if state[i] == FREE:
            state[i] = KEPT if K > 0 else PRUNED


@compiled()
def screen(state, order, kept, scores, kth, next_score, own, cutoff):
    """Fix what no mask of value below the cutoff does otherwise. Returns how many weights that are.

    The rise belongs to the bound of these scores, ``own``, not to a better one from elsewhere.
    """
    fixed = 0
    for p in range(scores.shape[0]):
        inside = scores[p] > kth
        rise = 0.0  # tied at the threshold: nothing to learn
        if inside:
            rise = scores[p] - next_score
        elif scores[p] < kth:
            rise = kth - scores[p]
        if rise > 0.0 and own + rise * (1.0 - CAUTION) >= cutoff:
            state[order[kept + p]] = KEPT if inside else PRUNED
            fixed += 1
    return fixed


@compiled()
def keeping_none(state, order, kept, scores, kth, K, own):
    """``own`` plus the K largest scores, less those of weights that were fixed as kept since.

    A mask of the node that keeps the set T of its free weights has at least this minus Σ_{i∈T} s_i.
    """
    total = own
    above = 0
    for p in range(scores.shape[0]):
        if scores[p] > kth:
            total += scores[p]
            above += 1
        if state[order[kept + p]] == KEPT:
            total -= scores[p]
    total += (K - above) * kth
    return total if total > -np.inf else -np.inf  # NaN says nothing either
