"""The answers that a store has for the blocks of a manifest: which one to take, and checks of it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from cbs_opt.blocks.manifest import Manifest, ManifestBlock
from cbs_opt.errors import InputError
from cbs_opt.kernel.asked import Asked
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import BOUND_ROUND_OFF
from cbs_opt.network.targets import Target
from cbs_opt.store import Result, Store


class _Answers:
    """The answers in a store, of which one is taken for each block."""

    def __init__(self, store: Store, plan: Manifest, asked: Asked, method: str | None) -> None:
        self._store, self._plan, self._asked, self._method = store, plan, asked, method
        if method is not None and method not in store.methods():
            has = ", ".join(store.methods()) or "none"
            raise InputError(f"{store.path}: holds no results of the method {method}; it has {has}")

    def of(self, block: ManifestBlock) -> tuple[Result | None, list[Result], str]:
        """The answer to take for a block, the answers of all methods, and why there is none to take.

        The first is None where there is none; the last is empty where there is one.
        """
        known = self._store.block(block.content)
        if known is None:
            return None, [], "not run"
        if known.tensor is not None and known.tensor != block.tensor:
            raise InputError(
                f"{self._store.path}: holds {block.file} as a block of {known.tensor}, but the manifest "
                f"as one of {block.tensor}; these do not belong together"
            )
        found = list(self._store.results(block=known.id, asked=str(self._asked), arrays=True))
        done = [result for result in found if result.done]
        mine = [result for result in done if self._method in (None, result.method)]
        if not mine:
            failed = [result for result in found if self._method in (None, result.method)]
            return None, done, failed[-1].reason or "failed" if failed else "not run"
        return min(mine, key=lambda result: (_objective(result), result.method)), done, ""

    @property
    def asked(self) -> Asked:
        """What was asked of the blocks."""
        return self._asked


def _checked(problem: PruningProblem, answer: Result, asked: Asked, file: Path) -> tuple[float, float]:
    """The objective of an answer and its round-off, computed from its weights; an error where the answer is not valid.

    It has to have a mask of the pattern, weights that fit it, and the objective that the store says.
    """
    what = f"{file}: the result of {answer.method} for {asked}"
    mask, weights = answer.mask, answer.weights
    if mask is None or weights is None or len(mask) != problem.n or len(weights) != problem.n:
        raise InputError(f"{what} has no mask and weights of its {problem.n} weights; solve the block again")
    if not np.isfinite(weights).all() or np.any(weights[~mask]):
        raise InputError(
            f"{what} has weights that are not finite, or not zero where its mask prunes; solve the block again"
        )
    if not asked.of(problem).Z.contains(mask):
        raise InputError(
            f"{what} has a mask that is not what was asked for ({problem.n - int(mask.sum())} of "
            f"{problem.n} pruned); solve the block again"
        )
    objective, round_off = problem.objective(weights), problem.round_off(weights)
    if not abs(objective - _objective(answer)) <= BOUND_ROUND_OFF * abs(objective) + 2 * round_off:
        raise InputError(
            f"{what} is stored with the objective {_objective(answer):.9g}, but its weights have "
            f"{objective:.9g}; the store is damaged, or of other blocks"
        )
    return objective, round_off


def _objective(result: Result) -> float:
    return math.inf if result.objective is None else result.objective


def _wanted(store: Store, plan: Manifest, asked: str | None) -> Asked:
    """The request whose answers are taken: ``asked``, or the only one that the store has."""
    there = store.asked()
    if asked is not None:
        wanted = Asked.parse(asked)
        if str(wanted) not in there:
            has = ", ".join(there) or "nothing"
            raise InputError(f"{store.path}: holds no results for {wanted}; it has {has}")
        return wanted
    if len(there) != 1:
        if not there:
            raise InputError(
                f"{store.path}: holds no results yet; run `cbs-opt batch {plan.file} --store {store.path}`"
            )
        raise InputError(
            f"{store.path}: holds results for {', '.join(there)}; say which to take: --sparsity R, "
            "--prune K or --pattern P"
        )
    return Asked.parse(there[0])


def _check_groups(plan: Manifest, targets: list[Target], asked: Asked) -> None:
    """Raise an error where groups, rows or columns of a block would not be those of its layer."""
    if not asked.terms:
        return
    inputs = {target.tensor: target.inputs for target in targets}
    for block in plan.blocks:
        row = inputs[block.tensor]
        start = block.first % row
        for term in asked.terms:
            straddles = start % term.of or (start + block.n > row and row % term.of)
            # Terms across the rows of a layer cannot be checked: a manifest does not say how many rows a block has, and
            # a block of one row has no whole columns.
            if straddles or term.across or (term.whole_rows and (start or block.n != row)):
                raise InputError(
                    f"{plan.path(block)}: {term.groups} in this block are not those of the rows of "
                    f"{block.tensor}, {row} weights each, so that its mask would not be {asked.value}; cut "
                    "the network into rows, or leave this layer out (answers for the same blocks stay good)"
                )
