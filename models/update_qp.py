"""The update (CBS-U): the mask is given, the kept weights are re-tuned; a convex QP without integers.

Sets
    I = {0, …, n − 1}                   weights
Data
    z_i ∈ {0, 1}                        the mask: 1 keeps weight i, 0 prunes it
    b = Hw̄ − g, c = f(0)
Variables
    w_i ∈ R                             weight i after pruning
Objective
    min  c − bᵀw + ½ wᵀHw
Constraints
    (pruned)  w_i = 0                   i: z_i = 0    a pruned weight is zero; its multiplier is ∂f/∂w_i

The solution has a closed form, w_S = H_SS⁻¹ b_S on the kept set S (``cbs_opt.obs_update``). The model is a
cross-check of it, and a start for variants of the update with constraints of your own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cbs_opt.kernel.arrays.validate import as_mask
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.models.algebra import expanded, half_square, inner, set_loss
from cbs_opt.models.formulation import Formulation, ProblemClass
from cbs_opt.models.mask import read_mask


def build(problem: PruningProblem, *, block: Any = None, mask: Any) -> Any:
    """The Pyomo model of ``problem`` for a given mask; the pattern of the problem need not be set.

    Parameters
    ----------
    block : Block, optional
        A block of a larger model to build on; see ``Formulation``.
    mask : boolean array, shape (n,)
        The mask, 1 keeps.
    """
    from pyomo.environ import Binary, ConcreteModel, Constraint, Param, RangeSet, Reals, Set, Var

    z = as_mask(mask, "mask", problem.n)
    H, b, c = expanded(problem)
    model = ConcreteModel(name="update-qp", doc=problem.name or None) if block is None else block
    model.I = RangeSet(0, problem.n - 1, doc="weights")
    model.z = Param(model.I, domain=Binary, initialize=z.astype(int).tolist(), doc="1 keeps the weight")
    model.w = Var(model.I, domain=Reals, doc="weights after pruning")
    model.P = Set(initialize=np.flatnonzero(~z).tolist(), doc="pruned weights")
    model.pruned = Constraint(model.P, rule=lambda m, i: m.w[i] == 0, doc="a pruned weight is zero")
    set_loss(model, c - inner(b, model.w) + half_square(H, model.w), block)
    return model


FORMULATION = Formulation(
    name="update-qp",
    build=build,
    extract=read_mask,
    summary="weights for a given mask: the OBS update as a QP",
    problem_class=ProblemClass.QP,
    bounds=None,
    reference="Hassibi & Stork, NIPS 1992; Yu, Serra, Ramalingam & Zhe, ICML 2022, CBS-U",
)
