"""What a store holds, row by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cbs_opt.kernel.arrays.types import Mask, Vector

DONE, FAILED = "done", "failed"

BAD_INPUT, TIME_LIMIT, MEMORY_LIMIT, WORKER_DIED, ERROR = (
    "bad input",
    "time limit",
    "memory limit",
    "worker died",
    "error",
)
REASONS = (BAD_INPUT, TIME_LIMIT, MEMORY_LIMIT, WORKER_DIED, ERROR)
"""Why a task failed."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block.

    Parameters
    ----------
    content : str
        SHA-256 of its file, 64 hexadecimal digits.
    name, file : str
        As in messages; the path it was read from.
    n : int or None
        Weights; None where the file could not be read.
    tensor, first, manifest
        The tensor of the network it was cut from, the index of its first weight in the flattened tensor, and the
        path of the manifest; None unless it came by one.
    unit : float or None
        Loss of removing the whole block, for sums over unrelated blocks.
    id : int
        In the store; 0 before it is in one.
    """

    content: str
    name: str
    file: str
    n: int | None = None
    tensor: str | None = None
    first: int | None = None
    manifest: str | None = None
    unit: float | None = None
    id: int = 0


@dataclass(frozen=True)
class TracePoint:
    """What a search said of itself on its way.

    Parameters
    ----------
    seconds : float
        Since its start.
    incumbent, bound : float or None
        None: there is none yet.
    """

    seconds: float
    incumbent: float | None
    bound: float | None


@dataclass(frozen=True, eq=False)
class Result:
    """What became of one method on one block.

    Parameters
    ----------
    key : str
        See ``cbs_opt.store.result_key``.
    block : int
        ``Block.id``.
    method, asked : str
        As ``bnb`` and ``sparsity 0.8``, ``prune 26`` or ``pattern 2:4``.
    seed : int or None
        None for a method that draws nothing.
    options : mapping
        The method's own options, its time limit among them.
    status : str
        'done' or 'failed'.
    reason, error : str or None
        Of a failed one: one of ``REASONS``, and a sentence.
    solution_status, termination_condition : str or None
        What is held and why the method stopped, as in ``cbs_opt.Solution``.
    objective, bound, gap, selection_objective, selection_bound, selection_gap, round_off : float or None
        As in ``cbs_opt.Solution``; None: unknown.
    seconds : float or None
        Wall time of the solve; of a failed one, what was spent on it.
    nodes, n, pruned : int or None
        Nodes of the search, weights of the block, and how many of them are pruned.
    mask : boolean array (n,), or None
        1 keeps. None unless asked for, and where the task failed.
    weights : array (n,), or None
        After the update.
    notes : tuple of str
        Everything altered or cut short.
    attempts : int
        How often the task was run to an end.
    finished : str
        When, ISO 8601 in UTC.
    environment : int or None
        Row of ``environments``.
    id : int
        In the store; 0 before it is in one.
    """

    key: str
    block: int
    method: str
    asked: str
    seed: int | None
    options: Mapping[str, Any]
    status: str
    reason: str | None = None
    error: str | None = None
    solution_status: str | None = None
    termination_condition: str | None = None
    objective: float | None = None
    bound: float | None = None
    gap: float | None = None
    selection_objective: float | None = None
    selection_bound: float | None = None
    selection_gap: float | None = None
    round_off: float | None = None
    seconds: float | None = None
    nodes: int | None = None
    n: int | None = None
    pruned: int | None = None
    mask: Mask | None = None
    weights: Vector | None = None
    notes: tuple[str, ...] = ()
    attempts: int = 1
    finished: str = ""
    environment: int | None = None
    id: int = 0

    @property
    def done(self) -> bool:
        """Whether there is an answer."""
        return self.status == DONE

    @property
    def proven(self) -> bool:
        """Whether the method proved its own answer."""
        return self.solution_status == "optimal"


@dataclass(frozen=True)
class Gap:
    """A row of the view ``gaps``: an answer against the best bound that any method proved on the same block.

    Parameters
    ----------
    result, block : int
        ``Result.id`` and ``Block.id``.
    name : str
        Of the block.
    method, asked : str
        What was run, and what was asked of the block.
    seed : int or None
        None for a method that draws nothing.
    objective, selection_objective : float
        With and without the update.
    bound, selection_bound : float or None
        The best on this block by any method; None: there is none.
    gap : float or None
        (objective − bound)/|objective|.
    broken : bool
        Whether the bound lies above the objective by more than round-off, so that one of them is wrong: a bug.
    """

    result: int
    block: int
    name: str
    method: str
    asked: str
    seed: int | None
    objective: float
    bound: float | None
    gap: float | None
    broken: bool
    selection_objective: float
    selection_bound: float | None


@dataclass(frozen=True)
class Record:
    """A result on its way into the store, with its block.

    Parameters
    ----------
    block, result
        What is stored.
    mask, weights : bytes or None
        Packed by ``pack_mask`` and ``pack_weights``.
    trace : tuple of TracePoint
        What the search said of itself on its way.
    environment : mapping of str to str
        Versions of what it ran with.
    """

    block: Block
    result: Result
    mask: bytes | None = None
    weights: bytes | None = None
    trace: tuple[TracePoint, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def pack_mask(mask: Mask) -> bytes:
    """(n,) booleans as ⌈n/8⌉ bytes, the first weight in the lowest bit."""
    return np.packbits(mask, bitorder="little").tobytes()


def unpack_mask(data: bytes, n: int) -> Mask:
    """The inverse of ``pack_mask``.

    Parameters
    ----------
    data : bytes
        One bit a weight.
    n : int
        Weights.
    """
    return np.unpackbits(np.frombuffer(data, dtype=np.uint8), count=n, bitorder="little").astype(bool)


def pack_weights(weights: Vector) -> bytes:
    """(n,) float64 as 8n bytes, little-endian."""
    return weights.astype("<f8").tobytes()


def unpack_weights(data: bytes) -> Vector:
    """The inverse of ``pack_weights``."""
    return np.frombuffer(data, dtype="<f8").astype(np.float64)
