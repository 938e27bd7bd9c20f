"""Iterative hard thresholding with an exact solve on every support, for H = AᵀA + λI that is never formed.

On a re-tuned support S the gradient r of f vanishes. A gradient step from there and the projection on Z,

    z⁺ = argmax_{z∈Z} Σ z_i v_i²,    v = w − η r = w_S + ηλ ω_P,    η ≤ 1/λ,

choose the next support (ω as in ``block_swap_support``), which is re-tuned exactly. Where the pattern keeps weights
together, the score of a unit is not its sum of squares but what pruning it costs with the others re-tuned, or, for a
pruned unit, (ηλ)² times what keeping it gains (``Supports.joint_scores``). η is halved until f falls and doubled after
a success. The search ends when the support stays the same, or f hardly falls, or η becomes too small. Blumensath &
Davies, Iterative hard thresholding for compressed sensing, 2009; with the solve on the support: Foucart, Hard
thresholding pursuit, SIAM Journal on Numerical Analysis 49, 2011; on pruning: Benbaki et al., CHITA, ICML 2023.
"""

from __future__ import annotations

from typing import Any

from cbs_opt.kernel.curvature import FactorCurvature
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Outcome
from cbs_opt.solvers.heuristic.block_swap import first_support
from cbs_opt.solvers.heuristic.block_swap_support import Support, Supports
from cbs_opt.solvers.heuristic.unit_scores import has_larger_units, on_first, places_by_size

SHORTEST = 0.05
"""The smallest ηλ that is tried."""

LEAST_DECREASE = 1e-3
"""Relative decrease of the value below which the iteration has converged."""


def run(problem: PruningProblem, *, start: Any = None, iterations: int = 100, device: str = "cpu") -> Outcome:
    """Threshold and re-tune until the joint objective no longer falls.

    Parameters
    ----------
    start : boolean array, shape (n,), or Solution, optional
        A mask in Z to start from; the magnitude mask when left out. A mask that keeps fewer weights than Z allows is
        filled up with the largest weights.
    iterations : int
        Number of supports that are tried at the most.
    device : str
        Where the search runs: 'cpu' or 'cuda'.

    Raises
    ------
    NotPositiveDefiniteError
        The damping is lost in the round-off of AAᵀ.
    PatternError
        ``start`` is not in Z.
    """
    supports, support = first_support(problem, start, device)
    return Outcome(threshold(problem, supports, support, iterations).mask)


def threshold(problem: PruningProblem, supports: Supports, support: Support, iterations: int) -> Support:
    """The support at which the iteration from ``support`` ends."""
    reach = 1.0
    places = places_by_size(problem.curvature, problem.Z) if has_larger_units(problem.Z) else None
    for _ in range(iterations):
        if places is None:
            scores = supports.scores(support, reach)
        else:
            scores = on_first(problem.Z, supports.joint_scores(support, places, reach))
        mask = problem.Z.argmax(scores)
        if (mask == support.mask).all():
            break
        trial = supports.at(mask, support)
        if trial is not None and trial.value < support.value:
            slow = support.value - trial.value < LEAST_DECREASE * abs(support.value)
            support, reach = trial, min(1.0, 2.0 * reach)
            if slow:
                break
        else:
            reach *= 0.5
            if reach < SHORTEST:
                break
    return support


SPEC = MethodSpec(
    name="iht",
    run=run,
    summary="iterative hard thresholding with the exact solve on each support, H never formed",
    exact=False,
    objective=Objective.JOINT,
    reference="Benbaki et al., CHITA, ICML 2023",
    patterns=(Pattern,),
    curvatures=(FactorCurvature,),
    requires=("torch",),
    left_out_because="made for layers and whole networks",
)
