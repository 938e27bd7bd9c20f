"""Trying all leaves of a node: against enumeration of its supports, with and without its bound, near ties included."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import cbs_opt
from cbs_opt.kernel.result import GAP_TOLERANCE
from cbs_opt.solvers.compiled import node as kernels
from cbs_opt.solvers.compiled.leaves import try_leaves, work_of_leaves
from cbs_opt.solvers.exact import bnb_search
from cbs_opt.solvers.exact.bnb_nodes import NodeRecord
from cbs_opt.testing.instances import random_problem

SEEDS = st.integers(0, 2**32 - 1)


def node(seed: int) -> tuple[bnb_search.Search, np.ndarray, list[np.ndarray], np.ndarray]:
    """A random node of a random problem, its leaves' masks and their values in the block's units."""
    problem = random_problem(seed, max_n=10)
    assume(problem is not None)
    assert problem is not None
    search = bnb_search.Search(problem, GAP_TOLERANCE, None)
    state = search._heap[0].state.copy()
    rng = np.random.default_rng(seed)
    for i in np.flatnonzero(state == kernels.FREE):
        if rng.random() < 0.2:
            state[i] = rng.choice([kernels.KEPT, kernels.PRUNED])
    free = np.flatnonzero(state == kernels.FREE)
    room = search._budget - int((state == kernels.KEPT).sum())
    assume(1 <= room < len(free) and np.isfinite(search._doubt))
    masks = []
    for chosen in combinations(free, room):
        mask = state == kernels.KEPT
        mask[list(chosen)] = True
        masks.append(mask)
    values = np.array([kernels.support_value(search._block.H, search._block.c, mask)[0] for mask in masks])
    return search, state, masks, values


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(seed=SEEDS, scored=st.booleans(), place=st.sampled_from([0.5, 1.0, 1.001, 3.0]))
def test_no_leaf_below_is_missed(seed: int, scored: bool, place: float) -> None:
    search, state, masks, values = node(seed)
    H, c = search._block.H, search._block.c
    cutoff = place * float(values.min())
    assume(search._doubt <= bnb_search.MOST_DOUBT * cutoff)
    scores, threshold = np.zeros(len(c)), -np.inf
    if scored:
        D, w = search._heap[0].D.copy(), c * np.random.default_rng(seed).uniform(0.3, 1.0, len(c))
        room, tau = search._room, np.full(1, -1.0)
        *_, baseline = kernels.process(
            H, c, float(np.linalg.eigvalsh(H)[0]), state.copy(), D, w, scores, tau, 1.0, room, np.inf, 0, 0
        )
        threshold = baseline - cutoff
        for mask, value in zip(masks, values, strict=True):
            assert baseline - scores[mask & (state == kernels.FREE)].sum() <= value
    done, proven, best = try_leaves(
        H, c, search._pull, search._size, state, scores, threshold, search._budget, cutoff, search._doubt
    )
    assume(done)
    assert proven <= min(cutoff, float(values.min()))
    if cutoff > values.min():
        found = next(value for mask, value in zip(masks, values, strict=True) if np.array_equal(mask, best))
        assert found <= values.min() + 2.0 * search._doubt
    if place == 0.5:
        assert proven == cutoff


def test_work_counts_every_leaf_where_the_bound_leaves_all() -> None:
    """K = 3 of m: one Schur complement for each highest weight i, and the pairs below it."""
    m = 9
    state, scores = np.zeros(m, dtype=np.int8), np.ones(m)
    expected = sum(0.5 * i * i + (i * i - 1) for i in range(2, m))
    assert work_of_leaves(state, scores, 3, -1e9, np.inf) == pytest.approx(expected)
    assert work_of_leaves(state, scores, 3, 1e9, np.inf) == 0.0


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_a_recorded_search_branches_to_the_same_optimum(seed: int) -> None:
    """With ``record`` no node's leaves are tried, so that every record stands for one bound."""
    rng = np.random.default_rng(seed)
    G = rng.normal(size=(10, 18))
    problem = cbs_opt.PruningProblem.from_gradients(rng.normal(size=18), G, damping=1e-2).pruning(12)
    records: list[NodeRecord] = []
    branched, tried = cbs_opt.solve(problem, "bnb", record=records.append), cbs_opt.solve(problem, "bnb")
    assert len(records) == branched.nodes >= tried.nodes
    assert branched.objective == pytest.approx(tried.objective, rel=2e-6)
    assert tried.bound <= branched.objective
    assert branched.bound <= tried.objective
