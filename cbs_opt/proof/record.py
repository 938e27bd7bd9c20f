"""What a certificate holds: the claim, the incumbent, and either a tree with its points or one dual vector."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cbs_opt.curvature import BlockDiagonalCurvature, Curvature, DiagonalCurvature, FactorCurvature
from cbs_opt.errors import CbsOptError, UnsupportedError
from cbs_opt.patterns import Cardinality
from cbs_opt.problem import PruningProblem
from cbs_opt.validate import Mask, Matrix, Vector

Progress = Callable[[int, int], None]
"""``progress(done, nodes)``, called now and then."""

MOST_ENTRIES = 2**23
"""Most nodes × weights of a tree: 131,072 nodes at n = 64, and at most 200 MB of points."""


class NotVerifiedError(CbsOptError):
    """A certificate that does not prove its claim; says at which node, and why."""


@dataclass(frozen=True, eq=False)
class Tree:
    """A search tree of N nodes and M points. Node 0 is the root, a parent comes before its children.

    Parameters
    ----------
    parent : int64 array (N,)
        −1 for the root.
    side : int8 array (N,)
        KEPT (1) or PRUNED (2): what this node does with its parent's branching weight; 0 for the root.
    branch : int64 array (N,)
        The weight the node is split on; −1 where its own point closes it.
    point : int64 array (N,)
        Row of D and w; −1 where the node is split without one.
    fixed : int8 array (N, n)
        What the node's point fixes before it is split, in its parent's words: 0, KEPT or PRUNED.
    D, w, w_low : arrays (M, n)
        Splitting and point ŵ = w + w_low of bound (B), in the units of H and of the weights. Entries of pruned weights
        play no part.
    """

    parent: NDArray[np.int64]
    side: NDArray[np.int8]
    branch: NDArray[np.int64]
    point: NDArray[np.int64]
    fixed: NDArray[np.int8]
    D: Matrix
    w: Matrix
    w_low: Matrix


@dataclass(frozen=True, eq=False)
class Proof:
    """A claim, f(w) ≥ ``bound`` for every w whose support lies in the pattern, and what proves it.

    Parameters
    ----------
    prune : int
        The pattern: at least so many zeros, ``keep`` forced to stay, ``forbid`` forced to zero (masks (n,)).
    mask, weights : arrays (n,)
        The incumbent.
    bound : float
        In the units of f.
    digest : str
        ``block_digest`` of the problem it was made for: names a wrong block, proves nothing.
    tree : Tree or None
    alpha : array (m,) or None
        The point of the dual bound (D); exactly one of tree and alpha is there.
    """

    prune: int
    keep: Mask
    forbid: Mask
    mask: Mask
    weights: Vector
    bound: float
    digest: str
    tree: Tree | None = None
    alpha: Vector | None = None

    @property
    def n(self) -> int:
        """Number of weights."""
        return len(self.mask)

    @property
    def nodes(self) -> int:
        """Nodes of the tree; 1 for the dual bound."""
        return 1 if self.tree is None else len(self.tree.parent)

    @property
    def pattern(self) -> Cardinality:
        """The pattern of the claim."""
        return Cardinality(self.n, self.prune, keep=np.flatnonzero(self.keep), forbid=np.flatnonzero(self.forbid))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the certificate (``cbs_opt.proof.file``), whole or not at all."""
        from cbs_opt.proof.file import save_proof

        save_proof(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Proof:
        """Read a certificate; what it says is not yet verified."""
        from cbs_opt.proof.file import load_proof

        return load_proof(path)


def cardinality(problem: PruningProblem) -> Cardinality:
    """The pattern of ``problem``, if certificates are made for its kind."""
    pattern = problem.Z
    if not isinstance(pattern, Cardinality):
        raise UnsupportedError(f"proof: cannot take the pattern {type(pattern).__name__}; it takes Cardinality")
    return pattern


def block_digest(problem: PruningProblem) -> str:
    """SHA-256 over w̄, g, offset and the curvature's arrays (little-endian float64), as hexadecimal."""
    digest = hashlib.sha256(b"cbs-opt block\n")

    def add(label: str, *arrays: NDArray[np.float64] | float) -> None:
        digest.update(f"{label} {[np.shape(array) for array in arrays]}\n".encode())
        for array in arrays:
            digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())

    def add_curvature(curvature: Curvature) -> None:
        if isinstance(curvature, BlockDiagonalCurvature):
            add(f"blocks {len(curvature.blocks)}")
            for block in curvature.blocks:
                add_curvature(block)
        elif isinstance(curvature, FactorCurvature):
            add("factor", curvature.A, curvature.damping)
        elif isinstance(curvature, DiagonalCurvature):
            add("diagonal", curvature.diagonal())
        else:
            add("dense", curvature.dense())

    add("w", problem.w_bar, problem.linear_term(), problem.offset)
    add_curvature(problem.curvature)
    return digest.hexdigest()
