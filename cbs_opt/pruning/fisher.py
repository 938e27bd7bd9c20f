"""One stage on the empirical Fisher of per-sample gradients, of the whole network or block-diagonal.

f(w) = gᵀ(w − w̄) + ½(w − w̄)ᵀ(GᵀG/m + λI)(w − w̄) over all weights that are still kept, with w̄ the weights the stage
begins with and g = 0, or the mean gradient where the first-order term is asked for. ``partition`` cuts the Fisher:
entries between different layers, rows or chunks are dropped, and a λ that is a share of a mean diagonal is a share of
each layer's own, as in extracted blocks. The sparsity is always that of the whole network.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cbs_opt.collect import GradientFactor, gradient_factor
from cbs_opt.errors import InputError
from cbs_opt.evaluation.catalogue import method as method_named
from cbs_opt.evaluation.lower_bound import lower_bound
from cbs_opt.evaluation.solve import solve
from cbs_opt.kernel.arrays.types import Vector
from cbs_opt.kernel.curvature import BlockDiagonalCurvature, Curvature, FactorCurvature, resolve_damping
from cbs_opt.kernel.patterns import Cardinality
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.network.samples import Drawn
from cbs_opt.network.weights import Weights
from cbs_opt.pruning.stage import Clock, Draw, Stage

if TYPE_CHECKING:
    import torch

    from cbs_opt.pruning.settings import Settings


class FisherStages:
    """The stages on the Fisher; each collects gradients on samples of its own."""

    def __init__(self, dense: torch.nn.Module, weights: Weights, settings: Settings, draw: Draw) -> None:
        self._settings, self._draw = settings, draw

    @staticmethod
    def check(weights: Weights, settings: Settings) -> None:
        """Raise if the method cannot take a problem of this kind and size."""
        check_method(weights, settings)

    def stage(self, number: int, now: torch.nn.Module, weights: Weights, prune: int, clock: Clock) -> Stage:
        """See ``fisher_stage``."""
        return fisher_stage(now, self._draw(number), weights, prune, self._settings, clock)


def fisher_stage(
    now: torch.nn.Module,
    samples: Drawn,
    weights: Weights,
    prune: int,
    settings: Settings,
    clock: Clock,
) -> Stage:
    """Prune at least ``prune`` weights of the network, counting those that ``weights`` has pruned already.

    Parameters
    ----------
    now : torch.nn.Module
        The network with ``weights``.
    samples : Drawn
        Calibration samples with labels.
    """
    with clock.phase("curvature", "collecting per-sample gradients"):
        factor = gradient_factor(
            now,
            samples.x,
            samples.y,
            weights.targets,
            rows=len(samples.x) // settings.average,
            average=settings.average,
            seed=settings.seed,
            loss=settings.loss,
            precision=settings.precision,
            numbers=samples.numbers,
        )
        alive = np.ones(weights.n, dtype=np.bool_) if settings.revive else weights.mask
        problem = fisher_problem(factor, weights, alive, settings).within(
            Cardinality(int(alive.sum()), max(0, prune - int((~alive).sum())))
        )
    with clock.phase("selection", f"choosing {prune:,} of {weights.n:,} weights with {settings.method}"):
        found = solve(problem, settings.method, seed=settings.seed, **settings.options)
    bound = found.bound
    if settings.bound and bound == -np.inf:
        with clock.phase("bound", "bounding the best possible loss"):
            bound = lower_bound(problem, settings.device, settings.bound_time).value
    values, mask = np.zeros(weights.n), np.zeros(weights.n, dtype=np.bool_)
    values[alive], mask[alive] = found.weights, found.mask
    layers: dict[str, list[Curvature]] = {}
    for (name, _), block in zip(_pieces(weights, alive, settings.partition), problem.curvature.blocks, strict=True):
        layers.setdefault(name, []).append(block)
    damping = {name: own[0].damping for name, own in layers.items()}
    return Stage(
        weights=weights.with_values(values, mask),
        objective=found.objective,
        bound=bound,
        round_off=found.round_off,
        damping=damping if len(set(damping.values())) > 1 else problem.curvature.damping,
        dominance={name: BlockDiagonalCurvature(own).dominance for name, own in layers.items()},
        notes=tuple(dict.fromkeys([*factor.notes, *left_out(len(samples.x), settings.average), *found.notes])),
    )


def check_method(weights: Weights, settings: Settings) -> None:
    """Raise, before anything is computed, if the method cannot take a problem of this kind and size.

    Raises
    ------
    MethodError, TooLargeError
    """
    columns = {target.tensor: part for target, part in weights.parts()}
    nothing = GradientFactor(
        np.zeros((1, weights.n), dtype=np.float32),
        columns,
        np.zeros((1, 1), dtype=np.int64),
        dict.fromkeys(columns, 0.0),
        (),
    )
    alike = replace(settings, damping=1.0, dampening_frac=None)
    problem = fisher_problem(nothing, weights, weights.mask, alike).within(Cardinality(int(weights.mask.sum()), 0))
    method_named(settings.method).check(problem)


def fisher_problem(
    factor: GradientFactor, weights: Weights, alive: NDArray[np.bool_], settings: Settings, name: str = "network"
) -> PruningProblem:
    """The problem over the ``alive`` weights, in the order of ``weights``, without a pattern."""
    order = _columns(weights, factor)[alive]
    whole = len(order) == factor.A.shape[1] and bool((np.diff(order) == 1).all())
    A = factor.A if whole else factor.A[:, order]
    squares = np.zeros(A.shape[1])
    for row in A:
        squares += np.square(row, dtype=np.float64)
    pieces = _pieces(weights, alive, settings.partition)
    damping = _dampings(squares, pieces, settings)
    blocks, start = list[Curvature](), 0
    for name, size in pieces:
        blocks.append(FactorCurvature(A[:, start : start + size], damping[name]))
        start += size
    curvature = blocks[0] if len(blocks) == 1 else BlockDiagonalCurvature(blocks)
    g = None
    if settings.first_order:
        g = A.sum(axis=0, dtype=np.float64) / np.sqrt(len(A) * settings.average)
    return PruningProblem(weights.values[alive], curvature, g=g, name=name)


def left_out(samples: int, average: int) -> list[str]:
    """A note on the samples that are left over if each row averages ``average`` of them; no note if none are."""
    rest = samples % average
    return [f"{rest} of the {samples} samples are not used: rows average {average} each"] if rest else []


def _columns(weights: Weights, factor: GradientFactor) -> NDArray[np.int64]:
    """The column of A for each weight: ``weights`` go by matrices (out, in), A by the tensors as they are stored."""
    return np.concatenate([factor.columns[t.tensor].start + t.order() for t in weights.targets])


def _pieces(weights: Weights, alive: NDArray[np.bool_], partition: str | int) -> list[tuple[str, int]]:
    """For each block of the partition with living weights: what it lies in, 'network' or a layer, and how many."""
    if partition == "network":
        return [("network", int(alive.sum()))]
    pieces: list[tuple[str, int]] = []
    for target, part in weights.parts():
        size = target.numel if partition == "layer" else target.inputs if partition == "row" else partition
        assert isinstance(size, int), "checked by the settings"
        living = alive[part]
        pieces += [(target.name, int(living[start : start + size].sum())) for start in range(0, target.numel, size)]
    kept = [(name, size) for name, size in pieces if size]
    if not kept:
        raise InputError("no weight is left to prune; start from a network with weights that are not pruned")
    return kept


def _dampings(squares: Vector, pieces: list[tuple[str, int]], settings: Settings) -> dict[str, float]:
    """λ by what the pieces lie in: one for the network, or one for each layer if the partition separates layers."""
    counts: dict[str, int] = {}
    for name, size in pieces:
        counts[name] = counts.get(name, 0) + size
    found, start = {}, 0
    for name, count in counts.items():
        mean = float(squares[start : start + count].mean())
        start += count
        found[name] = resolve_damping(settings.damping, settings.dampening_frac, mean)
        if found[name] == 0:
            where = "" if name == "network" else f"layer {name}: "
            raise InputError(
                f"{where}all gradients are zero on these samples, and so is a share of them; give a damping instead of "
                "a fraction, or take curvature sequential"
            )
    return found
