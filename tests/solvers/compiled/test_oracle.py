"""The compiled oracle of labels with room: against the pattern's own, and against every mask."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cbs_opt import Quotas
from cbs_opt.solvers.compiled import oracle
from cbs_opt.solvers.compiled.node import active
from cbs_opt.solvers.forms.node_state import FREE, KEPT, PRUNED, Room

SEEDS = st.integers(0, 2**32 - 1)


def scattered(seed: int) -> tuple[np.random.Generator, Quotas, Room, np.ndarray]:
    """Quotas, their weights in another order: ``Room`` of weight ``order[i]`` is that of the pattern's weight i."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 4, int(rng.integers(1, 4)))
    pattern = Quotas(sizes, rng.integers(0, sizes + 1))
    order = rng.permutation(pattern.n)
    labels = np.empty(pattern.n, dtype=np.int64)
    labels[order] = pattern.labels
    return rng, pattern, Room(labels, pattern.room.copy()), order


def inside(room: Room, z: np.ndarray) -> bool:
    return all(z[room.labels == label].sum() <= most for label, most in enumerate(room.room))


@settings(max_examples=150, deadline=None)
@given(seed=SEEDS)
def test_the_best_of_the_scores_is_that_of_the_pattern(seed: int) -> None:
    rng, pattern, room, order = scattered(seed)
    scores = rng.permutation(pattern.n) + 0.5  # no ties: the masks are the same
    chosen = np.empty(pattern.n, dtype=bool)
    kth, following = oracle.choose_best(scores, room, chosen)
    assert np.array_equal(chosen[order], pattern.argmax(scores[order]))
    flips = pattern.flip_values(scores[order], chosen[order])
    for i, flip in zip(order, flips, strict=True):
        label = room.labels[i]
        if np.isfinite(flip):
            change = scores[i] - following[label] if chosen[i] else kth[label] - scores[i]
            assert scores[chosen].sum() - change == pytest.approx(flip)
    tied = rng.integers(0, 3, pattern.n).astype(float)
    oracle.choose_best(tied, room, chosen)
    assert inside(room, chosen)
    assert tied[chosen].sum() == tied[order][pattern.argmax(tied[order])].sum()


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS)
def test_each_label_has_the_multiplier_that_fills_its_room(seed: int) -> None:
    rng, pattern, room, _ = scattered(seed)
    w, D = rng.normal(size=pattern.n) * rng.integers(0, 2, pattern.n), rng.uniform(0.5, 2.0, pattern.n)
    tau = np.empty(len(room.room))
    oracle.budget_tau(w, D, room, tau)
    for label, most in enumerate(room.room):
        size = (np.abs(w) * np.sqrt(D))[room.labels == label]
        if tau[label] <= 1e-12:  # round-off of a difference, where at most so many are not zero
            assert most == 0 or np.count_nonzero(size) <= most
        else:
            assert np.minimum(1.0, size / tau[label]).sum() == pytest.approx(most)


@settings(max_examples=150, deadline=None)
@given(seed=SEEDS)
def test_what_is_settled_or_screened_loses_no_mask_below_the_cutoff(seed: int) -> None:
    """A mask is worth own − (its scores) + (the best scores): no mask of the node below the cutoff may be lost."""
    rng, pattern, room, _ = scattered(seed)
    n = pattern.n
    before = rng.choice(np.array([FREE, FREE, FREE, KEPT, PRUNED], dtype=np.int8), n)
    assume(inside(room, before == KEPT))
    state = before.copy()
    masks = [np.array(z) for z in itertools.product([False, True], repeat=n)]
    masks = [z for z in masks if inside(room, z) and z[before == KEPT].all() and not z[before == PRUNED].any()]
    still = oracle.settle(state, room)
    assert still == np.count_nonzero(state == FREE)
    # More kept is never worse: of every mask one that holds it is left.
    left = [z for z in masks if z[state == KEPT].all() and not z[state == PRUNED].any()]
    assert all(any((z <= other).all() for other in left) for z in masks)
    if still == 0:
        assert np.array_equal(max(masks, key=np.count_nonzero), state == KEPT)
        return
    order, kept = active(state)
    node, names = oracle.room_of_node(room, order, kept)
    assert np.array_equal(names[node.labels], room.labels[order[kept:]])
    for label, name in enumerate(names):
        assert node.room[label] == room.room[name] - np.count_nonzero((state == KEPT) & (room.labels == name))
        assert 0 < node.room[label] < np.count_nonzero(node.labels == label)
    scores = rng.integers(0, 6, still).astype(float)
    full = np.zeros(n)
    full[order[kept:]] = scores
    free = state == FREE
    best = max(float(full[z & free].sum()) for z in left)
    own, cutoff = 10.0, 10.0 + float(rng.integers(0, 4)) + 0.5
    fixed = oracle.screen(state, order, kept, scores, node, own, cutoff)
    assert fixed == still - np.count_nonzero(state == FREE)
    for z in left:
        if own + best - full[z & free].sum() < cutoff:
            assert z[state == KEPT].all()
            assert not z[state == PRUNED].any()
    baseline = oracle.keeping_none(state, order, kept, scores, node, own)
    assert baseline == pytest.approx(own + best - full[free & (state == KEPT)].sum())
