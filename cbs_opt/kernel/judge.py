"""From a mask and a bound to a ``Solution``: the only place where objectives and statuses are computed.

``evaluate`` re-tunes the weights on a mask and computes f in float64, without and with the update. Every number that is
shown of a mask, whether a method or another tool chose it, comes from here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cbs_opt.errors import BoundViolationError
from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.method import Objective
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import (
    GAP_TOLERANCE,
    Outcome,
    Solution,
    SolutionStatus,
    TerminationCondition,
    relative_gap,
)
from cbs_opt.kernel.update import obs_update
from cbs_opt.kernel.update_error import update_excess


@dataclass(frozen=True)
class Loss:
    """f at some weights, evaluated in float64, and how far rounding may have put it off."""

    value: float
    round_off: float

    @classmethod
    def of(cls, problem: PruningProblem, w: Vector) -> Loss:
        """f(w) for ``w`` of shape (n,)."""
        return cls(problem.objective(w), problem.round_off(w))

    def gap(self, bound: float) -> float:
        """(f − bound)/|f|; inf without a bound.

        Raises
        ------
        BoundViolationError
            The bound lies above f by more than round-off.
        """
        return relative_gap(self.value, bound, self.round_off)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A mask with its re-tuned weights, and the loss without and with re-tuning.

    Parameters
    ----------
    mask : boolean array, shape (n,)
        1 keeps.
    weights : array, shape (n,)
        The weights after the OBS update on the mask.
    updated, as_trained : Loss
        The loss with these weights (CBS), and with the kept weights as trained (CBS-S).
    """

    mask: Mask
    weights: Vector
    updated: Loss
    as_trained: Loss


def evaluate(problem: PruningProblem, mask: Mask) -> Evaluation:
    """Re-tune the weights on ``mask``, shape (n,), and compute f without and with the update.

    Raises
    ------
    NotPositiveDefiniteError
        The curvature of the kept weights has no Cholesky factor, as for ``obs_update``.
    """
    weights = obs_update(problem, mask)
    as_trained = np.where(mask, problem.w_bar, 0.0)
    return Evaluation(mask, weights, Loss.of(problem, weights), Loss.of(problem, as_trained))


def judge(
    problem: PruningProblem,
    method: str,
    outcome: Outcome,
    objective: Objective,
    *,
    seconds: float = 0.0,
    tolerance: float = GAP_TOLERANCE,
    notes: tuple[str, ...] = (),
    options: Mapping[str, Any] | None = None,
) -> Solution:
    """Update the weights on the outcome's mask, evaluate f in float64, and derive the status.

    Parameters
    ----------
    problem : PruningProblem
        The problem that was solved.
    method : str
        The name of the method, for the result and for messages.
    outcome : Outcome
        What the method returned.
    objective : Objective
        The problem, joint or selection, that ``outcome.bound`` is a bound on.
    seconds : float
        Wall time of the solve.
    tolerance : float
        Relative gap up to which an answer is called optimal.
    notes : tuple of str
        The notes of the result.
    options : mapping, optional
        The options that the method was run with.

    Raises
    ------
    BoundViolationError
        The bound lies above the objective that it should bound from below, by more than round-off, or is NaN.
    """
    bound = float(outcome.bound)
    if math.isnan(bound):
        raise BoundViolationError(f"method {method}: its bound is not a number; please report the block")
    found = evaluate(problem, outcome.mask)
    joint = objective is Objective.JOINT
    judged = found.updated if joint else found.as_trained
    # f(weights) may lie above the least f on the mask by ``left``. That excuses no bound that is too high, but it is
    # counted as doubt before the answer is called optimal.
    left = update_excess(problem, outcome.mask, found.weights)
    doubt = judged.round_off + (left if joint else 0.0)
    # An objective that is itself not known to the tolerance cannot be proven optimal to it.
    known = doubt <= tolerance * abs(judged.value) or judged.value == bound
    proven = judged.gap(bound) <= tolerance and outcome.termination is TerminationCondition.CONVERGED and known
    return Solution(
        name=problem.name,
        method=method,
        mask=outcome.mask,
        weights=found.weights,
        objective=found.updated.value,
        selection_objective=found.as_trained.value,
        bound=bound if joint else -math.inf,
        # A mask with its weights as trained is feasible for the joint problem, so its bound serves both.
        selection_bound=bound,
        termination_condition=outcome.termination,
        solution_status=SolutionStatus.OPTIMAL if proven else SolutionStatus.FEASIBLE,
        seconds=seconds,
        round_off=found.updated.round_off + left,
        selection_round_off=found.as_trained.round_off,
        nodes=outcome.nodes,
        notes=notes,
        options=options or {},
    )
