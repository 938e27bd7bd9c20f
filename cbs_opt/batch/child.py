"""The solver process: it reads tasks from its standard input one by one, and writes each answer when it is found.

Its worker kills it when a task exceeds its limits, so that it keeps nothing that would be lost. It ends itself when its
worker is gone, which closes its input, and after ``IDLE`` seconds without work.

It is run as ``python -P -m cbs_opt.batch.child MEMORY_LIMIT``, in bytes, where 0 stands for no limit.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import threading
import time
from functools import lru_cache
from math import isfinite
from typing import Any

import numpy as np

from cbs_opt.batch.carried import unpacked
from cbs_opt.batch.frames import Frames, frame
from cbs_opt.errors import CbsOptError, InputError, MethodError, SolverError
from cbs_opt.kernel.asked import Asked
from cbs_opt.kernel.curvature.damping import dominance_note
from cbs_opt.kernel.environment import environment
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Solution, finite_or_none
from cbs_opt.store.rows import BAD_INPUT, DONE, ERROR, FAILED, MEMORY_LIMIT, pack_mask, pack_weights

TASKS = 0
"""The file descriptor from which tasks are read: standard input."""
IDLE = 60.0
"""Seconds without work after which the process ends itself."""
MOST_POINTS = 200
"""The largest number of points of a trace that are kept."""


def main() -> None:
    """Answer tasks until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a solver prints goes to stderr, not between the answers
    _limit_memory(int(sys.argv[1]))
    threading.Thread(target=_end_with_worker, daemon=True).start()
    solver, prepared, frames = Solver(), set[str](), Frames()
    while True:
        task, block = _next_task(frames)
        if task["method"] not in prepared:
            _prepare(task["method"], block)
            prepared.add(task["method"])
            answers.write(frame({"environment": environment()}))
        answers.write(frame(*solver.answer(task, block)))


def _next_task(frames: Frames) -> tuple[dict[str, Any], bytes]:
    """The next task, with the bytes of its block if that has no file; without a task in time the process ends."""
    while (message := frames.take()) is None:
        data = os.read(TASKS, 1 << 16) if select.select([TASKS], [], [], IDLE)[0] else b""
        if not data:
            os._exit(0)
        frames.feed(data)
    task: dict[str, Any] = json.loads(message[0])
    return task, message[1]


def _end_with_worker() -> None:
    """End the process as soon as its worker is gone, even during a solve; tasks are read by the main thread only."""
    watch = select.poll()
    watch.register(TASKS, 0)  # waits only for the other end to be closed
    watch.poll()
    os._exit(0)


def _limit_memory(limit: int) -> None:
    """Make allocations beyond ``limit`` bytes fail with an error that the task can report; only on Linux."""
    if limit and sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _prepare(name: str, block: bytes) -> None:
    """Load what a method needs, before the time of its first task begins; errors are left for the task to report."""
    from cbs_opt.evaluation.catalogue import method

    with contextlib.suppress(Exception):
        if block:
            unpacked(block)  # the method may be one that came with the block
        spec = method(name)
        if spec.prepare is not None and not spec.unavailable_because():
            spec.prepare()


class Solver:
    """Solves tasks; it keeps the last block, because the next task is often about the same one."""

    def __init__(self) -> None:
        self._held: tuple[str, PruningProblem, float] | None = None

    def answer(self, task: dict[str, Any], carried: bytes = b"") -> tuple[dict[str, Any], bytes]:
        """Solve one task: the facts for the store, and mask and weights as bytes.

        ``carried`` holds the block if it has no file.
        """
        started = time.perf_counter()
        block: dict[str, Any] = {}
        try:
            problem, unit = self._block(task["file"], task["content"], carried)
            block = {"name": problem.name, "n": problem.n, "unit": finite_or_none(unit)}
            points: list[tuple[float, float, float]] = []
            solution = _solve(problem, task, points)
            if not (isfinite(solution.objective) and isfinite(solution.selection_objective)):
                raise SolverError(
                    f"method {task['method']}: its objective is {solution.objective}, no finite number; "
                    "please report the block"
                )
        except Exception as error:  # one broken block or method must not cost the others
            self._held = None
            reason, sentence = _why(error)
            spent = time.perf_counter() - started
            return {"block": block, "status": FAILED, "reason": reason, "error": sentence, "seconds": spent}, b""
        facts = {
            "block": block,
            "status": DONE,
            "solution_status": str(solution.solution_status),
            "termination_condition": str(solution.termination_condition),
            "objective": solution.objective,
            "bound": finite_or_none(solution.bound),
            "gap": finite_or_none(solution.gap),
            "selection_objective": solution.selection_objective,
            "selection_bound": finite_or_none(solution.selection_bound),
            "selection_gap": finite_or_none(solution.selection_gap),
            "round_off": finite_or_none(solution.round_off),
            "seconds": solution.seconds,
            "nodes": solution.nodes,
            "n": solution.n,
            "pruned": solution.pruned,
            "notes": [*solution.notes, *dominance_note([problem.curvature.dominance])],
            "trace": [[point[0], *map(finite_or_none, point[1:])] for point in _thinned(points)],
        }
        return facts, pack_mask(solution.mask) + pack_weights(solution.weights)

    def _block(self, file: str, content: str, carried: bytes) -> tuple[PruningProblem, float]:
        if self._held is None or self._held[0] != content:
            self._held = None
            problem = unpacked(carried) if carried else PruningProblem.load(file, content)
            self._held = content, problem, problem.objective(np.zeros(problem.n))
        return self._held[1:]


def _solve(problem: PruningProblem, task: dict[str, Any], points: list[tuple[float, float, float]]) -> Solution:
    from cbs_opt.evaluation.catalogue import method
    from cbs_opt.evaluation.solve import solve

    name, options = task["method"], dict(task["options"])
    reported: list[tuple[int, tuple[float, float, float]]] = []
    if "progress" in method(name).options:
        started = time.perf_counter()
        options["progress"] = lambda nodes, incumbent, bound: reported.append(
            (nodes, (time.perf_counter() - started, incumbent, bound))
        )
    solution = solve(_asked(task["asked"]).of(problem), name, seed=task["seed"] or 0, **options)
    # The last report, at the end of the search, is left out: the result itself says the same.
    points += [point for nodes, point in reported if nodes < solution.nodes]
    return solution


_asked = lru_cache(Asked.parse)


def _thinned(points: list[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
    """At most ``MOST_POINTS`` of the points, evenly spaced in their order, always with the last one."""
    if len(points) <= MOST_POINTS:
        return points
    return [points[int(i)] for i in np.linspace(0, len(points) - 1, MOST_POINTS)]


def _why(error: Exception) -> tuple[str, str]:
    """The reason (one of ``REASONS``) and the sentence of a failure."""
    text = " ".join(str(error).split())
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            return MEMORY_LIMIT, f"{text or 'MemoryError'}; allow more memory, or cut the block into smaller ones"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, (InputError, MethodError)):
        return BAD_INPUT, text
    return ERROR, text if isinstance(error, CbsOptError) else f"{type(error).__name__}: {text}"


if __name__ == "__main__":
    main()
