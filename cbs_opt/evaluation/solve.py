"""Run one method on one problem; the objective and the status are derived here, for every method."""

from __future__ import annotations

import logging
import time
from typing import Any

from cbs_opt.evaluation.catalogue import method
from cbs_opt.kernel.judge import judge
from cbs_opt.kernel.method import MethodSpec
from cbs_opt.kernel.problem import PruningProblem, require_problem
from cbs_opt.kernel.result import GAP_TOLERANCE, Outcome, Solution

log = logging.getLogger("cbs_opt")


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
    require_problem(problem)
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
    outcome = spec.checked(outcome, problem)
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
