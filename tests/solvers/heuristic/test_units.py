"""Selectors under every pattern: masks inside it, never better than the optimum, units by their joint loss."""

from __future__ import annotations

import numpy as np
import pytest

from cbs_opt import (
    BlockDiagonalCurvature,
    Cardinality,
    DenseCurvature,
    FactorCurvature,
    Pattern,
    PruningProblem,
    Quotas,
    RowsCurvature,
    methods,
    obs_update,
    solve,
)
from cbs_opt.errors import UnsupportedError
from cbs_opt.kernel.patterns import Budget, Groups, Labels, Linear, intersect, knapsack
from cbs_opt.solvers.forms.unit_parts import GONE, parts_of
from cbs_opt.solvers.heuristic.block_swap_support import Supports
from cbs_opt.solvers.heuristic.greedy_obs import prune_in_sequence
from cbs_opt.solvers.heuristic.start import filled
from cbs_opt.solvers.heuristic.swap_state import State, exchanges_of
from cbs_opt.solvers.heuristic.unit_scores import as_trained, on_first, places_by_size, retuned
from cbs_opt.testing.instances import best_by_enumeration, random_curvature

N = 8
TAKE_EVERY_PATTERN = ["magnitude", "obd", "wanda", "woodfisher", "greedy-obs", "swap", "admm"]
TAKE_EVERY_PATTERN += ["iht", "block-swap", "relaxation"]
LABELS_ONLY = ["sparsegpt", "rows-relaxation"]
FACTORED = ("iht", "block-swap", "relaxation")


