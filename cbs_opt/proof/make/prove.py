"""Making certificates: from the record of a branch and bound, from one point, or from one dual vector.

Nothing here has to be right for a certificate to be right: the verifier decides. It has to be good.
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
"""Most weights a search is run on for a certificate."""

CAUTION_OF_SUMS = 4.0
"""How much wider the intervals of float64 sums are taken than the verifier takes them, see ``dual_choice``."""

DUAL_EVALUATIONS = 300


def prove(
    problem: PruningProblem,
    *,
    gap: float = GAP_TOLERANCE,
    time_limit: float | None = None,
    node_limit: int | None = None,
    progress: Progress | None = None,
) -> Proof:
    """Solve ``problem`` by branch and bound, as far as the limits let it, and make the certificate of its bound.

    Beyond ``SEARCHABLE`` weights the certificate is that of one relaxed point, and its mask the rounded one.

    Parameters
    ----------
    problem : PruningProblem
        With its pattern set.
    gap, time_limit, node_limit
        Of the search, as of ``bnb``.
    progress : callable, optional
        ``progress(done, nodes)`` while the certificate is made.

    Raises
    ------
    UnsupportedError, TooLargeError
        No certificate is made for this pattern, curvature or size.
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
    """Whether a tree can be made the certificate of ``problem``."""
    return problem.n <= SEARCHABLE and not too_large(problem)


def require_certifiable(problem: PruningProblem) -> None:
    """Raise where no certificate can be made; better before a long solve than after.

    Raises
    ------
    UnsupportedError, TooLargeError
        Of a pattern, a curvature or a size that no certificate is made for.
    """
    Limits.of(problem)
    if not searchable(problem) and not takes(problem):
        raise TooLargeError(
            f"certificate: takes at most {SEARCHABLE} weights on a {problem.curvature.kind} curvature, "
            f"not {problem.n}; a factor (gradients) may be of any size"
        )


def node_limit_of(n: int) -> int:
    """How many nodes a certificate for ``n`` weights may have."""
    return max(1, MOST_ENTRIES // n)


def from_records(
    problem: PruningProblem, solution: Solution, records: Sequence[NodeRecord], *, progress: Progress | None = None
) -> Proof:
    """The certificate of a branch and bound that was run with ``record=``.

    Its bound is what the verifier can prove: the search's own and often a little more, less where H is nearly singular.

    Parameters
    ----------
    problem : PruningProblem
        What was searched.
    solution : Solution
        What came out.
    records : sequence of NodeRecord
        Every node, as ``record=`` was called with it.
    progress : callable, optional
        ``progress(done, nodes)`` now and then.

    Raises
    ------
    InputError
        Too many nodes, or nothing at all can be proven, for an H that is singular to float64.
    """
    if len(records) > node_limit_of(problem.n):
        raise InputError(
            f"certificate: {len(records):,} nodes are more than the {node_limit_of(problem.n):,} that one for "
            f"{problem.n} weights may have; stop the search earlier, or at a larger gap"
        )
    maker = TreeMaker(problem, records or [_root(problem)], solution.mask, solution.bound)
    return maker.proof(progress)


def from_point(problem: PruningProblem, mask: Mask | None = None) -> Proof:
    """The certificate of one relaxed point, for a mask made by any method.

    Parameters
    ----------
    problem : PruningProblem
        With its pattern set.
    mask : boolean array, shape (n,), optional
        1 keeps; left out, the mask that the relaxed point rounds to.

    Raises
    ------
    UnsupportedError, TooLargeError
        No certificate is made for this pattern, curvature or size.
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
    """The α of the largest dual bound that L-BFGS finds from the magnitude support."""
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
    """The node that a search leaves out when its first incumbent is the unconstrained minimizer."""
    from cbs_opt.solvers.bounds.centered import CenteredBlock, root_state
    from cbs_opt.solvers.exact.bnb_nodes import NodeRecord

    block = CenteredBlock.of(problem)
    state, D, _ = root_state(problem, block)
    return NodeRecord(0, -1, state, state, D, block.c, 0.0, 0.0, FATHOMED, -1)
