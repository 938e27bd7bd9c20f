"""Cutting the layers of a network into pruning problems, and putting solved weights back.

A **chunk** is a run of consecutive entries of a flattened weight tensor with the empirical Fisher of those
entries; a **row** is all weights of one output of a layer, with the Gram matrix of the layer's inputs, which
is one shared object for all rows (of a convolution's group). λ is a fraction of the mean diagonal over the whole
layer, so inputs that are always zero and outputs that are always off leave nothing singular behind.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.collect import Gradients, LayerModel, gradients, layer_grams
from cbs_opt.errors import InputError
from cbs_opt.kernel.arrays.types import Vector
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.network.data import Labels
from cbs_opt.network.targets import find_target

if TYPE_CHECKING:
    import torch

CURVATURES = ("fisher", "gram")


@dataclass(frozen=True, eq=False)
class Block:
    """A pruning problem and where in the network its weights live.

    Parameters
    ----------
    problem : PruningProblem
        Without a pattern.
    tensor : str
        Name of the parameter, 'fc1.weight'.
    indices : int64 array, shape (n,)
        Positions in the flattened tensor.
    """

    problem: PruningProblem
    tensor: str
    indices: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LayerBlocks:
    """The blocks of one layer and what was done to get them.

    Parameters
    ----------
    tensor, curvature : str
        'fc1.weight'; 'fisher' or 'gram'.
    blocks : tuple of Block
    total : int
        How many blocks the layer has; those beyond ``len(blocks)`` were left out.
    damping : float
        λ, the same for all blocks of the layer.
    """

    tensor: str
    curvature: str
    blocks: tuple[Block, ...]
    total: int
    damping: float


def linear_layers(model: torch.nn.Module) -> list[str]:
    """Names of the Linear layers, in the order of ``named_modules()``."""
    import torch

    return [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]


def cut(
    model: torch.nn.Module,
    x: NDArray[Any],
    y: Labels,
    curvature: Mapping[str, str],
    *,
    block_size: int = 32,
    dampening_frac: float = 1e-2,
    max_blocks: int | None = None,
) -> tuple[LayerBlocks, ...]:
    """Cut layers into blocks.

    Parameters
    ----------
    x, y : arrays, shape (m, ...) and (m,)
        The calibration samples.
    curvature : mapping of layer name to 'fisher' or 'gram'
        Fisher layers are cut into chunks of ``block_size``, Gram layers into rows.
    dampening_frac : float
        λ as a fraction of the mean diagonal of the layer's curvature.
    max_blocks : int, optional
        Most blocks taken from one layer, evenly spread over it.

    Raises
    ------
    InputError
        An unknown layer or curvature, or gradients or inputs that make no curvature.
    """
    for kind in curvature.values():
        if kind not in CURVATURES:
            raise InputError(f"curvature {kind!r}: unknown; there are {', '.join(CURVATURES)}")
    if not dampening_frac > 0:
        raise InputError(f"dampening_frac: is {dampening_frac}; a fraction > 0 is needed")
    targets = {layer: find_target(model, layer) for layer in curvature}
    chunks: dict[str, list[NDArray[np.int64]]] = {}
    rows: dict[str, list[int]] = {}
    totals: dict[str, int] = {}
    for layer, kind in curvature.items():
        if kind == "fisher":
            pieces = _pieces(targets[layer].numel, block_size)
            totals[layer] = len(pieces)
            chunks[layer] = [pieces[i] for i in _spread(len(pieces), max_blocks)]
        else:
            totals[layer] = targets[layer].outputs
            rows[layer] = _spread(totals[layer], max_blocks)
    fisher = {targets[layer].tensor: np.concatenate(pieces) for layer, pieces in chunks.items()}
    collected = gradients(model, x, y, fisher) if fisher else {}
    gram = [targets[layer] for layer in rows]
    grams = layer_grams(model, x, gram, dampening_frac=dampening_frac, precision="float64") if gram else {}
    result = []
    for layer, kind in curvature.items():
        name = targets[layer].tensor
        if kind == "fisher":
            w_bar = model.get_parameter(name).detach().cpu().double().flatten().numpy()
            blocks, damping = _chunks(name, w_bar, chunks[layer], collected[name], dampening_frac)
        else:
            blocks, damping = _rows(grams[layer], rows[layer], dampening_frac)
        result.append(LayerBlocks(name, kind, blocks, totals[layer], damping))
    return tuple(result)


def apply(model: torch.nn.Module, blocks: Iterable[Block], weights: Sequence[Vector]) -> torch.nn.Module:
    """A copy of the network in which each block's weights (n,) stand at its place; the network is left as it is."""
    import torch

    result = copy.deepcopy(model)
    parameters = dict(result.named_parameters())
    with torch.no_grad():
        for block, values in zip(blocks, weights, strict=True):
            target = parameters[block.tensor]
            positions = torch.from_numpy(block.indices).to(target.device)
            # put_ writes through whatever strides the parameter has.
            target.put_(positions, torch.tensor(values, dtype=target.dtype, device=target.device))
    return result


def _pieces(numel: int, size: int) -> list[NDArray[np.int64]]:
    if size < 1:
        raise InputError(f"block_size: is {size}; at least 1 is needed")
    return [np.arange(start, min(start + size, numel), dtype=np.int64) for start in range(0, numel, size)]


def _spread(total: int, most: int | None) -> list[int]:
    """``most`` of ``total`` positions, evenly spread; all of them where that is no fewer."""
    if most is not None and most < 1:
        raise InputError(f"max_blocks: is {most}; at least 1 is needed")
    if most is None or most >= total:
        return list(range(total))
    return [i * total // most for i in range(most)]


def _chunks(
    tensor: str, weights: Vector, pieces: list[NDArray[np.int64]], collected: Gradients, dampening_frac: float
) -> tuple[tuple[Block, ...], float]:
    damping = _damping(tensor, dampening_frac, collected.mean_square)
    blocks, start = [], 0
    for piece in pieces:
        G = collected.rows[:, start : start + len(piece)]
        start += len(piece)
        name = f"{tensor}[{piece[0]}:{piece[-1] + 1}]"
        problem = PruningProblem.from_gradients(weights[piece], G, damping=damping, name=name)
        blocks.append(Block(problem, tensor, piece))
    return tuple(blocks), damping


def _rows(layer: LayerModel, rows: list[int], dampening_frac: float) -> tuple[tuple[Block, ...], float]:
    target = layer.target
    damping = _damping(target.tensor, dampening_frac, float(np.einsum("gii->gi", layer.gram).mean()))
    return tuple(Block(layer.problem(row), target.tensor, target.positions(row)) for row in rows), damping


def _damping(tensor: str, dampening_frac: float, mean_diagonal: float) -> float:
    damping = dampening_frac * mean_diagonal
    if not damping > 0:
        raise InputError(
            f"{tensor}: the damping is {damping} ({dampening_frac} of a mean diagonal of "
            f"{mean_diagonal:.3g}); give a dampening_frac > 0, and samples on which the layer is not "
            "switched off"
        )
    return damping
