"""Runs a study: the workers of a batch solve every block at every sparsity with every method; the comparator judges."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

import numpy as np

from cbs_opt.batch.backends import Backend, backend_of
from cbs_opt.batch.loop import Loop
from cbs_opt.batch.settings import Settings
from cbs_opt.batch.solver_process import Answer, Limits
from cbs_opt.batch.worker import POOL
from cbs_opt.errors import CbsOptError, InputError, SolverError, UnavailableMethodError
from cbs_opt.evaluation.catalogue import method as find_method
from cbs_opt.evaluation.catalogue import usual_methods
from cbs_opt.evaluation.comparator import row_of, trivial_bound
from cbs_opt.kernel.curvature.damping import dominance_note
from cbs_opt.kernel.environment import environment
from cbs_opt.kernel.interrupts import terminations_as_interrupts
from cbs_opt.kernel.method import MethodSpec
from cbs_opt.kernel.patterns import prune_count
from cbs_opt.study.accuracy import Placed, accuracies, dense_accuracy
from cbs_opt.study.piece import Cut, StudyBlock
from cbs_opt.study.result import Accuracy, BlockRow, Failure, StudyResult
from cbs_opt.study.subject import Subject, digits_subject
from cbs_opt.study.tasks import BlockSolve, PieceTasks

SPARSITIES = (0.5, 0.8, 0.9)
TIME_LIMIT = 10.0
"""Seconds for one method on one block."""

OnProgress = Callable[[int, int, str], None]
"""``on_progress(done, total, what)``: how many block solves (a block at one sparsity) are done, how many there are, and
the name of the block that is done, or a few words on what is being done."""


def run_study(
    subject: Subject | None = None,
    *,
    sparsities: Sequence[float] = SPARSITIES,
    methods: Sequence[str] | None = None,
    seed: int = 0,
    time_limit: float | None = TIME_LIMIT,
    memory_limit: int | None = None,
    jobs: int | None = None,
    on_progress: OnProgress | None = None,
) -> StudyResult:
    """Solve all blocks of a subject with several methods, and compare the answers and the networks that they make.

    The blocks are made some layers at a time, solved by the worker processes of a batch, and dropped.

    Parameters
    ----------
    subject : Subject, optional
        What to study, from ``digits_subject`` (the default), ``network_subject``, ``model_subject`` or
        ``files_subject``.
    sparsities : sequence of float
        Shares to prune of every block, each from 0 to 1.
    methods : sequence of str, optional
        Names from ``cbs_opt.methods()``. Left out: every heuristic and the exact joint methods; enumeration and the
        exact selection methods run only if they are named.
    seed : int
        Seed of the methods that draw at random.
    time_limit : float or None
        Seconds for one method on one block. A method that takes a time limit stops by itself with its best answer; any
        other is ended some seconds later, and its solve has failed.
    memory_limit : int or None
        The most bytes of the process that solves a block; a solve that takes more is ended, and has failed.
    jobs : int, optional
        How many worker processes of one thread each; left out, as many as there are cores.
    on_progress : callable, optional
        ``on_progress(done, total, what)``, called now and then: how many block solves are done, how many there are,
        and a few words.

    Returns
    -------
    StudyResult
        What was found; after Ctrl-C or SIGTERM, what was done until then (``complete`` is False). A method that fails
        on a block is in ``failures``, and all others go on.

    Raises
    ------
    CbsOptError
        Before anything is solved: methods are unknown or cannot run here, sparsities are outside [0, 1], or the
        curvature of the first layers cannot be made from the samples.
    """
    created = datetime.now(UTC).isoformat(timespec="seconds")
    subject = digits_subject(seed=seed) if subject is None else subject
    specs, skipped = _choose(methods)
    levels = tuple(dict.fromkeys(float(s) for s in sparsities))
    if not levels:
        raise InputError("sparsities: there are none; give at least one between 0 and 1")
    for level in levels:
        prune_count(1, level)
    jobs = max(1, min(_cores() if jobs is None else jobs, len(levels) * subject.blocks))
    study = _Study(subject, specs, skipped, levels, seed, time_limit, memory_limit, on_progress)
    study.go(jobs)
    return study.result(jobs, created)


class _Study:
    """A study while it runs."""

    def __init__(
        self,
        subject: Subject,
        specs: tuple[MethodSpec, ...],
        skipped: dict[str, str],
        levels: tuple[float, ...],
        seed: int,
        time_limit: float | None,
        memory_limit: int | None,
        on_progress: OnProgress | None,
    ) -> None:
        self._started = time.perf_counter()
        self._subject, self._specs, self._skipped, self._levels = subject, specs, skipped, levels
        self._seed, self._time_limit, self._on_progress = seed, time_limit, on_progress
        self._limits = Limits(time_limit, memory_limit)
        self._total = len(levels) * subject.blocks
        self._done = self._answered = self._begun = 0
        self._rows: dict[tuple[float, int], list[BlockRow]] = {}
        self._failures = [Failure(None, name, reason) for name, reason in subject.unreadable.items()]
        self._left_out: dict[str, list[str]] = {}
        self._placed: dict[float, list[Placed]] = {level: [] for level in levels}
        self._open = dict.fromkeys(levels, subject.blocks)
        self._accuracies: dict[tuple[float, str], Accuracy] = {}
        self._dense: float | None = None
        self._cut: list[Cut] = []
        self._remarks: list[str] = []
        self._environment: dict[str, str] = {}
        self._stopped, self._interrupted = "", False

    def go(self, jobs: int) -> None:
        """Work until everything is done, or the study is interrupted or has to stop."""
        try:
            with terminations_as_interrupts():
                self._dense = dense_accuracy(self._subject)
                for spec in self._specs:
                    if spec.prepare is not None:
                        spec.prepare()  # compiled once here, not once in every worker
                with backend_of(Settings(jobs=jobs)) as backend:
                    for number, piece in enumerate(self._subject.pieces):
                        try:
                            cut = piece.cut(self._tell)
                        except CbsOptError as error:
                            if not number:
                                raise
                            self._give_up(piece.name, piece.blocks, str(error))
                            continue
                        self._solve(cut, backend)
                        del cut  # before the next blocks are made
        except KeyboardInterrupt:
            self._stopped, self._interrupted = "interrupted", True
        except SolverError as error:
            self._stopped = f"stopped, {error},"
        finally:
            POOL.clear()

    def result(self, jobs: int, created: str) -> StudyResult:
        """The result, as far as the study came."""
        subject = self._subject
        for name, reasons in self._left_out.items():
            self._skipped[name] = f"left out of {len(reasons)} of {self._total} block solves: {reasons[0]}"
        stopped = self._stopped and f"{self._stopped} after {self._answered} of {self._total} block solves"
        settings = {**subject.settings, "seed": self._seed, "time_limit": self._time_limit, "jobs": jobs}
        if self._limits.memory is not None:
            settings["memory_limit"] = self._limits.memory
        if subject.network is not None:
            settings["damping"] = {layer: value for cut in self._cut for layer, value in cut.damping.items()}
        ratios = [ratio for cut in self._cut for ratio in cut.dominance.values()]
        dominated = dominance_note(ratios, "layers" if subject.network is not None else "blocks")
        return StudyResult(
            subject=subject.name,
            blocks=subject.blocks + len(subject.unreadable),
            weights=subject.weights,
            sparsities=self._levels,
            methods=tuple(spec.name for spec in self._specs),
            rows=tuple(row for place in sorted(self._rows, key=self._order) for row in self._rows[place]),
            failures=tuple(self._failures),
            accuracies=self._accuracies,
            dense_accuracy=self._dense,
            skipped=self._skipped,
            notes=(*(note for cut in self._cut for note in cut.notes), *subject.notes, *dominated, *self._remarks),
            settings=settings,
            environment=self._environment or environment(),
            stopped=stopped,
            interrupted=self._interrupted,
            seconds=time.perf_counter() - self._started,
            created=created,
            mixed_units=subject.mixed_units,
            totals=subject.totals,
        )

    # ---------------------------------------------------------------- a piece

    def _solve(self, cut: Cut, backend: Backend) -> None:
        """Solve all blocks of a piece at all sparsities."""
        before = self._begun
        self._begun += len(cut.blocks)
        self._cut.append(Cut((), cut.notes, cut.damping, cut.dominance))
        solves = [
            BlockSolve(before + number, block, level, block.problem.at_sparsity(level), self._able(block, level))
            for level in self._levels
            for number, block in enumerate(cut.blocks)
        ]
        for solve in solves:
            if not solve.specs:
                solve.failures[""] = "none of the methods can take it"
                self._finish(solve)
        options = {} if self._time_limit is None else {"time_limit": self._time_limit}
        tasks = PieceTasks(solves, self._seed, options)

        def take(answers: tuple[Answer, ...], computed_with: dict[str, str]) -> None:
            self._environment = self._environment or computed_with
            for answer in answers:
                solve = tasks.take(answer)
                if not solve.open:
                    self._finish(solve)

        Loop(tasks, backend, self._limits, take, self._remarks.append).go()

    def _able(self, block: StudyBlock, level: float) -> tuple[MethodSpec, ...]:
        """The methods that can take a block; the others are noted."""
        problem, able = block.problem.at_sparsity(level), []
        for spec in self._specs:
            reason = spec.why_not(problem)
            if reason is None:
                able.append(spec)
            else:
                self._left_out.setdefault(spec.name, []).append(reason)
        return tuple(able)

    def _finish(self, solve: BlockSolve) -> None:
        """Judge a block at one sparsity once it has all its answers; after the last block, measure the network, too."""
        name = solve.problem.name
        for method, reason in solve.failures.items():
            self._failures.append(Failure(solve.sparsity, name, reason, method or None))
        if solve.solutions:
            try:
                self._rows[solve.sparsity, solve.number] = list(self._judged(solve))
                self._answered += 1
            except CbsOptError as error:
                self._failures.append(Failure(solve.sparsity, name, str(error)))
        if solve.block.first is not None:
            found = {method: (solution.mask, solution.weights) for method, solution in solve.solutions.items()}
            self._placed[solve.sparsity].append(Placed(solve.block.group, solve.block.first, found))
        solve.solutions.clear()
        self._count(solve.sparsity, 1, name)
        if not self._open[solve.sparsity]:
            for method, accuracy in accuracies(self._subject, self._specs, self._placed.pop(solve.sparsity)):
                self._accuracies[solve.sparsity, method] = accuracy

    def _judged(self, solve: BlockSolve) -> Iterator[BlockRow]:
        """The rows of a block solve: every method against the best bound of any method."""
        problem, block = solve.problem, solve.block
        proven = [s.bound for s in solve.solutions.values() if s.bound > -math.inf]
        bound = max(trivial_bound(problem), solve.bound, *proven)
        removed = problem.objective(np.zeros(problem.n))
        unit = removed if self._subject.mixed_units and removed > 0 else 1.0
        for spec in solve.specs:
            if (solution := solve.solutions.get(spec.name)) is None:
                continue
            row = row_of(solution, bound, self._seed)
            kept = tuple(np.flatnonzero(solution.mask).tolist())
            yield BlockRow(solve.sparsity, block.group, block.damping, row, kept, unit)

    def _give_up(self, name: str, blocks: int, reason: str) -> None:
        """Note that blocks cannot be made."""
        self._failures.append(Failure(None, name, reason))
        for level in self._levels:
            self._count(level, blocks, name)

    def _count(self, level: float, blocks: int, name: str) -> None:
        self._done += blocks
        self._open[level] -= blocks
        if self._on_progress:
            self._on_progress(self._done, self._total, name)

    def _tell(self, words: str) -> None:
        if self._on_progress:
            self._on_progress(self._done, self._total, words)

    def _order(self, place: tuple[float, int]) -> tuple[int, int]:
        return self._levels.index(place[0]), place[1]


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


def _cores() -> int:
    from joblib import cpu_count

    return int(cpu_count())
