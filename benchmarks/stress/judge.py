"""What is wrong with the answers to one problem: everything is held against rational arithmetic.

Of at most ten weights the optimum is known: every mask is tried. Of more, the best mask that anybody found stands for
it. Its exact loss is that of a feasible point, so that a bound above it is wrong by any amount.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from benchmarks.exact.patterns.draw import MOST, Case
from benchmarks.exact.patterns.judge import ALWAYS, IN_TURN, Optimum, Verdict, answered, turn_of, verdict
from benchmarks.exact_optimum import ExactProblem
from cbs_opt import PruningProblem, Solution, lower_bound, methods, solve
from cbs_opt.errors import CbsOptError
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.proof import NotVerifiedError, prove, verify

TIME_LIMIT = 3.0
"""Seconds for every exact method."""

CERTIFIED = 3
"""Of so many cases one gets a certificate, which is verified; prime to the numbers of kinds of patterns."""


@dataclass(frozen=True)
class Answers:
    """Of each method a word (``verdict``), and what is wrong, the method's name in front."""

    words: Mapping[str, str]
    wrong: list[str]


def asked_of(case: Case) -> list[str]:
    """The methods that take the case: all, but of those that run a solver only the one whose turn it is."""
    known = methods()
    exact = [name for name in ALWAYS if case.problem.n <= MOST or not name.startswith("enumeration")]
    heuristics = [name for name, spec in known.items() if not spec.exact]
    names = (*exact, turn_of(case.seed), *heuristics)
    return [n for n in names if known[n].unavailable_because() is None and known[n].why_not(case.problem) is None]


def judged(case: Case) -> Answers:
    """Ask everybody, and see what is wrong."""
    problem, exact = case.problem, ExactProblem.of(case.problem)
    words: dict[str, str] = {}
    wrong: list[str] = []
    found: dict[str, Solution] = {}

    def note(name: str, answer: Verdict) -> None:
        words[name] = answer[0]
        wrong.extend(f"{name}: {what}" for what in answer[1])

    def ask(name: str) -> Verdict:
        found[name] = solve(problem, name, **_limits(methods()[name]))
        return "answered", []

    for name in asked_of(case):
        note(name, answered(lambda name=name: ask(name)))
    joint, selection = _optima(problem, exact, found)
    for name, solution in found.items():
        spec = methods()[name]
        note(name, answered(lambda spec=spec, of=solution: _judged(spec, problem, exact, of, joint, selection)))
    note("lower_bound", answered(lambda: _above(lower_bound(problem).value, joint, "bound")))
    if case.seed % CERTIFIED == 0:
        note("certificate", answered(lambda: _certified(problem, exact, joint)))
    return Answers(words, wrong)


def _limits(spec: MethodSpec) -> dict[str, Any]:
    return {"time_limit": TIME_LIMIT} if spec.name in IN_TURN or spec.name.startswith("bnb") else {}


def _optima(
    problem: PruningProblem, exact: ExactProblem, found: Mapping[str, Solution]
) -> tuple[Fraction | None, Fraction | None]:
    """The least losses that are known, with the weights re-tuned and as trained; None where nobody answered."""
    if problem.n <= MOST:
        return exact.optimum, exact.selection_optimum
    inside = [solution for solution in found.values() if problem.Z.contains(solution.mask)]
    trained = [np.where(solution.mask, problem.w_bar, 0.0) for solution in inside]
    return (
        min((exact.loss(solution.weights) for solution in inside), default=None),
        min((exact.loss(weights) for weights in trained), default=None),
    )


def _judged(
    spec: MethodSpec,
    problem: PruningProblem,
    exact: ExactProblem,
    found: Solution,
    joint: Fraction | None,
    selection: Fraction | None,
) -> Verdict:
    assert joint is not None
    assert selection is not None
    optima = {Objective.JOINT: _rounded(joint), Objective.SELECTION: _rounded(selection)}
    word, wrong = verdict(spec, problem, found, optima)
    wrong = wrong + _above(found.bound, joint, "bound")[1] + _above(found.selection_bound, selection, "its bound")[1]
    if np.any(found.weights[~found.mask]):
        wrong.append("a pruned weight is not zero")
    trained = np.where(found.mask, problem.w_bar, 0.0)
    wrong += _off(found.objective, found.round_off, exact.loss(found.weights), "objective")
    wrong += _off(found.selection_objective, found.selection_round_off, exact.loss(trained), "selection objective")
    return ("wrong", wrong) if wrong else (word, [])


def _rounded(value: Fraction) -> Optimum:
    number = float(value)
    return Optimum(number, float(np.spacing(abs(number))))


def _above(bound: float, optimum: Fraction | None, what: str) -> Verdict:
    """'proven', or wrong where the bound lies above the optimum by any amount."""
    if optimum is None or bound == -np.inf:
        return "unproven", []
    if not np.isfinite(bound) or Fraction(bound) > optimum:
        return "wrong", [f"{what} {bound!r} above the optimum {float(optimum)!r}, in rational arithmetic"]
    return "proven", []


def _off(value: float, round_off: float, exact: Fraction, what: str) -> list[str]:
    """The loss of the weights that are handed out, and what it may be wrong by, are as promised."""
    if np.isfinite(value) and abs(Fraction(value) - exact) <= Fraction(round_off):
        return []
    return [f"its {what} {value!r} ± {round_off:.2g} is not that of its weights, {float(exact)!r}"]


def _certified(problem: PruningProblem, exact: ExactProblem, joint: Fraction | None) -> Verdict:
    """A certificate is made and verified, and claims no more than there is."""
    proof = prove(problem, time_limit=TIME_LIMIT)
    try:
        found = verify(problem, proof)
    except NotVerifiedError as error:
        return "wrong", [str(error)]
    except CbsOptError:
        return "refused", []
    word, wrong = _above(found.bound, joint, "its bound")
    if Fraction(found.objective) < exact.loss(proof.weights):
        wrong = [*wrong, f"its loss {found.objective!r} is below that of its weights"]
    return ("wrong", wrong) if wrong else (word, [])
