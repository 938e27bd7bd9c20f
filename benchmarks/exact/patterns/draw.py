"""Patterns of every kind on at most ten weights, and problems with awkward curvature under them, drawn from a seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt import DenseCurvature, FactorCurvature, PruningProblem, RowsCurvature
from cbs_opt.errors import InputError
from cbs_opt.kernel.arrays.types import Vector
from cbs_opt.kernel.curvature import Curvature
from cbs_opt.kernel.patterns import Budget, Cardinality, Groups, Labels, Linear, Pattern, Quotas, intersect
from cbs_opt.testing.instances import KINDS as CURVATURES
from cbs_opt.testing.instances import random_curvature, random_weights

MOST = 10
"""Weights, so that every mask can be tried."""


# ---------------------------------------------------------------- patterns


def cardinality(rng: np.random.Generator) -> Pattern:
    """At least k zeros."""
    n = _size(rng)
    return Cardinality(n, int(rng.integers(0, n + 1)))


def n_of_m(rng: np.random.Generator) -> Pattern:
    """N:M of any N and M."""
    of = int(rng.choice([2, 3, 4, 5, 8]))
    return Quotas.n_of_m(of * int(rng.integers(1, MOST // of + 1)), int(rng.integers(0, of + 1)), of)


def n_of_m_of_kernels(rng: np.random.Generator) -> Pattern:
    """N:M along the input channels of a convolution."""
    shape = [(2, 4, 1, 1), (1, 4, 1, 2), (1, 2, 2, 2), (2, 2, 1, 2)][int(rng.integers(0, 4))]
    return Labels.n_of_m_channels(shape, int(rng.integers(0, shape[1] + 1)), shape[1])


def quotas(rng: np.random.Generator) -> Pattern:
    """Consecutive segments, each with its number of zeros."""
    sizes = rng.integers(1, 5, int(rng.integers(1, 4)))
    sizes = sizes[np.cumsum(sizes) <= MOST]
    return Quotas(sizes, [int(rng.integers(0, size + 1)) for size in sizes])


def labels(rng: np.random.Generator) -> Pattern:
    """Quotas of labels in any order."""
    return _labels(rng, _numbers(rng, _size(rng)))


def groups(rng: np.random.Generator) -> Pattern:
    """Groups in any order, of any sizes."""
    units = _numbers(rng, _size(rng))
    return Groups(units, int(rng.integers(0, units.max() + 2)))


def rows_columns_blocks(rng: np.random.Generator) -> Pattern:
    """Whole rows or columns of a layer, or blocks of consecutive weights."""
    make = (Groups.of_rows, Groups.of_columns, Groups.of_blocks)[int(rng.integers(0, 3))]
    rows, inputs = [(2, 5), (5, 2), (2, 4), (3, 3)][int(rng.integers(0, 4))]
    share = float(rng.choice([0.3, 0.5, 0.7]))
    return make(rows * inputs, inputs, share) if make == Groups.of_blocks else make(rows, inputs, share)


def budget(rng: np.random.Generator) -> Pattern:
    """A cost of each weight, some of them nothing."""
    costs = _costs(rng, _size(rng))
    return Budget(costs, costs.sum() * rng.random())


def budgets(rng: np.random.Generator) -> Pattern:
    """Two or three budgets at once."""
    n = _size(rng)
    costs = np.stack([_costs(rng, n) for _ in range(int(rng.integers(2, 4)))])
    return Budget(costs, costs.sum(axis=1) * rng.random(len(costs)))


def budget_of_groups(rng: np.random.Generator) -> Pattern:
    """A cost of each group."""
    return _budget_of(rng, _numbers(rng, _size(rng)))


def linear(rng: np.random.Generator) -> Pattern:
    """A z ≤ b with entries of both signs, among them weights that need others."""
    n = int(rng.integers(2, MOST + 1))
    A = rng.integers(-2, 4, (int(rng.integers(1, 4)), n)).astype(float)
    b = np.floor(rng.uniform(-0.2, 0.6, len(A)) * np.maximum(A, 0.0).sum(axis=1))
    needs = np.zeros((1, n))
    needs[0, rng.choice(n, 2, replace=False)] = 1.0, -1.0
    return Linear(np.vstack([A, needs]), np.append(b, 0.0))


def linear_by_a_rule(rng: np.random.Generator) -> Pattern:
    """Constraints that a function adds in Pyomo, with binaries of its own: groups are paid for, two weights tied."""
    n = int(rng.integers(2, 8))
    units = _numbers(rng, n)
    costs = _costs(rng, int(units.max()) + 1)
    limit = float(costs.sum() * rng.random())

    def rule(model: Any) -> None:
        from pyomo.environ import Binary, Constraint, RangeSet, Var

        model.G = RangeSet(0, len(costs) - 1)
        model.open = Var(model.G, domain=Binary)
        model.opened = Constraint(model.I, rule=lambda m, i: m.z[i] <= m.open[int(units[i])])
        model.paid = Constraint(expr=sum(float(costs[g]) * model.open[g] for g in model.G) <= limit)
        model.tied = Constraint(expr=model.z[0] == model.z[n - 1])

    return Linear.from_rule(n, rule)


def quotas_in_quotas(rng: np.random.Generator) -> Pattern:
    """N:M or labels in coarser labels in a total."""
    if rng.random() < 0.5:
        return intersect(Quotas.n_of_m(8, 2, 4), Cardinality(8, int(rng.integers(5, 8))))
    coarse = _numbers(rng, _size(rng))
    total = Cardinality(len(coarse), int(rng.integers(0, len(coarse) + 1)))
    return intersect(total, _labels(rng, _finer(rng, coarse)), _labels(rng, coarse))


def quotas_in_groups(rng: np.random.Generator) -> Pattern:
    """2:4 inside kept filters, or labels inside any kept groups."""
    if rng.random() < 0.5:
        return intersect(Groups(np.arange(8) // 4, 1), Quotas.n_of_m(8, int(rng.integers(1, 4)), 4))
    coarse = _numbers(rng, _size(rng))
    return intersect(Groups(coarse, int(rng.integers(0, coarse.max() + 2))), _labels(rng, _finer(rng, coarse)))


def quotas_in_a_budget_of_groups(rng: np.random.Generator) -> Pattern:
    """Labels inside groups that are paid for."""
    coarse = _numbers(rng, _size(rng))
    return intersect(_budget_of(rng, coarse), _labels(rng, _finer(rng, coarse)))


def other_intersections(rng: np.random.Generator) -> Pattern:
    """Combinations that no sorting answers: a budget with quotas, columns with N:M, linear constraints with groups."""
    which = int(rng.integers(0, 3))
    if which == 0:
        costs = _costs(rng, 8)
        return intersect(Quotas.n_of_m(8, 2, 4), Budget(costs, costs.sum() * rng.uniform(0.2, 0.7)))
    if which == 1:
        return intersect(Groups.of_columns(2, 4, 0.5), Quotas.n_of_m(8, 1, 2, row=4))
    n = int(rng.integers(2, MOST + 1))
    units = _numbers(rng, n)
    return intersect(
        Linear(rng.normal(size=(2, n)), rng.random(2)), Groups(units, int(rng.integers(0, units.max() + 1)))
    )


Draw = Callable[[np.random.Generator], Pattern]

PATTERNS: Mapping[str, Draw] = {
    "cardinality": cardinality,
    "N:M": n_of_m,
    "N:M of kernels": n_of_m_of_kernels,
    "quotas": quotas,
    "labels": labels,
    "groups": groups,
    "rows, columns, blocks": rows_columns_blocks,
    "budget": budget,
    "budgets": budgets,
    "budget of groups": budget_of_groups,
    "linear": linear,
    "linear by a rule": linear_by_a_rule,
    "quotas in quotas": quotas_in_quotas,
    "quotas in groups": quotas_in_groups,
    "quotas in a budget of groups": quotas_in_a_budget_of_groups,
    "other intersections": other_intersections,
}


def _size(rng: np.random.Generator) -> int:
    return int(rng.integers(1, MOST + 1))


def _numbers(rng: np.random.Generator, n: int) -> NDArray[np.int64]:
    """A number for each of ``n`` weights, 0 … the largest without gaps, in any order."""
    count = int(rng.integers(1, n + 1))
    return rng.permutation(np.concatenate([np.arange(count), rng.integers(0, count, n - count)]))


def _finer(rng: np.random.Generator, coarse: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers whose weights lie together in ``coarse``, too."""
    return np.unique(coarse * 2 + rng.integers(0, 2, len(coarse)), return_inverse=True)[1]


