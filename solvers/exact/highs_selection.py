"""Selection (CBS-S) to proven optimality by HiGHS, on the linearized model.

The MILP is ``cbs_opt.models.selection_linearized``. HiGHS takes a node as closed when its bound is within the
feasibility tolerance of its incumbent, and accepts an LP solution whose multipliers are wrong by up to the dual
tolerance δ. By weak duality a multiplier that is wrong by δ costs δ times the range of its column or row, so that

    bound = HiGHS' bound − [ δ_mip + δ_dual (Σ_columns range + Σ_rows range) ]           (margin)

is valid whatever the search did within its tolerances. (A factor of two on the rows allows for cuts that HiGHS adds.)
HiGHS computes in float64: this is the word of a careful floating-point solver, not an exact-arithmetic proof. Since the
margin is absolute, the problem is first scaled by a power of two that puts the incumbent near ``TARGET``; where HiGHS
finds a much smaller incumbent, the problem is scaled and solved again. Where the margin still exceeds the gap asked for
(an optimum near zero between large terms), the status is 'feasible' with the gap that does hold. Before each solve,
weights that no solution as good as the incumbent prunes are fixed as kept, which also takes the largest coefficients
out of the objective.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from cbs_opt.errors import SolverError
from cbs_opt.kernel.arrays.sums import sum_below
from cbs_opt.kernel.arrays.types import Mask
from cbs_opt.kernel.arrays.validate import as_nonnegative
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.kernel.patterns.forced import forced
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import GAP_TOLERANCE, Outcome, TerminationCondition
from cbs_opt.kernel.sums import scaled_below
from cbs_opt.models.box import incumbent_box
from cbs_opt.models.ranges import pattern_ranges
from cbs_opt.models.selection_binary import selection_costs
from cbs_opt.models.selection_linearized import FORMULATION
from cbs_opt.solvers.bounds.support import support_bounds
from cbs_opt.solvers.exact.deadline import deadline_of
from cbs_opt.solvers.exact.interrupts import interruptible

TARGET = 1024.0
"""The objective of the incumbent is scaled to about this."""

LARGEST_COST = 2.0**30
"""Largest objective coefficient after scaling: beyond it HiGHS' own round-off is what limits the bound."""

TOLERANCE = 1e-9
"""HiGHS' primal, dual and integrality tolerances."""

RESCALE = 8.0
"""The problem is solved once more, scaled for its new incumbent, where that is smaller by this factor."""


@dataclass(frozen=True, eq=False)
class _Answer:
    """What one run of HiGHS says, in the units of its problem; mask None and bound −inf stand for none."""

    mask: Mask | None
    bound: float
    termination: TerminationCondition
    nodes: int


def run(problem: PruningProblem, *, time_limit: float | None = None, gap: float = GAP_TOLERANCE) -> Outcome:
    """Find and prove the best mask with the kept weights as trained.

    Parameters
    ----------
    time_limit : float, optional
        Seconds after which HiGHS stops; left out, it runs until the gap is closed.
    gap : float
        Relative gap at which the search ends.

    Raises
    ------
    InputError
        The time limit is not a positive number.
    SolverError
        HiGHS ended with neither an answer nor a limit; its status is in the message.
    UnsupportedError
        A variable that the pattern adds to the model has no bounds.
    """
    gap = as_nonnegative(gap, "gap")
    deadline = deadline_of(time_limit)
    # A pattern under which no bound would be valid is refused before any work.
    pattern_ranges(problem.Z)
    unit, s, _ = problem.normalized()
    best = unit.Z.argmax(unit.w_bar**2 * unit.curvature.diagonal())
    # Without a first-order term no w lies below f(w̄).
    bound = unit.offset if unit.g is None else -math.inf
    if _value(unit, best) <= bound:
        return Outcome(best, scaled_below(bound, s), notes=("pruning costs nothing: HiGHS was not run",))
    nodes = 0
    while True:
        start = _value(unit, best)
        # No w with f(w) ≤ start, as trained or not, prunes these weights ((must_keep) of the joint big-M model).
        dear = incumbent_box(unit, start).excludes_zero & unit.Z.free
        unit = unit.within(unit.Z.fixed(dear, np.zeros_like(dear)))
        if not unit.Z.free.any():
            (proven,) = support_bounds(unit, np.where(best, unit.w_bar, 0.0)[None], None)
            alone = ("only this mask is as good: HiGHS was not needed",)
            # Excluded masks have more than ``start``, and the one mask that is left has its own value.
            bound = scaled_below(min(start, float(proven)), s)
            return Outcome(best, bound, nodes=nodes, notes=alone)
        scale = _scale(unit, start)
        answer = _solve(unit.times(scale), deadline - time.monotonic(), gap)
        nodes += answer.nodes
        # Excluded masks have more than ``start``.
        bound = max(bound, min(scaled_below(answer.bound, 1.0 / scale), start))
        if answer.mask is not None and _value(unit, answer.mask) < start:
            best = answer.mask
        value = _value(unit, best)
        shown = value - bound <= gap * abs(value)
        stopped = answer.termination is not TerminationCondition.CONVERGED
        if shown or stopped or _scale(unit, value) < RESCALE * scale:
            break
    notes = () if shown or stopped else ("the gap is what HiGHS' tolerances leave: this optimum is near zero",)
    return Outcome(best, scaled_below(bound, s), answer.termination, nodes, notes)


