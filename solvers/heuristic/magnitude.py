"""Magnitude pruning: keep the largest |w̄_i|.

    z = argmax_{z∈Z} Σ z_i w̄_i²

Weights that the pattern keeps or prunes together count by the norm of the group. H plays no part; the mask is optimal
for CBS-S and CBS where H is a multiple of the identity and g is zero. Janowsky, Pruning versus clipping in
neural networks, Physical Review A 39, 1989; Han, Pool, Tran & Dally, NIPS 2015; for groups Li et al., Pruning filters
for efficient convnets, ICLR 2017.
"""

from __future__ import annotations

from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.operations import ranking
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Outcome


def run(problem: PruningProblem) -> Outcome:
    """Return the mask of Z that maximizes Σ z_i w̄_i²; ties keep the lower index."""
    return Outcome(problem.Z.argmax(problem.w_bar**2))


SPEC = MethodSpec(
    name="magnitude",
    run=run,
    summary="keep the largest weights",
    exact=False,
    objective=Objective.SELECTION,
    reference="Han, Pool, Tran & Dally, NIPS 2015",
    patterns=(Pattern,),
    operations=ranking,
)
