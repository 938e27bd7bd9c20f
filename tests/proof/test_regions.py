"""The bound of a region, and of its flips, against every mask of the region in exact arithmetic."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cbs_opt import PruningProblem, obs_update
from cbs_opt.proof.check.definite import Definiteness
from cbs_opt.proof.check.exact_model import ExactModel
from cbs_opt.proof.check.region import FREE, KEPT, PRUNED, choice, settled
from cbs_opt.testing.instances import random_problem


def losses(problem: PruningProblem, model: ExactModel, state: np.ndarray, most_kept: int) -> dict[bytes, Fraction]:
    """Exact losses of re-tuned weights on every mask of the region: upper bounds on what its best weights reach."""
    found = {}
    free, kept = np.flatnonzero(state == FREE), np.flatnonzero(state == KEPT)
    for size in range(max(most_kept - len(kept), -1) + 1):
        for more in combinations(free, min(size, len(free))):
            mask = state == KEPT
            mask[list(more)] = True
            found[mask.tobytes()] = model.value(obs_update(problem, mask))
    return found


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_bound_and_its_flips_are_below_every_mask(seed: int) -> None:
    problem = random_problem(seed, max_n=6)
    if problem is None:
        return
    rng = np.random.default_rng(seed)
    model = ExactModel.of(problem)
    state = rng.choice([FREE, FREE, KEPT, PRUNED], problem.n).astype(np.int8)
    most_kept = int(rng.integers(0, problem.n + 1))
    region = settled(state, most_kept)
    active = np.flatnonzero(region != PRUNED)
    H = problem.curvature.dense()
    D = H.diagonal() * 10.0 ** rng.uniform(-14, 0)
    if not Definiteness(model).proves(active, D[active]):
        return
    w = problem.w_bar + rng.normal(size=problem.n) * np.abs(problem.w_bar) * 10.0 ** rng.uniform(-12, 0)
    chosen = choice(model, region, most_kept, D, w, 1e-18 * w)
    reached = losses(problem, model, state, most_kept)
    masks = {key: np.frombuffer(key, dtype=np.bool_) for key in reached}
    assert all(chosen.bound <= loss for loss in reached.values())
    if region is not state:
        return
    for i in np.flatnonzero(state == FREE):
        for side in (KEPT, PRUNED):
            there = [loss for key, loss in reached.items() if masks[key][i] == (side == KEPT)]
            bound = chosen.flipped(int(i), side)
            if bound is None:
                assert not there
            else:
                assert bound >= chosen.bound
                assert all(bound <= loss for loss in there)


def test_a_region_without_room_is_settled() -> None:
    state = np.array([FREE, KEPT, PRUNED, FREE], dtype=np.int8)
    assert settled(state, 1).tolist() == [PRUNED, KEPT, PRUNED, PRUNED]
    assert settled(state, 0).tolist() == [PRUNED, KEPT, PRUNED, PRUNED]
    assert settled(state, 3).tolist() == [KEPT, KEPT, PRUNED, KEPT]
    assert settled(state, 2) is state


def test_separable_problems_are_solved_by_one_point() -> None:
    problem = PruningProblem(np.array([3.0, 1.0, 2.0]), np.diag([1.0, 4.0, 1.0])).pruning(2)
    chosen = choice(
        ExactModel.of(problem), np.zeros(3, dtype=np.int8), 1, np.array([1.0, 4.0, 1.0]), problem.w_bar, np.zeros(3)
    )
    assert chosen.bound == 4
    assert chosen.flipped(0, PRUNED) == Fraction(13, 2)
    assert chosen.flipped(1, KEPT) == Fraction(13, 2)
    assert chosen.flipped(2, KEPT) == Fraction(13, 2)