def _labels(rng: np.random.Generator, numbers: NDArray[np.int64]) -> Labels:
    return Labels(numbers, rng.integers(0, np.bincount(numbers) + 1))


def _costs(rng: np.random.Generator, count: int) -> Vector:
    """Small integers, which tie, or any numbers."""
    return rng.integers(0, 5, count).astype(float) if rng.random() < 0.5 else rng.exponential(size=count)


def _budget_of(rng: np.random.Generator, units: NDArray[np.int64]) -> Budget:
    costs = _costs(rng, int(units.max()) + 1)
    return Budget(costs, costs.sum() * rng.random(), groups=units)


# ---------------------------------------------------------------- problems


@dataclass(frozen=True, eq=False)
class Case:
    """A problem and how it was drawn.

    Parameters
    ----------
    forced : int
        How many weights are forced to stay or to go.
    exponent : float
        H was multiplied by 10 to this power.
    """

    seed: int
    pattern: str
    curvature: str
    problem: PruningProblem
    forced: int
    exponent: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "seed": self.seed,
            "pattern": self.pattern,
            "curvature": self.curvature,
            "n": self.problem.n,
            "forced": self.forced,
            "linear_term": self.problem.g is not None,
            "form": self.problem.curvature.kind,
            "exponent": round(self.exponent, 1),
        }


