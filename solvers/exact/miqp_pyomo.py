"""Runs a solver through Pyomo: finds it by name, refuses what it cannot do, runs it, and reads its status and bound.

Pyomo has two generations of solver interfaces, and a name may lead to either. This module alone deals with both.
A solver that would silently ignore what it cannot express (integrality, a quadratic objective) is refused beforehand,
since it would answer another question than the one that was asked.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cbs_opt.errors import CbsOptError, SolverError, UnavailableMethodError, UnsupportedError, unknown_name
from cbs_opt.kernel.result import TerminationCondition
from cbs_opt.solvers.exact.interrupts import interruptible

if TYPE_CHECKING:
    from pyomo.environ import ConcreteModel

UNFIT: dict[str, str] = {
    "highs": "HiGHS takes no quadratic objective together with integers; use method highs-oa",
    "ipopt": "Ipopt does not know integers",
    "conopt": "CONOPT does not know integers",
    "glpk": "GLPK takes linear models only",
    "cbc": "CBC takes linear models only",
    "cuopt": "cuOpt takes no quadratic objective together with integers",
    "mindtpy": "MindtPy drives other solvers; call it yourself on by_name('joint-bigm').build(problem)",
    "gdpopt": "GDPopt drives other solvers; call it yourself on by_name('joint-indicator').build(problem)",
    "multistart": "it proves nothing",
}
"""Parts of Pyomo's solver names, and why these solvers cannot take the joint models."""

# The heuristics of SCIP that call an NLP solver.
NLP_HEURISTICS = ("mpec", "subnlp", "undercover", "nlpdiving", "multistart", "rens", "alns", "randrounding")

GUROBI_SIZE_LIMIT = 200
"""Most variables of a quadratic model under Gurobi's restricted licence."""


@dataclass(frozen=True)
class Profile:
    """What is known about a solver: the names of its options, and how exact it is.

    Parameters
    ----------
    gap, threads, time_limit : str or None
        The solver's names for the relative gap, the number of threads and the seconds; None where they are not known
        here. The newer Pyomo interfaces take all three without such a name.
    options : mapping
        Options that this package sets, and that the user may change.
    tolerances : mapping
        Options that this package sets on models without cones, and that the user may not change. (On cones, tighter
        tolerances made Gurobi slower and less exact.)
    dual_tolerance, conic_dual_tolerance : float
        By how much a multiplier may then be wrong, on models without cones and with cones.
    conic_accuracy : float
        Relative accuracy of the objective of a leaf on models with cones.
    separable : bool
        Whether the solver works by linear cuts, so that every square is given to it separately.
    """

    gap: str | None = None
    threads: str | None = None
    time_limit: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    tolerances: Mapping[str, float] = field(default_factory=dict)
    dual_tolerance: float = 1e-6
    conic_dual_tolerance: float = 1e-6
    conic_accuracy: float = 1e-5
    separable: bool = False

    @property
    def reserved(self) -> set[str]:
        """The options that the user may not set, in lower case."""
        return {str(name).lower() for name in (self.gap, self.threads, self.time_limit, *self.tolerances) if name}


PROFILES: dict[str, Profile] = {
    "gurobi": Profile(
        "MIPGap",
        "Threads",
        "TimeLimit",
        {"OutputFlag": 0},
        {"FeasibilityTol": 1e-9, "IntFeasTol": 1e-9, "OptimalityTol": 1e-9, "PSDTol": 0.0},
        dual_tolerance=1e-9,
    ),
    "scip": Profile(
        "limits/gap",
        "lp/threads",
        "limits/time",
        # Silent, because a long log fills a pipe that nobody empties while SCIP holds the interpreter. Without
        # the heuristics that call an NLP solver: an incumbent is there, and they took most of the time.
        {"display/verblevel": 0, **{f"heuristics/{name}/freq": -1 for name in NLP_HEURISTICS}},
        dual_tolerance=1e-7,
        conic_dual_tolerance=1e-7,
        conic_accuracy=1e-7,
        separable=True,
    ),
    "cplex": Profile(
        "mip_tolerances_mipgap",
        "threads",
        "timelimit",
        tolerances={
            "mip_tolerances_integrality": 1e-9,
            "simplex_tolerances_feasibility": 1e-9,
            "simplex_tolerances_optimality": 1e-9,
        },
        dual_tolerance=1e-9,
    ),
    "xpress": Profile("miprelstop", "threads", "maxtime"),
    "knitro": Profile("mip_opt_gap_rel", "numthreads", "maxtime_real"),
    "baron": Profile("EpsR", "threads", "MaxTime"),
}
"""Profiles by a part of Pyomo's name for the solver."""


