"""The plan of a batch: the tasks of all blocks, methods, patterns and seeds, without those that the store has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cbs_opt.batch.inputs import find_blocks
from cbs_opt.batch.pace import guess
from cbs_opt.batch.settings import Settings
from cbs_opt.batch.tally import Tally
from cbs_opt.errors import InputError
from cbs_opt.evaluation.catalogue import method as find_method
from cbs_opt.kernel.asked import Asked
from cbs_opt.kernel.method import MethodSpec
from cbs_opt.kernel.result import TerminationCondition
from cbs_opt.store.key import result_key
from cbs_opt.store.rows import TIME_LIMIT, Block
from cbs_opt.store.writer import Known

Lookup = Callable[[str], Known | None]


@dataclass(frozen=True)
class Combination:
    """One method, one pattern and one seed (None for a method that draws no random numbers), for every block.

    ``options`` are part of the task and of its key in the store; ``limits`` only limit the effort.
    """

    spec: MethodSpec
    asked: Asked
    seed: int | None
    options: dict[str, Any]
    limits: dict[str, Any]

    def key(self, block: Block) -> str:
        """The key under which the result for this block is stored."""
        return result_key(block.content, self.spec.name, str(self.asked), self.seed, self.options)

    @property
    def all_options(self) -> dict[str, Any]:
        """All options that the method is given."""
        return {**self.options, **self.limits}


class Plan:
    """The tasks of a batch: every block with every combination of method, pattern and seed.

    Tasks are numbers; the message of a task is made when it is handed out, so that the plan takes little memory.

    Parameters
    ----------
    settings : Settings
        The settings of the batch.
    known : callable
        Returns what the store has under a key, or None.
    retry_failed : bool
        Whether tasks that have failed before are done again.

    Attributes
    ----------
    pending : integer array
        The numbers of the tasks to be done, those that are expected to take longest first.
    tally : Tally
        Counts of the results that the store already has.
    left_out : dict
        The combinations of a method with a pattern that it cannot take, each with the reason.
    repeated : int
        The number of files with the same content as another file, which are not solved twice.
    """

    def __init__(self, settings: Settings, known: Lookup, *, retry_failed: bool = False) -> None:
        if not settings.asked:
            raise InputError("nothing is asked of the blocks; give --sparsity R, --prune K or --pattern P")
        self.left_out: dict[str, str] = {}
        self.combinations = tuple(self._combinations(settings))
        if not self.combinations:
            raise InputError("; ".join(self.left_out.values()))
        found: dict[str, Block] = {}
        files = 0
        for block in find_blocks(settings.blocks):
            files += 1
            found.setdefault(block.content, block)
        if not found:
            raise InputError("there are no blocks; name block files, folders, patterns or a manifest")
        self.blocks: Sequence[Block] = tuple(found.values())
        self.repeated = files - len(self.blocks)
        self.tally = Tally()
        self.again = 0
        self.pending = self._pending(known, settings.time_limit, retry_failed)

    @property
    def tasks(self) -> int:
        """The number of all tasks, done or not."""
        return len(self.blocks) * len(self.combinations)

    def task(self, number: int) -> tuple[Block, Combination]:
        """The block and the combination of a task."""
        block, combination = divmod(number, len(self.combinations))
        return self.blocks[block], self.combinations[combination]

    def kind(self, number: int) -> tuple[int, int]:
        """The kind of a task; tasks of one kind are expected to take equally long."""
        block, combination = divmod(number, len(self.combinations))
        return combination, (self.blocks[block].n or 0).bit_length()

    def message(self, number: int) -> dict[str, Any]:
        """The message for a task that the solver process gets."""
        block, combination = self.task(number)
        return {
            "task": number,
            "file": block.file,
            "content": block.content,
            "method": combination.spec.name,
            "asked": str(combination.asked),
            "seed": combination.seed,
            "options": combination.all_options,
        }

    def _combinations(self, settings: Settings) -> Iterator[Combination]:
        for name in settings.methods:
            spec = find_method(name)
            for asked in settings.asked:
                if not spec.takes(asked.pattern_class):
                    self.left_out[f"{name}, {asked}"] = f"method {name}: cannot take the {asked}"
                    continue
                for seed in settings.seeds if "seed" in spec.options else (None,):
                    yield Combination(spec, asked, seed, settings.options_of(spec), settings.limits_of(spec))

    def _pending(self, known: Lookup, time_limit: float | None, retry_failed: bool) -> np.ndarray[Any, Any]:
        """The numbers of the tasks to be done, the longest first; those that take equally long are ordered by block."""
        numbers: list[int] = []
        seconds: list[float] = []
        for number in range(self.tasks):
            block, combination = self.task(number)
            stored = known(combination.key(block))
            if stored is not None and not _again(stored, time_limit, retry_failed):
                self.tally.add(
                    combination.spec, str(combination.asked), stored.done, stored.proven, stored.gap, stored.reason
                )
                continue
            self.again += stored is not None
            numbers.append(number)
            seconds.append(guess(combination.spec, block.n or 0))
        order = np.argsort(-np.array(seconds), kind="stable")
        return np.array(numbers, dtype=np.int64)[order]


def _again(stored: Known, time_limit: float | None, retry_failed: bool) -> bool:
    """Whether a task with a stored result is done again.

    It is if it failed and ``retry_failed`` is set, or if it ran out of time and now has more of it.
    """
    if not stored.done and retry_failed:
        return True
    ran_out = stored.reason == TIME_LIMIT or stored.termination == TerminationCondition.TIME_LIMIT
    longer = stored.time_limit is not None and (time_limit is None or time_limit > stored.time_limit)
    return ran_out and longer
