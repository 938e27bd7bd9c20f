"""One instance, all engines in turn: times, and whether what they say fits together.

Ratios are of processor time, of this process and its children: all engines run on one thread, and a shared machine
stretches wall time.

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
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.exact.families import Instance
from cbs_opt import solve
from cbs_opt.errors import BoundViolationError, CbsOptError
from cbs_opt.evaluation.catalogue import method
from cbs_opt.kernel.result import Solution, finite_or_none

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
        options = (option.split("=", 1) for option in rest)
        return cls(text, head, {name: int(value) if value.isdecimal() else value for name, value in options})

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
    seconds, cpu : float or None
        Medians of the repetitions, model building included, by the wall clock and of processor time; None where it
        failed.
    status : str
        'optimal' (proven to the gap), 'time limit', 'unproven' (it ended without a proof), or the failure.
    """

    instance: str
    family: str
    n: int
    pruned: int
    engine: str
    seconds: float | None
    cpu: float | None
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


def measure(instance: Instance, engines: Sequence[Engine], time_limit: float, gap: float, repeat: int) -> list[Record]:
    """Every engine on ``instance``, one row each.

    Raises
    ------
    BoundViolationError
        A bound lies above an objective of another engine or the stored optimum: somebody is wrong.
    """
    solutions: dict[str, list[Solution]] = {engine.name: [] for engine in engines}
    cpu: dict[str, list[float]] = {engine.name: [] for engine in engines}
    failures: dict[str, str] = {}
    for _ in range(repeat):
        for engine in engines:
            done = solutions[engine.name]
            if engine.name in failures or (done and done[0].seconds > FAST):
                continue
            before = processor_time()
            try:
                done.append(solve(instance.problem, engine.method, **engine.told(time_limit, gap)))
                cpu[engine.name].append(processor_time() - before)
            except BoundViolationError:
                raise
            except CbsOptError as error:
                failures[engine.name] = str(error)
    _contradict_nobody(instance, {name: done[0] for name, done in solutions.items() if done})
    return [
        _record(instance, engine, solutions[engine.name], cpu[engine.name], failures.get(engine.name), gap)
        for engine in engines
    ]


def processor_time() -> float:
    """Seconds of processor time of this process and of the children it has waited for."""
    return time.process_time() + sum(os.times()[2:4])


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


def _record(
    instance: Instance, engine: Engine, done: list[Solution], cpu: list[float], failure: str | None, gap: float
) -> Record:
    common: dict[str, Any] = {"instance": instance.name, "family": instance.family, "n": instance.problem.n}
    common["engine"] = engine.name
    if not done:
        return Record(
            **common,
            pruned=0,
            seconds=None,
            cpu=None,
            nodes=0,
            objective=None,
            bound=None,
            gap=None,
            status=f"failed: {failure}",
            repetitions=0,
        )
    solution = done[0]
    status = "optimal" if solution.gap <= gap else "unproven"
    if status != "optimal" and solution.termination_condition == "maxTimeLimit":
        status = "time limit"
    return Record(
        **common,
        pruned=solution.pruned,
        seconds=statistics.median(s.seconds for s in done),
        cpu=statistics.median(cpu),
        nodes=solution.nodes,
        objective=solution.objective,
        bound=finite_or_none(solution.bound),
        gap=finite_or_none(solution.gap),
        status=status,
        repetitions=len(done),
    )


COLD = """
import json, os, sys, time
def now(): return [time.perf_counter(), time.process_time() + sum(os.times()[2:4])]
started = now()
import cbs_opt
problem = cbs_opt.PruningProblem.load(sys.argv[1]).pruning(int(sys.argv[2]))
options = json.loads(sys.argv[4])
first = now()
cbs_opt.solve(problem, sys.argv[3], **options)
second = now()
cbs_opt.solve(problem, sys.argv[3], **options)
times = [started, first, second, now()]
print(json.dumps([[b - a for a, b in zip(*pair)] for pair in zip(times, times[1:])]))
"""


def first_calls(instance: Instance, engine: Engine, time_limit: float, gap: float) -> dict[str, Any]:
    """Seconds of the first solve in a new process, with no compiled code on disk and with it, and of the second.

    By the wall clock; under 'cpu' the same of processor time, that of processes it starts included.
    """
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
    ever, warm = seconds
    wall, cpu = (
        {
            "import": warm[0][clock],
            "first ever": ever[1][clock],
            "first in a process": warm[1][clock],
            "second": warm[2][clock],
        }
        for clock in (0, 1)
    )
    return {"engine": engine.name, "instance": instance.name, **wall, "cpu": cpu}
