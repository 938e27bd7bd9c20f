"""Re-tunes the kept weights of a whole block together, its masks fixed, to the outputs of the dense network's block.

The exact update re-tunes each layer for itself. After it the layers of a block are tuned together, with a few passes
of Adam (Kingma & Ba, ICLR 2015) over the calibration samples, to

    min Σ_p ‖block(x̂; w)_p − y_p‖²/‖y_p‖²   over the kept weights w of the block's layers,

where x̂ is the block's input in the network pruned so far, y the output of the block in the dense network, and p runs
over the positions of all samples. Errors are relative at each position because the layers that follow normalize each
position by itself, and because a language model answers a few tokens of each text with a hundred times the usual norm:
in a plain sum these would count for more than all the others. This is the systematic update of the Combinatorial Brain
Surgeon at the scale of a block, where it has no closed form. Everything else in the block (biases, normalization)
stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cbs_opt.collect.block_layers import BlockLayers
from cbs_opt.collect.output_error import OutputError, compared
from cbs_opt.kernel.arrays.types import Mask, Matrix

if TYPE_CHECKING:
    import torch

RATE = 8e-3
"""Size of Adam's first steps, as a part of the root mean square of a layer's kept weights; it falls to 0 linearly."""

BETAS = (0.9, 0.95)
"""How slowly Adam forgets gradients and their squares; at 0.999 it would remember squares for a whole run."""

STEPS = 64
"""The least number of steps (batches) in a pass, if there are so many samples."""

FLOOR = 0.1
"""What is added to ‖y_p‖², as a part of its mean, so that positions of almost no norm do not outweigh all others."""


@dataclass(frozen=True)
class Refined:
    """The outcome of a refinement.

    Parameters
    ----------
    weights : mapping of layer name to array (out, in)
        The weights that the block has now.
    error : float
        The relative squared error of the block's output with these weights.
    """

    weights: Mapping[str, Matrix]
    error: float


def refine(
    block: BlockLayers, goals: list[Any], masks: Mapping[str, Mask], error: float, passes: int, seed: int
) -> Refined:
    """Re-tune the kept weights of a block whose layers are all pruned; if its error does not fall, change nothing.

    Parameters
    ----------
    goals : list of tensor, or None
        The outputs of the dense network's block, by batch (``BlockLayers.error``).
    masks : mapping of layer name to boolean array (out, in)
        1 keeps.
    error : float
        The relative squared error of the block's output before.
    passes : int
        How many times to go over all batches, each time in a random order.
    seed : int
        Seed of these orders.
    """
    import torch

    parameters = block.parameters()
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    kept = {
        t.name: t.weight(torch.from_numpy(masks[t.name])).to(parameters[t.name].device).contiguous()
        for t in block.targets
    }
    with torch.enable_grad():
        _train(block, goals, parameters, kept, passes, np.random.default_rng(seed))
    found = _answers(block, goals)
    if not found < error:
        for name, parameter in parameters.items():
            parameter.data.copy_(before[name])
        found = _answers(block, goals)
    weights = {t.name: t.matrix(parameters[t.name].detach()).double().cpu().numpy().copy() for t in block.targets}
    return Refined(weights, found)


def _train(
    block: BlockLayers,
    goals: list[Any],
    parameters: Mapping[str, torch.nn.Parameter],
    kept: Mapping[str, torch.Tensor],
    passes: int,
    rng: np.random.Generator,
) -> None:
    """Do the passes of Adam; pruned weights have no gradient and stay zero."""
    import torch

    trained = list(parameters.values())
    for parameter in trained:
        parameter.requires_grad_()  # a network may come frozen
    groups = [
        {"params": [parameter], "lr": RATE * float(parameter.detach()[kept[name]].square().mean().sqrt())}
        for name, parameter in parameters.items()
        if bool(kept[name].any())
    ]
    if not groups:
        return
    optimizer = torch.optim.Adam(groups, betas=BETAS)
    steps = passes * len(goals)
    falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 - step / steps)
    for _ in range(passes):
        for number in rng.permutation(len(goals)):
            call = block.call(number)
            found = None if call is None else compared(call.of(block.module), goals[number], call.counted)
            if found is None or not bool(found[1].any()):
                continue
            loss = by_position(*found)
            gradients = torch.autograd.grad(loss, trained, allow_unused=True)
            for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
                parameter.grad = None if gradient is None else gradient * kept[name]
            optimizer.step()
            falling.step()
    for parameter in trained:
        parameter.grad = None


def by_position(y_hat: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The mean of ‖ŷ_p − y_p‖²/(‖y_p‖² + ``FLOOR`` · mean ‖y‖²) over the positions p.

    The shapes are (…, features), or (samples, channels, height, width).
    """
    features = tuple(range(1, y.ndim)) if y.ndim > 3 else -1
    apart, whole = ((y_hat - y).square().sum(features), y.square().sum(features))
    return (apart / (whole + FLOOR * whole.mean())).mean()


def _answers(block: BlockLayers, goals: list[Any]) -> float:
    """Let the block compute its outputs with its present weights, and return their relative squared error."""
    import torch

    total = OutputError()
    with torch.no_grad():
        for number, goal in enumerate(goals):
            call = block.call(number)
            if call is None:
                continue
            value = call.of(block.module)
            total.add(value, goal, call.counted)
            block.answer(number, value)
    return total.relative or 0.0
