"""Random small blocks of many awkward kinds, drawn from a seed, and their optima, found by trying every mask."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from cbs_opt.errors import NotPositiveDefiniteError
from cbs_opt.evaluation.solve import solve
from cbs_opt.kernel.arrays.types import Mask, Matrix, Vector
from cbs_opt.kernel.patterns import Cardinality, Pattern
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import SolutionStatus
from cbs_opt.kernel.update import obs_update

KINDS = ("gram", "spectrum", "duplicates", "identity", "integer", "equicorrelated", "units")


def random_curvature(rng: np.random.Generator, n: int, kind: str) -> Matrix:
    """A positive definite H, shape (n, n), of one of these kinds:

    gram            XᵀX/m + λI of few or many samples, λ from 1e-8 to 1
    spectrum        eigenvalues from 1e-12 to 1
    duplicates      equal or opposite columns, λ from 1e-10 to 1e-2
    identity        no weights interact, and all masks tie if the weights do
    integer         small whole numbers, so that many masks tie
    equicorrelated  the same correlation for all pairs, which may be negative
    units           columns in units from 1e-5 to 1e5
    """
    if kind == "gram":
        A = rng.normal(size=(int(rng.integers(1, 2 * n + 1)), n))
        H = A.T @ A / len(A) + 10.0 ** rng.uniform(-8, 0) * np.eye(n)
    elif kind == "spectrum":
        Q = np.linalg.qr(rng.normal(size=(n, n)))[0]
        H = (Q * 10.0 ** rng.uniform(-12, 0, n)) @ Q.T
    elif kind == "duplicates":
        A = rng.normal(size=(n + 2, n))
        if n > 1:
            A[:, n // 2 :] = A[:, : n - n // 2] * rng.choice([-1, 1])
        H = A.T @ A + 10.0 ** rng.uniform(-10, -2) * np.eye(n)
    elif kind == "identity":
        H = np.eye(n)
    elif kind == "integer":
        A = rng.integers(-1, 2, size=(n, n)).astype(float)
        H = A.T @ A + np.eye(n)
    elif kind == "equicorrelated":
        H = np.full((n, n), rng.uniform(-1 / (n + 1), 0.999))
        H[np.diag_indices(n)] = 1.0
    else:
        A = rng.normal(size=(2 * n, n)) * 10.0 ** rng.uniform(-5, 5, n)
        H = A.T @ A
    return np.asarray((H + H.T) / 2)


def random_weights(rng: np.random.Generator, n: int, apart: float = 3.0, scale: float = 6.0) -> Vector:
    """Random weights, shape (n,): some zero, all of equal size, of sizes 10^±``apart``, or none of these.

    All of them are multiplied by one random number between 10^−``scale`` and 10^``scale``.
    """
    w = rng.normal(size=n)
    shape = rng.integers(0, 4)
    if shape == 0:
        w[rng.random(n) < 0.4] = 0.0
    elif shape == 1:
        w = np.sign(w)
    elif shape == 2:
        w *= 10.0 ** rng.uniform(-apart, apart, n)
    return np.asarray(w * 10.0 ** rng.uniform(-scale, scale))


def random_problem(seed: int, max_n: int = 12, kind: str | None = None, linear: bool = True) -> PruningProblem | None:
    """An awkward random problem with a cardinality, or None where the drawn H is not positive definite in float64.

    H is scaled by 1e-10 to 1e10 and w̄ by 1e-6 to 1e6; w̄ may have zeros and ties, and there may be a first-order term
    (with ``linear``) and forced and forbidden weights.
    """
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, max_n + 1))
    H = random_curvature(rng, n, kind or str(rng.choice(KINDS))) * 10.0 ** rng.uniform(-10, 10)
    w = random_weights(rng, n)
    g = None
    if linear and rng.random() < 0.3:
        g = 0.3 * rng.normal() * (H @ w) if rng.random() < 0.5 else rng.normal(size=n) * np.abs(H @ w).mean()
    k = int(rng.integers(0, n + 1))
    keep, forbid = np.flatnonzero([]), np.flatnonzero([])
    if rng.random() < 0.3:
        role = rng.integers(0, 4, n)
        keep, forbid = np.flatnonzero(role == 0)[: n - k], np.flatnonzero(role == 1)
    try:
        return PruningProblem(w, H, g=g, pattern=Cardinality(n, k, keep=keep, forbid=forbid), name=f"seed {seed}")
    except NotPositiveDefiniteError:
        return None


def plain_problem(seed: int, max_n: int = 10) -> PruningProblem:
    """A well-conditioned random problem without ties; it may have a first-order term, forced and forbidden weights."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, max_n + 1))
    X = rng.standard_normal((2 * n + 3, n)) * np.exp(rng.standard_normal(n))
    k = int(rng.integers(0, n + 1))
    order = rng.permutation(n)
    kept = int(rng.integers(0, min(2, n - k) + 1))
    keep, forbid = order[:kept], order[kept : kept + int(rng.integers(0, 3))]
    problem = PruningProblem.from_activations(rng.standard_normal(n), X, dampening_frac=1e-3, name=f"plain seed {seed}")
    g = rng.standard_normal(n) if rng.random() < 0.3 else None
    return replace(problem, g=g, pattern=Cardinality(n, k, keep=keep, forbid=forbid))


