"""The joint problem by a general MIQP solver through Pyomo: SCIP, Gurobi, or any other that Pyomo knows by name.

The model is one of ``cbs_opt.models`` in normalized units, with the constraints of the pattern. Its box is that of an
incumbent found by greedy OBS and exchanges, which is also the warm start. Since the tolerances of solvers are absolute,
the objective is scaled by a power of two σ such that the incumbent's lies near ``TARGET``.

The solver's bound β is lowered before it is reported. Tolerances on constraints and on integrality (z_i = 1e-9 lets w_i
slip to 1e-9·M) only relax the model: they cost quality of the answer, not validity of the bound, and the mask is
rounded and evaluated again. Three things can push β above the optimum: a relaxation whose multipliers are wrong by up
to the dual tolerance δ, which by weak duality costs at most δ times the range of each column and row; leaves whose
objective is off by the relative accuracy ρ of the method that solves them; and the round-off of f itself. So

    bound = β − [ δ (1 + 2 Σ_columns range + 2 Σ_rows range) + ρ|β|                                       (margin)
                  + 2ε (|c| + |b|ᵀ|w| + ½|w|ᵀ|H||w|) + 4 max(v − f(z), 0) ]

with w the incumbent's weights, ε the machine epsilon, v the objective that the solver reports for its own solution of
mask z, and f(z) the recomputed value: their difference shows how well the solver evaluates leaves of this block. δ and
ρ are those of the solver's ``Profile``, with ρ = 1e-8 for models without cones. (Gurobi, with its own tolerances and in
plain units, 'proved' values 4e-4 above the optima of real blocks on the conic model; there v − f(z) was as large.) This
is the word of a careful floating-point solver, not an exact-arithmetic proof. A bound that is above the value of a mask
in spite of the margin is thrown away, with a note.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cbs_opt.errors import SolverError, UnsupportedError
from cbs_opt.kernel.arrays.sums import sum_below
from cbs_opt.kernel.arrays.types import EPS, Mask
from cbs_opt.kernel.arrays.validate import as_nonnegative
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.kernel.patterns.forced import forced
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import GAP_TOLERANCE, Outcome, TerminationCondition
from cbs_opt.kernel.sums import scaled_below
from cbs_opt.kernel.update import obs_update
from cbs_opt.models import by_name
from cbs_opt.models.algebra import expanded
from cbs_opt.models.box import incumbent_box
from cbs_opt.models.formulation import ProblemClass
from cbs_opt.models.ranges import pattern_ranges
from cbs_opt.solvers.bounds.splittings import best_diagonal
from cbs_opt.solvers.bounds.support import support_bounds
from cbs_opt.solvers.exact.deadline import deadline_of
from cbs_opt.solvers.exact.decided import settled
from cbs_opt.solvers.exact.miqp_own import own_extract, own_model, own_notes, require_joint
from cbs_opt.solvers.exact.miqp_pyomo import Answer, Profile, ask, find_solver, profile
from cbs_opt.solvers.exact.miqp_squares import separate_squares
from cbs_opt.solvers.heuristic import swap
from cbs_opt.solvers.heuristic.greedy_obs import prune_in_sequence

TARGET = 1024.0
"""The objective of the incumbent is scaled to about this."""

LARGEST_COEFFICIENT = 2.0**20
"""No entry of H grows larger than this by scaling."""

LEAF_ACCURACY = 1e-8
"""ρ for models without cones."""

FORMULATIONS = ("joint-bigm", "joint-perspective")
"""The formulations of this package that these methods take."""


def run_scip(
    problem: PruningProblem,
    *,
    time_limit: float | None = None,
    gap: float = GAP_TOLERANCE,
    formulation: str = "joint-perspective",
    solver_options: Mapping[str, Any] | None = None,
) -> Outcome:
    """Solve the joint problem by SCIP, on one thread.

    Parameters
    ----------
    time_limit : float, optional
        Seconds for building the model and solving it; left out, there is no limit.
    gap : float
        Relative gap at which the search ends.
    formulation : str
        'joint-bigm', 'joint-perspective', or one of your own that bounds the joint problem (``register_formulation``).
    solver_options : mapping, optional
        Options of the solver by its own names, except for tolerances, gap, time limit and threads, which are set here.
    """
    return solve_by("scip_direct", "scip", problem, time_limit, gap, formulation, solver_options)


def run_gurobi(
    problem: PruningProblem,
    *,
    time_limit: float | None = None,
    gap: float = GAP_TOLERANCE,
    formulation: str = "joint-bigm",
    solver_options: Mapping[str, Any] | None = None,
) -> Outcome:
    """Solve the joint problem by Gurobi, on one thread.

    Parameters
    ----------
    time_limit : float, optional
        Seconds for building the model and solving it; left out, there is no limit.
    gap : float
        Relative gap at which the search ends.
    formulation : str
        'joint-bigm', 'joint-perspective', or one of your own that bounds the joint problem (``register_formulation``).
    solver_options : mapping, optional
        Options of the solver by its own names, except for tolerances, gap, time limit and threads, which are set here.
    """
    return solve_by("gurobi_direct", "gurobi", problem, time_limit, gap, formulation, solver_options)


def solve_by(
    solver_name: str,
    method: str,
    problem: PruningProblem,
    time_limit: float | None,
    gap: float,
    formulation: str,
    solver_options: Mapping[str, Any] | None,
) -> Outcome:
    """Solve the joint problem by the solver that Pyomo calls ``solver_name``.

    Parameters
    ----------
    method : str
        The name of the method, for messages.
    time_limit : float or None
        Seconds for building the model and solving it; None for no limit.
    gap : float
        Relative gap at which the search ends.
    formulation : str
        'joint-bigm', 'joint-perspective', or one of your own that bounds the joint problem (``register_formulation``).
    solver_options : mapping or None
        Options of the solver by its own names, except for tolerances, gap, time limit and threads, which are set here.

    Raises
    ------
    InputError
        The time limit is not a positive number.
    MethodError
        The solver is missing, its licence is too small, or it does not take such models.
    SolverError
        The solver ended without an answer.
    """
    gap = as_nonnegative(gap, "gap")
    deadline = deadline_of(time_limit)
    require_joint(formulation, FORMULATIONS, method)
    spec, known = by_name(formulation), profile(solver_name)
    conic, theirs = spec.problem_class is ProblemClass.MISOCP, formulation not in FORMULATIONS
    solver = find_solver(solver_name, method, conic)
    unit, s, _ = problem.normalized()
    # A pattern under which no bound would be valid is refused before any work.
    ranges = pattern_ranges(unit.Z)
    H, minimizer = unit.curvature.dense(), unit.minimizer()
    exchanged = swap.improve([(1, H)], minimizer, prune_in_sequence([(1, H)], minimizer, unit.Z), unit.Z)
    best = unit.Z.argmax(exchanged.astype(np.float64))
    U = _value(unit, best)
    # Without a first-order term no w lies below f(w̄).
    trivial = unit.offset if unit.g is None else -math.inf
    if trivial >= U:
        return Outcome(best, scaled_below(trivial, s), notes=("pruning costs nothing: the solver was not run",))
    left = settled(unit.Z)
    if not left.free.any():
        best = forced(left)
        (proven,) = support_bounds(unit, obs_update(unit, best)[None], best[None])
        bound = scaled_below(max(float(proven), trivial), s)
        return Outcome(best, bound, notes=("there is one largest mask: the solver was not run",))
    scale = _scale(unit, U)
    scaled = unit.times(scale)
    incumbent = scale * (U + unit.round_off(obs_update(unit, best)))
    D = best_diagonal(scaled) if conic and not theirs else None
    if D is not None and not (D > 0).all():
        raise UnsupportedError(
            f"method {method}: {formulation} cannot split a curvature whose smallest eigenvalue is round-off; "
            "use formulation='joint-bigm', or add damping"
        )
    notes: tuple[str, ...] = ()
    if theirs:
        model, reach = own_model(spec, scaled, incumbent)
        notes = own_notes(spec, reach)
    else:
        model = spec.build(scaled, incumbent=incumbent, **({} if D is None else {"D": D}))
        reach = _reach(scaled, incumbent) + ranges
    _start_at(model, scaled, best)
    if known.separable and not theirs:
        separate_squares(model, scaled, D)
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        return Outcome(best, scaled_below(trivial, s), TerminationCondition.TIME_LIMIT)
    # The other half of the gap is left for the margin.
    answer = ask(solver, solver_name, method, model, conic, seconds, gap / 2, solver_options or {})
    extract = own_extract(spec) if theirs else spec.extract
    own = _mask_of(extract, model, scaled) if math.isfinite(answer.objective) else None
    if own is not None and _value(unit, own) < U:
        best, U = own, _value(unit, own)
    # The squares of a user's own model are not separated, so that a solver by cuts is no more exact there than on
    # cones.
    lowered = _lowered(known, conic or (theirs and known.separable), answer, scaled, own, best, reach)
    bound = scaled_below(lowered, 1.0 / scale)
    if 0 < GAP_TOLERANCE * abs(answer.bound) < answer.bound - lowered < math.inf:
        part = f"{1 - lowered / answer.bound:.1e}"
        notes = (*notes, f"the bound is lowered by a relative {part} for the solver's tolerances")
    if bound > U:
        bound, notes = -math.inf, (*notes, f"{method} states a bound above the value of a mask; it was thrown away")
    return Outcome(best, scaled_below(max(bound, trivial), s), answer.termination, answer.nodes, notes)


def _lowered(
    known: Profile,
    conic: bool,
    answer: Answer,
    problem: PruningProblem,
    own: Mask | None,
    best: Mask,
    reach: float,
) -> float:
    """The solver's bound less (margin), in the units of the model; ``reach`` is the sum of the model's ranges."""
    if answer.bound == -math.inf or reach == math.inf:
        return -math.inf
    accuracy = known.conic_accuracy if conic else LEAF_ACCURACY
    H, b, c = expanded(problem)
    w = np.abs(obs_update(problem, best))
    arithmetic = 2 * EPS * (abs(c) + float(np.abs(b) @ w) + 0.5 * float(w @ np.abs(H) @ w))
    excess = 0.0 if own is None else max(answer.objective - _value(problem, own), 0.0)
    dual = known.conic_dual_tolerance if conic else known.dual_tolerance
    tolerances = dual * (1 + 2 * reach) + accuracy * abs(answer.bound)
    return sum_below(answer.bound, -tolerances, -arithmetic, -4 * excess)


def _reach(problem: PruningProblem, incumbent: float) -> float:
    """The sum of the ranges of all columns and rows of the package's own models, without those of the pattern."""
    low, high = incumbent_box(problem, incumbent).with_zero
    width = high - low
    # Columns w, z and, in the conic model, t; rows upper, lower and must_keep.
    columns = float(np.sum(width + 1 + np.maximum(low**2, high**2)))
    return columns + float(np.sum(2 * width + np.abs(low) + np.abs(high) + 1)) + problem.n


