"""Prunes a network: curvature, selection, update and bound, once or in several stages."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from cbs_opt.errors import InputError
from cbs_opt.kernel.curvature.damping import dominance_note
from cbs_opt.kernel.device import device_named
from cbs_opt.kernel.patterns import prune_count
from cbs_opt.kernel.terminal import shows_progress
from cbs_opt.network.attention import close_attention, own_copy
from cbs_opt.network.inference import outside_inference_mode
from cbs_opt.network.inputs import Samples
from cbs_opt.network.measures import Measure, Measured, as_measure, measure_notes
from cbs_opt.network.placement import fits, running_on
from cbs_opt.network.samples import calibrating, clipped, drawn, first_calls
from cbs_opt.network.targets import Target, find_targets, shared_weights, stacked_weights
from cbs_opt.network.weights import Weights
from cbs_opt.pruning.batchnorm import check_reestimate, reestimate, reestimated_note
from cbs_opt.pruning.fisher import FisherStages
from cbs_opt.pruning.gauss_newton import GaussNewtonStages
from cbs_opt.pruning.given_zeros import given_zeros
from cbs_opt.pruning.layerwise import LayerStages
from cbs_opt.pruning.result import LayerReport, Pruned, StageReport
from cbs_opt.pruning.schedule import sparsities
from cbs_opt.pruning.settings import Settings
from cbs_opt.pruning.stage import Clock, Stage, Stages

if TYPE_CHECKING:
    import torch

log = logging.getLogger("cbs_opt")

STAGES: dict[str, type[Stages]] = {
    "fisher": FisherStages,
    "gram": LayerStages,
    "sequential": LayerStages,
    "gauss-newton": GaussNewtonStages,
}
"""The class that runs the stages on each curvature; ``settings.CURVATURES`` says which settings each of them takes."""


@outside_inference_mode
@shows_progress("pruning")
def prune(
    model: torch.nn.Module,
    data: Any,
    sparsity: float | None = None,
    *,
    pattern: str | None = None,
    test: Any = None,
    curvature: str = "sequential",
    method: str = "",
    options: Mapping[str, Any] | None = None,
    samples: int | None = None,
    damping: float | None = None,
    dampening_frac: float | None = None,
    targets: Iterable[str] = ("*",),
    ignore: Iterable[str] = (),
    partition: str | int = "network",
    allocation: str = "",
    average: int = 1,
    first_order: bool = False,
    stages: int = 1,
    schedule: str = "cubic",
    settle: int = 0,
    revive: bool = False,
    reestimate_batchnorm: bool = False,
    loss: Callable[..., Any] | None = None,
    precision: Any = "float32",
    device: str = "cpu",
    bound: bool | None = None,
    bound_time: float | None = None,
    keep_zeros: bool = False,
    refine: int = 0,
    work: str | os.PathLike[str] | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Pruned:
    """Choose which weights to remove together, re-tune the others, and say how far that is from the best possible.

    Parameters
    ----------
    model : torch.nn.Module
        The trained network. It stays as it is; a copy of it is pruned.
    data : Data, or (x, y), or x alone, or batches of either
        Calibration samples (the training part of a ``Data``); only ``fisher`` and ``gauss-newton`` need labels.
        x is an array or tensor (m, ...), or for a network of several inputs a dict of these by name or a tuple in
        order (without labels give (x, None), as a pair is always read as (x, y)). Batches are a ``DataLoader``, a
        ``Dataset`` or a list (``network.gathered``); only as many are read as ``samples`` samples need.
    sparsity : float
        At least this share of all prunable weights becomes zero.
    pattern : str
        Given instead of the sparsity, with ``gram`` or ``sequential``: N:M, such as '2:4' for at most 2 kept of every
        4 consecutive inputs of an output (in a convolution, of 4 input channels at one kernel position).
    test : (x, y), batches, or a measure of ``network.measures``, optional
        Test samples that accuracy is measured on; left out, the test part of a ``Data``, if there is one.
    curvature : str
        The model of the loss. ``sequential``: layer by layer, with inputs from the network pruned so far and the dense
        layer's outputs as target. ``gram``: layer by layer, with the inputs in the dense network. ``fisher``: the
        empirical Fisher of per-sample gradients, the loss model of the paper. ``gauss-newton``: the first-order term
        and the Gauss–Newton matrix, which is never formed; it has no bound.
    method : str
        What chooses the masks, see ``cbs-opt methods``; left out, by the curvature and the size of the network.
    options : mapping
        Options of the method, by name.
    samples : int, optional
        How many calibration samples are drawn, without replacement; left out, 1,000, or all if there are fewer.
    damping, dampening_frac : float
        λ itself, or λ as a fraction of the curvature's mean diagonal (each layer's own, unless the curvature is one
        of the whole network). If neither is given, the fraction is 0.01.
    targets, ignore : patterns of module names
        Layers to prune, and layers to leave alone, as a shell would match their names: 'layer1.*'.
    partition : 'network', 'layer', 'row' or int
        With ``fisher``: the pieces that stay dense (an int: so many consecutive weights); entries between different
        pieces are dropped.
    allocation : 'sensitivity', 'magnitude', 'layer' or 'uniform'
        With ``gram`` and ``sequential``: how layers and rows share the zeros; left out, by the size of the network.
    average : int
        With ``fisher``: how many samples each row of the gradient matrix averages.
    first_order : bool
        With ``fisher``: keep the gradient as a first-order term (g ≠ 0).
    stages, schedule, settle : int, 'linear', 'exponential' or 'cubic', int
        How many stages there are, how sparsity grows over them, and how many more follow at the final sparsity. Each
        stage collects the curvature of the network as the stage before left it.
    revive : bool
        Whether later stages may take back weights that earlier ones pruned; ``gauss-newton`` cannot. With ``gram`` and
        ``sequential`` a row then exchanges weights, and its number of zeros never falls.
    reestimate_batchnorm : bool
        Re-estimate batch-normalization statistics on the calibration samples at the end. Accuracy is measured after
        that; objective and bound do not see it.
    loss : callable, optional
        With ``fisher``: (outputs, labels) → scalar; left out, the cross-entropy.
    precision : 'float32' or 'float64'
        With ``fisher``: precision of the gradients.
    device : 'cpu' or 'cuda'
        Where curvature and masks are computed.
    bound : bool, optional
        Whether to prove a lower bound even where the method proves none; left out, unless the network is large.
    bound_time : float, optional
        Seconds for all bounds of a stage together, divided by the layers' sizes; the best bounds found by then are
        reported. The first bound of each layer is waited for. A value implies ``bound=True``.
    keep_zeros : bool
        Keep weights zero that are exactly zero in the given network, and count them as pruned, so that a pruned
        network can be pruned further.
    refine : int
        With ``sequential``: in so many passes over the samples, re-tune the kept weights of each block together, to
        the outputs of the dense network's block (``pruning.refine``). Objective and bound are of the weights before.
    work : path, optional
        With ``sequential``: a folder that keeps the outcome of each block. A run that was ended goes on from there
        with the next block, and ends with the same weights.
    seed : int
        Seed of the draw of samples, of methods that draw at random, and of the order of samples in ``refine``.
    progress : callable, optional
        Called with a few words whenever another step begins; left out, stderr shows these words (a line at
        most every half minute where it is no terminal), and the log has a line for each block. ``lambda words: None``
        keeps stderr silent.

    Raises
    ------
    CbsOptError
        What is asked for is impossible or fails; the given network is as it was.
    """
    import torch

    settings = Settings(
        curvature=curvature,
        pattern=pattern,
        method=method,
        options=options or {},
        partition=partition,
        allocation=allocation,
        damping=damping,
        dampening_frac=dampening_frac,
        average=average,
        first_order=first_order,
        revive=revive,
        loss=loss,
        precision=precision,
        device=device,
        bound=bound,
        bound_time=bound_time,
        keep_zeros=keep_zeros,
        refine=refine,
        work=None if work is None else os.fspath(work),
        seed=seed,
    )
    if not isinstance(model, torch.nn.Module):
        raise InputError(f"model: is a {type(model).__name__}; a torch.nn.Module is needed")
    targets, ignore = _patterns(targets), _patterns(ignore)
    wanted = _wanted(sparsity, settings, stages, schedule, settle)
    x, y, samples = calibrating(data, samples, settings.spec.needs_labels, classes=loss is None)
    samples, of_samples = clipped(samples, len(x), settings.average)
    measure = as_measure(test, data)
    clock = Clock(progress)
    dense, notes = _dense(model, settings)
    with running_on(dense, device_named(device)):
        draws = (drawn(x, y, samples, seed + number).x for number in range(len(wanted)))
        chosen, not_called = _called(dense, find_targets(dense, targets, ignore), draws, targets)
    notes += [*of_samples, *measure_notes(test, data), *not_called]
    notes += [f"layer {name}: stays as it is, its weight is {other}" for name, other in _tied(dense, targets, ignore)]
    notes += _stacked(dense) if "*" in targets else []
    weights, of_zeros = given_zeros(Weights.of(dense, chosen), settings, wanted[-1])
    notes += of_zeros
    given = weights.pruned
    if reestimate_batchnorm:
        check_reestimate(dense, samples)
    settings = settings.chosen_for(weights)
    STAGES[curvature].check(weights, settings)
    quality_dense = _quality(dense, measure, clock, device)
    now, reports = dense, list[StageReport]()
    run = STAGES[curvature](dense, weights, settings, lambda number: drawn(x, y, samples, seed + number))
    stage: Stage | None = None
    dominance: dict[str, float] = {}
    for number, share in enumerate(wanted):
        if weights.pruned == weights.n and not revive:
            notes.append(f"{len(wanted) - number} of {len(wanted)} stages were left out: every weight is pruned")
            break
        k = max(prune_count(weights.n, share), given)
        clock.stage = f"stage {number + 1} of {len(wanted)}" if len(wanted) > 1 else ""
        stage = run.stage(number, now, weights, k, clock)
        weights = stage.weights
        now = weights.into(dense)
        notes += stage.notes
        reports.append(
            StageReport(
                max(share, given / weights.n),
                stage.objective,
                stage.bound,
                stage.gap,
                stage.damping,
                quality=_quality(now, measure, clock, device) if len(wanted) > 1 else None,
            )
        )
        for part, ratio in stage.dominance.items():
            dominance[part] = max(ratio, dominance.get(part, 0.0))
    assert stage is not None, "there is at least one stage"
    notes += dominance_note(dominance.values())
    clock.stage = ""
    quality = None if reestimate_batchnorm or not reports else reports[-1].quality
    if reestimate_batchnorm:
        with clock.phase("batchnorm", "estimating batch-normalization statistics"):
            count = reestimate(now, drawn(x, y, samples, seed).x)
        notes.append(reestimated_note(count))
    if quality is None:
        quality = _quality(now, measure, clock, device)
    measured = (
        None
        if measure is None or quality_dense is None or quality is None
        else Measured(measure, quality_dense, quality)
    )
    emptied = _emptied(weights)
    notes += emptied
    if bound is None and not settings.bound and stage.bound == -math.inf:
        notes.append("the bound was not asked for: the network is large; bound=True (--bound) proves one")
    for note in dict.fromkeys(notes):
        log.log(logging.WARNING if note in emptied else logging.INFO, "prune: %s", note)
    return Pruned(
        model=close_attention(now),
        weights=weights,
        stages=tuple(reports),
        layers=_layer_reports(weights, stage),
        settings={
            "sparsity": wanted[-1],
            "samples": samples,
            "targets": targets,
            "ignore": ignore,
            "stages": stages,
            "schedule": schedule,
            "settle": settle,
            "reestimate_batchnorm": reestimate_batchnorm,
            **settings.told(),
        },
        measured=measured,
        seconds=clock.seconds,
        notes=tuple(dict.fromkeys(notes)),
        blocks=stage.blocks,
    )


def _wanted(sparsity: float | None, settings: Settings, stages: int, schedule: str, settle: int) -> list[float]:
    """The share of zeros after each stage."""
    if (sparsity is None) == (settings.n_of_m is None):
        raise InputError("sparsity, pattern: give exactly one of them")
    if settings.n_of_m is None:
        assert sparsity is not None, "one of the two is given"
        return list(sparsities(sparsity, stages, schedule, settle))
    if stages != 1 or settle:
        raise InputError("stages: a pattern is reached in one stage; leave stages and settle out")
    keep, of = settings.n_of_m
    return [1.0 - keep / of]


def _called(
    model: torch.nn.Module, targets: tuple[Target, ...], draws: Iterable[Samples], named: list[str]
) -> tuple[tuple[Target, ...], list[str]]:
    """The targets that the network calls for some sample of every stage, and a note on each other target.

    A layer that ``targets`` names in full stays among them: if it is never called, that is an error later.
    """
    seen = {target.name for target in targets}
    for samples in draws:
        seen &= first_calls(model, samples, seen).keys()
    seen |= {target.name for target in targets if target.name in named}
    if not seen:
        raise InputError("targets: the network calls none of the layers that are to be pruned; choose others")
    notes = [
        f"layer {t.name}: stays as it is, the network does not call it for any sample"
        for t in targets
        if t.name not in seen
    ]
    return tuple(target for target in targets if target.name in seen), notes


def _tied(model: torch.nn.Module, targets: list[str], ignore: list[str]) -> Iterator[tuple[str, str]]:
    """Layers that only '*' names and whose weight is that of other modules, too, with the names of these."""
    if "*" in targets:
        for name, others in shared_weights(model).items():
            if not any(fnmatchcase(name, pattern) for pattern in ignore):
                yield name, others


def _stacked(model: torch.nn.Module) -> list[str]:
    """A note on stacked weights, which belong to no layer that can be pruned."""
    found = stacked_weights(model)
    if not found:
        return []
    first, others = next(iter(found)), len(found) - 1
    names = (
        f"{first} and {others} more, {sum(found.values()):,} weights,"
        if others
        else f"{first}, {found[first]:,} weights,"
    )
    return [f"{names} are in no linear layer or two-dimensional convolution and stay as they are"]


def _dense(model: torch.nn.Module, settings: Settings) -> tuple[torch.nn.Module, list[str]]:
    """A copy of the network on the device; in memory, with a note, if it is too large for the device."""
    device = device_named(settings.device)
    if not settings.spec.block_by_block or fits(model, device):
        return own_copy(model, settings.device), []
    return own_copy(model), [f"the network stays in memory, one block at a time is on {device}: it is too large for it"]


def _quality(model: torch.nn.Module, measure: Measure | None, clock: Clock, device: str) -> float | None:
    if measure is None:
        return None
    with clock.phase(measure.name, f"measuring {measure.name}"), running_on(model, device_named(device)):
        return measure.of(model, lambda done, count: clock.tell(f"measuring {measure.name}, {done} of {count}"))


def _emptied(weights: Weights) -> list[str]:
    return [
        f"layer {target.name}: all its {target.numel} weights are pruned, nothing it is given gets through; prune "
        "less, or leave the layer out (ignore)"
        for target, part in weights.parts()
        if not weights.mask[part].any()
    ]


def _layer_reports(weights: Weights, stage: Stage) -> tuple[LayerReport, ...]:
    reports = []
    for target, part in weights.parts():
        loss = stage.layers.get(target.name)
        pruned = target.numel - int(weights.mask[part].sum())
        told = (loss.objective, loss.bound, loss.relative, loss.gap, loss.seconds) if loss else ()
        reports.append(LayerReport(target.name, target.numel, pruned, *told))
    return tuple(reports)


def _patterns(given: Iterable[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)
