"""A curvature nobody has heard of: one class, and everything works by its dense form; registrations replace that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cbs_opt.errors import UnsupportedError
from cbs_opt.evaluation.catalogue import method
from cbs_opt.evaluation.certify import certify
from cbs_opt.evaluation.comparator import compare
from cbs_opt.evaluation.lower_bound import lower_bound
from cbs_opt.evaluation.solve import solve
from cbs_opt.kernel.arrays.types import EPS, Mask, Matrix, Vector
from cbs_opt.kernel.asked import Asked
from cbs_opt.kernel.curvature import BlockDiagonalCurvature, Curvature, DenseCurvature, DiagonalCurvature, RowsCurvature
from cbs_opt.kernel.curvature.dense import lowered
from cbs_opt.kernel.curvature.second_moment import scales, slack
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.update import obs_update, updated
from cbs_opt.proof.certificate.digest import block_digest
from cbs_opt.proof.check.dual import takes
from cbs_opt.proof.check.exact_model import ExactModel
from cbs_opt.solvers.bounds.dual_blocks import pieces_of

rng = np.random.default_rng(7)


class Householder(Curvature):
    """H = s(I − ½uuᵀ) with ‖u‖ = 1: inverse (I + uuᵀ)/s."""

    kind = "householder"

    def __init__(self, u: Vector, s: float) -> None:
        self.u, self.s = u / np.linalg.norm(u), s

    @property
    def n(self) -> int:
        return len(self.u)

    @property
    def damping(self) -> float:
        return 0.0

    def matvec(self, v: Vector) -> Vector:
        return self.s * (v - 0.5 * self.u * (self.u @ v))

    def quadratic(self, v: Vector) -> float:
        return float(v @ self.matvec(v))

    def diagonal(self) -> Vector:
        return self.s * (1.0 - 0.5 * self.u**2)

    def inverse_diagonal(self) -> Vector:
        return (1.0 + self.u**2) / self.s

    def solve(self, v: Vector) -> Vector:
        return (v + self.u * (self.u @ v)) / self.s

    def _form_dense(self) -> Matrix:
        return self.s * (np.eye(self.n) - 0.5 * np.outer(self.u, self.u))

    def below(self) -> Curvature:
        """Each entry is rounded three times."""
        H = self._form_dense()
        return lowered(H, slack(2 * EPS * np.abs(H), scales(H)), 0.0)


class Isotropic(Householder):
    """H = sI, by a class that is never formed."""

    def _form_dense(self) -> Matrix:
        raise AssertionError("is not formed where its class knows better")

    def below(self) -> Curvature:
        return self


@updated.register
def _isotropic(curvature: Isotropic, w_bar: Vector, z: Mask, g: Vector) -> Vector:
    return np.where(z, w_bar - g / curvature.s, 0.0)


def pair(n: int = 12) -> tuple[PruningProblem, PruningProblem]:
    """The same problem on the new curvature and on its dense form."""
    new = Householder(rng.normal(size=n), 2.5)
    w, g = rng.normal(size=n), 0.1 * rng.normal(size=n)
    return tuple(PruningProblem(w, c, g=g, offset=0.5).pruning(n // 2) for c in (new, new.dense()))  # type: ignore[return-value]


def test_the_kernel_takes_it(tmp_path: Path) -> None:
    new, dense = pair()
    mask = dense.Z.argmax(dense.w_bar**2)
    np.testing.assert_array_equal(obs_update(new, mask), obs_update(dense, mask))
    new.save(tmp_path / "new.npz")
    read = PruningProblem.load(tmp_path / "new.npz").curvature
    assert isinstance(read, DenseCurvature)
    np.testing.assert_array_equal(read.dense(), new.curvature.dense())
    assert (new.curvature.rows, new.curvature.row) == (1, new.curvature)
    assert Asked("pattern", "2:4").of(new).Z.argmax(np.arange(12.0)).sum() == 6


@pytest.mark.parametrize("name", ["greedy-obs", "swap", "cbs", "sparsegpt", "rows-relaxation"])
def test_methods_take_it(name: str) -> None:
    new, dense = pair()
    one, other = solve(new, name), solve(dense, name)
    np.testing.assert_array_equal(one.mask, other.mask)
    assert one.objective == pytest.approx(other.objective, rel=1e-12)


def test_a_method_that_names_its_curvatures_refuses_it() -> None:
    new, _ = pair()
    with pytest.raises(UnsupportedError, match="cannot take a householder curvature; it takes factor, block-diagonal"):
        solve(new, "relaxation")
    with pytest.raises(UnsupportedError, match=r"it takes factor \(PruningProblem.from_gradients keeps a factor"):
        solve(new, "block-swap")
    diagonal = PruningProblem(new.w_bar, DiagonalCurvature(np.ones(12))).pruning(6)
    refused = {name for name in ("relaxation", "block-swap", "iht") if method(name).why_not(diagonal)}
    assert refused == {"block-swap", "iht"}


def test_bounds_take_it_alone_and_in_a_block_diagonal() -> None:
    new, dense = pair()
    assert lower_bound(new).value == pytest.approx(lower_bound(dense).value, rel=1e-9)
    both = BlockDiagonalCurvature([new.curvature, dense.curvature])
    first, second = pieces_of(both)
    assert (first.part, second.part) == (slice(0, 12), slice(12, 24))
    H = new.curvature.dense()
    for piece in (first, second):
        assert piece.factor is not None
        rest = H - piece.factor.A.T @ piece.factor.A - np.diag(piece.damping)
        assert np.linalg.eigvalsh(rest)[0] > -1e-12


def test_the_trusted_base_takes_it_in_full_and_not_as_a_factor() -> None:
    new, dense = pair()
    assert block_digest(new) == block_digest(dense)
    assert ExactModel.of(new).value(new.w_bar) == ExactModel.of(dense).value(dense.w_bar)
    assert not takes(new)


def test_a_registration_is_enough_to_do_better() -> None:
    problem = PruningProblem(rng.normal(size=8), Isotropic(np.ones(8), 2.0), g=rng.normal(size=8)).pruning(4)
    mask = problem.Z.argmax(problem.w_bar**2)
    expected = np.where(mask, problem.w_bar - problem.linear_term() / 2.0, 0.0)
    np.testing.assert_array_equal(obs_update(problem, mask), expected)


def test_rows_are_rows_of_the_curvature_they_share() -> None:
    H = np.array([[2.0, 0.5], [0.5, 1.0]])
    rows = RowsCurvature(H, 3)
    np.testing.assert_array_equal(np.kron(np.eye(rows.rows), rows.row.dense()), rows.dense())


def test_one_evaluation_for_methods_and_masks_from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """``solve``, ``compare`` and ``certify`` re-tune a mask once each, and say the same of it to the last digit."""
    import cbs_opt.kernel.judge as judge_module

    _, problem = pair()
    calls = []

    def counted(asked: PruningProblem, mask: Mask) -> Vector:
        calls.append(mask)
        return obs_update(asked, mask)

    monkeypatch.setattr(judge_module, "obs_update", counted)
    found = solve(problem, "magnitude")
    table = compare(problem, ["magnitude", "obd"], masks={"given": found.mask})
    assert len(calls) == 1 + 3
    judged = certify(problem, found.mask, time_limit=0.0)
    assert len(calls) == 1 + 3 + 1
    for other in (table["magnitude"], table["given"], judged):
        assert (other.objective, other.selection_objective) == (found.objective, found.selection_objective)
    assert table["given"].gap == table["magnitude"].gap == pytest.approx(judged.gap)
    assert (table["given"].termination_condition, table["given"].solution_status) == ("given", "feasible")
