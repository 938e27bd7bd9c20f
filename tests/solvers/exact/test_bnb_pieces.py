"""Rank-one pieces in the tree: bounds that hold for every mask, the same proofs, fewer nodes for similar columns."""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import cbs_opt
from cbs_opt import Labels
from cbs_opt.errors import InputError
from cbs_opt.kernel.result import SolutionStatus
from cbs_opt.solvers.compiled import node as kernels
from cbs_opt.solvers.compiled.pieces import evaluate_pieces
from cbs_opt.solvers.compiled.pieces_node import process_pieces
from cbs_opt.solvers.compiled.pieces_splitting import ascend_pieces
from cbs_opt.solvers.exact import bnb_search
from cbs_opt.solvers.exact.bnb_pieces import piece_root, prepare_pieces
from cbs_opt.solvers.forms.node_state import Room
from cbs_opt.testing.instances import assert_equals_enumeration, gram, random_problem

SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture
def pieces_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees that get pieces at their second node and end in branching alone."""
    monkeypatch.setattr(bnb_search, "BEGINNINGS", {1: 1})
    monkeypatch.setattr(bnb_search, "LABELS_BEGINNINGS", {1: 1})
    monkeypatch.setattr(bnb_search, "PIECES_FROM", 2)
    monkeypatch.setattr(bnb_search.Search, "shared_from", 2)
    monkeypatch.setattr(bnb_search, "DIRECT_ROOM", 0)
    monkeypatch.setattr(bnb_search, "MOST_ROOM", 0)


def nearly_duplicate(n: int, prune: int, seed: int = 0) -> cbs_opt.PruningProblem:
    """Columns in groups of three that differ by a tenth."""
    rng = np.random.default_rng(seed)
    group = rng.normal(size=(2 * n, n // 3 + 1))
    G = group[:, np.arange(n) % group.shape[1]] + 0.1 * rng.normal(size=(2 * n, n))
    return cbs_opt.PruningProblem.from_gradients(rng.normal(size=n), G, damping=1e-3).pruning(prune)


def labelled(problem: cbs_opt.PruningProblem, seed: int) -> cbs_opt.PruningProblem:
    """The same under up to four labels, of whose weights any number may be kept."""
    rng = np.random.default_rng([seed, 1])
    labels = rng.integers(0, rng.integers(1, 5), problem.n)
    labels = np.unique(labels, return_inverse=True)[1]
    return problem.within(Labels(labels, [int(rng.integers(0, count + 1)) for count in np.bincount(labels)]))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=SEEDS, threads=st.sampled_from([1, 1, 3]), labels=st.booleans())
def test_equals_enumeration_and_never_claims_more(pieces_at_once: None, seed: int, threads: int, labels: bool) -> None:
    problem = random_problem(seed)
    if problem is not None:
        assert_equals_enumeration(labelled(problem, seed) if labels else problem, "bnb", threads=threads)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(seed=SEEDS, labels=st.booleans())
def test_no_mask_of_a_node_is_below_its_bound_or_its_scores(seed: int, labels: bool) -> None:
    """Whatever D, pieces and z are handed in: they may make the bound weak, never wrong."""
    problem = random_problem(seed)
    if problem is None:
        return
    rng = np.random.default_rng(seed)
    problem = labelled(problem, seed) if labels else problem
    try:
        search = bnb_search.Search(problem, 1e-6, None)
    except InputError:
        return
    H, c = search._block.H, search._block.c
    n = len(c)
    state = search._heap[0].state.copy()
    for i in np.flatnonzero(state == kernels.FREE):
        if rng.random() < 0.2:
            state[i] = rng.choice([kernels.KEPT, kernels.PRUNED])
    free = np.flatnonzero(state == kernels.FREE)
    left = search._room.room - np.bincount(search._room.labels[state == kernels.KEPT], minlength=len(search._room.room))
    assume(len(free) and left.min() >= 0)
    E = int(rng.integers(0, 6))
    members = np.full((E, 8), -1, dtype=np.int64)
    u = np.zeros((E, 8))
    for e in range(E):
        chosen = rng.choice(n, int(rng.integers(1, min(n, 8) + 1)), replace=False)
        members[e, : len(chosen)] = chosen
        u[e, : len(chosen)] = rng.normal(size=len(chosen)) / np.sqrt(H.diagonal()[chosen])
    D, q = H.diagonal() * 10.0 ** rng.uniform(-9, 0, n), 10.0 ** rng.uniform(-9, 0, E)
    z, w, scores = rng.uniform(0, 1, n), c.copy(), np.zeros(n)
    values = []
    of_label = [free[search._room.labels[free] == label] for label in range(len(left))]
    choices = [combinations(own, min(int(K), len(own))) for own, K in zip(of_label, left, strict=True)]
    for chosen in product(*choices):
        mask = state == kernels.KEPT
        mask[[i for own in chosen for i in own]] = True
        values.append((mask, kernels.support_value(H, c, mask)[0]))
    cutoff = float(rng.choice([0.5, 1.0, 2.0, 1e3])) * min(value for _, value in values)
    assume(0 < cutoff < np.inf)
    before = state.copy()
    outcome, bound, _, baseline = process_pieces(
        H, c, search._block.smallest, members, u, 0.1 * D, state, D, q, w, z, scores, 0.0, search._room, cutoff, 1
    )
    for mask, value in values:
        left = np.all(mask[state == kernels.KEPT]) and not np.any(mask[state == kernels.PRUNED])
        if outcome == kernels.FATHOMED or not left:  # or screened away
            assert value >= cutoff
        else:
            assert bound <= value
            assert baseline - scores[mask & (state == kernels.FREE)].sum() <= value
    assert np.all(state[before != kernels.FREE] == before[before != kernels.FREE])


def test_a_score_of_zero_over_zero_leaves_no_bound() -> None:
    """D_i = 0 and ρ_i = 0: as NaN in the order of the scores it made the bound 1.25 where a mask has the value 1."""
    H, c, D, none = np.eye(3), np.array([1.0, 1.0, 2.0]), np.array([0.0, 0.5, 0.5]), np.zeros(0)
    members, u = np.zeros((0, 8), dtype=np.int64), np.zeros((0, 8))
    bound, *_ = evaluate_pieces(H - np.diag(D), H, D, members, u, none, c, c, none, none, Room.one(3, 1), np.zeros(3))
    assert bound <= 1.0


def test_an_ascent_leaves_d_above_its_floor() -> None:
    """Also where D + (floor − D) is 0 in floating point."""
    D, floor, none = np.full(2, 0.5), np.full(2, 1e-20), np.zeros(0)
    members, u = np.zeros((0, 8), dtype=np.int64), np.zeros((0, 8))
    ascend_pieces(np.diag([2.0, 2.0]), D, members, u, none, np.array([1e-9, 1e3]), none, 1.0, floor)
    assert D[0] == 1e-20
    assert D[1] > 0.9


@pytest.mark.parametrize("threads", [1, 2])
def test_needs_far_fewer_nodes_where_columns_are_nearly_the_same(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    problem = nearly_duplicate(48, 38)
    monkeypatch.setattr(bnb_search, "PIECES_FROM", -1)
    without = cbs_opt.solve(problem, "bnb")
    monkeypatch.setattr(bnb_search, "PIECES_FROM", 401)
    monkeypatch.setattr(bnb_search.Search, "shared_from", 401)
    solution = cbs_opt.solve(problem, "bnb", threads=threads)
    assert solution.solution_status is without.solution_status is SolutionStatus.OPTIMAL
    assert solution.objective == pytest.approx(without.objective, rel=2e-6)
    assert without.nodes > 3 * solution.nodes > 1203


def test_and_so_where_two_of_every_eight_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = nearly_duplicate(48, 38).within(cbs_opt.Quotas.n_of_m(48, 2, 8))
    monkeypatch.setattr(bnb_search, "PIECES_FROM", -1)
    without = cbs_opt.solve(problem, "bnb")
    monkeypatch.setattr(bnb_search, "PIECES_FROM", 101)
    solution = cbs_opt.solve(problem, "bnb")
    assert solution.solution_status is without.solution_status is SolutionStatus.OPTIMAL
    assert solution.objective == pytest.approx(without.objective, rel=2e-6)
    assert without.nodes > 3 * solution.nodes


def test_what_was_proven_before_the_pieces_counts_on(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = nearly_duplicate(48, 38)
    monkeypatch.setattr(bnb_search, "PIECES_FROM", 101)
    optimum = cbs_opt.solve(problem, "bnb").objective
    bounds = [cbs_opt.solve(problem, "bnb", node_limit=limit).bound for limit in (98, 99, 100, 101, 102, 103, 110)]
    assert bounds == sorted(bounds)
    assert bounds[0] < bounds[-1] <= optimum


def test_fixed_weights_are_no_part_of_the_pieces() -> None:
    problem = nearly_duplicate(24, 16)
    search = bnb_search.Search(problem, 1e-6, None)
    state = search._root.state.copy()
    state[[0, 5]], state[[1, 7, 9]] = kernels.KEPT, kernels.PRUNED
    root = piece_root(search._block, state, search._room, search._value, coarse=False)
    assert root is not None
    assert len(root.q) > 0
    inside = root.pieces.members[root.pieces.members >= 0]
    assert not np.isin(inside, [0, 5, 1, 7, 9]).any()
    assert np.all(root.D[state == kernels.FREE] > 0)
    H = search._block.H
    free = np.flatnonzero(state == kernels.FREE)
    coupling = H[np.ix_([0, 5], free)]
    R = H[np.ix_(free, free)] - coupling.T @ np.linalg.solve(H[np.ix_([0, 5], [0, 5])], coupling)
    R -= np.diag(root.D[free])
    for q, members, u in zip(root.q, *root.pieces, strict=True):
        full = np.zeros(len(H))
        full[members[members >= 0]] = u[members >= 0]
        R -= q * np.outer(full[free], full[free])
    assert np.linalg.eigvalsh(R)[0] > 0


def test_a_block_too_wide_for_them_goes_on_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bnb_search, "PIECES_FROM", 20)
    monkeypatch.setattr(bnb_search, "MOST_FREE", 10)
    problem = gram(32, 24, 1e-3).pruning(24)
    with_none = cbs_opt.solve(problem, "bnb")
    monkeypatch.setattr(bnb_search, "PIECES_FROM", -1)
    assert cbs_opt.solve(problem, "bnb").nodes == with_none.nodes > 20


def test_the_kernel_is_there_after_preparing() -> None:
    prepare_pieces()
    assert process_pieces.signatures


def test_a_coarse_root_is_followed_by_an_exact_one_where_the_tree_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the certificate of the last tree holds."""
    problem = nearly_duplicate(24, 18).within(cbs_opt.Quotas.n_of_m(24, 2, 8))
    found, roots = bnb_search.piece_root, []

    def recorded(*arguments: Any, coarse: bool) -> Any:
        roots.append(coarse)
        return found(*arguments, coarse=coarse)

    monkeypatch.setattr(bnb_search, "piece_root", recorded)
    monkeypatch.setattr(bnb_search, "PIECES_FROM", 80)
    proof = cbs_opt.prove(problem)
    assert roots == [True, False]
    assert cbs_opt.verify(problem, proof).bound == proof.bound
    assert proof.bound == pytest.approx(cbs_opt.solve(problem, "highs-oa").objective, rel=2e-6)
