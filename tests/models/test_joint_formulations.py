"""The three joint formulations, solved by SCIP, against enumeration; what their parts promise."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbs_opt import Cardinality, PruningProblem
from cbs_opt.errors import BoundViolationError, InputError, SolverError, UnsupportedError
from cbs_opt.kernel.result import TerminationCondition
from cbs_opt.models import FORMULATIONS, solution_of
from cbs_opt.models.box import incumbent_box

JOINT = [
    pytest.param("joint-bigm", {}, id="bigm"),
    pytest.param("joint-indicator", {"transformation": "gdp.bigm"}, id="indicator-bigm"),
    pytest.param("joint-indicator", {"transformation": "gdp.hull"}, id="indicator-hull"),
    pytest.param("joint-sos1", {}, id="sos1"),
    pytest.param("joint-perspective", {}, id="perspective"),
    pytest.param("joint-rank-one", {}, id="rank-one"),
]


def instance(seed: int, n: int, k: int, *, g: bool = False, **fixed: Any) -> PruningProblem:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n + 2, n))
    H = X.T @ X / (n + 2) + 0.02 * np.eye(n)
    slope = 0.3 * rng.normal(size=n) if g else None
    return PruningProblem(rng.normal(size=n), H, g=slope, pattern=Cardinality(n, k, **fixed), name=f"seed {seed}")


INSTANCES = [
    pytest.param(instance(1, 6, 3), id="plain"),
    pytest.param(instance(2, 6, 4, g=True), id="first-order"),
    pytest.param(instance(3, 6, 3, g=True, keep=[1], forbid=[4]), id="forced-and-forbidden"),
    pytest.param(instance(4, 5, 5), id="all-pruned"),
]


def enumerated(problem: PruningProblem) -> tuple[float, np.ndarray]:
    """The joint optimum and its weights from normal equations over every mask, by formulas of its own."""
    H, w_bar, g, n = problem.curvature.dense(), problem.w_bar, problem.linear_term(), problem.n
    pattern = problem.Z
    best, best_w = np.inf, np.zeros(n)
    for bits in itertools.product((0, 1), repeat=n):
        z = np.array(bits, dtype=bool)
        if n - z.sum() < pattern.prune or (pattern.keep & ~z).any() or (pattern.forbid & z).any():
            continue
        w = np.zeros(n)
        if z.any():
            w[z] = np.linalg.solve(H[np.ix_(z, z)], (H @ w_bar - g)[z])
        d = w - w_bar
        value = problem.offset + g @ d + d @ H @ d / 2
        if value < best:
            best, best_w = value, w
    return best, best_w


def solved_by_scip(model: Any) -> float:
    """Solve in place; SCIP's bound, lowered by its tolerance."""
    pytest.importorskip("pyscipopt")
    from pyomo.contrib.solver.common.factory import SolverFactory

    solver = SolverFactory("scip_direct")
    # Without output: a full pipe would block SCIP, whose Python interface holds the interpreter lock.
    results = solver.solve(model, time_limit=20, solver_options={"display/verblevel": 0})
    return float(results.objective_bound) - 1e-5


@pytest.mark.parametrize(("name", "options"), JOINT)
@pytest.mark.parametrize("problem", INSTANCES)
def test_optimum_is_that_of_enumeration(problem: PruningProblem, name: str, options: dict[str, Any]) -> None:
    formulation = FORMULATIONS[name]
    model = formulation.build(problem, **options)
    bound = solved_by_scip(model)
    solution = solution_of(formulation, model, problem, bound=bound)
    optimum, w = enumerated(problem)
    assert solution.objective == pytest.approx(optimum, rel=1e-6)
    assert solution.bound <= optimum
    np.testing.assert_allclose(solution.weights, w, atol=1e-8)


@pytest.mark.parametrize("problem", INSTANCES)
def test_incumbent_box_contains_the_optimum(problem: PruningProblem) -> None:
    optimum, w = enumerated(problem)
    for incumbent in (None, optimum, optimum + 1.0):
        box = incumbent_box(problem, incumbent)
        assert (box.lower <= w).all()
        assert (w <= box.upper).all()
        assert not (box.excludes_zero & (w == 0)).any()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(0, 5), condition=st.sampled_from([1.0, 1e4, 1e8, 1e11]))
