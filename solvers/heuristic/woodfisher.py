"""WoodFisher selection: the Optimal Brain Surgeon's score of every weight, each as if it were pruned alone.

With c = H⁻¹b the unconstrained minimizer (c = w̄ unless there is a first-order term), pruning weight i alone and
re-tuning all others costs

    s_i = c_i² / (2 [H⁻¹]_ii),            z = argmax_{z∈Z} Σ z_i s_i.

Where the pattern keeps weights together, what is pruned alone is a unit u of them: ½ c_uᵀ[(H⁻¹)_uu]⁻¹c_u, which a sum
of s_i is not. What pruned weights do to one another is ignored: greedy-obs and swap take it in. Hassibi & Stork, NIPS
1992; Singh & Alistarh, WoodFisher, NeurIPS 2020.
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
    """The mask of Z with the largest Σ z_i s_i; ties keep the lower index."""
    return Outcome(problem.Z.argmax(obs_scores(problem)))


def obs_scores(problem: PruningProblem) -> Vector:
    """s, shape (n,), in the units of f: by what the optimal value rises when a unit alone is pruned."""
    return retuned(problem.curvature, problem.minimizer(), problem.Z)


def operations(size: LayerSize) -> Operations:
    """Of H⁻¹ and of looking at every weight."""
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
