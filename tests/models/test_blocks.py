"""Formulations on blocks of a user's own model: several of them under constraints that no block knows of."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from cbs_opt import PruningProblem, Quotas, obs_update
from cbs_opt.errors import PatternError
from cbs_opt.models import FORMULATIONS, by_name, solution_of
from cbs_opt.testing.instances import best_by_enumeration, masks_of

OPTIONS: dict[str, dict[str, Any]] = {"joint-indicator": {"transformation": "gdp.bigm"}}
MASKED = [name for name in FORMULATIONS if name != "update-qp"]


def block(seed: int, n: int) -> PruningProblem:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n + 3, n))
    return PruningProblem.from_activations(rng.normal(size=n), X, damping=0.1, name=f"row {seed}")


def solve_by_scip(model: Any) -> None:
    pytest.importorskip("pyscipopt")
    from pyomo.contrib.solver.common.factory import SolverFactory

    SolverFactory("scip_direct").solve(model, time_limit=30, solver_options={"display/verblevel": 0})


def loss(problem: PruningProblem, mask: Any, name: str) -> float:
    joint = name.startswith("joint")
    return problem.objective(obs_update(problem, mask) if joint else np.where(mask, problem.w_bar, 0.0))


@pytest.mark.parametrize("name", MASKED)
def test_two_blocks_share_a_budget(name: str) -> None:
    from pyomo.environ import Block, ConcreteModel, Constraint, Objective, value

    problems = [block(1, 4), block(2, 5)]
    spec = by_name(name)
    model = ConcreteModel()
    model.row = Block(range(2), rule=lambda b, r: spec.build(problems[r], block=b, **OPTIONS.get(name, {})))
    model.budget = Constraint(expr=sum(model.row[r].z[i] for r in range(2) for i in model.row[r].I) <= 4)
    model.apart = Constraint(expr=model.row[0].z[0] + model.row[1].z[0] <= 1)
    model.total = Objective(expr=model.row[0].loss + model.row[1].loss)
    solve_by_scip(model)
    every = [[np.array(bits, dtype=bool) for bits in itertools.product((0, 1), repeat=p.n)] for p in problems]
    best = min(
        loss(problems[0], a, name) + loss(problems[1], b, name)
        for a in every[0]
        for b in every[1]
        if a.sum() + b.sum() <= 4 and not (a[0] and b[0])
    )
    solutions = [solution_of(spec, model.row[r], problems[r]) for r in range(2)]
    found = sum(loss(p, s.mask, name) for p, s in zip(problems, solutions, strict=True))
    assert found == pytest.approx(best, rel=1e-6)
    assert value(model.total) == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize("name", MASKED)
def test_a_pattern_of_its_own_holds_on_a_block_too(name: str) -> None:
    from pyomo.environ import Block, ConcreteModel, Constraint, Objective

    problem = block(3, 6).within(Quotas([3, 3], [2, 1]))
    model = ConcreteModel()
    model.b = Block()
    made = by_name(name).build(problem, block=model.b, **OPTIONS.get(name, {}))
    assert made is model.b
    model.together = Constraint(expr=model.b.z[0] == model.b.z[5])
    model.total = Objective(expr=model.b.loss)
    solve_by_scip(model)
    mask = by_name(name).extract(model.b, problem)
    best = min(loss(problem, z, name) for z in masks_of(problem.Z) if z[0] == z[5])
    assert loss(problem, mask, name) == pytest.approx(best, rel=1e-6)


def test_the_update_of_a_given_mask_stands_on_a_block() -> None:
    from pyomo.contrib.solver.common.factory import SolverFactory
    from pyomo.environ import Block, ConcreteModel, Objective, value

    problem, mask = block(4, 5), np.array([True, False, True, True, False])
    model = ConcreteModel()
    model.b = Block(rule=lambda b: by_name("update-qp").build(problem, block=b, mask=mask))
    model.total = Objective(expr=model.b.loss)
    SolverFactory("highs").solve(model, threads=1, solver_options={"qp_regularization_value": 0.0})
    weights = [value(model.b.w[i]) for i in model.b.I]
    np.testing.assert_allclose(weights, obs_update(problem, mask), atol=1e-7)


def test_a_model_of_its_own_needs_a_pattern_and_has_an_objective() -> None:
    from pyomo.environ import Objective

    with pytest.raises(PatternError, match="pattern"):
        by_name("joint-bigm").build(block(5, 4))
    model = by_name("joint-bigm").build(block(5, 4).pruning(2))
    assert [part.name for part in model.component_data_objects(Objective)] == ["objective"]


def test_the_default_incumbent_suits_whatever_a_larger_model_asks() -> None:
    """The box of a block lets every mask's re-tuned weights through; that of a model of its own does not have to."""
    from pyomo.environ import Block, ConcreteModel

    problem = block(6, 5).pruning(2)
    model = ConcreteModel()
    model.b = Block(rule=lambda b: by_name("joint-bigm").build(problem, block=b))
    for mask in masks_of(problem.Z):
        w = obs_update(problem, mask)
        assert all(model.b.w[i].lb <= w[i] <= model.b.w[i].ub for i in range(5))
    assert not list(model.b.must_keep)
    assert best_by_enumeration(problem)[0] > 0
