"""Compiled kernels of the branch and bound: eliminate what a node decides, bound it, screen it, choose a branch.

A node fixes the weights P as pruned and U as kept; its active weights are A = U ∪ F, with F the free ones. Let c be the
minimizer of the root problem and f(c) = 0. Eliminating U by a Schur complement leaves, on the free weights,

    f = f_node + ½(w − c_F)ᵀH_F(w − c_F),   H_F = H_FF − H_FU H_UU⁻¹ H_UF,

where f_node is the least f of the node with all of F kept, and c_F is F's part of the point that attains it.
"""

from __future__ import annotations

import numpy as np

from cbs_opt.solvers.compiled.compilation import compiled
from cbs_opt.solvers.compiled.dense import EPS, cholesky, cholesky_solve, inverse_diagonal, times
from cbs_opt.solvers.compiled.oracle import keeping_none, room_of_node, screen, settle
from cbs_opt.solvers.compiled.splitting import certify_splitting, improve_splitting
from cbs_opt.solvers.forms.node_state import BRANCH, FATHOMED, FREE, KEPT, LEAF, PRUNED

TOLERANCE = 3e-3
"""Relative gap between a relaxation and its bound (B) at which the relaxation of a node ends."""


@compiled(fast=True)
def eliminate(H, c, state, order, W, L, d):
    """Find the minimizer of a node, all its free weights being kept, and factorize H_AA.

    Parameters
    ----------
    order : int array (a,)
        The active weights, those of U first.
    W, L : arrays (a, a), overwritten
        The lower triangles of H_AA and of its Cholesky factor.
    d : array (n,), overwritten
        The step w − c to the node's minimizer: −c on P, that of the OBS update on A.

    Returns
    -------
    ok : bool
        False where the computed H_AA has no Cholesky factor.
    value, margin : float
        f at the node's minimizer, and how much round-off may have added to it, if ``CenteredBlock.smallest`` is
        positive.
    """
    n = c.shape[0]
    a = order.shape[0]
    v = np.zeros(a)
    for p in range(a):
        i = order[p]
        for q in range(p + 1):
            W[p, q] = H[i, order[q]]
        total = 0.0
        for j in range(n):
            if state[j] == PRUNED:
                total += H[i, j] * c[j]
        v[p] = total
    if not cholesky(W, L):
        return False, 0.0, 0.0
    cholesky_solve(L, v)
    for i in range(n):
        d[i] = -c[i] if state[i] == PRUNED else 0.0
    for p in range(a):
        d[order[p]] = v[p]
    value = 0.0
    size = 0.0
    for i in range(n):
        if d[i] != 0.0:
            total = 0.0
            for j in range(n):
                total += H[i, j] * d[j]
            value += 0.5 * d[i] * total
            size += abs(d[i]) * np.sqrt(H[i, i])
    return True, value, 2.0 * n * EPS * size * size


@compiled(fast=True)
def schur_complement(W, L, kept, HF):
    """HF ← H_FF − H_FU H_UU⁻¹ H_UF, from H_AA and its factor, in which the ``kept`` weights of U come first."""
    for p in range(HF.shape[0]):
        for q in range(p + 1):
            total = W[kept + p, kept + q]
            for k in range(kept):
                total -= L[kept + p, k] * L[kept + q, k]
            HF[p, q] = total
            HF[q, p] = total


@compiled()
def support_value(H, c, mask):
    """f at the OBS update on ``mask``, relative to f(c) = 0, and how much round-off may have added to it.

    Both are inf where H on the mask has no Cholesky factor.
    """
    n = c.shape[0]
    state = np.empty(n, np.int8)
    order = np.empty(n, np.int64)
    kept = 0
    for i in range(n):
        state[i] = KEPT if mask[i] else PRUNED
        if mask[i]:
            order[kept] = i
            kept += 1
    order = order[:kept]
    W = np.empty((kept, kept))
    d = np.empty(n)
    ok, value, margin = eliminate(H, c, state, order, W, np.empty((kept, kept)), d)
    if not ok:
        return np.inf, np.inf
    return value, margin


@compiled()
def active(state):
    """The weights that a node has not pruned, the kept ones first, and how many are kept."""
    n = state.shape[0]
    order = np.empty(n, np.int64)
    kept = 0
    for i in range(n):
        if state[i] == KEPT:
            order[kept] = i
            kept += 1
    count = kept
    for i in range(n):
        if state[i] == FREE:
            order[count] = i
            count += 1
    return order[:count], kept


@compiled(inlined=True)
def free_part(c, d, D, w, order, kept, W, L):
    """H_F and c_F of a node after ``eliminate``, and the entries of D and w on its free weights."""
    free = order.shape[0] - kept
    HF = np.empty((free, free))
    cF = np.empty(free)
    DF = np.empty(free)
    wF = np.empty(free)
    for p in range(free):
        i = order[kept + p]
        cF[p] = c[i] + d[i]
        DF[p] = D[i]
        wF[p] = w[i]
    schur_complement(W, L, kept, HF)
    return HF, cF, DF, wF


