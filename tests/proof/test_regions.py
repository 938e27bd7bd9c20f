"""The bound of a region, and of its flips, against every mask of the region in exact arithmetic."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cbs_opt import PruningProblem, obs_update
from cbs_opt.proof import Limits
from cbs_opt.proof.check.definite import Definiteness
from cbs_opt.proof.check.exact_model import ExactModel
from cbs_opt.proof.check.region import FREE, KEPT, PRUNED, Pieces, choice, settled
from cbs_opt.testing.instances import random_problem


def limits_of(labels: list[int], room: list[int]) -> Limits:
    """Nothing forced, nothing forbidden."""
    nothing = np.zeros(len(labels), dtype=np.bool_)
    return Limits(np.array(labels, dtype=np.int64), np.array(room, dtype=np.int64), nothing, nothing)


def losses(problem: PruningProblem, model: ExactModel, state: np.ndarray, limits: Limits) -> dict[bytes, Fraction]:
    """Exact losses of re-tuned weights on every mask of the region: upper bounds on what its best weights reach."""
    found = {}
    for more in product((False, True), repeat=int((state == FREE).sum())):
        mask = state == KEPT
        mask[state == FREE] = more
        if limits.contains(mask):
            found[mask.tobytes()] = model.value(obs_update(problem, mask))
    return found


def drawn_pieces(rng: np.random.Generator, H: np.ndarray, definite: Definiteness) -> Pieces:
    """Up to four columns on two or three weights each, some of them along what H has most of; any ζ and θ."""
    n, E = len(H), int(rng.integers(1, 5))
    V = np.zeros((n, E))
    for e in range(E):
        members = rng.choice(n, min(n, int(rng.integers(2, 4))), replace=False)
        V[members, e] = np.linalg.eigh(H)[1][members, -1] if rng.random() < 0.5 else rng.normal(size=len(members))
        V[:, e] *= np.sqrt(np.linalg.eigvalsh(H)[-1]) * 10.0 ** rng.uniform(-4, 0)
    return Pieces(definite.on_grid(V), 10.0 ** rng.uniform(-3, 1, E), rng.choice([0.0, 0.5, 1.0, rng.random()], E))


@settings(max_examples=250, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_bound_and_its_flips_are_below_every_mask(seed: int) -> None:
    problem = random_problem(seed, max_n=6)
    if problem is None:
        return
    rng = np.random.default_rng(seed)
    model = ExactModel.of(problem)
    state = rng.choice([FREE, FREE, KEPT, PRUNED], problem.n).astype(np.int8)
    labels = rng.integers(0, int(rng.integers(1, problem.n + 1)), problem.n)
    room = [int(rng.integers(0, size + 1)) for size in np.bincount(labels)]
    limits = limits_of(labels.tolist(), room)
    region = settled(state, limits)
    active = np.flatnonzero(region != PRUNED)
    H, definite = problem.curvature.dense(), Definiteness(model)
    D = H.diagonal() * 10.0 ** rng.uniform(-14, 0)
    pieces = drawn_pieces(rng, H, definite) if rng.random() < 0.7 else None
    if pieces is not None:
        pieces = pieces.within(region)
    if not definite.proves(active, D[active], None if pieces is None else pieces.V):
        return
    w = problem.w_bar + rng.normal(size=problem.n) * np.abs(problem.w_bar) * 10.0 ** rng.uniform(-12, 0)
    chosen = choice(model, region, limits, D, w, 1e-18 * w, pieces)
    reached = losses(problem, model, state, limits)
    masks = {key: np.frombuffer(key, dtype=np.bool_) for key in reached}
    assert all(chosen.bound <= loss for loss in reached.values())
    for i in np.flatnonzero(region == FREE):
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
    assert settled(state, limits_of([0] * 4, [1])).tolist() == [PRUNED, KEPT, PRUNED, PRUNED]
    assert settled(state, limits_of([0] * 4, [0])).tolist() == [PRUNED, KEPT, PRUNED, PRUNED]
    assert settled(state, limits_of([0] * 4, [3])).tolist() == [KEPT, KEPT, PRUNED, KEPT]
    assert settled(state, limits_of([0] * 4, [2])) is state


def test_labels_are_settled_one_by_one() -> None:
    """Of label 0 one more of two may stay, of label 1 both, of label 2 none."""
    state = np.array([FREE, KEPT, FREE, FREE, FREE, FREE, PRUNED], dtype=np.int8)
    limits = limits_of([0, 2, 0, 1, 1, 2, 1], [1, 2, 1])
    assert settled(state, limits).tolist() == [FREE, KEPT, FREE, KEPT, KEPT, PRUNED, PRUNED]
    state[[3, 4, 5]] = [KEPT, KEPT, PRUNED]
    assert settled(state, limits) is state


def test_separable_problems_are_solved_by_one_point() -> None:
    problem = PruningProblem(np.array([3.0, 1.0, 2.0]), np.diag([1.0, 4.0, 1.0])).pruning(2)
    chosen = choice(
        ExactModel.of(problem),
        np.zeros(3, dtype=np.int8),
        limits_of([0, 0, 0], [1]),
        np.array([1.0, 4.0, 1.0]),
        problem.w_bar,
        np.zeros(3),
    )
    assert chosen.bound == 4
    assert chosen.flipped(0, PRUNED) == Fraction(13, 2)
    assert chosen.flipped(1, KEPT) == Fraction(13, 2)
    assert chosen.flipped(2, KEPT) == Fraction(13, 2)


def test_a_piece_is_worth_its_square_where_none_of_its_weights_is_kept() -> None:
    """f = ½(w₀ + w₁ − 4)² + ½ε‖w − (2, 2)‖² with w₂ alone: no diagonal sees that w₀ and w₁ pruned together cost 8."""
    H = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]) + 2.0**-10 * np.eye(3)
    problem = PruningProblem(np.array([2.0, 2.0, 3.0]), H)
    model = ExactModel.of(problem)
    definite, D = Definiteness(model), np.full(3, 2.0**-11)
    D[2] = 1.0
    pieces = Pieces(definite.on_grid(np.array([[1.0], [1.0], [0.0]])), np.array([0.5]), np.array([1.0]))
    assert definite.proves(np.arange(3), D, pieces.V)
    # At the minimizer, ζ = ½: the slope is vᵀŵ = 4, and what the piece has in store is ½(4 + 4)² − ½4² = 24 − …
    free = np.zeros(3, dtype=np.int8)
    none_kept = np.array([PRUNED, PRUNED, FREE], dtype=np.int8)
    kept = np.array([KEPT, PRUNED, FREE], dtype=np.int8)
    with_piece, without = (
        choice(model, free, limits_of([0, 0, 1], [0, 1]), D, problem.w_bar, np.zeros(3), given)
        for given in (pieces._replace(share=np.ones(1)), None)
    )
    # β = 0 and θ = 1: the square that is left is ½·4² = 8 in full.
    assert with_piece.bound - without.bound == 8
    assert pieces.within(none_kept).V.shape == pieces.within(kept).V.shape == (3, 0)


def test_what_a_flip_costs_is_decided_within_its_label() -> None:
    """Pruning the weights alone costs 4.5, 2, 0.5, 8, 0, 32: no place for 0, one for 1 and 2, two for 3, 4 and 5."""
    problem = PruningProblem(np.array([3.0, 2.0, 1.0, 4.0, 0.0, 8.0]), np.eye(6))
    chosen = choice(
        ExactModel.of(problem),
        np.array([PRUNED, FREE, FREE, FREE, FREE, FREE], dtype=np.int8),
        limits_of([0, 1, 1, 2, 2, 2], [0, 1, 2]),
        np.ones(6),
        problem.w_bar,
        np.zeros(6),
    )
    assert chosen.bound == 5
    assert chosen.flipped(1, PRUNED) == chosen.flipped(2, KEPT) == Fraction(13, 2)
    assert chosen.flipped(3, PRUNED) == chosen.flipped(4, KEPT) == 13
    assert chosen.flipped(5, PRUNED) == 37
    assert all(chosen.flipped(i, KEPT) == 5 for i in (1, 3, 5))
    assert all(chosen.flipped(i, PRUNED) == 5 for i in (2, 4))


def test_a_label_with_room_for_all_or_none() -> None:
    """Pruning costs 4.5, 2, 0.5, 8; of label 0 both may stay, of label 1 none, and nothing has been settled."""
    problem = PruningProblem(np.array([3.0, 2.0, 1.0, 4.0]), np.eye(4))
    chosen = choice(
        ExactModel.of(problem),
        np.zeros(4, dtype=np.int8),
        limits_of([0, 0, 1, 1], [2, 0]),
        np.ones(4),
        problem.w_bar,
        np.zeros(4),
    )
    assert chosen.bound == Fraction(17, 2)
    assert [chosen.flipped(i, PRUNED) for i in range(4)] == [13, Fraction(21, 2), Fraction(17, 2), Fraction(17, 2)]
    assert [chosen.flipped(i, KEPT) for i in range(4)] == [Fraction(17, 2), Fraction(17, 2), None, None]


def test_a_label_with_one_weight_left_is_settled() -> None:
    state = np.array([FREE, KEPT, FREE, PRUNED, FREE, FREE], dtype=np.int8)
    limits = limits_of([0, 0, 1, 1, 2, 2], [1, 1, 1])
    assert settled(state, limits).tolist() == [PRUNED, KEPT, KEPT, PRUNED, FREE, FREE]


def test_a_piece_counts_where_all_that_is_left_of_it_is_free() -> None:
    """Its pruned weights leave it; a kept one takes it away whole, and so does having none left."""
    V = np.array([[1.0, 0.0, 3.0], [2.0, 4.0, 0.0], [0.0, 5.0, 6.0], [0.0, 0.0, 7.0]])
    pieces = Pieces(V, np.array([0.5, 0.25, 0.75]), np.array([0.125, 0.5, 1.0]))

    def left(*state: int) -> tuple[list[list[float]], list[float], list[float]]:
        within = pieces.within(np.array(state, dtype=np.int8))
        return within.V.T.tolist(), within.share.tolist(), within.hold.tolist()

    assert left(FREE, FREE, FREE, FREE) == (V.T.tolist(), [0.5, 0.25, 0.75], [0.125, 0.5, 1.0])
    assert left(FREE, PRUNED, FREE, FREE) == (
        [[1, 0, 0, 0], [0, 0, 5, 0], [3, 0, 6, 7]],
        [0.5, 0.25, 0.75],
        [0.125, 0.5, 1.0],
    )
    assert left(KEPT, FREE, FREE, FREE) == ([[0, 4, 5, 0]], [0.25], [0.5])
    assert left(FREE, PRUNED, PRUNED, KEPT) == ([[1, 0, 0, 0]], [0.5], [0.125])
    assert left(KEPT, KEPT, FREE, FREE) == ([], [], [])


def in_fractions(
    problem: PruningProblem, state: np.ndarray, limits: Limits, D: np.ndarray, w: np.ndarray, pieces: Pieces
) -> tuple[Fraction, Fraction]:
    """Bound (B) from its formula, for w zero where pruned and pieces within the region; the size of its terms."""
    n, labels = problem.n, limits.labels
    H = [[Fraction(x) for x in row] for row in problem.curvature.dense().tolist()]
    point, g = [Fraction(x) for x in w.tolist()], [Fraction(x) for x in problem.linear_term().tolist()]
    d = [a - Fraction(b) for a, b in zip(point, problem.w_bar.tolist(), strict=True)]
    p = [g[i] + sum(h * x for h, x in zip(H[i], d, strict=True)) for i in range(n)]
    exact, bonus = ExactModel.of(problem).value(w), [Fraction(0)] * n
    for column, share, hold in zip(pieces.V.T.tolist(), pieces.share, pieces.hold, strict=True):
        v = [Fraction(x) for x in column]
        along = sum((a * b for a, b in zip(v, point, strict=True)), Fraction(0))
        beta = Fraction(float(along) * (1.0 / float(share) - 1.0))
        p = [a + beta * b for a, b in zip(p, v, strict=True)]
        held = Fraction(float(hold)) * (along + beta) ** 2 / 2
        exact += held - beta * beta / 2
        bonus = [a + held * (x != 0) for a, x in zip(bonus, v, strict=True)]
    size, scores = abs(exact), {label: [Fraction(0)] * n for label in range(len(limits.room))}
    for i in np.flatnonzero(state != PRUNED).tolist():
        curvature = Fraction(float(D[i]))
        kept = -(p[i] ** 2) / (2 * curvature)
        pruned = curvature * point[i] ** 2 / 2 - p[i] * point[i]
        exact += kept if state[i] == KEPT else pruned
        size += abs(kept) + abs(pruned) + bonus[i]
        if state[i] == FREE:
            scores[int(labels[i])].append(pruned - kept + bonus[i])
    for label, found in scores.items():
        left = int(limits.room[label] - (labels[state == KEPT] == label).sum())
        exact -= sum(sorted(found, reverse=True)[: max(left, 0)])
    return exact, size


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_bound_is_its_formula(seed: int) -> None:
    """(B), with its pieces, in rational numbers term by term: nothing is lost but what the guard bits round down."""
    problem = random_problem(seed, max_n=5)
    if problem is None:
        return
    rng = np.random.default_rng(seed)
    n, model = problem.n, ExactModel.of(problem)
    state = rng.choice([FREE, FREE, FREE, KEPT, PRUNED], n).astype(np.int8)
    labels = rng.integers(0, 2, n)
    room = np.bincount(labels[state == KEPT], minlength=2) + rng.integers(0, 2, 2)
    room = np.minimum(room, np.bincount(labels, minlength=2))
    limits = Limits(labels, room, np.zeros(n, dtype=np.bool_), np.zeros(n, dtype=np.bool_))
    D = problem.curvature.diagonal() * 10.0 ** rng.uniform(-3, 0, n)
    given_pieces = drawn_pieces(rng, problem.curvature.dense(), Definiteness(model)).within(state)
    w = np.where(state == PRUNED, 0.0, problem.w_bar + rng.normal(size=n) * np.abs(problem.w_bar))

    bound = choice(model, state, limits, D, w, np.zeros(n), given_pieces).bound
    exact, size = in_fractions(problem, state, limits, D, w, given_pieces)
    assert exact - size / 2**50 <= bound <= exact


def test_a_piece_that_slopes_far_less_than_its_weights() -> None:
    """vᵀŵ = 2⁻⁵³ with ζ = 1 − 2⁻⁵³ gives β = 2⁻¹⁰⁵, finer than the last bit of the products beside it, vᵀŵ = 4."""
    problem = PruningProblem(np.array([2.5, 2.0, 1.5, 1.0]), np.eye(4) + 0.5)
    w, state, limits = np.array([2.0, 2.0, 1.0, 1.0 - 2.0**-53]), np.zeros(4, dtype=np.int8), limits_of([0] * 4, [2])
    V = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    pieces = Pieces(V, np.array([0.5, 1.0 - 2.0**-53]), np.array([1.0, 0.5]))
    assert (1.0 / pieces.share - 1.0).tolist() == [1.0, 2.0**-52]
    bound = choice(ExactModel.of(problem), state, limits, np.full(4, 0.25), w, np.zeros(4), pieces).bound
    exact, _ = in_fractions(problem, state, limits, np.full(4, 0.25), w, pieces)
    assert exact - Fraction(1, 2**100) <= bound <= exact
