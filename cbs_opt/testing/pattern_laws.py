"""The laws of a pattern Z, checked by trying every mask.

``check_pattern`` checks all laws; each can also be checked alone, with scores or masks of your own.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from cbs_opt.errors import PatternError
from cbs_opt.kernel.arrays.types import Mask, Vector, frozen
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.testing.instances import masks_of
from cbs_opt.testing.laws import ROUND_OFF, list_of, require, require_few

if TYPE_CHECKING:
    from pyomo.environ import ConcreteModel

SLACK_OF_MOST = 1e-6
"""How far ``most`` may lie above the score of the oracle's mask, relative to the sum of all scores."""


def check_pattern(pattern: Pattern, seed: int = 0, draws: int = 20) -> None:
    """Check all laws of a pattern, on scores and fixed weights that are drawn at random.

    Parameters
    ----------
    pattern : Pattern
        The pattern, for at most 12 weights, since all masks are tried.
    seed : int
        The seed of the draws.
    draws : int
        How many scores and fixed weights are drawn.

    Raises
    ------
    AssertionError
        A law is broken.
    InputError
        The pattern has more than 12 weights.
    """
    rng = np.random.default_rng(seed)
    free_weights_are_free(pattern)
    pruning_more_never_leaves(pattern)
    units_stay_together(pattern)
    constraints_are_the_pattern(pattern)
    for _ in range(draws):
        # Few values, so that ties are common; or values that never tie.
        few = rng.choice([0.0, 0.5, 1.0, 2.0, 3.5], pattern.n)
        scores = few if rng.random() < 0.7 else rng.exponential(size=pattern.n)
        oracle_is_best(pattern, scores)
        most_is_no_less(pattern, scores)
        most_is_no_less(pattern, scores * 10.0 ** rng.integers(-30, 31))
        most_is_no_less(pattern, scores * 10.0 ** rng.integers(-30, 31, pattern.n))
        flips_are_no_less(pattern, scores)
        relaxing_loses_nothing(pattern, scores * 10.0 ** rng.integers(-30, 31))
        relief_leads_into_the_pattern(pattern, rng.random(pattern.n) < 0.7)
        roles = rng.integers(0, 4, pattern.n)
        fixed_is_the_subset(pattern, roles == 1, roles == 2)


def oracle_is_best(pattern: Pattern, scores: Vector) -> None:
    """Check that ``argmax`` returns a mask of Z, and that no mask of Z has a larger score."""
    law, best = "the oracle is best", pattern.argmax(frozen(scores))
    require(best.dtype == np.bool_ and best.shape == scores.shape, law, pattern, f"argmax returned {best!r}")
    require(pattern.contains(best), law, pattern, f"argmax({list_of(scores)}) = {list_of(best)} is not in Z")
    every = all_masks(pattern)
    top = int(np.argmax(every @ scores))
    value, most = float(scores[best].sum()), float((every @ scores)[top])
    said = f"scores {list_of(scores)}: {list_of(best)} has {value:.9g}, but {list_of(every[top])} has {most:.9g}"
    require(value >= most - ROUND_OFF * scores.sum(), law, pattern, said)


def most_is_no_less(pattern: Pattern, scores: Vector) -> None:
    """Check that ``most`` is at least the exact score of every mask of Z, and little more than that of ``argmax``."""
    law, every = "most is no less", all_masks(pattern)
    most, best = pattern.most(frozen(scores)), float(scores[pattern.argmax(scores)].sum())
    for z in every[every @ scores > most - ROUND_OFF * scores.sum()]:
        said = f"scores {list_of(scores)}: {most!r}, but {list_of(z)} has more"
        require(math.fsum([*scores[z], -most]) <= 0, law, pattern, said)
    said = f"scores {list_of(scores)}: {most:.9g}, but the oracle's mask has {best:.9g}"
    require(most <= best + SLACK_OF_MOST * scores.sum(), law, pattern, said)


