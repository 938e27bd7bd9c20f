"""Making the blocks of layers, from the empirical Fisher of per-sample gradients or the Gram matrix of layer inputs.

Gradients or inputs are collected for a few layers at a time, as memory allows, and the curvature of each block is
formed when the block is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from cbs_opt.blocks.settings import MOST_GRADIENTS, Settings, packs
from cbs_opt.collect import GradientFactor, LayerModel, gradient_factor, layer_grams
from cbs_opt.collect.memory import available_memory
from cbs_opt.errors import InputError
from cbs_opt.kernel.curvature import Curvature, DenseCurvature, FactorCurvature, RowsCurvature, resolve_damping
from cbs_opt.kernel.curvature.damping import dominance
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.network.samples import Drawn, Precision
from cbs_opt.network.targets import Target

if TYPE_CHECKING:
    import torch

Report = Callable[[str], None]

EVERY = 100
"""The number of blocks between two reports of progress."""


@dataclass(frozen=True)
class CutLayers:
    """What should be known of the layers that were cut into blocks.

    Parameters
    ----------
    notes : list of str
        What was altered or looks wrong, one sentence each.
    dominance : dict of str to float
        For each tensor, λ over the mean diagonal of the layer's curvature without it.
    """

    notes: list[str] = field(default_factory=list)
    dominance: dict[str, float] = field(default_factory=dict)


class Sink(Protocol):
    """The interface of what takes the blocks: a folder (``BlockFolder``) or memory (``BlocksInMemory``)."""

    @property
    def scratch(self) -> Path:
        """A folder for temporary files while blocks are made."""

    def share(self, curvature: Curvature, target: Target, number: int) -> str | None:
        """Take a curvature that several blocks of a layer share; returns the name of its file, or None without one."""

    def add(
        self, problem: PruningProblem, target: Target, first: int, damping: float, curvature: str | None = None
    ) -> None:
        """Take a block whose first weight is number ``first``; ``curvature`` is what ``share`` returned for its H."""


def fisher_blocks(
    model: torch.nn.Module,
    samples: Drawn,
    targets: Sequence[Target],
    settings: Settings,
    sink: Sink,
    tell: Report,
) -> CutLayers:
    """Make the Fisher blocks of all targets and give them to ``sink``; returns what should be known of the layers.

    A block has H = AᵀA + λI with its columns of A = G/√m, where G holds the per-sample gradients. λ is the given one,
    or a share of the mean diagonal of the layer's AᵀA.
    """
    most = min(MOST_GRADIENTS, available_memory() / 4)
    size = len(samples.x) * np.dtype(settings.precision).itemsize
    cut = CutLayers()
    for pack in packs(targets, [size * target.numel for target in targets], most):
        tell(f"collecting the gradients of {_named(pack)}")
        factor = gradient_factor(
            model,
            samples.x,
            samples.y,
            pack,
            precision=settings.precision,
            memory=most,
            folder=sink.scratch,
            numbers=samples.numbers,
        )
        # A note about the temporary file of the gradients is left out: the file is deleted when the blocks are made.
        cut.notes.extend(note for note in factor.notes if str(sink.scratch) not in note)
        for target in pack:
            with target.naming():
                damping = _fisher_layer(model, target, factor, settings, sink, tell)
            cut.dominance[target.tensor] = dominance(damping, factor.mean_square[target.tensor])
    return cut


def gram_blocks(
    model: torch.nn.Module,
    samples: Drawn,
    targets: Sequence[Target],
    settings: Settings,
    sink: Sink,
    tell: Report,
    precision: Precision | None = None,
) -> CutLayers:
    """Make the Gram blocks of all targets and give them to ``sink``; returns what should be known of the layers.

    All rows of a layer share one Gram matrix, or all rows of a group in a grouped convolution. ``precision`` is the one
    in which the network computes the inputs; its own if left out.
    """
    most = min(MOST_GRADIENTS, available_memory() / 4)
    cut = CutLayers()
    # Three matrices for each layer: the sums, the same with damping, and the part of it that a block takes.
    sizes = [3 * 8.0 * target.groups * target.inputs**2 for target in targets]
    for pack in packs(targets, sizes, most):
        tell(f"collecting the inputs of {_named(pack)}")
        layers = layer_grams(
            model,
            samples.x,
            pack,
            damping=settings.damping,
            dampening_frac=settings.dampening_frac,
            precision=precision,
            numbers=samples.numbers,
        )
        for layer in layers.values():
            cut.notes.extend(layer.notes)
            cut.dominance[layer.target.tensor] = layer.dominance
            with layer.target.naming():
                _gram_layer(layer, settings, sink, tell)
    return cut


def _fisher_layer(
    model: torch.nn.Module,
    target: Target,
    factor: GradientFactor,
    settings: Settings,
    sink: Sink,
    tell: Report,
) -> float:
    """Make the Fisher blocks of a layer, and return their λ."""
    mean = factor.mean_square[target.tensor]
    damping = resolve_damping(settings.damping, settings.dampening_frac, mean)
    if not damping > 0:
        raise InputError(
            f"layer {target.name}: all its gradients are zero on these samples, and so is a share of "
            "them; give a damping instead of a fraction, or leave the layer out"
        )
    w_bar = target.matrix_in(model).ravel()
    start = factor.columns[target.tensor].start
    order = start + target.order()
    for number, (first, n) in enumerate(settings.pieces(target)):
        if number % EVERY == 0:
            tell(f"{target.name}: block {number + 1:,}")
        A = factor.A[:, _columns(order[first : first + n])]
        curvature: Curvature
        if settings.formed(n):
            curvature = DenseCurvature(FactorCurvature(A.astype(np.float64), damping).dense())
        else:
            curvature = FactorCurvature(A, damping)
        problem = PruningProblem(w_bar[first : first + n], curvature, name=_name(target, settings, first, n))
        sink.add(problem, target, first, damping)
    return damping


def _gram_layer(layer: LayerModel, settings: Settings, sink: Sink, tell: Report) -> None:
    target, w_bar = layer.target, layer.w_bar.ravel()
    shared: dict[tuple[int, int], tuple[Curvature, str | None]] = {}
    for number, (first, n) in enumerate(settings.pieces(target)):
        if number % EVERY == 0:
            tell(f"{target.name}: block {number + 1:,}")
        row, start = divmod(first, target.inputs)
        group = target.group(row)
        if settings.partition == "layer":
            curvature: Curvature = RowsCurvature(layer.curvatures[group], n // target.inputs)
            file = None
            if settings.dense:
                curvature = DenseCurvature(curvature.dense())
        else:
            if (group, start) not in shared:
                part = _part(layer.curvatures[group], start, n)
                name = None if settings.dense else sink.share(part, target, group * target.inputs + start)
                shared[group, start] = part, name
            curvature, file = shared[group, start]
        problem = PruningProblem(w_bar[first : first + n], curvature, name=_name(target, settings, first, n))
        sink.add(problem, target, first, layer.damping, file)


def _part(curvature: DenseCurvature, start: int, n: int) -> DenseCurvature:
    """The curvature of the weights ``start`` to ``start + n - 1`` of a row."""
    if n == curvature.n:
        return curvature
    part = slice(start, start + n)
    return DenseCurvature(curvature.dense()[part, part])


def _columns(chosen: NDArray[np.intp]) -> slice | NDArray[np.intp]:
    """The ``chosen`` columns, as a slice where they are consecutive."""
    side_by_side = bool((np.diff(chosen) == 1).all())
    return slice(int(chosen[0]), int(chosen[-1]) + 1) if side_by_side else chosen


def _name(target: Target, settings: Settings, first: int, n: int) -> str:
    if settings.partition == "row":
        return f"{target.tensor} row {first // target.inputs}"
    if n == target.numel:
        return target.tensor
    return f"{target.tensor}[{first}:{first + n}]"


def _named(pack: Sequence[Target]) -> str:
    return pack[0].name if len(pack) == 1 else f"{len(pack)} layers from {pack[0].name} on"
