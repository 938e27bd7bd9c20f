"""Splittings H = R + diag(D) + Σ q_e u_e u_eᵀ for the formulations of the joint problem that need one.

They are found by the bounds of this package, given in the units of H, and shrunk until R is positive semidefinite with
a margin, so that it still is after a model is written down, rounded and read by a solver.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import LinAlgError, cholesky

from cbs_opt.kernel.arrays.types import EPS, Matrix, Vector
from cbs_opt.kernel.patterns import Cardinality, Pattern
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.solvers.bounds.centered import CenteredBlock
from cbs_opt.solvers.bounds.perspective import ROUNDS
from cbs_opt.solvers.bounds.pieces import Pieces, Splitting, choose
from cbs_opt.solvers.bounds.relaxed_value import relaxed_value
from cbs_opt.solvers.bounds.shrinking import shrinking
from cbs_opt.solvers.forms.node_state import Room, state_of

PARTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""The parts of the splitting with pieces that are tried in its mixture with the best diagonal."""

ACCURACY = 2e-3
"""How exactly the bound with pieces is maximized, relative to the incumbent: more exactly than in ``bnb``, since a
model is written only once and another solver's tree follows."""

SHARE = 0.999
"""The part of a splitting that is used; what is left out of it makes R positive definite."""


def best_diagonal(problem: PruningProblem) -> Vector:
    """D of nearly the strongest perspective relaxation, shape (n,); zeros where H is singular up to round-off.

    Notes
    -----
    D is found for the pattern itself if that is one of labels with room. For any other pattern it is found for the
    number of weights that a mask can keep at the most, and without a pattern for half of all weights.
    """
    from cbs_opt.solvers.compiled.node import process

    pattern, n = _assumed(problem), problem.n
    block = CenteredBlock.of(problem)
    state = state_of(pattern)
    room = Room.one(n, _most_kept(pattern)) if pattern.labelled is None else Room.of(pattern.labelled)
    D = block.first_splitting()
    w = block.c.copy()
    process(block.H, block.c, 0.0, state, D, w, w.copy(), np.full(len(room.room), -1.0), 1.0, room, np.inf, ROUNDS, 0)
    H = problem.curvature.dense()
    # The units of the block are powers of two.
    share = _shown(H, np.diag(D * H.diagonal() / block.H.diagonal()))
    return share * D * H.diagonal() / block.H.diagonal()


def rank_one_pieces(problem: PruningProblem, incumbent: float) -> Splitting | None:
    """D, pieces and q of nearly the strongest relaxation with pieces.

    They are found for the pattern itself if that is one of labels with room and every label leaves a choice, else for
    the number of weights that a mask can keep at the most. In the latter case, unless all weights carry one label, they
    are mixed with the best diagonal: of a few mixtures the one whose relaxation has the largest value (about) is taken,
    and one of them is the best diagonal alone.

    Parameters
    ----------
    incumbent : float
        The objective of a feasible w.

    Returns
    -------
    Splitting or None
        None where nothing or everything can be kept, or where the arithmetic fails.
    """
    pattern = _assumed(problem)
    H, center = problem.curvature.dense(), problem.minimizer()
    own = _own_room(pattern)
    room = Room.one(problem.n, _most_kept(pattern)) if own is None else own
    if not 1 <= room.room[0] < problem.n:
        return None
    found = choose(H, H @ center, room, incumbent - problem.objective(center), ACCURACY)
    if found is None:
        return None
    U = directions(found.pieces, problem.n)
    share = _shown(H, np.diag(found.D) + (U * found.q) @ U.T)
    if share == 0.0:
        return None
    D, q = share * found.D, share * found.q
    if own is not None or (pattern.labelled is not None and pattern.labelled.single):
        return found._replace(D=D, q=q)
    diagonal, b = best_diagonal(problem), H @ center

    def value(part: float) -> float:
        return relaxed_value(H, b, (1.0 - part) * diagonal + part * D, U, part * q, pattern)

    part = max(PARTS, key=value)
    return found._replace(D=(1.0 - part) * diagonal + part * D, q=part * q)


def directions(pieces: Pieces, n: int) -> Matrix:
    """The matrix of the u_e, one in each column and zero outside its set; shape (n, E)."""
    U = np.zeros((n, len(pieces.u)))
    e, p = np.nonzero(pieces.members >= 0)
    U[pieces.members[e, p], e] = pieces.u[e, p]
    return U


def _shown(H: Matrix, part: Matrix) -> float:
    """A share, SHARE at most, of ``part`` that leaves H positive semidefinite beyond round-off; 0 where none does."""
    scale = np.sqrt(H.diagonal())
    unit, split = H / np.outer(scale, scale), part / np.outer(scale, scale)
    margin = 4.0 * (len(H) + 1) * EPS * np.eye(len(H))
    for tried in shrinking(np.array([1.0])):
        share = float(tried[0])
        try:
            cholesky(unit - share * split - margin, lower=True, check_finite=False)
        except LinAlgError:
            continue
        return SHARE * share
    return 0.0


def _assumed(problem: PruningProblem) -> Pattern:
    """The pattern of the problem, or half of all weights where it has none."""
    return Cardinality(problem.n, problem.n // 2) if problem.pattern is None else problem.pattern


def _own_room(pattern: Pattern) -> Room | None:
    """The room of a pattern of labels that all leave a choice and decide no weight; None for any other pattern."""
    labelled = pattern.labelled
    if labelled is None or not labelled.free.all():
        return None
    room = Room.of(labelled)
    count = np.bincount(room.labels, minlength=len(room.room))
    return room if ((room.room > 0) & (room.room < count)).all() else None


def _most_kept(pattern: Pattern) -> int:
    """How many weights a mask of the pattern keeps at the most."""
    return int(pattern.argmax(np.ones(pattern.n)).sum())
