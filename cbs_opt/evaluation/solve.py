"""Runs one method on one problem, and derives objective and status, which methods do not report themselves."""

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
        The problem, with its pattern.
    method : str
        A name from ``methods()``.
    seed : int
        Seed of methods that draw at random; the others are deterministic and do not use it.
    **options
        The method's own options; ``cbs-opt methods NAME`` lists them.

    Returns
    -------
    Solution
        Its ``objective`` is f of the updated weights; its ``solution_status`` is 'optimal' only if the bound proves it.

    Raises
    ------
    MethodError, InputError
        Before anything runs: the method is unknown, cannot take the problem, or does not have an option.
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
    """Judge a method's outcome: check the mask, update the weights, evaluate them and derive the status."""
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
    """The value of an option as a table or JSON can hold it; for a mask or a callback it is the word 'given'."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else "given"


_spec = method