@compiled(fast=True)
def reach_of_free(H, order, kept, L):
    """ĝ_p = √H_pp + 2 Σ_u |K_pu|√H_uu of each free weight, K = H_FU H_UU⁻¹ by the factor ``L`` of H_AA; (free,).

    An error of eps·√H_ii√H_jj in the entries of H_AA becomes one of at most eps·ĝ_pĝ_q in H_F, and a residual of
    eps·√H_ii becomes one of at most eps·ĝ_p. The factor 2 allows for the round-off of K, if ``CenteredBlock.smallest``
    is positive.
    """
    free = order.shape[0] - kept
    reach = np.empty(free)
    x = np.empty(kept)
    for p in range(free):
        for k in range(kept):
            x[k] = L[kept + p, k]
        total = 0.0
        for k in range(kept - 1, -1, -1):
            x[k] /= L[k, k]
            for j in range(k):
                x[j] -= L[k, j] * x[k]
            total += abs(x[k]) * np.sqrt(H[order[k], order[k]])
        reach[p] = np.sqrt(H[order[kept + p], order[kept + p]]) + 2.0 * total
    return reach


@compiled(inlined=True)
def splitting_shift(H, HF, reach, kept):
    """Above the round-off of the elimination in H_F and that of a Cholesky factorization (Rump, BIT 46, 2006)."""
    n = H.shape[0]
    free = HF.shape[0]
    largest = 0.0
    for i in range(n):
        largest = max(largest, H[i, i])
    trace = 0.0
    squares = 0.0
    for p in range(free):
        trace += HF[p, p]
        squares += reach[p] * reach[p]
    if kept == 0:
        squares = 0.0
    return 4.0 * (n + 2) * EPS * squares + (4.0 * (n + 1) * largest + (free + 4.0) * trace) * EPS


@compiled(inlined=True)
def elimination_error(H, d, order, kept, smallest, cF):
    """σ, γ and β, which bound the round-off of an elimination; σ and γ are explained at ``node_margin``.

    β bounds what round-off added to f(x), plus ½r_UᵀH_UU⁻¹r_U; it is inf where no bound is known.
    """
    n = H.shape[0]
    moved = 0.0
    trace = 0.0
    for i in range(n):
        moved += abs(d[i]) * np.sqrt(H[i, i])
        trace += H[i, i]
    placed = 0.0
    for p in range(cF.shape[0]):
        i = order[kept + p]
        placed += abs(cF[p]) * np.sqrt(H[i, i])
    sigma = 0.0
    gamma = 0.0
    if moved > 0.0:  # else nothing had to be solved, and c_F is exact
        sigma = EPS * (2.0 * (n + 2) * moved + placed)
    beta = 2.0 * n * EPS * moved * moved
    if kept > 0:
        gamma = 4.0 * (n + 2) * EPS
        beta = beta + 0.5 * sigma * sigma * trace / smallest if smallest > 0.0 else np.inf
    return sigma, gamma, beta


@compiled(inlined=True)
def node_margin(H, d, order, kept, reach, smallest, D, scores, wF, cF):
    """How much the round-off of the elimination may have added to the bound (B) at wF, whatever the mask.

    Let x be the computed minimizer of the node, e = w_F − c_F, r = ∇f(x) the residual of the solve for x, ρ = r_F − K
    r_U, and E the error of the computed H_F. As a function of the free weights alone, the exact loss of the node is
    f(x) − ½r_UᵀH_UU⁻¹r_U + ρᵀe + ½eᵀ(H_F + E)e, with |ρ_p| ≤ σĝ_p and |E_pq| ≤ γĝ_pĝ_q (``reach_of_free``). So q =
    R(w_F − c_F) in (B) is wrong by η_p ≤ ĝ_p(σ + γt), t = Σĝ_p|w_F − c_F|_p. That costs a pruned weight η_p|c_p| and a
    kept one η_p(|q_p| + η_p)/D_p, where |q_p| ≤ √(2D_ps_p) + D_p|c_p|.
    """
    sigma, gamma, margin = elimination_error(H, d, order, kept, smallest, cF)
    t = 0.0
    for p in range(wF.shape[0]):
        t += abs(wF[p] - cF[p]) * reach[p]
    margin += 0.5 * gamma * t * t
    for p in range(wF.shape[0]):
        eta = reach[p] * (sigma + gamma * t)
        margin += eta * (abs(cF[p]) + np.sqrt(2.0 * scores[p] / D[p]) + abs(cF[p]) + eta / D[p])
    return 1.01 * margin


@compiled(inlined=True)
def doubt_of_scores(R, D, w, c, scores):
    """How much round-off may have changed all scores of (B) together."""
    m = w.shape[0]
    largest = 0.0
    for p in range(m):
        total = 0.0
        for q in range(m):
            total += abs(R[p, q] * (w[q] - c[q]))
        largest = max(largest, total)
    error = (m + 2) * EPS * largest
    doubt = 0.0
    for p in range(m):
        doubt += error * np.sqrt(2.0 * scores[p] / D[p]) + error * error / D[p] + m * EPS * scores[p]
    return doubt


