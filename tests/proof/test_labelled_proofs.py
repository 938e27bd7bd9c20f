"""Certificates of quotas, N:M and labels in any order: true by rational enumeration, at all scales, and tight."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from from_root import import_from_root
from hand_made_proof import Node, proof_of
from hypothesis import given, settings
from hypothesis import strategies as st

import cbs_opt
from cbs_opt import PruningProblem, Quotas
from cbs_opt.errors import InputError, NotPositiveDefiniteError
from cbs_opt.kernel.curvature import FactorCurvature
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.proof import NotVerifiedError, Proof, from_point, from_records, prove, verify
from cbs_opt.proof.check.region import KEPT, PRUNED
from cbs_opt.proof.make import prove as build
from cbs_opt.testing.instances import KINDS, best_by_enumeration, gram, random_curvature
from cbs_opt.testing.scattered import Scattered

SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmarks are run from the repository root and are no part of the package."""
    import_from_root(monkeypatch, "benchmarks")


def random_labels(rng: np.random.Generator, n: int) -> Scattered:
    """Labels in any order or one after the other, with room for none, some or all, and perhaps weights forced."""
    many = int(rng.integers(1, n + 1))
    labels = rng.integers(0, many, n) if rng.random() < 0.6 else np.arange(n) * many // n
    size = np.bincount(labels, minlength=many)
    room = rng.integers(0, size + 1)
    role = rng.integers(0, 4, n) if rng.random() < 0.4 else np.full(n, 3)
    left, keep = room.copy(), []
    for i in np.flatnonzero(role == 0):
        if left[labels[i]] > 0:
            left[labels[i]] -= 1
            keep.append(int(i))
    return Scattered(labels, room, keep, np.flatnonzero(role == 1))