def profile(name: str) -> Profile:
    """The profile of the solver that Pyomo calls ``name``; a cautious one where nothing is known about it."""
    return next((known for part, known in PROFILES.items() if part in name), Profile())


@dataclass(frozen=True)
class Answer:
    """What a run of a solver says; where it found a solution, the values of that are in the model.

    Parameters
    ----------
    termination : TerminationCondition
        Why the run ended.
    bound : float
        The bound as the solver states it; −inf for none.
    objective : float
        The objective that the solver reports for its solution; nan where there is none.
    nodes : int
        Nodes of its tree, 0 where it does not say.
    """

    termination: TerminationCondition
    bound: float
    objective: float
    nodes: int


def find_solver(name: str, method: str, conic: bool) -> Any:
    """The Pyomo solver ``name``, if it is available and can take the model.

    Raises
    ------
    UnknownMethodError
        Pyomo knows no solver of that name.
    UnsupportedError
        The solver cannot take integers with a quadratic objective or, for a ``conic`` model, quadratic constraints.
    UnavailableMethodError
        The solver is not installed here, or has no licence.
    """
    from pyomo.environ import SolverFactory

    known = sorted(solver for solver in SolverFactory if not solver.startswith("_"))
    if name not in known:
        raise unknown_name("Pyomo solver", name, known)
    for part, reason in UNFIT.items():
        if part in name:
            raise UnsupportedError(f"method {method}: {reason}")
    with _quiet():
        try:
            solver = SolverFactory(name)
            here = bool(solver.available(exception_flag=False))
        except Exception as error:  # an interface whose executable is missing may raise anything
            raise UnavailableMethodError(f"method {method}: cannot be used here ({_line(error)})") from None
    if not here:
        raise UnavailableMethodError(f"method {method}: not installed here, or it has no licence; use method bnb")
    can = getattr(solver, "has_capability", None)
    needs = ("integer", "quadratic_objective", *(("quadratic_constraint",) if conic else ()))
    if can is not None and not all(can(what) for what in needs):
        raise UnsupportedError(f"method {method}: the solver takes no mixed-integer quadratic models; use method bnb")
    return solver


def ask(
    solver: Any,
    name: str,
    method: str,
    model: ConcreteModel,
    conic: bool,
    seconds: float,
    gap: float,
    options: Mapping[str, Any],
) -> Answer:
    """Run a solver on one thread from the values in ``model``, and leave its solution there.

    Parameters
    ----------
    solver : Pyomo solver
        As ``find_solver`` returns it.
    name, method : str
        Pyomo's name for the solver, and the name of the method for messages.
    model : ConcreteModel
        The model, with the warm start as the values of its variables.
    conic : bool
        Whether the model has cones.
    seconds : float
        Seconds after which the solver stops; inf for no limit.
    gap : float
        Relative gap at which the solver stops.
    options : mapping
        The user's options, by the solver's own names.

    Raises
    ------
    UnsupportedError
        An option is one that the method itself sets.
    UnavailableMethodError
        The licence does not allow the model.
    SolverError
        The solver ended without an answer.
    """
    from pyomo.contrib.solver.common.base import LegacySolverWrapper

    known = profile(name)
    for option in options:
        if option.lower() in known.reserved:
            raise UnsupportedError(
                f"method {method}: solver_options may not hold {option}, which the method sets itself "
                "(gap and time_limit are options of the method; the bound counts on the tolerances)"
            )
    ours = {**known.options, **({} if conic else known.tolerances)}
    run = _run_new if isinstance(solver, LegacySolverWrapper) else _run_classic
    with _quiet():
        try:
            return run(solver, known, method, model, seconds, gap, {**ours, **options})
        except CbsOptError:
            raise
        except Exception as error:
            raise _explained(error, method, model) from None


