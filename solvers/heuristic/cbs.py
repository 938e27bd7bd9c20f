"""The Combinatorial Brain Surgeon's selection: randomized magnitude initialization, then local search.

Selection objective (CBS-S) with p = 1 − z and A = diag(w̄) H diag(w̄):

    f(z∘w̄) = ½ pᵀA p − (g∘w̄)ᵀp.

The value is relative to f(w̄). With the gradient u = A p − g∘w̄ in p, keeping a pruned weight i again lowers it by
a_i = u_i − ½A_ii, pruning a kept weight j raises it by b_j = u_j + ½A_jj, and exchanging the two changes it by
b_j − A_ij − a_i. (The paper has no ½: its a, b and γ_ij = 2A_ij are twice these.)

1. Of ``trials`` initial masks (the first is plain magnitude, the others are randomized) take the best.
2. Local search (Algorithm 1): sort the pruned weights by a_i, descending, and the kept ones by b_j − A_{j,first},
   ascending, where 'first' is the first of the sorted pruned weights. For each position in the list of the pruned, scan
   the list of the kept from ρ positions before it to ρ after it, and make the first exchange that gains more than ε.
   After τ positions without an exchange give up the pass; repeat while passes improve.

Yu, Serra, Ramalingam & Zhe, The Combinatorial Brain Surgeon, ICML 2022. There are two differences. Their ε is absolute;
here it is a fraction of the objective at the initial mask, so that the units of H and w̄ do not matter. (With a
first-order term the objective can vanish, and ε is a fraction of ½pᵀAp + |g∘w̄|ᵀp.) And they choose the initial mask by
the training loss, which a block does not know; here it is chosen by the selection objective.
"""

from __future__ import annotations

from functools import singledispatch

import numpy as np

from cbs_opt.kernel.arrays.types import Mask
from cbs_opt.kernel.curvature import Curvature, FactorCurvature
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.patterns import Cardinality
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Outcome
from cbs_opt.solvers.heuristic.cbs_gains import gains_of
from cbs_opt.solvers.heuristic.randomized_magnitude import randomized_magnitude

TOGETHER = 10
"""Initial masks that are evaluated in one pass over the factor of H."""


def run(
    problem: PruningProblem, *, seed: int = 0, trials: int = 50, rho: int = 10, epsilon: float = 1e-4, tau: int = 20
) -> Outcome:
    """Choose the best of several initial masks and improve it by local search; the same seed gives the same mask.

    Parameters
    ----------
    seed : int
        Seed of the randomized initial masks.
    trials : int
        Initial masks to choose from, ≥ 1; 1 is plain magnitude.
    rho : int
        ρ, positions scanned on either side of an exchange.
    epsilon : float
        ε, least gain of an exchange as a fraction of the objective at the initial mask.
    tau : int
        τ, positions without an exchange, counted over a pass, after which the pass is given up.
    """
    pattern = problem.Z.labelled
    assert pattern is not None, "checked by the method's spec"
    generator = np.random.default_rng(seed)
    masks = [pattern.argmax(problem.w_bar**2)]
    masks += [randomized_magnitude(problem.w_bar, pattern, generator) for _ in range(trials - 1)]
    best = masks[int(np.argmin(selection_increases(problem.curvature, problem, masks)))]
    return Outcome(local_search(problem, best, rho=rho, epsilon=epsilon, tau=tau))


def local_search(problem: PruningProblem, start: Mask, *, rho: int, epsilon: float, tau: int) -> Mask:
    """Algorithm 1 of the paper: a mask that keeps as many weights as ``start`` and is no worse for the selection.

    Parameters
    ----------
    rho : int
        ρ, positions scanned on either side of an exchange.
    epsilon : float
        ε, least gain of an exchange as a fraction of the objective at ``start``.
    tau : int
        τ, positions without an exchange after which a pass is given up.
    """
    removed = np.where(start, 0.0, problem.w_bar)
    first_order = float(np.abs(problem.linear_term() * removed).sum())
    threshold = epsilon * (0.5 * problem.curvature.quadratic(removed) + first_order)
    z, value = start, selection_increase(problem, start)
    while True:
        trial = _one_pass(problem, z, threshold, rho, tau)
        improved = selection_increase(problem, trial)
        if not improved < value:
            return z
        z, value = trial, improved


def selection_increase(problem: PruningProblem, z: Mask) -> float:
    """½ pᵀAp − (g∘w̄)ᵀp, by which f(z∘w̄) exceeds f(w̄)."""
    removed = np.where(z, 0.0, problem.w_bar)
    return 0.5 * problem.curvature.quadratic(removed) - float(problem.linear_term() @ removed)


@singledispatch
def selection_increases(curvature: Curvature, problem: PruningProblem, masks: list[Mask]) -> list[float]:
    """``selection_increase`` of each mask for ``problem``, whose curvature is the first argument."""
    return [selection_increase(problem, mask) for mask in masks]


@selection_increases.register
def _several_at_once(H: FactorCurvature, problem: PruningProblem, masks: list[Mask]) -> list[float]:
    """``selection_increase`` of each mask, the factor being read once for several masks."""
    values: list[float] = []
    for start in range(0, len(masks), TOGETHER):
        removed = np.where(np.stack(masks[start : start + TOGETHER], axis=1), 0.0, problem.w_bar[:, None])
        squares = (H.image(removed) ** 2).sum(axis=0) + H.damping * (removed**2).sum(axis=0)
        values += list(0.5 * squares - problem.linear_term() @ removed)
    return values


def _one_pass(problem: PruningProblem, start: Mask, threshold: float, rho: int, tau: int) -> Mask:
    """The mask after one pass over the pruned weights, in which each weight is exchanged once at the most."""
    z, gains = start.copy(), gains_of(problem.curvature, problem, start)
    a, b = gains.gradient - gains.half_diagonal, gains.gradient + gains.half_diagonal
    pruned, kept = np.flatnonzero(~z & problem.Z.free), np.flatnonzero(z & problem.Z.free)
    if not pruned.size or not kept.size:
        return z
    pruned = pruned[np.argsort(-a[pruned], kind="stable")]
    kept = kept[np.argsort(b[kept] - gains.column(pruned[0])[kept], kind="stable")]
    misses = 0
    for position, i in enumerate(pruned):
        window = kept[max(position - rho, 0) : position + rho + 1]
        window = window[z[window]]
        gaining = np.flatnonzero(gains.changes(i, window) < -threshold)
        if gaining.size:
            j = window[gaining[0]]
            z[i], z[j] = True, False
            gains.exchange(i, j)
        else:
            misses += 1
            if misses >= tau:
                break
    return z


SPEC = MethodSpec(
    name="cbs",
    run=run,
    summary="the paper's randomized magnitude initialization and local search on the selection",
    exact=False,
    objective=Objective.SELECTION,
    reference="Yu, Serra, Ramalingam & Zhe, ICML 2022",
    patterns=(Cardinality,),
)
