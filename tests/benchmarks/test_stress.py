"""The stress script: it runs, counts, sees what is wrong by any amount, and ends with its summary."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

import cbs_opt


def asked(*words: object) -> int:
    from benchmarks.stress.command import main

    return main([str(word) for word in words])


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of the methods."""
    from benchmarks.stress import judge

    monkeypatch.setattr(judge, "asked_of", lambda case: ["bnb", "bnb-selection", "swap"])


def test_a_short_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert asked("--cases", 5, "--seed", 0) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "seeds from 0"
    head = next(line for line in lines if line.startswith("answers"))
    kinds = [line.split("  ")[0] for line in lines[lines.index(head) + 1 :][:5]]
    assert kinds == ["cardinality", "N:M", "N:M of kernels", "quotas", "budget, larger"]
    assert {"bnb", "bnb-selection", "enumeration", "lower_bound", "certificate", "heuristics"} <= set(head.split())
    assert lines[-1].startswith("5 cases, ")
    assert lines[-1].endswith(" 0 violations")


def test_seeds_go_through_all_patterns_curvatures_turns_and_certificates() -> None:
    from benchmarks.exact.patterns.draw import CURVATURES, PATTERNS
    from benchmarks.exact.patterns.judge import IN_TURN, turn_of
    from benchmarks.stress.command import LARGER_OF
    from benchmarks.stress.judge import CERTIFIED
    from benchmarks.stress.larger import LARGER

    met = set()
    for seed in range(30_000):
        larger = seed % LARGER_OF == LARGER_OF - 1
        kinds = LARGER if larger else PATTERNS
        met.add((larger, seed % len(kinds), seed // len(kinds) % len(CURVATURES), turn_of(seed), seed % CERTIFIED == 0))
    assert len(met) == (len(LARGER) + len(PATTERNS)) * len(CURVATURES) * len(IN_TURN) * 2


@pytest.mark.usefixtures("few")
def test_time_is_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert asked("--minutes", 0) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "0 cases, 0 answers, 0 violations"


@pytest.mark.usefixtures("few")
def test_ctrl_c_leaves_a_summary(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.stress import command

    judged = command.judged

    def interrupted(case: Any) -> Any:
        if case.seed == 2:
            raise KeyboardInterrupt
        return judged(case)

    monkeypatch.setattr(command, "judged", interrupted)
    assert asked("--seed", 0) == 0
    said = capsys.readouterr().out
    assert "interrupted; so far:" in said
    assert said.splitlines()[-1].startswith("2 cases, ")


def _a_little_more(found: cbs_opt.Solution) -> cbs_opt.Solution:
    """The smallest float above the optimum, which the objective of a proven mask is next to."""
    return replace(found, bound=math.nextafter(found.objective + found.round_off, math.inf))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_a_little_more, "in rational arithmetic"),
        (lambda found: replace(found, mask=found.mask | ~found.mask), "its mask is not in the pattern"),
        (lambda found: replace(found, objective=found.objective + 3 * found.round_off), "is not that of its weights"),
        (lambda found: replace(found, weights=found.weights + 1.0), "a pruned weight is not zero"),
        (lambda found: replace(found, selection_bound=math.inf), "above the selection's optimum"),
    ],
)
@pytest.mark.usefixtures("few")
def test_what_is_wrong_is_said_with_a_command(
    change: Any, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.stress import judge

    solve = judge.solve

    def wrong(problem: cbs_opt.PruningProblem, method: str, **options: Any) -> cbs_opt.Solution:
        found = solve(problem, method, **options)
        return change(found) if method == "bnb" else found

    monkeypatch.setattr(judge, "solve", wrong)
    assert asked("--cases", 1, "--seed", SEED) == 1
    printed = capsys.readouterr().out
    assert said in printed
    assert f"    python -m benchmarks.stress --cases 1 --seed {SEED}" in printed.splitlines()
    assert "violations" in printed
    monkeypatch.setattr(judge, "solve", solve)
    assert asked("--cases", 1, "--seed", SEED) == 0


SEED = 16
"""A cardinality that prunes some of several weights."""


@pytest.mark.usefixtures("few")
def test_a_certificate_that_claims_too_much_is_seen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.stress import judge

    prove = judge.prove
    monkeypatch.setattr(judge, "prove", lambda problem, **limits: more(prove(problem, **limits)))

    def more(proof: Any) -> Any:
        return replace(proof, bound=proof.bound + 0.01 * abs(proof.bound))

    assert asked("--cases", 1, "--seed", 96) == 1
    assert "certificate: not verified" in capsys.readouterr().out
