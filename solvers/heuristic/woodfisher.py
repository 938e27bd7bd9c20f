"""WoodFisher selection: every weight gets the Optimal Brain Surgeon's score, as if it were pruned alone.

With c = H⁻¹b the unconstrained minimizer (c = w̄ unless there is a first-order term), pruning weight i alone and
re-tuning all others costs

    s_i = c_i² / (2 [H⁻¹]_ii),            z = argmax_{z∈Z} Σ z_i s_i.

Where the pattern keeps weights together, a unit u of them is pruned as a whole and costs ½ c_uᵀ[(H⁻¹)_uu]⁻¹c_u, which
is not the sum of its s_i. How pruned weights act on one another is ignored; greedy-obs and swap take it into account.
Hassibi & Stork, NIPS 1992; Singh & Alistarh, WoodFisher, NeurIPS 2020.
"""

from __future__ import annotations

from cbs_opt.kernel.arrays.types import Vector
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.operations import LayerSize, Operations, ranking
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Outcome
from cbs_opt.solvers.heuristic.unit_scores import retuned


def run(problem: PruningProblem) -> Outcome:
    """Return the mask of Z that maximizes Σ z_i s_i; ties keep the lower index."""
    return Outcome(problem.Z.argmax(obs_scores(problem)))


def obs_scores(problem: PruningProblem) -> Vector:
    """The scores s, shape (n,), in the units of f: by how much the optimal value rises when a unit alone is pruned."""
    return retuned(problem.curvature, problem.minimizer(), problem.Z)


def operations(size: LayerSize) -> Operations:
    """Operations of H⁻¹ and of ranking the weights."""
    return ranking(size).and_(Operations(double=2 * size.inputs**3))


SPEC = MethodSpec(
    name="woodfisher",
    run=run,
    summary="keep the largest w̄_i²/[H⁻¹]_ii (every weight, or unit, by itself)",
    exact=False,
    objective=Objective.JOINT,
    reference="Singh & Alistarh, NeurIPS 2020",
    patterns=(Pattern,),
    operations=operations,
)
