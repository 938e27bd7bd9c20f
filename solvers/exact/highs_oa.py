"""Outer approximation of the joint problem, whose master problem HiGHS solves as a MILP: no quadratic solver is needed.

1. Find an incumbent by greedy OBS and exchanges; find a splitting, and fix all weights that bound (B) decides
   (``highs_root``).
2. Where that leaves the bound far below the incumbent, split the masks in two parts by a weight that is kept in one and
   pruned in the other, and give each part a splitting of its own and the decisions that follow, the part with the least
   bound first.
3. Solve the master problem of what is left of a part (``models/outer_approximation``) as an LP, add the tangents that
   its solution violates, and repeat until its bound stops rising. Then make a few dives, to find tangents that a search
   tree will need.
4. Solve the master as a MILP, add the tangents at its solution and at the re-tuned weights of its mask, and repeat
   until its bound meets the incumbent. No mask comes twice, since the master is exact at every mask that has been seen.
5. Solutions are rounded to masks and re-tuned on the way. Where the incumbent has become much better, the box shrinks
   and more weights can be fixed, so that all starts again from that incumbent, undivided.

The bound is the least of the parts' bounds, each the best that was seen. That of HiGHS is lowered by its margin
(``highs_master``) and by a bound on the round-off of the model,

    8n·eps·‖H‖ Σ_i max(c_i², Δ_i²)           in the units of ``CenteredBlock``.             (arithmetic)

Masks that are excluded on the way (by the box, screening or probing) are no better than the incumbent, up to the gap.

Duran & Grossmann, An outer-approximation algorithm for a class of mixed-integer nonlinear programs, Math. Program. 36
(1986); Vielma, Dunning, Huchette & Lubin, Extended formulations in mixed integer conic quadratic programming, Math.
Program. Comput. 9 (2017), on a variable for each square; Frangioni & Gentile, Math. Program. 106 (2006), on the cuts.
"""

from __future__ import annotations

import math
import time
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.linalg import LinAlgError

from cbs_opt.errors import NotPositiveDefiniteError
from cbs_opt.kernel.arrays.types import EPS, Mask, Vector
from cbs_opt.kernel.arrays.validate import as_nonnegative
from cbs_opt.kernel.curvature import DenseCurvature
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.patterns import Cardinality, Pattern
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import GAP_TOLERANCE, Outcome, TerminationCondition
from cbs_opt.kernel.update import obs_update
from cbs_opt.models.ranges import pattern_ranges
from cbs_opt.solvers.bounds.centered import CenteredBlock
from cbs_opt.solvers.exact import bnb
from cbs_opt.solvers.exact.deadline import deadline_of
from cbs_opt.solvers.exact.decided import deciding
from cbs_opt.solvers.exact.highs_root import Root, probe_root
from cbs_opt.solvers.exact.highs_stage import Stage
from cbs_opt.solvers.heuristic import swap
from cbs_opt.solvers.heuristic.greedy_obs import prune_in_sequence
from cbs_opt.solvers.heuristic.swap_state import value_at

KICKS = 30
"""Local searches that start from the incumbent after ``KICK`` random exchanges."""

KICK = 3
"""Pairs of weights that are exchanged at random before a local search."""

SPLITS = 40
"""Parts that are split in two with one incumbent, at the most; HiGHS works on all others."""

NEAR = 0.9
"""A part whose bound is above this share of the cutoff is not split."""

ROOM = 1.01
"""The master may look at losses up to this multiple of the incumbent's, since round-off may hide a better mask
there."""


def run(problem: PruningProblem, *, time_limit: float | None = None, gap: float = GAP_TOLERANCE) -> Outcome:
    """Solve LPs and MILPs by HiGHS until the gap is closed or the time is up.

    Parameters
    ----------
    time_limit : float, optional
        Seconds after which the search stops; left out, it runs until the gap is closed.
    gap : float
        Relative gap at which the search ends.

    Raises
    ------
    InputError
        The time limit is not a positive number.
    UnsupportedError
        A variable that the pattern adds to the model has no bounds.
    """
    gap = as_nonnegative(gap, "gap")
    search = Search(problem, gap, deadline_of(time_limit))
    try:
        while search.again():
            pass
    except KeyboardInterrupt:
        search.termination = TerminationCondition.INTERRUPTED
    return Outcome(search.mask, search.lower_bound(), search.termination, search.nodes, search.notes)


