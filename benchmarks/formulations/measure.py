"""One formulation of one block: its root relaxation, and each solver on it as it is written.

Models are built on normalized units, scaled so that the optimum lies near ``TARGET``: solvers' tolerances are absolute.
What a solver says of its objective is not used: its mask is evaluated in float64, and its bound stands beside the
optimum that ``bnb`` (for the selection ``highs-selection``) has proven.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.exact.measure import processor_time
from cbs_opt import PruningProblem, obs_update, solve
from cbs_opt.errors import CbsOptError, UnavailableMethodError
from cbs_opt.kernel.method import Objective
from cbs_opt.kernel.result import TerminationCondition
from cbs_opt.models import Formulation, ProblemClass, by_name
from cbs_opt.solvers.exact.miqp_pyomo import ask, find_solver

TARGET = 1024.0
GAP = 1e-4
SLACK = 1e-3
"""How far a bound may lie above the optimum before the row says so."""

ROOT_SECONDS = 240.0
"""Seconds for SCIP on a root relaxation."""

FORMULATIONS: Mapping[str, Mapping[str, Any]] = {
    "joint-bigm": {},
    "joint-indicator": {"transformation": "gdp.hull"},
    "joint-sos1": {},
    "joint-perspective": {},
    "joint-rank-one": {},
    "selection-binary": {},
    "selection-linearized": {},
}
"""With the options they are built with."""

SOLVERS = {"scip": "scip_direct", "gurobi": "gurobi_direct", "highs": "highs"}
"""By the names Pyomo has for them."""


@dataclass(frozen=True)
class Posed:
    """A block in the units of its models, and the proven optima of the objectives that are asked for."""

    name: str
    problem: PruningProblem
    optima: Mapping[Objective, float]

    @classmethod
    def of(cls, name: str, problem: PruningProblem, formulations: Iterable[str], time_limit: float) -> Posed:
        """Normalized and scaled; the optima, of what ``formulations`` are about, by this package."""
        unit, _, _ = problem.normalized()
        joint = solve(unit, "bnb", gap=GAP / 10, time_limit=time_limit)
        optima = {Objective.JOINT: joint.objective}
        if any(by_name(formulation).bounds is Objective.SELECTION for formulation in formulations):
            selection = solve(unit, "highs-selection", gap=GAP / 10, time_limit=time_limit)
            optima[Objective.SELECTION] = selection.selection_objective
        scale = 2.0 ** math.floor(math.log2(TARGET / joint.objective))
        return cls(name, unit.times(scale), {which: scale * value for which, value in optima.items()})


def rows_of(posed: Posed, name: str, solvers: list[str], time_limit: float) -> Iterator[dict[str, Any]]:
    """The root relaxation, then one row per solver."""
    spec = by_name(name)
    assert spec.bounds is not None, "one of FORMULATIONS"
    shared = {"instance": posed.name, "n": posed.problem.n, "formulation": name, "class": str(spec.problem_class)}
    yield shared | {"solver": "root", **_root(posed, spec)}
    for solver in solvers:
        yield shared | {"solver": solver, "time_limit": time_limit, **_solved(posed, spec, solver, time_limit)}


def _root(posed: Posed, spec: Formulation) -> dict[str, Any]:
    """The optimum with 0 ≤ z ≤ 1, and without sets, over the optimum: by Gurobi's barrier method, a MILP's by HiGHS.

    Where Gurobi's licence does not allow the model, it is the lower bound that SCIP reaches, and ``by`` says so.
    """
    from pyomo.environ import SOSConstraint, TransformationFactory

    model = spec.build(posed.problem, **FORMULATIONS[spec.name])
    for ordered in model.component_objects(SOSConstraint):
        ordered.deactivate()
    TransformationFactory("core.relax_integer_vars").apply_to(model)
    linear = spec.problem_class is ProblemClass.MILP
    found = _asked(posed, spec, model, "highs" if linear else "gurobi", 60.0, ("bound",))
    if found.get("status") == "not possible":
        found = {"by": "scip", **_asked(posed, spec, model, "scip", ROOT_SECONDS, ("bound",))}
    return found


def _solved(posed: Posed, spec: Formulation, solver: str, time_limit: float) -> dict[str, Any]:
    from pyomo.environ import Var

    model = spec.build(posed.problem, **FORMULATIONS[spec.name])
    # Pyomo's interface to SCIP asks for a start: nothing kept.
    for variable in model.component_data_objects(Var):
        if not variable.is_continuous() and not variable.fixed:
            variable.set_value(0)
    wanted = ("status", "bound", "value", "nodes", "seconds", "cpu")
    return _asked(posed, spec, model, solver, time_limit, wanted)


def _asked(
    posed: Posed, spec: Formulation, model: Any, solver: str, time_limit: float, wanted: tuple[str, ...]
) -> dict[str, Any]:
    """What a solver says of ``model``; of a failure why."""
    assert spec.bounds is not None, "one of FORMULATIONS"
    conic, optimum = spec.problem_class is ProblemClass.MISOCP, posed.optima[spec.bounds]
    started, before = time.perf_counter(), processor_time()
    try:
        answer = ask(_solver(solver, spec), SOLVERS[solver], solver, model, conic, time_limit, GAP, {})
    except UnavailableMethodError as error:
        return {"status": "not possible", "why": str(error)}
    except CbsOptError as error:
        return {"status": "failed", "why": str(error)}
    took = {"seconds": time.perf_counter() - started, "cpu": processor_time() - before}
    ended = answer.termination is TerminationCondition.CONVERGED
    bound = answer.bound / optimum if math.isfinite(answer.bound) else None
    claims = bound is not None and bound > 1.0 + SLACK
    status = "bound too high" if claims else "proven" if ended else "time limit"
    said = {"status": status, "bound": bound, "value": _value(posed, spec, model), "nodes": answer.nodes, **took}
    return {key: said[key] for key in wanted}


def _solver(name: str, spec: Formulation) -> Any:
    """The Pyomo solver; HiGHS where it can take the model."""
    if name != "highs":
        return find_solver(SOLVERS[name], name, spec.problem_class is ProblemClass.MISOCP)
    if spec.problem_class is not ProblemClass.MILP:
        raise UnavailableMethodError("HiGHS takes no quadratic objective together with integers")
    from pyomo.environ import SolverFactory

    return SolverFactory("highs")


def _value(posed: Posed, spec: Formulation, model: Any) -> float | None:
    """The objective of the mask in the model over the optimum; None where there is none."""
    assert spec.bounds is not None, "one of FORMULATIONS"
    try:
        mask = spec.extract(model, posed.problem)
    except CbsOptError:
        return None
    problem = posed.problem
    w = obs_update(problem, mask) if spec.bounds is Objective.JOINT else np.where(mask, problem.w_bar, 0.0)
    return problem.objective(w) / posed.optima[spec.bounds]
