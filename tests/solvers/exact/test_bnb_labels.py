"""Branch and bound under quotas and N:M, against every largest mask of the pattern."""

from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbs_opt import PruningProblem, Quotas, lower_bound, obs_update, solve
from cbs_opt.kernel.patterns import Labelled
from cbs_opt.kernel.result import SolutionStatus
from cbs_opt.solvers.bounds.perspective import perspective_bound
from cbs_opt.testing.instances import gram, random_problem
from cbs_opt.testing.scattered import Scattered

SEEDS = st.integers(0, 2**32 - 1)


def under_quotas(seed: int, max_n: int = 10) -> PruningProblem | None:
    """A block of an awkward kind, its pattern drawn anew: N:M, segments, labels in any order; some weights forced."""
    problem = random_problem(seed, max_n)
    if problem is None:
        return None
    rng, n = np.random.default_rng(seed), problem.n
    divisors = [m for m in range(2, n) if n % m == 0]
    kind = rng.integers(0, 4)
    pattern: Labelled
    if kind == 0:
        labels = rng.integers(0, 3, n)
        pattern = Scattered(labels, rng.integers(0, np.bincount(labels, minlength=3) + 1))
    elif divisors and kind <= 2:
        m = int(rng.choice(divisors))
        pattern = Quotas.n_of_m(n, int(rng.integers(0, m + 1)), m)
    else:
        inner = np.flatnonzero(rng.random(n - 1) < 0.4) + 1
        sizes = np.diff([0, *inner, n])
        pattern = Quotas(sizes, rng.integers(0, sizes + 1))
    if rng.random() < 0.4:
        role = rng.integers(0, 5, n)
        keep = np.zeros(n, dtype=bool)
        for i in np.flatnonzero(role == 0):
            keep[i] = True
            keep[i] = bool((pattern.count(keep) <= pattern.room).all())
        pattern = pattern.fixed(keep, (role == 1) & ~keep)
    return problem.within(pattern)


def best_of_all(problem: PruningProblem) -> tuple[float, float]:
    """The joint optimum over all largest masks, and what its evaluation may be wrong by."""
    pattern = problem.Z
    assert isinstance(pattern, Labelled)
    choices = [
        combinations(np.flatnonzero(pattern.free & (pattern.labels == label)), int(room))
        for label, room in enumerate(pattern.room_of_free)
    ]
    best, error = np.inf, 0.0
    for chosen in product(*choices):
        mask = pattern.keep.copy()
        mask[[i for part in chosen for i in part]] = True
        weights = obs_update(problem, mask)
        value = problem.objective(weights)
        if value < best:
            best, error = value, problem.round_off(weights)
    return best, error


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_equals_enumeration_and_never_claims_more(seed: int) -> None:
    problem = under_quotas(seed)
    if problem is None:
        return
    optimum, error = best_of_all(problem)
    solution = solve(problem, "bnb")
    assert problem.Z.contains(solution.mask)
    assert solution.bound <= optimum + error + 1e-12 * abs(optimum)
    assert solution.objective <= optimum * (1 + math.copysign(2e-6, optimum)) + error + solution.round_off
    if problem.g is None and solution.round_off <= 1e-9 * solution.objective:
        assert solution.solution_status is SolutionStatus.OPTIMAL


@pytest.mark.parametrize("seed", [152, 307])
def test_labels_that_nodes_meet_in_another_order_keep_their_own_room(seed: int) -> None:
    """Blocks on which a bound lay above the optimum when two labels of a node had changed rooms."""
    problem = random_problem(seed, 10)
    assert problem is not None
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, problem.n)
    problem = problem.within(Scattered(labels, rng.integers(0, np.bincount(labels, minlength=3) + 1)))
    optimum, error = best_of_all(problem)
    solution = solve(problem, "bnb")
    assert solution.bound <= optimum + error
    assert solution.objective <= optimum * (1 + 2e-6) + error + solution.round_off


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_the_perspective_bound_is_below_every_mask(seed: int) -> None:
    problem = under_quotas(seed)
    if problem is None:
        return
    optimum, error = best_of_all(problem)
    assert perspective_bound(problem)[0] <= optimum + error + 1e-12 * abs(optimum)


@pytest.mark.parametrize("threads", [1, 2])
def test_two_of_four_is_proven(threads: int) -> None:
    problem = gram(32, 20, 1e-3, seed=3).within(Quotas.n_of_m(32, 2, 4))
    found = solve(problem, "bnb", threads=threads)
    assert found.solution_status is SolutionStatus.OPTIMAL
    assert found.nodes > 20
    assert lower_bound(problem).value <= found.objective <= solve(problem, "swap").objective * (1 + 1e-9)


def test_one_label_is_a_cardinality_however_it_is_called() -> None:
    problem = gram(24, 16, 1e-3, seed=1)
    one, other = (solve(problem.within(Z), "bnb") for Z in (Quotas([24], 16), problem.pruning(16).Z))
    assert (one.nodes, one.objective, one.bound) == (other.nodes, other.objective, other.bound)
    first, second = (lower_bound(problem.within(Z)) for Z in (Quotas([24], 16), problem.pruning(16).Z))
    assert (first.method, first.value) == (second.method, second.value)
