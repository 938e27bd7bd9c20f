"""The laws of a method: its result is compared with enumeration, and with its result on the same problem restated."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from cbs_opt.errors import BoundViolationError, InputError
from cbs_opt.evaluation.catalogue import method as method_named
from cbs_opt.evaluation.solve import solve
from cbs_opt.kernel.arrays.types import Mask
from cbs_opt.kernel.method import Objective
from cbs_opt.kernel.patterns import Cardinality
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Solution, SolutionStatus
from cbs_opt.kernel.update import obs_update
from cbs_opt.testing.instances import best_by_enumeration, best_selection_by_enumeration, plain_problem, random_problem
from cbs_opt.testing.laws import list_of, require, require_few

OPTIMAL = 2e-6
"""Relative excess over the optimum at which an answer may still be called optimal: twice the default gap."""


def check_method(name: str, seeds: Iterable[int] = range(10)) -> None:
    """Check all laws of the method called ``name`` on two random instances for each seed.

    ``cbs_opt.register`` makes a method of your own known. The instances have at most 10 weights and a cardinality as
    pattern. One of the two is well-conditioned and gets all laws; the other is awkward, with ties or a nearly singular
    H, and gets only the first law, bound ≤ optimum ≤ objective. A method with an option ``seed`` may depend on the
    order of the weights, and only an exact method has to find that pruning more costs more.

    Parameters
    ----------
    name : str
        The name of a registered method.
    seeds : iterable of int
        The seeds of the instances.

    Raises
    ------
    AssertionError
        A law is broken.
    CbsOptError
        The method cannot take a dense curvature with a cardinality. Then check the laws one by one, on problems that it
        takes.
    """
    spec = method_named(name)
    for seed in seeds:
        awkward, plain = random_problem(seed, max_n=8), plain_problem(seed)
        if awkward is not None:
            bound_optimum_objective(awkward, name)
        bound_optimum_objective(plain, name)
        same_seed_same_mask(plain, name, seed)
        units_do_not_matter(plain, name, 1e-10, 1e6)
        units_do_not_matter(plain, name, 1e10, 1e-6)
        if "seed" not in spec.options:
            order_does_not_matter(plain, name, seed)
        if spec.exact:
            pruning_more_costs_more(plain, name)


def bound_optimum_objective(problem: PruningProblem, name: str) -> Solution:
    """Check that bound ≤ optimum ≤ objective, for the joint and the selection problem, and that 'optimal' is true.

    Parameters
    ----------
    problem : PruningProblem
        With at most 12 weights, since the optimum is found by trying all masks.
    name : str
        The name of a registered method.

    Returns
    -------
    Solution
        What the method found, for further checks.

    Raises
    ------
    AssertionError
        The law is broken.
    CbsOptError
        The method refuses the problem; or its mask is not in the pattern, which is a ``SolverError``.
    """
    law, instance = "bound ≤ optimum ≤ objective", _drawn(problem)
    try:
        found = solve(problem, name)
    except BoundViolationError as error:
        raise AssertionError(f"law '{law}' is broken by {instance}: {error}") from error
    about = method_named(name).objective
    for what, (optimum, unknown) in _optima(problem).items():
        bound, objective, round_off = _judged(found, what)
        said = f"{name}, {what}: bound {bound:.12g}, optimum {optimum:.12g}, objective {objective:.12g}"
        allowed = unknown + 1e-12 * abs(optimum)
        require(bound <= optimum + allowed, law, instance, said)
        require(objective >= optimum - allowed - round_off, law, instance, said)
        if what is about and found.solution_status is SolutionStatus.OPTIMAL:
            excess = objective - optimum
            require(excess <= OPTIMAL * abs(optimum) + allowed + round_off, law, instance, f"{said}, called optimal")
    return found


@lru_cache(maxsize=16)
def _optima(problem: PruningProblem) -> dict[Objective, tuple[float, float]]:
    """The optima of the joint and the selection problem, each with how far its evaluation may be off."""
    require_few(problem.n)
    joint, selection = best_by_enumeration(problem), best_selection_by_enumeration(problem)
    return {Objective.JOINT: joint, Objective.SELECTION: selection}


def _judged(found: Solution, what: Objective) -> tuple[float, float, float]:
    """Bound, objective and round-off of the joint or the selection problem, whichever ``what`` names."""
    if what is Objective.JOINT:
        return found.bound, found.objective, found.round_off
    return found.selection_bound, found.selection_objective, found.selection_round_off


def same_seed_same_mask(problem: PruningProblem, name: str, seed: int = 0) -> None:
    """Check that a run that is repeated with the same seed returns the same mask."""
    one, other = (solve(problem, name, seed=seed).mask for _ in range(2))
    said = f"{name}, seed {seed}: {list_of(one)} and {list_of(other)}"
    require(np.array_equal(one, other), "same seed, same mask", _drawn(problem), said)


def units_do_not_matter(problem: PruningProblem, name: str, curvature_unit: float, weight_unit: float) -> None:
    """Check that H·``curvature_unit`` and w̄·``weight_unit`` (with g and offset to match) get the same answer.

    Use it on problems without ties.
    """
    H = problem.curvature.dense() * curvature_unit
    g = None if problem.g is None else problem.g * (curvature_unit * weight_unit)
    offset = problem.offset * curvature_unit * weight_unit**2
    scaled = PruningProblem(problem.w_bar * weight_unit, H, problem.pattern, g, offset, problem.name)
    law = f"units do not matter (H·{curvature_unit:g}, w·{weight_unit:g})"
    _same_answer(law, problem, name, solve(problem, name).mask, solve(scaled, name).mask)


def order_does_not_matter(problem: PruningProblem, name: str, seed: int = 0) -> None:
    """Check that the weights in another order, drawn from ``seed``, get the same answer.

    Use it on problems without ties.

    Raises
    ------
    InputError
        The pattern is no ``Cardinality``, the only pattern that allows the weights to be reordered.
    """
    Z = problem.Z
    if not isinstance(Z, Cardinality):
        raise InputError(f"order_does_not_matter: the pattern is a {type(Z).__name__}; a Cardinality is needed")
    order = np.random.default_rng(seed).permutation(problem.n)
    keep, forbid = np.flatnonzero(Z.keep[order]), np.flatnonzero(Z.forbid[order])
    g = None if problem.g is None else problem.g[order]
    pattern = Cardinality(Z.n, Z.prune, keep=keep, forbid=forbid)
    H = problem.curvature.dense()[np.ix_(order, order)]
    shuffled = PruningProblem(problem.w_bar[order], H, pattern, g, problem.offset, problem.name)
    law = f"order does not matter ({list_of(order)})"
    _same_answer(law, problem, name, solve(problem, name).mask[order], solve(shuffled, name).mask)


def pruning_more_costs_more(problem: PruningProblem, name: str) -> None:
    """Check that the objective of an exact method never falls as more weights have to be pruned.

    Heuristics need not obey this law.
    """
    before, about = -np.inf, method_named(name).objective
    for k in range(problem.n + 1):
        _, value, round_off = _judged(solve(problem.pruning(k), name), about)
        said = f"{name} at {k} pruned weights: {value:.12g}, at {k - 1} {before:.12g}"
        not_lower = value >= before - OPTIMAL * abs(before) - round_off if k else True
        require(not_lower, "pruning more costs more", _drawn(problem), said)
        before = value


def _same_answer(law: str, problem: PruningProblem, name: str, one: Mask, other: Mask) -> None:
    """Require the same mask, or from an exact method one as good, since it may stop at any mask within its gap."""
    said = f"{name}: {list_of(one)} and {list_of(other)}"
    same = np.array_equal(one, other)
    if not same and method_named(name).exact:
        value, of_other = (_value(problem, mask, method_named(name).objective) for mask in (one, other))
        same = abs(value - of_other) <= OPTIMAL * abs(value)
        said += f", worth {value:.12g} and {of_other:.12g}"
    require(same, law, _drawn(problem), said)


def _value(problem: PruningProblem, mask: Mask, what: Objective) -> float:
    return problem.objective(obs_update(problem, mask) if what is Objective.JOINT else mask * problem.w_bar)


def _drawn(problem: PruningProblem) -> str:
    return f"{problem.name or 'a problem'} (n = {problem.n}, {problem.pattern})"
