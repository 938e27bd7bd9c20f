"""Bounds of factored and block-diagonal problems against the exact optimum, on tiny problems of every awkward kind.

n ≤ 7. Factors at scales 1e±10, columns in units 1e±4, duplicated, zero or small integers, zero rows, m above and below
n, float32; λ from 1e-14 to 1e4 of the mean diagonal; w̄ at scales 1e±8 with zeros and ties; first-order terms, offsets;
factor, dense and diagonal blocks; cardinalities with forced and forbidden weights, quotas of segments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction

import numpy as np

from benchmarks.exact_optimum import exact_optimum
from cbs_opt import (
    BlockDiagonalCurvature,
    Cardinality,
    DenseCurvature,
    DiagonalCurvature,
    FactorCurvature,
    PruningProblem,
    Quotas,
    lower_bound,
    solve,
)
from cbs_opt.errors import InputError
from cbs_opt.kernel.curvature import Curvature
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.solvers.bounds import dual_tensors
from cbs_opt.solvers.bounds.dual import dual_bound
from cbs_opt.testing.instances import KINDS, random_curvature, random_weights

MOST_WEIGHTS = 7


def factor(rng: np.random.Generator, n: int) -> FactorCurvature:
    """A factor of an awkward kind."""
    A = rng.normal(size=(int(rng.integers(1, 9)), n))
    kind = rng.integers(0, 7)
    if kind == 0:
        A = np.round(A)
    elif kind == 1:
        A[:, n // 2 :] = A[:, : n - n // 2] * rng.choice([-1.0, 1.0])
    elif kind == 2:
        A *= 10.0 ** rng.uniform(-4, 4, n)
    elif kind == 3:
        A[:, rng.random(n) < 0.5] = 0.0
    elif kind == 4:
        A[rng.random(len(A)) < 0.5] = 0.0
    elif kind == 5:
        A *= 10.0 ** rng.uniform(-6, 6, (len(A), 1))
    A *= 10.0 ** rng.uniform(-10, 10)
    if rng.random() < 0.3:
        A = A.astype(np.float32)
    mean = float((A.astype(np.float64) ** 2).sum(axis=0).mean())
    return FactorCurvature(A, 10.0 ** rng.uniform(-14, 4) * (mean or 1.0))


def block(rng: np.random.Generator, n: int) -> Curvature:
    """A factor, a dense or a diagonal block."""
    kind = rng.integers(0, 4)
    if kind == 0:
        return DiagonalCurvature(10.0 ** rng.uniform(-6, 6, n))
    if kind == 1:
        return DenseCurvature(random_curvature(rng, n, str(rng.choice(KINDS))) * 10.0 ** rng.uniform(-8, 8))
    return factor(rng, n)


def pattern(rng: np.random.Generator, n: int) -> Pattern:
    """A cardinality, often with forced and forbidden weights, or quotas of segments."""
    if rng.random() < 0.4 and n > 1:
        cut = int(rng.integers(1, n))
        return Quotas([cut, n - cut], [int(rng.integers(0, cut + 1)), int(rng.integers(0, n - cut + 1))])
    k = int(rng.integers(0, n + 1))
    role = rng.integers(0, 4, n) if rng.random() < 0.4 else np.zeros(n)
    return Cardinality(n, k, keep=np.flatnonzero(role == 2)[: n - k], forbid=np.flatnonzero(role == 1))


def problem(seed: int) -> PruningProblem | None:
    """None where the draw is refused."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, MOST_WEIGHTS + 1))
    try:
        if rng.random() < 0.4 and n > 1:
            cut = int(rng.integers(1, n))
            curvature: Curvature = BlockDiagonalCurvature([block(rng, cut), block(rng, n - cut)])
        else:
            curvature = factor(rng, n)
        w = random_weights(rng, n, apart=4.0, scale=8.0)
        g = 10.0 ** rng.uniform(-3, 1) * curvature.matvec(rng.normal(size=n) * np.abs(w).mean())
        return PruningProblem(
            w,
            curvature,
            pattern(rng, n),
            g=g if rng.random() < 0.3 else None,
            offset=float(rng.choice([0.0, 0.0, 1.0, -3.0])),
            name=f"seed {seed}",
        )
    except InputError:
        return None


@contextmanager
def float32_passes() -> Iterator[None]:
    """The search in float32, which is otherwise for large factors."""
    usual = dual_tensors.SMALL_ENTRIES
    dual_tensors.SMALL_ENTRIES = 0
    try:
        yield
    finally:
        dual_tensors.SMALL_ENTRIES = usual


def _dual(given: PruningProblem) -> float:
    return dual_bound(given)[0]


def _single(given: PruningProblem) -> float:
    with float32_passes():
        return dual_bound(given)[0]


def _relaxation(given: PruningProblem) -> float:
    return solve(given, "relaxation").bound


def _lower_bound(given: PruningProblem) -> float:
    return lower_bound(given).value


BOUNDS: dict[str, Callable[[PruningProblem], float]] = {
    "dual": _dual,
    "dual, float32 passes": _single,
    "relaxation": _relaxation,
    "lower_bound": _lower_bound,
}


def fuzz(count: int, first_seed: int = 0) -> Iterator[dict[str, object]]:
    """One row per bound: problems, violations, refusals and how close it comes where there is something to bound."""
    wrong: dict[str, list[str]] = {name: [] for name in BOUNDS}
    refused = dict.fromkeys(BOUNDS, 0)
    done, seed = 0, first_seed
    while done < count:
        given = problem(seed)
        seed += 1
        if given is None:
            continue
        done += 1
        best = exact_optimum(given)
        for name, bound in BOUNDS.items():
            try:
                with np.errstate(all="ignore"):
                    found = bound(given)
            except InputError:
                refused[name] += 1
                continue
            if np.isnan(found) or found == np.inf or (np.isfinite(found) and Fraction(found) > best):
                wrong[name].append(f"seed {seed - 1}: {found!r} above {float(best)!r}")
    for name in BOUNDS:
        yield {"bound": name, "problems": done, "refused": refused[name], "violations": wrong[name]}
