"""The comparator: every method on one problem, judged by one evaluation and one best bound.

Per method it shows the loss of the mask with the weights as trained (CBS-S), the loss after the OBS
update (CBS), and the gap of the latter to the best bound that any method proved on the same problem.
No number comes from the method that is judged: objectives are computed in float64 from (H, g, w̄, mask), for all of
them by ``cbs_opt.kernel.judge``, and a bound above any feasible objective raises.

The gap is about the quadratic model of the loss. It says nothing about accuracy by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cbs_opt.errors import BoundViolationError, CbsOptError, InputError, PatternError, TooLargeError
from cbs_opt.evaluation.catalogue import method as find_method
from cbs_opt.evaluation.catalogue import methods as all_methods
from cbs_opt.evaluation.catalogue import usual_methods
from cbs_opt.evaluation.lower_bound import lower_bound
from cbs_opt.evaluation.solve import solve
from cbs_opt.kernel.arrays.sums import sum_below
from cbs_opt.kernel.arrays.types import Mask
from cbs_opt.kernel.arrays.validate import as_mask
from cbs_opt.kernel.display import Card, Displayed, frame_of
from cbs_opt.kernel.environment import environment
from cbs_opt.kernel.judge import judge
from cbs_opt.kernel.method import Objective
from cbs_opt.kernel.problem import PruningProblem, require_problem
from cbs_opt.kernel.result import (
    Outcome,
    Solution,
    SolutionStatus,
    TerminationCondition,
    finite_or_none,
    relative_gap,
)
from cbs_opt.kernel.update_error import update_excess
from cbs_opt.kernel.words import duration, percent, plain_number
from cbs_opt.kernel.words import gap as gap_in_words


@dataclass(frozen=True)
class Row:
    """One method on one problem.

    Parameters
    ----------
    problem, method : str
        Names of the problem and of the method.
    n, pruned : int
        How many weights there are, and how many of them the method's mask prunes.
    selection_objective, objective : float
        f of the method's mask with the weights as trained, and after the OBS update.
    bound : float
        The best bound on the joint problem that any method of the comparison proved; −inf without a bound.
    gap : float
        (objective − bound)/|objective|: the most that a better mask could still gain; inf if that is unknown.
    recovered : float
        (selection_objective − objective)/|selection_objective|: the share of the loss that the update recovers.
    proven : bool
        Whether the method itself proved its answer optimal (a selection method: for the selection problem).
    solution_status, termination_condition : str
        What the answer is, 'optimal' or 'feasible', and why the method stopped.
    seconds : float
        Wall time of the method.
    nodes, seed : int
        The nodes of the method's search, and the seed of what it draws at random.
    notes : tuple of str
        Everything that was altered or cut short, in sentences.
    """

    problem: str
    method: str
    n: int
    pruned: int
    selection_objective: float
    objective: float
    bound: float
    gap: float
    recovered: float
    proven: bool
    solution_status: str
    termination_condition: str
    seconds: float
    nodes: int
    seed: int
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON and CSV; what is unknown is None."""
        values = dict(self.__dict__, notes=list(self.notes))
        return {key: finite_or_none(v) if isinstance(v, float) else v for key, v in values.items()}


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Displayed):
    """Several methods on one problem; ``comparison["bnb"]`` is the row of one of them.

    Parameters
    ----------
    problem, pattern : str
        The problem's name, and the pattern that was asked for, in words.
    bound : float
        The best proven bound on the joint problem; −inf without a bound.
    rows : tuple of Row
        One row for each method, and then one for each mask that was given.
    solutions : mapping of method name to Solution
        The solution of each method that ran.
    skipped : mapping of method name to str
        Why a method was left out.
    environment : mapping of str to str
        The versions of the software that ran.
    """

    problem: str
    pattern: str
    bound: float
    rows: tuple[Row, ...]
    solutions: Mapping[str, Solution]
    skipped: Mapping[str, str]
    environment: Mapping[str, str]

    def __getitem__(self, method: str) -> Row:
        for row in self.rows:
            if row.method == method:
                return row
        raise KeyError(method)

    def to_frame(self) -> Any:
        """The rows as a ``pandas.DataFrame``, one for each method; unknown numbers are NaN.

        Raises
        ------
        UnavailableMethodError
            pandas is not installed.
        """
        return frame_of(row.to_dict() for row in self.rows)

    def _card(self) -> Card:
        name = f"{self.problem}: " if self.problem else ""
        return Card(
            f"{name}{self.pattern}; best proven bound {plain_number(self.bound)}",
            headings=("method", "loss as trained", "loss re-tuned", "recovered", "gap", "answer", "time"),
            rows=[
                (
                    row.method,
                    plain_number(row.selection_objective),
                    plain_number(row.objective),
                    percent(row.recovered),
                    gap_in_words(row.gap),
                    "proven" if row.proven else "feasible",
                    duration(row.seconds),
                )
                for row in self.rows
            ],
            notes=[f"{len(self.skipped)} methods left out; `skipped` says why"] if self.skipped else [],
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "problem": self.problem,
            "pattern": self.pattern,
            "bound": finite_or_none(self.bound),
            "rows": [row.to_dict() for row in self.rows],
            "skipped": dict(self.skipped),
            "environment": dict(self.environment),
        }


