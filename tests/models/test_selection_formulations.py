"""Selection (CBS-S): both formulations and the HiGHS method against enumeration."""

from __future__ import annotations

import importlib
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbs_opt import Cardinality, PruningProblem
from cbs_opt.errors import InputError, TooLargeError
from cbs_opt.evaluation.solve import conclude
from cbs_opt.kernel.result import Outcome, TerminationCondition, relative_gap
from cbs_opt.models import FORMULATIONS, solution_of

highs_selection = importlib.import_module("cbs_opt.solvers.exact.highs_selection")


def enumerated(problem: PruningProblem) -> float:
    """The selection optimum over every mask, by formulas of its own."""
    H, w_bar, g, n = problem.curvature.dense(), problem.w_bar, problem.linear_term(), problem.n
    pattern = problem.Z
    best = np.inf
    for bits in itertools.product((0, 1), repeat=n):
        z = np.array(bits, dtype=bool)
        if n - z.sum() < pattern.prune or (pattern.keep & ~z).any() or (pattern.forbid & z).any():
            continue
        d = np.where(z, 0.0, -w_bar)
        best = min(best, problem.offset + g @ d + d @ H @ d / 2)
    return float(best)


def selected(problem: PruningProblem, **options: Any) -> tuple[float, Outcome]:
    outcome = highs_selection.run(problem, **options)
    assert problem.Z.contains(outcome.mask)
    return problem.objective(np.where(outcome.mask, problem.w_bar, 0.0)), outcome


def random_problem(seed: int, n: int, pattern: Cardinality, *, g: float = 0.0, offset: float = 0.0) -> PruningProblem:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, n))
    slope = g * rng.normal(size=n) if g else None
    return PruningProblem(rng.normal(size=n), X.T @ X / n + 0.01 * np.eye(n), pattern=pattern, g=slope, offset=offset)


# Two weights that cancel: pruning both costs almost nothing, pruning one of them a lot.
CANCELLING = PruningProblem([1.0, -1.0, 0.9], np.array([[1, 0.99, 0], [0.99, 1, 0], [0, 0, 1.0]])).pruning(1)

CASES = [
    pytest.param(random_problem(1, 8, Cardinality(8, 4)), id="plain"),
    pytest.param(random_problem(2, 8, Cardinality(8, 3), g=0.5), id="first-order"),
    pytest.param(random_problem(3, 8, Cardinality(8, 2), g=2.0, offset=30.0), id="first-order-and-offset"),
    pytest.param(random_problem(4, 8, Cardinality(8, 4, keep=[0, 3], forbid=[5])), id="forced-and-forbidden"),
    pytest.param(random_problem(5, 7, Cardinality(7, 0), g=1.0), id="nothing-asked-for"),
    pytest.param(random_problem(6, 6, Cardinality(6, 6)), id="all-pruned"),
    pytest.param(random_problem(7, 5, Cardinality(5, 1, keep=[0, 1], forbid=[2, 3, 4])), id="all-fixed"),
    pytest.param(CANCELLING, id="pruning-more-is-cheaper"),
    pytest.param(PruningProblem(np.ones(6), np.eye(6)).pruning(3), id="ties"),
    pytest.param(PruningProblem([2.0], [[3.0]]).pruning(1), id="one-weight"),
    pytest.param(PruningProblem([1e-7, 3e-7, 2e-7], 1e-9 * np.eye(3)).pruning(2), id="tiny-units"),
    pytest.param(PruningProblem([1e6, 3e6, 2e6], 1e8 * np.eye(3)).pruning(2), id="huge-units"),
]


@pytest.mark.parametrize("problem", CASES)
def test_highs_finds_and_proves_the_optimum(problem: PruningProblem) -> None:
    optimum = enumerated(problem)
    value, outcome = selected(problem)
    assert value == pytest.approx(optimum, rel=1e-9)
    assert outcome.bound <= optimum + 1e-9 * abs(optimum)
    assert outcome.termination is TerminationCondition.CONVERGED
    solution = conclude(problem, highs_selection.SPEC, outcome, 0.0, {})
    assert solution.solution_status == "optimal"
    assert solution.bound == -np.inf
    assert solution.selection_gap <= 1e-6


def test_more_than_k_are_pruned_where_that_is_cheaper() -> None:
    _, outcome = selected(CANCELLING)
    assert outcome.mask.tolist() == [False, False, True]


def test_weights_that_are_zero_already_cost_nothing() -> None:
    problem = PruningProblem([0.0, 1.0, 0.0, 2.0], np.eye(4) + 0.1).pruning(2)
    value, outcome = selected(problem)
    assert value == 0.0
    assert relative_gap(value, outcome.bound) == 0.0


def test_zeros_among_the_weights_do_not_disturb() -> None:
    problem = PruningProblem([0.0, 1.0, -0.5, 2.0, 0.0, 0.3], np.eye(6) + 0.2).pruning(4)
    value, outcome = selected(problem)
    assert value == pytest.approx(enumerated(problem))
    assert not outcome.mask[[0, 4]].any()


