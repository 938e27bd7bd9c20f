"""WoodFisher selection: the Optimal Brain Surgeon's score of every weight, each as if it were pruned alone.

With c = H⁻¹b the unconstrained minimizer (c = w̄ unless there is a first-order term), pruning weight i alone and
re-tuning all others costs

    s_i = c_i² / (2 [H⁻¹]_ii),            z = argmax_{z∈Z} Σ z_i s_i.

What pruned weights do to one another is ignored: greedy-obs and swap take it in. Hassibi & Stork, NIPS 1992;
Singh & Alistarh, WoodFisher, NeurIPS 2020.
"""

from __future__ import annotations

import numpy as np

from cbs_opt.kernel.arrays.types import Vector
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.operations import LayerSize, Operations, ranking
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Outcome


def run(problem: PruningProblem) -> Outcome:
    """The mask of Z with the largest Σ z_i s_i; ties keep the lower index."""
    return Outcome(problem.Z.argmax(obs_scores(problem)))


def obs_scores(problem: PruningProblem) -> Vector:
    """s, shape (n,), in the units of f: the increase of the optimal value when weight i alone is pruned."""
    # [H⁻¹]_ii ≥ 1/H_ii holds for every H ≻ 0; enforcing it keeps cancellation in [H⁻¹]_ii from blowing a score up.
    inverse = np.maximum(problem.curvature.inverse_diagonal(), 1.0 / problem.curvature.diagonal())
    return 0.5 * problem.minimizer() ** 2 / inverse


def operations(size: LayerSize) -> Operations:
    """Of H⁻¹ and of looking at every weight."""
    return ranking(size).and_(Operations(double=2 * size.inputs**3))


SPEC = MethodSpec(
    name="woodfisher",
    run=run,
    summary="keep the largest w̄_i²/[H⁻¹]_ii (every weight by itself)",
    exact=False,
    objective=Objective.JOINT,
    reference="Singh & Alistarh, NeurIPS 2020",
    patterns=(Pattern,),
    operations=operations,
)
