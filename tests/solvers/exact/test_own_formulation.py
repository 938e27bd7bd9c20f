"""A user's own formulation: taken by name, its bound no more than what holds, its mistakes named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import cbs_opt
import cbs_opt.models
from cbs_opt import Formulation, PruningProblem, register_formulation
from cbs_opt.errors import SolverError, UnknownMethodError, UnsupportedError
from cbs_opt.kernel.method import Objective
from cbs_opt.kernel.result import SolutionStatus
from cbs_opt.models import ProblemClass, by_name
from cbs_opt.models.ranges import model_ranges
from cbs_opt.testing.instances import best_by_enumeration, gram

pytest.importorskip("gurobipy")


def build(problem: PruningProblem, *, block: Any = None, big: float = 10.0, sign: float = 1.0) -> Any:
    """The textbook's big M, with a keep of its own: names that the package does not know."""
    from pyomo.environ import Binary, ConcreteModel, Constraint, Objective, RangeSet, Var, maximize, minimize

    n, H = problem.n, problem.curvature.dense()
    model = ConcreteModel(name="mine")
    model.J = RangeSet(0, n - 1)
    model.keep = Var(model.J, domain=Binary)
    model.v = Var(model.J, bounds=(-big, big) if np.isfinite(big) else (None, None))
    M = big if np.isfinite(big) else 10.0
    model.high = Constraint(model.J, rule=lambda m, j: m.v[j] <= M * m.keep[j])
    model.low = Constraint(model.J, rule=lambda m, j: m.v[j] >= -M * m.keep[j])
    model.count = Constraint(expr=sum(model.keep[j] for j in model.J) <= int(problem.Z.argmax(np.ones(n)).sum()))
    d = [model.v[j] - float(problem.w_bar[j]) for j in range(n)]
    loss = 0.5 * sum(float(H[i, j]) * d[i] * d[j] for i in range(n) for j in range(n)) + problem.offset
    model.loss = Objective(expr=sign * loss, sense=minimize if sign > 0 else maximize)
    return model


def extract(model: Any, problem: PruningProblem) -> Any:
    return np.array([round(model.keep[j].value) for j in model.J])


MINE = Formulation("mine", build, extract, "textbook", ProblemClass.MIQP, Objective.JOINT, "this test")


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyomo.environ import SolverFactory

    if not SolverFactory("gurobi_direct").available(exception_flag=False):
        pytest.skip("Gurobi has no licence here")
    monkeypatch.setattr(cbs_opt.models, "_OWN", {})


@pytest.mark.parametrize("method", ["gurobi", "scip"])
def test_it_finds_and_never_claims_more_than_the_optimum(method: str) -> None:
    if method == "scip":
        pytest.importorskip("pyscipopt")
    register_formulation(MINE)
    for seed in range(3):
        problem = gram(8, 15, 0.1, seed).pruning(5)
        optimum, error = best_by_enumeration(problem)
        solution = cbs_opt.solve(problem, method, formulation="mine", gap=1e-3)
        assert solution.objective <= optimum * (1 + 1e-3) + error
        assert 0.99 * optimum <= solution.bound <= optimum + error
        assert any("its author's word" in note for note in solution.notes)


def test_a_model_that_can_move_without_limit_bounds_nothing() -> None:
    free = replace(MINE, build=lambda problem: build(problem, big=np.inf))
    register_formulation(free)
    solution = cbs_opt.solve(gram(6, 15, 0.1).pruning(3), "gurobi", formulation="mine")
    assert solution.bound == 0.0  # f(w̄), known without it
    assert solution.solution_status is SolutionStatus.FEASIBLE
    assert any(note.startswith("no bound: a variable") for note in solution.notes)


def test_a_bound_of_a_model_that_cuts_off_the_best_mask_is_thrown_away_where_it_shows() -> None:
    """Weights that may not reach their values: the model's optimum lies above masks that are known."""
    register_formulation(replace(MINE, build=lambda problem: build(problem, big=1e-3)))
    problem = gram(8, 15, 0.1).pruning(4)
    optimum, error = best_by_enumeration(problem)
    solution = cbs_opt.solve(problem, "gurobi", formulation="mine")
    assert solution.bound <= optimum + error
    assert solution.objective >= optimum - error


def test_refusals_are_sentences() -> None:
    problem = gram(6, 15, 0.1).pruning(3)
    with pytest.raises(UnknownMethodError, match="formulation 'mine': unknown; there are joint-bigm"):
        cbs_opt.solve(problem, "gurobi", formulation="mine")
    with pytest.raises(UnsupportedError, match="does not take formulation joint-sos1; it takes joint-bigm, joint-pers"):
        cbs_opt.solve(problem, "gurobi", formulation="joint-sos1")
    with pytest.raises(ValueError, match="formulation joint-bigm: the name is taken"):
        register_formulation(by_name("joint-bigm"))
    register_formulation(replace(MINE, name="select", bounds=Objective.SELECTION))
    with pytest.raises(UnsupportedError, match=r"formulation select does not say bounds=Objective\.JOINT"):
        cbs_opt.solve(problem, "gurobi", formulation="select")
    register_formulation(replace(MINE, name="upwards", build=lambda problem: build(problem, sign=-1.0)))
    with pytest.raises(SolverError, match="formulation upwards: its model has to minimize one objective"):
        cbs_opt.solve(problem, "gurobi", formulation="upwards")
    register_formulation(replace(MINE, name="broken", build=lambda problem: problem.missing))
    with pytest.raises(SolverError, match="formulation broken: its build function failed"):
        cbs_opt.solve(problem, "gurobi", formulation="broken")


def test_the_ranges_of_a_model_are_those_of_its_columns_and_rows() -> None:
    from pyomo.environ import ConcreteModel, Constraint, Var

    model = ConcreteModel()
    model.x = Var(bounds=(-1, 2))
    model.y = Var(bounds=(0, 5))
    model.fixed = Var()
    model.fixed.fix(3.0)
    model.row = Constraint(expr=2 * model.x - model.y <= 1)
    assert model_ranges(model) == 3 + 5 + (4 - (-7))
    model.z = Var(bounds=(0, None))
    assert model_ranges(model) == np.inf
