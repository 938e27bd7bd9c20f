"""Shrinking a network: whole channels are removed until a budget is met, and the rest is re-tuned."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.collect import sequential_layers
from cbs_opt.errors import InputError, PatternError, unknown_name
from cbs_opt.kernel.curvature.damping import damping_asked
from cbs_opt.kernel.terminal import shows_progress
from cbs_opt.network.attention import close_attention, own_copy
from cbs_opt.network.inference import outside_inference_mode
from cbs_opt.network.measures import Measured, as_measure, measure_notes
from cbs_opt.network.samples import Drawn, answer, answer_of, calibrating, clipped, drawn
from cbs_opt.network.targets import find_targets
from cbs_opt.pruning.batchnorm import check_reestimate, reestimate, reestimated_note
from cbs_opt.pruning.stage import Clock
from cbs_opt.structure.channels import CoupledSet, removed_positions
from cbs_opt.structure.cost import Cost
from cbs_opt.structure.couple import Coupling, coupling
from cbs_opt.structure.curves import Curves, uniform
from cbs_opt.structure.rebuild import masked, small
from cbs_opt.structure.result import SetReport, Shrunk
from cbs_opt.structure.retune import layer_masks, retune

if TYPE_CHECKING:
    import torch

log = logging.getLogger("cbs_opt")

SELECTIONS = ("joint", "magnitude")
ALLOCATIONS = ("curves", "uniform")

SAME = 1e-5
"""The largest difference between the outputs of the small and the masked network, relative to the largest output."""


@outside_inference_mode
@shows_progress("shrinking")
def shrink(
    model: torch.nn.Module,
    data: Any,
    *,
    flops: float | None = None,
    parameters: float | None = None,
    test: Any = None,
    selection: str = "joint",
    allocation: str = "curves",
    samples: int | None = None,
    damping: float | None = None,
    dampening_frac: float | None = None,
    targets: Iterable[str] = ("*",),
    ignore: Iterable[str] = (),
    refine: int = 0,
    reestimate_batchnorm: bool = False,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Shrunk:
    """Remove whole channels (filters, neurons, heads) from a network and re-tune the rest: a smaller dense network.

    Parameters
    ----------
    model : torch.nn.Module
        The network; it is not changed. It is traced by ``torch.export`` to find which channels must be removed
        together.
    data : Data, or (x, y), or x alone, or batches of either
        Calibration samples, as ``prune`` takes them; labels are not needed.
    flops, parameters : float
        Exactly one of the two, above 0 and below 1: the share that may be left of the operations of all matrix products
        and convolutions for one sample, or of the number of entries of all parameters.
    test : (x, y), or batches, optional
        Samples on which accuracy is measured; the test part of a ``Data`` if left out.
    selection : 'joint' or 'magnitude'
        Which units of a set are removed first: those that raise the joint loss after the update least
        (``cbs_opt.structure.removal``), or those with the smallest weights.
    allocation : 'curves' or 'uniform'
        How many units each set keeps: those numbers with the least loss within the budget on the measured curves
        (``allocate``), or the same share of every set.
    samples : int, optional
        The number of calibration samples, drawn without replacement; by default 1,000, or all where there are fewer.
    damping, dampening_frac : float
        λ itself, or λ as a fraction of the mean diagonal of the Gram matrix of each layer's inputs; a fraction of 0.01
        if neither is given.
    targets, ignore : patterns of module names
        The layers that may lose inputs and are re-tuned. Channels that any other layer computes with stay.
    refine : int
        The number of passes that re-tune the layers of each block together, after each layer by itself.
    reestimate_batchnorm : bool
        Whether the statistics of batch normalization are estimated again at the end.
    seed : int
        The seed of the draw of samples, and of their order in ``refine``.
    progress : callable, optional
        Called with a few words whenever a new step begins. If left out, stderr shows them, a line at most
        every half minute where it is no terminal.

    Returns
    -------
    Shrunk
        The smaller network, its loss and cost, and how far the allocation is proven to be from the best.

    Raises
    ------
    CbsOptError
        Nothing can be removed, or not enough for the budget; or the network cannot be traced, or its code fixes a size
        that would have to change.
    """
    import torch

    if not isinstance(model, torch.nn.Module):
        raise InputError(f"model: is a {type(model).__name__}; a torch.nn.Module is needed")
    if (flops is None) == (parameters is None):
        raise InputError("flops, parameters: give exactly one of them, the share that may be left")
    of, share = ("flops", flops) if parameters is None else ("parameters", parameters)
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < 1:
        raise InputError(f"{of}: is {share!r}; the share that may be left lies between 0 and 1")
    for what, value, known in (("selection", selection, SELECTIONS), ("allocation", allocation, ALLOCATIONS)):
        if value not in known:
            raise unknown_name(what, value, list(known))
    lam = damping_asked(damping, dampening_frac)
    x, y, samples = calibrating(data, samples, needs_labels=False)
    samples, of_samples = clipped(samples, len(x))
    measure, clock = as_measure(test, data), Clock(progress)
    dense = own_copy(model)
    chosen = find_targets(dense, targets, ignore)
    calibration = drawn(x, y, samples, seed)
    if reestimate_batchnorm:
        check_reestimate(dense, samples)
    with clock.phase("tracing", "tracing the network"):
        plain = close_attention(own_copy(model))
        found = coupling(plain, calibration.x.take(slice(1)).inputs(plain), chosen)
    cost = found.flops if parameters is None else found.parameters
    most = share * cost.of([part.units for part in found.sets])
    _check_budget(found, cost, most, of)
    half = removed_positions(found.sets, _at_random(found.sets, seed))
    _difference(masked(plain, half), small(plain, half), calibration)
    measured = None
    if measure is not None:
        with clock.phase(measure.name, f"measuring {measure.name}"):
            measured = Measured(measure, measure.of(dense), math.nan)
    curves = Curves(dense, calibration, chosen, found.sets, selection, *lam, clock, seed)
    with clock.phase("allocation"):
        if allocation == "curves":
            counts, bound = curves.within(cost, most)
        else:
            counts, bound = uniform(found.sets, cost, most), -np.inf
    kept = [one.kept(count) for one, count in zip(curves.traces, counts, strict=True)]
    removed = removed_positions(found.sets, kept)
    with clock.phase("re-tuning"):
        sequence = sequential_layers(
            dense, calibration.x, chosen, damping=lam[0], dampening_frac=lam[1], numbers=calibration.numbers
        )
        now = close_attention(retune(sequence, layer_masks(dense, chosen, removed), refine, seed, clock.tell))
    large = masked(now, removed).eval()
    notes = [*of_samples, *measure_notes(test, data), *found.notes, *curves.notes, *sequence.notes]
    if reestimate_batchnorm:
        with clock.phase("batchnorm", "estimating batch-normalization statistics"):
            count = reestimate(large, calibration.x)
        notes.append(reestimated_note(count))
    little = small(large, removed)
    difference = _difference(large, little, calibration)
    if measured is not None:
        with clock.phase(measured.name, f"measuring {measured.name}"):
            measured = replace(measured, pruned=measured.measure.of(little))
    losses, everything = curves.losses(counts), [part.units for part in found.sets]
    for note in dict.fromkeys(notes):
        log.info("shrink: %s", note)
    return Shrunk(
        model=little,
        masked=large,
        difference=difference,
        sets=tuple(
            SetReport(part.name, part.units, tuple(map(int, units)), loss)
            for part, units, loss in zip(found.sets, kept, losses, strict=True)
        ),
        flops=found.flops.of(counts),
        flops_dense=found.flops.of(everything),
        parameters=round(found.parameters.of(counts)),
        parameters_dense=round(found.parameters.of(everything)),
        loss=sum(losses),
        bound=bound,
        removed=removed,
        measured=measured,
        settings={
            "flops": flops,
            "parameters": parameters,
            "selection": selection,
            "allocation": allocation,
            "samples": samples,
            "damping": lam[0],
            "dampening_frac": lam[1],
            "targets": _listed(targets),
            "ignore": _listed(ignore),
            "refine": refine,
            "reestimate_batchnorm": reestimate_batchnorm,
            "seed": seed,
        },
        seconds=clock.seconds,
        notes=tuple(dict.fromkeys(notes)),
    )


def _check_budget(found: Coupling, cost: Cost, most: float, of: str) -> None:
    if not found.sets:
        why = "; ".join(found.notes) or "what the network takes and returns is all there is"
        raise InputError(f"model: no channels can be removed ({why})")
    least, whole = cost.of([1] * len(found.sets)), cost.of([part.units for part in found.sets])
    if least > most:
        raise PatternError(f"{of}: with one unit of each set {100 * least / whole:.4g} % are still left; allow more")


def _at_random(sets: Sequence[CoupledSet], seed: int) -> list[NDArray[np.int64]]:
    """A random half of the units of each set, to try whether the network can be built without the others."""
    rng = np.random.default_rng(seed)
    return [np.sort(rng.permutation(part.units)[: (part.units + 1) // 2]) for part in sets]


def _difference(large: torch.nn.Module, little: torch.nn.Module, calibration: Drawn) -> float:
    """The largest difference between the outputs of the two networks, relative to the largest output.

    Raises
    ------
    InputError
        It is larger than ``SAME``, or the small network cannot be run: the network's code fixes a size that changed.
    """
    import torch

    part = calibration.x.take(slice(8))
    fixed = "its code fixes the size of something that lost channels; name the layers that read it in ignore"
    with torch.no_grad():
        y = answer_of(answer(large, part.inputs(large)))
        try:
            z = answer_of(answer(little, part.inputs(little)))
        except InputError as error:
            raise InputError(f"model: the smaller network cannot be run ({error}); {fixed}") from error
    if not isinstance(y, torch.Tensor):
        return 0.0
    apart = float((y - z).abs().max() / y.abs().max().clamp(min=1e-30)) if y.shape == z.shape else np.inf
    if not apart <= SAME:
        raise InputError(f"model: the smaller network answers otherwise than the masked one ({apart:.1e}); {fixed}")
    return apart


def _listed(patterns: Iterable[str]) -> list[str]:
    return [patterns] if isinstance(patterns, str) else list(patterns)
