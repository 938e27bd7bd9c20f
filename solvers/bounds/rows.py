"""A proven lower bound on the joint problem of a whole layer, whose rows share one curvature H₁ and one pattern.

Bound (B) with a splitting H₁ = R + diag(D), one for all rows or one for each, around w̄: for any e in the place of
w − w̄ and q = g + Re,

    bound(e) = offset − ½eᵀRe + Σ_{z_i=0} (½D_i w̄_i² − q_i w̄_i) − Σ_{z_i=1} q_i²/(2D_i),
    z = argmax_{z∈Z} Σ z_i s_i,    s_i = (D_i w̄_i − q_i)²/(2D_i).

``rows_admm`` finds e for given D, ``rows_splitting`` the D for given e, in turn; what they find proves nothing.
``rows_proof`` shows R to be positive semidefinite and evaluates (B) in float64 on the data of the problem, less its
round-off. It does so at certain points of the way, and the best of these bounds counts: a search with more time
goes the same way further, and its bound is never lower.

First comes one splitting for all rows, at the price of a few hundred products (rows, d)(d, d); then the rows get
splittings of their own, each round at the price of some Cholesky factorizations a row.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cbs_opt.kernel.arrays.types import Vector
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.solvers.bounds.rows_admm import Point, Relaxation
from cbs_opt.solvers.bounds.rows_proof import certified
from cbs_opt.solvers.bounds.rows_splitting import first_splitting, own_ascent, shared_ascent
from cbs_opt.solvers.forms.layer_tensors import Layer, shared_curvature

if TYPE_CHECKING:
    import torch

__all__ = ["RowsBound", "bound_rows", "certified", "rows_bound"]

FIRST, BETWEEN = 40, 5
"""ADMM iterations at the first splitting, and after each change of it."""

SETTLING, MOST_SETTLING = 10, 200
"""Before a proof ADMM goes on, so many iterations at a time, while they raise the bound by ``SETTLED``; at the most."""

SETTLED = 4e-4

SHARED_ROUNDS = 24
"""Improvements of the shared splitting that are tried."""

PROOF_EVERY = 4
"""Rounds between two proofs for a shared splitting."""

STALL, PATIENCE = 1e-3, 2
"""Relative improvement of the bound by one round below which few more follow, and how many so poor end it."""

BEGIN, SMALLER, LEAST = 1.0, 0.7, 0.02
"""Barrier of the shared splitting, in units of the mean gain of a weight: first, from round to round, least."""

OWN_BARRIERS = (0.15, 0.04, 0.02, 0.02, 0.01, 0.01)
"""Barriers of the rounds of splittings for every row."""

WORTH = 0.025
"""A round for every row of a large layer that raises the bound by less is the last, unless a time limit is given."""

SMALL = 2**22
"""Up to rows·d² multiplications a product is so cheap that it is made in float64."""

SINGULAR = 1e-4
"""Mean of D, in units of the diagonal of H₁, below which float32 does not do."""


@dataclass(frozen=True, eq=False)
class RowsBound:
    """A proven bound and the relaxed point behind it.

    Parameters
    ----------
    value : float
        ≤ f(w) for every w whose support lies in the pattern.
    iterations : int
        Of ADMM.
    scores : array, shape (n,)
        s of (B): the gain of keeping each weight; the relaxation's ranking.
    relaxed : array, shape (n,)
        The relaxed mask z, 0 … 1.
    """

    value: float
    iterations: int
    scores: Vector
    relaxed: Vector


class _TimeIsUp(Exception):
    """The search ends with what it has proven."""


def rows_bound(problem: PruningProblem, device: str = "cpu", time_limit: float | None = None) -> tuple[float, int]:
    """A proven lower bound under a cardinality or quotas, and the iterations it took; −∞ where nothing is proven.

    Takes ``RowsCurvature``, and any curvature that can be formed densely as a layer of one row.
    """
    found = bound_rows(problem, device, time_limit)
    return found.value, found.iterations


def bound_rows(problem: PruningProblem, device: str = "cpu", time_limit: float | None = None) -> RowsBound:
    """The bound with the relaxed point that gave it.

    Parameters
    ----------
    device : str
        'cpu' or 'cuda'.
    time_limit : float, optional
        Seconds: the best bound proven by then. The first, weak one is waited for.
    """
    until = np.inf if time_limit is None else time.perf_counter() + time_limit
    problem = problem.below()
    layer = Layer.of(problem, device)
    rows, H = shared_curvature(problem)
    best: RowsBound | None = None

    def check() -> None:
        if best is not None and time.perf_counter() > until:
            raise _TimeIsUp

    try:
        for D, w, point in _way(layer, check, time_limit is None):
            E = w / layer.scale - problem.w_bar.reshape(rows, len(H))
            value, scores = certified(problem, D * layer.scale**2, E, device, check)
            if best is None or value > best.value:
                best = RowsBound(value, point.iterations, scores, point.z.cpu().double().numpy().ravel())
            check()
    except _TimeIsUp:
        pass
    assert best is not None
    if problem.g is None and best.value < problem.offset:  # f ≥ f(w̄), as H is positive definite
        return RowsBound(problem.offset, best.iterations, best.scores, best.relaxed)
    return best


def _way(layer: Layer, check: Callable[[], None], brief: bool) -> Iterator[tuple[Vector, Vector, Point]]:
    """D and w in the units of ``layer``, and the point, wherever a proof is worth its time.

    ``check`` may raise; ``brief``: a large layer ends by ``WORTH``.
    """
    import torch

    D = first_splitting(layer.U)
    relaxation = Relaxation(layer, torch.float64)
    large = layer.rows * layer.d**2 > SMALL
    if large and float(D.mean()) > SINGULAR:
        relaxation = Relaxation(layer, torch.float32)

    def found(D: torch.Tensor, point: Point) -> tuple[Vector, Vector, Point]:
        return D.cpu().double().numpy(), relaxation.unit * point.w.cpu().double().numpy(), point

    point = relaxation.solve(D, relaxation.start(), FIRST)
    yield found(D, point)
    share, stalled = BEGIN, 0
    for number in range(1, SHARED_ROUNDS + 1):
        check()
        before = point.bound
        D = shared_ascent(relaxation, D, point, share)
        point = relaxation.solve(D, point, BETWEEN)
        if share == LEAST and point.bound - before < STALL * abs(point.bound):
            stalled += 1
            if stalled == PATIENCE:
                break
        share = max(SMALLER * share, LEAST)
        if number % PROOF_EVERY == 0:
            point = _settled(relaxation, D, point)
            yield found(D, point)
    point = _settled(relaxation, D, point)
    yield found(D, point)
    for share in OWN_BARRIERS:
        before = point.bound
        D = own_ascent(relaxation, D, point, share, check)
        point = _settled(relaxation, D, relaxation.solve(D, point, SETTLING))
        yield found(D, point)
        if point.bound - before < (WORTH if brief and large else STALL) * abs(point.bound):
            break


def _settled(relaxation: Relaxation, D: torch.Tensor, point: Point) -> Point:
    """``point`` after as many iterations as raise its bound."""
    for _ in range(MOST_SETTLING // SETTLING):
        before = point.bound
        point = relaxation.solve(D, point, SETTLING)
        if point.bound - before < SETTLED * abs(point.bound):
            break
    return point
