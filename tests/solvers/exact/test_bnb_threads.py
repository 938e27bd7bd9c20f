"""Several threads on one tree: the same proof, the same path each time, nothing lost where it stops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cbs_opt
from cbs_opt.errors import InputError
from cbs_opt.kernel.result import SolutionStatus, TerminationCondition
from cbs_opt.solvers.exact import bnb_search, team, tree
from cbs_opt.solvers.exact.bnb_nodes import Node, PieceNode
from cbs_opt.testing.instances import assert_equals_enumeration, gram, random_problem


@pytest.fixture
def shared_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees that begin but once, in rounds from the first node on, and end in branching alone."""
    monkeypatch.setattr(bnb_search, "BEGINNINGS", {1: 1})
    monkeypatch.setattr(bnb_search, "DIRECT_ROOM", 0)
    monkeypatch.setattr(bnb_search, "MOST_ROOM", 0)
    monkeypatch.setattr(bnb_search, "PIECES_FROM", -1)
    monkeypatch.setattr(bnb_search.Search, "shared_from", 1)
    monkeypatch.setattr(tree, "ROUND", 3)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), threads=st.integers(2, 5))
def test_equals_enumeration_and_never_claims_more(shared_at_once: None, seed: int, threads: int) -> None:
    problem = random_problem(seed)
    if problem is not None:
        assert_equals_enumeration(problem, "bnb", threads=threads)


@pytest.mark.parametrize("seed", range(4))
def test_proves_what_one_thread_proves_by_the_same_path_each_time(shared_at_once: None, seed: int) -> None:
    problem = gram(24, 18, 1e-3, seed).pruning(18)
    alone = cbs_opt.solve(problem, "bnb")
    first, second = (cbs_opt.solve(problem, "bnb", threads=3) for _ in range(2))
    assert alone.nodes > 100
    assert first.solution_status is second.solution_status is SolutionStatus.OPTIMAL
    assert first.objective == pytest.approx(alone.objective, rel=2e-6)
    assert (first.nodes, first.bound, first.objective) == (second.nodes, second.bound, second.objective)
    assert np.array_equal(first.mask, second.mask)


def test_stopped_early_the_bound_holds_and_no_node_is_one_too_many(shared_at_once: None) -> None:
    problem = gram(24, 18, 1e-3).pruning(18)
    optimum = cbs_opt.solve(problem, "bnb").objective
    for limit in (0, 1, 2, 5, 39, 100):
        stopped = cbs_opt.solve(problem, "bnb", node_limit=limit, threads=4)
        assert stopped.termination_condition is TerminationCondition.ITERATION_LIMIT
        assert stopped.nodes == limit
        assert stopped.bound <= optimum <= stopped.objective * (1 + 1e-12)


def test_an_interrupt_within_a_round_loses_no_node(shared_at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = gram(24, 18, 1e-3).pruning(18)
    optimum = cbs_opt.solve(problem, "bnb").objective
    rounds = []

    def interrupted(self: team.Team, work: object, members: list[object]) -> None:
        rounds.append(len(members))
        whole(self, work, members)  # type: ignore[arg-type]
        if len(rounds) == 5:
            raise KeyboardInterrupt

    whole = team.Team.round
    monkeypatch.setattr(team.Team, "round", interrupted)
    stopped = cbs_opt.solve(problem, "bnb", threads=2)
    assert stopped.termination_condition is TerminationCondition.INTERRUPTED
    assert max(rounds) == 2
    assert stopped.nodes > len(rounds)
    assert stopped.bound <= optimum <= stopped.objective * (1 + 1e-12)


def test_an_error_in_a_thread_is_told(shared_at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bnb_search.Search.branch

    def fails(self: bnb_search.Search, node: Node | PieceNode) -> object:
        if self.nodes > 20:
            raise MemoryError("no room for another node")
        return whole(self, node)

    monkeypatch.setattr(bnb_search.Search, "branch", fails)
    with pytest.raises(MemoryError, match="no room for another node"):
        cbs_opt.solve(gram(24, 18, 1e-3).pruning(18), "bnb", threads=2)


def test_without_shared_nodes_before_the_tree_has_grown() -> None:
    """Clones of a search never stand at a node where the tree begins anew: that would drop what was lent."""
    assert bnb_search.Search.shared_from >= max(*bnb_search.BEGINNINGS, bnb_search.PIECES_FROM)


@pytest.mark.parametrize("threads", [0, -1, 257, 1.5, True, "2"])
def test_a_number_of_threads_that_is_none(threads: object) -> None:
    with pytest.raises(InputError, match=r"threads: is .*; a whole number from 1 to 256 is needed"):
        cbs_opt.solve(gram(8, 20, 1e-2).pruning(4), "bnb", threads=threads)


def test_records_are_of_one_thread() -> None:
    with pytest.raises(InputError, match="by one thread only"):
        cbs_opt.solve(gram(8, 20, 1e-2).pruning(4), "bnb", threads=2, record=lambda _: None)
