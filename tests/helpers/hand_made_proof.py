"""Certificates small enough to be checked on paper: weights that do not meet, two labels with room for one each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cbs_opt import PruningProblem
from cbs_opt.proof import Limits, Proof, Tree

WEIGHTS = (3.0, 1.0, 3.0, 1.0)
"""Pruning one of them alone costs 4.5, 0.5, 4.5, 0.5; 0 and 1 share a label, 2 and 3 the other."""


class Node(NamedTuple):
    """A node of a tree; the point is the only one there is, or −1."""

    parent: int = -1
    side: int = 0
    branch: int = -1
    point: int = 0
    fixed: Mapping[int, int] = {}


def proof_of(
    nodes: Sequence[Node],
    bound: float,
    kept: Sequence[int],
    *,
    keep: Sequence[int] = (),
    weights: Sequence[float] = WEIGHTS,
    D: float = 0.999,
) -> tuple[PruningProblem, Proof]:
    """f = ½‖w − ``weights``‖² and a claim about it; the point proves ``D`` times the least loss of each region."""
    problem = PruningProblem(np.array(weights), np.eye(4))
    limits = Limits(np.array([0, 0, 1, 1]), np.array([1, 1]), np.isin(range(4), keep), np.zeros(4, dtype=bool))
    fixed = np.zeros((len(nodes), 4), dtype=np.int8)
    for row, node in zip(fixed, nodes, strict=True):
        row[list(node.fixed)] = list(node.fixed.values())
    tree = Tree(
        parent=np.array([node.parent for node in nodes]),
        side=np.array([node.side for node in nodes], dtype=np.int8),
        branch=np.array([node.branch for node in nodes]),
        point=np.array([node.point for node in nodes]),
        fixed=fixed,
        D=np.full((1, 4), D),
        w=problem.w_bar[None].copy(),
        w_low=np.zeros((1, 4)),
    )
    mask = np.isin(range(4), kept)
    return problem, Proof(limits, mask, np.where(mask, problem.w_bar, 0.0), bound, "0" * 64, tree)
