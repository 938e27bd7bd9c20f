"""What every method says of one case, against the optimum by trying every mask: a word each, and what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.exact.patterns.draw import Case
from cbs_opt import PruningProblem, Solution, lower_bound, methods, solve
from cbs_opt.errors import InputError, MethodError, SolverError
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.testing.instances import best_by_enumeration, best_selection_by_enumeration

ALWAYS = ("bnb", "bnb-selection", "enumeration", "enumeration-selection")
"""Exact methods that are asked every case."""
IN_TURN = ("highs-oa", "scip", "gurobi", "highs-selection")
"""Exact methods of which each case asks the next one: they build a model and run a solver."""
TIME_LIMIT = 1.5
"""Seconds for each of those."""
GAP = 1e-6

ROUND_OFF = 1e-12
"""Relative to the optimum, beside what the evaluations of the two masks may be wrong by."""


@dataclass(frozen=True)
class Optimum:
    """The smallest value, and what its evaluation may be wrong by."""

    value: float
    error: float

    def exceeded_by(self, bound: float) -> bool:
        """Whether ``bound`` is above it, or is no number."""
        return not bound <= self.value + self.error + ROUND_OFF * abs(self.value)

    def reached_by(self, value: float, error: float, gap: float = GAP) -> bool:
        """Whether ``value``, known to ``error``, is it to within a relative ``gap``, and twice the error of its own."""
        return value <= self.value + 2 * gap * abs(self.value) + self.error + error

    def undercut_by(self, value: float, error: float) -> bool:
        """Whether ``value``, known to ``error``, is below it: then a mask was not tried."""
        return value < self.value - self.error - error - ROUND_OFF * abs(self.value)


Verdict = tuple[str, list[str]]
"""A word, and what is wrong."""


def turn_of(seed: int) -> str:
    """Whose turn it is: all of them at each kind of pattern with each kind of curvature within 1,800 cases."""
    return IN_TURN[(seed + seed // 16 + seed // 112 + seed // 448) % len(IN_TURN)]


def asked_of(seed: int) -> list[str]:
    """The methods a case is put to, those that are not here left out."""
    known = methods()
    heuristics = [name for name, spec in known.items() if not spec.exact]
    names = (*ALWAYS, turn_of(seed), *heuristics)
    return [name for name in names if known[name].unavailable_because() is None]


def judged(case: Case, names: Sequence[str] | None = None) -> tuple[dict[str, str], list[str], Optimum]:
    """Of every method that takes the problem a word, what is wrong, and the optimum of the joint problem.

    The words: 'refused' (an error of one sentence), of exact methods 'proven' and 'unproven', of the bound 'tight' and
    'below', of heuristics 'optimal' and 'above', and 'wrong'.
    """
    optima = {
        Objective.JOINT: Optimum(*best_by_enumeration(case.problem)),
        Objective.SELECTION: Optimum(*best_selection_by_enumeration(case.problem)),
    }
    words: dict[str, str] = {}
    wrong: list[str] = []
    for name in asked_of(case.seed) if names is None else names:
        spec = methods()[name]
        if spec.why_not(case.problem) is not None:
            continue
        words[name], said = _method(spec, case.problem, optima)
        wrong += [f"{name}: {what}" for what in said]
    words["lower_bound"], said = answered(lambda: _bound(case.problem, optima[Objective.JOINT]))
    wrong += [f"lower_bound: {what}" for what in said]
    return words, wrong, optima[Objective.JOINT]


def _method(spec: MethodSpec, problem: PruningProblem, optima: dict[Objective, Optimum]) -> Verdict:
    options: dict[str, Any] = {"time_limit": TIME_LIMIT} if spec.name in IN_TURN else {}
    return answered(lambda: verdict(spec, problem, solve(problem, spec.name, **options), optima))


def answered(ask: Callable[[], Verdict]) -> Verdict:
    """The verdict; an error of one sentence is a refusal, unless it is about a mistake of the package's own."""
    try:
        return ask()
    except (InputError, MethodError, SolverError) as error:
        mistake = any(words in str(error) for words in ("please report", "its run function returned"))
        return ("wrong", [str(error)]) if mistake else ("refused", [])
    except Exception as error:
        return "wrong", [f"{type(error).__name__}: {error}"]


def verdict(spec: MethodSpec, problem: PruningProblem, found: Solution, optima: dict[Objective, Optimum]) -> Verdict:
    """What there is to say of a solution: its mask, its bounds, and both its values whatever it was after."""
    best = optima[spec.objective]
    joint, selection = optima[Objective.JOINT], optima[Objective.SELECTION]
    after_joint = spec.objective is Objective.JOINT
    value, error = (
        (found.objective, found.round_off) if after_joint else (found.selection_objective, found.selection_round_off)
    )
    reached = best.reached_by(value, error)
    proven = found.solution_status == "optimal"
    wrong = []
    if not problem.Z.contains(found.mask):
        wrong.append("its mask is not in the pattern")
    if joint.exceeded_by(found.bound):
        wrong.append(f"bound {found.bound!r} above the optimum {joint.value!r}")
    if selection.exceeded_by(found.selection_bound):
        wrong.append(f"bound {found.selection_bound!r} above the selection's optimum {selection.value!r}")
    if joint.undercut_by(found.objective, found.round_off):
        wrong.append(f"objective {found.objective!r} below the optimum {joint.value!r}")
    if selection.undercut_by(found.selection_objective, found.selection_round_off):
        wrong.append(f"objective {found.selection_objective!r} below the selection's optimum {selection.value!r}")
    if proven and not reached:
        wrong.append(f"'optimal' at {value!r}, but the optimum is {best.value!r}")
    if wrong:
        return "wrong", wrong
    if spec.exact:
        return ("proven" if proven else "unproven"), []
    return ("optimal" if reached else "above"), []


def _bound(problem: PruningProblem, best: Optimum) -> Verdict:
    value = lower_bound(problem).value
    if best.exceeded_by(value):
        return "wrong", [f"{value!r} above the optimum {best.value!r}"]
    return ("tight" if best.value - value <= GAP * abs(best.value) + best.error else "below"), []
