"""What a method returns, and what a user gets: incumbent and bound side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from cbs_opt.errors import BoundViolationError
from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.display import Card, Displayed
from cbs_opt.kernel.words import counted, duration, plain_number
from cbs_opt.kernel.words import gap as gap_in_words

GAP_TOLERANCE = 1e-6
"""Default relative gap at which an exact method may stop and call its incumbent optimal."""

BOUND_ROUND_OFF = 1e-9
"""Relative excess of a bound over an objective that two float64 evaluations may show."""


class TerminationCondition(StrEnum):
    """Why a method stopped: the words of Pyomo's solver interface, and one for a user's own callback."""

    CONVERGED = "convergenceCriteriaSatisfied"
    TIME_LIMIT = "maxTimeLimit"
    ITERATION_LIMIT = "iterationLimit"
    INTERRUPTED = "interrupted"
    STOPPED = "stoppedByProgress"

    @classmethod
    def named(cls, word: str) -> TerminationCondition | None:
        """The condition Pyomo calls ``word``; None for one that leaves no answer that can be used."""
        return cls(word) if word in set(cls) else None


class SolutionStatus(StrEnum):
    """What the user holds. ``OPTIMAL`` only ever with a proof: incumbent and bound within the gap."""

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a method hands back. It reports no objective: that is computed from the mask, in one place.

    Parameters
    ----------
    mask : boolean array, shape (n,)
        1 keeps. In Z.
    bound : float
        A proven lower bound on the problem the method is about (joint or selection); −inf: none.
    termination : TerminationCondition
        Why it stopped.
    nodes : int
        Nodes of a tree search, 0 for other methods.
    notes : tuple of str
        Whatever was altered or cut short.
    """

    mask: Mask
    bound: float = -math.inf
    termination: TerminationCondition = TerminationCondition.CONVERGED
    nodes: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class Solution(Displayed):
    """A mask, its re-tuned weights, and what is proven about them.

    Parameters
    ----------
    name : str
        Of the problem.
    method : str
        What chose the mask.
    mask : boolean array, shape (n,)
        1 keeps.
    weights : array, shape (n,)
        After the OBS update on the mask.
    objective : float
        f(weights), with the ½: the joint problem (CBS).
    selection_objective : float
        f(mask ∘ w̄), without the update: the selection problem (CBS-S).
    bound, selection_bound : float
        Proven lower bounds on the two; −inf where there is none. (A bound on the joint problem also
        bounds the selection problem, not the other way round.)
    termination_condition : TerminationCondition
        Why the method stopped.
    solution_status : SolutionStatus
        What is held.
    round_off, selection_round_off : float
        What float64 may have got wrong in the two objectives; of the first, also how far the updated weights may lie
        above the best on their mask.
    seconds : float
        Wall time of the solve; start-up and compilation excluded where they can be told apart.
    nodes : int
        Of the search, or rounds; 0 where there are none.
    notes : tuple of str
        Everything altered or cut short: damping, symmetrisation, limits.
    options : mapping
        The options the method was run with.
    """

    name: str
    method: str
    mask: Mask
    weights: Vector
    objective: float
    selection_objective: float
    bound: float
    selection_bound: float
    termination_condition: TerminationCondition
    solution_status: SolutionStatus
    seconds: float
    round_off: float = 0.0
    selection_round_off: float = 0.0
    nodes: int = 0
    notes: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Number of weights."""
        return len(self.mask)

    @property
    def pruned(self) -> int:
        """Number of zeros in the mask."""
        return int(self.n - self.mask.sum())

    @property
    def gap(self) -> float:
        """(objective − bound) / |objective| of the joint problem; inf without a bound."""
        return relative_gap(self.objective, self.bound, self.round_off)

    @property
    def selection_gap(self) -> float:
        """The same of the selection problem."""
        return relative_gap(self.selection_objective, self.selection_bound, self.selection_round_off)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is unknown is None."""
        return {
            "name": self.name,
            "method": self.method,
            "n": self.n,
            "pruned": self.pruned,
            "solution_status": str(self.solution_status),
            "termination_condition": str(self.termination_condition),
            "objective": self.objective,
            "bound": finite_or_none(self.bound),
            "gap": finite_or_none(self.gap),
            "selection_objective": self.selection_objective,
            "selection_bound": finite_or_none(self.selection_bound),
            "selection_gap": finite_or_none(self.selection_gap),
            "seconds": self.seconds,
            "nodes": self.nodes,
            "kept": np.flatnonzero(self.mask).tolist(),
            "weights": self.weights.tolist(),
            "notes": list(self.notes),
            "options": dict(self.options),
        }

    def _card(self) -> Card:
        answer = "optimal, proven" if self.solution_status is SolutionStatus.OPTIMAL else "feasible"
        if self.termination_condition is not TerminationCondition.CONVERGED:
            answer += f" ({self.termination_condition})"
        facts = {
            "loss, weights as trained": plain_number(self.selection_objective),
            "loss, weights re-tuned": plain_number(self.objective),
        }
        if self.bound > -math.inf:
            facts["proven lower bound"] = f"{plain_number(self.bound)} (gap {gap_in_words(self.gap)})"
        elif self.selection_bound > -math.inf:
            gap = gap_in_words(self.selection_gap)
            facts["bound on the selection"] = f"{plain_number(self.selection_bound)} (gap {gap})"
        else:
            facts["proven lower bound"] = "none by this method; compare or lower_bound proves one"
        facts["time"] = duration(self.seconds) + (f", {counted(self.nodes, 'node')}" if self.nodes else "")
        name = f"{self.name}: " if self.name else ""
        title = f"{name}{self.method} pruned {self.pruned:,} of {self.n:,} weights, loss {plain_number(self.objective)}"
        return Card(f"{title}, {answer}", facts, notes=self.notes)


def relative_gap(objective: float, bound: float, round_off: float = 0.0) -> float:
    """(objective − bound)/|objective|; inf without a bound, 0 where they are equal.

    Parameters
    ----------
    round_off : float
        What the evaluation of the objective can be wrong by, see ``PruningProblem.round_off``. It excuses a
        bound that lies above the objective by less, or below an objective of exactly 0; it closes no other gap.

    Raises
    ------
    BoundViolationError
        The bound exceeds the objective by more than round-off: one of them is wrong.
    """
    if bound == -math.inf:
        return math.inf
    if bound - objective > BOUND_ROUND_OFF * abs(objective) + round_off:
        raise BoundViolationError(
            f"a proven bound of {bound:.9g} lies above a feasible objective of {objective:.9g}; "
            "this is a bug in the bound, please report the block"
        )
    if objective <= bound:
        return 0.0
    if objective == 0:
        return 0.0 if -bound <= round_off else math.inf
    return (objective - bound) / abs(objective)


def finite_or_none(value: float) -> float | None:
    """``value``, or None where JSON has no number for it."""
    return value if math.isfinite(value) else None
