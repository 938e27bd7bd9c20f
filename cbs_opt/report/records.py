"""The content of a store as columns: everything that a report is computed from, without masks and weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.report.measures import bounds as measures
from cbs_opt.report.measures.bounds import Indices


@dataclass(frozen=True, eq=False)
class Blocks:
    """The blocks of a store, in the store's order.

    Parameters
    ----------
    name, content : tuple of str
        The block's name, and the digest of its content.
    tensor : tuple of str
        The tensor that the block was cut from; empty without a manifest.
    first : array of int
        The block's first index in the flattened tensor; 0 without a manifest.
    n : array of int
        The number of weights.
    manifest : tuple of str
        The manifest that the block came with; empty for a file without one.
    unit : array
        The loss of removing the whole block; NaN if it is unknown.
    dominance : array
        λ divided by the mean diagonal of the curvature without it, if the block's results say that this is more than
        1; else 0.
    """

    name: tuple[str, ...]
    content: tuple[str, ...]
    tensor: tuple[str, ...]
    first: Indices
    n: Indices
    manifest: tuple[str, ...]
    unit: Vector
    dominance: Vector

    def __len__(self) -> int:
        return len(self.name)


@dataclass(frozen=True, eq=False)
class Records:
    """The blocks, and one row for each result, in the order in which they were finished; arrays have shape (rows,).

    Parameters
    ----------
    blocks : Blocks
        The blocks that have results.
    methods, asked : tuple of str
        The methods, with options or seed if the store has several of these for a method; and the requests, such as
        'sparsity 0.8'.
    block, method, request : arrays of int
        What each row is about: positions in ``blocks``, ``methods`` and ``asked``.
    done : array of bool
        Whether the row has an answer; if not, it failed, with a ``reason`` and an ``error``.
    objective, bound, selection_objective, selection_bound : arrays
        f of the answer with the update and with the weights as trained (NaN without an answer), and the method's own
        bounds on the two problems (−inf without a bound).
    round_off : array
        What float64 may have got wrong in the objective.
    seconds : array
        The time of the solve; NaN if it is unknown.
    nodes : array of int
        The nodes of the search; 0 if there are none.
    status, reason, error : tuples of str
        The solution status; and for a failed row the reason in a word and the error in a sentence.
    identity : array of int
        The rows' ids in the store.
    environments : tuple of mappings
        The versions of the software that ran.
    source : str
        The store's path.
    facts : mapping
        What else the store says about itself.
    """

    blocks: Blocks
    methods: tuple[str, ...]
    asked: tuple[str, ...]
    block: Indices
    method: Indices
    request: Indices
    done: Mask
    objective: Vector
    bound: Vector
    selection_objective: Vector
    selection_bound: Vector
    round_off: Vector
    seconds: Vector
    nodes: Indices
    status: tuple[str, ...]
    reason: tuple[str, ...]
    error: tuple[str, ...]
    identity: NDArray[np.int64]
    environments: tuple[Mapping[str, object], ...] = ()
    source: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.block)

    @cached_property
    def problem(self) -> Indices:
        """The number of the problem that each row answers: one block with one request."""
        return self.block * max(1, len(self.asked)) + self.request

    @property
    def problems(self) -> int:
        """How many problems there are, with or without results: every block with every request."""
        return len(self.blocks) * max(1, len(self.asked))

    @cached_property
    def best_of_problem(self) -> Vector:
        """The best bound of each problem over all methods, shape (problems,)."""
        return measures.best_bounds(self.problem, np.where(self.done, self.bound, -np.inf), self.problems)

    @cached_property
    def best(self) -> Vector:
        """The best bound on the row's problem."""
        return self.best_of_problem[self.problem]

    @cached_property
    def broken(self) -> Mask:
        """Whether the best bound on the row's problem lies above the row's objective."""
        return measures.broken(self.objective, self.best, self.round_off)

    @cached_property
    def gap(self) -> Vector:
        """The gap to the best bound; inf without a bound, NaN without an answer or if the bound is broken."""
        return measures.gaps(self.objective, self.best, self.round_off)

    @cached_property
    def proven(self) -> Mask:
        """Whether the answer meets the best bound on its problem, whichever method proved it."""
        return measures.proven(self.objective, self.best, self.round_off, self.gap)

    @cached_property
    def own_proof(self) -> Mask:
        """Whether the answer meets the method's own bound."""
        gap = measures.gaps(self.objective, self.bound, self.round_off)
        return measures.proven(self.objective, self.bound, self.round_off, gap) & self.done

    def of(self, method: int, request: int) -> Indices:
        """The rows of a method and a request."""
        return np.flatnonzero((self.method == method) & (self.request == request))

    def best_gaps(self, request: int) -> Vector:
        """The gap between the best answer and the best bound of each block, shape (blocks,); NaN without an answer."""
        rows = np.flatnonzero((self.request == request) & self.done)
        gap = np.full(len(self.blocks), np.nan)
        # The gap grows with the objective, so that the smallest of a block's gaps is that of its best answer.
        np.fmin.at(gap, self.block[rows], self.gap[rows])
        return gap

    def at_blocks(self, rows: Indices, values: Vector, missing: float) -> Vector:
        """``values`` of ``rows``, laid out over all blocks, shape (blocks,); ``missing`` where there is no row."""
        laid = np.full(len(self.blocks), missing)
        laid[self.block[rows]] = values[rows]
        return laid
