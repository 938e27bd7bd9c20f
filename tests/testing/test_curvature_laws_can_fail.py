"""Every law of curvatures is broken on purpose by one that obeys the others, and is seen to be."""

from __future__ import annotations

import numpy as np
import pytest

from cbs_opt import DenseCurvature
from cbs_opt.kernel.arrays.types import Matrix, Vector
from cbs_opt.testing import check_curvature

H = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, -0.3], [0.0, -0.3, 3.0]])


class Skewed(DenseCurvature):
    def _form_dense(self) -> Matrix:
        return self._H + np.triu(np.full((3, 3), 1e-6), 1)


class Undamped(DenseCurvature):
    @property
    def damping(self) -> float:
        return -1.0


class WrongDiagonal(DenseCurvature):
    def diagonal(self) -> Vector:
        return super().diagonal() * (1 + 1e-6)


class WrongInverse(DenseCurvature):
    def inverse_diagonal(self) -> Vector:
        return 1.0 / self.diagonal()


class Above(DenseCurvature):
    def below(self) -> DenseCurvature:
        return DenseCurvature(self._H + 1e-6 * np.eye(self.n))


class FarBelow(DenseCurvature):
    def below(self) -> DenseCurvature:
        return DenseCurvature(0.5 * self._H)


class WrongProduct(DenseCurvature):
    def matvec(self, v: Vector) -> Vector:
        return self.diagonal() * v


class HalfSquare(DenseCurvature):
    def quadratic(self, v: Vector) -> float:
        return 0.5 * super().quadratic(v)


class WrongSolve(DenseCurvature):
    def solve(self, v: Vector) -> Vector:
        return v / self.diagonal()


@pytest.mark.parametrize(
    ("kind", "law", "said"),
    [
        (Skewed, "numbers are those of the matrix", "differ by 1e-06"),
        (Undamped, "numbers are those of the matrix", "its damping is -1"),
        (WrongDiagonal, "numbers are those of the matrix", r"entry 0 of diagonal\(\) is 2.000002, not 2"),
        (WrongInverse, "numbers are those of the matrix", r"of inverse_diagonal\(\)"),
        (Above, "what lies below lies below", "has the eigenvalue -"),
        (FarBelow, "what lies below lies below", "is lower by 0.6"),
        (WrongProduct, "products are those of the matrix", r"of matvec\(v\)"),
        (HalfSquare, "products are those of the matrix", r"of quadratic\(v\)"),
        (WrongSolve, "solving undoes multiplying", r"of dense\(\) @ solve\(v\)"),
    ],
)
def test_a_wrong_curvature_is_seen(kind: type[DenseCurvature], law: str, said: str) -> None:
    with pytest.raises(AssertionError, match=f"^law '{law}' is broken by {kind.__name__} of order 3: .*{said}"):
        check_curvature(kind(H))


def test_an_indefinite_curvature_is_seen() -> None:
    class Saddle(DenseCurvature):
        def _form_dense(self) -> Matrix:
            return np.array([[2.0, 3.0, 0.0], [3.0, 1.0, 0.0], [0.0, 0.0, 3.0]])

    with pytest.raises(AssertionError, match=r"smallest eigenvalue, at unit diagonal, is -1\.12"):
        check_curvature(Saddle(H))


def test_a_wrong_update_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from cbs_opt.testing import curvature_laws

    check_curvature(DenseCurvature(H))
    right = curvature_laws.obs_update
    monkeypatch.setattr(curvature_laws, "obs_update", lambda problem, z: np.where(z, problem.w_bar, 0.0))
    with pytest.raises(AssertionError, match=r"law 'the update is the minimum'.*the gradient on the mask"):
        check_curvature(DenseCurvature(H))
    monkeypatch.setattr(curvature_laws, "obs_update", lambda problem, z: right(problem, z) + 1e-3 * ~z)
    with pytest.raises(AssertionError, match=r"law 'the update is the minimum'.*pruned weights are"):
        check_curvature(DenseCurvature(H))
