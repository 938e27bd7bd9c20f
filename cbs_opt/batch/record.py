"""From the answer of a solver process to the record that goes into the store."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from cbs_opt.batch.plan import Combination
from cbs_opt.batch.solver_process import Answer
from cbs_opt.kernel.text import as_text
from cbs_opt.store.rows import DONE, Block, Record, Result, TracePoint

_TAKEN = (
    "status",
    "reason",
    "error",
    "solution_status",
    "termination_condition",
    "objective",
    "bound",
    "gap",
    "selection_objective",
    "selection_bound",
    "selection_gap",
    "round_off",
    "seconds",
    "nodes",
    "n",
    "pruned",
)
_NAMES = ("name", "file", "tensor", "manifest")


def record_of(answer: Answer, block: Block, combination: Combination, environment: dict[str, str]) -> Record:
    """The record of an answer; names and messages are turned into text that the store can hold."""
    facts = json.loads(answer.facts)
    found = facts["block"]
    block = replace(block, n=found["n"], name=found["name"], unit=found["unit"]) if found else replace(block, n=None)
    places: dict[str, Any] = {name: as_text(value) for name in _NAMES if (value := getattr(block, name)) is not None}
    taken: dict[str, Any] = {
        name: as_text(value) if isinstance(value := facts.get(name), str) else value for name in _TAKEN
    }
    result = Result(
        key=combination.key(block),
        block=0,
        method=combination.spec.name,
        asked=str(combination.asked),
        seed=combination.seed,
        options=combination.all_options,
        notes=tuple(map(as_text, facts.get("notes", ()))),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        **taken,
    )
    size = ((result.n or 0) + 7) // 8
    done = result.status == DONE
    return Record(
        block=replace(block, **places),
        result=result,
        mask=answer.arrays[:size] if done else None,
        weights=answer.arrays[size:] if done else None,
        trace=tuple(TracePoint(*point) for point in facts.get("trace", ())),
        environment=environment,
    )
