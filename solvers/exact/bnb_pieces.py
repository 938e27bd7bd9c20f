"""The root of a tree of ``bnb`` with rank-one pieces: the pieces, and the splitting that its nodes inherit."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from cbs_opt.kernel.arrays.types import Vector
from cbs_opt.solvers.bounds.centered import CenteredBlock
from cbs_opt.solvers.bounds.pieces import PATIENCE, WIDTH, Pieces, choose
from cbs_opt.solvers.forms.node_state import FREE, KEPT, PRUNED, Room

ACCURACY = 1e-2
"""How exactly the bound of that root is maximized, relative to the incumbent: the nodes below it gain the rest in less
time."""

COARSE, COARSE_PATIENCE = 0.3, 4
"""The same of a coarse root, and after how many steps in vain its path is given up."""


class PieceRoot(NamedTuple):
    """The pieces of a tree, their members numbered as in the block, and D, q and z (0 where fixed) at its root."""

    pieces: Pieces
    D: Vector
    q: Vector
    z: Vector


def piece_root(
    block: CenteredBlock, state: NDArray[np.int8], room: Room, value: float, *, coarse: bool
) -> PieceRoot | None:
    """Choose pieces for the problem of the weights that ``state`` leaves free; None where the arithmetic fails.

    Parameters
    ----------
    block : CenteredBlock
        The whole problem.
    state : int8 array (n,)
        FREE, KEPT or PRUNED.
    room : Room
        How many weights may be kept in all.
    value : float
        The value of the incumbent, in the block's units.
    coarse : bool
        Whether a quick root is enough, since the tree is thought to be small.
    """
    H, c = block.H, block.c
    state = _settled(state, room)
    free, kept, pruned = (np.flatnonzero(state == what) for what in (FREE, KEPT, PRUNED))
    if not len(free):
        return None
    names, labels = np.unique(room.labels[free], return_inverse=True)
    taken = np.bincount(room.labels[kept], minlength=len(room.room))
    left = Room(labels.astype(np.int64), (room.room - taken)[names])
    active = np.concatenate([kept, free])
    step = np.zeros(len(c))
    step[pruned] = -c[pruned]
    HF = H[np.ix_(free, free)]
    try:
        if len(pruned):
            step[active] = cho_solve(cho_factor(H[np.ix_(active, active)]), H[np.ix_(active, pruned)] @ c[pruned])
        if len(kept):
            HF = HF - H[np.ix_(free, kept)] @ cho_solve(cho_factor(H[np.ix_(kept, kept)]), H[np.ix_(kept, free)])
    except np.linalg.LinAlgError:
        return None
    base = 0.5 * float(step @ H @ step)
    accuracy, patience = (COARSE, COARSE_PATIENCE) if coarse else (ACCURACY, PATIENCE)
    found = choose(HF, HF @ (c + step)[free], left, value - base, accuracy, patience)
    if found is None:
        return None
    D, z = np.zeros(len(c)), np.zeros(len(c))
    D[free], z[free] = found.D, found.z
    members = np.where(found.pieces.members >= 0, free[found.pieces.members], -1)
    return PieceRoot(Pieces(members, found.pieces.u), D, found.q, z)


def _settled(state: NDArray[np.int8], room: Room) -> NDArray[np.int8]:
    """``state`` with the free weights of labels that leave no choice fixed as kept or pruned."""
    labels, count = room.labels, len(room.room)
    left = room.room - np.bincount(labels[state == KEPT], minlength=count)
    free = np.bincount(labels[state == FREE], minlength=count)
    settled = np.where(left <= 0, PRUNED, np.where(free <= left, KEPT, FREE))[labels]
    return np.where(state == FREE, settled, state).astype(np.int8)


@cache
def prepare_pieces() -> None:
    """Load the kernel of nodes with pieces, or compile it, before any time limit runs; see ``bnb.prepare``."""
    from cbs_opt.solvers.compiled.pieces_node import process_pieces

    H, c = np.eye(4) + 0.5, np.arange(1.0, 5.0)
    members, u = np.full((1, WIDTH), -1, dtype=np.int64), np.zeros((1, WIDTH))
    members[0, :2], u[0, :2] = (0, 1), 1.0
    arrays = np.full(4, 0.1), np.full(1, 0.01), c.copy(), np.full(4, 0.5), np.zeros(4)
    process_pieces(
        H, c, 0.0, members, u, np.zeros(4), np.zeros(4, dtype=np.int8), *arrays, 0.0, Room.one(4, 2), 10.0, 1
    )
