"""Re-tuning the remaining weights after channels are removed: each layer by an exact update, then blocks as a whole.

Each layer is fitted to the outputs of the dense layer, on the inputs that it gets from the network as re-tuned so far,
by least squares over the input columns that it keeps (``kernel.stacks.update_columns``). Then ``refine`` passes of Adam
re-tune the layers of each block together (``pruning.refine``). Neither step needs labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from cbs_opt.collect import SequentialLayers
from cbs_opt.collect.layer_model import LayerModel, groups
from cbs_opt.kernel.arrays.types import Mask, Matrix
from cbs_opt.kernel.stacks import update_columns
from cbs_opt.network.targets import Target
from cbs_opt.pruning.refine import refine
from cbs_opt.structure.channels import Axis, Positions
from cbs_opt.structure.rebuild import masks

if TYPE_CHECKING:
    import torch


def layer_masks(
    model: torch.nn.Module, targets: Sequence[Target], removed: Mapping[Axis, Positions]
) -> dict[str, Mask]:
    """The mask of each target as a matrix (out, in), by module name."""
    import torch

    found = masks(model, removed)
    return {
        t.name: t.matrix(torch.from_numpy(found[t.tensor])).numpy().copy()
        if t.tensor in found
        else np.ones((t.outputs, t.inputs), dtype=np.bool_)
        for t in targets
    }


def updated(layer: LayerModel, mask: Mask) -> Matrix:
    """The best weights (out, in) of a layer whose removed rows and columns are zero in ``mask``."""
    H, w = layer.H, np.zeros_like(layer.w_bar)
    with layer.target.naming():
        for group, rows in groups(layer.target):
            kept: Mask = mask[rows].max(axis=0)
            w[rows] = update_columns(H[group], layer.w_bar[rows], kept, layer.g[rows])
    w[~mask] = 0.0
    return w


def retune(
    sequence: SequentialLayers,
    masks_of: Mapping[str, Mask],
    passes: int,
    seed: int,
    tell: Callable[[str], None] = lambda words: None,
) -> torch.nn.Module:
    """Re-tune all layers in the order of execution, and return the network.

    Parameters
    ----------
    sequence : SequentialLayers
        The layers of the dense network.
    masks_of : mapping of module name to boolean array (out, in)
        The mask of each layer; 1 keeps.
    passes : int
        The number of passes of ``refine`` over all samples; 0 for none.
    seed : int
        The seed of the order of samples in these passes.
    tell : callable
        Called with a few words whenever a layer or a block begins.
    """
    for block in sequence.blocks:
        with block.watched() if passes else nullcontext():
            for layer in block:
                tell(f"re-tuning layer {layer.name}")
                sequence.replace(layer, updated(layer, masks_of[layer.name]))
            if passes:
                goals: list[Any] = []
                error = block.error(goals)
                if error:
                    tell(f"refining {block.name}")
                    refine(block, goals, masks_of, error, passes, seed)
                elif error is None:
                    sequence.notes.append(f"block {block.name}: was not refined, its output is not to be seen")
    return sequence.network()
