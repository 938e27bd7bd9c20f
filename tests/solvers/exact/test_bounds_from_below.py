"""Bounds against optima in rational arithmetic: not even the last digit may lie above."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from cbs_opt import PruningProblem, solve
from cbs_opt.evaluation.comparator import trivial_bound
from cbs_opt.kernel.curvature import FactorCurvature
from cbs_opt.kernel.update import obs_update
from cbs_opt.solvers.bounds.centered import CenteredBlock
from cbs_opt.solvers.bounds.support import support_bounds
from cbs_opt.testing.instances import random_problem


def exact_selection(problem: PruningProblem, mask: np.ndarray) -> Fraction:
    """f(mask ∘ w̄), for a stored H."""
    pruned = np.flatnonzero(~mask).tolist()
    H, w = problem.curvature.dense(), [Fraction(float(x)) for x in problem.w_bar]
    value = Fraction(problem.offset) - sum(Fraction(float(problem.linear_term()[i])) * w[i] for i in pruned)
    return value + sum(Fraction(float(H[i, j])) * w[i] * w[j] for i in pruned for j in pruned) / 2


def exact_optimum(problem: PruningProblem) -> Fraction:
    masks = [np.array(z) for z in product([False, True], repeat=problem.n)]
    return min(exact_selection(problem, z) for z in masks if problem.Z.contains(z))


@pytest.mark.parametrize("seed", [130, 200, 221, 254])
def test_highs_selection_where_one_mask_is_left(seed: int) -> None:
    problem = random_problem(seed, max_n=5)
    assert problem is not None
    found = solve(problem, "highs-selection")
    assert "only this mask" in found.notes[0]
    optimum = exact_optimum(problem)
    assert Fraction(found.selection_bound) <= optimum
    assert optimum - Fraction(found.selection_bound) <= Fraction(1e-9) * abs(optimum)


def test_enumeration_of_the_selection() -> None:
    problem = random_problem(1305, max_n=5)
    assert problem is not None
    found = solve(problem, "enumeration-selection")
    assert Fraction(found.selection_bound) <= exact_optimum(problem)
    assert found.solution_status == "optimal"


def test_a_value_from_below() -> None:
    for seed in range(80):
        problem = random_problem(seed, max_n=6)
        if problem is None:
            continue
        mask = np.random.default_rng(seed).random(problem.n) < 0.5
        exact, w = exact_selection(problem, mask), np.where(mask, problem.w_bar, 0.0)
        below = float(support_bounds(problem, w[None], None)[0])
        assert Fraction(below) <= exact
        assert exact - Fraction(below) <= Fraction(25 * problem.round_off(w))


@pytest.mark.parametrize("correlation", [0.5, 0.9, 0.999999])
def test_the_least_value_on_a_support(correlation: float) -> None:
    """Two weights with H = [[1, c], [c, 1]], the second pruned: ½ (1 − c²) w̄₂² + what g adds, by hand."""
    c = correlation
    rng = np.random.default_rng(0)
    for _ in range(50):
        w, g = rng.normal(size=2), rng.normal(size=2)
        problem = PruningProblem(w, np.array([[1.0, c], [c, 1.0]]), g=g, offset=rng.normal())
        w1, g0, g1, exact_c = Fraction(w[1]), Fraction(g[0]), Fraction(g[1]), Fraction(c)
        exact = Fraction(problem.offset) - g1 * w1 + w1 * w1 / 2 - (g0 - exact_c * w1) ** 2 / 2
        mask = np.array([True, False])
        below = float(support_bounds(problem, obs_update(problem, mask)[None], mask[None])[0])
        assert Fraction(below) <= exact
        assert exact - Fraction(below) <= Fraction(1e-13)


def test_the_trivial_bound_of_a_weakly_damped_factor() -> None:
    """f at the unconstrained minimizer, where H⁻¹g is not known to all digits: gᵀH⁻¹g for A = one row, by hand."""
    A = np.array([[0.3, 0.7, -0.4]])
    for relative in (1e-13, 1e-15, 1e-16):
        lam = relative * float((A * A).sum())
        g = 1.7 * A[0]
        problem = PruningProblem(np.ones(3), FactorCurvature(A, lam), g=g)
        a, first, damping = ([Fraction(float(x)) for x in A[0]], [Fraction(float(x)) for x in g], Fraction(lam))
        inner, square = sum(x * y for x, y in zip(a, first, strict=True)), sum(x * x for x in a)
        least = -(sum(x * x for x in first) - inner**2 / (damping + square)) / damping / 2
        assert Fraction(trivial_bound(problem)) <= least


def test_every_step_of_a_centered_bound_goes_down() -> None:
    rng = np.random.default_rng(3)
    for _ in range(2000):
        base, error = float(rng.normal() * 10.0 ** rng.uniform(-3, 3)), float(10.0 ** rng.uniform(-20, -14))
        drift, value = float(10.0 ** rng.uniform(-10, -7)), float(10.0 ** rng.uniform(-3, 3))
        block = CenteredBlock(np.eye(1), np.ones(1), base, error, 2.0**-3, drift)
        # √V to the last digit, rounded down.
        root = Fraction(math.sqrt(value))
        root = root if root * root <= Fraction(value) else Fraction(math.nextafter(math.sqrt(value), 0.0))
        exact = Fraction(base) + (Fraction(value) - 2 * Fraction(drift) * root) / 8 - Fraction(error)
        assert Fraction(block.bound(value)) <= exact
