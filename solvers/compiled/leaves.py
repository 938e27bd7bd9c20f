"""Compiled kernels that try all leaves of a node, which is cheaper than branching where few weights may still be kept.

A leaf is a mask that keeps what the node keeps and a set T of its free weights. With every free weight pruned let f₀ be
the value of the node and g its negative gradient on the free weights, and let H be the Schur complement of the node's
kept weights. Keeping T as well leaves the value f₀ − ½g_Tᵀ(H_TT)⁻¹g_T. A depth-first walk keeps one weight after the
other, by a rank-one update of H and g each. Below its last set, with value f, it tries the last two weights i and j
together, by

    (g_i²H_jj − 2g_ig_jH_ij + g_j²H_ii) − 2(f − limit)(H_iiH_jj − H_ij²)   >  0   ⇔   f − gain(i, j) < limit.

Bound (B) is additive: no mask that keeps T has a value below ``baseline`` − Σ_{i∈T} s_i (``oracle.keeping_none``). Only
sets whose scores sum to more than threshold = baseline − cutoff are therefore tried, and the walk goes in the order of
the scores.

Round-off: all this is a Cholesky factorization of M = [[H, Hc], [cᵀH, cᵀHc]] of the root problem. What is computed for
T is exact for some M + E with |E_ij| ≤ γ√(M_ii M_jj), γ a multiple of n·eps (Higham, *Accuracy and Stability of
Numerical Algorithms*, 2nd ed., §10.1). That changes f by at most ½γ(Σ|w_i|√H_ii + C)², C = Σ|c_i|√H_ii, and the first
sum is at most √(nκ cᵀHc) with κ = max H_ii/λ_min(H). ``doubt`` is a number above that. Leaves whose computed value is
not above the cutoff by more than ``doubt`` are evaluated one by one, with the margin that ``support_value`` states.
"""

from __future__ import annotations

import numpy as np

from cbs_opt.solvers.compiled.compilation import compiled
from cbs_opt.solvers.compiled.node import active, eliminate, schur_complement, support_value
from cbs_opt.solvers.forms.node_state import KEPT


@compiled()
def copy_mask(target, source):
    """target[:] = source, for masks."""
    for i in range(target.shape[0]):
        target[i] = source[i]


@compiled()
def ascending(scores):
    """The order of ``scores``, smallest first."""
    m = scores.shape[0]
    rank = np.empty(m, np.int64)
    for p in range(m):
        q = p
        while q > 0 and scores[rank[q - 1]] > scores[p]:
            rank[q] = rank[q - 1]
            q -= 1
        rank[q] = p
    return rank


@compiled()
def sums(s):
    """The sums of the first 0, 1, …, m entries of ``s``, shape (m + 1,)."""
    total = np.zeros(s.shape[0] + 1)
    for i in range(s.shape[0]):
        total[i + 1] = total[i] + s[i]
    return total


@compiled()
def advance(pick, total, level, K, s, before, threshold):
    """Go on to the next set of K − 2 weights whose scores, with those of two more, can sum to more than ``threshold``.

    ``pick`` holds the set in descending order, ``total`` the sums of the scores of its first weights. ``level`` is −1
    for the first call and else what the last call returned: the place from which on ``pick`` is new, −1 where there is
    no further set. ``s`` are the scores in ascending order, ``before`` their sums.
    """
    depth = max(K - 2, 0)
    if depth == 0:
        return 0 if level < 0 else -1
    first = depth - 1 if level >= 0 else 0
    lowest = first
    at = first
    while at >= 0:
        i = pick[at] - 1
        left = K - at
        if i + 1 < left or total[at] + before[i + 1] - before[i + 1 - left] <= threshold:
            at -= 1
            lowest = min(lowest, at)
            continue
        pick[at] = i
        total[at + 1] = total[at] + s[i]
        at += 1
        if at == depth:
            return lowest
        pick[at] = i
    return -1


