"""The compiled searches for incumbents against those of the package that are written in NumPy."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cbs_opt import Cardinality, PruningProblem
from cbs_opt.solvers.bounds.centered import CenteredBlock, root_state
from cbs_opt.solvers.compiled.incumbents import exchange, greedy
from cbs_opt.solvers.compiled.node import support_value
from cbs_opt.solvers.forms.node_state import Room
from cbs_opt.solvers.heuristic import greedy_obs, swap

SEEDS = st.integers(0, 2**32 - 1)


def block(seed: int, n: int, condition: float = 1.0) -> tuple[PruningProblem, CenteredBlock]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(2 * n, n)) * condition ** -rng.random(n)
    pattern = Cardinality(n, n // 2 + 1, keep=[0], forbid=[n - 1])
    problem = PruningProblem(rng.normal(size=n), X.T @ X / (2 * n), pattern=pattern)
    return problem, CenteredBlock.of(problem)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, n=st.integers(4, 24), condition=st.sampled_from([1.0, 1e3]))
def test_greedy_prunes_what_greedy_obs_prunes(seed: int, n: int, condition: float) -> None:
    problem, around = block(seed, n, condition)
    state, _, room = root_state(problem, around)
    ok, mask = greedy(around.H, around.c, state, room)
    assert ok
    assert np.array_equal(mask, greedy_obs.run(problem).mask)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, n=st.integers(4, 24))
def test_exchange_ends_where_swap_ends(seed: int, n: int) -> None:
    problem, around = block(seed, n)
    state, _, room = root_state(problem, around)
    mask = np.zeros(n, dtype=bool)
    mask[0] = True
    mask[1 + np.random.default_rng(seed).permutation(n - 2)[: room.room[0] - 1]] = True
    expected = swap.improve([(1, around.H)], around.c, mask, problem.Z)
    value, _ = exchange(around.H, around.c, mask, state, room.labels)
    assert np.array_equal(mask, expected)
    assert value == support_value(around.H, around.c, mask)[0]


def test_greedy_refuses_what_it_cannot_factorize() -> None:
    H = np.array([[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    ok, _ = greedy(H, np.ones(3), np.zeros(3, dtype=np.int8), Room.one(3, 1))
    assert not ok
