"""Bound and gap of a mask from any tool, on one problem."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from cbs_opt.errors import InputError, PatternError
from cbs_opt.evaluation.catalogue import method
from cbs_opt.evaluation.lower_bound import lower_bound
from cbs_opt.evaluation.solve import solve
from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.arrays.validate import as_array, as_mask
from cbs_opt.kernel.curvature.damping import dominance_note
from cbs_opt.kernel.display import Card, Displayed
from cbs_opt.kernel.judge import Loss, evaluate
from cbs_opt.kernel.patterns import Cardinality, Pattern
from cbs_opt.kernel.problem import PruningProblem, require_problem
from cbs_opt.kernel.result import finite_or_none
from cbs_opt.kernel.words import duration, plain_number
from cbs_opt.kernel.words import gap as gap_in_words

TIME_LIMIT = 10.0
"""Seconds for branch and bound, by default."""
BRANCHING_LIMIT = 200
"""The most weights of a problem whose bound branch and bound tightens."""


@dataclass(frozen=True, repr=False)
class Judgement(Displayed):
    """What is proven about a mask, against every mask with at least as many zeros.

    Parameters
    ----------
    name : str
        Name of the problem.
    n, pruned : int
        How many weights there are, and how many of them the mask prunes.
    selection_objective, objective : float
        f with the kept weights as trained, and after the OBS update.
    given_objective, given_gap : float or None
        f of the weights that came with the mask, and their gap; None if there were none.
    bound : float
        Proven lower bound: at most f(w) for every w with at least ``pruned`` zeros, or, if a pattern was given, for
        every w whose support lies in it.
    bound_method : str
        How the bound was proven: 'bnb', or ``LowerBound.method``.
    gap : float
        (objective − bound)/|objective|, after the update.
    seconds : float
        Wall time of the bound.
    notes : tuple of str
        What has to be known about these numbers, in sentences.
    """

    name: str
    n: int
    pruned: int
    selection_objective: float
    objective: float
    given_objective: float | None
    bound: float
    bound_method: str
    gap: float
    given_gap: float | None
    seconds: float
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is unknown is None."""
        values = dict(self.__dict__, notes=list(self.notes))
        return {key: finite_or_none(v) if isinstance(v, float) else v for key, v in values.items()}

    def _card(self) -> Card:
        name = f"{self.name}: " if self.name else ""
        bound = f"{plain_number(self.bound)} by {self.bound_method}, {duration(self.seconds)}"
        facts = {
            "loss, weights as trained": plain_number(self.selection_objective),
            "loss, weights re-tuned": f"{plain_number(self.objective)} (gap {gap_in_words(self.gap)})",
        }
        if self.given_objective is not None and self.given_gap is not None:
            given = f"{plain_number(self.given_objective)} (gap {gap_in_words(self.given_gap)})"
            facts["loss, weights as given"] = given
        facts["proven lower bound"] = bound
        title = f"{name}a mask that prunes {self.pruned:,} of {self.n:,} weights, gap {gap_in_words(self.gap)}"
        return Card(title, facts, notes=self.notes)


def certify(
    problem: PruningProblem,
    mask: Any,
    weights: Any = None,
    *,
    time_limit: float = TIME_LIMIT,
    bound_time: float | None = None,
    pattern: Pattern | None = None,
) -> Judgement:
    """Bound the best possible loss at the mask's own number of zeros, and judge the mask by it.

    Parameters
    ----------
    problem : PruningProblem
        The problem; its pattern, if it has one, is not used.
    mask : boolean array, shape (n,), or Solution
        1 keeps.
    weights : array, shape (n,), optional
        The pruned weights of the tool that made the mask; they are judged as they are, too.
    time_limit : float
        Seconds for branch and bound, which tightens the bound of problems of up to ``BRANCHING_LIMIT`` weights; 0
        leaves it out.
    bound_time : float, optional
        Seconds for the bound without branching, of which the best found by then is taken (``lower_bound``).
    pattern : Pattern, optional
        The mask is judged against all masks of this pattern, and has to be one of them; left out, it is judged against
        all masks with at least as many zeros.

    Raises
    ------
    InputError
        Mask or weights have the wrong shape or hold NaN, or a weight is not zero where the mask prunes.
    PatternError
        The mask is outside the pattern.
    BoundViolationError
        The bound lies above the loss of this mask: a bug in the bound.
    """
    require_problem(problem)
    z = as_mask(mask, "mask", problem.n)
    given = None if weights is None else _pruned_weights(problem, z, weights)
    problem = problem.within(pattern or Cardinality(problem.n, int(problem.n - z.sum())))
    if not problem.Z.contains(z):
        raise PatternError(f"mask: is outside the pattern ({problem.Z}); judge it by a pattern that it satisfies")
    started = time.perf_counter()
    bound, bound_method = _bound(problem, time_limit, bound_time)
    seconds = time.perf_counter() - started
    found = evaluate(problem, z)
    as_given = None if given is None else Loss.of(problem, given)
    return Judgement(
        name=problem.name,
        n=problem.n,
        pruned=int(problem.n - z.sum()),
        selection_objective=found.as_trained.value,
        objective=found.updated.value,
        given_objective=None if as_given is None else as_given.value,
        bound=bound,
        bound_method=bound_method,
        gap=found.updated.gap(bound),
        given_gap=None if as_given is None else as_given.gap(bound),
        seconds=seconds,
        notes=(*problem.curvature.notes, *dominance_note([problem.curvature.dominance])),
    )


def _bound(problem: PruningProblem, time_limit: float, bound_time: float | None) -> tuple[float, str]:
    if time_limit > 0 and problem.n <= BRANCHING_LIMIT and method("bnb").takes(type(problem.Z)):
        return solve(problem, "bnb", time_limit=time_limit).bound, "bnb"
    bound = lower_bound(problem, time_limit=bound_time)
    return bound.value, bound.method


def _pruned_weights(problem: PruningProblem, z: Mask, weights: Any) -> Vector:
    w = as_array(weights, "weights", 1)
    if len(w) != problem.n:
        raise InputError(f"weights: has {len(w)} entries, but there are {problem.n} weights; they must agree")
    wrong = np.flatnonzero(~z & (w != 0))
    if wrong.size:
        raise InputError(
            f"weights: entry {wrong[0]} is {w[wrong[0]]:.6g}, but the mask prunes it; set it to zero or keep it"
        )
    return w
