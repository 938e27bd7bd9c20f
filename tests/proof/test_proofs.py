"""Certificates of searches, of single points and of dual vectors: true always, and as tight as what they prove."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cbs_opt
from cbs_opt import Cardinality, PruningProblem
from cbs_opt.errors import InputError, TooLargeError
from cbs_opt.kernel.curvature import BlockDiagonalCurvature, DenseCurvature, DiagonalCurvature, FactorCurvature
from cbs_opt.kernel.result import relative_gap
from cbs_opt.proof import NotVerifiedError, Proof, Verification, from_point, from_records, prove, verify
from cbs_opt.proof.check.exact_model import ExactModel
from cbs_opt.proof.make import prove as build
from cbs_opt.solvers.bounds.perspective import perspective_bound
from cbs_opt.solvers.exact import bnb_search
from cbs_opt.testing.instances import best_by_enumeration, random_problem


def checked(problem: PruningProblem, **options: Any) -> tuple[Proof, Verification]:
    """A certificate and its verification; the claim is compared with the exact loss of the mask by the way."""
    proof = prove(problem, **options)
    verification = verify(problem, proof)
    assert verification.bound == proof.bound <= verification.objective
    assert verification.notes == ()
    return proof, verification


@settings(max_examples=120, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_certificate_claims_more_than_the_optimum(seed: int) -> None:
    problem = random_problem(seed, max_n=10)
    if problem is None:
        return
    _, verification = checked(problem)
    optimum, error = best_by_enumeration(problem)
    assert verification.bound <= optimum + error
    best = cbs_opt.solve(problem, "enumeration")
    assert Fraction(verification.bound) <= ExactModel.of(problem).value(best.weights)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(["gram", "identity", "integer", "equicorrelated"]))
def test_what_the_search_proves_its_certificate_proves(seed: int, kind: str) -> None:
    problem = random_problem(seed, max_n=11, kind=kind, linear=False)
    if problem is None:
        return
    _, verification = checked(problem)
    round_off = problem.round_off(cbs_opt.solve(problem, "enumeration").weights)
    assert relative_gap(verification.objective, verification.bound, 8 * round_off) <= 1e-6


def test_a_tree_that_grows_goes_on_with_pieces_and_is_far_smaller_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs in nearly equal pairs: a diagonal sees little of what pruning both of a pair costs."""
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(40, 9)), 2, axis=1) + 0.01 * rng.normal(size=(40, 18))
    problem = PruningProblem.from_activations(rng.normal(size=18), X, damping=1e-3).pruning(12)
    monkeypatch.setattr(bnb_search, "PIECES_FROM", -1)
    without, _ = checked(problem)
    monkeypatch.setattr(bnb_search, "PIECES_FROM", 2)
    proof, verification = checked(problem)
    assert without.tree is not None
    assert without.tree.pieces is None
    assert proof.tree is not None
    assert proof.tree.pieces is not None
    assert proof.nodes < without.nodes / 2
    assert verification.gap <= 1e-6
    optimum = ExactModel.of(problem).value(cbs_opt.solve(problem, "enumeration").weights)
    assert Fraction(verification.bound) <= optimum


@pytest.mark.data
def test_shared_blocks_are_proven(shared_block: PruningProblem, stored: list[tuple[int, float]]) -> None:
    for k, optimum in stored[:2]:
        proof, verification = checked(shared_block.pruning(k))
        assert verification.gap <= 1e-5
        assert verification.bound <= optimum * (1 + 1e-12)
        assert verification.objective == pytest.approx(optimum, rel=1e-6)
        assert verification.points <= proof.nodes


def gram(n: int, seed: int = 0, damping: float = 1e-2) -> PruningProblem:
    rng = np.random.default_rng(seed)
    return PruningProblem.from_activations(rng.normal(size=n), rng.normal(size=(3 * n, n)), damping=damping)


def test_a_stopped_search_is_certified_with_the_bound_it_has() -> None:
    problem = gram(30).at_sparsity(0.6)
    bounds = []
    for nodes in (1, 5, 40):
        records: list[Any] = []
        solution = cbs_opt.solve(problem, "bnb", node_limit=nodes, record=records.append)
        proof = from_records(problem, solution, records)
        assert verify(problem, proof).bound == pytest.approx(solution.bound, rel=1e-6)
        bounds.append(proof.bound)
    assert bounds == sorted(bounds)
    assert bounds[0] < bounds[-1]


def test_a_single_point_certifies_the_mask_of_any_method() -> None:
    problem = gram(24).at_sparsity(0.5)
    solution = cbs_opt.solve(problem, "magnitude")
    proof = from_point(problem, solution.mask)
    verification = verify(problem, proof)
    assert (verification.nodes, verification.points) == (1, 1)
    assert verification.objective == pytest.approx(solution.objective)
    assert verification.bound >= 0.95 * perspective_bound(problem)[0]


CURVATURES = {
    "factor": lambda rng: FactorCurvature(rng.normal(size=(6, 14)), 1e-2),
    "diagonal": lambda rng: DiagonalCurvature(rng.random(14) + 0.1),
    "blocks": lambda rng: BlockDiagonalCurvature(
        [DenseCurvature(np.eye(6) + 0.2), FactorCurvature(np.ones((1, 8)), 0.1)]
    ),
}