def _mask_of(extract: Callable[..., Mask], model: Any, problem: PruningProblem) -> Mask | None:
    """The mask that a solver left in the model; None where tolerances spoiled it, so that the incumbent stays."""
    try:
        return extract(model, problem)
    except SolverError:
        return None


def _start_at(model: Any, problem: PruningProblem, mask: Mask) -> None:
    """Set the warm start in the model: z and w of ``mask``, and the squares t, as far as the model has them."""
    if not all(hasattr(model, name) for name in ("I", "z", "w")):
        return
    w = obs_update(problem, mask)
    for i in model.I:
        if not model.z[i].fixed:
            model.z[i].set_value(int(mask[i]))
        model.w[i].set_value(float(w[i]), skip_validation=True)
        if hasattr(model, "t"):
            model.t[i].set_value(float(w[i] ** 2))


def _value(problem: PruningProblem, mask: Mask) -> float:
    """f at the updated weights on ``mask``."""
    return problem.objective(obs_update(problem, mask))


def _scale(problem: PruningProblem, value: float) -> float:
    """σ, the power of two that brings ``value`` near ``TARGET``, or a lower one where H would grow too large."""
    allowed = LARGEST_COEFFICIENT / float(problem.curvature.diagonal().max())
    wanted = TARGET / abs(value) if value != 0 else allowed
    return float(2.0 ** math.floor(math.log2(min(wanted, allowed))))


