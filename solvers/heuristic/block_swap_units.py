"""One round of ``block_swap`` under any pattern: whole units are exchanged, and the pattern is asked about each mask.

What pruning a kept unit alone costs and what keeping a pruned one alone gains is known exactly
(``Supports.joint_scores``); the cheapest of the former and the most gainful of the latter are the candidates. With all
other kept weights eliminated, units of that small dense problem are exchanged as in ``swap``.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from cbs_opt.kernel.arrays.types import Mask
from cbs_opt.kernel.device import tensor
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.solvers.forms.unit_parts import Places
from cbs_opt.solvers.heuristic.block_swap_support import Support, Supports
from cbs_opt.solvers.heuristic.swap import exchanged
from cbs_opt.solvers.heuristic.unit_scores import on_first, places_by_size


def exchange_units(problem: PruningProblem, supports: Supports, support: Support, most: int) -> Places | None:
    """The weights that change between kept and pruned in one round; None where no exchange helps.

    Parameters
    ----------
    problem : PruningProblem
        The problem, under any pattern.
    supports, support : Supports, Support
        The maker of supports, and the one to improve.
    most : int
        Kept weights that take part, and as many pruned ones; a single larger unit may take part all the same.
    """
    import torch

    pattern, data = problem.Z, supports.data
    changes = on_first(pattern, supports.joint_scores(support, places_by_size(problem.curvature, pattern)))
    kept_first = _first(pattern.units, pattern.free & support.mask, changes, most)
    pruned_first = _first(pattern.units, pattern.free & ~support.mask, -changes, most)
    if not kept_first.size or not pruned_first.size:
        return None
    chosen = np.concatenate([kept_first, pruned_first])
    columns, lam = data.columns(tensor(chosen, data.device)), data.lam[tensor(chosen, data.device)]
    root = columns[:, : len(kept_first)] / lam[: len(kept_first)].sqrt()
    reduced, info = torch.linalg.cholesky_ex(support.K[0] - root @ root.T)
    if int(info) > 0:
        return None
    half = torch.linalg.solve_triangular(reduced, columns, upper=False)
    H = (half.T @ half + torch.diag(lam)).cpu().numpy()
    kept = support.mask[chosen]
    omega = support.omega[tensor(chosen, data.device)].cpu().numpy()
    b = H @ np.where(kept, omega, 0.0) + np.where(kept, 0.0, lam.cpu().numpy() * omega)

    def contains(z: Mask) -> bool:
        mask = support.mask.copy()
        mask[chosen] = z
        return pattern.contains(mask)

    center = cho_solve(cho_factor(H, lower=True), b)
    after = exchanged([(1, H)], center, kept, np.asarray(pattern.units)[chosen], contains)
    return chosen[after != kept] if (after != kept).any() else None


def _first(units: Places, among: Mask, cost: np.ndarray, most: int) -> Places:
    """The weights of the cheapest units: as many units as hold at most ``most`` weights, or one.

    Only the weights of ``among`` are counted; the cost of a unit is the sum of their ``cost``.
    """
    index = np.flatnonzero(among)
    names, number, sizes = np.unique(units[index], return_inverse=True, return_counts=True)
    order = np.argsort(np.bincount(number.ravel(), weights=cost[index], minlength=len(names)), kind="stable")
    enough = max(1, int(np.searchsorted(np.cumsum(sizes[order]), most, side="right")))
    return index[np.isin(number.ravel(), order[:enough])]
