"""The splittings that models are written with: positive semidefinite, and as strong as the bounds that were found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cbs_opt import PruningProblem, Quotas, solve
from cbs_opt.models import by_name
from cbs_opt.solvers.bounds.perspective import perspective_bound
from cbs_opt.solvers.bounds.relaxed_value import relaxed_value
from cbs_opt.solvers.bounds.splittings import best_diagonal, directions, rank_one_pieces
from cbs_opt.testing.instances import KINDS, gram, random_problem


def near_duplicates(n: int, seed: int = 0) -> PruningProblem:
    """Inputs in nearly equal pairs."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(4 * n, n))
    X[:, 1::2] = X[:, 0 : n - 1 : 2] + 0.01 * rng.normal(size=X[:, 1::2].shape)
    return PruningProblem.from_activations(rng.normal(size=n), X, dampening_frac=1e-3, name=f"duplicates {n}")


def relaxed_optimum(problem: PruningProblem, name: str, **options: Any) -> float:
    """Of the model with 0 ≤ z ≤ 1, by Gurobi's barrier method."""
    pytest.importorskip("gurobipy")
    from pyomo.environ import SolverFactory, TransformationFactory, value

    unit, s, _ = problem.normalized()
    if "D" in options:
        options["D"] = np.asarray(options["D"]) * unit.curvature.diagonal() / problem.curvature.diagonal()
    model = by_name(name).build(unit, **options)
    TransformationFactory("core.relax_integer_vars").apply_to(model)
    solver = SolverFactory("gurobi_direct")
    if not solver.available(exception_flag=False):
        pytest.skip("Gurobi has no licence here")
    solver.solve(model, options={"OutputFlag": 0, "BarConvTol": 1e-9, "BarQCPConvTol": 1e-9})
    return float(value(model.objective)) * s


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_what_is_left_of_H_is_positive_semidefinite(seed: int, kind: str) -> None:
    problem = random_problem(seed, max_n=12, kind=kind)
    if problem is None:
        return
    H, D = problem.curvature.dense(), best_diagonal(problem)
    assert (D >= 0).all()
    if not D.any():
        return  # singular up to round-off
    scale = np.sqrt(H.diagonal())
    left = (H - np.diag(D)) / np.outer(scale, scale)
    # A margin that rounding every entry to 15 digits leaves positive.
    assert np.linalg.eigvalsh(left)[0] > 1e-15
    pieces = rank_one_pieces(problem, problem.objective(np.zeros(problem.n)))
    if pieces is not None:
        U = directions(pieces.pieces, problem.n)
        rest = (H - np.diag(pieces.D) - (U * pieces.q) @ U.T) / np.outer(scale, scale)
        assert np.linalg.eigvalsh(rest)[0] > -1e-15
        assert (pieces.D > 0).all()


@pytest.mark.parametrize("prune", [16, 24])
@pytest.mark.parametrize("damping", [1e-1, 1e-3])
def test_the_perspective_model_has_the_bound_of_the_best_splitting(damping: float, prune: int) -> None:
    for problem in (gram(32, 60, damping).pruning(prune), near_duplicates(32).pruning(prune)):
        proven = perspective_bound(problem)[0]
        assert relaxed_optimum(problem, "joint-perspective") == pytest.approx(proven, rel=1e-2)


def test_the_default_is_stronger_than_the_smallest_eigenvalue_and_than_big_M() -> None:
    problem = gram(24, 40, 1e-2).pruning(16)
    H = problem.curvature.dense()
    equal = np.full(24, 0.99 * np.linalg.eigvalsh(H)[0])
    best = relaxed_optimum(problem, "joint-perspective")
    assert best > 1.2 * relaxed_optimum(problem, "joint-perspective", D=equal)
    assert best > 1.2 * relaxed_optimum(problem, "joint-bigm")


def test_the_default_knows_labels() -> None:
    """A splitting for 2:4 is stronger under 2:4 than one for half of all weights."""
    block = gram(24, 40, 1e-2, 1)
    problem = block.within(Quotas.n_of_m(24, 2, 4))
    best = relaxed_optimum(problem, "joint-perspective")
    assert best > relaxed_optimum(problem, "joint-perspective", D=best_diagonal(block.pruning(12)))
    assert best <= solve(problem, "bnb").objective


def test_pieces_make_the_relaxation_of_near_duplicates_stronger() -> None:
    problem = near_duplicates(16).pruning(11)
    optimum = solve(problem, "bnb").objective
    without, with_pieces = (relaxed_optimum(problem, name) for name in ("joint-perspective", "joint-rank-one"))
    assert 2 * without < with_pieces <= optimum * (1 + 1e-6)


@pytest.mark.parametrize("problem", [gram(12, 30, 1e-2), near_duplicates(12, 1)], ids=lambda problem: problem.name)
def test_under_labels_pieces_are_no_weaker_than_the_diagonal(problem: PruningProblem) -> None:
    problem = problem.within(Quotas.n_of_m(12, 2, 4))
    without, with_pieces = (relaxed_optimum(problem, name) for name in ("joint-perspective", "joint-rank-one"))
    assert with_pieces >= without * (1 - 1e-2)
    assert with_pieces <= solve(problem, "bnb").objective * (1 + 1e-6)


def test_the_value_of_a_relaxation_is_that_of_gurobi() -> None:
    problem = gram(12, 30, 1e-2).within(Quotas.n_of_m(12, 2, 4))
    H, center, D = problem.curvature.dense(), problem.minimizer(), best_diagonal(problem)
    value = relaxed_value(H, H @ center, D, np.zeros((12, 0)), np.zeros(0), problem.Z)
    exact = relaxed_optimum(problem, "joint-perspective")
    assert exact * 0.95 <= value + problem.objective(np.zeros(12)) <= exact * (1 + 1e-3)


def test_rank_one_without_pieces_is_the_perspective_model() -> None:
    problem = gram(6, 20, 0.1).pruning(0)
    assert rank_one_pieces(problem, 1.0) is None
    model = by_name("joint-rank-one").build(problem)
    assert len(model.E) == 0
    assert len(model.perspective) == 6
