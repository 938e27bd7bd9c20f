"""One N:M block: bnb and Gurobi by turns, then the lower bound.

Gurobi gets the big-M model of ``cbs_opt.models`` as it is written and with its own tolerances, one thread. These are
absolute, so the block is multiplied by a power of two beforehand, after which pruning every weight costs about
``TARGET``: without that it returned a wrong optimum on a Fisher block. Of bnb everything is timed; of Gurobi once only
its ``optimize`` (``ALONE``), and once also what builds the model and hands it over (``WITH_MODEL``).
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.exact.families import Instance
from benchmarks.exact.measure import FAST, Engine, Record, measure, processor_time
from cbs_opt import PruningProblem, lower_bound, obs_update
from cbs_opt.errors import SolverError
from cbs_opt.kernel.result import finite_or_none
from cbs_opt.models import by_name

TARGET = 1024.0
GAP = 1e-4
ALONE, WITH_MODEL = "gurobi", "gurobi with its model"
PATIENCE = 20
"""Gurobi is stopped after so many times what bnb took, and never before ``LEAST`` seconds."""
LEAST = 10.0
SAME = 2e-4
"""How far two values proven to ``GAP`` may lie apart."""


def scaled(problem: PruningProblem) -> PruningProblem:
    """``problem`` with f(0) near ``TARGET``; no digit is lost."""
    all_pruned = problem.objective(np.zeros(problem.n))
    return problem.times(2.0 ** round(math.log2(TARGET / all_pruned)))


def measured(instance: Instance, time_limit: float, repeat: int) -> Iterator[Record]:
    """A record of bnb, two of Gurobi (with the status 'wrong' where bnb holds a better mask), one of ``lower_bound``.

    Fast solves are repeated, and the median counts. The gap of ``lower_bound`` is that to the best value known.
    """
    posed = replace(instance, problem=scaled(instance.problem))
    bnb: list[Record] = []
    gurobi: list[tuple[Record, Record]] = []
    for _ in range(repeat):
        if not bnb or _fast(bnb[0]):
            bnb += measure(posed, [Engine.parse("bnb")], time_limit, GAP, 1)
        if not gurobi or _fast(gurobi[0][0]):
            gurobi.append(_by_gurobi(posed, max(LEAST, PATIENCE * (bnb[0].seconds or 0.0))))
    ours, *theirs = _median(bnb), *(_median(records) for records in zip(*gurobi, strict=True))
    yield ours
    yield from (_checked(record, ours) for record in theirs)
    yield _bounded(posed, min(record.objective for record in (ours, *theirs) if record.objective is not None))


def _fast(record: Record) -> bool:
    return record.seconds is not None and record.seconds < FAST


def _median(records: Sequence[Record]) -> Record:
    """The first, with the median times of all."""
    seconds = [record.seconds for record in records if record.seconds is not None]
    cpu = [record.cpu for record in records if record.cpu is not None]
    if not seconds or not cpu:
        return records[0]
    return replace(records[0], seconds=statistics.median(seconds), cpu=statistics.median(cpu), repetitions=len(seconds))


def _by_gurobi(instance: Instance, time_limit: float) -> tuple[Record, Record]:
    """Its records as ``ALONE`` and ``WITH_MODEL``."""
    from pyomo.environ import SolverFactory

    problem, spec = instance.problem, by_name("joint-bigm")
    began, first = time.perf_counter(), processor_time()
    model = spec.build(problem)
    solver = SolverFactory("gurobi_persistent")
    common: dict[str, Any] = {"instance": instance.name, "family": instance.family, "n": problem.n, "engine": ALONE}
    try:
        solver.set_instance(model)
        inside = solver._solver_model
        for option, setting in {"OutputFlag": 0, "Threads": 1, "MIPGap": GAP, "TimeLimit": time_limit}.items():
            inside.setParam(option, setting)
        started, before = time.perf_counter(), processor_time()
        inside.optimize()
        ended, last = time.perf_counter(), processor_time()
    except Exception as error:  # gurobipy's own kind, which is not there to be named without the package
        failed = Record(
            **common,
            pruned=0,
            seconds=None,
            cpu=None,
            nodes=0,
            objective=None,
            bound=None,
            gap=None,
            status=f"failed: {error}",
            repetitions=0,
        )
        return failed, replace(failed, engine=WITH_MODEL)
    bound, converged = float(inside.ObjBound), inside.Status == 2
    mask = None
    if inside.SolCount:
        solver.load_vars()
        try:
            mask = spec.extract(model, problem)
        except SolverError:
            mask = None
    value = None if mask is None else problem.objective(obs_update(problem, mask))
    alone = Record(
        **common,
        pruned=0 if mask is None else int((~mask).sum()),
        seconds=ended - started,
        cpu=last - before,
        nodes=int(inside.NodeCount),
        objective=value,
        bound=finite_or_none(bound),
        gap=None if value is None else finite_or_none(max(0.0, (value - bound) / abs(value))),
        status="optimal" if converged else "time limit",
        repetitions=1,
    )
    return alone, replace(alone, engine=WITH_MODEL, seconds=ended - began, cpu=last - first)


def _checked(gurobi: Record, bnb: Record) -> Record:
    """'wrong' for an 'optimal' mask worse than that of bnb, or a bound above its value."""
    best = bnb.objective
    if best is None or gurobi.seconds is None:
        return gurobi
    worse = gurobi.proven and (gurobi.objective is None or gurobi.objective > best * (1 + SAME))
    above = gurobi.bound is not None and gurobi.bound > best * (1 + SAME)
    return replace(gurobi, status="wrong") if worse or above else gurobi


def _bounded(instance: Instance, best: float) -> Record:
    before = processor_time()
    found = lower_bound(instance.problem)
    cpu = processor_time() - before
    gap = max(0.0, (best - found.value) / abs(best))
    return Record(
        instance.name,
        instance.family,
        instance.problem.n,
        0,
        "lower_bound",
        found.seconds,
        cpu,
        found.iterations,
        None,
        found.value,
        gap,
        "optimal" if gap <= GAP else "unproven",
        1,
    )
