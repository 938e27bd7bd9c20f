"""How strongly the network's outputs react to each output of a layer, from one backward pass and without labels.

For a layer's output r (a neuron, or a channel at all its positions) let δ_r be the gradient of a random combination
vᵀ(outputs), v_i = ±1, with respect to it. Its sensitivity is

    S_r = E_samples Σ_positions δ_r²   =   E_samples Σ_positions ‖∂outputs/∂r‖²  (in expectation over v).

S_r · ½(w − w̄_r)ᵀE[xxᵀ](w − w̄_r) is then the change of the network's outputs that row r causes, in the
Kronecker-factored Gauss–Newton model with unit weight on the outputs and rows that do not interact: Martens & Grosse,
ICML 2015 (arXiv:1503.05671); Grosse & Martens, ICML 2016 for convolutions.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import InputError
from cbs_opt.kernel.arrays.types import Vector
from cbs_opt.network.inputs import SamplesLike, as_samples
from cbs_opt.network.samples import answer, answer_of, batches, check_finite
from cbs_opt.network.targets import Target

if TYPE_CHECKING:
    import torch


def sensitivities(
    model: torch.nn.Module,
    x: SamplesLike,
    targets: Iterable[Target],
    *,
    seed: int = 0,
    numbers: NDArray[np.int64] | None = None,
) -> dict[str, Vector]:
    """The sensitivities S of each target, shape (out,), by module name; several calls of a layer are added up.

    Parameters
    ----------
    model : torch.nn.Module
        The network, which stays as it is; a copy is differentiated, in eval mode.
    x : array, shape (m, ...), or other samples (``cbs_opt.network.inputs``)
        The samples; labels are not needed.
    targets : iterable of Target
        The layers.
    seed : int
        Seed of the signs v.
    numbers : int array, shape (m,), optional
        The numbers by which errors name the samples; their positions in ``x`` if left out.

    Raises
    ------
    InputError
        The network cannot take the samples or returns no tensor, targets are never called, or derivatives are not
        finite (names layer and sample).
    """
    import torch

    chosen = tuple(targets)
    network = copy.deepcopy(model).eval().requires_grad_(False)
    samples = as_samples(x)
    called = np.arange(len(samples)) if numbers is None else numbers
    totals = {target.name: np.zeros(target.outputs) for target in chosen}
    answers: list[tuple[Target, torch.Tensor]] = []

    def keep(target: Target) -> Any:
        def hook(_: torch.nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
            # The output of the first target starts the graph of derivatives.
            output = output if output.requires_grad else output.detach().requires_grad_()
            answers.append((target, output))
            # A later module may work in place on what it gets.
            return output.clone()

        return hook

    for target in chosen:
        network.get_submodule(target.name).register_forward_hook(keep(target))
    generator = torch.Generator().manual_seed(seed)
    for part in batches(network, samples):
        answers.clear()
        inputs = samples.take(part).inputs(network)
        returned = answer(network, inputs)
        outputs = answer_of(returned)
        if not isinstance(outputs, torch.Tensor):
            raise InputError(
                f"allocation sensitivity: the network returns a {type(returned).__name__}, but a tensor is "
                "needed; take the allocation magnitude or uniform"
            )
        if not answers:
            raise InputError("targets: the network calls none of the layers that are to be pruned; choose others")
        signs = torch.randint(0, 2, outputs.shape, generator=generator).to(outputs) * 2 - 1
        if inputs.counted is not None and outputs.shape[:2] == inputs.counted.shape:
            signs[~inputs.counted] = 0.0  # outputs at padding do not count
        found = torch.autograd.grad((signs * outputs).sum(), [answer for _, answer in answers], allow_unused=True)
        for (target, _), gradient in zip(answers, found, strict=True):
            if gradient is not None:
                check_finite(gradient, called[part], f"the outputs' derivative with respect to layer {target.name}")
                # Channels of a convolution are dimension 1, outputs of a linear layer the last.
                axis = 1 if target.kind == "conv2d" else -1
                square = gradient.double().square().movedim(axis, -1)
                totals[target.name] += square.reshape(-1, target.outputs).sum(dim=0).cpu().numpy()
    return {name: total / len(samples) for name, total in totals.items()}
