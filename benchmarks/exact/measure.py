"""One instance, all engines in turn: times, and whether what they say fits together.

The engines take turns on each instance, so that a disturbance of the machine hits all of them; where a solve was
fast it is repeated, and the median counts. Objectives are those of ``cbs_opt``, recomputed from the mask in float64.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.exact.families import Instance
from cbs_opt import solve
from cbs_opt.errors import BoundViolationError, CbsOptError
from cbs_opt.result import Solution, finite_or_none
from cbs_opt.run import method

FAST = 5.0
"""Seconds below which a solve is repeated."""

AGREEMENT = 1e-6
"""Relative excess of one engine's bound over another's objective at which the run is aborted."""

KNOWN_TO = 2e-4
"""How well the optimum stored in a block file is known."""


@dataclass(frozen=True)
class Engine:
    """A method with its options, written ``method:option=value``, as in gurobi:formulation=joint-perspective."""

    name: str
    method: str
    options: Mapping[str, Any]

    @classmethod
    def parse(cls, text: str) -> Engine:
        head, *rest = text.split(":")
        if head == "pyomo" and rest:
            head = f"pyomo:{rest.pop(0)}"
        return cls(text, head, dict(option.split("=", 1) for option in rest))

    def told(self, time_limit: float, gap: float) -> dict[str, Any]:
        """Its options, with the limits where it has such options."""
        has = method(self.method).options
        limits = {"time_limit": time_limit, "gap": gap}
        return {**{name: value for name, value in limits.items() if name in has}, **self.options}


@dataclass(frozen=True)
class Record:
    """One engine on one instance.

    Parameters
    ----------
    seconds : float or None
        Median of the repetitions, model building included; None where it failed.
    status : str
        'optimal' (proven to the gap), 'time limit', 'unproven' (it ended without a proof), or the failure.
    """

    instance: str
    family: str
    n: int
    pruned: int
    engine: str
    seconds: float | None
    nodes: int
    objective: float | None
    bound: float | None
    gap: float | None
    status: str
    repetitions: int

    @property
    def proven(self) -> bool:
        """Whether the gap was closed."""
        return self.status == "optimal"

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def measure(
    instance: Instance, engines: Sequence[Engine], time_limit: float, gap: float, repeat: int
) -> list[Record]:
    """Every engine on ``instance``, one row each.

    Raises
    ------
    BoundViolationError
        A bound lies above an objective of another engine or the stored optimum: somebody is wrong.
    """
    solutions: dict[str, list[Solution]] = {engine.name: [] for engine in engines}
    failures: dict[str, str] = {}
    for _ in range(repeat):
        for engine in engines:
            done = solutions[engine.name]
            if engine.name in failures or (done and done[0].seconds > FAST):
                continue
            try:
                done.append(solve(instance.problem, engine.method, **engine.told(time_limit, gap)))
            except BoundViolationError:
                raise
            except CbsOptError as error:
                failures[engine.name] = str(error)
    _contradict_nobody(instance, {name: done[0] for name, done in solutions.items() if done})
    return [_record(instance, engine, solutions[engine.name], failures.get(engine.name), gap) for engine in engines]


def _contradict_nobody(instance: Instance, solutions: Mapping[str, Solution]) -> None:
    values = {name: (s.objective, s.round_off) for name, s in solutions.items()}
    if instance.optimum is not None:
        values["the stored optimum"] = (instance.optimum, KNOWN_TO * abs(instance.optimum))
    for prover, solution in solutions.items():
        for holder, (objective, doubt) in values.items():
            if solution.bound > objective + AGREEMENT * abs(objective) + doubt:
                raise BoundViolationError(
                    f"{instance.name}: {prover} proved {solution.bound:.12g}, but {holder} has {objective:.12g}"
                )


def _record(instance: Instance, engine: Engine, done: list[Solution], failure: str | None, gap: float) -> Record:
    common: dict[str, Any] = {"instance": instance.name, "family": instance.family, "n": instance.problem.n}
    common["engine"] = engine.name
    if not done:
        return Record(**common, pruned=0, seconds=None, nodes=0, objective=None, bound=None, gap=None,
                      status=f"failed: {failure}", repetitions=0)  # fmt: skip
    solution = done[0]
    status = "optimal" if solution.gap <= gap else "unproven"
    if status != "optimal" and solution.termination_condition == "maxTimeLimit":
        status = "time limit"
    return Record(
        **common,
        pruned=solution.pruned,
        seconds=statistics.median(s.seconds for s in done),
        nodes=solution.nodes,
        objective=solution.objective,
        bound=finite_or_none(solution.bound),
        gap=finite_or_none(solution.gap),
        status=status,
        repetitions=len(done),
    )


COLD = """
import json, sys, time
started = time.perf_counter()
import cbs_opt
problem = cbs_opt.PruningProblem.load(sys.argv[1]).pruning(int(sys.argv[2]))
options = json.loads(sys.argv[4])
first = time.perf_counter()
cbs_opt.solve(problem, sys.argv[3], **options)
second = time.perf_counter()
cbs_opt.solve(problem, sys.argv[3], **options)
print(json.dumps([first - started, second - first, time.perf_counter() - second]))
"""


def first_calls(instance: Instance, engine: Engine, time_limit: float, gap: float) -> dict[str, Any]:
    """Seconds of the first solve in a new process, with no compiled code on disk and with it, and of the second."""
    with tempfile.TemporaryDirectory() as folder:
        block = Path(folder) / "block.npz"
        instance.problem.save(block)
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(Path(folder) / "numba")}
        options = json.dumps(engine.told(time_limit, gap))
        prune = str(instance.problem.n - int(instance.problem.Z.argmax(instance.problem.w_bar**2).sum()))
        command = [sys.executable, "-c", COLD, str(block), prune, engine.method, options]
        seconds = []
        for _ in range(2):
            run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if run.returncode != 0:
                return {"engine": engine.name, "failed": run.stderr.strip().splitlines()[-1]}
            seconds.append(json.loads(run.stdout))
    return {"engine": engine.name, "instance": instance.name, "import": seconds[1][0], "first ever": seconds[0][1],
            "first in a process": seconds[1][1], "second": seconds[1][2]}  # fmt: skip
