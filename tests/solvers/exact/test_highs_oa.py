"""Outer approximation by HiGHS against enumeration, branch and bound, and its own model."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest

import cbs_opt
from cbs_opt import Cardinality, PruningProblem, obs_update
from cbs_opt.errors import InputError, TooLargeError
from cbs_opt.kernel.result import SolutionStatus, TerminationCondition
from cbs_opt.models.outer_approximation import build
from cbs_opt.solvers.bounds.centered import CenteredBlock
from cbs_opt.solvers.exact import decided
from cbs_opt.solvers.exact.highs_reduction import Reduction
from cbs_opt.solvers.forms.node_state import state_of
from cbs_opt.testing.instances import KINDS, best_by_enumeration, gram, masks_of, random_problem

highs_oa = importlib.import_module("cbs_opt.solvers.exact.highs_oa")
highs_root = importlib.import_module("cbs_opt.solvers.exact.highs_root")


HARD = gram(24, 60, 1e-2, 1).pruning(19)
"""Probing does not close it: HiGHS has to search."""


def bare_root(branching: bool):  # type: ignore[no-untyped-def]
    """A root that only reduces what is left of the pattern, and names its first free weight to branch on if asked."""

    def bare(block, pattern, D, cutoff, deadline=math.inf):  # type: ignore[no-untyped-def]
        left = decided.settled(pattern)
        reduction = Reduction.of(block, state_of(left))
        if not reduction.free.size:
            return highs_root.screen_root(block, pattern, D, cutoff)
        split = highs_root.certified(reduction.H, 0.9 * D[reduction.free], reduction.shift)
        branch = int(reduction.free[0]) if branching else -1
        return highs_root.Root(left, reduction, split, reduction.least, branch)

    return bare


@pytest.fixture
def without_probing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave small blocks to HiGHS, which the root would close."""
    monkeypatch.setattr(highs_oa, "probe_root", bare_root(branching=False))


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Split small blocks, which the root would close, into six parts and leave each of them to HiGHS."""
    monkeypatch.setattr(highs_oa, "probe_root", bare_root(branching=True))
    monkeypatch.setattr(highs_oa, "SPLITS", 5)


def check(problem: PruningProblem, time_limit: float | None = None) -> cbs_opt.Solution:
    """Never a bound above the optimum, and the optimum where it says so."""
    optimum, error = best_by_enumeration(problem)
    solution = cbs_opt.solve(problem, "highs-oa", time_limit=time_limit)
    assert solution.bound <= optimum + error + 1e-12 * abs(optimum)
    if solution.solution_status is SolutionStatus.OPTIMAL:
        assert solution.objective <= optimum * (1 + math.copysign(2e-6, optimum)) + error + solution.round_off
    return solution


@pytest.mark.parametrize("seed", range(70))
def test_equals_enumeration_and_never_claims_more(seed: int) -> None:
    problem = random_problem(seed, max_n=10)
    if problem is None:
        return
    # Where nearly all masks tie, almost each has to be visited: those end by the clock.
    solution = check(problem, time_limit=2.0)
    stopped = solution.termination_condition is TerminationCondition.TIME_LIMIT
    if problem.g is None:
        assert solution.solution_status is SolutionStatus.OPTIMAL or solution.notes or stopped


@pytest.mark.parametrize("roots", ["without_probing", "in_parts"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(2))
def test_highs_alone_never_claims_more_than_enumeration_finds(
    kind: str, seed: int, roots: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(roots)
    problem = random_problem(1000 + seed, max_n=8, kind=kind)
    if problem is not None:
        check(problem, time_limit=2.0)


@pytest.mark.parametrize("roots", ["without_probing", "in_parts"])
@pytest.mark.parametrize("seed", range(4))
def test_highs_alone_proves_well_conditioned_blocks(seed: int, roots: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(roots)
    rng = np.random.default_rng(seed)
    g = 0.1 * rng.normal(size=9) if seed % 2 else None
    block = gram(9, 12, 1e-2, seed)
    problem = PruningProblem(block.w_bar, block.curvature, Cardinality(9, 5), g, offset=float(seed))
    assert check(problem).solution_status is SolutionStatus.OPTIMAL


@pytest.mark.parametrize("probing", [True, False])
def test_forced_and_forbidden_weights_are_respected(probing: bool, request: pytest.FixtureRequest) -> None:
    if not probing:
        request.getfixturevalue("without_probing")
    problem = gram(12, 20, 1e-3)
    free = cbs_opt.solve(problem.pruning(8), "bnb")
    kept, pruned = np.flatnonzero(free.mask), np.flatnonzero(~free.mask)
    forced = check(problem.within(Cardinality(12, 8, keep=pruned[:2], forbid=kept[:1])))
    assert forced.solution_status is SolutionStatus.OPTIMAL
    assert forced.mask[pruned[:2]].all()
    assert not forced.mask[kept[0]]
    assert forced.objective > free.objective


@pytest.mark.parametrize(
    "problem",
    [
        HARD,
        gram(20, 60, 1e-2, 2).pruning(14),
        gram(24, 200, 1e-1, 3).pruning(12),
        gram(32, 100, 1e-1, 4).pruning(26),
    ],
    ids=lambda problem: f"{problem.name} prune {problem.Z.prune}",
)
def test_agrees_with_branch_and_bound(problem: PruningProblem) -> None:
    ours, theirs = cbs_opt.solve(problem, "highs-oa"), cbs_opt.solve(problem, "bnb")
    assert ours.solution_status is SolutionStatus.OPTIMAL
    assert ours.objective == pytest.approx(theirs.objective, rel=2e-6)
    assert ours.bound <= theirs.objective
    assert theirs.bound <= ours.objective


def test_parts_that_probing_closes_prove_the_optimum_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(highs_oa, "NEAR", math.inf)
    solution = cbs_opt.solve(HARD, "highs-oa")
    assert solution.solution_status is SolutionStatus.OPTIMAL
    assert solution.objective == pytest.approx(cbs_opt.solve(HARD, "bnb").objective, rel=2e-6)
    assert solution.nodes > 0


@pytest.mark.usefixtures("in_parts")
def test_a_part_that_is_given_up_leaves_the_bound_that_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the part of the optimum given up, nothing may be called proven."""
    problem = gram(9, 12, 1e-2).pruning(5)
    best = cbs_opt.solve(problem, "bnb")
    prove, given_up = highs_oa.Search._master, []

    def master(search, root, cutoff):  # type: ignore[no-untyped-def]
        decided_by_it = ~root.pattern.free
        if (best.mask[decided_by_it] == root.kept[decided_by_it]).all():
            given_up.append(search._block.bound(search._part))
            return search.give_up("left alone by the test")
        return prove(search, root, cutoff)

    monkeypatch.setattr(highs_oa.Search, "_master", master)
    solution = cbs_opt.solve(problem, "highs-oa")
    assert given_up
    assert solution.bound <= max(given_up)
    assert solution.bound < best.objective
    assert solution.solution_status is SolutionStatus.FEASIBLE
    assert solution.notes == ("left alone by the test",)