@interruptible()
def _run_new(
    solver: Any,
    known: Profile,
    method: str,
    model: ConcreteModel,
    seconds: float,
    gap: float,
    options: dict[str, Any],
) -> Answer:
    """Run a solver through its newer interface, in ``pyomo.contrib.solver``."""
    from pyomo.contrib.solver.common.base import LegacySolverWrapper

    words: dict[str, Any] = {
        "threads": 1,
        "time_limit": seconds if math.isfinite(seconds) else None,
        "rel_gap": gap,
        "abs_gap": 0.0,
        "warmstart_discrete_vars": _can_start(model),
    }
    accepted = {word: value for word, value in words.items() if word in solver.config}
    results = super(LegacySolverWrapper, solver).solve(
        model,
        load_solutions=False,
        raise_exception_on_nonoptimal_result=False,
        solver_options=options,
        **accepted,
    )
    ended = TerminationCondition.named(results.termination_condition.name)
    if ended is None:
        raise _no_answer(method, results.termination_condition.name)
    objective = math.nan
    if results.incumbent_objective is not None:
        results.solution_loader.load_vars()
        objective = float(results.incumbent_objective)
    said = results.extra_info.value()
    nodes = int(said.get("NodeCount", said.get("NNodes", 0)))
    return Answer(ended, _finite(results.objective_bound), objective, nodes)


def _can_start(model: ConcreteModel) -> bool:
    """Whether all discrete variables have values. Those that a pattern adds have none; SCIP takes all or nothing."""
    variables = model.component_data_objects(_variables(), active=True)
    return all(x.fixed or x.is_continuous() or x.value is not None for x in variables)


@interruptible()
def _run_classic(
    solver: Any,
    known: Profile,
    method: str,
    model: ConcreteModel,
    seconds: float,
    gap: float,
    options: dict[str, Any],
) -> Answer:
    """Run a solver through a classic Pyomo interface."""
    from pyomo.opt import TerminationCondition as Status
    from pyomo.solvers.plugins.solvers.persistent_solver import PersistentSolver

    if isinstance(solver, PersistentSolver):
        solver.set_instance(model)
    for name, value in ((known.gap, gap), (known.threads, 1)):
        if name is not None:
            options.setdefault(name, value)
    if math.isfinite(seconds):
        options["timelimit" if known.time_limit is None else known.time_limit] = seconds
    able = getattr(solver, "warm_start_capable", None)
    warm = {"warmstart": True} if able is not None and able() else {}
    results = solver.solve(model, load_solutions=False, options=options, **warm)
    ended = {
        Status.optimal: TerminationCondition.CONVERGED,
        Status.globallyOptimal: TerminationCondition.CONVERGED,
        Status.maxTimeLimit: TerminationCondition.TIME_LIMIT,
        Status.maxIterations: TerminationCondition.ITERATION_LIMIT,
        Status.maxEvaluations: TerminationCondition.ITERATION_LIMIT,
        Status.userInterrupt: TerminationCondition.INTERRUPTED,
    }
    status = results.solver.termination_condition
    if status not in ended:
        raise _no_answer(method, str(status))
    objective = math.nan
    if len(results.solution):
        model.solutions.load_from(results)
        objective = _finite(results.problem.upper_bound)
    # No classic interface reports nodes, but that of Gurobi keeps Gurobi's model, which does.
    nodes = int(getattr(getattr(solver, "_solver_model", None), "NodeCount", 0))
    return Answer(ended[status], _finite(results.problem.lower_bound), objective, nodes)


def _no_answer(method: str, status: str) -> SolverError:
    """The error for a solver that ended with a status that is no answer."""
    return SolverError(f"method {method}: the solver ended with '{status}', which is no answer; use method bnb")


def _explained(error: Exception, method: str, model: ConcreteModel) -> Exception:
    """The error that stands for a solver's own exception; those about licences are told apart."""
    text = _line(error)
    if "size-limited" in text:
        variables = sum(1 for _ in model.component_data_objects(ctype=_variables()))
        if not hasattr(model, "I"):
            return UnavailableMethodError(
                f"method {method}: the licence does not allow the {variables} variables of {model.name}; use method "
                "bnb, or a full licence"
            )
        n = len(model.I)
        most = min(GUROBI_SIZE_LIMIT * n // variables, n - 1)
        return UnavailableMethodError(
            f"method {method}: the licence allows n ≤ {most} with {model.name}, but this block has n = {n}; "
            "use method bnb, or a full licence"
        )
    if "licen" in text.lower():
        return UnavailableMethodError(f"method {method}: the licence does not allow it ({text}); use method bnb")
    return SolverError(f"method {method}: the solver failed ({text}); use method bnb")


def _variables() -> Any:
    """Pyomo's class of variables."""
    from pyomo.environ import Var

    return Var


def _line(error: Exception) -> str:
    """The first line of a message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _finite(value: Any) -> float:
    """A number as the solver states it; −inf where it states none, or one that is not finite."""
    number = -math.inf if value is None else float(value)
    return number if math.isfinite(number) else -math.inf


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back Pyomo's own log lines; what matters in them is in the errors of this module."""
    log = logging.getLogger("pyomo")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
