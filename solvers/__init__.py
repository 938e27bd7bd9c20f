"""All methods, exact and heuristic, and the bounds they share: a problem goes in, a mask and a bound come out."""

from cbs_opt.kernel.method import MethodSpec
from cbs_opt.solvers.exact import bnb, bnb_selection, enumeration, highs_oa, highs_selection, miqp
from cbs_opt.solvers.heuristic import (
    admm,
    block_swap,
    cbs,
    greedy_obs,
    iht,
    magnitude,
    obd,
    relaxation,
    rows_relaxation,
    sparsegpt,
    swap,
    wanda,
    woodfisher,
)

# In the order of listings and of comparisons that name no methods.
BUILT_IN: tuple[MethodSpec, ...] = (
    magnitude.SPEC,
    obd.SPEC,
    wanda.SPEC,
    woodfisher.SPEC,
    greedy_obs.SPEC,
    cbs.SPEC,
    swap.SPEC,
    block_swap.SPEC,
    iht.SPEC,
    relaxation.SPEC,
    sparsegpt.SPEC,
    admm.SPEC,
    rows_relaxation.SPEC,
    bnb.SPEC,
    highs_oa.SPEC,
    bnb_selection.SPEC,
    highs_selection.SPEC,
    miqp.SCIP,
    miqp.GUROBI,
    enumeration.JOINT,
    enumeration.SELECTION,
)
