"""Re-estimates the batch-normalization statistics of a pruned network from calibration samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbs_opt.errors import InputError
from cbs_opt.kernel.words import counted
from cbs_opt.network.inputs import SamplesLike, as_samples

if TYPE_CHECKING:
    import torch


def reestimate(model: torch.nn.Module, x: SamplesLike) -> int:
    """Replace the running means and variances by those over the samples ``x``, in place; returns the number of layers.

    The weights stay as they are, and the model is left in eval mode. Each statistic is the mean over batches,
    weighted by their numbers of samples. Other layers that behave differently in training, such as dropout, stay in
    eval mode.

    Raises
    ------
    InputError
        Statistics that are not finite (names the layer).
    """
    import torch

    from cbs_opt.network.samples import batches, run

    samples = as_samples(x)
    named = _norms(model)
    norms = list(named.values())
    model.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    with torch.no_grad():
        for part in _without_singles(list(batches(model, samples))):
            for norm in norms:
                norm.momentum = (part.stop - part.start) / part.stop  # the running mean over all samples so far
            run(model, samples.take(part))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for name, norm in named.items():
        if not all(bool(value.isfinite().all()) for value in norm.buffers()):
            raise InputError(
                f"layer {name}: its batch-normalization statistics over these samples are not finite; "
                "look for samples with huge values, or leave reestimate_batchnorm out"
            )
    model.eval()
    return len(norms)


def check_reestimate(model: torch.nn.Module, samples: int) -> None:
    """Raise, before anything is computed, if ``reestimate`` could not be done.

    Raises
    ------
    InputError
        The network has no batch normalization that keeps statistics, or there is a single sample, without variance.
    """
    if not _norms(model):
        raise InputError(
            "reestimate_batchnorm: the network has no batch normalization with running statistics; leave it out"
        )
    if samples < 2:
        raise InputError("reestimate_batchnorm: a variance needs at least 2 samples; give more of them")


def reestimated_note(count: int) -> str:
    """The note that ``count`` layers have statistics of the pruned network."""
    return (
        f"{counted(count, 'batch-normalization layer')} took new running means and variances from the calibration "
        "samples, as they are in the pruned network"
    )


def _norms(model: torch.nn.Module) -> dict[str, torch.nn.modules.batchnorm._BatchNorm]:
    import torch

    kind = torch.nn.modules.batchnorm._BatchNorm
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, kind) and module.track_running_stats
    }


def _without_singles(parts: list[slice]) -> list[slice]:
    """The batches; a last one of a single sample, which has no variance, is joined to the one before."""
    if len(parts) > 1 and parts[-1].stop - parts[-1].start == 1:
        return [*parts[:-2], slice(parts[-2].start, parts[-1].stop)]
    return parts
