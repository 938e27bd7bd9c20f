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
    """Why a method stopped: the words of Pyomo's solver interface, and one for the user's ``progress`` callback."""

    CONVERGED = "convergenceCriteriaSatisfied"
    """The method came to its own end: its criterion is met, or it has nothing more to try."""

    TIME_LIMIT = "maxTimeLimit"
    """The time limit was reached."""

    ITERATION_LIMIT = "iterationLimit"
    """A limit on iterations or nodes was reached."""

    INTERRUPTED = "interrupted"
    """The user interrupted the run."""

    STOPPED = "stoppedByProgress"
    """The user's ``progress`` callback asked the method to stop."""

    @classmethod
    def named(cls, word: str) -> TerminationCondition | None:
        """The condition that Pyomo calls ``word``; None for all other words of Pyomo, which leave no usable answer."""
        return cls(word) if word in set(cls) else None


class SolutionStatus(StrEnum):
    """What is known about the answer: it is proven optimal, or it is feasible."""

    OPTIMAL = "optimal"
    """Proven: the gap between the objective and its lower bound is within the tolerance."""

    FEASIBLE = "feasible"
    """The mask lies in the pattern; nothing proves it optimal to the tolerance."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the ``run`` function of a method returns.

    It holds no objective: objectives are computed from the mask, by the same code for all methods
    (``cbs_opt.kernel.judge``).

    Parameters
    ----------
    mask : boolean array, shape (n,)
        1 keeps the weight, 0 prunes it; the mask lies in the pattern Z.
    bound : float
        A proven lower bound on the optimum of the problem that the method solves (joint or selection); −inf if it
        proves none.
    termination : TerminationCondition
        Why the method stopped.
    nodes : int
        Nodes of a tree search, 0 for other methods.
    notes : tuple of str
        Everything that was altered or cut short, one sentence each.
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
        The name of the problem.
    method : str
        The name of the method that chose the mask.
    mask : boolean array, shape (n,)
        1 keeps the weight, 0 prunes it.
    weights : array, shape (n,)
        The weights after the OBS update on the mask; zero where the mask prunes.
    objective : float
        f(weights), with the factor ½: the objective of the joint problem (CBS).
    selection_objective : float
        f(mask ∘ w̄), without the update: the objective of the selection problem (CBS-S).
    bound, selection_bound : float
        Proven lower bounds on the optima of the two problems; −inf where there is none. A bound on the joint problem is
        also one on the selection problem, but not the other way round.
    termination_condition : TerminationCondition
        Why the method stopped.
    solution_status : SolutionStatus
        Whether the answer is proven optimal.
    round_off, selection_round_off : float
        How far rounding may have put the two objectives off, in the units of the objective. The first also includes how
        far f(weights) may lie above the least f on the mask.
    seconds : float
        Wall time of the solve, without start-up and compilation where they can be told apart.
    nodes : int
        Nodes of a tree search, or rounds of a method that works in rounds; 0 for all other methods.
    notes : tuple of str
        Everything that was altered or cut short, as damping, symmetrisation or a limit; one sentence each.
    options : mapping
        The options that the method was run with.
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
        """The relative gap (objective − bound) / |objective| of the joint problem; inf without a bound."""
        return relative_gap(self.objective, self.bound, self.round_off)

    @property
    def selection_gap(self) -> float:
        """The relative gap of the selection problem, between its objective and its bound; inf without a bound."""
        return relative_gap(self.selection_objective, self.selection_bound, self.selection_round_off)

    def to_dict(self) -> dict[str, Any]:
        """All fields and both gaps as plain data for JSON; an unknown bound or gap is None."""
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
    """The relative gap (objective − bound)/|objective|; inf without a bound, 0 where the two are equal.

    Parameters
    ----------
    objective, bound : float
        A feasible value and a proven lower bound of the same problem.
    round_off : float
        How far rounding may have put the objective off, see ``PruningProblem.round_off``. The gap is 0 where the bound
        lies above the objective by no more than this, or below an objective of exactly 0 by no more than this; no other
        gap is closed by it.

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
