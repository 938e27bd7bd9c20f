"""Joint pruning (CBS) with hulls of rank-one squares: the perspective model, and squares of several weights beside it.

Sets
    I = {0, …, n − 1}                   weights
    E                                   pieces, each with a set S_e ⊆ I of at most eight weights
Data
    H = R + diag(D) + Σ_e q_e u_e u_eᵀ  a split with D, q > 0, u_e zero outside S_e, R positive semidefinite
    b = Hw̄ − g, c = f(0)
    [l_i, u_i]                          the incumbent box (``cbs_opt.models.box``)
Variables
    z_i ∈ {0, 1}                        1 keeps weight i, 0 prunes it
    w_i ∈ R                             weight i after pruning
    t_i ≥ 0                             w_i² or more
    v_e ∈ R                             u_eᵀw
    s_e ≥ 0                             v_e² or more
    a_e ∈ [0, 1]                        0 where all weights of S_e are pruned, free up to 1 elsewhere
Objective
    min  c − bᵀw + ½ wᵀRw + ½ Σ_i D_i t_i + ½ Σ_e q_e s_e
Constraints
    (cardinality)  z ∈ Z                                     the pattern
    (perspective)  w_i² ≤ t_i z_i                 i ∈ I
    (along)        v_e = Σ_{i ∈ S_e} u_ei w_i     e ∈ E
    (some)         a_e ≤ Σ_{i ∈ S_e} z_i          e ∈ E      where all of S_e are pruned, v_e is zero
    (piece)        v_e² ≤ s_e a_e                 e ∈ E      the convex hull of a rank-one square with indicators
    (upper)        w_i ≤ max(u_i, 0) z_i          i ∈ I      as in the big-M model
    (lower)        w_i ≥ min(l_i, 0) z_i          i ∈ I

Where two inputs are nearly equal, hardly anything of H can be split off along the axes, but a square of the two weights
can. The pieces are found as in ``bnb`` (docs/decisions/0013): for the pattern itself where it is a cardinality, quotas
or N:M and every label leaves a choice, else for the number of weights that a mask can keep at most; in the latter case
they are mixed with the D of the perspective model, unless the pattern is a cardinality. The relaxation is at least as
strong as that of the perspective model with the same D.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cbs_opt.kernel.arrays.types import Matrix, Vector
from cbs_opt.kernel.method import Objective
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.models.algebra import expanded, half_square, inner, set_loss
from cbs_opt.models.formulation import Formulation, ProblemClass
from cbs_opt.models.joint import chosen_incumbent, joint_model, zero_where_pruned
from cbs_opt.models.joint_perspective import add_perspective, remainder
from cbs_opt.models.mask import read_mask


def build(problem: PruningProblem, *, block: Any = None, incumbent: float | None = None) -> Any:
    """The Pyomo model of ``problem``, whose pattern must be set unless the model is built on a block.

    Parameters
    ----------
    block : Block, optional
        A block of a larger model to build on; see ``Formulation``.
    incumbent : float, optional
        U, the objective of a feasible w; left out, a value is found (``models.joint.chosen_incumbent``).

    Raises
    ------
    InputError
        The incumbent lies below the unconstrained minimum, or H is singular up to round-off.
    PatternError
        No pattern is set.
    """
    from pyomo.environ import quicksum

    H, b, c = expanded(problem)
    U = chosen_incumbent(problem, incumbent, block)
    D, q, pieces = _split(problem, U)
    R = remainder(H, D, sum((q_e * np.outer(u, u) for q_e, u in zip(q, pieces, strict=True)), np.zeros_like(H)))
    model, box = joint_model(problem, "joint-rank-one", U, block)
    add_perspective(model)
    _add_pieces(model, pieces)
    squares = quicksum(0.5 * float(q_e) * model.s[e] for e, q_e in enumerate(q))
    set_loss(model, c - inner(b, model.w) + half_square(R, model.w) + inner(D / 2, model.t) + squares, block)
    zero_where_pruned(model, box)
    return model


def _split(problem: PruningProblem, incumbent: float) -> tuple[Vector, Vector, Matrix]:
    """A splitting: D (n,), q (|E|,) and u (|E|, n), scaled so that the largest entry of every u is 1 or −1."""
    # Imported here, because ``cbs_opt.solvers`` imports this package while it is loaded.
    from cbs_opt.solvers.bounds.splittings import best_diagonal, directions, rank_one_pieces

    found = rank_one_pieces(problem, incumbent)
    if found is None:
        return best_diagonal(problem), np.zeros(0), np.zeros((0, problem.n))
    used = found.q > 0.0
    u = directions(found.pieces, problem.n).T[used]
    size = np.abs(u).max(axis=1, initial=0.0)
    return found.D, found.q[used] * size**2, u / size[:, None]


def _add_pieces(model: Any, pieces: Matrix) -> None:
    """Add v, s and a with (along), (some) and (piece) to a joint model; ``pieces`` holds the u_e, shape (|E|, n)."""
    from pyomo.environ import Constraint, NonNegativeReals, RangeSet, Reals, Var, quicksum

    members = [np.flatnonzero(u).tolist() for u in pieces]
    model.E = RangeSet(0, len(pieces) - 1, doc="pieces")
    model.v = Var(model.E, domain=Reals, doc="a combination of the weights of the piece")
    model.s = Var(model.E, domain=NonNegativeReals, doc="its square")
    model.a = Var(model.E, bounds=(0, 1), doc="1 where a weight of the piece is kept")
    model.along = Constraint(
        model.E,
        rule=lambda m, e: m.v[e] - quicksum(float(pieces[e, i]) * m.w[i] for i in members[e]) == 0,
        doc="the combination",
    )
    model.some = Constraint(
        model.E,
        rule=lambda m, e: m.a[e] - quicksum(m.z[i] for i in members[e]) <= 0,
        doc="without any weight of the piece it is nothing",
    )
    model.piece = Constraint(
        model.E, rule=lambda m, e: m.v[e] ** 2 - m.s[e] * m.a[e] <= 0, doc="the hull of a rank-one square"
    )


FORMULATION = Formulation(
    name="joint-rank-one",
    build=build,
    extract=read_mask,
    summary="the perspective model with hulls of rank-one squares of several weights beside it (rotated cones)",
    problem_class=ProblemClass.MISOCP,
    bounds=Objective.JOINT,
    reference="Atamtürk & Gómez, Rank-one convexification for sparse regression, arXiv:1901.10334, 2019",
)
