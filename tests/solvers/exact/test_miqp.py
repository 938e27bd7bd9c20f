"""SCIP, Gurobi and whatever Pyomo calls by name: against enumeration; statuses, refusals, licences."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import cbs_opt
from cbs_opt.errors import (
    InputError,
    SolverError,
    UnavailableMethodError,
    UnknownMethodError,
    UnsupportedError,
)
from cbs_opt.kernel.result import SolutionStatus, TerminationCondition
from cbs_opt.solvers.exact import miqp
from cbs_opt.solvers.exact.miqp_pyomo import Answer, profile
from cbs_opt.testing.instances import best_by_enumeration, gram, random_problem

FORMULATIONS = ("joint-bigm", "joint-perspective")
both = pytest.mark.parametrize("formulation", FORMULATIONS)


@pytest.fixture(params=["scip", "gurobi"])
def method(request: pytest.FixtureRequest) -> str:
    """A method that works here."""
    name = str(request.param)
    package = {"scip": "pyscipopt", "gurobi": "gurobipy"}[name]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    try:
        cbs_opt.solve(gram(3, 5, 0.1).pruning(1), name)
    except UnavailableMethodError as error:
        pytest.skip(str(error))
    return name


def small_problems(first: int, count: int, max_n: int, **kind: Any) -> Iterator[cbs_opt.PruningProblem]:
    for seed in range(first, first + count):
        problem = random_problem(seed, max_n=max_n, **kind)
        if problem is not None:
            yield problem


@both
def test_never_claims_more_than_enumeration(method: str, formulation: str) -> None:
    solved = 0
    for problem in small_problems(500, 25, 6):
        optimum, error = best_by_enumeration(problem)
        try:
            solution = cbs_opt.solve(problem, method, formulation=formulation, time_limit=5)
        except UnsupportedError:
            continue  # a curvature that the perspective model cannot split
        except SolverError:
            continue  # numerical trouble, said so
        assert solution.bound <= optimum + error + 1e-12 * abs(optimum), problem.name
        if solution.solution_status is SolutionStatus.OPTIMAL:
            solved += 1
            assert solution.objective <= optimum + 2e-6 * abs(optimum) + error, problem.name
    assert solved >= 8


@both
def test_well_damped_blocks_are_proven(method: str, formulation: str) -> None:
    for seed in range(3):
        problem = gram(9, 20, 0.1, seed).pruning(5)
        solution = cbs_opt.solve(problem, method, formulation=formulation, gap=1e-4)
        assert solution.solution_status is SolutionStatus.OPTIMAL
        assert solution.bound <= best_by_enumeration(problem)[0] * (1 + 1e-12)
        assert solution.objective == pytest.approx(cbs_opt.solve(problem, "enumeration").objective, rel=1e-9)
        assert solution.nodes > 0


def test_with_a_first_order_term_and_an_offset(method: str) -> None:
    base = gram(7, 15, 0.1)
    g = 0.1 * np.random.default_rng(1).normal(size=7)
    problem = cbs_opt.PruningProblem(base.w_bar, base.curvature, g=g, offset=0.25).pruning(4)
    solution = cbs_opt.solve(problem, method, gap=1e-4)
    optimum, _ = best_by_enumeration(problem)
    assert solution.solution_status is SolutionStatus.OPTIMAL
    assert solution.bound <= optimum
    assert solution.objective == pytest.approx(optimum, rel=1e-9)


def test_units_do_not_matter(method: str) -> None:
    problem = gram(8, 20, 0.1).pruning(5)
    scaled = cbs_opt.PruningProblem(problem.w_bar * 1e6, problem.curvature.dense() * 1e-10, pattern=problem.pattern)
    one, other = (cbs_opt.solve(p, method, gap=1e-4) for p in (problem, scaled))
    assert np.array_equal(one.mask, other.mask)
    assert other.gap <= 1e-4


def test_stopped_by_the_clock_it_holds_an_incumbent_and_a_bound(method: str) -> None:
    problem = gram(60, 90, 1e-3).pruning(42)
    solution = cbs_opt.solve(problem, method, time_limit=0.5)
    assert solution.termination_condition is TerminationCondition.TIME_LIMIT
    assert solution.solution_status is SolutionStatus.FEASIBLE
    assert 0.0 <= solution.bound <= solution.objective
    assert solution.objective <= cbs_opt.solve(problem, "swap").objective


def test_options_are_passed_through(method: str) -> None:
    nodes = {"scip": {"limits/nodes": 1}, "gurobi": {"NodeLimit": 1, "Presolve": 0, "Cuts": 0}}[method]
    solution = cbs_opt.solve(gram(20, 30, 1e-2).pruning(13), method, formulation="joint-bigm", solver_options=nodes)
    assert solution.termination_condition is TerminationCondition.ITERATION_LIMIT
    assert solution.solution_status is SolutionStatus.FEASIBLE


def test_what_the_margin_counts_on_is_not_the_users(method: str) -> None:
    option = {"scip": "limits/gap", "gurobi": "feasibilitytol"}[method]
    with pytest.raises(UnsupportedError, match=option):
        cbs_opt.solve(gram(8, 9, 0.1).pruning(5), method, solver_options={option: 1e-3})


def test_an_option_the_solver_does_not_have(method: str) -> None:
    with pytest.raises(SolverError, match="parameter"):
        cbs_opt.solve(gram(8, 9, 0.1).pruning(5), method, solver_options={"Nonsense": 1})


@pytest.mark.parametrize(("prune", "keep"), [(0, []), (6, []), (3, [0, 1, 2])])
def test_where_there_is_nothing_to_choose_no_solver_runs(method: str, prune: int, keep: list[int]) -> None:
    problem = gram(6, 9, 0.1).within(cbs_opt.Cardinality(6, prune, keep=keep))
    solution = cbs_opt.solve(problem, method)
    assert solution.solution_status is SolutionStatus.OPTIMAL
    assert any("was not run" in note for note in solution.notes)


def test_a_size_limited_licence_says_its_size() -> None:
    pytest.importorskip("gurobipy")
    problem = gram(210, 300, 0.1).pruning(200)
    message = ""
    try:
        cbs_opt.solve(problem, "gurobi", time_limit=1)
    except UnavailableMethodError as error:
        message = str(error)
    if not message:
        pytest.skip("the licence here has no such limit")
    assert "licence" in message


# ------------------------------------------------------------------- without any solver


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "pyscipopt" else found(name, *a))
    with pytest.raises(UnavailableMethodError, match="needs the package pyscipopt"):
        cbs_opt.solve(gram(4, 9, 0.1).pruning(2), "scip")


@pytest.mark.parametrize("name", ["highs", "appsi_highs", "ipopt", "glpk", "cbc", "mindtpy", "path"])
def test_solvers_that_take_no_miqp_are_refused_by_name(name: str) -> None:
    with pytest.raises((UnsupportedError, UnavailableMethodError), match=f"pyomo:{name}"):
        cbs_opt.solve(gram(4, 9, 0.1).pruning(2), f"pyomo:{name}")
    if "highs" in name:
        with pytest.raises(UnsupportedError, match="HiGHS takes no quadratic objective together with integers"):
            cbs_opt.solve(gram(4, 9, 0.1).pruning(2), f"pyomo:{name}")


@pytest.mark.parametrize("name", ["gurobi_dirct", "_neos", ""])
def test_a_name_pyomo_does_not_have(name: str) -> None:
    with pytest.raises(UnknownMethodError, match="Pyomo solver"):
        cbs_opt.solve(gram(4, 9, 0.1).pruning(2), f"pyomo:{name}")


def test_a_solver_that_is_not_installed() -> None:
    if importlib.util.find_spec("xpress") is not None:
        pytest.skip("xpress is installed")
    with pytest.raises(UnavailableMethodError, match="pyomo:xpress_direct: not installed here"):
        cbs_opt.solve(gram(4, 9, 0.1).pruning(2), "pyomo:xpress_direct")


@pytest.mark.parametrize("name", ["scip_direct", "gurobi_direct", "gurobi_persistent", "appsi_gurobi"])
def test_by_the_name_pyomo_has(name: str) -> None:
    pytest.importorskip("pyscipopt" if "scip" in name else "gurobipy")
    problem = gram(7, 15, 0.1).pruning(4)
    try:
        solution = cbs_opt.solve(problem, f"pyomo:{name}", gap=1e-4)
    except UnavailableMethodError as error:
        pytest.skip(str(error))
    assert solution.solution_status is SolutionStatus.OPTIMAL
    assert solution.objective == pytest.approx(best_by_enumeration(problem)[0], rel=1e-9)


@pytest.mark.parametrize(
    ("options", "error"),
    [({"time_limit": 0}, InputError), ({"gap": -1}, InputError), ({"formulation": "update-qp"}, UnsupportedError)],
)
def test_options_that_are_none(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(options))):
        cbs_opt.solve(gram(4, 9, 0.1).pruning(2), "pyomo:gurobi_direct", **options)


def test_a_bound_above_a_mask_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a solver says: no proof of something false, and no silence about it."""
    monkeypatch.setattr(miqp, "find_solver", lambda *_: None)
    converged = TerminationCondition.CONVERGED
    monkeypatch.setattr(miqp, "ask", lambda *_: Answer(converged, bound=1e9, objective=float("nan"), nodes=1))
    solution = cbs_opt.solve(gram(8, 20, 0.1).pruning(5), "pyomo:anything")
    assert solution.bound == 0.0
    assert solution.solution_status is SolutionStatus.FEASIBLE
    assert any("thrown away" in note for note in solution.notes)


def test_an_inexact_leaf_lowers_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A solver that evaluates its own mask too high has judged the other leaves no better."""
    problem = gram(8, 20, 0.1).pruning(5)
    optimum = cbs_opt.solve(problem, "enumeration")

    def claims(*arguments: Any) -> Answer:
        model = arguments[3]
        for i in model.I:
            model.z[i].set_value(int(optimum.mask[i]))
        unit, s, _ = problem.normalized()
        scale = miqp._scale(unit, optimum.objective / s)
        value = optimum.objective / s * scale
        return Answer(TerminationCondition.CONVERGED, bound=value, objective=value * 1.001, nodes=1)

    monkeypatch.setattr(miqp, "find_solver", lambda *_: None)
    monkeypatch.setattr(miqp, "ask", claims)
    solution = cbs_opt.solve(problem, "pyomo:anything")
    assert solution.solution_status is SolutionStatus.FEASIBLE
    assert solution.gap == pytest.approx(0.004, rel=0.01)
    assert any("lowered" in note for note in solution.notes)


def test_every_profile_is_found_by_the_names_pyomo_has() -> None:
    assert profile("appsi_gurobi") is profile("gurobi_persistent")
    assert profile("scip_direct").separable
    assert profile("unheard_of").gap is None