def prepare() -> None:
    """Load Pyomo, which takes a second or two the first time."""
    import pyomo.environ  # noqa: F401


def pyomo_method(name: str) -> MethodSpec:
    """The method ``pyomo:NAME`` for a solver that Pyomo calls NAME; whether the solver can do it shows when it runs."""
    solver_name = name.removeprefix("pyomo:")

    def run(
        problem: PruningProblem,
        *,
        time_limit: float | None = None,
        gap: float = GAP_TOLERANCE,
        formulation: str = "joint-bigm",
        solver_options: Mapping[str, Any] | None = None,
    ) -> Outcome:
        return solve_by(solver_name, name, problem, time_limit, gap, formulation, solver_options)

    run.__doc__ = run_gurobi.__doc__
    return MethodSpec(
        name=name,
        run=run,
        summary=f"joint problem by the Pyomo solver {solver_name}",
        exact=True,
        objective=Objective.JOINT,
        reference="Bynum et al., Pyomo: Optimization Modeling in Python, 2021",
        patterns=(Pattern,),
        requires=("pyomo",),
        left_out_because="proves what bnb proves, and takes longer",
        prepare=prepare,
    )


SCIP = MethodSpec(
    name="scip",
    run=run_scip,
    summary="joint problem by SCIP through Pyomo",
    exact=True,
    objective=Objective.JOINT,
    reference="Bolusani et al., The SCIP Optimization Suite 9.0, 2024",
    patterns=(Pattern,),
    requires=("pyomo", "pyscipopt"),
    left_out_because="proves what bnb proves, and takes longer",
    prepare=prepare,
)

GUROBI = MethodSpec(
    name="gurobi",
    run=run_gurobi,
    summary="joint problem by Gurobi through Pyomo (needs a licence; the one that comes with it ends at n = 100)",
    exact=True,
    objective=Objective.JOINT,
    reference="Gurobi Optimizer Reference Manual",
    patterns=(Pattern,),
    requires=("pyomo", "gurobipy"),
    left_out_because="proves what bnb proves, and takes longer",
    prepare=prepare,
)
