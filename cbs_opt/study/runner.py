"""Run a study: every block at every sparsity with every method, in parallel, judged by the comparator."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from cbs_opt.batch.interrupts import interrupts_ignored, quiet_cancellation
from cbs_opt.errors import CbsOptError, InputError, UnavailableMethodError
from cbs_opt.evaluation.catalogue import method as find_method
from cbs_opt.evaluation.catalogue import methods as all_methods
from cbs_opt.evaluation.catalogue import register, usual_methods
from cbs_opt.evaluation.comparator import Comparison, compare
from cbs_opt.kernel.environment import environment
from cbs_opt.kernel.method import MethodSpec
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.study.result import Accuracy, BlockRow, Failure, StudyResult
from cbs_opt.study.subject import Subject, digits_subject

SPARSITIES = (0.5, 0.8, 0.9)
TIME_LIMIT = 10.0
"""Seconds an exact method may take for one block before it reports its incumbent and bound."""

OnProgress = Callable[[int, int, str], None]
"""Called with solves done, solves in all, and the name of the block just done."""


@dataclass(frozen=True, eq=False)
class _Task:
    """One block at one sparsity."""

    index: int
    sparsity: float
    problem: PruningProblem
    specs: tuple[MethodSpec, ...]


def run_study(
    subject: Subject | None = None,
    *,
    sparsities: Sequence[float] = SPARSITIES,
    methods: Sequence[str] | None = None,
    seed: int = 0,
    time_limit: float | None = TIME_LIMIT,
    jobs: int | None = None,
    on_progress: OnProgress | None = None,
) -> StudyResult:
    """Solve all blocks of a subject with several methods and measure what comes out.

    Parameters
    ----------
    subject : Subject, optional
        From ``digits_subject`` (the default), ``network_subject`` or ``files_subject``.
    methods : sequence of str, optional
        Names from ``cbs_opt.methods()``. Left out: every heuristic and the exact joint methods; enumeration
        and the exact selection methods run when named.
    seed : int
        For the methods that draw at random.
    time_limit : float or None
        Seconds a block for the methods that know a time limit.
    jobs : int, optional
        Worker processes, one thread each; as many as there are cores. 1 works in this process.

    Returns
    -------
    StudyResult
        After Ctrl-C, or when a worker process dies, with what was done until then (``complete`` is False).
        A block that fails is in ``failures`` and the others go on.

    Raises
    ------
    MethodError, InputError
        Before anything is solved: unknown or missing methods, sparsities outside [0, 1].
    """
    started, created = time.perf_counter(), datetime.now(UTC).isoformat(timespec="seconds")
    subject = digits_subject(seed=seed) if subject is None else subject
    specs, skipped = _choose(methods)
    levels = tuple(dict.fromkeys(float(s) for s in sparsities))
    if not levels:
        raise InputError("sparsities: there are none; give at least one between 0 and 1")
    tasks = _tasks(subject, levels, specs, skipped)
    jobs = max(1, min(_cores() if jobs is None else jobs, len(tasks)))
    known = {option for spec in specs for option in spec.options}
    options = {"seed": seed, "time_limit": time_limit} if time_limit is not None else {"seed": seed}
    options = {name: value for name, value in options.items() if name in known}

    answers: dict[int, Comparison] = {}
    failures = [Failure(None, name, reason) for name, reason in subject.unreadable.items()]
    accuracies: dict[tuple[float, str], Accuracy] = {}
    stopped, interrupted, dense = "", False, None
    open_blocks = dict.fromkeys(levels, len(subject.blocks))
    try:
        dense = _dense_accuracy(subject)
        for spec in specs:
            if spec.prepare is not None:
                spec.prepare()  # compiled once here, not once in every worker
        with quiet_cancellation(), contextlib.closing(_answers(tasks, options, jobs)) as results:
            for done, (position, answer) in enumerate(results, 1):
                task = tasks[position]
                if isinstance(answer, str):
                    failures.append(Failure(task.sparsity, task.problem.name, answer))
                else:
                    answers[position] = answer
                if on_progress:
                    on_progress(done, len(tasks), task.problem.name)
                open_blocks[task.sparsity] -= 1
                if not open_blocks[task.sparsity]:
                    solved = [answers.get(p) for p, other in enumerate(tasks) if other.sparsity == task.sparsity]
                    for method, accuracy in _accuracies(subject, specs, solved):
                        accuracies[task.sparsity, method] = accuracy
    except KeyboardInterrupt:
        stopped, interrupted = "interrupted", True
    except _WorkerDied:
        stopped = "stopped because a worker process died (out of memory?)"
    if stopped:
        stopped += f" after {len(answers)} of {len(tasks)} block solves"
    comparisons = [answers[index] for index in sorted(answers)]
    return StudyResult(
        subject=subject.name,
        blocks=len(subject.blocks) + len(subject.unreadable),
        weights=subject.weights,
        sparsities=levels,
        methods=tuple(spec.name for spec in specs),
        rows=tuple(row for index in sorted(answers) for row in _rows(subject, tasks[index], answers[index])),
        failures=tuple(failures),
        accuracies=accuracies,
        dense_accuracy=dense,
        skipped=skipped,
        notes=subject.notes,
        settings={**subject.settings, "seed": seed, "time_limit": time_limit, "jobs": jobs},
        environment=comparisons[0].environment if comparisons else environment(),
        stopped=stopped,
        interrupted=interrupted,
        seconds=time.perf_counter() - started,
        created=created,
        mixed_units=subject.mixed_units,
    )


class _WorkerDied(Exception):
    """A worker process ended by itself."""


def _choose(names: Sequence[str] | None) -> tuple[tuple[MethodSpec, ...], dict[str, str]]:
    """The methods to run, and why the others do not."""
    if names is not None:
        specs = tuple(find_method(name) for name in dict.fromkeys(names))
        for spec in specs:
            reason = spec.unavailable_because()
            if reason:
                raise UnavailableMethodError(f"method {spec.name}: {reason}; install it, or leave the method out")
        return specs, {}
    return usual_methods()


def _tasks(
    subject: Subject, levels: Sequence[float], specs: Sequence[MethodSpec], skipped: dict[str, str]
) -> list[_Task]:
    """Every block at every sparsity, with the methods that can take it; sparsity by sparsity."""
    tasks = []
    left_out: dict[str, list[str]] = {}
    for sparsity in levels:
        for index, block in enumerate(subject.blocks):
            problem = block.problem.at_sparsity(sparsity)
            able = []
            for spec in specs:
                reason = spec.why_not(problem)
                if reason is None:
                    able.append(spec)
                else:
                    left_out.setdefault(spec.name, []).append(reason)
            tasks.append(_Task(index, sparsity, problem, tuple(able)))
    for name, reasons in left_out.items():
        skipped[name] = f"left out of {len(reasons)} of {len(tasks)} block solves: {reasons[0]}"
    return tasks


def _cores() -> int:
    from joblib import cpu_count

    return int(cpu_count())


def _answers(
    tasks: Sequence[_Task], options: Mapping[str, Any], jobs: int
) -> Generator[tuple[int, Comparison | str], None, None]:
    """The tasks' answers as they come: the position of the task, and a comparison or the reason why there is none."""
    if jobs == 1:
        for position, task in enumerate(tasks):
            yield position, _answer(task, options)
        return
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    finished = False
    with interrupts_ignored(), parallel_config(backend="loky", n_jobs=jobs, inner_max_num_threads=1):
        parallel = Parallel(return_as="generator_unordered")
        results = parallel(delayed(_in_worker)(position, task, options) for position, task in enumerate(tasks))
    try:
        yield from results
        finished = True
    except TerminatedWorkerError as error:
        raise _WorkerDied from error
    finally:
        if not finished:
            with contextlib.suppress(Exception):
                results.close()
            get_reusable_executor(max_workers=jobs).shutdown(wait=True, kill_workers=True)


