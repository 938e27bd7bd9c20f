"""Every law of methods is broken on purpose by one that obeys the others, and is seen to be."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from wrapped_pattern import Wrapped

import cbs_opt.evaluation.catalogue as catalogue
from cbs_opt import Cardinality, PruningProblem, methods
from cbs_opt.errors import InputError, SolverError
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.kernel.result import Outcome
from cbs_opt.testing import check_method, check_pattern
from cbs_opt.testing.method_laws import bound_optimum_objective, order_does_not_matter


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

    from cbs_opt.kernel.result import SolutionStatus
    from cbs_opt.testing import method_laws

    H = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, -0.3], [0.0, -0.3, 3.0]])
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
