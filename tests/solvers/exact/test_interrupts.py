"""Ctrl-C at any moment of a small compiled solve: an interrupt, and nothing proven by it that does not hold."""

from __future__ import annotations

import random
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import pytest

from cbs_opt import PruningProblem, Solution, solve
from cbs_opt.kernel.result import TerminationCondition
from cbs_opt.solvers.compiled.node import support_value

TRIALS = 150


@pytest.fixture(scope="module")
def problem() -> PruningProblem:
    rng = np.random.default_rng(3)
    w, inputs = rng.normal(size=14), rng.normal(size=(28, 14))
    return PruningProblem.from_activations(w, inputs, damping=1e-2).at_sparsity(0.5)


def interrupted_at(place: str, call: Callable[[], Any]) -> Any:
    """``call()``, interrupted in the last Python function called ``place`` that numba calls in it."""
    calls = 0

    def last(count: int) -> Callable[[FrameType, str, object], None]:
        def look(frame: FrameType, event: str, argument: object) -> None:
            nonlocal calls
            if event == "call" and frame.f_code.co_name == place:
                calls += 1
                if calls == count:
                    sys.setprofile(None)
                    raise KeyboardInterrupt

        return look

    def run(count: int) -> Any:
        nonlocal calls
        calls = 0
        sys.setprofile(last(count))
        try:
            return call()
        finally:
            sys.setprofile(None)

    run(-1)
    assert calls, f"numba {place} is not called any more: find another place to interrupt"
    return run(calls)


def test_an_interrupt_while_a_result_is_made_keeps_incumbent_and_bound(problem: PruningProblem) -> None:
    solve(problem, "bnb")  # compiled
    best = solve(problem, "enumeration").objective
    found = interrupted_at("_numba_unpickle", lambda: solve(problem, "bnb"))
    assert found.termination_condition is TerminationCondition.INTERRUPTED
    assert found.objective >= best * (1 - 1e-12)
    assert found.bound <= best


def test_an_interrupted_call_raises_what_ctrl_c_raises(problem: PruningProblem) -> None:
    from cbs_opt.solvers.compiled.incumbents import greedy
    from cbs_opt.solvers.forms.node_state import Room

    arguments = problem.curvature.dense(), problem.w_bar, np.zeros(problem.n, dtype=np.int8), Room.one(problem.n, 7)
    greedy(*arguments)
    with pytest.raises(KeyboardInterrupt):
        interrupted_at("_numba_unpickle", lambda: greedy(*arguments))


def test_a_system_error_of_another_cause_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for cause in (None, ValueError("no interrupt")):

        def broken(self: object, *arguments: object, cause: BaseException | None = cause) -> None:
            raise SystemError("broken") from cause

        with monkeypatch.context() as patch:
            patch.setattr(type(support_value).__base__, "__call__", broken)
            with pytest.raises(SystemError, match="broken"):
                support_value(np.eye(1), np.ones(1), np.ones(1, dtype=bool))


@pytest.mark.parametrize("method", ["bnb", "bnb-selection", "swap"])
def test_ctrl_c_at_any_moment(problem: PruningProblem, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    joint = method != "bnb-selection"
    proven = solve(problem, method)
    best = proven.objective if joint else proven.selection_objective
    started = time.perf_counter()
    solve(problem, method)
    longest = time.perf_counter() - started
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    moments = random.Random(0)
    try:
        for _ in range(TRIALS):
            found: Solution | None = None
            try:
                signal.setitimer(signal.ITIMER_REAL, moments.uniform(1e-6, longest))
                found = solve(problem, method)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:  # nothing else
                continue
            assert (found.bound if joint else found.selection_bound) <= best * (1 + 1e-12)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
