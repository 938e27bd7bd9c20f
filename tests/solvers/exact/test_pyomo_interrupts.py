"""Ctrl-C while Pyomo runs a solver ends the search with what it has, wherever it arrives."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

import cbs_opt
from cbs_opt.kernel.result import SolutionStatus, TerminationCondition
from cbs_opt.solvers.exact.interrupts import interruptible
from cbs_opt.testing.instances import gram


def test_an_interrupt_that_pyomo_wraps_is_one_again() -> None:
    with pytest.raises(KeyboardInterrupt), interruptible():
        raise RuntimeError("KeyboardInterrupt:  (4: <pyomo.common.tee.TeeStream object>)")


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="no space left"), interruptible():
        raise RuntimeError("no space left")


def test_highs_oa_keeps_mask_and_bound_when_pyomo_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyomo.contrib.solver.solvers.highs import Highs

    def interrupted(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("KeyboardInterrupt:  (4: <pyomo.common.tee.TeeStream object>)")

    problem = gram(24, 60, 1e-2, 1).pruning(19)
    monkeypatch.setattr(importlib.import_module("cbs_opt.solvers.exact.highs_oa"), "SPLITS", 0)
    monkeypatch.setattr(Highs, "_solve", interrupted)
    solution = cbs_opt.solve(problem, "highs-oa")
    assert solution.termination_condition is TerminationCondition.INTERRUPTED
    assert solution.solution_status is SolutionStatus.FEASIBLE
    assert problem.Z.contains(solution.mask)
    assert 0.0 < solution.bound <= cbs_opt.solve(problem, "bnb").objective
