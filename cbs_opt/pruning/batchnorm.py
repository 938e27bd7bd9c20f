"""Batch-normalization statistics of a pruned network, estimated anew from calibration samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


def reestimate(model: torch.nn.Module, x: NDArray[Any]) -> int:
    """Replace running means and variances by those over ``x`` (m, ...), in place; returns how many layers have them.

    The weights stay as they are, and the model is left in eval mode. Each statistic is the plain mean over
    batches; nothing else that behaves differently in training (dropout) is switched on.
    """
    import torch

    from cbs_opt.collect.samples import as_inputs, batches

    norms = [
        module
        for module in model.modules()
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm) and module.track_running_stats
    ]
    model.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative mean
        norm.train()
    with torch.no_grad():
        for part in batches(model, x) if norms else ():
            model(as_inputs(model, x[part]))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
    return len(norms)
