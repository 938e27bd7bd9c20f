"""The nodes of ``bnb``: open ones, without and with rank-one pieces, and the record of a processed one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.arrays.types import Vector


class Node(NamedTuple):
    """An open node: a valid bound, its age, its parent, the state of each weight, and a warm start D, w, tau, share."""

    bound: float
    age: int
    parent: int
    state: NDArray[np.int8]
    D: Vector
    w: Vector
    tau: Vector
    share: float

    def __lt__(self, other: Any, /) -> bool:
        return (self.bound, self.age) < (other.bound, other.age)  # the two children of a node have the same age


class PieceNode(NamedTuple):
    """An open node of a tree with pieces: bound, age, parent, states of weights; a warm start D, z (n,) and q (E,)."""

    bound: float
    age: int
    parent: int
    state: NDArray[np.int8]
    D: Vector
    q: Vector
    z: Vector

    def __lt__(self, other: Any, /) -> bool:
        return (self.bound, self.age) < (other.bound, other.age)


@dataclass(frozen=True, slots=True, eq=False)
class PieceRecord:
    """What the record of a node has besides in a tree with pieces: Σ q_e u_e u_eᵀ of its splitting, and a relaxed mask.

    Parameters
    ----------
    members : int64 array (E, width)
        The weights of each piece, then −1; the same in the whole tree.
    u : array (E, width)
        The entries of each u_e at these weights, in the units of ``CenteredBlock``; the same in the whole tree.
    q : array (E,)
        The weight of each piece in the splitting of the node.
    z : array (n,)
        The relaxed mask, on the weights that are free before screening.
    """

    members: NDArray[np.int64]
    u: NDArray[np.float64]
    q: Vector
    z: Vector


@dataclass(frozen=True, slots=True, eq=False)
class NodeRecord:
    """One processed node, for a log or a certificate. Arrays are (n,), with D and w in the units of ``CenteredBlock``.

    ``before`` and ``after`` say which weights are FREE, KEPT or PRUNED before and after screening. On the weights free
    in ``before``, D and w are the splitting and the point whose bound (B) fathoms the node, or justifies what screening
    fixed. ``cutoff`` is the value, relative to f at the block's c, below which masks are of interest. Where the tree
    begins again with ``pieces``, the index starts from 0 once more, and all records before that can be dropped.
    """

    index: int
    parent: int
    before: NDArray[np.int8]
    after: NDArray[np.int8]
    D: Vector
    w: Vector
    bound: float
    cutoff: float
    outcome: int
    branch: int
    pieces: PieceRecord | None = None
