"""The rows of a store as dataclasses, and the bytes in which masks and weights are stored."""

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
"""All reasons for which a task can fail."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block whose results a store holds.

    Parameters
    ----------
    content : str
        The digest of the block, 64 hexadecimal digits (``cbs_opt.kernel.block_file.content_of``).
    name, file : str
        The name of the block, and the path that it was read from.
    n : int or None
        Number of weights; None where the file could not be read.
    tensor, first, manifest
        The tensor of the network that the block was cut from, the index of its first weight in the flattened tensor,
        and the path of the manifest; None for a block without a manifest.
    unit : float or None
        The loss of pruning the whole block, by which losses of unrelated blocks are divided before they are added.
    id : int
        The id of the block in the store; 0 before it is in one.
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
    """What a search reported of itself at one point of time.

    Parameters
    ----------
    seconds : float
        Seconds since its start.
    incumbent, bound : float or None
        The objective of the incumbent and the lower bound; None where there is none yet.
    """

    seconds: float
    incumbent: float | None
    bound: float | None


@dataclass(frozen=True, eq=False)
class Result:
    """The result of one task, which is one method on one block: an answer, or why there is none.

    Parameters
    ----------
    key : str
        The key of the task, see ``cbs_opt.store.result_key``.
    block : int
        The id of the block, ``Block.id``.
    method, asked : str
        The method and the request, for instance ``bnb`` and ``sparsity 0.8``, ``prune 26`` or ``pattern 2:4``.
    seed : int or None
        The seed; None for a method that draws no random numbers.
    options : mapping
        The options of the method, its time limit among them.
    status : str
        'done' or 'failed'.
    reason, error : str or None
        Why the task failed: one of ``REASONS``, and a sentence. None for an answer.
    solution_status, termination_condition : str or None
        Whether the answer is proven optimal, and why the method stopped, as in ``cbs_opt.Solution``.
    objective, bound, gap, selection_objective, selection_bound, selection_gap, round_off : float or None
        As in ``cbs_opt.Solution``; None where unknown.
    seconds : float or None
        Wall time of the solve, or the time that was spent on a failed task.
    nodes, n, pruned : int or None
        Nodes of the search, number of weights of the block, and number of pruned weights.
    mask : boolean array (n,), or None
        The mask, 1 keeps. None unless arrays were asked for, and where the task failed.
    weights : array (n,), or None
        The weights after the update; None where ``mask`` is.
    notes : tuple of str
        Everything that was altered or cut short, one sentence each.
    attempts : int
        How often the task was run to an end.
    finished : str
        When it was finished, in ISO 8601 and UTC.
    environment : int or None
        The id of the environment, see ``Store.environments``.
    id : int
        The id of the result in the store; 0 before it is in one.
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
        """Whether the task has an answer."""
        return self.status == DONE

    @property
    def proven(self) -> bool:
        """Whether the method proved its own answer optimal."""
        return self.solution_status == "optimal"


@dataclass(frozen=True)
class Gap:
    """An answer with the best bound that any method proved for the same block and request (a row of the view ``gaps``).

    Parameters
    ----------
    result, block : int
        ``Result.id`` and ``Block.id``.
    name : str
        The name of the block.
    method, asked : str
        The method, and what was asked of the block.
    seed : int or None
        The seed; None for a method that draws no random numbers.
    objective, selection_objective : float
        The objective with and without the update.
    bound, selection_bound : float or None
        The best lower bounds on the two by any method; None where there is none.
    gap : float or None
        The relative gap (objective − bound)/|objective|; None without a bound.
    broken : bool
        Whether the bound lies above the objective by more than round-off. One of them is then wrong, which is a bug.
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
    """A result with its block and everything else that ``StoreWriter`` stores of it.

    Parameters
    ----------
    block, result
        The block and the result.
    mask, weights : bytes or None
        The mask and the weights, packed by ``pack_mask`` and ``pack_weights``; None for a failed task.
    trace : tuple of TracePoint
        What the search reported of itself on its way.
    environment : mapping of str to str
        The versions that it ran with.
    """

    block: Block
    result: Result
    mask: bytes | None = None
    weights: bytes | None = None
    trace: tuple[TracePoint, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def pack_mask(mask: Mask) -> bytes:
    """Pack a mask, shape (n,), into ⌈n/8⌉ bytes, with the first weight in the lowest bit of the first byte."""
    return np.packbits(mask, bitorder="little").tobytes()


def unpack_mask(data: bytes, n: int) -> Mask:
    """The mask, shape (n,), that ``pack_mask`` packed into ``data``.

    Parameters
    ----------
    data : bytes
        One bit for each weight.
    n : int
        Number of weights.
    """
    return np.unpackbits(np.frombuffer(data, dtype=np.uint8), count=n, bitorder="little").astype(bool)


def pack_weights(weights: Vector) -> bytes:
    """Pack weights, shape (n,), into 8n bytes: float64, little-endian."""
    return weights.astype("<f8").tobytes()


def unpack_weights(data: bytes) -> Vector:
    """The weights, shape (n,), that ``pack_weights`` packed into ``data``."""
    return np.frombuffer(data, dtype="<f8").astype(np.float64)