@pytest.mark.usefixtures("in_parts")
def test_a_part_is_bounded_by_its_own_optimum_though_another_part_had_a_better_incumbent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first incumbent is the worst pair of weights to keep, and only the parts find better ones."""
    problem = gram(7, 12, 1e-2, 7).pruning(5)
    pairs = [mask for mask in masks_of(problem.Z) if mask.sum() == 2]
    worst = max(pairs, key=lambda mask: problem.objective(obs_update(problem, mask)))
    monkeypatch.setattr(highs_oa, "prune_in_sequence", lambda *_: worst)
    monkeypatch.setattr(highs_oa.swap, "improve", lambda parts, c, mask, Z: mask)
    monkeypatch.setattr(highs_oa, "KICKS", 0)
    prove, parts = highs_oa.Search._master, []

    def master(search, root, cutoff):  # type: ignore[no-untyped-def]
        better = prove(search, root, cutoff)
        optimum, error = best_by_enumeration(problem.within(root.pattern))
        parts.append((search._block.bound(search._part), optimum + error))
        return better

    monkeypatch.setattr(highs_oa.Search, "_master", master)
    assert check(problem).solution_status is SolutionStatus.OPTIMAL
    assert len(parts) > 1
    assert all(bound <= optimum * (1 + 1e-12) for bound, optimum in parts)


@pytest.mark.usefixtures("in_parts")
def test_notes_say_every_reason_for_which_a_part_was_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    prove, reasons = highs_oa.Search._master, iter(["tired", "bored", "tired"])

    def master(search, root, cutoff):  # type: ignore[no-untyped-def]
        why = next(reasons, None)
        return prove(search, root, cutoff) if why is None else search.give_up(why)

    monkeypatch.setattr(highs_oa.Search, "_master", master)
    solution = cbs_opt.solve(gram(9, 12, 1e-2).pruning(5), "highs-oa")
    assert next(reasons, None) is None
    assert solution.notes == ("tired", "bored")


@pytest.mark.usefixtures("in_parts")
def test_notes_of_parts_that_were_begun_anew_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    prove, calls = highs_oa.Search._master, []

    def master(search, root, cutoff):  # type: ignore[no-untyped-def]
        calls.append(search.notes)
        if len(calls) == 1:
            return search.give_up("tired")
        return True if len(calls) == 2 else prove(search, root, cutoff)

    monkeypatch.setattr(highs_oa.Search, "_master", master)
    solution = cbs_opt.solve(gram(9, 12, 1e-2).pruning(5), "highs-oa")
    assert calls[1] == ("tired",)
    assert solution.solution_status is SolutionStatus.OPTIMAL
    assert solution.notes == ()


@pytest.mark.parametrize("limit", [1e-3, 0.7])
def test_a_time_limit_leaves_a_feasible_mask_and_a_bound_that_holds(limit: float) -> None:
    problem = gram(60, 40, 1e-4).pruning(50)
    solution = cbs_opt.solve(problem, "highs-oa", time_limit=limit)
    assert solution.termination_condition is TerminationCondition.TIME_LIMIT
    assert solution.solution_status is SolutionStatus.FEASIBLE
    assert problem.Z.contains(solution.mask)
    assert 0.0 <= solution.bound <= cbs_opt.solve(problem, "bnb", time_limit=2.0).objective


def test_a_coarse_gap_is_enough_where_it_is_asked_for() -> None:
    assert cbs_opt.solve(HARD, "highs-oa").nodes > 0
    solution = cbs_opt.solve(HARD, "highs-oa", gap=0.2)
    assert solution.solution_status is SolutionStatus.OPTIMAL
    assert solution.gap <= 0.2


@pytest.mark.parametrize("k", [0, 6])
def test_nothing_and_everything_pruned(k: int) -> None:
    solution = check(gram(6, 10, 1e-2).pruning(k))
    assert solution.solution_status is SolutionStatus.OPTIMAL


def test_bad_options_are_refused() -> None:
    with pytest.raises(InputError, match="time_limit"):
        cbs_opt.solve(HARD, "highs-oa", time_limit=0.0)
    with pytest.raises(InputError, match="gap"):
        cbs_opt.solve(HARD, "highs-oa", gap=-1.0)
    with pytest.raises(TooLargeError, match="100"):
        highs_oa.SPEC.check(PruningProblem(np.ones(101), np.eye(101)).pruning(1))


def test_highs_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    cbs_opt.solve(gram(16, 10, 1e-3).pruning(12), "highs-oa")
    assert capfd.readouterr() == ("", "")


# ------------------------------------------------------------------- the master problem itself


def test_master_is_a_relaxation_and_exact_where_its_tangents_are() -> None:
    from pyomo.environ import Constraint, value

    problem = gram(8, 12, 1e-2).pruning(5)
    incumbent = cbs_opt.solve(problem, "swap")
    D = np.full(8, 0.9 * np.linalg.eigvalsh(problem.curvature.dense())[0])
    master = build(problem, incumbent=incumbent.objective, D=D)
    assert master.add_tangents(master.point_of(incumbent.weights, incumbent.mask), -1.0)
    masks = [problem.Z.argmax(np.random.default_rng(seed).random(8)) for seed in range(30)] + [incumbent.mask]
    for mask in masks:
        w = obs_update(problem, mask)
        point = master.point_of(w, mask)
        # Δ and the eigenvectors reproduce f, in units of the incumbent's value.
        assert master.value_at(point) * incumbent.objective == pytest.approx(problem.objective(w), rel=1e-6)
        if problem.objective(w) > incumbent.objective:
            continue
        model = master.model
        for part, values in (
            (model.z, point.z),
            (model.u, point.u),
            (model.s, point.s),
            (model.y, point.y),
            (model.t, point.t),
        ):
            for variable, entry in zip(part.values(), values, strict=True):
                variable.set_value(entry, skip_validation=True)
        assert all(row.slack() >= -1e-9 for row in model.component_data_objects(Constraint))
        assert value(model.loss) == pytest.approx(master.value_at(point))


def test_master_without_a_better_solution_is_refused() -> None:
    with pytest.raises(InputError, match="incumbent"):
        build(gram(5, 8, 1e-2).pruning(2), incumbent=0.0, D=np.full(5, 1e-3))


def test_what_the_root_fixes_is_so_in_the_optimum() -> None:
    for seed in range(8):
        problem = gram(12, 9, 1e-3, seed).pruning(8)
        optimum, _ = best_by_enumeration(problem)
        best = cbs_opt.solve(problem, "bnb").mask
        block = CenteredBlock.of(problem)
        cutoff = 1.001 * optimum / block.scale
        reduced = highs_root.probe_root(block, problem.Z, block.first_splitting(), cutoff)
        assert block.bound(min(reduced.bound, cutoff)) <= optimum * 1.001
        if reduced.bound < cutoff:
            assert best[reduced.kept].all()
            assert not best[~reduced.kept & ~reduced.pattern.free].any()
            assert block.bound(reduced.bound) <= optimum
