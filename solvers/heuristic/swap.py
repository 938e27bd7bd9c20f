"""1-swap: a local search on the joint objective that exchanges one kept unit for one pruned unit, the best pair first.

A unit is what the pattern keeps or prunes together: a group of weights, or else a single weight. The change of the
objective by the exchange is computed for all pairs (``swap_state``). The best pair is exchanged and everything computed
afresh, until no exchange helps; before each exchange, whatever the pattern still has room for is kept as well. An
exchange is made only if the value evaluated at the new mask is smaller. Since that value depends on the mask alone and
falls with every step, round-off cannot make the search go round in circles. The pattern is only asked whether it
contains a mask, for one pair after the other, the best first. Layers of rows, and quotas, are searched by ``row_swap``
instead.

The classical exchange step of best-subset selection (Miller, Subset Selection in Regression, 2002, §3.9); on pruning,
Benbaki et al., CHITA, ICML 2023, run a block form of it on the selection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import singledispatch
from typing import Any

import numpy as np

from cbs_opt.kernel.arrays.types import Mask, Matrix, Vector
from cbs_opt.kernel.curvature import Curvature, RowsCurvature
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Outcome
from cbs_opt.solvers.forms.unit_parts import Places, parts_of, pieces_of, undecided
from cbs_opt.solvers.heuristic.greedy_obs import prune_in_sequence
from cbs_opt.solvers.heuristic.row_swap import improve_rows, operations_of_search
from cbs_opt.solvers.heuristic.start import filled, grown
from cbs_opt.solvers.heuristic.swap_state import Exchanges, State, exchanges_of

LEAST_DECREASE = 1e-12
"""Relative decrease of the value below which an exchange is round-off."""


def run(problem: PruningProblem, *, start: Any = None, device: str = "cpu") -> Outcome:
    """Exchange pairs of weights or units until no exchange lowers the joint objective.

    Parameters
    ----------
    start : boolean array, shape (n,), or Solution, optional
        A mask in Z to start from. Left out, the search starts from the greedy OBS mask; on a layer of rows and under
        quotas it starts from the mask of ``admm``, and unless the layer is large from the greedy OBS mask as well. A
        mask that keeps fewer weights than Z allows is filled up with the largest.
    device : str
        Where the rows of a layer are searched: 'cpu' or 'cuda'. A dense problem is searched on the CPU.

    Raises
    ------
    PatternError
        ``start`` is not in Z.
    """
    mask = None if start is None else filled(problem, start)
    return Outcome(improved_mask(problem.curvature, problem, mask, device))


@singledispatch
def improved_mask(curvature: Curvature, problem: PruningProblem, start: Mask | None, device: str) -> Mask:
    """A mask of ``problem`` that no exchange improves, searched from ``start``; the first argument is its curvature."""
    pattern = problem.Z.labelled
    if pattern is not None and not pattern.single:
        return improve_rows(problem, start, device)
    return _whole(problem, start)


@improved_mask.register
def _row_by_row(curvature: RowsCurvature, problem: PruningProblem, start: Mask | None, device: str) -> Mask:
    return _whole(problem, start) if problem.Z.labelled is None else improve_rows(problem, start, device)


def _whole(problem: PruningProblem, start: Mask | None) -> Mask:
    """``improve`` on all weights of the problem, from ``start`` or from the greedy OBS mask."""
    pieces, center = pieces_of(problem.curvature), problem.minimizer()
    mask = prune_in_sequence(pieces, center, problem.Z) if start is None else start
    return improve(pieces, center, mask, problem.Z)


def improve(pieces: Sequence[tuple[int, Matrix]], center: Vector, mask: Mask, pattern: Pattern) -> Mask:
    """A mask in the pattern, no worse than ``mask``, that no exchange of two units inside the pattern improves.

    Parameters
    ----------
    pieces : sequence of (rows, H)
        The blocks of the curvature as ``unit_parts.pieces_of`` returns them; [(1, H)] for a dense H.
    center : array, shape (n,)
        The unconstrained minimizer H⁻¹b.
    mask : boolean array, shape (n,)
        The start (1 keeps), in the pattern. Where it keeps one weight of a unit, the whole unit is kept.
    pattern : Pattern
        The pattern Z.
    """
    return exchanged(pieces, center, mask, undecided(pattern, np.ones(len(mask), dtype=np.bool_)), pattern.contains)


def exchanged(
    pieces: Sequence[tuple[int, Matrix]],
    center: Vector,
    mask: Mask,
    units: Places,
    contains: Callable[[Mask], bool],
) -> Mask:
    """As ``improve``, for units as ``unit_parts.undecided`` returns them; ``contains`` says which masks are allowed."""
    mask = mask | ((units >= 0) & np.isin(units, units[mask]))
    parts = parts_of(pieces, center, units)
    states = [State.at(part, mask[part.weights[0]]) for part in parts]
    while True:
        found = exchanges_of(states)
        trial = _with_more(mask, units, found, contains)
        if (trial == mask).all():
            following_mask = _best_exchange(mask, units, found, contains, _value(states))
            if following_mask is None:
                return mask
            trial = following_mask
        following = [
            state
            if (trial[state.part.weights[0]] == state.z).all()
            else State.at(state.part, trial[state.part.weights[0]])
            for state in states
        ]
        if not _value(following) < (1.0 - LEAST_DECREASE) * _value(states) and not (trial >= mask).all():
            return mask
        mask, states = trial, following


def _value(states: Sequence[State]) -> float:
    """The optimal value on the mask of all parts together."""
    return sum(state.value for state in states)


def _with_more(mask: Mask, units: Places, found: Exchanges, contains: Callable[[Mask], bool]) -> Mask:
    """``mask`` with every unit kept that the pattern still has room for, those that gain most first."""
    order = found.entering[np.argsort(-found.gain, kind="stable")]
    return grown(contains, mask, (np.flatnonzero(units == unit) for unit in order))


def _best_exchange(
    mask: Mask, units: Places, found: Exchanges, contains: Callable[[Mask], bool], value: float
) -> Mask | None:
    """The mask after the allowed exchange that lowers ``value`` most; None where no allowed exchange lowers it."""
    promising = np.flatnonzero(found.change < -LEAST_DECREASE * value)
    for pair in promising[np.argsort(found.change.ravel()[promising], kind="stable")]:
        i, j = divmod(int(pair), len(found.entering))
        trial = mask & (units != found.leaving[i]) | (units == found.entering[j])
        if contains(trial):
            return trial
    return None


SPEC = MethodSpec(
    name="swap",
    run=run,
    summary="exchange pairs of weights (or units) on the joint objective, the best first, until none helps",
    exact=False,
    objective=Objective.JOINT,
    reference="Miller, Subset Selection in Regression, 2002",
    patterns=(Pattern,),
    operations=operations_of_search,
)
