"""Wanda: the size of a weight times the size of its input.

With X the m samples of a layer's inputs, weight j of an output row scores |w̄_j|·‖X_j‖₂, and the weights with the
largest scores in each row are kept. For the Gram curvature H = XᵀX/m + λI that is, but for the damping, the ranking of

    s_j = w̄_j² H_jj,            z = argmax_{z∈Z} Σ z_j s_j.

λ is part of H_jj, as it is of the loss that every method lowers: it adds the same to each ‖X_j‖²/m, which matters only
for the weakest inputs. Without a first-order term the ranking is that of ``obd``. In sequential mode there is one, the
pull towards the dense outputs, which ``obd`` takes into account and Wanda does not.

The pattern decides which weights are compared. The paper compares the weights of an output row, as row quotas and N:M
do, and reports that this matters; under a cardinality of the whole layer all its weights are compared, and a row of
small weights may lose them all. The mask gets the exact update, which the paper leaves out; the selection objective is
that of the paper's weights.

Sun, Liu, Bair & Kolter, A simple and effective pruning approach for large language models, ICLR 2024.
"""

from __future__ import annotations

from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.operations import ranking
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Outcome


def run(problem: PruningProblem) -> Outcome:
    """Return the mask of Z that maximizes Σ z_j s_j; ties keep the lower index."""
    return Outcome(problem.Z.argmax(problem.curvature.diagonal() * problem.w_bar**2))


SPEC = MethodSpec(
    name="wanda",
    run=run,
    summary="keep the largest |w̄_j|·‖X_j‖, X_j the inputs of a weight",
    exact=False,
    objective=Objective.SELECTION,
    reference="Sun, Liu, Bair & Kolter, ICLR 2024",
    patterns=(Pattern,),
    operations=ranking,
    left_out_because="the ranking of obd where there is no first-order term",
)
