"""Finds broken bounds: 'proven' bounds that lie above an answer of any method to the same problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.result import GAP_TOLERANCE
from cbs_opt.report.measures.bounds import best_bounds, broken
from cbs_opt.report.records import Records


@dataclass(frozen=True)
class BrokenBound:
    """A bound that is called proven and cannot hold.

    On ``block``, for the request ``asked``, the method ``prover`` claims that no objective is below ``bound``, but
    ``method`` has an answer with a lower ``objective``. ``problem`` says which of the two problems this is about:
    'joint' (mask and weights) or 'selection' (weights as trained).
    """

    block: str
    asked: str
    problem: str
    prover: str
    bound: float
    method: str
    objective: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return dict(self.__dict__)

    def sentence(self) -> str:
        """The finding in one line."""
        who = "itself" if self.method == self.prover else self.method
        return (
            f"{self.block} at {self.asked}: the {self.problem} bound {self.bound:.9g} of {self.prover} lies above the "
            f"objective {self.objective:.9g} of {who}"
        )


def broken_bounds(records: Records) -> tuple[BrokenBound, ...]:
    """One entry for each answer that lies below the best bound on its problem, those of the joint problem first."""
    # A bound on the joint problem is one on the selection problem, too, whose answers are feasible for the joint one.
    joint = np.where(records.done, records.bound, -np.inf)
    selection = np.maximum(joint, np.where(records.done, records.selection_bound, -np.inf))
    return (
        *_of(records, "joint", records.objective, joint, records.broken),
        *_of(records, "selection", records.selection_objective, selection, None),
    )


def _of(
    records: Records, problem: str, objective: Vector, bound: Vector, found: Mask | None
) -> tuple[BrokenBound, ...]:
    if found is None:
        best = best_bounds(records.problem, bound, records.problems)[records.problem]
        # The store has no round-off of the selection objective; the tolerance of proofs is added in its place.
        found = broken(objective, best, records.round_off + GAP_TOLERANCE * np.abs(objective)) & ~records.broken
    rows = np.flatnonzero(found)
    if not len(rows):
        return ()
    affected = np.flatnonzero(np.isin(records.problem, records.problem[rows]))
    prover: dict[int, int] = {}
    for row in affected[np.argsort(bound[affected], kind="stable")]:
        prover[int(records.problem[row])] = int(row)
    lines = []
    for row in rows:
        by = prover[int(records.problem[row])]
        lines.append(
            BrokenBound(
                block=records.blocks.name[records.block[row]],
                asked=records.asked[records.request[row]],
                problem=problem,
                prover=records.methods[records.method[by]],
                bound=float(bound[by]),
                method=records.methods[records.method[row]],
                objective=float(objective[row]),
            )
        )
    return tuple(lines)
