"""The perspective bound of a dense block, its diagonal splitting improved by ascent: the bound at the root of ``bnb``.

X. Zheng, X. Sun & D. Li, Improving the performance of MIQP solvers for quadratic programs with
cardinality and minimum threshold constraints, INFORMS J. Computing 26 (2014), choose the splitting by an
SDP. Here a log-barrier coordinate ascent comes close to that splitting in milliseconds.
"""

from __future__ import annotations

import numpy as np

from cbs_opt.kernel.arrays.sums import sum_below
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.solvers.bounds.centered import CenteredBlock

ROUNDS = 60
"""Rounds of splitting improvement: so many that the kernel runs them all (``compiled.splitting.PATIENT``)."""


def perspective_bound(problem: PruningProblem) -> tuple[float, int]:
    """A proven lower bound on the joint problem under a pattern of labels with room, and the rounds allowed for it."""
    from cbs_opt.solvers.bounds.centered import root_state
    from cbs_opt.solvers.compiled.node import process, support_value
    from cbs_opt.solvers.forms.node_state import LEAF

    block = CenteredBlock.of(problem)
    state, D, room = root_state(problem, block)
    w = block.c.copy()
    outcome, value, *_ = process(
        block.H,
        block.c,
        block.smallest,
        state,
        D,
        w,
        w.copy(),
        np.full(len(room.room), -1.0),
        1.0,
        room,
        np.inf,
        ROUNDS,
        0,
    )
    if outcome == LEAF:
        exact, margin = support_value(block.H, block.c, state == 1)
        # Where the mask's own H cannot be factorized, nothing better than f at the minimizer is known.
        value = sum_below(exact, -margin) if np.isfinite(exact) and block.smallest > 0.0 else 0.0
    return block.bound(max(value, 0.0)), ROUNDS
