"""How much each part of a network keeps within a budget, from measured error curves, by a mixed-integer program.

Each part s (a set of channels, a layer) takes one of a few levels i, with a loss c_s(i) and a cost a_s(i). Two parts
may have a cost together, a_st(i, j), as a convolution costs its inputs times its outputs. With y_si = 1 where s takes
level i, HiGHS solves

    min  Σ_s Σ_i c_s(i) y_si
    s.t. Σ_i y_si = 1                                                       every part s takes one level
         Σ_j p_stij = y_si,  Σ_i p_stij = y_tj,  p ≥ 0                      p_stij = y_si y_tj for every pair (s, t)
         Σ_s Σ_i a_s(i) y_si + Σ_st Σ_ij a_st(i, j) p_stij ≤ budget
         y ∈ {0, 1}

(the products are exact for y in {0, 1}: Adams & Sherali, Management Science 1986). Choosing the sparsity of each layer
is the same without pairs; the levels of a layer are then numbers of weights that it keeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cbs_opt.errors import InputError, PatternError, SolverError
from cbs_opt.kernel.arrays.types import Matrix, Vector
from cbs_opt.kernel.display import Card, Displayed
from cbs_opt.kernel.words import plain_number

GAP = 1e-6
"""HiGHS stops where loss and bound are this close, relative to the loss."""

TIGHTER = 1e-9
"""The part of the budget by which it is reduced where the answer of HiGHS exceeds it by round-off."""

TIME_LIMIT = 60.0
"""Seconds after which HiGHS returns the best it has found."""


@dataclass(frozen=True, eq=False, repr=False)
class Allocation(Displayed):
    """The level of each part, as ``allocate`` chose it.

    Parameters
    ----------
    levels : int array, shape (parts,)
        The index of the level that each part takes.
    loss, cost : float
        The total loss and cost of these levels, evaluated in float64; the cost is at most the budget.
    bound : float
        A lower bound on the total loss of any levels within the budget: the dual bound of HiGHS, less a tolerance.
    """

    levels: NDArray[np.int64]
    loss: float
    cost: float
    bound: float

    def _card(self) -> Card:
        title = f"{len(self.levels):,} parts, loss {plain_number(self.loss)}, proven bound {plain_number(self.bound)}"
        return Card(title, {"cost": plain_number(self.cost), "levels": ", ".join(map(str, self.levels))})


def allocate(
    curves: Sequence[ArrayLike],
    costs: Sequence[ArrayLike],
    budget: float,
    pairs: Mapping[tuple[int, int], ArrayLike] | None = None,
    *,
    time_limit: float = TIME_LIMIT,
) -> Allocation:
    """Choose a level for each part so that the total loss is least and the total cost within a budget.

    Parameters
    ----------
    curves, costs : sequences of arrays, shape (levels,)
        For each part, the loss and the cost of each of its levels.
    budget : float
        The largest total cost, > 0.
    pairs : mapping of (s, t) to array, shape (levels of s, levels of t), optional
        What two parts s ≠ t cost together, in addition, at each pair of their levels.
    time_limit : float
        Seconds after which HiGHS returns the best levels it has found; the bound holds then, too.

    Raises
    ------
    InputError
        Curves, costs and pairs do not fit together or are not finite, or the budget is not positive.
    PatternError
        No levels are within the budget.
    SolverError
        HiGHS found no levels within the time limit.
    """
    c, a, together = _checked(curves, costs, budget, pairs or {})
    levels, bound = _solved(c, a, budget, together, time_limit)
    reduced = budget
    while (cost := _cost(levels, a, together)) > budget:  # above the budget, by the tolerance of HiGHS
        reduced -= max(TIGHTER * budget, cost - budget)
        levels, _ = _solved(c, a, reduced, together, time_limit)
    loss = float(sum(part[i] for part, i in zip(c, levels, strict=True)))
    return Allocation(levels, loss, cost, min(bound, loss))


def _cost(levels: NDArray[np.int64], costs: Sequence[Vector], pairs: Mapping[tuple[int, int], Matrix]) -> float:
    own = _added(part[i] for part, i in zip(costs, levels, strict=True))
    return own + _added(both[levels[s], levels[t]] for (s, t), both in pairs.items())


def _added(costs: Iterable[float]) -> float:
    """One after the other, as budgets that are such sums were added: ``sum`` rounds differently from Python 3.12 on."""
    total = 0.0
    for cost in costs:
        total += float(cost)
    return total


def _checked(
    curves: Sequence[ArrayLike], costs: Sequence[ArrayLike], budget: float, pairs: Mapping[tuple[int, int], ArrayLike]
) -> tuple[list[Vector], list[Vector], dict[tuple[int, int], Matrix]]:
    c, a = ([np.asarray(part, dtype=np.float64) for part in given] for given in (curves, costs))
    together = {key: np.asarray(part, dtype=np.float64) for key, part in pairs.items()}
    if not c or [part.shape for part in c] != [part.shape for part in a] or any(part.ndim != 1 for part in c):
        raise InputError("curves, costs: give one loss and one cost for each level of each part")
    for (s, t), both in together.items():
        if s == t or not (0 <= s < len(c) and 0 <= t < len(c)) or both.shape != (len(c[s]), len(c[t])):
            raise InputError(
                f"pairs: ({s}, {t}) has costs of shape {both.shape}; give one for each pair of their levels"
            )
    if not all(np.isfinite(part).all() for part in (*c, *a, *together.values())):
        raise InputError("curves, costs: hold NaN or infinity; all losses and costs must be finite")
    if not budget > 0:
        raise InputError(f"budget: is {budget}; it must be positive")
    return c, a, together


def _solved(
    c: Sequence[Vector],
    a: Sequence[Vector],
    budget: float,
    pairs: Mapping[tuple[int, int], Matrix],
    time_limit: float,
) -> tuple[NDArray[np.int64], float]:
    """The levels that HiGHS chose, and a lower bound on the loss."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    sizes = np.array([len(part) for part in c])
    starts = np.concatenate([[0], np.cumsum(sizes)])
    n, scale = int(starts[-1]), max(float(np.concatenate(c).max(initial=0.0)), np.finfo(float).tiny)
    rows, right, columns = _choices(sizes, starts, pairs)
    cost = np.concatenate([*a, *(both.ravel() for both in pairs.values())])[None] / budget
    objective = np.zeros(columns)
    objective[:n] = np.concatenate(c) / scale
    found = milp(
        objective,
        integrality=(np.arange(columns) < n).astype(int),
        bounds=Bounds(0.0, 1.0),
        constraints=[LinearConstraint(rows, right, right), LinearConstraint(cost, -np.inf, 1.0)],
        options={"mip_rel_gap": GAP, "time_limit": time_limit},
    )
    if found.status == 2:
        raise PatternError(f"budget: nothing costs at most {budget:.6g}; allow more")
    if found.x is None:
        raise SolverError(f"allocation: HiGHS ended without an answer ({found.message}); give it more time")
    levels = np.array(
        [int(np.argmax(found.x[start : start + size])) for start, size in zip(starts, sizes, strict=False)]
    )
    dual = found.mip_dual_bound if found.mip_dual_bound is not None else -np.inf
    return levels, float(dual - GAP * max(1.0, abs(dual))) * scale


