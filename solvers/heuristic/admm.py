"""ADMM on the mask: the weights of a layer are drawn towards the pattern with growing force.

To minimize f(w) over w = x with the support of x in the pattern, ADMM repeats

    w ← (H + ρI)⁻¹(b + ρ(x − u)),      x ← w + u, zero off a mask of the pattern,      u ← u + w − x,

in units where H has a unit diagonal. One eigendecomposition of the H that all rows share serves every ρ, so that a step
is one matrix product with (H + ρI)⁻¹, or two with its factors where the layer has few rows. ρ grows by a factor that
depends on how much of the mask still changes, and the iteration ends when the mask changes no more. The weights then
get the exact update on the mask. On large layers the steps are in float32, since only the mask is taken from them.

The mask of x keeps the largest squares of v = w + u. Where the pattern keeps weights together, a unit u of them is
worth what pruning it would cost with all others re-tuned, ½ v_uᵀ[(H⁻¹)_uu]⁻¹v_u, and not the sum of its squares: the
masks then lose less, since weights of a unit that make up for one another are worth more together than their squares
say.

Meng, Behdin, Wang & Mazumder, ALPS, NeurIPS 2024. The schedule of ρ is theirs, slowed down; they find the weights on
the mask by conjugate gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cbs_opt.errors import InputError
from cbs_opt.kernel.device import tensor
from cbs_opt.kernel.method import MethodSpec, Objective
from cbs_opt.kernel.operations import LayerSize, Operations
from cbs_opt.kernel.patterns import Pattern
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Outcome, TerminationCondition
from cbs_opt.solvers.forms.layer_tensors import Layer, Shared, in_loops, to_mask
from cbs_opt.solvers.heuristic.unit_scores import Retuned, has_larger_units

if TYPE_CHECKING:
    import torch

    Nearest = Callable[[torch.Tensor], torch.Tensor]

RHO = 0.03
"""The first ρ, in units of the diagonal of H."""

ITERATIONS = 300
"""Most iterations."""

PERIOD = 3
"""Iterations between two changes of ρ."""

USUAL_ITERATIONS, PER_WEIGHT, EIGEN = 60, 1000, 10
"""For the estimate of work: iterations; operations for each weight and iteration beside the matrix products; operations
of the eigendecomposition divided by d³."""

GROWTH = ((0.1, 1.25), (0.005, 1.14), (0.001, 1.12), (0.0, 1.2))
"""Pairs of a share and a factor: ρ grows by the first factor whose share is no more than the number of changed entries
of the mask over that of kept weights. The paper's 1.3, 1.2 and 1.1 take a tenth fewer steps, and their masks lost 0.2
to 0.5 % more on layers of a language model."""


def run(problem: PruningProblem, *, rho: float = RHO, iterations: int = ITERATIONS, device: str = "cpu") -> Outcome:
    """Iterate until the mask no longer changes.

    Parameters
    ----------
    rho : float
        ρ to begin with, > 0, in units of the diagonal of H.
    iterations : int
        Most iterations; a mask that still changes then is returned with a note.
    device : str
        Where the iterations run: 'cpu' or 'cuda'.
    """
    if not rho > 0 or iterations < 1:
        raise InputError(f"rho, iterations: are {rho} and {iterations}; numbers > 0 are needed")
    if problem.Z.labelled is None:
        shared = Shared.of_any(problem, device)
        z, settled = settle(shared, _oracle(problem, shared), rho, iterations)
    else:
        layer = Layer.of(problem, device)
        z, settled = settle(layer, lambda v: layer.top(v * v), rho, iterations)
    if settled:
        return Outcome(to_mask(z))
    note = f"the mask still changed after {iterations} iterations"
    return Outcome(to_mask(z), termination=TerminationCondition.ITERATION_LIMIT, notes=(note,))


def _oracle(problem: PruningProblem, shared: Shared) -> Nearest:
    """The mask of any pattern that is nearest to given weights, by the pattern's own oracle."""
    Z, shape = problem.Z, (shared.rows, shared.d)
    worth = Retuned(problem.curvature, Z) if has_larger_units(Z) else None

    def nearest(v: torch.Tensor) -> torch.Tensor:
        array = v.double().cpu().numpy()
        scores = (array * array).ravel() if worth is None else worth((array / shared.scale).ravel())
        return tensor(Z.argmax(scores).reshape(shape), v.device)

    return nearest


def settle(layer: Shared, nearest: Nearest, rho: float, iterations: int) -> tuple[torch.Tensor, bool]:
    """The mask (rows, d) at which ADMM ends, and whether it had settled there.

    Parameters
    ----------
    layer : Shared
        The layer, in units of unit diagonal.
    nearest : callable
        ``nearest(v)`` is the mask of the pattern that the weights ``v`` are nearest to; both tensors (rows, d).
    rho : float
        The first ρ.
    iterations : int
        Most iterations.
    """
    import torch

    values, vectors = torch.linalg.eigh(layer.U)
    numbers = torch.float32 if layer.in_single else torch.float64
    b, target = (layer.target @ layer.U).to(numbers), layer.target.to(numbers)
    values, vectors = values.to(numbers), vectors.to(numbers)
    z = nearest(target)
    x, u = target * z, torch.zeros_like(target)
    resolvent = _resolvent(values, vectors, rho, layer.rows)
    before, kept = z, max(1, int(z.sum()))
    for number in range(1, iterations + 1):
        v = torch.add(b, x - u, alpha=rho)
        for matrix in resolvent:
            v = v @ matrix
        v += u
        z = nearest(v)
        x = v * z
        u = v - x
        if number % PERIOD:
            continue
        changed = int((z ^ before).sum())
        if not changed:
            return z, True
        factor = next(factor for share, factor in GROWTH if changed >= share * kept)
        rho, before = rho * factor, z
        u /= factor  # u is the multiplier in units of ρ
        resolvent = _resolvent(values, vectors, rho, layer.rows)
    return z, False


def _resolvent(values: torch.Tensor, vectors: torch.Tensor, rho: float, rows: int) -> tuple[torch.Tensor, ...]:
    """The matrices (d, d) whose product is (H + ρI)⁻¹: one where forming it takes less than it saves in a period."""
    shrunk = vectors / (values + rho)
    formed = len(values) < PERIOD * rows
    return (shrunk @ vectors.T,) if formed else (shrunk, vectors.T)


def operations(size: LayerSize) -> Operations:
    """Operations of the eigendecomposition, and of as many iterations as layers of language models take."""
    products = 2 * size.rows * size.inputs**2 + 2 * size.inputs**3 / PERIOD
    loop = in_loops(size, USUAL_ITERATIONS * (products + PER_WEIGHT * size.weights))
    return loop.and_(Operations(double=EIGEN * size.inputs**3))


SPEC = MethodSpec(
    name="admm",
    run=run,
    summary="draw the weights of a layer towards the pattern by ADMM, ρ growing until the mask settles",
    exact=False,
    objective=Objective.JOINT,
    reference="Meng, Behdin, Wang & Mazumder, NeurIPS 2024",
    patterns=(Pattern,),
    left_out_because="made for layers and whole networks",
    operations=operations,
)
