"""Exact engines against enumeration, on random small blocks of every awkward kind (for hours: ``benchmarks.stress``).

The blocks are those of ``cbs_opt.testing.instances``: n ≤ 12, scales H·1e±10, w·1e±6, condition up to 1e12, ties,
zeros in w̄, duplicate columns, first-order terms, forced and forbidden weights. An engine fails if its bound
lies above the optimum, if it says 'optimal' of anything else, or if it converged without reaching the optimum.
"""

from __future__ import annotations

from cbs_opt import PruningProblem, solve
from cbs_opt.testing.instances import best_by_enumeration

TOLERANCE = 1e-6
"""Relative to the optimum, beside the round-off of the two evaluations."""


def violations(problem: PruningProblem, engine: str) -> list[str]:
    """What is wrong with the engine's answer; empty where nothing is."""
    best, error = _optimum(problem, engine)
    found = solve(problem, engine)
    selection = engine in SELECTION
    objective = found.selection_objective if selection else found.objective
    bound = found.selection_bound if selection else found.bound
    slack = TOLERANCE * abs(best) + error + (found.selection_round_off if selection else found.round_off)
    wrong = []
    if bound > best + slack:
        wrong.append(f"bound {bound!r} above the optimum {best!r}")
    if objective < best - slack:
        wrong.append(f"objective {objective!r} below the optimum {best!r}: enumeration is wrong")
    if found.solution_status == "optimal" and objective > best + slack:
        wrong.append(f"'optimal' at {objective!r}, but the optimum is {best!r}")
    return wrong


SELECTION = ("bnb-selection", "highs-selection", "enumeration-selection")


def _optimum(problem: PruningProblem, engine: str) -> tuple[float, float]:
    if engine not in SELECTION:
        return best_by_enumeration(problem)
    found = solve(problem, "enumeration-selection")
    return found.selection_objective, found.selection_round_off
