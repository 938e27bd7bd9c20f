"""Compiled kernels of the branch and bound with rank-one pieces: bound a node, screen it, choose where to branch.

They do what ``node.process`` does, but for a splitting H = R + diag(D) + Σ q_e u_e u_eᵀ (``compiled/pieces``). Where a
member of a piece is kept, the piece gains nothing and goes back to R, whose Schur complement stays positive
semidefinite. A pruned member leaves its piece, and a piece with one free member left is added to D.
"""

from __future__ import annotations

import numpy as np

from cbs_opt.solvers.compiled.compilation import compiled
from cbs_opt.solvers.compiled.dense import times
from cbs_opt.solvers.compiled.node import (
    active,
    eliminate,
    free_part,
    heaviest,
    node_margin,
    reach_of_free,
    splitting_shift,
)
from cbs_opt.solvers.compiled.oracle import keeping_none, room_of_node, screen, settle
from cbs_opt.solvers.compiled.pieces import certify_pieces
from cbs_opt.solvers.compiled.pieces_splitting import improve_pieces
from cbs_opt.solvers.forms.node_state import BRANCH, FATHOMED, FREE, KEPT, LEAF

FIRST_BARRIER = 1.0
"""The barrier of the relaxation that shows where D and q have to grow. Both barriers are in units of the node's gap, or
of its bound where that is less, divided by the number of its free weights."""
BARRIER = 0.3
"""The barrier of the ascent of D and q and of the relaxation after it, in the same units."""
LEAST_GAP = 1e-3
"""In these units a gap counts for at least this part of the cutoff."""


@compiled()
def pieces_of_node(members, u, q, state, place, D):
    """The pieces that a node still has, with members given by their places among its free weights.

    q and D, of the root's weights, are updated: q_e becomes 0 where a member is kept or only one is free, and in the
    latter case q_e u_e² is added to D. Returns members, u and q of the node, and which of the root's pieces they are.
    """
    E, width = members.shape
    names = np.empty(E, np.int64)
    own = np.full((E, width), -1, np.int64)
    directions = np.zeros((E, width))
    sizes = np.empty(E)
    count = 0
    for e in range(E):
        free = 0
        kept = False
        for a in range(width):
            i = members[e, a]
            if i < 0:
                break
            if state[i] == KEPT:
                kept = True
                break
            if state[i] == FREE:
                own[count, free] = place[i]
                directions[count, free] = u[e, a]
                free += 1
        if kept or free <= 1:
            if not kept and free == 1:
                for a in range(width):
                    i = members[e, a]
                    if i >= 0 and state[i] == FREE:
                        D[i] += q[e] * u[e, a] * u[e, a]
            q[e] = 0.0
        else:
            for a in range(free, width):
                own[count, a] = -1
                directions[count, a] = 0.0
            sizes[count] = q[e]
            names[count] = e
            count += 1
    return own[:count].copy(), directions[:count].copy(), sizes[:count].copy(), names[:count].copy()


@compiled()
def process_pieces(H, c, smallest, members, u, least, state, D, q, w, z, scores, known, room, cutoff, passes):
    """Bound one node, screen it until nothing more is fixed, and choose where to branch.

    Parameters
    ----------
    H, c : arrays (n, n), (n,)
        The root problem, f(c) = 0.
    smallest : float
        A number below the smallest eigenvalue of H; 0 where no elimination can be trusted.
    members, u : arrays (E, width)
        The pieces, the same in the whole tree.
    least : array (n,)
        D does not fall below this: a splitting too close to the boundary leaves the children no way to improve it.
    state : int8 array (n,), overwritten
        FREE, KEPT or PRUNED; screening fixes more.
    D, q, z : arrays (n,), (E,), (n,), overwritten
        A splitting and a relaxed mask to start from; better ones on return.
    w, scores : arrays (n,), overwritten on the free weights
        The relaxed point and the scores of bound (B) on return.
    known : float
        A valid bound of the node. The further it is from the cutoff, the less exactly the node is bounded.
    room, cutoff, passes
        As in ``node.process``.

    Returns
    -------
    outcome, bound, branch, baseline
        As in ``node.process``.
    """
    n = c.shape[0]
    best = 0.0
    place = np.empty(n, np.int64)
    round_number = -1
    while True:
        round_number += 1
        if settle(state, room) == 0:
            return LEAF, best, -1, -np.inf
        order, kept = active(state)
        free = order.shape[0] - kept
        own_room, _ = room_of_node(room, order, kept)
        W = np.empty((kept + free, kept + free))
        LA = np.empty((kept + free, kept + free))
        d = np.empty(n)
        ok, value, margin = eliminate(H, c, state, order, W, LA, d)
        if not ok:
            return BRANCH, best, order[kept], -np.inf
        if smallest > 0.0:
            best = max(best, value - margin)
        if best >= cutoff:
            return FATHOMED, best, -1, -np.inf
        for p in range(free):
            place[order[kept + p]] = p
        own_members, own_u, own_q, names = pieces_of_node(members, u, q, state, place, D)
        HF, cF, DF, wF = free_part(c, d, D, w, order, kept, W, LA)
        zF, sF, bF, floor = np.empty(free), np.zeros(free), np.empty(free), np.empty(free)
        for p in range(free):
            zF[p] = z[order[kept + p]]
            floor[p] = least[order[kept + p]]
        reach = reach_of_free(H, order, kept, LA)
        shift = splitting_shift(H, HF, reach, kept)
        R, M, L = np.empty((free, free)), np.empty((free, free)), np.empty((free, free))
        if not certify_pieces(HF, DF, own_members, own_u, own_q, shift, R, M, L):
            return BRANCH, best, order[kept], -np.inf
        times(HF, cF, bF)
        proven = max(known, best)
        barrier = max(min(cutoff - proven, proven), LEAST_GAP * cutoff) / free
        bound, doubt = improve_pieces(
            HF,
            DF,
            own_members,
            own_u,
            own_q,
            floor,
            bF,
            cF,
            own_room,
            wF,
            zF,
            FIRST_BARRIER * barrier,
            BARRIER * barrier,
            cutoff - value + margin,
            shift,
            round_number == 0,
            sF,
            R,
            M,
            L,
        )
        for p in range(free):
            i = order[kept + p]
            D[i], w[i], z[i], scores[i] = DF[p], wF[p], zF[p], sF[p]
        for p in range(names.shape[0]):
            q[names[p]] = own_q[p]
        if not bound > -np.inf:
            return BRANCH, best, order[kept], -np.inf
        own = value + bound - node_margin(H, d, order, kept, reach, smallest, DF, sF, wF, cF)
        if not own > -np.inf:  # NaN says nothing either
            own = -np.inf
        best = max(best, own)
        if best >= cutoff:
            return FATHOMED, best, -1, -np.inf
        fixed = screen(state, order, kept, sF, own_room, own - 2.0 * doubt, cutoff)
        if fixed < free and (fixed == 0 or round_number >= passes):
            baseline = keeping_none(state, order, kept, sF, own_room, own - 2.0 * doubt)
            return BRANCH, best, heaviest(state, order, kept, HF, LA, wF), baseline
