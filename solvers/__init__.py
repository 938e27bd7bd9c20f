"""All methods: exact, heuristic, and the bounds they share. A problem goes in, a mask and a bound come out."""

from cbs_opt.registry import MethodSpec
from cbs_opt.solvers.exact import bnb, enumeration, highs_oa, highs_selection, miqp
from cbs_opt.solvers.heuristic import cbs, greedy_obs, magnitude, obd, swap, woodfisher

BUILT_IN: tuple[MethodSpec, ...] = (
    magnitude.SPEC,
    obd.SPEC,
    woodfisher.SPEC,
    greedy_obs.SPEC,
    cbs.SPEC,
    swap.SPEC,
    bnb.SPEC,
    highs_oa.SPEC,
    highs_selection.SPEC,
    miqp.SCIP,
    miqp.GUROBI,
    enumeration.JOINT,
    enumeration.SELECTION,
)