def gram(n: int, samples: int, damping: float, seed: int = 0) -> PruningProblem:
    """A problem with the Gram curvature of correlated inputs, without a pattern."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(samples, n)) @ (np.eye(n) + 0.4 * rng.normal(size=(n, n)) / np.sqrt(n))
    return PruningProblem.from_activations(rng.normal(size=n), X, damping=damping, name=f"gram {n}")


def masks_of(pattern: Pattern) -> Mask:
    """All masks of a pattern of few weights, one a row, shape (masks, n), found by asking ``contains`` of all 2ⁿ."""
    n = pattern.n
    every = np.arange(2**n)[:, None] >> np.arange(n) & 1 == 1
    inside = np.fromiter(map(pattern.contains, every), np.bool_, len(every))
    return np.asarray(every[inside])


def best_by_enumeration(problem: PruningProblem) -> tuple[float, float]:
    """The optimum of the joint problem over all masks of the pattern, and how far its evaluation may be off."""
    masks = masks_of(problem.Z)
    codes = masks @ (1 << np.arange(problem.n))
    best, error = np.inf, 0.0
    # Keeping more never raises the joint optimum, so that only masks which are in no other mask of Z matter.
    grown = np.where(masks, -1, codes[:, None] | 1 << np.arange(problem.n))
    for mask in masks[~np.isin(grown, codes).any(axis=1)]:
        weights = obs_update(problem, mask)
        value = problem.objective(weights)
        if value < best:
            best, error = value, problem.round_off(weights)
    return best, error


def best_selection_by_enumeration(problem: PruningProblem) -> tuple[float, float]:
    """The optimum of the selection problem over all masks of the pattern, and how far its evaluation may be off."""
    every = [np.where(mask, problem.w_bar, 0.0) for mask in masks_of(problem.Z)]
    best = min(every, key=problem.objective)
    return problem.objective(best), problem.round_off(best)


def assert_equals_enumeration(problem: PruningProblem, method: str, **options: Any) -> None:
    """Assert that the bound of ``method`` is not above the optimum that enumeration finds.

    Where f is known well enough in float64, the method must also prove its answer optimal, and the answer must be so.
    """
    optimum, error = best_by_enumeration(problem)
    solution = solve(problem, method, **options)
    assert solution.bound <= optimum + error + 1e-12 * abs(optimum)
    if problem.g is None and solution.round_off <= 1e-9 * solution.objective:
        assert solution.solution_status is SolutionStatus.OPTIMAL
        assert solution.objective <= optimum * (1 + 2e-6) + error