def compare(
    problem: PruningProblem,
    methods: Sequence[str] | str | None = None,
    *,
    masks: Mapping[str, Mask] | None = None,
    seed: int = 0,
    on_row: Callable[[str], None] | None = None,
    **options: Any,
) -> Comparison:
    """Run several methods on one problem and judge them all against the best bound.

    Parameters
    ----------
    problem : PruningProblem
        The problem, with its pattern.
    methods : sequence of str, or str, optional
        Names from ``cbs_opt.methods()``, or a single one. Left out, the usual methods that can take the problem; the
        others, and any that fails on it, are listed in ``skipped`` with the reason. A method that is named here raises
        if it cannot take the problem, or fails.
    masks : mapping of name to boolean array (n,) or Solution, optional
        Masks from elsewhere, judged in the same table. They have to lie in the problem's pattern.
    seed : int
        Seed of the methods that draw at random.
    on_row : callable, optional
        Called with the name of each method before it runs, and with 'lower_bound' if no method proves a bound.
    **options
        ``time_limit``, ``gap`` and other options; each is passed to every method that has it, and ``time_limit`` to
        ``lower_bound``, too.

    Raises
    ------
    BoundViolationError
        A bound lies above a feasible objective: a bug in the method that proved it.
    InputError, MethodError
        No method has an option, or a method named here cannot take the problem.
    PatternError
        One of ``masks`` is outside the pattern.
    """
    require_problem(problem)
    chosen, skipped = _choose(problem, [methods] if isinstance(methods, str) else methods)
    known = {option for name in all_methods() for option in find_method(name).options}
    for option in options:
        if option not in known:
            raise InputError(f"{option}: no method has this option; there are {', '.join(sorted(known))}")
    solutions: dict[str, Solution] = {}
    for name in chosen:
        if on_row:
            on_row(name)
        accepted = find_method(name).options
        try:
            solution = solve(problem, name, seed=seed, **{k: v for k, v in options.items() if k in accepted})
        except CbsOptError as error:
            if methods is not None or isinstance(error, BoundViolationError):
                raise
            skipped[name] = f"failed: {error}"
            continue
        if solution.termination_condition is TerminationCondition.INTERRUPTED:
            raise KeyboardInterrupt
        solutions[name] = solution
    joint = [s.bound for s in solutions.values() if s.bound > -math.inf]
    bound = max([trivial_bound(problem), *joint])
    if not joint:
        if on_row:
            on_row("lower_bound")
        bound = max(bound, _without_branching(problem, options.get("time_limit")))
    rows = [row_of(solution, bound, seed) for solution in solutions.values()]
    for name, mask in (masks or {}).items():
        checked = as_mask(mask, f"mask {name}", problem.n)
        if not problem.Z.contains(checked):
            raise PatternError(
                f"mask {name}: keeps {int(checked.sum())} weights and is outside the pattern "
                f"({problem.Z}); compare it at its own sparsity"
            )
        judged = judge(problem, name, Outcome(checked), Objective.JOINT, seconds=math.nan)
        rows.append(replace(row_of(judged, bound, seed), termination_condition="given"))
    return Comparison(
        problem=problem.name,
        pattern=str(problem.Z),
        bound=bound,
        rows=tuple(rows),
        solutions=solutions,
        skipped=skipped,
        environment=environment(),
    )


def _without_branching(problem: PruningProblem, time_limit: float | None) -> float:
    """The bound for a comparison in which no method proves one; −inf if the problem is too large for that."""
    try:
        return lower_bound(problem, time_limit=time_limit).value
    except TooLargeError:
        return -math.inf


def trivial_bound(problem: PruningProblem) -> float:
    """A bound that costs next to nothing: f at the unconstrained minimizer (w̄ if g = 0), round-off subtracted."""
    if problem.g is None:
        return problem.offset
    minimizer = problem.minimizer()
    everything = np.ones(problem.n, dtype=np.bool_)
    left = update_excess(problem, everything, minimizer)
    return sum_below(problem.objective(minimizer), -problem.n * problem.round_off(minimizer), -left)


def _choose(problem: PruningProblem, names: Sequence[str] | None) -> tuple[list[str], dict[str, str]]:
    if names is not None:
        for name in names:
            find_method(name).check(problem)
        return list(dict.fromkeys(names)), {}
    specs, skipped = usual_methods()
    chosen: list[str] = []
    for spec in specs:
        reason = spec.why_not(problem)
        if reason:
            skipped[spec.name] = reason
        else:
            chosen.append(spec.name)
    return chosen, skipped


def row_of(solution: Solution, bound: float, seed: int) -> Row:
    """A solution as a row of a comparison whose best bound is ``bound``."""
    objective, selection = solution.objective, solution.selection_objective
    return Row(
        problem=solution.name,
        method=solution.method,
        n=solution.n,
        pruned=solution.pruned,
        selection_objective=selection,
        objective=objective,
        bound=bound,
        gap=relative_gap(objective, bound, solution.round_off),
        recovered=(selection - objective) / abs(selection) if selection != 0 else 0.0,
        proven=solution.solution_status is SolutionStatus.OPTIMAL,
        solution_status=str(solution.solution_status),
        termination_condition=str(solution.termination_condition),
        seconds=solution.seconds,
        nodes=solution.nodes,
        seed=seed,
        notes=solution.notes,
    )