def patterns(seed: int) -> dict[str, Pattern]:
    """One of each kind over ``N`` weights, two of them forced or forbidden."""
    rng = np.random.default_rng(seed)
    groups, costs = rng.permutation(np.arange(N) // 2), rng.integers(1, 5, N).astype(float)
    of_groups = rng.integers(1, 5, N // 2).astype(float)
    together = np.zeros(N)
    together[[0, 1]] = 1.0, -1.0
    role = {"keep": [2], "forbid": [5]}
    return {
        "cardinality": Cardinality(N, 4, **role),
        "N:M": Quotas.n_of_m(N, 2, 4),
        "labels": Labels(np.arange(N) % 3, 1, **role),
        "groups": Groups(groups, 2, **role),
        "unequal groups": Groups([0, 0, 0, 1, 1, 2, 3, 3], 2, forbid=[1]),
        "budget": Budget(costs, costs.sum() / 2, **role),
        "budgets": Budget(np.stack([costs, costs[::-1]]), [costs.sum() / 2, costs.sum() / 3]),
        "budget of groups": Budget(of_groups, of_groups.sum() / 2, groups=groups, forbid=[5]),
        "linear": Linear(np.stack([together, -together, costs]), [0.0, 0.0, costs.sum() / 2], **role),
        "nested": intersect(Quotas.n_of_m(N, 2, 4), Cardinality(N, 5)),
        "2:4 in groups": intersect(Groups(np.arange(N) // 4, 1), Quotas.n_of_m(N, 2, 4)),
        "2:4 in a budget": intersect(Quotas.n_of_m(N, 2, 4), Budget(costs, costs.sum() / 3)),
        "groups in a budget": intersect(Groups(groups, 1), Budget(of_groups, of_groups.sum() / 2, groups=groups)),
    }


def drawn(pattern: Pattern, seed: int, kind: str, factored: bool) -> PruningProblem:
    """An awkward block; weights that tie in one of three, zeros in another, a first-order term in the third."""
    rng = np.random.default_rng(seed)
    w = rng.normal(size=N)
    if seed % 3 == 0:
        w = np.sign(w)
    if seed % 3 == 1:
        w[rng.random(N) < 0.3] = 0.0
    if factored:
        A = rng.normal(size=(6, N))
        A[:, 1::2] = A[:, ::2] if kind == "duplicates" else A[:, 1::2]
        return PruningProblem(w, FactorCurvature(A, 1e-3), pattern)
    H = random_curvature(rng, N, kind)
    g = 0.3 * (H @ w) if seed % 3 == 2 else None
    return PruningProblem(w, DenseCurvature(H, damping=1e-9 * H.diagonal().mean()), pattern, g)


@pytest.mark.parametrize("kind", patterns(0))
@pytest.mark.parametrize("name", TAKE_EVERY_PATTERN)
def test_masks_are_inside_and_never_beat_the_optimum(name: str, kind: str) -> None:
    curvatures = ("gram", "duplicates", "integer", "identity")
    for seed, curvature in enumerate(curvatures[:1] if name == "relaxation" else curvatures):
        pattern = patterns(seed)[kind]
        problem = drawn(pattern, seed, curvature, name in FACTORED)
        found = solve(problem, name)
        assert pattern.contains(found.mask)
        optimum, error = best_by_enumeration(problem)
        assert found.objective >= optimum - error - 1e-9 * abs(optimum)
        assert found.bound <= optimum + error + 1e-12 * abs(optimum)
        # Nothing that could be kept as well is pruned: what keeps its unit is outside.
        for i in np.flatnonzero(~found.mask & pattern.free):
            assert not pattern.contains(found.mask | ((pattern.units == pattern.units[i]) & pattern.free))


@pytest.mark.parametrize("name", LABELS_ONLY)
def test_what_a_selector_cannot_take_it_says(name: str) -> None:
    problem = drawn(patterns(0)["groups"], 0, "gram", False)
    with pytest.raises(
        UnsupportedError, match=rf"method {name}: cannot take the pattern Groups; it takes Card.*Labels"
    ):
        solve(problem, name)
    with pytest.raises(UnsupportedError, match="method cbs: cannot take the pattern Groups; it takes Cardinality"):
        solve(problem, "cbs")


def test_no_selector_is_left_out() -> None:
    heuristics = {name for name, spec in methods().items() if not spec.exact}
    assert heuristics == {*TAKE_EVERY_PATTERN, *LABELS_ONLY, "cbs"}
    assert {name for name in heuristics if methods()[name].takes(Groups)} == set(TAKE_EVERY_PATTERN)


# ------------------------------------------------------------------- the joint loss of a unit


def loss(problem: PruningProblem, mask: np.ndarray) -> float:
    return problem.objective(obs_update(problem, mask))


def test_two_weights_that_make_up_for_one_another_count_together() -> None:
    """Columns 0 and 1 are nearly the same: each costs nothing alone, both together more than 2 and 3 do."""
    H = np.eye(4)
    H[0, 1] = H[1, 0] = 0.999
    problem = PruningProblem(np.array([1.0, 1.0, 0.7, 0.7]), H, Groups([0, 0, 1, 1], 1))
    alone = solve(problem.pruning(1), "woodfisher").mask
    assert not alone[0] or not alone[1]
    for name in ("woodfisher", "obd", "greedy-obs", "swap"):
        assert solve(problem, name).mask.tolist() == [True, True, False, False], name


CURVATURES = ("dense", "rows", "factor", "block-diagonal")


def layer(seed: int, storage: str, pattern: Pattern) -> PruningProblem:
    """Three rows of four weights, stored in one of several ways."""
    rng = np.random.default_rng(seed)
    H = np.cov(rng.normal(size=(4, 9)))
    w, g = rng.normal(size=12), rng.normal(size=12) * 0.1
    rows = RowsCurvature(H, 3)
    stored = {
        "dense": DenseCurvature(rows.dense()),
        "rows": rows,
        "block-diagonal": BlockDiagonalCurvature([RowsCurvature(H, 2), DenseCurvature(H)]),
        "factor": FactorCurvature(np.kron(np.eye(3), np.linalg.cholesky(H - 0.01 * np.eye(4)).T), 0.01),
    }
    return PruningProblem(w, stored[storage], pattern, g)


LAYERS = {
    "columns": Groups(np.tile(np.arange(4), 3), 2),
    "rows": Groups(np.repeat(np.arange(3), 4), 1),
    "any": Groups([0, 1, 2, 2, 3, 1, 4, 0, 4, 4, 3, 3], 2, forbid=[4], keep=[6]),
    "budget": Budget([3.0, 1.0, 2.0, 2.0], 4.5, groups=np.tile(np.arange(4), 3)),
    "linear": Linear(np.arange(1.0, 13)[None], [40.0]),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("storage", CURVATURES)
def test_scores_of_units_are_what_pruning_them_costs(storage: str, kind: str) -> None:
    problem = layer(3, storage, LAYERS[kind])
    pattern, units = problem.Z, LAYERS[kind].units
    trained, tuned = (np.zeros(12), np.zeros(12))
    least = loss(problem, np.ones(12, dtype=bool))
    for unit in np.unique(units[pattern.free]):
        gone = (units == unit) & pattern.free
        first = int(np.argmax(gone))
        w = np.where(gone, problem.w_bar, 0.0)
        trained[first] = 0.5 * problem.curvature.quadratic(w)
        tuned[first] = loss(problem, ~gone) - least
    got = (
        as_trained(problem.curvature, problem.w_bar, pattern),
        retuned(problem.curvature, problem.minimizer(), pattern),
    )
    assert np.where(pattern.free, got[0], 0.0) == pytest.approx(trained, rel=1e-9)
    assert np.where(pattern.free, got[1], 0.0) == pytest.approx(tuned, rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("kind", LAYERS)
def test_greedy_prunes_the_unit_that_costs_least_for_what_it_takes_away(kind: str) -> None:
    """Against solving every system from scratch; how a layer is stored does not matter."""
    pattern = LAYERS[kind]
    for seed in range(5):
        problem = layer(seed, "dense", pattern)
        z = pattern.free | (~pattern.free & pattern.argmax(np.zeros(12)))
        while not pattern.contains(z):
            before, relief = loss(problem, z), pattern.relief(z)
            rates = {
                unit: (loss(problem, z & ~((pattern.units == unit) & pattern.free)) - before)
                / relief[pattern.units == unit].max()
                for unit in np.unique(pattern.units[relief > 0]).tolist()
            }
            z &= ~((pattern.units == min(rates, key=rates.__getitem__)) & pattern.free)
        for storage in ("dense", "rows", "block-diagonal"):
            found = solve(layer(seed, storage, pattern), "greedy-obs").mask
            assert (z <= found).all()
            if pattern.exact_flips:
                assert (z == found).all()


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("storage", ["dense", "rows", "block-diagonal"])
def test_changes_of_all_exchanges_equal_solving_again(storage: str, kind: str) -> None:
    pattern = LAYERS[kind]
    problem = layer(1, storage, pattern)
    units = np.where(pattern.free, pattern.units, np.where(pattern.argmax(np.zeros(12)), -1, GONE))
    mask = pattern.argmax(np.random.default_rng(0).random(12))
    pieces = [(block.rows, block.row.dense()) for block in problem.curvature.blocks]
    parts = parts_of(pieces, problem.minimizer(), units)
    found = exchanges_of([State.at(part, mask[part.weights[0]]) for part in parts])
    before = loss(problem, mask)
    assert found.leaving.tolist() == np.unique(units[mask & pattern.free]).tolist()
    assert found.entering.tolist() == np.unique(units[~mask & pattern.free]).tolist()
    for i, leaving in enumerate(found.leaving):
        without = mask & (units != leaving)
        assert found.loss[i] == pytest.approx(loss(problem, without) - before, rel=1e-7, abs=1e-10)
        for j, entering in enumerate(found.entering):
            expected = loss(problem, without | (units == entering)) - before
            assert found.change[i, j] == pytest.approx(expected, rel=1e-7, abs=1e-10)
            assert found.gain[j] == pytest.approx(
                before - loss(problem, mask | (units == entering)), rel=1e-7, abs=1e-10
            )


def test_changes_in_the_dual_equal_solving_again() -> None:
    rng = np.random.default_rng(4)
    pattern = Groups(rng.permutation(np.arange(12) // 3), 2, forbid=[7])
    whole = FactorCurvature(rng.normal(size=(7, 12)), 0.1)
    parts = BlockDiagonalCurvature(
        [FactorCurvature(rng.normal(size=(3, 5)), 0.1), FactorCurvature(whole.A[:, :7], 0.3)]
    )
    for curvature in (whole, parts):
        problem = PruningProblem(rng.normal(size=12), curvature, pattern, rng.normal(size=12))
        mask = pattern.argmax(rng.random(12))
        supports = Supports(problem, "cpu")
        support = supports.at(mask)
        assert support is not None
        changes = supports.joint_scores(support, places_by_size(curvature, pattern))
        changes = np.where(pattern.free, on_first(pattern, changes), 0.0)
        unit = abs(support.value / (loss(problem, mask) - problem.offset))
        for group in range(4):
            free = (pattern.units == group) & pattern.free
            flipped = abs(loss(problem, mask ^ free) - loss(problem, mask)) * unit
            assert changes[free].sum() == pytest.approx(flipped, rel=1e-7)


# ------------------------------------------------------------------- what it is worth


def correlated(seed: int, units: np.ndarray, n: int = 24) -> PruningProblem:
    """Columns of a unit nearly equal or opposite."""
    rng = np.random.default_rng(seed)
    X = 0.4 * rng.normal(size=(3 * n, n)) + rng.normal(size=(3 * n, n))[:, units] * rng.choice([-1, 1], n)
    return PruningProblem.from_activations(rng.normal(size=n), X, dampening_frac=1e-2)


def test_joint_losses_beat_sums_of_single_ones() -> None:
    worth = {"woodfisher": 0.0, "greedy-obs": 0.0, "swap": 0.0, "admm": 0.0}
    for seed in range(20):
        units = np.random.default_rng(seed).permutation(np.arange(24) // 4)
        problem = correlated(seed, units).within(Groups(units, 3))
        single = 0.5 * problem.minimizer() ** 2 / problem.curvature.inverse_diagonal()
        by_sums = loss(problem, problem.Z.argmax(single))
        optimum = solve(problem, "bnb").objective
        for name in worth:
            found = solve(problem, name).objective
            assert found >= optimum * (1 - 1e-9)
            worth[name] += float(np.log(found / by_sums)) / 20
    assert worth["swap"] <= worth["greedy-obs"] <= worth["woodfisher"] < -0.1
    assert worth["admm"] < -0.05


def test_a_loss_for_each_unit_of_cost_beats_the_loss_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    ratio, by_cost_of = 0.0, Budget.relief_of
    for seed in range(20):
        costs = np.random.default_rng(seed).integers(1, 9, 24).astype(float)
        problem = correlated(seed, np.arange(24) // 4).within(Budget(costs, costs.sum() / 2))
        by_cost = solve(problem, "greedy-obs").objective
        with monkeypatch.context() as patched:
            patched.setattr(Budget, "relief_of", lambda self, groups: (by_cost_of(self, groups) > 0).astype(float))
            ratio += float(np.log(by_cost / solve(problem, "greedy-obs").objective)) / 20
    assert ratio < -0.03


def test_greedy_solves_no_knapsack(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = correlated(0, np.arange(24) // 4).within(Budget(np.arange(1.0, 25), 100.0))
    monkeypatch.setattr(knapsack.Knapsack, "_best_of_core", lambda *_: pytest.fail("a knapsack was solved"))
    mask = prune_in_sequence([(1, problem.curvature.dense())], problem.minimizer(), problem.Z)
    assert problem.Z.contains(mask)


def test_a_start_keeps_what_it_has_within_a_budget() -> None:
    """The three cheap weights are larger together, but the start keeps the dear one."""
    problem = PruningProblem(np.array([1.0, 0.9, 0.9, 0.9]), np.eye(4), Budget([3.0, 1.0, 1.0, 1.0], 4.0))
    assert filled(problem, [True, False, False, False]).tolist() == [True, True, False, False]
    assert filled(problem, np.zeros(4, dtype=bool)).tolist() == [False, True, True, True]
