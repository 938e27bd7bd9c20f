"""The nodes of ``bnb``: open ones, without and with rank-one pieces, and the record of a processed one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.arrays.types import Vector


class Node(NamedTuple):
    """An open node: a valid bound, its age, its parent, what is fixed, and a warm start."""

    bound: float
    age: int
    parent: int
    state: NDArray[np.int8]
    D: Vector
    w: Vector
    tau: Vector
    share: float

    def __lt__(self, other: Any, /) -> bool:
        return (self.bound, self.age) < (other.bound, other.age)  # brothers are as old as one another


class PieceNode(NamedTuple):
    """An open node of a tree with pieces: a valid bound, age, parent, what is fixed; a warm start D, z (n,), q (E,)."""

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
    """What a node of a tree with pieces has beside D and w: Σ q_e u_e u_eᵀ in its splitting, and its relaxed mask.

    Parameters
    ----------
    members : int64 array (E, width)
        Of each piece, −1 after the last; the same for the whole tree, as ``u``.
    u : array (E, width)
        In the units of ``CenteredBlock``.
    q : array (E,)
    z : array (n,)
        On the weights that are free before screening.
    """

    members: NDArray[np.int64]
    u: NDArray[np.float64]
    q: Vector
    z: Vector


@dataclass(frozen=True, slots=True, eq=False)
class NodeRecord:
    """One processed node, for a log or a certificate. Arrays are (n,), D and w in the units of ``CenteredBlock``.

    ``before`` and ``after`` say what is FREE, KEPT or PRUNED before and after screening; on the weights free in
    ``before``, D and w are the splitting and the point whose bound (B) fathoms the node or justifies what
    screening fixed. ``cutoff`` is the value, relative to f at the block's c, that solutions of interest lie below.
    A tree that begins anew, with ``pieces``, begins with index 0 again; what was recorded before it is of no account.
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