@compiled(inlined=True)
def heaviest(state, order, kept, HF, L, w):
    """The free weight to branch on, that of the largest w_i²√(H_ii/(H⁻¹)_ii).

    That is the geometric mean of w_i²H_ii and w_i²/(H⁻¹)_ii, which are (twice) what pruning the weight costs with all
    others as they are, and with all others re-tuned.
    """
    m = w.shape[0]
    factor = np.empty((m, m))
    for p in range(m):
        for q in range(p + 1):
            factor[p, q] = L[kept + p, kept + q]
    diagonal = np.empty(m)
    inverse_diagonal(factor, diagonal)
    branch = -1
    largest = -1.0
    for p in range(m):
        if state[order[kept + p]] == FREE:
            weight = w[p] * w[p] * np.sqrt(HF[p, p] / diagonal[p])
            if branch < 0 or weight > largest:
                largest = weight
                branch = order[kept + p]
    return branch


@compiled()
def process(H, c, smallest, state, D, w, scores, tau, share, room, cutoff, improve, passes):
    """Bound one node, screen it until nothing more is fixed, and choose where to branch.

    Parameters
    ----------
    H, c : arrays (n, n), (n,)
        The root problem, f(c) = 0.
    smallest : float
        A number below the smallest eigenvalue of H; 0 where no elimination can be trusted (``CenteredBlock.smallest``).
    state : int8 array (n,), overwritten
        FREE, KEPT or PRUNED; screening fixes more.
    D, w : arrays (n,), overwritten on the free weights
        A splitting and a point to start from; better ones on return.
    scores : array (n,), overwritten on the free weights
        The scores of bound (B) on return.
    tau : array (labels,), overwritten for the labels of free weights
        τ of each label to start from, ≤ 0 for none; that for the children on return.
    share : float
        The barrier of the splitting ascent as the parent left it; 1 at the root.
    room : Room
        How many weights may be kept in all.
    cutoff : float
        A node whose bound reaches this is fathomed.
    improve : int
        Rounds of splitting improvement.
    passes : int
        How often the node is bounded again after screening fixed something.

    Returns
    -------
    outcome : FATHOMED, LEAF or BRANCH
    bound : float
        A lower bound on f in the node, less its margin; for a leaf only what earlier rounds proved, at least 0.
    share : float
        The barrier for the children.
    branch : int
        The weight to branch on; −1 for none.
    baseline : float
        For BRANCH: no mask of the node has a value below baseline − Σ_{i∈T} scores_i, T the free weights that it keeps.
    """
    n = c.shape[0]
    best = 0.0
    baseline = -np.inf
    round_number = -1
    while True:
        round_number += 1
        if settle(state, room) == 0:
            return LEAF, best, share, -1, baseline
        order, kept = active(state)
        free = order.shape[0] - kept
        own_room, names = room_of_node(room, order, kept)
        W = np.empty((kept + free, kept + free))
        LA = np.empty((kept + free, kept + free))
        d = np.empty(n)
        ok, value, margin = eliminate(H, c, state, order, W, LA, d)
        if not ok:
            return BRANCH, best, share, order[kept], baseline
        if smallest > 0.0:
            best = max(best, value - margin)
        if best >= cutoff:
            return FATHOMED, best, share, -1, baseline
        HF, cF, DF, wF = free_part(c, d, D, w, order, kept, W, LA)
        reach = reach_of_free(H, order, kept, LA)
        shift = splitting_shift(H, HF, reach, kept)
        R = np.empty((free, free))
        work = np.empty((free, free))
        L = np.empty((free, free))
        if certify_splitting(HF, DF, shift, R, work, L) < 0:
            return BRANCH, best, share, order[kept], baseline
        bF = np.empty(free)
        times(HF, cF, bF)
        sF = np.empty(free)
        own_tau = np.empty(names.shape[0])
        for label in range(names.shape[0]):
            own_tau[label] = tau[names[label]]
        target = cutoff - value + margin
        rounds = improve if round_number == 0 else 0
        bound, share = improve_splitting(
            HF, DF, bF, cF, own_room, wF, own_tau, target, shift, rounds, share, TOLERANCE, sF, R, work, L
        )
        for label in range(names.shape[0]):
            tau[names[label]] = own_tau[label]
        for p in range(free):
            i = order[kept + p]
            D[i], w[i], scores[i] = DF[p], wF[p], sF[p]
        own = value + bound - node_margin(H, d, order, kept, reach, smallest, DF, sF, wF, cF)
        if not own > -np.inf:  # NaN says nothing either
            own = -np.inf
        best = max(best, own)
        if best >= cutoff:
            return FATHOMED, best, share, -1, baseline
        doubt = doubt_of_scores(R, DF, wF, cF, sF)
        fixed = screen(state, order, kept, sF, own_room, own - 2.0 * doubt, cutoff)
        if fixed < free and (fixed == 0 or round_number >= passes):
            baseline = keeping_none(state, order, kept, sF, own_room, own - 2.0 * doubt)
            return BRANCH, best, share, heaviest(state, order, kept, HF, LA, wF), baseline
