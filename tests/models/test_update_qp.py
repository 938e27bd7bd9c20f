"""The update as a QP, solved by HiGHS, against the closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbs_opt import PruningProblem, obs_update
from cbs_opt.errors import InputError, UnsupportedError
from cbs_opt.kernel.arrays.types import EPS
from cbs_opt.models import FORMULATIONS, solution_of

UPDATE = FORMULATIONS["update-qp"]

# HiGHS adds 1e-7 to the diagonal of a QP by itself: in our units that shifts the weights by 1e-7·condition.
HIGHS = {
    "qp_regularization_value": 0.0,
    "primal_feasibility_tolerance": 1e-10,
    "dual_feasibility_tolerance": 1e-10,
    "output_flag": False,
}


def solved(problem: PruningProblem, mask: np.ndarray) -> tuple[Any, np.ndarray]:
    from pyomo.contrib.solver.common.factory import SolverFactory
    from pyomo.environ import value

    model = UPDATE.build(problem, mask=mask)
    SolverFactory("highs").solve(model, threads=1, solver_options=HIGHS)
    return model, np.array([value(model.w[i]) for i in model.I])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(2, 12),
    condition=st.sampled_from([1.0, 1e2, 1e4, 1e6, 1e8]),
    first_order=st.booleans(),
    units=st.sampled_from([1e-5, 1.0, 1e4]),
)
def test_highs_agrees_with_the_closed_form(
    seed: int, n: int, condition: float, first_order: bool, units: float
) -> None:
    rng = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    H = (Q * np.geomspace(1.0, 1.0 / condition, n)) @ Q.T * units
    g = 0.1 * H @ rng.normal(size=n) if first_order else None
    problem = PruningProblem(rng.normal(size=n), (H + H.T) / 2, g=g)
    mask = rng.random(n) < 0.5
    unit, _, t = problem.normalized()
    _, w = solved(unit, mask)
    expected = obs_update(problem, mask)
    scale = max(np.abs(expected).max(), np.abs(problem.w_bar).max())
    assert np.abs(t * w - expected).max() <= max(1e-7, 10 * EPS * condition) * scale
    assert (w[~mask] == 0).all()


def test_multipliers_of_pruned_weights_are_the_slopes_there() -> None:
    from pyomo.contrib.solver.common.factory import SolverFactory

    problem = PruningProblem([1.0, -2.0, 0.5], np.eye(3) + 0.3, g=[0.1, 0.0, -0.2])
    mask = np.array([True, False, True])
    model = UPDATE.build(problem, mask=mask)
    results = SolverFactory("highs").solve(model, threads=1, solver_options=HIGHS)
    multiplier = results.solution_loader.get_duals()[model.pruned[1]]
    w = obs_update(problem, mask)
    slope = problem.linear_term() + problem.curvature.matvec(w - problem.w_bar)
    assert multiplier == pytest.approx(slope[1], rel=1e-6)


def test_solution_is_feasible_and_proves_nothing_about_the_mask() -> None:
    problem = PruningProblem([1.0, -2.0, 0.5], np.eye(3) + 0.3).pruning(1)
    mask = np.array([True, False, True])
    model, _ = solved(problem, mask)
    solution = solution_of(UPDATE, model, problem)
    assert solution.mask.tolist() == mask.tolist()
    assert solution.solution_status == "feasible"
    assert solution.gap == np.inf
    with pytest.raises(UnsupportedError, match="mask is given"):
        solution_of(UPDATE, model, problem, bound=0.0)


def test_a_mask_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(InputError, match="mask"):
        UPDATE.build(PruningProblem([1.0, 2.0], np.eye(2)), mask=[True])
