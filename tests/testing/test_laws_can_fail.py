"""Every law is broken on purpose by something that obeys the others, and is seen to be."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import cbs_opt.evaluation.catalogue as catalogue
from cbs_opt import Cardinality, DenseCurvature, PruningProblem, methods
from cbs_opt.errors import InputError, PatternError, SolverError
from cbs_opt.kernel.arrays.types import Mask, Matrix, Vector
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.kernel.patterns.rows import Named, Rows
from cbs_opt.kernel.result import Outcome
from cbs_opt.testing import check_curvature, check_method, check_pattern
from cbs_opt.testing.method_laws import bound_optimum_objective, order_does_not_matter
from cbs_opt.testing.pattern_laws import constraints_are_the_pattern, flips_are_no_less

# ---------------------------------------------------------------- patterns


class Wrapped(Pattern):
    """A cardinality spoken to through another class: whatever a subclass does not break is right."""

    def __init__(self, inner: Pattern | None = None) -> None:
        self.inner = Cardinality(6, 3, keep=[1], forbid=[4]) if inner is None else inner

    n = property(lambda self: self.inner.n)  # type: ignore[assignment]
    free = property(lambda self: self.inner.free)  # type: ignore[assignment]

    def contains(self, z: Mask) -> bool:
        return self.inner.contains(z)

    def argmax(self, scores: Vector) -> Mask:
        return self.inner.argmax(scores)

    def flip_values(self, scores: Vector, z: Mask) -> Vector:
        return self.inner.flip_values(scores, z)

    def relief(self, z: Mask) -> Vector:
        return self.inner.relief(z)

    def fixed(self, keep: Mask, prune: Mask) -> Pattern:
        return self.inner.fixed(keep, prune)

    def rows(self) -> Rows:
        return self.inner.rows()

    def __str__(self) -> str:
        return "wrapped"


class SmallestFirst(Wrapped):
    def argmax(self, scores: Vector) -> Mask:
        return self.inner.argmax(scores.max() - scores)


class Overfull(Wrapped):
    def argmax(self, scores: Vector) -> Mask:
        return self.inner.argmax(scores) | self.free


class LowMost(Wrapped):
    def most(self, scores: Vector) -> float:
        return math.nextafter(self.inner.most(scores), 0.0)


class MostOfAll(Wrapped):
    def most(self, scores: Vector) -> float:
        return float(scores.sum()) * 1.001


class LowFlips(Wrapped):
    def flip_values(self, scores: Vector, z: Mask) -> Vector:
        return self.inner.flip_values(scores, z) - 0.25


class FlipsOfNothing(Wrapped):
    def flip_values(self, scores: Vector, z: Mask) -> Vector:
        return np.maximum(self.inner.flip_values(scores, z), 0.0)


class ExactlyK(Wrapped):
    """Not monotone: pruning more than asked is refused."""

    def contains(self, z: Mask) -> bool:
        return self.inner.contains(z) and int((~z).sum()) == 3


class AllFree(Wrapped):
    free = property(lambda self: np.arange(self.n) > 1)  # type: ignore[assignment]


class Empty(Wrapped):
    def contains(self, z: Mask) -> bool:
        return False


class NoRelief(Wrapped):
    def relief(self, z: Mask) -> Vector:
        return np.zeros(self.n)


class ReliefForEver(Wrapped):
    def relief(self, z: Mask) -> Vector:
        return (z & self.free).astype(np.float64)


class ReliefByForce(Wrapped):
    def relief(self, z: Mask) -> Vector:
        return np.where(z, self.inner.relief(z).max(), 0.0)


class NeverFixed(Wrapped):
    def fixed(self, keep: Mask, prune: Mask) -> Pattern:
        return self.inner


class AlwaysRefused(Wrapped):
    def fixed(self, keep: Mask, prune: Mask) -> Pattern:
        raise PatternError("no")


class Unconstrained(Wrapped):
    def rows(self) -> Rows:
        return replace(self.inner.rows(), b=np.array([6.0]))


@pytest.mark.parametrize(
    ("pattern", "law"),
    [
        (SmallestFirst(), "the oracle is best"),
        (Overfull(), "the oracle is best"),
        (LowMost(), "most is no less"),
        (MostOfAll(), "most is no less"),
        (LowFlips(), "flip values are no less"),
        (FlipsOfNothing(), "flip values are no less"),
        (ExactlyK(), "pruning more never leaves Z"),
        (AllFree(), "only free weights differ"),
        (Empty(), "only free weights differ"),
        (NoRelief(), "relief leads into the pattern"),
        (ReliefForEver(), "relief leads into the pattern"),
        (ReliefByForce(), "relief leads into the pattern"),
        (NeverFixed(), "fixed is the subset"),
        (AlwaysRefused(), "fixed is the subset"),
        (Unconstrained(), "constraints are the pattern"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Pattern) else "",
)
def test_a_wrong_pattern_is_seen(pattern: Pattern, law: str) -> None:
    with pytest.raises(AssertionError, match=f"^law '{law}' is broken by wrapped: "):
        check_pattern(pattern)


def test_a_right_pattern_passes_and_flips_may_be_too_large_unless_they_have_to_be_exact() -> None:
    class HighFlips(Wrapped):
        def flip_values(self, scores: Vector, z: Mask) -> Vector:
            return self.inner.flip_values(scores, z) + 0.25

    check_pattern(Wrapped())
    check_pattern(HighFlips())
    flips_are_no_less(Wrapped(), np.arange(6.0), exact=True)
    with pytest.raises(AssertionError, match="none scores more"):
        flips_are_no_less(HighFlips(), np.arange(6.0), exact=True)


def test_constraints_with_variables_of_their_own_are_asked_of_a_solver() -> None:
    class Switched(Wrapped):
        """At most one of the weights 0 and 1, said by a switch: z_0 ≤ y, z_1 ≤ 1 − y."""

        def __init__(self, slack: int) -> None:
            super().__init__(Cardinality(2, 1))
            self.slack = slack

        def rows(self) -> Rows:
            nothing = np.zeros(2, dtype=np.bool_)
            rows = [Named("switched", 2, "weight 0 needs the switch on, weight 1 off")]
            A, b = [[1, 0, -1], [0, 1, 1]], [0, self.slack]
            switch = [Named("switch", 1, "1 lets weight 0 in")]
            return Rows.of(A, b, keep=nothing, forbid=nothing, constraints=rows, variables=switch)

    constraints_are_the_pattern(Switched(1))
    with pytest.raises(AssertionError, match=r"contains\(\[1, 1\]\) is False, but the constraints say True"):
        constraints_are_the_pattern(Switched(2))


# ---------------------------------------------------------------- curvatures

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


# ---------------------------------------------------------------- methods


def magnitude(problem: PruningProblem) -> Outcome:
    return Outcome(problem.Z.argmax(np.abs(problem.w_bar)))


def boasting(problem: PruningProblem) -> Outcome:
    """Calls its answer proven."""
    mask = magnitude(problem).mask
    w = np.where(mask, problem.w_bar, 0.0)
    return Outcome(mask, bound=problem.objective(w))


def slightly_boasting(problem: PruningProblem) -> Outcome:
    """A bound between the optimum and its own objective."""
    optimum = methods()["enumeration"].run(problem)
    own = magnitude(problem).mask
    value = problem.objective(np.where(own, problem.w_bar, 0.0))
    return Outcome(own, bound=optimum.bound + 0.01 * (value - optimum.bound))


def outside(problem: PruningProblem) -> Outcome:
    return Outcome(np.ones(problem.n, dtype=np.bool_) & ~problem.Z.argmax(np.zeros(problem.n)))


DRAWS = np.random.default_rng(0)


def unseeded(problem: PruningProblem) -> Outcome:
    return Outcome(problem.Z.argmax(DRAWS.random(problem.n)))


def absolute(problem: PruningProblem) -> Outcome:
    """A threshold in the units of the weights."""
    return Outcome(problem.Z.argmax(np.minimum(np.abs(problem.w_bar), 1e-3)))


def first_come(problem: PruningProblem) -> Outcome:
    return Outcome(problem.Z.argmax(np.ones(problem.n)))


def erratic(problem: PruningProblem) -> Outcome:
    """Best for an even number of kept weights, magnitude for an odd one."""
    mask = methods()["enumeration"].run(problem).mask
    return Outcome(mask) if mask.sum() % 2 == 0 else magnitude(problem)


@pytest.fixture(autouse=True)
def own_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods of these tests, known while one runs."""
    wrong = (boasting, slightly_boasting, outside, unseeded, absolute, first_come, erratic)
    specs = [
        MethodSpec(
            name=run.__name__,
            run=run,
            summary="",
            exact=run is erratic,
            objective=Objective.JOINT,
            reference="",
            patterns=(Pattern,),
        )
        for run in wrong
    ]
    monkeypatch.setattr(catalogue, "_EXTRA", {spec.name: spec for spec in specs})