class _Part(NamedTuple):
    """Some of the masks, a lower bound on their values, and a splitting (n,) to begin with."""

    bound: float
    pattern: Pattern
    D: Vector


class Search:
    """The incumbent and the bound of one problem. Values are in the units of ``CenteredBlock``, relative to f(c)."""

    mask: Mask

    def __init__(self, problem: PruningProblem, gap: float, deadline: float) -> None:
        # A pattern under which no bound would be valid is refused before any work.
        pattern_ranges(problem.Z)
        self._problem, self._gap, self._deadline = problem, gap, deadline
        self._block = CenteredBlock.of(problem)
        self.value = self._rank = math.inf
        self._seen: set[bytes] = set()
        self._open: list[_Part] = []
        # Bounds on all masks, on those of the part at work, and on those of all other parts.
        self._bound = self._part = self._others = 0.0
        self.termination = TerminationCondition.CONVERGED
        self.notes: tuple[str, ...] = ()
        self.nodes = 0
        self.offer(prune_in_sequence([(1, self._block.H)], self._block.c, problem.Z))
        self._kick()

    def lower_bound(self) -> float:
        """The bound in the units of f."""
        return self._block.bound(self._bound)

    def again(self) -> bool:
        """Work on all parts, from the whole on; returns whether to do so again, since the incumbent is much better."""
        self._open = [_Part(self._bound, self._problem.Z, self._block.first_splitting())]
        self.notes = ()
        done, cutoff, splits = math.inf, math.inf, 0
        while self._open:
            part = self._open.pop(min(range(len(self._open)), key=lambda place: self._open[place].bound))
            # The box of a master leaves out what is worse than the incumbent of its time, so no bound may go beyond it.
            cutoff = min(cutoff, self.value - 0.99 * self.allowed)
            self._part = 0.0
            self._others = min([done, *(other.bound for other in self._open)])
            self.raise_bound(part.bound, cutoff)
            if part.bound >= min(done, self.value - self.allowed):
                # All are closed, or one was given up whose bound no other part can raise.
                return False
            try:
                root = probe_root(self._block, part.pattern, part.D, cutoff, self._deadline)
                self.raise_bound(root.bound, cutoff)
                if not root.free.size:
                    self.offer(root.kept)
                elif not self.closed and self._split(root, part.D, splits, cutoff):
                    splits += 1
                    continue
                if not self.closed and self._master(root, cutoff):
                    return True
            except (LinAlgError, NotPositiveDefiniteError):
                self.give_up()
            if self.termination is not TerminationCondition.CONVERGED:
                return False
            done = min(done, self._part)
        return False

    def _split(self, root: Root, D: Vector, splits: int, cutoff: float) -> bool:
        """Where it pays, open the two parts in which the weight of ``root`` to branch on is kept and pruned.

        Returns whether it pays.
        """
        if root.branch < 0 or splits >= SPLITS or root.bound >= NEAR * cutoff:
            return False
        whole = root.split(D)
        halves = (deciding(root.pattern, root.branch, kept) for kept in (True, False))
        self._open += [_Part(self._part, half, whole) for half in halves if half is not None]
        self.nodes += 1
        return True

    def _master(self, root: Root, cutoff: float) -> bool:
        """Solve the master problem of what ``root`` leaves; returns whether to begin anew with a better incumbent."""
        lost = self.value - root.reduction.base
        if not (root.free.size and lost > 0):
            return self.give_up()
        slack = root.reduction.slack(ROOM * lost)
        if not slack < (ROOM - 1.0) * lost:
            return self.give_up()
        return Stage(self, root, slack, cutoff).prove()

    @property
    def remaining(self) -> float:
        """Seconds until the deadline."""
        return self._deadline - time.monotonic()

    @property
    def closed(self) -> bool:
        """Whether the bound of the present part and the incumbent are as near as the gap asks for."""
        return self._part >= self.value - self.allowed

    @property
    def allowed(self) -> float:
        """The gap asked for, in the units of the block."""
        return self._gap * abs(self._block.base + self._block.scale * self.value) / self._block.scale

    def offer(self, mask: Mask) -> None:
        """Take ``mask``, or what exchanges make of it, as the incumbent if it is better."""
        H, c = self._block.H, self._block.c
        if mask.tobytes() in self._seen:
            return
        Z = self._problem.Z
        for found in (mask, swap.improve([(1, H)], c, mask, Z)):
            # The mask filled up with all that Z has room for.
            candidate = Z.argmax(found.astype(np.float64))
            self._seen |= {found.tobytes(), candidate.tobytes()}
            value = value_at(H, c, candidate)
            # With the minimizer far away, values relative to it lose their small differences; then f itself decides.
            far = self._block.base_error > 0
            rank = self._problem.objective(obs_update(self._problem, candidate)) if far else value
            if rank < self._rank:
                self._rank, self.mask = rank, candidate
            self.value = min(self.value, value)

    def _kick(self) -> None:
        """Iterated local search from the incumbent, since exchanges alone get stuck where layer inputs are alike."""
        rng = np.random.default_rng(0)
        free = self._problem.Z.free
        for _ in range(KICKS):
            kept, pruned = np.flatnonzero(self.mask & free), np.flatnonzero(~self.mask & free)
            size = min(KICK, len(kept), len(pruned))
            if size == 0 or self.remaining < 0:
                return
            # The oracle keeps the chosen pruned weights, and fills the room that is left at random.
            wanted = np.where(self.mask, 2.0, rng.random(len(free)))
            wanted[rng.choice(kept, size, replace=False)] = 0.0
            wanted[rng.choice(pruned, size, replace=False)] = 3.0
            self.offer(self._problem.Z.argmax(wanted))

    def raise_bound(self, bound: float, cutoff: float) -> None:
        """Take over a better ``bound`` of the present part, up to ``cutoff``: masks that are excluded are no better."""
        self._part = max(self._part, min(bound, cutoff))
        self._bound = max(self._bound, min(self._part, self._others))

    def give_up(self, why: str = "the gap is what round-off and HiGHS' tolerances leave") -> bool:
        """Leave the present part with the bound that it has, and a note that says ``why``; returns False."""
        if why not in self.notes:
            self.notes += (why,)
        return False

    def arithmetic(self) -> float:
        """The bound (arithmetic) on the round-off of the model, at the present incumbent."""
        H, c = self._block.H, self._block.c
        inverse = DenseCurvature(H).inverse_diagonal()
        size = float(np.maximum(c * c, 2.0 * self.value * inverse).sum())
        return 8 * len(c) * EPS * float(np.linalg.norm(H)) * size


@cache
def prepare() -> None:
    """Load or compile the kernels of ``bnb`` and of the reduction before the master."""
    bnb.prepare()
    problem = PruningProblem(np.arange(1.0, 5.0), np.eye(4) + 0.5, pattern=Cardinality(4, 2, keep=[0], forbid=[1]))
    probe_root(CenteredBlock.of(problem), problem.Z, np.full(4, 0.1), math.inf)


SPEC = MethodSpec(
    name="highs-oa",
    run=run,
    summary="joint problem proven by HiGHS: outer approximation, disaggregated, on a MILP master",
    exact=True,
    objective=Objective.JOINT,
    reference="Duran & Grossmann 1986; Frangioni & Gentile 2006; Vielma, Dunning, Huchette & Lubin 2017",
    patterns=(Pattern,),
    requires=("pyomo", "highspy", "numba"),
    max_n=100,
    left_out_because="proves what bnb proves, and takes longer",
    prepare=prepare,
)
