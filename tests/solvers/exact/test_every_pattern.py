"""Engines that take a model take every pattern: their bounds and masks against enumeration."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

import cbs_opt
from cbs_opt import Cardinality, Pattern, PruningProblem, Quotas
from cbs_opt.errors import NotPositiveDefiniteError, PatternError, SolverError, UnavailableMethodError, UnsupportedError
from cbs_opt.kernel.patterns import Budget, Groups, Linear, Named, Rows, intersect
from cbs_opt.kernel.result import SolutionStatus, TerminationCondition
from cbs_opt.solvers.exact.decided import settled
from cbs_opt.solvers.exact.highs_rest import Rest
from cbs_opt.solvers.forms.node_state import state_of
from cbs_opt.testing import check_pattern
from cbs_opt.testing.instances import (
    KINDS,
    best_by_enumeration,
    best_selection_by_enumeration,
    gram,
    masks_of,
    random_curvature,
)


class Costs(Pattern):
    """Z = {z : Σ costs_i z_i ≤ limit, z_i = 1 on ``keep``, z_i = 0 on ``forbid``}: a knapsack, by trying every mask.

    Not a matroid and not labelled; in the model a variable of its own holds what is spent.
    """

    def __init__(self, costs: Any, limit: float, keep: Any = None, forbid: Any = None) -> None:
        self.costs, self.limit = np.asarray(costs, dtype=float), limit
        nothing = np.zeros(len(self.costs), dtype=bool)
        self.keep = nothing if keep is None else keep
        self.forbid = nothing if forbid is None else forbid
        if (self.keep & self.forbid).any() or self.costs @ self.keep > limit:
            raise PatternError("costs: no mask is left")
        every = np.arange(2**self.n)[:, None] >> np.arange(self.n) & 1 == 1
        every = every[every @ self.costs <= limit]
        self.masks = every[every[:, self.keep].all(axis=1) & ~every[:, self.forbid].any(axis=1)]

    @property
    def n(self) -> int:
        return len(self.costs)

    @property
    def free(self) -> Any:
        return ~(self.keep | self.forbid)

    def contains(self, z: Any) -> bool:
        return bool(z[self.keep].all() and not z[self.forbid].any() and self.costs @ z <= self.limit)

    def argmax(self, scores: Any) -> Any:
        """Of equally good masks one that no other contains."""
        best = self.masks @ (scores + 1e-12 * scores.sum())
        return self.masks[np.lexsort((-self.masks.sum(axis=1), -best))[0]].copy()

    def most(self, scores: Any) -> float:
        return float((self.masks @ scores).max()) * (1 + 1e-12)

    def flip_values(self, scores: Any, z: Any) -> Any:
        values = self.masks @ scores
        return np.array([values[self.masks[:, i] != z[i]].max(initial=-np.inf) for i in range(self.n)])

    def fixed(self, keep: Any, prune: Any) -> Pattern:
        return Costs(self.costs, self.limit, self.keep | keep, self.forbid | prune)

    def rows(self) -> Rows:
        """Σ costs_i z_i = spent ≤ limit."""
        spends = np.append(self.costs, -1.0)
        ends = [np.append(end, last) for end, last in ((self.keep, 0.0), (~self.forbid, self.limit))]
        return Rows(
            csr_array(np.vstack([spends, -spends])),
            np.zeros(2),
            *ends,
            np.arange(self.n + 1) < self.n,
            (Named("pays", 2, "what is spent"),),
            (Named("spent", 1, "by all kept weights"),),
        )

    def __str__(self) -> str:
        return f"costs of at most {self.limit}"


def drawn_pattern(rng: np.random.Generator, kind: str, n: int) -> Pattern:
    """A pattern of ``kind`` over ``n`` weights, n a multiple of four; some weights forced and forbidden."""
    if kind in SHIPPED:
        return shipped_pattern(rng, kind, n)
    role = np.where(rng.random(n) < 0.3, rng.integers(0, 4, n), 3)
    if kind == "N:M":
        return Quotas.n_of_m(n, *((2, 4) if rng.random() < 0.5 else (1, 4)))
    if kind == "quotas":
        sizes = [n // 4, n // 2, n - n // 4 - n // 2]
        quotas = [int(rng.integers(0, size + 1)) for size in sizes]
        keep = [
            s for s in range(n) if role[s] == 0 and quotas[0 if s < sizes[0] else 1 if s < n - sizes[2] else 2] == 0
        ]
        return Quotas(sizes, quotas, keep=keep, forbid=np.flatnonzero(role == 1))
    costs = rng.integers(1, 6, n)
    keep, forbid = (role == 0) & (np.cumsum(role == 0) <= 1), role == 1
    return Costs(costs, int(costs.sum()) // 2 + 5, keep, forbid)


def shipped_pattern(rng: np.random.Generator, kind: str, n: int) -> Pattern:
    """The kinds whose oracle is more than a sort: groups, budgets, linear constraints, combinations."""
    groups = rng.permutation(np.arange(n) // 2)
    costs = rng.integers(1, 5, n).astype(float)
    if kind == "groups":
        return Groups(groups, n // 4, forbid=[1])
    if kind == "budget":
        return Budget(np.stack([costs, rng.integers(1, 4, n)]), [costs.sum() / 2, n])
    if kind == "linear":
        together = np.zeros(n)
        together[[0, 1]] = 1.0, -1.0
        few = np.arange(n) % 3 == 0
        return Linear(np.stack([together, -together, few, costs]), [0.0, 0.0, 2.0, costs.sum() / 2])
    if kind == "2:4 in a budget":
        return intersect(Quotas.n_of_m(n, 2, 4), Budget(costs, costs.sum() / 3))
    return intersect(Groups(np.arange(n) // 4, 1), Quotas.n_of_m(n, 2, 4))


SHIPPED = ("groups", "budget", "linear", "2:4 in a budget", "2:4 in groups")
PATTERNS = ("N:M", "quotas", "costs", *SHIPPED)


def drawn(seed: int, kind: str, curvature: str, n: int) -> PruningProblem | None:
    """A problem of awkward curvature; weights with zeros and ties, some with a first-order term."""
    rng = np.random.default_rng([seed, KINDS.index(curvature), PATTERNS.index(kind)])
    w = rng.normal(size=n)
    if seed % 3 == 1:
        w = np.sign(w)
    if seed % 3 == 2:
        w[rng.random(n) < 0.3] = 0.0
    H = random_curvature(rng, n, curvature)
    g = 0.3 * rng.normal() * (H @ w) if rng.random() < 0.3 else None
    try:
        return PruningProblem(w, H, drawn_pattern(rng, kind, n), g, name=f"{kind} {curvature} {seed}")
    except NotPositiveDefiniteError:
        return None


def engine(name: str) -> str:
    """``name``, where it can be used here."""
    package = {"scip": "pyscipopt", "gurobi": "gurobipy"}.get(name.split(":")[0], "highspy")
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    try:
        cbs_opt.solve(gram(4, 9, 0.1).pruning(2), name)
    except UnavailableMethodError as error:
        pytest.skip(str(error))
    return name


def check(problem: PruningProblem, method: str, gap: float = 1e-6, **options: Any) -> cbs_opt.Solution | None:
    """Never a bound above the optimum, a mask inside, and the optimum where it says so; None for no answer, said so."""
    optimum, error = best_by_enumeration(problem)
    try:
        solution = cbs_opt.solve(problem, method, gap=gap, **options)
    except (SolverError, UnsupportedError):
        return None
    assert problem.Z.contains(solution.mask)
    assert solution.bound <= optimum + error + 1e-12 * abs(optimum)
    if solution.solution_status is SolutionStatus.OPTIMAL:
        assert solution.objective <= optimum + 2 * gap * abs(optimum) + error + solution.round_off
    return solution


SMALL = [(0, 8, pattern) for pattern in PATTERNS]
LARGER = [(1, 12, pattern) for pattern in ("N:M", "quotas", "costs")]


@pytest.mark.parametrize("curvature", KINDS)
@pytest.mark.parametrize(("seed", "n", "pattern"), SMALL + LARGER)
def test_highs_oa_equals_enumeration(seed: int, n: int, pattern: str, curvature: str) -> None:
    problem = drawn(seed, pattern, curvature, n)
    if problem is None:
        return
    solution = check(problem, "highs-oa", time_limit=3.0)
    assert solution is not None
    if problem.g is None:
        stopped = solution.termination_condition is TerminationCondition.TIME_LIMIT
        assert solution.solution_status is SolutionStatus.OPTIMAL or solution.notes or stopped


@pytest.mark.parametrize("curvature", KINDS)
@pytest.mark.parametrize(("seed", "n", "pattern"), SMALL + LARGER)
def test_branch_and_bound_equals_enumeration(seed: int, n: int, pattern: str, curvature: str) -> None:
    problem = drawn(seed, pattern, curvature, n)
    if problem is None:
        return
    solution = check(problem, "bnb")
    assert solution is not None
    assert solution.termination_condition is TerminationCondition.CONVERGED
    if problem.g is None and solution.round_off <= 1e-9 * solution.objective:
        assert solution.solution_status is SolutionStatus.OPTIMAL
    bound = cbs_opt.lower_bound(problem).value
    optimum, error = best_by_enumeration(problem)
    assert bound <= optimum + error + 1e-12 * abs(optimum)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("formulation", ["joint-bigm", "joint-perspective"])
@pytest.mark.parametrize("name", ["scip", "gurobi"])
def test_solvers_of_models_never_claim_more(name: str, formulation: str, pattern: str) -> None:
    method = engine(name)
    for seed, curvature in enumerate(KINDS[::2]):
        problem = drawn(seed, pattern, curvature, 8)
        if problem is not None:
            check(problem, method, 1e-3, formulation=formulation, time_limit=3.0)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("curvature", KINDS)
def test_the_selection_by_highs_equals_enumeration(curvature: str, pattern: str) -> None:
    problem = drawn(1, pattern, curvature, 8)
    if problem is None:
        return
    optimum, error = best_selection_by_enumeration(problem)
    solution = cbs_opt.solve(problem, "highs-selection", time_limit=5.0)
    assert problem.Z.contains(solution.mask)
    assert solution.selection_bound <= optimum + error + 1e-12 * abs(optimum)
    if solution.solution_status is SolutionStatus.OPTIMAL:
        assert solution.selection_objective <= optimum + 2e-6 * abs(optimum) + error + solution.round_off


@pytest.mark.parametrize("name", ["bnb", "highs-oa", "scip", "gurobi", "pyomo:scip_direct"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_well_damped_blocks_are_proven(name: str, pattern: str) -> None:
    engine("scip" if name.startswith("pyomo") else name)
    block = gram(12, 30, 0.1, 3)
    problem = block.within(drawn_pattern(np.random.default_rng(5), pattern, 12))
    solution = check(problem, name, 1e-4)
    assert solution is not None
    assert solution.solution_status is SolutionStatus.OPTIMAL
    assert solution.objective == pytest.approx(best_by_enumeration(problem)[0], rel=1e-9)


def test_highs_oa_searches_where_probing_leaves_something(monkeypatch: pytest.MonkeyPatch) -> None:
    """The constraints of a pattern reach the master: with a wrong one its bound would pass the optimum."""
    from cbs_opt.solvers.exact import highs_root
    from cbs_opt.solvers.exact.highs_reduction import Reduction

    def bare(block: Any, pattern: Pattern, D: Any, cutoff: float, deadline: float = 0.0) -> Any:
        left = settled(pattern)
        reduction = Reduction.of(block, state_of(left))
        split = highs_root.certified(reduction.H, 0.9 * D[reduction.free], reduction.shift)
        return highs_root.Root(left, reduction, split, reduction.least)

    monkeypatch.setattr(importlib.import_module("cbs_opt.solvers.exact.highs_oa"), "probe_root", bare)
    nodes = 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        for pattern in (Quotas([3, 5], [2, 3], forbid=[4]), Costs(rng.integers(1, 5, 8), 9), Quotas.n_of_m(8, 2, 4)):
            problem = gram(8, 12, 1e-2, seed).within(pattern)
            solution = check(problem, "highs-oa")
            assert solution is not None
            assert solution.solution_status is SolutionStatus.OPTIMAL
            nodes += solution.nodes
    assert nodes > 0


# ------------------------------------------------------------------- what a pattern decides by itself


@pytest.mark.parametrize(
    "pattern",
    [
        Quotas([2, 3, 3], [2, 0, 1]),
        Quotas([4, 4], [1, 2], keep=[0, 1], forbid=[2]),
        Cardinality(6, 0),
        Cardinality(6, 2, keep=[0, 1, 2, 3]),
        Groups([0, 0, 1, 1, 2, 2], 1, keep=[0], forbid=[3]),
        Budget([2.0, 1.0, 3.0], 4.0, groups=[0, 0, 1, 1, 2], keep=[1]),
        Costs([1, 2, 9, 1], 4),
        Costs([1, 2, 1, 1], 5),
    ],
    ids=str,
)
def test_what_is_settled_loses_no_largest_mask(pattern: Pattern) -> None:
    left = settled(pattern)
    masks = masks_of(pattern)
    assert all(pattern.contains(mask) for mask in masks_of(left))
    for mask in masks:
        assert any((mask <= larger).all() for larger in masks_of(left))
    if isinstance(pattern, Quotas | Cardinality):
        # With labels a weight is undecided only where its label has room for some and not for all.
        room = left.room_of_free[left.labels[left.free]]  # type: ignore[attr-defined]
        assert (room > 0).all()


def test_the_rest_of_a_pattern_is_a_pattern() -> None:
    check_pattern(Costs([1, 2, 3, 1], 4))
    whole = Costs([1, 2, 3, 1, 2, 2, 1], 7, keep=np.arange(7) == 2, forbid=np.arange(7) == 5)
    check_pattern(Rest(whole, np.flatnonzero(whole.free)))
    check_pattern(Rest(Quotas([3, 4], [1, 2], keep=[0], forbid=[5]), np.array([1, 2, 3, 4, 6])))


# ------------------------------------------------------------------- what no bound could count on


class Open(Costs):
    """A variable without bounds."""

    def rows(self) -> Rows:
        rows = super().rows()
        return replace(rows, high=np.append(rows.high[:-1], np.inf))


@pytest.mark.parametrize("name", ["highs-oa", "highs-selection", "scip"])
def test_a_pattern_without_a_safe_margin_is_refused(name: str) -> None:
    problem = gram(6, 9, 0.1).within(Open([1, 2, 3, 1, 2, 2], 5))
    with pytest.raises(UnsupportedError, match="a variable of its own has no bounds"):
        cbs_opt.solve(problem, engine(name))