@compiled()
def work_of_leaves(state, scores, budget, threshold, most):
    """About how many multiply-adds it takes to try all leaves of a node; counting stops above ``most``.

    Parameters
    ----------
    state : int8 array (n,)
        FREE, KEPT or PRUNED.
    scores : array (n,)
        The scores of the node's bound (B), on its free weights.
    budget : int
        How many weights may be kept in all.
    threshold : float
        Sets whose scores do not sum to more are not tried.
    """
    order, kept = active(state)
    m = order.shape[0] - kept
    K = budget - kept
    sF = np.empty(m)
    for p in range(m):
        sF[p] = scores[order[kept + p]]
    rank = ascending(sF)
    s = np.empty(m)
    for p in range(m):
        s[p] = sF[rank[p]]
    before = sums(s)
    depth = max(K - 2, 0)
    pick = np.full(depth + 1, m)
    total = np.zeros(depth + 1)
    work = 0.0
    level = np.int64(-1)
    while work <= most:
        level = advance(pick, total, level, K, s, before, threshold)
        if level < 0:
            break
        for at in range(level, depth):
            work += 0.5 * pick[at] * pick[at]
        # The pairs with i as their higher one, for all i from `low` on.
        end = pick[depth - 1] if depth > 0 else m
        low, high = 1, end
        while low < high:
            i = (low + high) // 2
            if total[depth] + before[i + 1] - before[i - 1] > threshold:
                high = i
            else:
                low = i + 1
        work += end * end - low * low
    return work


@compiled(fast=True)
def keep(S, g, value, i, next_S, next_g):
    """Keep weight i as well: computes the Schur complement and gradient of the weights before it, and returns f."""
    pivot = S[i, i]
    for j in range(i):
        factor = S[i, j] / pivot
        for k in range(j + 1):
            next_S[j, k] = S[j, k] - factor * S[i, k]
        next_g[j] = g[j] - factor * g[i]
    return value - 0.5 * g[i] * g[i] / pivot


@compiled(fast=True)
def no_partner(S, g, diagonal, i, excess):
    """Whether no pair (i, j) with j < i has f − gain(i, j) < limit, for ``excess`` = 2(f − limit); False for NaN."""
    positive = 0.0
    gi = g[i]
    pivot = diagonal[i]
    a = gi * gi - excess * pivot
    for j in range(i):
        x = S[i, j]
        y = g[j]
        test = a * diagonal[j] - 2.0 * gi * y * x + y * y * pivot + excess * x * x
        positive += test + abs(test)
    return positive <= 0.0


@compiled(inlined=True)
def walk(H, c, base, names, S, g, value, K, s, threshold, cutoff, doubt):
    """Try every set T of K free weights whose scores sum to more than ``threshold``.

    Parameters
    ----------
    H, c : arrays (n, n), (n,)
        The root problem.
    base : bool array (n,)
        What the node keeps.
    names : int array (m,)
        The free weights in the ascending order of their scores, which is also the order of S, g and s.
    S, g, value : arrays (m, m), (m,), float
        The Schur complement (lower triangle), the negative gradient, and f, all free weights being pruned.
    K : int
        How many free weights are kept.
    s : array (m,)
        The scores, ascending.

    Returns
    -------
    proven : float
        No mask that was tried has a value below this; at most ``cutoff``.
    best : bool array (n,)
        The best of the masks that were evaluated one by one; ``base`` where there was none.
    """
    m = s.shape[0]
    depth = max(K - 2, 0)
    last = K - depth
    before = sums(s)
    pick = np.full(depth + 1, m)
    total = np.zeros(depth + 1)
    values = np.empty(depth + 1)
    Ss = np.empty((depth + 1, m, m))
    gs = np.empty((depth + 1, m))
    values[0] = value
    for i in range(m):
        for j in range(i + 1):
            Ss[0, i, j] = S[i, j]
        gs[0, i] = g[i]
    diagonal = np.empty(m)
    mask = base.copy()
    best = base.copy()
    best_value = np.inf
    proven = cutoff
    limit = cutoff + doubt
    level = np.int64(-1)
    while True:
        level = advance(pick, total, level, K, s, before, threshold)
        if level < 0:
            return proven, best
        for at in range(level, depth):
            values[at + 1] = keep(Ss[at], gs[at], values[at], pick[at], Ss[at + 1], gs[at + 1])
        T, h, f = Ss[depth], gs[depth], values[depth]
        end = pick[depth - 1] if depth > 0 else m
        for j in range(end):
            diagonal[j] = T[j, j]
        for i in range(end - 1, last - 2, -1):
            if total[depth] + before[i + 1] - before[i + 1 - last] <= threshold:
                break
            if last == 2 and no_partner(T, h, diagonal, i, 2.0 * (f - limit)):
                continue
            # Where only one more weight may be kept, the pair is (i, i).
            for j in range(0 if last == 2 else i, i if last == 2 else i + 1):
                if last == 2:
                    gain = h[i] * h[i] * diagonal[j] - 2.0 * h[i] * h[j] * T[i, j] + h[j] * h[j] * diagonal[i]
                    volume = diagonal[i] * diagonal[j] - T[i, j] * T[i, j]
                else:
                    gain, volume = h[i] * h[i], diagonal[i]
                if gain <= 2.0 * (f - limit) * volume:
                    continue
                copy_mask(mask, base)
                for at in range(depth):
                    mask[names[pick[at]]] = True
                mask[names[i]] = mask[names[j]] = True
                exact, margin = support_value(H, c, mask)
                proven = min(proven, exact - margin if exact < np.inf else 0.0)
                if exact < best_value:
                    best_value = exact
                    copy_mask(best, mask)
                    limit = min(limit, exact + doubt)