def flips_are_no_less(pattern: Pattern, scores: Vector, exact: bool = False) -> None:
    """Check that ``flip_values`` are at least the scores of the masks that decide the weight differently.

    They have to be −inf where there is no such mask.

    Parameters
    ----------
    pattern : Pattern
        The pattern, for at most 12 weights.
    scores : array, shape (n,)
        Scores ≥ 0.
    exact : bool
        Whether each value has to be the score of such a mask, as with a pattern that has ``exact_flips``.
    """
    law, best = "flip values are no less", pattern.argmax(scores)
    flips, every = pattern.flip_values(frozen(scores), frozen(best)), all_masks(pattern)
    values, slack = every @ scores, ROUND_OFF * scores.sum()
    for i in range(pattern.n):
        most = float(values[every[:, i] != best[i]].max(initial=-np.inf))
        where = f"weight {i}, scores {list_of(scores)}, z = {list_of(best)}: {flips[i]:.9g}"
        require(flips[i] >= most - slack, law, pattern, f"{where}, but another mask scores {most:.9g}")
        require(most > -np.inf or flips[i] == -np.inf, law, pattern, f"{where}, but there is no such mask")
        require(not exact or flips[i] <= most + slack, law, pattern, f"{where}, but none scores more than {most:.9g}")


def pruning_more_never_leaves(pattern: Pattern) -> None:
    """Check that Z is monotone: a mask of Z with one more free weight pruned is in Z."""
    every = all_masks(pattern)
    codes = every @ (1 << np.arange(pattern.n))
    for i in np.flatnonzero(pattern.free):
        out = every[every[:, i] & ~np.isin(codes & ~(1 << i), codes)]
        said = f"{list_of(out[:1])} is in Z, but not without weight {i}"
        require(len(out) == 0, "pruning more never leaves Z", pattern, said)


def units_stay_together(pattern: Pattern) -> None:
    """Check that a mask of Z that keeps a free weight stays in Z when all free weights of its unit are kept, too."""
    every = all_masks(pattern)
    units = np.asarray(pattern.units)
    codes = every @ (1 << np.arange(pattern.n))
    for unit in np.unique(units):
        unit_free = (units == unit) & pattern.free
        touched = codes[(every & unit_free).any(axis=1)]
        missing = touched[~np.isin(touched | int(unit_free @ (1 << np.arange(pattern.n))), codes)]
        said = f"mask {missing[:1]} is in Z, but not with all free weights of unit {unit}"
        require(len(missing) == 0, "units stay together", pattern, said)


def relaxing_loses_nothing(pattern: Pattern, scores: Vector) -> None:
    """Check that ``relaxed`` gives upper bounds on the scores of all masks of Z, also with one weight decided."""
    law, every, found = "relaxing loses nothing", all_masks(pattern), pattern.relaxed(frozen(scores))
    said = f"scores {list_of(scores)}"
    z = found.z
    inside = z.shape == scores.shape and (z >= 0).all() and (z <= 1).all()
    require(bool(inside), law, pattern, f"{said}: z is {z!r}")
    values = every @ scores
    top, slack = every[values.argmax()], float(scores.sum())
    require(math.fsum([*scores[top], -found.most]) <= 0, law, pattern, f"{said}: most is {found.most!r}")
    require(
        float(z @ scores) >= float(values.max()) - SLACK_OF_MOST * slack, law, pattern, f"{said}: z scores too little"
    )
    for i in range(pattern.n):
        for decided, bound in ((every[:, i], found.kept[i]), (~every[:, i], found.pruned[i])):
            best = values[decided].max(initial=-np.inf)
            holds = bound >= best - ROUND_OFF * slack
            require(holds, law, pattern, f"{said}: with weight {i} decided, {bound!r} is below {best!r}")


def free_weights_are_free(pattern: Pattern) -> None:
    """Check that Z has a mask, and that a weight which is not ``free`` is kept by all masks of Z or by none."""
    law, every = "only free weights differ", all_masks(pattern)
    require(len(every) > 0, law, pattern, "no mask is in Z")
    differ = every.any(axis=0) & ~every.all(axis=0) & ~pattern.free
    require(
        not differ.any(), law, pattern, f"masks differ in weights {list_of(np.flatnonzero(differ))}, which are not free"
    )


