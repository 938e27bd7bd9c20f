"""What methods declare, and the refusals that come before anything runs."""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import numpy as np
import pytest

import cbs_opt.evaluation.catalogue as catalogue_module
from cbs_opt.errors import (
    InputError,
    MethodError,
    PatternError,
    SolverError,
    TooLargeError,
    UnavailableMethodError,
    UnknownMethodError,
    UnsupportedError,
)
from cbs_opt.evaluation.catalogue import method, methods, register
from cbs_opt.evaluation.solve import solve
from cbs_opt.kernel.method import MethodSpec, Objective, index_methods
from cbs_opt.kernel.patterns import Cardinality, Pattern
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Outcome, SolutionStatus, TerminationCondition


def magnitude(problem: PruningProblem, *, time_limit: float = math.inf, gap: float = 1e-6) -> Outcome:
    return Outcome(problem.Z.argmax(problem.w_bar**2))


def spec(name: str = "stub", **changes: Any) -> MethodSpec:
    fields = {"run": magnitude, "summary": "", "exact": False, "objective": Objective.JOINT, "reference": "", **changes}
    return MethodSpec(name, **fields)


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> dict[str, MethodSpec]:
    own: dict[str, MethodSpec] = {}
    monkeypatch.setattr(catalogue_module, "_EXTRA", own)
    monkeypatch.setattr(catalogue_module, "_built_in", lambda: {"magnitude": spec("magnitude")})
    return own


PROBLEM = PruningProblem(np.arange(1.0, 7.0), np.eye(6), name="block 7").pruning(3)


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownMethodError, match="method 'magnitud': unknown; did you mean magnitude"):
        method("magnitud")
    with pytest.raises(UnknownMethodError, match=r"there are magnitude$"):
        solve(PROBLEM, "xyz")


def test_names_are_taken_once(table: dict[str, MethodSpec]) -> None:
    register(spec())
    assert list(methods()) == ["magnitude", "stub"]
    with pytest.raises(ValueError, match="method stub: the name is taken"):
        register(spec())
    with pytest.raises(MethodError, match="share a name"):
        index_methods((spec(), spec()))


def test_options_come_from_the_signature_and_others_are_refused() -> None:
    assert spec().options == {"time_limit": math.inf, "gap": 1e-6}
    register(spec())
    with pytest.raises(UnsupportedError, match="method stub: has no option nodes; it has time_limit, gap"):
        solve(PROBLEM, "stub", nodes=3)
    with pytest.raises(UnsupportedError, match="it has none"):
        spec(run=lambda problem: Outcome(np.ones(1, dtype=bool))).check_options({"seed": 0})


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    needy = spec(requires=("gurobipy", "numpy"))
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "gurobipy" else real(name, *a))
    assert needy.unavailable_because() == "needs the package gurobipy"
    register(needy)
    with pytest.raises(UnavailableMethodError, match="method stub: needs the package gurobipy; install it"):
        solve(PROBLEM, "stub")


def test_too_many_weights_and_foreign_patterns_are_refused_before_the_run() -> None:
    class Other(Cardinality):
        pass

    def never(problem: PruningProblem) -> Outcome:
        raise AssertionError("must not run")

    register(spec("small", max_n=5, run=never))
    with pytest.raises(TooLargeError, match="method small: takes at most 5 weights, but block 7 has 6"):
        solve(PROBLEM, "small")
    register(spec("picky", patterns=(Other,), run=never))
    with pytest.raises(UnsupportedError, match="cannot take the pattern Cardinality; it takes Other"):
        solve(PROBLEM, "picky")
    assert method("small").why_not(PROBLEM) is not None
    assert spec(patterns=(Pattern,)).why_not(PROBLEM) is None
    with pytest.raises(PatternError, match="none is set"):
        solve(PruningProblem(np.ones(2), np.eye(2)), "magnitude")


def test_the_objective_is_computed_here_and_optimal_needs_a_proof() -> None:
    def exact(problem: PruningProblem, *, gap: float = 1e-6, missing: float = 0.0, stopped: bool = False) -> Outcome:
        end = TerminationCondition.TIME_LIMIT if stopped else TerminationCondition.CONVERGED
        return Outcome(problem.Z.argmax(problem.w_bar**2), bound=7.0 - missing, termination=end, nodes=4, notes=("n",))

    register(spec("exact", exact=True, run=exact))
    solution = solve(PROBLEM, "exact")
    assert solution.objective == solution.selection_objective == 7.0  # ½(1 + 4 + 9)
    assert solution.solution_status is SolutionStatus.OPTIMAL
    assert (solution.gap, solution.nodes, solution.notes) == (0.0, 4, ("n",))
    assert solve(PROBLEM, "exact", missing=0.1).solution_status is SolutionStatus.FEASIBLE
    assert solve(PROBLEM, "exact", missing=0.1, gap=0.5).solution_status is SolutionStatus.OPTIMAL
    assert solve(PROBLEM, "exact", stopped=True).solution_status is SolutionStatus.FEASIBLE
    assert solve(PROBLEM, "magnitude").solution_status is SolutionStatus.FEASIBLE


def test_the_bound_of_a_selection_method_is_no_bound_on_the_joint_problem() -> None:
    def select(problem: PruningProblem) -> Outcome:
        return Outcome(problem.Z.argmax(problem.w_bar**2), bound=7.0)

    register(spec("select", exact=True, objective=Objective.SELECTION, run=select))
    solution = solve(PROBLEM, "select")
    assert (solution.bound, solution.selection_bound) == (-math.inf, 7.0)
    assert solution.solution_status is SolutionStatus.OPTIMAL


def test_a_mask_outside_the_pattern_raises() -> None:
    register(spec("greedy", run=lambda problem: Outcome(np.ones(problem.n, dtype=bool))))
    with pytest.raises(SolverError, match=r"method greedy: its run function returned a mask that keeps .* outside the"):
        solve(PROBLEM, "greedy")


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (np.ones(6, dtype=bool), r"returned a ndarray; it has to return cbs_opt\.Outcome\(mask\)"),
        (None, "returned a NoneType; it has to return"),
        (Outcome(np.ones(3, dtype=bool)), r"returned no mask of this problem: mask: has shape \(3,\)"),
        (Outcome(np.full(6, 0.5)), "returned no mask of this problem: mask: holds values other than 0 and 1"),
    ],
)
def test_an_author_is_told_what_a_method_has_to_return(returned: object, message: str) -> None:
    register(spec("wrong", run=lambda problem: returned))  # type: ignore[arg-type, return-value]
    with pytest.raises(SolverError, match=f"method wrong: its run function {message}"):
        solve(PROBLEM, "wrong")


def test_a_mask_of_numbers_becomes_one_of_booleans() -> None:
    register(spec("numbers", run=lambda problem: Outcome(problem.Z.argmax(problem.w_bar**2).astype(int))))
    assert solve(PROBLEM, "numbers").mask.dtype == np.bool_


def test_what_is_no_problem_or_no_name_is_one_sentence() -> None:
    with pytest.raises(InputError, match=r"problem: is the file name 'block.npz'; a PruningProblem is needed, as Pru"):
        solve("block.npz")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="problem: is a list"):
        solve([PROBLEM])  # type: ignore[arg-type]
    with pytest.raises(UnknownMethodError, match="method: is a list; one name is needed, compare takes several"):
        solve(PROBLEM, ["bnb"])  # type: ignore[arg-type]
