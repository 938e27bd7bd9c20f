"""Making certificates: from the record of a branch and bound, from one point, or from one dual vector.

Nothing here needs to be trusted: a mistake would make a certificate that proves little, or that the verifier rejects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cbs_opt.errors import InputError, TooLargeError
from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import GAP_TOLERANCE, Solution
from cbs_opt.kernel.update import obs_update
from cbs_opt.proof.certificate.archive import MOST_ENTRIES
from cbs_opt.proof.certificate.digest import claim_digest
from cbs_opt.proof.certificate.limits import Limits
from cbs_opt.proof.certificate.record import Progress, Proof
from cbs_opt.proof.check.dual import dual_choice, parts, takes
from cbs_opt.proof.check.exact_model import too_large
from cbs_opt.proof.check.integers import below
from cbs_opt.proof.make.points import FATHOMED
from cbs_opt.proof.make.tree import TreeMaker

if TYPE_CHECKING:
    from cbs_opt.solvers.exact.bnb_nodes import NodeRecord

SEARCHABLE = 1_000
"""The largest number of weights for which a search is run to make a certificate."""

CAUTION_OF_SUMS = 4.0
"""The factor by which intervals of float64 sums are wider here than in the verifier, see ``dual_choice``."""

DUAL_EVALUATIONS = 300


def prove(
    problem: PruningProblem,
    *,
    gap: float = GAP_TOLERANCE,
    time_limit: float | None = None,
    node_limit: int | None = None,
    progress: Progress | None = None,
) -> Proof:
    """Solve ``problem`` by branch and bound, within the given limits, and make a certificate of the lower bound.

    Beyond 1,000 weights, or where AᵀA + λI of a factor takes too long to form exactly, there is no search: the
    certificate is one dual vector, and its mask the one that the relaxed solution rounds to.

    Parameters
    ----------
    problem : PruningProblem
        The problem, with its pattern set.
    gap, time_limit, node_limit
        Limits of the search, as for the method ``bnb``.
    progress : callable, optional
        Called as ``progress(done, nodes)`` while the certificate is made.

    Raises
    ------
    UnsupportedError, TooLargeError
        There is no certificate for this pattern, or none for this curvature at this size.
    """
    from cbs_opt.evaluation.solve import solve

    require_certifiable(problem)
    if not searchable(problem):
        return from_point(problem)
    records: list[NodeRecord] = []
    most = node_limit_of(problem.n)
    nodes = most if node_limit is None else min(node_limit, most)
    solution = solve(problem, "bnb", gap=gap, time_limit=time_limit, node_limit=nodes, record=records.append)
    return from_records(problem, solution, records, progress=progress)


def searchable(problem: PruningProblem) -> bool:
    """Whether ``problem`` can have a certificate with a tree."""
    return problem.n <= SEARCHABLE and not too_large(problem)


def require_certifiable(problem: PruningProblem) -> None:
    """Raise an error if no certificate can be made; to be called before a long solve, not after it.

    Raises
    ------
    UnsupportedError, TooLargeError
        There is no certificate for this pattern, or none for this curvature at this size.
    """
    Limits.of(problem)
    if not searchable(problem) and not takes(problem):
        raise TooLargeError(
            f"certificate: takes at most {SEARCHABLE} weights on a {problem.curvature.kind} curvature, "
            f"not {problem.n}; a factor (gradients) may be of any size"
        )


def node_limit_of(n: int) -> int:
    """The largest number of nodes of a certificate for ``n`` weights."""
    return max(1, MOST_ENTRIES // n)


def from_records(
    problem: PruningProblem, solution: Solution, records: Sequence[NodeRecord], *, progress: Progress | None = None
) -> Proof:
    """The certificate of a branch and bound that was run with the option ``record``.

    Its bound is the one that the verifier can prove. It is usually that of the search or slightly larger, and smaller
    where H is nearly singular.

    Parameters
    ----------
    problem : PruningProblem
        The problem that was searched.
    solution : Solution
        The result of the search.
    records : sequence of NodeRecord
        All nodes, in the order in which ``record`` was called with them.
    progress : callable, optional
        Called as ``progress(done, nodes)`` from time to time.

    Raises
    ------
    InputError
        There are too many nodes, or nothing can be proven because H is singular to float64.
    """
    if len(records) > node_limit_of(problem.n):
        raise InputError(
            f"certificate: {len(records):,} nodes are more than the {node_limit_of(problem.n):,} that one for "
            f"{problem.n} weights may have; stop the search earlier, or at a larger gap"
        )
    maker = TreeMaker(problem, records or [_root(problem)], solution.mask, solution.bound)
    return maker.proof(progress)


def from_point(problem: PruningProblem, mask: Mask | None = None) -> Proof:
    """The certificate of the bound from one relaxed point, without a search, for a mask from any method.

    Parameters
    ----------
    problem : PruningProblem
        The problem, with its pattern set.
    mask : boolean array, shape (n,), optional
        The incumbent (1 keeps); by default the mask that the relaxed point rounds to.

    Raises
    ------
    UnsupportedError, TooLargeError
        There is no certificate for this pattern, or none for this curvature at this size.
    """
    require_certifiable(problem)
    if searchable(problem):
        from cbs_opt.solvers.exact import bnb

        records: list[NodeRecord] = []
        bnb.prepare()
        outcome = bnb.run(problem, node_limit=1, record=records.append)
        chosen = outcome.mask if mask is None else mask
        return TreeMaker(problem, records[:1] or [_root(problem)], chosen, -math.inf).proof(None)
    return _from_dual(problem, mask)


def _from_dual(problem: PruningProblem, mask: Mask | None) -> Proof:
    limits = Limits.of(problem)
    A, damping = parts(problem)
    alpha = _best_alpha(problem)
    if mask is None:
        y = A.T @ alpha + problem.linear_term()
        mask = problem.Z.argmax((y - damping * problem.w_bar) ** 2 / (2.0 * damping))
    bound = below(dual_choice(problem, limits, alpha, CAUTION_OF_SUMS).bound)
    return Proof(
        limits=limits,
        mask=mask,
        weights=obs_update(problem, mask),
        bound=bound,
        digest=claim_digest(problem, limits),
        alpha=alpha,
    )


def _best_alpha(problem: PruningProblem) -> Vector:
    """The α with the largest dual bound that L-BFGS finds, started at the support of the largest weights."""
    from scipy.optimize import minimize

    from cbs_opt.solvers.bounds.dual import dual_value

    A, _ = parts(problem)
    if not len(A):
        return np.zeros(0)
    start = obs_update(problem, problem.Z.argmax(problem.w_bar**2))
    unit = max(abs(problem.objective(start)), float(np.finfo(np.float64).tiny))
    root = math.sqrt(unit)
    best, best_alpha = -math.inf, np.zeros(len(A))

    def negative(scaled: Vector) -> tuple[float, Vector]:
        nonlocal best, best_alpha
        value, gradient = dual_value(problem, scaled * root)
        if value > best:
            best, best_alpha = value, scaled * root
        return -value / unit, -gradient * (root / unit)

    options = {"maxfun": DUAL_EVALUATIONS, "maxiter": DUAL_EVALUATIONS, "maxcor": 20, "ftol": 1e-9, "gtol": 1e-12}
    alpha = A @ (start - problem.w_bar)
    minimize(negative, alpha / root, jac=True, method="L-BFGS-B", options=options)
    return best_alpha


def _root(problem: PruningProblem) -> NodeRecord:
    """The record of the root, which a search does not process if its first incumbent is the unconstrained minimizer."""
    from cbs_opt.solvers.bounds.centered import CenteredBlock, root_state
    from cbs_opt.solvers.exact.bnb_nodes import NodeRecord

    block = CenteredBlock.of(problem)
    state, D, _ = root_state(problem, block)
    return NodeRecord(0, -1, state, state, D, block.c, 0.0, 0.0, FATHOMED, -1)