def _in_worker(position: int, task: _Task, options: Mapping[str, Any]) -> tuple[int, Comparison | str]:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for workers that somebody else started
    for spec in task.specs:
        if spec.name not in all_methods():
            register(spec)
    return position, _answer(task, options)


def _answer(task: _Task, options: Mapping[str, Any]) -> Comparison | str:
    names = [spec.name for spec in task.specs]
    if not names:
        return "none of the methods can take it"
    known = {option for spec in task.specs for option in spec.options}
    try:
        return compare(task.problem, names, **{k: v for k, v in options.items() if k in known})
    except CbsOptError as error:
        return str(error)
    except Exception as error:  # one broken block or method must not cost the others
        return f"{type(error).__name__}: {error}"


def _rows(subject: Subject, task: _Task, comparison: Comparison) -> Iterator[BlockRow]:
    removed = task.problem.objective(np.zeros(task.problem.n))
    unit = removed if subject.mixed_units and removed > 0 else 1.0
    for row in comparison.rows:
        kept = tuple(np.flatnonzero(comparison.solutions[row.method].mask).tolist())
        group = subject.blocks[task.index].group
        yield BlockRow(task.sparsity, group, task.problem.curvature.damping, row, kept, unit)


def _dense_accuracy(subject: Subject) -> float | None:
    from cbs_opt.network.samples import accuracy

    if subject.network is None or subject.data is None:
        return None
    return accuracy(subject.network, subject.data.test_x, subject.data.test_y)


def _accuracies(
    subject: Subject, specs: Sequence[MethodSpec], comparisons: Sequence[Comparison | None]
) -> Iterator[tuple[str, Accuracy]]:
    """By method, the accuracy of the network with all its blocks pruned; for the methods that answered every block.

    ``comparisons`` are those of one sparsity, in the order of the blocks.
    """
    from cbs_opt.network.samples import accuracy
    from cbs_opt.study.cutting import apply

    if subject.network is None or subject.data is None:
        return
    places = [block.place for block in subject.blocks if block.place is not None]
    for spec in specs:
        found = [c.solutions[spec.name] for c in comparisons if c is not None and spec.name in c.solutions]
        if len(found) < len(places):
            continue
        updated = [solution.weights for solution in found]
        as_trained = [np.where(s.mask, place.problem.w_bar, 0.0) for s, place in zip(found, places, strict=True)]
        test = subject.data.test_x, subject.data.test_y
        yield spec.name, Accuracy(*(accuracy(apply(subject.network, places, w), *test) for w in (updated, as_trained)))
