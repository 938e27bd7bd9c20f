"""A proven lower bound on the joint problem of a whole layer, whose rows share one curvature H₁ and one pattern.

It is bound (B) around w̄, with a splitting H₁ = R + diag(D) for all rows or one for each: for any e in the place of
w − w̄, and q = g + Re,

    bound(e) = offset − ½eᵀRe + Σ_{z_i=0} (½D_i w̄_i² − q_i w̄_i) − Σ_{z_i=1} q_i²/(2D_i),
    z = argmax_{z∈Z} Σ z_i s_i,    s_i = (D_i w̄_i − q_i)²/(2D_i).

``rows_admm`` finds e for a given D and ``rows_splitting`` a D for a given e, in turn; by themselves they prove nothing.
At certain points of the way, ``rows_proof`` shows R to be positive semidefinite and evaluates (B) in float64 on the
data of the problem, less its round-off. The best of these bounds counts. A search with more time goes the same way
further, so that its bound is never lower.

First one splitting is improved for all rows together, which takes a few hundred products of a (rows, d) and a (d, d)
matrix. Then every row gets a splitting of its own, which takes some Cholesky factorizations for each row and round.
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
"""Before a proof, ADMM makes so many iterations at a time as long as they raise the bound by ``SETTLED``, and so many
in all at the most."""

SETTLED = 4e-4
"""The relative rise of the bound that makes further iterations worth while."""

SHARED_ROUNDS = 24
"""Rounds of improvement of the shared splitting at the most."""

PROOF_EVERY = 4
"""Rounds between two proofs for a shared splitting."""

STALL, PATIENCE = 1e-3, 2
"""A round is poor if it raises the bound by a smaller share than the first; so many poor rounds end the shared ones."""

BEGIN, SMALLER, LEAST = 1.0, 0.7, 0.02
"""The barrier of the shared splitting, in units of the mean gain of a weight: the first one, the factor from round to
round, and the least one."""

OWN_BARRIERS = (0.15, 0.04, 0.02, 0.02, 0.01, 0.01)
"""The barriers of the rounds in which every row has a splitting of its own."""

WORTH = 0.025
"""On a large layer, a round of own splittings that raises the bound by a smaller share is the last, unless a time limit
is given."""

SMALL = 2**22
"""Up to so many multiplications, rows·d², a product is so cheap that it is made in float64."""

SINGULAR = 1e-4
"""Where the mean of D, in units of the diagonal of H₁, is below this, float32 is not precise enough."""


@dataclass(frozen=True, eq=False)
class RowsBound:
    """A proven bound and the relaxed point behind it.

    Parameters
    ----------
    value : float
        The bound: at most f(w) for every w whose support lies in the pattern; −∞ where nothing is proven.
    iterations : int
        Iterations of ADMM.
    scores : array, shape (n,)
        s of (B), what keeping each weight gains in the relaxation; they rank the weights.
    relaxed : array, shape (n,)
        The relaxed mask, 0 ≤ z ≤ 1.
    """

    value: float
    iterations: int
    scores: Vector
    relaxed: Vector


class _TimeIsUp(Exception):
    """The time limit is reached: the search ends with what it has proven."""


def rows_bound(problem: PruningProblem, device: str = "cpu", time_limit: float | None = None) -> tuple[float, int]:
    """A proven lower bound under labels with room, and the iterations it took; −∞ where nothing is proven.

    The curvature is ``RowsCurvature``, or any other that can be formed densely, as a layer of one row. ``time_limit``
    is in seconds, as for ``bound_rows``.
    """
    found = bound_rows(problem, device, time_limit)
    return found.value, found.iterations


def bound_rows(problem: PruningProblem, device: str = "cpu", time_limit: float | None = None) -> RowsBound:
    """A proven lower bound under labels with room, and the relaxed point behind it.

    Parameters
    ----------
    device : str
        Where the relaxation is solved: 'cpu' or 'cuda'. The bound is evaluated on the CPU.
    time_limit : float, optional
        Seconds after which the best bound proven so far is returned. The first bound, a weak one, is always waited for.
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
    """The search: yields D and w in the units of ``layer``, and the point, wherever a proof is worth its time.

    ``check`` is called between rounds and may raise; with ``brief`` the search of a large layer ends by ``WORTH``.
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
    """``point`` after as many further iterations as still raise its bound by ``SETTLED``."""
    for _ in range(MOST_SETTLING // SETTLING):
        before = point.bound
        point = relaxation.solve(D, point, SETTLING)
        if point.bound - before < SETTLED * abs(point.bound):
            break
    return point
