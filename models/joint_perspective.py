"""Joint pruning (CBS) with the perspective of a separable part of the loss: a conic model, tight without big M.

Sets
    I = {0, …, n − 1}                   weights
Data
    H = R + diag(D)                     a split with D > 0 and R positive semidefinite
    b = Hw̄ − g, c = f(0)
    [l_i, u_i]                          the incumbent box (``cbs_opt.models.box``)
Variables
    z_i ∈ {0, 1}                        1 keeps weight i, 0 prunes it
    w_i ∈ R                             weight i after pruning
    t_i ≥ 0                             w_i² or more
Objective
    min  c − bᵀw + ½ wᵀRw + ½ Σ_i D_i t_i
Constraints
    (cardinality)  z ∈ Z                                     the pattern
    (perspective)  w_i² ≤ t_i z_i                 i ∈ I      t_i ≥ w_i² where z_i = 1, and w_i = 0 where z_i = 0
    (upper)        w_i ≤ max(u_i, 0) z_i          i ∈ I      as in the big-M model
    (lower)        w_i ≥ min(l_i, 0) z_i          i ∈ I

(perspective) is a rotated second-order cone. It implies that pruned weights are zero; (upper) and (lower) say
so once more because a solver that tolerates an error of 1e-6 in w_i² would accept w_i = 1e-3. With 0 ≤ z ≤ 1 in the
place of z_i ∈ {0, 1} the model becomes the relaxation whose value ``cbs_opt`` maximizes over D to bound dense problems;
where no D is given, the one that this search finds is taken. The relaxation is at least as strong as that of the
big-M model without (must_keep).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import LinAlgError, cholesky

from cbs_opt.errors import InputError
from cbs_opt.kernel.arrays.types import EPS, Matrix, Vector
from cbs_opt.kernel.arrays.validate import as_array
from cbs_opt.kernel.method import Objective
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.models.algebra import expanded, half_square, inner, set_loss
from cbs_opt.models.formulation import Formulation, ProblemClass
from cbs_opt.models.joint import chosen_incumbent, joint_model, zero_where_pruned
from cbs_opt.models.mask import read_mask


def build(problem: PruningProblem, *, block: Any = None, incumbent: float | None = None, D: Any = None) -> Any:
    """The Pyomo model of ``problem``, whose pattern must be set unless the model is built on a block.

    Parameters
    ----------
    block : Block, optional
        A block of a larger model to build on; see ``Formulation``.
    incumbent : float, optional
        U, the objective of a feasible w; left out, a value is found (``models.joint.chosen_incumbent``).
    D : array, shape (n,), optional
        The diagonal to split off, in the units of H. Left out, a search finds one whose relaxation is nearly the
        strongest (``solvers.bounds.splittings.best_diagonal``).

    Raises
    ------
    InputError
        D is not positive, or H − diag(D) has no Cholesky factor, or the incumbent lies below the unconstrained minimum.
    PatternError
        No pattern is set.
    """
    # Imported here, because ``cbs_opt.solvers`` imports this package while it is loaded.
    from cbs_opt.solvers.bounds.splittings import best_diagonal

    H, b, c = expanded(problem)
    split = best_diagonal(problem) if D is None else as_array(D, "D", 1)
    R = remainder(H, split)
    model, box = joint_model(problem, "joint-perspective", chosen_incumbent(problem, incumbent, block), block)
    add_perspective(model)
    set_loss(model, c - inner(b, model.w) + half_square(R, model.w) + inner(split / 2, model.t), block)
    zero_where_pruned(model, box)
    return model


def add_perspective(model: Any) -> None:
    """Add the variables t and the constraints (perspective) to a joint model."""
    from pyomo.environ import Constraint, NonNegativeReals, Var

    model.t = Var(model.I, domain=NonNegativeReals, doc="squares of the weights")
    model.perspective = Constraint(
        model.I,
        rule=lambda m, i: m.w[i] ** 2 - m.t[i] * m.z[i] <= 0,
        doc="the square of a kept weight; a pruned weight is zero",
    )


def remainder(H: Matrix, D: Vector, squares: Matrix | None = None) -> Matrix:
    """R = H − diag(D) − ``squares``, shape (n, n).

    Raises
    ------
    InputError
        D has another shape than (n,) or an entry that is not positive, or R is not positive semidefinite up to the
        round-off of a Cholesky factorization.
    """
    n = len(H)
    if D.shape != (n,):
        raise InputError(f"D: has shape {D.shape}; shape ({n},) is needed")
    if not (D > 0).all():
        i = int(np.argmin(D))
        raise InputError(f"D: entry {i} is {D[i]:.6g}; every entry must be positive (add damping if H allows none)")
    R = H - np.diag(D) - (0.0 if squares is None else squares)
    scale = np.sqrt(H.diagonal())
    try:
        cholesky(R / np.outer(scale, scale) + 2 * (n + 1) * EPS * np.eye(n), lower=True, check_finite=False)
    except LinAlgError:
        raise InputError("D: H − diag(D) is not positive semidefinite; make D smaller") from None
    return R


FORMULATION = Formulation(
    name="joint-perspective",
    build=build,
    extract=read_mask,
    summary="joint mask and weights, perspective of a diagonal part of the loss (rotated cones)",
    problem_class=ProblemClass.MISOCP,
    bounds=Objective.JOINT,
    reference="Frangioni & Gentile, Perspective cuts for a class of convex 0-1 mixed integer programs, "
    "Math. Program. 106, 2006; Günlük & Linderoth, Math. Program. 124, 2010",
)
