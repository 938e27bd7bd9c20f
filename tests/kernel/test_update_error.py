"""The update of a weakly damped factor against exact rational arithmetic, and what it says about its own error."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from rational import solved

from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.curvature import BlockDiagonalCurvature, Curvature, DiagonalCurvature, FactorCurvature
from cbs_opt.kernel.judge import judge
from cbs_opt.kernel.method import Objective
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Outcome, SolutionStatus
from cbs_opt.kernel.stacks import update_factor
from cbs_opt.kernel.update import obs_update
from cbs_opt.kernel.update_error import update_excess

N = 6
MASK = np.array([True, True, False, True, True, False])


def fractions(values: Vector) -> list[Fraction]:
    return [Fraction(float(value)) for value in values]


def exact_values(A: np.ndarray, damping: Vector, w_bar: Vector, g: Vector, z: Mask, w: Vector) -> tuple[Fraction, ...]:
    """The least f on the support, and f(w), for H = AᵀA + diag(damping), without any rounding."""
    rows, n = [fractions(row) for row in A], len(w_bar)
    lam, first = fractions(damping), fractions(g)
    H = [[sum((row[i] * row[j] for row in rows), lam[i] * (i == j)) for j in range(n)] for i in range(n)]
    d = [Fraction(0) if z[i] else -Fraction(float(w_bar[i])) for i in range(n)]
    S = np.flatnonzero(z).tolist()
    right = [-first[i] - sum((H[i][j] * d[j] for j in range(n)), Fraction(0)) for i in S]
    for i, value in zip(S, solved([[H[i][j] for j in S] for i in S], right), strict=True):
        d[i] = value

    def f(d: list[Fraction]) -> Fraction:
        return sum((d[i] * (first[i] + sum(H[i][j] * d[j] for j in range(n)) / 2) for i in range(n)), Fraction(0))

    return f(d), f([Fraction(float(a)) - Fraction(float(b)) for a, b in zip(w, w_bar, strict=True)])


def weakly_damped(m: int, relative: float, g: str, dtype: type, seed: int) -> tuple[PruningProblem, np.ndarray]:
    """A factor some of whose rows are the same, λ a part of ‖A‖², and g of the kind 'none', 'any' or 'rows' (= Aᵀv)."""
    rng = np.random.default_rng([m, seed])
    A = rng.normal(size=(m, N))[rng.integers(0, (m + 1) // 2, m)].astype(dtype)
    lam = relative * float(np.linalg.norm(A.astype(float), 2)) ** 2
    first = {"none": None, "any": rng.normal(size=N), "rows": A.astype(float).T @ rng.normal(size=m)}[g]
    return PruningProblem(rng.normal(size=N), FactorCurvature(A, lam), g=first), A


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("g", ["none", "any", "rows"])
@pytest.mark.parametrize("relative", [1e-3, 1e-9, 1e-13, 1e-15, 1e-16])
@pytest.mark.parametrize("m", [1, 3, 4, 9])
def test_the_round_off_covers_what_the_update_leaves(m: int, relative: float, g: str, dtype: type) -> None:
    for seed in range(3):
        problem, A = weakly_damped(m, relative, g, dtype, seed)
        w = obs_update(problem, MASK)
        damping = np.full(N, problem.curvature.damping)
        least, value = exact_values(A, damping, problem.w_bar, problem.linear_term(), MASK, w)
        assert abs(Fraction(problem.objective(w)) - least) <= Fraction(
            problem.round_off(w) + update_excess(problem, MASK, w)
        )
        if m <= MASK.sum() and relative >= 1e-13:
            assert value - least <= Fraction(1e-12) * abs(least)
            stacked = update_factor(
                A.astype(float)[None],
                problem.curvature.damping,
                problem.w_bar[None],
                MASK[None],
                problem.linear_term()[None],
            )[0]
            value = exact_values(A, damping, problem.w_bar, problem.linear_term(), MASK, stacked)[1]
            assert value - least <= Fraction(1e-12) * abs(least)


def test_with_tensors_too() -> None:
    torch = pytest.importorskip("torch")
    problem, A = weakly_damped(3, 1e-13, "rows", np.float64, 0)
    given = [torch.as_tensor(a.copy())[None] for a in (problem.w_bar, MASK, problem.linear_term())]
    w = update_factor(torch.as_tensor(A)[None], problem.curvature.damping, *given)[0].numpy()
    damping = np.full(N, problem.curvature.damping)
    least, value = exact_values(A, damping, problem.w_bar, problem.linear_term(), MASK, w)
    assert value - least <= Fraction(1e-12) * abs(least)


def test_a_moderately_damped_update_is_left_as_it_is() -> None:
    """The closed form, digit by digit: refinement is for weak damping."""
    rng = np.random.default_rng(5)
    A, lam, w_bar = rng.normal(size=(3, N)), 0.1, rng.normal(size=N)
    K = A[:, MASK] @ A[:, MASK].T + lam * np.eye(3)
    u = np.linalg.solve(K, lam * (A @ np.where(MASK, 0.0, w_bar)))
    problem = PruningProblem(w_bar, FactorCurvature(A, lam))
    w = obs_update(problem, MASK)
    np.testing.assert_allclose(w, np.where(MASK, w_bar + A.T @ u / lam, 0.0), rtol=1e-13, atol=1e-15)
    assert problem.round_off(w) + update_excess(problem, MASK, w) <= problem.round_off(w) * (1 + 1e-9)


@pytest.mark.parametrize("kind", ["diagonal", "blocks"])
def test_of_other_curvatures(kind: str) -> None:
    rng = np.random.default_rng(7)
    diagonal, w_bar, g = rng.uniform(1, 2, N), rng.normal(size=N), rng.normal(size=N)
    curvature: Curvature = DiagonalCurvature(diagonal)
    A, damping = np.zeros((1, N)), diagonal
    if kind == "blocks":
        A, damping = np.zeros((1, N)), np.concatenate([np.full(3, 1e-13), diagonal[3:]])
        A[0, :3] = 1.0
        g[:3] = 1.0
        curvature = BlockDiagonalCurvature([FactorCurvature(A[:, :3], 1e-13), DiagonalCurvature(diagonal[3:])])
    problem = PruningProblem(w_bar, curvature, g=g)
    w = obs_update(problem, MASK)
    least, value = exact_values(A, damping, w_bar, g, MASK, w)
    said = problem.round_off(w) + update_excess(problem, MASK, w)
    assert abs(Fraction(problem.objective(w)) - least) <= Fraction(said)
    assert value - least <= Fraction(1e-12) * abs(least)
    worse = np.where(MASK, w + 0.01, 0.0)
    value = exact_values(A, damping, w_bar, g, MASK, worse)[1]
    assert value - least <= Fraction(problem.round_off(worse) + update_excess(problem, MASK, worse))


def test_nothing_is_proven_by_an_update_that_is_not_known_to_the_tolerance() -> None:
    """λ is lost in AAᵀ: the updated weights are far from the best, though their value is known to all digits."""
    problem, A = weakly_damped(1, 1e-16, "rows", np.float64, 0)
    problem = problem.pruning(2)
    w = obs_update(problem, MASK)
    least, value = exact_values(A, np.full(N, problem.curvature.damping), problem.w_bar, problem.linear_term(), MASK, w)
    assert value - least > Fraction(1e-3) * abs(least)
    objective = problem.objective(w)
    solution = judge(problem, "any", Outcome(MASK, objective - 1e-8 * abs(objective)), Objective.JOINT)
    assert solution.solution_status is SolutionStatus.FEASIBLE
    assert Fraction(solution.round_off) >= value - least
