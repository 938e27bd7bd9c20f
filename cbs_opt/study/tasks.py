"""The blocks of a piece as the tasks of a batch: every block at every sparsity by every method, one after the other.

The order is that of the study, sparsity by sparsity and block by block, so that a study that is cut short has complete
comparisons to show. If no method proves a bound on the joint problem, one more task does, without branching.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cbs_opt.batch.carried import Carried, carried
from cbs_opt.batch.frames import BLOCK
from cbs_opt.batch.solver_process import Answer
from cbs_opt.errors import TooLargeError
from cbs_opt.evaluation.catalogue import method as find_method
from cbs_opt.evaluation.lower_bound import lower_bound
from cbs_opt.kernel.asked import Asked
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.patterns import Cardinality, Quotas
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Outcome, Solution, SolutionStatus, TerminationCondition
from cbs_opt.solvers import BUILT_IN
from cbs_opt.store.rows import DONE, unpack_mask, unpack_weights
from cbs_opt.study.piece import StudyBlock


def _bound_only(problem: PruningProblem) -> Outcome:
    """Prove the bound without branching; the mask, chosen by magnitude, is not used."""
    try:
        bound = lower_bound(problem).value
    except TooLargeError:
        bound = -math.inf
    return Outcome(problem.Z.argmax(np.abs(problem.w_bar)), bound)


BOUND = MethodSpec(
    name="lower bound",
    run=_bound_only,
    summary="proves a bound where no method of the study does",
    exact=False,
    objective=Objective.JOINT,
    reference="lower_bound",
    patterns=(Cardinality, Quotas),
    prepare=find_method("bnb").prepare,
)


@dataclass(eq=False)
class BlockSolve:
    """One block at one sparsity: the methods that are to solve it, and their answers.

    Parameters
    ----------
    number : int
        The number of the block in the study.
    block : StudyBlock
        The block.
    sparsity : float
        The sparsity that is asked for.
    problem : PruningProblem
        The block's problem, with the pattern of that sparsity.
    specs : tuple of MethodSpec
        The methods that can take the problem.
    solutions : dict of method name to Solution
        The answers so far.
    failures : dict of method name to reason
        The methods that failed.
    bound : float
        The bound without branching, if that was needed; −inf without one.
    open : int
        How many tasks have no answer yet.
    """

    number: int
    block: StudyBlock
    sparsity: float
    problem: PruningProblem
    specs: tuple[MethodSpec, ...]
    solutions: dict[str, Solution] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    bound: float = -math.inf
    open: int = 0

    def tasks(self) -> Iterator[MethodSpec]:
        """The methods to run, and after them the bound without branching if none of them proves one."""
        yield from self.specs
        if self.specs and not any(spec.exact and spec.objective is Objective.JOINT for spec in self.specs):
            yield BOUND


class PieceTasks:
    """The tasks of a piece, as the loop of a batch takes them.

    Parameters
    ----------
    solves : sequence of BlockSolve
        The block solves, sparsity by sparsity and block by block.
    seed : int
        Seed of the methods that draw at random.
    options : mapping
        Options such as the time limit; each method gets those that it has.
    """

    def __init__(self, solves: Sequence[BlockSolve], seed: int, options: Mapping[str, Any]) -> None:
        self._seed, self._options = seed, options
        self._tasks = [(solve, spec) for solve in solves for spec in solve.tasks()]
        for solve, _ in self._tasks:
            solve.open += 1
        self._names = {spec.name: number for number, (_, spec) in enumerate(reversed(self._tasks))}
        known = {*(spec.name for spec in BUILT_IN)}
        specs = {spec.name: spec for _, spec in self._tasks}
        self._registered = [s for s in specs.values() if s.name not in known and not s.name.startswith("pyomo:")]
        self._packed: tuple[BlockSolve | None, Carried] = None, Carried(b"", "")

    @property
    def pending(self) -> np.ndarray[Any, Any]:
        """The numbers of the tasks, in the order of the study."""
        return np.arange(len(self._tasks))

    def kind(self, number: int) -> tuple[int, int]:
        """A key that is the same for tasks which take about equally long: the method and the size of the block."""
        solve, spec = self._tasks[number]
        return self._names[spec.name], solve.problem.n.bit_length()

    def message(self, number: int) -> dict[str, Any]:
        """The message that gives a task, with its block, to a solver process."""
        solve, spec = self._tasks[number]
        if self._packed[0] is not solve:
            self._packed = solve, carried(solve.block.problem, self._registered)
        return {
            "task": number,
            "file": "",
            "content": self._packed[1].content,
            BLOCK: self._packed[1].data,
            "method": spec.name,
            "asked": str(Asked("sparsity", repr(solve.sparsity))),
            "seed": self._seed,
            "options": {name: value for name, value in self._options.items() if name in spec.options},
        }

    def take(self, answer: Answer) -> BlockSolve:
        """Note an answer, and return the block solve that it belongs to."""
        solve, spec = self._tasks[answer.task]
        solve.open -= 1
        facts = json.loads(answer.facts)
        if facts["status"] != DONE:
            solve.failures[spec.name] = str(facts["error"])
        elif spec is BOUND:
            solve.bound = -math.inf if facts["bound"] is None else facts["bound"]
        else:
            solve.solutions[spec.name] = _solution(solve.problem, spec.name, facts, answer.arrays)
        return solve


def _solution(problem: PruningProblem, method: str, facts: Mapping[str, Any], arrays: bytes) -> Solution:
    size = (problem.n + 7) // 8
    return Solution(
        name=problem.name,
        method=method,
        mask=unpack_mask(arrays[:size], problem.n),
        weights=unpack_weights(arrays[size:]),
        objective=facts["objective"],
        selection_objective=facts["selection_objective"],
        bound=_bound(facts["bound"]),
        selection_bound=_bound(facts["selection_bound"]),
        termination_condition=TerminationCondition(facts["termination_condition"]),
        solution_status=SolutionStatus(facts["solution_status"]),
        seconds=facts["seconds"],
        round_off=facts["round_off"],
        nodes=facts["nodes"],
        notes=tuple(facts["notes"]),
    )


def _bound(value: float | None) -> float:
    return -math.inf if value is None else value
