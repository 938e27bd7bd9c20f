"""The benchmark of patterns: cases are drawn again from their seeds, what is wrong is found and written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cbs_opt
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.kernel.result import Outcome


def test_cases_go_through_all_kinds_and_can_be_drawn_again() -> None:
    from benchmarks.exact.patterns.draw import CURVATURES, PATTERNS, case

    with np.errstate(all="ignore"):
        drawn = [case(seed) for seed in range(len(PATTERNS))]
        again = case(3)
    assert [one.pattern for one in drawn] == list(PATTERNS)
    assert {one.curvature for one in drawn} == {CURVATURES[0]}
    assert str(again.problem.Z) == str(drawn[3].problem.Z)
    assert np.array_equal(again.problem.curvature.dense(), drawn[3].problem.curvature.dense())
    assert all(one.problem.n <= 10 for one in drawn)


def test_every_solver_has_its_turn_at_every_kind() -> None:
    from benchmarks.exact.patterns.draw import CURVATURES, PATTERNS
    from benchmarks.exact.patterns.judge import IN_TURN, turn_of

    kinds, curvatures = len(PATTERNS), len(CURVATURES)
    met = {(seed % kinds, seed // kinds % curvatures, turn_of(seed)) for seed in range(1800)}
    assert len(met) == kinds * curvatures * len(IN_TURN)


def test_a_small_run_is_recorded_and_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.exact.patterns import judge
    from benchmarks.exact.patterns.command import main

    monkeypatch.setattr(judge, "asked_of", lambda seed: ["bnb", "enumeration", "swap", "cbs"])
    assert main(["--count", "4", "--out", str(tmp_path)]) == 0
    assert main(["--first-seed", "2", "--count", "1", "--out", str(tmp_path)]) == 0
    rows = [json.loads(line) for line in (tmp_path / "patterns.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sorted(row["seed"] for row in rows) == [0, 1, 2, 3]
    assert all(row["wrong"] == [] and "lower_bound" in row["answers"] for row in rows)
    page = (tmp_path / "patterns.md").read_text(encoding="utf-8")
    assert "4 cases, seeds 0 to 3; violations: 0." in page
    assert "| N:M of kernels | 1 |" in page


class Claims:
    """Whatever mask and bound it is told to, as a method."""

    def __init__(self, mask: Any, bound: float, exact: bool) -> None:
        self.spec = MethodSpec(
            name="claims",
            run=lambda problem: Outcome(np.asarray(mask), bound),
            summary="",
            exact=exact,
            objective=Objective.JOINT,
            reference="",
            patterns=(Pattern,),
        )


@pytest.mark.parametrize(
    ("mask", "bound", "exact", "word", "wrong"),
    [
        ([True, False], 0.5, True, "proven", None),
        ([True, False], 0.25, True, "unproven", None),
        ([True, False], 0.50001, True, "wrong", "lies above a feasible objective"),
        ([False, True], 0.5 + 1e-6, True, "wrong", "above the optimum 0.5"),
        ([True, True], -np.inf, False, "wrong", "outside the pattern"),
        ([False, True], -np.inf, False, "above", None),
        ([True, False], -np.inf, False, "optimal", None),
    ],
)
def test_what_is_wrong_is_said(mask: list[bool], bound: float, exact: bool, word: str, wrong: str | None) -> None:
    """Two weights 2 and 1 that do not interact, one of them pruned: the optimum prunes the second and costs ½."""
    from benchmarks.exact.patterns import judge
    from benchmarks.exact.patterns.draw import Case

    problem = cbs_opt.PruningProblem(np.array([2.0, 1.0]), np.eye(2)).pruning(1)
    case = Case(0, "cardinality", "identity", problem, 0, 0.0)
    spec = Claims(mask, bound, exact).spec
    known = {"claims": spec}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge, "methods", lambda: known)
        patch.setattr(
            judge,
            "solve",
            lambda problem, name: cbs_opt.evaluation.solve.conclude(problem, spec, spec.run(problem), 0.0, {}),
        )
        words, said, best = judge.judged(case, ["claims"])
    assert best.value == pytest.approx(0.5)
    assert words == {"claims": word, "lower_bound": "tight"}
    assert (said == []) if wrong is None else (wrong in said[0])


def test_an_optimal_that_is_none_is_wrong() -> None:
    from benchmarks.exact.patterns.judge import Optimum, verdict

    problem = cbs_opt.PruningProblem(np.array([2.0, 1.0]), np.eye(2)).pruning(1)
    found = cbs_opt.solve(problem, "bnb")
    worse = replace(found, objective=2.0, bound=0.5)
    optima = {which: Optimum(0.5, 0.0) for which in Objective}
    spec = cbs_opt.methods()["bnb"]
    assert verdict(spec, problem, found, optima) == ("proven", [])
    assert verdict(spec, problem, worse, optima) == ("wrong", ["'optimal' at 2.0, but the optimum is 0.5"])
    below = verdict(spec, problem, replace(found, objective=0.4), optima)
    assert below == ("wrong", ["objective 0.4 below the optimum 0.5"])


def test_the_page_lists_what_is_wrong(tmp_path: Path) -> None:
    from benchmarks.exact.patterns.page import write_page

    row: dict[str, Any] = {
        "part": "patterns",
        "seed": 7,
        "pattern": "budget",
        "curvature": "gram",
        "n": 4,
        "forced": 1,
        "linear_term": True,
        "form": "dense",
        "exponent": -80.0,
        "optimum": 1.0,
        "answers": {
            "bnb": "wrong",
            "enumeration": "proven",
            "scip": "refused",
            "swap": "above",
            "cbs": "not taken",
            "lower_bound": "tight",
        },
        "wrong": ["bnb: bound 2 above the optimum 1"],
    }
    page = write_page([row], tmp_path).read_text(encoding="utf-8")
    assert "- seed 7 (budget, gram): bnb: bound 2 above the optimum 1" in page
    assert "| bnb | 1 | 0 | 0 | 0 | 1 |" in page
    assert "| scip | 1 | 0 | 0 | 1 | 0 |" in page
    assert "| budget | 1 | 0/1 | 0/1 | 1/1 | 1 |" in page
    assert "less than 1e-10: 1, up to 1e±80" in page
    assert "bnb leaves 1 unproven that enumeration proves, 1 of them with a first-order term" in page
