"""ADMM on the mask: the weights of a layer are drawn towards the pattern with growing force.

    min_w f(w) with w = x, x in the pattern:
    w ← (H + ρI)⁻¹(b + ρ(x − u)),      x ← the part of w + u in the pattern,      u ← u + w − x,

in units where H has a unit diagonal. One eigendecomposition of the shared H serves every ρ, so a step is two matrix
products. ρ grows the faster the more the mask still changes, and the iteration ends when it no longer does; the weights
then get the exact update on the mask.

Meng, Behdin, Wang & Mazumder, ALPS, NeurIPS 2024 (whose schedule of ρ this is; theirs ends in conjugate gradients).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbs_opt.errors import InputError
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.patterns import Labelled
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Outcome, TerminationCondition
from cbs_opt.solvers.forms.layer_tensors import Layer, to_mask

if TYPE_CHECKING:
    import torch

RHO = 0.03
"""ρ to begin with, in units of the diagonal of H."""

ITERATIONS = 300

PERIOD = 3
"""Iterations between two changes of ρ."""

GROWTH = ((0.1, 1.3), (0.005, 1.2), (0.0, 1.1))
"""From which share of the kept weights that changed, the factor by which ρ grows."""


def run(problem: PruningProblem, *, rho: float = RHO, iterations: int = ITERATIONS, device: str = "cpu") -> Outcome:
    """Iterate until the mask settles.

    Parameters
    ----------
    rho : float
        ρ to begin with, > 0, in units of the diagonal of H.
    iterations : int
        Most iterations; a mask that still changes then is noted.
    device : str
        'cpu' or 'cuda'.
    """
    if not rho > 0 or iterations < 1:
        raise InputError(f"rho, iterations: are {rho} and {iterations}; numbers > 0 are needed")
    z, settled = settle(Layer.of(problem, device), rho, iterations)
    if settled:
        return Outcome(to_mask(z))
    note = f"the mask still changed after {iterations} iterations"
    return Outcome(to_mask(z), termination=TerminationCondition.ITERATION_LIMIT, notes=(note,))


def settle(layer: Layer, rho: float, iterations: int) -> tuple[torch.Tensor, bool]:
    """The mask (rows, d), and whether it had settled."""
    import torch

    values, vectors = torch.linalg.eigh(layer.U)
    b = layer.target @ layer.U @ vectors
    z = layer.top(layer.target**2)
    x, u = torch.where(z, layer.target, 0.0), torch.zeros_like(layer.target)
    before, kept = z, max(1, int(z.sum()))
    for number in range(1, iterations + 1):
        w = ((b + rho * ((x - u) @ vectors)) / (values + rho)) @ vectors.T
        v = w + u
        z = layer.top(v**2)
        x = torch.where(z, v, 0.0)
        u = v - x
        if number % PERIOD:
            continue
        changed = int((z ^ before).sum())
        if not changed:
            return z, True
        factor = next(factor for share, factor in GROWTH if changed >= share * kept)
        rho, u = rho * factor, u / factor  # u is the multiplier in units of ρ
        before = z
    return z, False


SPEC = MethodSpec(
    name="admm",
    run=run,
    summary="draw the weights of a layer towards the pattern by ADMM, ρ growing until the mask settles",
    exact=False,
    objective=Objective.JOINT,
    reference="Meng, Behdin, Wang & Mazumder, NeurIPS 2024",
    patterns=(Labelled,),
    left_out_because="made for layers and whole networks",
)
