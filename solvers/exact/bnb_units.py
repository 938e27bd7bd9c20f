"""The tree of ``bnb`` for patterns other than labels with room: groups, budgets, intersections, linear constraints.

A node is the pattern with some weights decided (``Pattern.fixed``), and its bound uses the pattern through its oracle
alone (``bounds/unit_blocks``). The tree branches on units, weights that are kept or pruned together: a column of a
layer or a filter is one decision, not one for each of its weights.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.arrays.types import Mask, Matrix, Vector
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.kernel.patterns.forced import forced
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.solvers.bounds.elimination import Elimination
from cbs_opt.solvers.bounds.interior import back, factor, inverse_of
from cbs_opt.solvers.bounds.unit_blocks import Reduced, certified, first_blocks
from cbs_opt.solvers.bounds.unit_relaxation import LEAST_SHARE, Polytope, Relaxed, improved, relax
from cbs_opt.solvers.exact.block_search import BlockSearch
from cbs_opt.solvers.exact.decided import fixed
from cbs_opt.solvers.forms.node_state import KEPT, state_of

ROOT_ROUNDS = 30
"""Rounds of splitting improvement at the root where at most ``SMALL`` weights are free."""
SMALL = 128
"""With m > SMALL free weights there are fewer rounds, by the factor (SMALL/m)³, which bounds their work."""
NODE_ROUNDS = 1
"""Rounds of splitting improvement at every other node."""
TOLERANCE = 3e-3
"""Relative gap between a relaxation and its bound (B) at which the relaxation of a node ends."""
PASSES = 2
"""How often a node is bounded again after screening fixed something."""
CAUTION = 1e-9
"""The part of a rise in (B) that screening leaves out, and 1000 times the part of the scores that it leaves out: both
are many times the round-off."""


class UnitNode(NamedTuple):
    """An open node: a valid bound, its age, its pattern, and a warm start B, z, y, share."""

    bound: float
    age: int
    pattern: Pattern
    B: Matrix  # (n, n), block-diagonal over the units
    z: Vector  # of the units
    y: Vector  # of the pattern's own variables
    share: float

    def __lt__(self, other: Any, /) -> bool:
        return (self.bound, self.age) < (other.bound, other.age)


class _Scored(NamedTuple):
    """The scores of a bound (B), (n,), that of a unit on its first free weight; the bound; and the elimination."""

    scores: Vector
    bound: float
    node: Elimination


class UnitSearch(BlockSearch[UnitNode]):
    """The tree of one problem under any pattern. Values are in the units of ``CenteredBlock``."""

    def __init__(self, problem: PruningProblem, gap: float) -> None:
        super().__init__(problem, gap)
        self._units = np.asarray(problem.Z.units, dtype=np.int64)
        self._weight = self._block.H.diagonal()
        self.mask = problem.Z.argmax(self._block.c**2 * self._weight)
        self.offer(self.mask)
        Z = problem.Z
        self._polytope = Polytope.of(Z.rows(), self._units, forced(Z), Z.free)
        middle = np.full(int(self._units.max()) + 1, 0.5), np.full(self._polytope.own, 0.5)
        self._heap.append(UnitNode(0.0, 0, Z, np.zeros((problem.n,) * 2), *middle, 1.0))

    def improved(self, mask: Mask) -> Mask:
        return mask

    def branch(self, node: UnitNode) -> tuple[UnitNode, UnitNode] | None:
        """Fathom the node, close it as a leaf, or branch; the child that keeps the unit is dived into."""
        pattern: Pattern | None = node.pattern
        best = node.bound
        for attempt in range(self._problem.n + 1):
            assert pattern is not None, "else the loop has ended"
            state = state_of(pattern)
            open_mask = (state == KEPT) | pattern.free
            if not pattern.free.any() or pattern.contains(open_mask):
                self._close(open_mask, best)
                return None
            node, best, scores, choice = self._bounded(node._replace(pattern=pattern), state, best)
            if best >= self._cutoff:
                return None
            if attempt < PASSES:
                keep, prune = self._screened(pattern, scores)
                if (keep | prune).any():
                    pattern = fixed(pattern, keep, prune)
                    if pattern is None:
                        return None
                    continue
            unit = pattern.free & (self._units == choice)
            nothing = np.zeros_like(unit)
            kept, pruned = fixed(pattern, unit, nothing), fixed(pattern, nothing, unit)
            if kept is not None and pruned is not None:
                return self._child(node, best, kept), self._child(node, best, pruned)
            pattern = pruned if kept is None else kept
            if pattern is None:
                return None
        raise AssertionError("every round decides a weight")

    def _bounded(self, node: UnitNode, state: NDArray[np.int8], best: float) -> tuple[UnitNode, float, _Scored, int]:
        """Bound a node; returns it with a better warm start, its bound, the scores of (B), and a unit to branch on."""
        from cbs_opt.solvers.compiled.node import eliminate, reach_of_free, schur_complement, splitting_shift

        H, c, pattern = self._block.H, self._block.c, node.pattern
        n = len(c)
        free = np.flatnonzero(pattern.free)
        free = free[np.argsort(self._units[free], kind="stable")]
        first_unit = int(self._units[free[0]])
        nothing = _Scored(np.zeros(n), -np.inf, Elimination(0.0, np.inf, np.inf))
        always = np.flatnonzero(state == KEPT)
        order = np.concatenate([always, free])
        kept, m = len(order) - len(free), len(free)
        W, L, d = np.empty((len(order),) * 2), np.empty((len(order),) * 2), np.empty(n)
        ok, value, margin = eliminate(H, c, state, order, W, L, d)
        if not ok:
            return node, best, nothing, first_unit
        eliminated = Elimination.of(H, c, d, kept, value - margin, self._block.smallest)
        best = max(best, float(eliminated.proves(np.zeros(()))))
        if best >= self._cutoff:
            return node, best, nothing, first_unit
        HF = np.empty((m, m))
        schur_complement(W, L, kept, HF)
        shift = splitting_shift(H, HF, reach_of_free(H, order, kept, L), kept)
        cF = (c + d)[free]
        names, starts, unit = np.unique(self._units[free], return_index=True, return_inverse=True)
        reduced = Reduced(HF, cF, HF @ cF, unit.astype(np.int64), starts.astype(np.int64), shift)
        heads = free[starts]

        def on_weights(scores: Vector) -> Vector:
            spread = np.zeros(n)
            spread[heads] = scores
            return spread

        def oracle(scores: Vector) -> float:
            return pattern.relaxed(on_weights(scores)).most

        square = np.ix_(free, free)
        root = not node.B.any()
        split = first_blocks(reduced) if root else certified(reduced, node.B[square])
        if split is None:
            return node, best, nothing, first_unit
        target = eliminated.needs(self._cutoff)
        stays = np.unique(self._units[always[self._problem.Z.free[always]]])
        polytope = self._polytope.decided(np.setdiff1d(stays, names), names)
        start = np.concatenate([node.z[names], node.y])
        relaxed = relax(reduced, split, polytope, start, oracle, target=target, tolerance=TOLERANCE)
        if relaxed is None:
            return node, best, nothing, first_unit
        split, relaxed, share = improved(
            reduced,
            split,
            polytope,
            relaxed,
            oracle,
            target=target,
            tolerance=TOLERANCE,
            rounds=max(NODE_ROUNDS, int(ROOT_ROUNDS * min(1.0, (SMALL / m) ** 3))) if root else NODE_ROUNDS,
            share=max(node.share, LEAST_SHARE),
        )
        heaviest = pattern.relaxed(on_weights(reduced.sums(relaxed.w**2 * HF.diagonal())))
        self._offer_inside(pattern, always, heaviest.z)
        self._offer_inside(pattern, always, pattern.relaxed(on_weights(relaxed.scores)).z)
        own = float(eliminated.proves(np.array(relaxed.bound)))
        grown = node.B.copy()
        grown[square] = split.B
        scored = _Scored(on_weights(relaxed.scores), relaxed.bound, eliminated)
        z = node.z.copy()
        z[names] = relaxed.x[: len(names)]
        warm = node._replace(B=grown, z=z, y=relaxed.x[len(names) :], share=share)
        choice = int(names[_heaviest(reduced, relaxed)])
        return warm, max(best, own), scored, choice

    def _offer_inside(self, pattern: Pattern, always: NDArray[np.int64], z: Vector) -> None:
        """Offer the mask of what a relaxed mask ``z`` keeps in full, filled up with units that it keeps in part.

        ``always`` are the weights that the pattern forces to stay.
        """
        mask = z > 1.0 - 1e-6
        mask[always] = True
        if not pattern.contains(mask):
            return
        parts = np.flatnonzero((z > 1e-6) & ~mask)
        for unit in dict.fromkeys(self._units[parts[np.argsort(-z[parts], kind="stable")]].tolist()):
            more = mask | ((self._units == unit) & pattern.free)
            if pattern.contains(more):
                mask = more
        self.offer(mask)

    def _screened(self, pattern: Pattern, scored: _Scored) -> tuple[Mask, Mask]:
        """The weights that no mask with a value below the cutoff prunes, and those that none keeps, by whole units."""
        keep, prune = np.zeros_like(pattern.free), np.zeros_like(pattern.free)
        if not scored.bound > -np.inf:
            return keep, prune
        found = pattern.relaxed(scored.scores)
        # The score of a unit stands on its first free weight; only these are looked at.
        _, heads = np.unique(np.where(pattern.free, self._units, -1), return_index=True)
        heads = heads[pattern.free[heads]]
        for bounds, decided in ((found.pruned, keep), (found.kept, prune)):
            rise = found.most * (1.0 - 1e-3 * CAUTION) - bounds[heads]
            proven = scored.node.proves(scored.bound + rise * (1.0 - CAUTION))
            refuted = (rise > 0.0) & (proven >= self._cutoff)
            decided |= np.isin(self._units, self._units[heads[refuted]]) & pattern.free
        return keep, prune

    def _child(self, node: UnitNode, bound: float, pattern: Pattern) -> UnitNode:
        """A child of ``node``, with the ``pattern`` in which one more unit is decided."""
        return node._replace(bound=bound, age=self.nodes, pattern=pattern)


def _heaviest(reduced: Reduced, relaxed: Relaxed) -> int:
    """The unit to branch on, which has the largest product of two costs of pruning it.

    One is w_uᵀH_uuw_u, with all other weights as they are, the other w_uᵀ((H⁻¹)_uu)⁻¹w_u, with all others re-tuned.
    """
    alone = reduced.sums(relaxed.w * (np.where(reduced.together, reduced.H, 0.0) @ relaxed.w))
    inverse = inverse_of(reduced.H)
    if inverse is None:
        return int(np.argmax(alone))
    made_up = np.zeros(len(alone))
    for u, at in enumerate(reduced.blocks()):
        block = factor(inverse[at, at])
        if block is not None:
            made_up[u] = float(relaxed.w[at] @ back(block, relaxed.w[at]))
    return int(np.argmax(alone * made_up))
