"""The exchange formula against re-solving every pair, and the local optimum it leads to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbs_opt import Cardinality, PruningProblem, solve
from cbs_opt.errors import PatternError
from cbs_opt.solvers.forms.unit_parts import parts_of
from cbs_opt.solvers.heuristic.swap import improve
from cbs_opt.solvers.heuristic.swap_state import State


def make_problem(n: int, seed: int, first_order: bool = False) -> PruningProblem:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((2 * n, n)) * np.exp(rng.standard_normal(n))
    g = rng.standard_normal(n) if first_order else None
    return PruningProblem(rng.standard_normal(n), X.T @ X / (2 * n), g=g)


def value(H: np.ndarray, center: np.ndarray, mask: np.ndarray) -> float:
    """½ (c − w)ᵀH(c − w) of the best w on the support, through the inverse: ½ c_Pᵀ[(H⁻¹)_PP]⁻¹c_P."""
    pruned = np.flatnonzero(~mask)
    inverse = np.linalg.inv(H)[np.ix_(pruned, pruned)]
    return float(0.5 * center[pruned] @ np.linalg.solve(inverse, center[pruned]))


def random_mask(n: int, seed: int) -> np.ndarray:
    mask = np.zeros(n, dtype=bool)
    mask[np.random.default_rng(seed + 1).permutation(n)[: max(1, n // 2)]] = True
    return mask


@settings(max_examples=40, deadline=None)
@given(n=st.integers(2, 10), seed=st.integers(0, 2**31))
def test_change_of_every_pair_equals_solving_again(n: int, seed: int) -> None:
    problem, mask = make_problem(n, seed), random_mask(n, seed)
    H, center = problem.curvature.dense(), problem.w_bar
    kept, pruned = np.flatnonzero(mask), np.flatnonzero(~mask)
    (part,) = parts_of([(1, H)], center, np.arange(n))
    state = State.at(part, mask)
    before = value(H, center, mask)
    assert state.value == pytest.approx(before, rel=1e-9)
    found = state.exchanges
    assert found.leaving.tolist() == kept.tolist()
    assert found.entering.tolist() == pruned.tolist()
    changes = found.change
    for row, i in enumerate(kept):
        for column, j in enumerate(pruned):
            exchanged = mask.copy()
            exchanged[i], exchanged[j] = False, True
            expected = value(H, center, exchanged) - before
            assert changes[row, column] == pytest.approx(expected, rel=1e-7, abs=1e-9 * before)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(2, 10), seed=st.integers(0, 2**31), first_order=st.booleans())
def test_ends_where_no_exchange_helps(n: int, seed: int, first_order: bool) -> None:
    problem, start = make_problem(n, seed, first_order), random_mask(n, seed)
    H, center = problem.curvature.dense(), problem.minimizer()
    free = np.ones(n, dtype=bool)
    free[seed % n] = False
    held = np.flatnonzero(~free)
    roles = {"keep": held} if start[held].all() else {"forbid": held}
    mask = improve([(1, H)], center, start, Cardinality(n, int(n - start.sum()), **roles))
    reached = value(H, center, mask)
    assert reached <= value(H, center, start) * (1 + 1e-9)
    assert mask.sum() == start.sum()
    assert mask[~free] == start[~free]
    for i in np.flatnonzero(mask & free):
        for j in np.flatnonzero(~mask & free):
            exchanged = mask.copy()
            exchanged[i], exchanged[j] = False, True
            assert value(H, center, exchanged) >= reached * (1 - 1e-8)


@settings(max_examples=20, deadline=None)
@given(n=st.integers(2, 14), seed=st.integers(0, 2**31))
def test_is_no_worse_than_greedy_obs_and_than_a_given_start(n: int, seed: int) -> None:
    problem = make_problem(n, seed).pruning(n // 2)
    start = solve(problem, "magnitude")
    tolerance = 1 + 1e-9
    assert solve(problem, "swap").objective <= solve(problem, "greedy-obs").objective * tolerance
    assert solve(problem, "swap", start=start.mask).objective <= start.objective * tolerance


def test_a_start_that_keeps_too_few_is_filled_up() -> None:
    problem = make_problem(8, 0).within(Cardinality(8, 4, keep=[1], forbid=[2]))
    start = np.array([0, 1, 0, 0, 0, 0, 0, 1])
    found = solve(problem, "swap", start=start).mask
    assert found.sum() == 4
    assert found[1]
    assert not found[2]


def test_a_start_outside_the_pattern_is_refused() -> None:
    with pytest.raises(PatternError, match="start"):
        solve(make_problem(4, 0).pruning(2), "swap", start=[1, 1, 1, 0])


@pytest.mark.parametrize("seed", range(5))
def test_ends_at_condition_1e12(seed: int) -> None:
    n, rng = 40, np.random.default_rng(seed)
    Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    H = (Q * np.logspace(0, -12, n)) @ Q.T
    problem = PruningProblem(rng.standard_normal(n), (H + H.T) / 2 + 1e-13 * np.eye(n)).pruning(20)
    found, greedy = solve(problem, "swap"), solve(problem, "greedy-obs")
    assert found.pruned == 20
    assert found.objective <= greedy.objective + greedy.round_off