@interruptible()
def _solve(problem: PruningProblem, seconds: float, gap: float) -> _Answer:
    """One HiGHS run on ``problem`` as it is, its bound lowered by the margin."""
    from pyomo.contrib.solver.common.factory import SolverFactory
    from pyomo.contrib.solver.common.results import SolutionStatus

    if seconds <= 0:
        return _Answer(None, -math.inf, TerminationCondition.TIME_LIMIT, 0)
    model = FORMULATION.build(problem)
    results = SolverFactory("highs").solve(
        model,
        threads=1,
        time_limit=seconds if math.isfinite(seconds) else None,
        # The other half of the gap is left for the margin.
        rel_gap=gap / 2,
        abs_gap=0.0,
        load_solutions=False,
        raise_exception_on_nonoptimal_result=False,
        solver_options={
            "output_flag": False,
            "mip_feasibility_tolerance": TOLERANCE,
            "primal_feasibility_tolerance": TOLERANCE,
            "dual_feasibility_tolerance": TOLERANCE,
        },
    )
    ended = TerminationCondition.named(results.termination_condition.name)
    if ended is None:
        raise SolverError(
            f"highs-selection: HiGHS ended with '{results.termination_condition}' on {problem.name or 'the problem'}; "
            "try method 'enumeration-selection' or a heuristic"
        )
    mask = None
    if results.solution_status in (SolutionStatus.optimal, SolutionStatus.feasible):
        results.solution_loader.load_vars()
        mask = FORMULATION.extract(model, problem)
    proven = results.objective_bound
    known = proven is not None and math.isfinite(proven)
    bound = sum_below(float(proven), -_margin(problem)) if known else -math.inf
    return _Answer(mask, bound, ended, _nodes(results))


def _margin(problem: PruningProblem) -> float:
    """(margin) for the linearized model of ``problem``, its pattern included, with the round-off of f; in its units."""
    n = problem.n
    pairs = n * (n - 1) // 2
    columns = n + pairs
    rows = 3 * 2 * pairs + 2 * n * n
    A, a = selection_costs(problem)
    arithmetic = n * np.finfo(np.float64).eps * float(np.abs(A).sum() + np.abs(a).sum() + abs(problem.offset))
    pattern = pattern_ranges(problem.Z)
    return TOLERANCE * (1 + columns + 2 * (rows + pattern)) + arithmetic


def _scale(problem: PruningProblem, value: float) -> float:
    """The power of two that brings ``value`` near ``TARGET``, or a lower one if coefficients would grow too large."""
    A, a = selection_costs(problem)
    keep = forced(problem.Z)
    largest = float(max(np.abs(A[~keep][:, ~keep]).max(initial=0.0), np.abs(a[~keep]).max(initial=0.0)))
    allowed = LARGEST_COST / largest if largest > 0 else 1.0
    wanted = TARGET / abs(value) if value != 0 else allowed
    return float(2.0 ** math.floor(math.log2(min(wanted, allowed))))


def _value(problem: PruningProblem, mask: Mask) -> float:
    """f(mask ∘ w̄)."""
    return problem.objective(np.where(mask, problem.w_bar, 0.0))


def _nodes(results: Any) -> int:
    """How many nodes HiGHS searched; it reports −1 for a model without integers, which is 0 here."""
    return max(0, int(results.extra_info.mip_node_count))


SPEC = MethodSpec(
    name="highs-selection",
    run=run,
    summary="selection (CBS-S) proven optimal by HiGHS on the linearized model",
    exact=True,
    objective=Objective.SELECTION,
    reference="Yu, Serra, Ramalingam & Zhe, ICML 2022 (CBS-S); Sherali & Adams, SIAM J. Discrete Math. 3, 1990",
    patterns=(Pattern,),
    requires=("pyomo", "highspy"),
    max_n=60,
    left_out_because="proves the selection problem only",
)
