"""Run one method on one problem; the objective and the status are derived here, for every method."""

from __future__ import annotations

import logging
import time
from functools import cache
from typing import Any

from cbs_opt.errors import SolverError
from cbs_opt.judge import judge
from cbs_opt.problem import PruningProblem
from cbs_opt.registry import MethodSpec, Objective, index_methods, unknown_name
from cbs_opt.result import GAP_TOLERANCE, Outcome, Solution

log = logging.getLogger("cbs_opt")

_EXTRA: dict[str, MethodSpec] = {}


def register(spec: MethodSpec) -> None:
    """Make a method of your own known under its name, for this process."""
    if spec.name in methods():
        raise ValueError(f"method {spec.name}: the name is taken; choose another")
    _EXTRA[spec.name] = spec


def methods() -> dict[str, MethodSpec]:
    """All methods by name, in the order of the documentation."""
    return {**_built_in(), **_EXTRA}


@cache
def _built_in() -> dict[str, MethodSpec]:
    from cbs_opt.solvers import BUILT_IN

    return index_methods(BUILT_IN)


def method(name: str) -> MethodSpec:
    """The method called ``name``; ``pyomo:NAME`` is the joint problem by the solver that Pyomo calls NAME.

    Raises
    ------
    UnknownMethodError
        Listing the names there are.
    """
    if name.startswith("pyomo:"):
        from cbs_opt.solvers.exact.miqp import pyomo_method

        return pyomo_method(name)
    known = methods()
    if name not in known:
        raise unknown_name("method", name, list(known))
    return known[name]


def usual_methods() -> tuple[tuple[MethodSpec, ...], dict[str, str]]:
    """The methods a comparison runs when none is named, and why the others are left out."""
    chosen: list[MethodSpec] = []
    skipped: dict[str, str] = {}
    for name, spec in methods().items():
        reason = spec.unavailable_because()
        if reason:
            skipped[name] = reason
        elif not spec.usual:
            skipped[name] = "made for layers and whole networks; name it to run it"
        elif name.startswith("enumeration"):
            skipped[name] = "an oracle for tests; name it to run it"
        elif spec.exact and spec.objective is Objective.SELECTION:
            skipped[name] = "proves the selection problem only; name it to run it"
        elif spec.exact and name != "bnb":
            skipped[name] = "proves what bnb proves, and takes longer; name it to run it"
        else:
            chosen.append(spec)
    return tuple(chosen), skipped


def solve(problem: PruningProblem, method: str = "bnb", *, seed: int = 0, **options: Any) -> Solution:
    """Choose a mask with one method, re-tune the kept weights, and say what is proven.

    Parameters
    ----------
    problem : PruningProblem
        With its pattern set.
    method : str
        A name from ``methods()``.
    seed : int
        For methods that draw at random; the others are deterministic and have no use for it.
    **options
        The method's own options, see ``cbs-opt methods``.

    Returns
    -------
    Solution
        ``objective`` is f of the updated weights; ``solution_status`` is 'optimal' only where the bound
        proves it.

    Raises
    ------
    MethodError, InputError
        Before anything runs, when the method cannot take the problem.
    """
    spec = _spec(method)
    spec.check(problem)
    if "seed" in spec.options:
        options["seed"] = seed
    spec.check_options(options)
    if spec.prepare is not None:
        spec.prepare()
    started = time.perf_counter()
    outcome = spec.run(problem, **options)
    seconds = time.perf_counter() - started
    return conclude(problem, spec, outcome, seconds, options)


def conclude(
    problem: PruningProblem, spec: MethodSpec, outcome: Outcome, seconds: float, options: dict[str, Any]
) -> Solution:
    """Judge an outcome: check the mask, update the weights, evaluate, derive the status."""
    if not problem.Z.contains(outcome.mask):
        raise SolverError(f"method {spec.name}: returned a mask outside the pattern ({problem.Z}); please report it")
    notes = (*problem.curvature.notes, *outcome.notes)
    for note in notes:
        log.info("%s, %s: %s", problem.name, spec.name, note)
    return judge(
        problem,
        spec.name,
        outcome,
        spec.objective,
        seconds=seconds,
        tolerance=float(options.get("gap", GAP_TOLERANCE)),
        notes=notes,
        options={name: _plain(value) for name, value in options.items()},
    )


def _plain(value: Any) -> Any:
    """What a table or JSON can hold of an option's value; a mask or a callback is only said to have been given."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else "given"


_spec = method