def labelled_problem(seed: int, max_n: int = 6) -> PruningProblem | None:
    """H and w̄ at scales 1e±150, ties, zeros, first-order terms, factors; None where float64 cannot hold the draw."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, max_n + 1))
    unit, size = 10.0 ** (rng.uniform(-150, 150, 2) * rng.integers(0, 2, 2))
    w = (rng.normal(size=n), np.sign(rng.normal(size=n)), rng.integers(-1, 2, n).astype(float))[seed % 3] * size
    H: Any
    if rng.random() < 0.3:
        H = FactorCurvature(rng.normal(size=(3, n)) * np.sqrt(unit), unit * 10.0 ** rng.uniform(-6, 1))
    else:
        H = random_curvature(rng, n, str(rng.choice(KINDS))) * unit
    g = rng.normal(size=n) * unit * size if rng.random() < 0.3 else None
    try:
        return PruningProblem(w, H, random_labels(rng, n), g=g)
    except (InputError, NotPositiveDefiniteError):
        return None


@settings(max_examples=150, deadline=None)
@given(seed=SEEDS)
def test_no_certificate_claims_more_than_the_rational_optimum(seed: int) -> None:
    from benchmarks.exact_optimum import ExactProblem

    problem = labelled_problem(seed)
    if problem is None:
        return
    exact = ExactProblem.of(problem)
    proofs = [prove(problem), from_point(problem)]
    if isinstance(problem.curvature, FactorCurvature):
        proofs.append(build._from_dual(problem, None))
    for proof in proofs:
        verification = verify(problem, proof)
        assert Fraction(verification.bound) <= exact.optimum
        assert Fraction(verification.objective) >= exact.loss(proof.weights)
        assert verification.notes == ()


PATTERNS: dict[str, Pattern] = {
    "2:4": Quotas.n_of_m(12, 2, 4),
    "1:4, some forced": Quotas([4] * 3, 3, keep=[5], forbid=[0, 1, 2, 3, 4]),
    "quotas": Quotas([3, 6, 3], [0, 4, 3]),
    "labels in any order": Scattered([2, 0, 1, 3] * 3, [1, 2, 3, 0]),
}


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("seed", range(3))
def test_what_the_search_proves_its_certificate_proves(name: str, seed: int) -> None:
    problem = gram(12, 24, 1e-3, seed).within(PATTERNS[name])
    verification = verify(problem, prove(problem))
    optimum, error = best_by_enumeration(problem)
    assert optimum * (1 - 1e-6) <= verification.bound <= optimum + error
    assert verification.objective == pytest.approx(optimum, rel=1e-6)


def test_a_search_with_settled_labels_and_screening_is_certified() -> None:
    """Both happen at one node: what is settled needs no point, what is screened does."""
    problem = gram(24, 40, 1e-3).within(Quotas.n_of_m(24, 2, 4))
    records: list[Any] = []
    solution = cbs_opt.solve(problem, "bnb", record=records.append)
    proof = from_records(problem, solution, records)
    verification = verify(problem, proof)
    assert verification.bound == pytest.approx(solution.bound, rel=2e-6)
    assert proof.tree is not None
    assert proof.tree.fixed.any()
    assert verification.pattern == "at least 2 zeros in every 4 consecutive weights"


def test_a_large_factor_is_certified_by_a_dual_vector_under_n_of_m() -> None:
    rng = np.random.default_rng(5)
    n = 1200
    H = FactorCurvature(rng.normal(size=(20, n)) / 6, 1.0)
    problem = PruningProblem(rng.normal(size=n), H, Quotas([4] * (n // 4), 2, keep=[7], forbid=[1, 2]), offset=0.25)
    proof = prove(problem)
    verification = verify(problem, proof)
    assert proof.tree is None
    assert verification.gap <= 0.02
    assert verification.bound == pytest.approx(cbs_opt.lower_bound(problem).value, rel=2e-3)
    assert verification.forced == 3
    # With room for fewer the claim would be about fewer masks, with room for more it is false.
    wider = replace(proof.limits, room=proof.limits.room + 1)
    with pytest.raises(NotVerifiedError, match=r"its point proves .* less than the claimed"):
        verify(problem, replace(proof, limits=wider))


def test_of_a_stopped_search_and_of_any_mask() -> None:
    problem = gram(32, 50, 1e-3).within(Quotas.n_of_m(32, 2, 4))
    records: list[Any] = []
    solution = cbs_opt.solve(problem, "bnb", node_limit=20, record=records.append)
    stopped = verify(problem, from_records(problem, solution, records))
    assert stopped.bound == pytest.approx(solution.bound, rel=1e-6)
    greedy = cbs_opt.solve(problem, "greedy-obs")
    one = verify(problem, from_point(problem, greedy.mask))
    assert (one.nodes, one.points) == (1, 1)
    assert one.objective == pytest.approx(greedy.objective)
    assert one.bound <= stopped.bound


def hand_made(
    branch: int, sides: list[int], bound: float, kept: list[int], keep: list[int]
) -> tuple[PruningProblem, Proof]:
    """f = ½‖w − (3, 1, 3, 1)‖²; 0 and 1 share a label, 2 and 3 another, room for one each; a root and its children."""
    return proof_of([Node(branch=branch, point=-1), *(Node(0, side) for side in sides)], bound, kept, keep=keep)


def test_a_child_that_a_full_label_rules_out_may_be_missing() -> None:
    """Weight 0 is kept: 1 cannot be, and with it pruned the best mask loses 1 in all."""
    assert verify(*hand_made(1, [PRUNED], 0.99, [0, 2], keep=[0])).objective == 1.0


def test_a_child_is_not_ruled_out_by_another_label_that_is_full() -> None:
    """Weight 0 is kept, and with 2 pruned as well nothing is below 5; but 2 may be kept, for a loss of 1."""
    with pytest.raises(NotVerifiedError, match="node 0 is split, but one of its children is missing"):
        verify(*hand_made(2, [PRUNED], 4.95, [0, 3], keep=[0]))
    problem, proof = hand_made(2, [PRUNED, KEPT], 4.95, [0, 3], keep=[0])
    with pytest.raises(NotVerifiedError, match="node 2 is not split, and its point proves 1 only"):
        verify(problem, proof)
    assert verify(problem, replace(proof, bound=0.99)).objective == 5.0


def test_room_of_one_label_is_not_lent_to_another() -> None:
    """One room of two for all four would let 0 and 2 stay as well; here 0 and 1 are too many, 0 and 2 are not."""
    problem, proof = hand_made(2, [PRUNED, KEPT], 0.99, [0, 2], keep=[])
    assert verify(problem, proof).objective == 1.0
    with pytest.raises(NotVerifiedError, match="its mask is not in its pattern"):
        verify(problem, replace(proof, mask=np.array([True, True, False, False])))


def test_what_has_no_choice_left_is_not_fixed_by_a_point() -> None:
    """Weight 0 is kept, so 1 is pruned in any case, and no point has to say so."""
    problem, proof = hand_made(2, [PRUNED, KEPT], 0.99, [0, 2], keep=[0])
    assert proof.tree is not None
    fixed = proof.tree.fixed.copy()
    fixed[0, 1] = PRUNED
    tree = replace(proof.tree, fixed=fixed, point=np.zeros(3, dtype=np.int64))
    with pytest.raises(NotVerifiedError, match="node 0 fixes weight 1, which is not free there"):
        verify(problem, replace(proof, tree=tree))


def test_labels_are_written_and_read(tmp_path: Path) -> None:
    problem = gram(12, 20, 1e-3).within(Scattered([1, 0, 2] * 4, [1, 2, 3], keep=[1], forbid=[0]))
    proof = prove(problem)
    proof.save(tmp_path / "proof.npz")
    again = Proof.load(tmp_path / "proof.npz")
    for name in ("labels", "room", "keep", "forbid"):
        np.testing.assert_array_equal(getattr(again.limits, name), getattr(proof.limits, name))
    assert verify(problem, again).bound == proof.bound
    with np.load(tmp_path / "proof.npz") as arrays:
        assert arrays["certificate"] == 2
        assert arrays["room"].tolist() == [1, 2, 3]
        assert "prune" not in arrays
        np.savez(tmp_path / "other.npz", **{**arrays, "labels": arrays["labels"] + 1})
    with pytest.raises(InputError, match=r"other\.npz: labels: weight .* has label 3; a number from 0 to 2 is needed"):
        Proof.load(tmp_path / "other.npz")


def test_one_label_is_written_as_before(tmp_path: Path) -> None:
    """Whatever the pattern is called: programs that know cardinalities only read it."""
    prove(gram(8, 20, 1e-2).within(Quotas([8], 5, keep=[2]))).save(tmp_path / "proof.npz")
    with np.load(tmp_path / "proof.npz") as arrays:
        assert (int(arrays["certificate"]), int(arrays["prune"])) == (1, 5)
        assert not {"labels", "room"} & set(arrays)


def test_another_pattern_is_named() -> None:
    problem = gram(12, 20, 1e-3).within(Quotas.n_of_m(12, 2, 4))
    proof = prove(problem)
    renamed = replace(proof.limits, labels=2 - proof.limits.labels)  # the same masks by other arrays
    assert "another pattern" in verify(problem, replace(proof, limits=renamed)).notes[0]
    wider = replace(proof.limits, room=proof.limits.room + 1)
    with pytest.raises(NotVerifiedError, match="made for another block or pattern"):
        verify(problem, replace(proof, limits=wider))