def case(seed: int, patterns: Mapping[str, Draw] = PATTERNS) -> Case:
    """The case of a seed; consecutive seeds go through the kinds of patterns, then through those of curvature.

    What is drawn is drawn again where no mask is left, or the curvature is not positive definite in float64.
    """
    pattern = list(patterns)[seed % len(patterns)]
    curvature = CURVATURES[seed // len(patterns) % len(CURVATURES)]
    rng = np.random.default_rng(seed)
    while True:
        try:
            return _drawn(rng, seed, pattern, patterns[pattern](rng), curvature)
        except InputError:
            continue


def _drawn(rng: np.random.Generator, seed: int, kind: str, pattern: Pattern, curvature: str) -> Case:
    forced, n = 0, pattern.n
    if rng.random() < 0.35:
        roles = rng.integers(0, 8, n)
        forced = int((roles < 2).sum())
        pattern = pattern.fixed(roles == 0, roles == 1)
    exponent = rng.uniform(-100, 100) if rng.random() < 0.5 else rng.uniform(-10, 10)
    H = _curvature(rng, n, curvature, 10.0**exponent)
    w = random_weights(rng, n)
    g = None
    if rng.random() < 0.3:
        slope = H.matvec(w)
        g = 0.3 * rng.normal() * slope if rng.random() < 0.5 else rng.normal(size=n) * np.abs(slope).mean()
    problem = PruningProblem(w, H, pattern, g, name=f"{kind}, {curvature}, seed {seed}")
    return Case(seed, kind, curvature, problem, forced, exponent)


def _curvature(rng: np.random.Generator, n: int, kind: str, scale: float) -> Curvature:
    """One block of the kind, some Gram matrices as their factor; of an even number of weights two rows of a layer."""
    form = rng.random()
    if n % 2 == 0 and form < 0.3:
        return RowsCurvature(DenseCurvature(scale * random_curvature(rng, n // 2, kind)), 2)
    if kind == "gram" and form > 0.5:
        samples = np.sqrt(scale) * rng.normal(size=(int(rng.integers(1, 2 * n + 1)), n))
        return FactorCurvature(samples, scale * 10.0 ** rng.uniform(-8, 0))
    return DenseCurvature(scale * random_curvature(rng, n, kind))