def test_an_optimum_far_below_the_first_guess_is_still_proven() -> None:
    # Magnitude prunes one of a cancelling pair; the optimum is smaller by four orders.
    H = np.eye(4)
    H[0, 1] = H[1, 0] = 1 - 1e-5
    problem = PruningProblem([1.0, -1.0, 1.1, 1.2], H).pruning(1)
    value, outcome = selected(problem)
    assert value == pytest.approx(enumerated(problem))
    assert relative_gap(value, outcome.bound) <= 1e-6


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 7),
    share=st.floats(0, 1),
    g=st.sampled_from([0.0, 0.1, 3.0]),
    offset=st.sampled_from([0.0, 1.0]),
    units=st.sampled_from([1e-6, 1.0, 1e5]),
)
def test_the_bound_holds_and_the_value_is_optimal(
    seed: int, n: int, share: float, g: float, offset: float, units: float
) -> None:
    drawn = random_problem(seed, n, Cardinality.from_sparsity(n, share), g=g, offset=offset)
    slope = None if drawn.g is None else drawn.g * units
    problem = PruningProblem(drawn.w_bar, drawn.curvature.dense() * units, drawn.pattern, slope, offset * units)
    optimum = enumerated(problem)
    value, outcome = selected(problem)
    slack = 1e-9 * (abs(optimum) + units)
    assert abs(value - optimum) <= slack
    assert outcome.bound <= optimum + 1e-12 * units
    assert value - outcome.bound <= 1e-6 * (abs(value) + units)


def test_a_time_limit_leaves_a_feasible_mask_and_a_bound_that_holds() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 40))
    problem = PruningProblem.from_gradients(rng.normal(size=40), X, damping=1e-4).pruning(20)
    value, outcome = selected(problem, time_limit=0.3)
    assert outcome.termination is TerminationCondition.TIME_LIMIT
    assert 0 <= outcome.bound <= value
    assert conclude(problem, highs_selection.SPEC, outcome, 0.3, {}).solution_status == "feasible"


def test_a_time_limit_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="time_limit"):
        highs_selection.run(CANCELLING, time_limit=0.0)


def test_too_many_weights_are_refused() -> None:
    with pytest.raises(TooLargeError, match="60"):
        highs_selection.SPEC.check(PruningProblem(np.ones(61), np.eye(61)).pruning(1))


def test_highs_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    selected(random_problem(1, 6, Cardinality(6, 3)))
    assert capfd.readouterr() == ("", "")


# ------------------------------------------------------------------- the models themselves


@pytest.mark.parametrize("name", ["selection-binary", "selection-linearized"])
@pytest.mark.parametrize("problem", CASES[:5])
def test_model_objective_is_f_at_every_mask(problem: PruningProblem, name: str) -> None:
    from pyomo.environ import value

    model = FORMULATIONS[name].build(problem)
    for bits in itertools.islice(itertools.product((0, 1), repeat=problem.n), 0, None, 7):
        z = np.array(bits, dtype=bool)
        for i in model.I:
            model.z[i].set_value(bits[i])
        if name == "selection-linearized":
            for i, j in model.E:
                model.y[i, j].set_value((1 - bits[i]) * (1 - bits[j]))
        f = problem.objective(np.where(z, problem.w_bar, 0.0))
        assert value(model.loss) == pytest.approx(f, rel=1e-10, abs=1e-10)


def test_multiplied_cardinality_holds_at_every_mask() -> None:
    from pyomo.environ import Constraint, value

    problem = random_problem(8, 6, Cardinality(6, 3))
    model = FORMULATIONS["selection-linearized"].build(problem)
    for bits in itertools.product((0, 1), repeat=6):
        for i in model.I:
            model.z[i].set_value(bits[i])
        for i, j in model.E:
            model.y[i, j].set_value((1 - bits[i]) * (1 - bits[j]))
        holds = all(row.slack() >= 0 for row in model.component_data_objects(Constraint) if value(row.body) is not None)
        assert holds == problem.Z.contains(np.array(bits, dtype=bool))


@pytest.mark.parametrize("problem", CASES[:4])
def test_binary_qp_by_scip_is_that_of_enumeration(problem: PruningProblem) -> None:
    pytest.importorskip("pyscipopt")
    from pyomo.contrib.solver.common.factory import SolverFactory

    formulation = FORMULATIONS["selection-binary"]
    model = formulation.build(problem)
    SolverFactory("scip_direct").solve(model, time_limit=20, solver_options={"display/verblevel": 0})
    solution = solution_of(formulation, model, problem)
    assert solution.selection_objective == pytest.approx(enumerated(problem), rel=1e-6)
    assert solution.solution_status == "feasible"


def test_where_only_one_mask_is_good_enough_highs_is_not_needed() -> None:
    # Nothing has to go, and the small slope does not pay for any weight: the optimum is exactly zero.
    problem = PruningProblem([1.0, 2.0, 3.0], np.eye(3), g=[0.1, -0.1, 0.1]).pruning(0)
    value, outcome = selected(problem)
    assert outcome.mask.all()
    assert outcome.nodes == 0
    assert relative_gap(value, outcome.bound) == 0.0