@compiled(inlined=True)
def eliminate_gradient(order, kept, L, pull, size):
    """The negative gradient on the free weights and f, all free weights being pruned.

    They are the last row of the Cholesky factor of M = [[H, Hc], [cᵀH, cᵀHc]].
    """
    free = order.shape[0] - kept
    y = np.empty(kept)
    g = np.empty(free)
    left = size
    for p in range(kept):
        total = pull[order[p]]
        for q in range(p):
            total -= L[p, q] * y[q]
        y[p] = total / L[p, p]
        left -= y[p] * y[p]
    for p in range(free):
        total = pull[order[kept + p]]
        for q in range(kept):
            total -= L[kept + p, q] * y[q]
        g[p] = total
    return g, 0.5 * left


@compiled()
def try_leaves(H, c, pull, size, state, scores, threshold, budget, cutoff, doubt):
    """Try all leaves of a node that has more free weights than may be kept.

    Parameters
    ----------
    H, c : arrays (n, n), (n,)
        The root problem, f(c) = 0.
    pull, size : array (n,), float
        Hc and cᵀHc.
    state : int8 array (n,)
        FREE, KEPT or PRUNED.
    scores : array (n,)
        The scores of the node's bound (B), on its free weights.
    threshold : float
        Sets whose scores do not sum to more are not tried; −inf: all are tried.
    budget : int
        How many weights may be kept in all.
    cutoff : float
        Only masks with a value below this are of interest.
    doubt : float
        A bound on the round-off of every value computed in the walk.

    Returns
    -------
    done : bool
        False where the computed H of the active weights is not positive definite.
    proven : float
        No leaf has a value below this; at most ``cutoff``.
    best : bool array (n,)
        The best leaf among those below or near the cutoff; what the node keeps where there is none.
    """
    n = c.shape[0]
    base = np.empty(n, np.bool_)
    for i in range(n):
        base[i] = state[i] == KEPT
    order, kept = active(state)
    m = order.shape[0] - kept
    K = budget - kept
    W = np.empty((kept + m, kept + m))
    L = np.empty((kept + m, kept + m))
    d = np.empty(n)
    ok, _, _ = eliminate(H, c, state, order, W, L, d)
    if not ok:
        return False, 0.0, base
    HF = np.empty((m, m))
    schur_complement(W, L, kept, HF)
    g, f = eliminate_gradient(order, kept, L, pull, size)
    sF = np.empty(m)
    for p in range(m):
        sF[p] = scores[order[kept + p]]
    rank = ascending(sF)
    names = np.empty(m, np.int64)
    S = np.empty((m, m))
    gs = np.empty(m)
    s = np.empty(m)
    for p in range(m):
        names[p] = order[kept + rank[p]]
        gs[p] = g[rank[p]]
        s[p] = sF[rank[p]]
        for q in range(p + 1):
            S[p, q] = HF[rank[p], rank[q]]
    proven, best = walk(H, c, base, names, S, gs, f, K, s, threshold, cutoff, doubt)
    return True, proven, best