@pytest.mark.parametrize(
    ("name", "law"),
    [
        ("boasting", "bound ≤ optimum ≤ objective"),
        ("slightly_boasting", "bound ≤ optimum ≤ objective"),
        ("unseeded", "same seed, same mask"),
        ("absolute", "units do not matter"),
        ("first_come", "order does not matter"),
        ("erratic", "pruning more costs more"),
    ],
)
def test_a_wrong_method_is_seen(name: str, law: str) -> None:
    with pytest.raises(
        AssertionError, match=rf"^law '{law}.* is broken by (plain )?seed \d+ \(n = \d+, prune at least"
    ):
        check_method(name)


def test_a_mask_outside_the_pattern_is_refused_before_any_law() -> None:
    with pytest.raises(SolverError, match=r"method outside: its run function returned a mask .* outside the pattern"):
        check_method("outside")


def test_an_objective_below_the_optimum_and_an_optimum_that_is_none_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from cbs_opt.kernel.result import SolutionStatus
    from cbs_opt.testing import method_laws

    problem = PruningProblem(np.array([2.0, 1.0, 1.5]), H, name="by hand").pruning(2)
    found = bound_optimum_objective(problem, "enumeration")
    worse = bound_optimum_objective(problem, "first_come")
    for solution, end in (
        (replace(found, objective=0.9 * found.objective, bound=-math.inf), ""),
        (
            replace(worse, mask=~found.mask, objective=2 * found.objective, solution_status=SolutionStatus.OPTIMAL),
            ", called optimal",
        ),
    ):
        monkeypatch.setattr(method_laws, "solve", lambda *_, solution=solution: solution)
        with pytest.raises(AssertionError, match=f"by hand .*optimum .*, objective .*{end}$"):
            bound_optimum_objective(problem, "first_come")


def test_instances_are_small_and_their_weights_can_stand_in_any_order() -> None:
    with pytest.raises(InputError, match="at most 12 weights, but there are 13"):
        check_pattern(Cardinality(13, 2))
    with pytest.raises(InputError, match="the pattern is a Wrapped; a Cardinality is needed"):
        order_does_not_matter(PruningProblem(np.ones(6), np.eye(6), pattern=Wrapped()), "first_come")


def test_no_test_runner_is_needed() -> None:
    import subprocess
    import sys

    code = "import sys, cbs_opt.testing; print({'pytest', 'hypothesis', 'pyomo', 'numba', 'torch'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
