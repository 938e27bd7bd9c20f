"""What is to be done: blocks × methods × patterns × seeds, less what the store has; the longest tasks first."""

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
    """One method, one pattern, one seed (None for a method that draws nothing), for every block.

    ``options`` belong to the question and to the key; ``limits`` only say how long to try.
    """

    spec: MethodSpec
    asked: Asked
    seed: int | None
    options: dict[str, Any]
    limits: dict[str, Any]

    def key(self, block: Block) -> str:
        """Under which the result for this block is stored."""
        return result_key(block.content, self.spec.name, str(self.asked), self.seed, self.options)

    @property
    def all_options(self) -> dict[str, Any]:
        """What the method is given."""
        return {**self.options, **self.limits}


class Plan:
    """The work of a batch. Tasks are numbered; what they are is worked out when they are handed out.

    Parameters
    ----------
    settings : Settings
        Of the batch.
    known : callable
        What the store has under a key.
    retry_failed : bool
        Whether failed tasks are to be done again.

    Attributes
    ----------
    pending : integer array
        The numbers of the tasks to be done, the longest first.
    tally : Tally
        What the store has already of what is asked for.
    left_out : dict
        Methods that cannot take a pattern, and why.
    repeated : int
        Files whose content another file has, too; solved once.
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
        """How many tasks are asked for, done or not."""
        return len(self.blocks) * len(self.combinations)

    def task(self, number: int) -> tuple[Block, Combination]:
        """The block and the combination of a task."""
        block, combination = divmod(number, len(self.combinations))
        return self.blocks[block], self.combinations[combination]

    def kind(self, number: int) -> tuple[int, int]:
        """What tasks that take about as long have in common."""
        block, combination = divmod(number, len(self.combinations))
        return combination, (self.blocks[block].n or 0).bit_length()

    def message(self, number: int) -> dict[str, Any]:
        """A task as the solver process gets it."""
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
        """Numbers of the tasks to be done; the longest first, those of one block together."""
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
    """Whether a stored result is worked out anew: it failed and that is wanted, or it has more time now than it had."""
    if not stored.done and retry_failed:
        return True
    ran_out = stored.reason == TIME_LIMIT or stored.termination == TerminationCondition.TIME_LIMIT
    longer = stored.time_limit is not None and (time_limit is None or time_limit > stored.time_limit)
    return ran_out and longer