def test_incumbent_box_contains_the_optimum_when_ill_conditioned(seed: int, k: int, condition: float) -> None:
    rng = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    H = (Q * np.geomspace(1.0, 1.0 / condition, 5)) @ Q.T
    problem = PruningProblem(rng.normal(size=5), (H + H.T) / 2).pruning(k)
    optimum, w = enumerated(problem)
    box = incumbent_box(problem, optimum)
    assert (box.lower <= w).all()
    assert (w <= box.upper).all()


def test_incumbent_box_touches_the_ellipsoid() -> None:
    problem = instance(5, 4, 2)
    U, H = 0.7, problem.curvature.dense()
    box = incumbent_box(problem, U)
    for i in range(4):
        column = np.linalg.inv(H)[:, i]
        extreme = problem.w_bar + column * np.sqrt(2 * U / column[i])
        assert problem.objective(extreme) == pytest.approx(U)
        assert box.upper[i] == pytest.approx(extreme[i], rel=1e-4)


def test_weights_whose_box_excludes_zero_are_kept() -> None:
    problem = PruningProblem([5.0, 0.1, 0.2], np.eye(3)).pruning(1)
    model = FORMULATIONS["joint-bigm"].build(problem)
    # The incumbent prunes weight 1: what costs more on its own stays.
    assert list(model.must_keep) == [0, 2]


@pytest.mark.parametrize("name", [name for name in FORMULATIONS if name.startswith("joint")])
def test_an_incumbent_nothing_attains_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="below the unconstrained minimum"):
        FORMULATIONS[name].build(instance(1, 4, 2), incumbent=-1.0)


@pytest.mark.parametrize(("D", "message"), [([1.0, 0.0, 1.0], "positive"), ([9.0] * 3, "smaller"), ([1.0], "shape")])
def test_perspective_refuses_a_split_that_is_none(D: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FORMULATIONS["joint-perspective"].build(PruningProblem(np.ones(3), 2 * np.eye(3)).pruning(1), D=D)


def test_an_unknown_transformation_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"gdp\.hull"):
        FORMULATIONS["joint-indicator"].build(instance(1, 4, 2), transformation="gdp.cuttingplane")


# ------------------------------------------------------------------- what is read from a model


def with_mask(problem: PruningProblem, mask: list[float]) -> Any:
    model = FORMULATIONS["joint-bigm"].build(problem)
    for i, z in enumerate(mask):
        model.z[i].set_value(z, skip_validation=True)
    return model


def test_status_is_optimal_only_with_a_bound() -> None:
    problem = PruningProblem([3.0, 2.0, 1.0], np.eye(3)).pruning(1)
    formulation, model = FORMULATIONS["joint-bigm"], with_mask(problem, [1, 1, 0])
    assert solution_of(formulation, model, problem).solution_status == "feasible"
    assert solution_of(formulation, model, problem, bound=0.4).solution_status == "feasible"
    proven = solution_of(formulation, model, problem, bound=0.5)
    assert proven.solution_status == "optimal"
    assert proven.objective == 0.5
    stopped = solution_of(formulation, model, problem, bound=0.5, termination=TerminationCondition.TIME_LIMIT)
    assert stopped.solution_status == "feasible"
    with pytest.raises(BoundViolationError):
        solution_of(formulation, model, problem, bound=0.6)


@pytest.mark.parametrize(
    ("mask", "message"), [([1, 0.5, 0], "not integral"), ([1, 1], "no value"), ([1, 1, 1], "outside the pattern")]
)
def test_a_mask_that_is_none_is_refused(mask: list[float], message: str) -> None:
    problem = PruningProblem([3.0, 2.0, 1.0], np.eye(3)).pruning(1)
    with pytest.raises(SolverError, match=message):
        FORMULATIONS["joint-bigm"].extract(with_mask(problem, mask), problem)


def test_a_nearly_integral_mask_is_rounded() -> None:
    problem = PruningProblem([3.0, 2.0, 1.0], np.eye(3)).pruning(1)
    mask = FORMULATIONS["joint-bigm"].extract(with_mask(problem, [1 - 1e-6, 1 + 1e-6, 1e-6]), problem)
    assert mask.dtype == np.bool_
    assert mask.tolist() == [True, True, False]