def relief_leads_into_the_pattern(pattern: Pattern, z: Mask) -> None:
    """Check that ``relief`` is positive only for free weights that z keeps: for some if z is outside Z, else for none.

    In z, forced weights are kept and forbidden ones pruned first.
    """
    law, every = "relief leads into the pattern", all_masks(pattern)
    z = (z & every.any(axis=0)) | every.all(axis=0)
    found = pattern.relief(frozen(z))
    said = f"z = {list_of(z)}: {list_of(found)}"
    require(bool(np.isfinite(found).all() and (found >= 0).all()), law, pattern, f"{said} has numbers that cannot be")
    others = np.flatnonzero((found > 0) & ~(z & pattern.free))
    require(len(others) == 0, law, pattern, f"{said} names {list_of(others)}, which cannot be pruned")
    inside = bool((every == z).all(axis=1).any())
    require(inside != bool(found.any()), law, pattern, f"{said}, but z is {'in' if inside else 'outside'} Z")


def fixed_is_the_subset(pattern: Pattern, keep: Mask, prune: Mask) -> None:
    """Check that ``fixed`` has just the masks of Z that keep ``keep`` and prune ``prune``.

    Where there is no such mask, and only there, it has to raise a ``PatternError``.
    """
    law, every = "fixed is the subset", all_masks(pattern)
    wanted = every[every[:, keep].all(axis=1) & ~every[:, prune].any(axis=1)]
    where = f"keep {list_of(np.flatnonzero(keep))}, prune {list_of(np.flatnonzero(prune))}"
    try:
        found = all_masks(pattern.fixed(frozen(keep), frozen(prune)))
    except PatternError as error:
        require(len(wanted) == 0, law, pattern, f"{where}: {len(wanted)} masks do, but it raised: {error}")
        return
    require(len(wanted) > 0, law, pattern, f"{where}: no mask does, but it raised no PatternError")
    said = f"{where}: {len(found)} masks instead of {len(wanted)}, or others"
    require(np.array_equal(found, wanted), law, pattern, said)


def constraints_are_the_pattern(pattern: Pattern) -> None:
    """Check that the Pyomo constraints of ``constrain`` allow the masks of Z and no others."""
    from pyomo.environ import Binary, ConcreteModel, RangeSet, Var

    model = ConcreteModel()
    model.I = RangeSet(0, pattern.n - 1)
    model.z = Var(model.I, domain=Binary)
    pattern.constrain(model)
    inside = {mask.tobytes() for mask in all_masks(pattern)}
    for mask in np.arange(2**pattern.n)[:, None] >> np.arange(pattern.n) & 1 == 1:
        allowed, member = _allows(model, mask), mask.tobytes() in inside
        said = f"contains({list_of(mask)}) is {member}, but the constraints say {allowed}"
        require(allowed == member, "constraints are the pattern", pattern, said)


def _allows(model: ConcreteModel, mask: Mask) -> bool:
    """Whether the constraints hold at z = ``mask``, for some values of the pattern's own variables."""
    from pyomo.contrib.solver.common.factory import SolverFactory
    from pyomo.contrib.solver.common.results import TerminationCondition
    from pyomo.environ import Constraint, Objective, Var

    if any(model.z[i].fixed and bool(model.z[i].value) != mask[i] for i in model.I):
        return False
    if all(variable is model.z for variable in model.component_objects(Var)):
        for i in model.I:
            model.z[i].set_value(int(mask[i]))
        rows = model.component_data_objects(Constraint, active=True)
        return all((row.lslack() >= -ROUND_OFF and row.uslack() >= -ROUND_OFF) for row in rows)
    trial = model.clone()
    for i in trial.I:
        trial.z[i].fix(int(mask[i]))
    trial.nothing = Objective(expr=0)
    # HiGHS refuses any number of threads other than that of its first run in the process, and this package uses one.
    found = SolverFactory("highs").solve(
        trial, threads=1, load_solutions=False, raise_exception_on_nonoptimal_result=False
    )
    return found.termination_condition is TerminationCondition.convergenceCriteriaSatisfied


@lru_cache(maxsize=4)
def all_masks(pattern: Pattern) -> Mask:
    """All masks of Z, one a row, read-only."""
    require_few(pattern.n)
    return frozen(masks_of(pattern))