@pytest.mark.parametrize("kind", CURVATURES)
def test_every_curvature_is_taken_as_the_exact_numbers_it_holds(kind: str) -> None:
    rng = np.random.default_rng(3)
    problem = PruningProblem(
        rng.normal(size=14),
        CURVATURES[kind](rng),
        Cardinality(14, 9, keep=[0], forbid=[3, 4]),
        g=0.01 * rng.normal(size=14),
        offset=-0.5,
    )
    _, verification = checked(problem)
    assert verification.forced == 3
    assert verification.gap <= 1e-6
    assert verification.arithmetic == "exact rational arithmetic"


@pytest.mark.parametrize("curvature", ["factor", "diagonal"])
@pytest.mark.parametrize("first_order", [False, True])
def test_large_blocks_are_certified_by_a_dual_vector(curvature: str, first_order: bool) -> None:
    rng = np.random.default_rng(5)
    n = 3000
    w = rng.normal(size=n) * rng.random(n) ** 3
    factor = FactorCurvature(rng.normal(size=(40, n)) / 6, 1.0)
    H = factor if curvature == "factor" else DiagonalCurvature(rng.random(n) + 1)
    g = 1e-2 * rng.normal(size=n) if first_order else None
    problem = PruningProblem(w, H, Cardinality.from_sparsity(n, 0.9, keep=[7], forbid=[1, 2]), g=g, offset=0.25)
    proof, verification = checked(problem)
    assert proof.tree is None
    assert verification.arithmetic == "interval arithmetic"
    assert verification.gap <= (0.02 if curvature == "factor" else 1e-12)
    assert verification.objective == pytest.approx(problem.objective(proof.weights), rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_dual_vector_claims_more_than_the_optimum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(2, 9)), int(rng.integers(1, 6))
    unit = 10.0 ** rng.uniform(-6, 6)
    H = FactorCurvature(rng.normal(size=(m, n)), 10.0 ** rng.uniform(-6, 1))
    g = rng.normal(size=n) * unit if rng.random() < 0.5 else None
    problem = PruningProblem(rng.normal(size=n) * unit, H, Cardinality(n, int(rng.integers(0, n + 1))), g=g)
    proof = build._from_dual(problem, None)
    verification = verify(problem, proof)
    best = cbs_opt.solve(problem, "enumeration")
    assert Fraction(verification.bound) <= ExactModel.of(problem).value(best.weights)
    assert Fraction(verification.objective) >= ExactModel.of(problem).value(proof.weights)


@pytest.mark.parametrize("k", [0, 5, 6])
def test_nothing_or_everything_pruned(k: int) -> None:
    _, verification = checked(gram(6).pruning(k))
    assert verification.gap <= 1e-6
    _, verification = checked(PruningProblem(np.zeros(6), np.eye(6)).pruning(k))
    assert (verification.bound, verification.objective) == (0, 0)


def test_extreme_units_and_an_ill_conditioned_block() -> None:
    rng = np.random.default_rng(2)
    A = rng.normal(size=(12, 10))
    A[:, 5:] = A[:, :5]
    H = (A.T @ A + 1e-9 * np.eye(10)) * 1e-120
    _, verification = checked(PruningProblem(rng.normal(size=10) * 1e80, (H + H.T) / 2).pruning(6))
    assert verification.gap <= 1e-4


def test_another_block_is_named() -> None:
    problem = gram(12).pruning(8)
    proof = prove(problem)
    with pytest.raises(NotVerifiedError, match=r"not verified: .*made for another block"):
        verify(gram(12, seed=1), proof)
    with pytest.raises(InputError, match="is for 12 weights, but the block has 13"):
        verify(gram(13), proof)


def test_the_same_block_with_its_curvature_rounded_otherwise_passes_with_a_note() -> None:
    problem = gram(20).pruning(12)
    H = problem.curvature.dense()
    noise = 1 + 1e-16 * np.random.default_rng(0).integers(-2, 3, size=H.shape)
    other = PruningProblem(problem.w_bar, (H * noise + (H * noise).T) / 2)
    verification = verify(other, prove(problem))
    assert "the proof holds for these" in verification.notes[0]


def test_what_is_too_large_is_said_before_anything_runs() -> None:
    n = 1200
    problem = PruningProblem(np.ones(n), BlockDiagonalCurvature([DenseCurvature(np.eye(2))] * (n // 2))).pruning(5)
    with pytest.raises(TooLargeError, match="takes at most 1000 weights on a block-diagonal curvature, not 1200"):
        prove(problem)
    small = gram(4).pruning(2)
    solution = cbs_opt.solve(small, "magnitude")
    with pytest.raises(InputError, match="stop the search earlier"):
        from_records(small, solution, [None] * (2**21 + 1))  # type: ignore[list-item]


def test_progress_is_told() -> None:
    problem = gram(24, damping=1e-4).at_sparsity(0.5)
    told: list[tuple[int, int]] = []
    proof = prove(problem, progress=lambda done, nodes: told.append((done, nodes)))
    assert told[0][0] == 0
    told.clear()
    verify(problem, proof, progress=lambda done, nodes: told.append((done, nodes)))
    assert told[0] == (0, proof.nodes)