def _choices(
    sizes: NDArray[np.int64], starts: NDArray[np.int64], pairs: Mapping[tuple[int, int], Matrix]
) -> tuple[Any, Vector, int]:
    """The equations of levels and products as a sparse matrix, their right-hand sides, and the number of variables."""
    from scipy.sparse import block_array, coo_array, eye_array, kron, vstack

    n, parts = int(starts[-1]), len(sizes)
    one = coo_array((np.ones(n), (np.repeat(np.arange(parts), sizes), np.arange(n))), shape=(parts, n))
    blocks: list[list[Any]] = [[one, *[None] * len(pairs)]]
    for place, (s, t) in enumerate(pairs):
        k, m = int(sizes[s]), int(sizes[t])
        sums = vstack([kron(eye_array(k), np.ones((1, m))), kron(np.ones((1, k)), eye_array(m))])
        at = np.concatenate([starts[s] + np.arange(k), starts[t] + np.arange(m)])
        own = coo_array((-np.ones(k + m), (np.arange(k + m), at)), shape=(k + m, n))
        row: list[Any] = [own, *[None] * len(pairs)]
        row[1 + place] = sums
        blocks.append(row)
    matrix = block_array(blocks, format="csr")
    right = np.zeros(matrix.shape[0])
    right[:parts] = 1.0
    return matrix, right, matrix.shape[1]
