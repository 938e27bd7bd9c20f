"""Bound and gap of every layer of a network that any tool has pruned, on the inputs of the dense network.

Each layer is a problem of its own, with the objective f(w) = ½·mean‖Xw − Xw̄‖² + λ/2 ‖w − w̄‖² summed over its rows,
where X are its inputs in the dense network: the same yardstick for every tool. The bound of a layer holds for all
masks with at least as many zeros in the layer, wherever in the layer they are (in a grouped convolution, for all with
at least as many zeros in each of its groups); or, where a pattern N:M is given, for all masks of that pattern.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.collect import LayerModel, sequential_layers
from cbs_opt.collect.layer_model import group_problem, groups
from cbs_opt.errors import InputError, PatternError
from cbs_opt.evaluation.certify import Judgement, certify
from cbs_opt.kernel.arrays.types import Matrix
from cbs_opt.kernel.asked import Asked
from cbs_opt.kernel.curvature.damping import damping_asked
from cbs_opt.kernel.patterns import Cardinality, Pattern
from cbs_opt.kernel.result import finite_or_none
from cbs_opt.kernel.sums import total_bound
from cbs_opt.kernel.terminal import shows_progress
from cbs_opt.kernel.words import counted
from cbs_opt.network.attention import own_copy
from cbs_opt.network.inference import outside_inference_mode
from cbs_opt.network.samples import calibrating, clipped, drawn, first_calls
from cbs_opt.network.targets import find_targets
from cbs_opt.pruning.allocation import n_of_m_pattern, require_divisible
from cbs_opt.pruning.bound_time import BoundTime
from cbs_opt.pruning.left import Left

if TYPE_CHECKING:
    import torch

log = logging.getLogger("cbs_opt")


@dataclass(frozen=True)
class LayerJudgement:
    """What is proven about one layer.

    Parameters
    ----------
    name : str
        Name of the module.
    n, pruned : int
        How many weights the layer has, and how many of them are zero.
    given : float
        f of the layer's weights as they are.
    objective : float
        f of the best weights on the layer's mask.
    bound : float
        Proven lower bound: no weights with at least as many zeros in the layer (in each group of a grouped convolution;
        with a pattern, no weights of that pattern) have a smaller f; −inf without a bound.
    relative : float
        ``given`` divided by f of the layer with all weights zero.
    damping : float
        λ of the layer.
    dominance : float
        λ divided by the mean diagonal of the curvature without it.
    gap, mask_gap : float
        (f − bound)/|f| of the weights as they are, and of the best weights on their mask; inf without a bound.
    seconds : float
        How long update and bound took.
    """

    name: str
    n: int
    pruned: int
    given: float
    objective: float
    bound: float
    relative: float
    damping: float
    dominance: float
    gap: float
    mask_gap: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is unknown is None."""
        return {key: finite_or_none(v) if isinstance(v, float) else v for key, v in self.__dict__.items()}


@outside_inference_mode
@shows_progress("judging layers")
def certify_layers(
    model: torch.nn.Module,
    pruned: Any,
    data: Any,
    *,
    pattern: str | None = None,
    samples: int | None = None,
    damping: float | None = None,
    dampening_frac: float | None = None,
    bound_time: float | None = None,
    targets: Iterable[str] = ("*",),
    ignore: Iterable[str] = (),
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> tuple[LayerJudgement, ...]:
    """Judge each layer that was pruned, in the order of execution.

    Parameters
    ----------
    model : torch.nn.Module
        The dense network.
    pruned : torch.nn.Module, Pruned, or mapping of name to tensor
        What is to be judged: the same network with other weights, what ``prune`` returned, a checkpoint, or masks alone
        (boolean tensors, 1 keeps, by names of parameters or layers; the weights that they keep are then those of the
        dense network). Masks of torch.nn.utils.prune may still be attached. A weight counts as pruned where it is
        exactly zero; layers without a zero are not judged, nor are those that no sample reaches (the log names them).
    data
        Calibration samples as ``prune`` takes them; labels are not needed.
    pattern : str, optional
        N:M, as '2:4'. The bounds are then about all masks of this pattern, and every mask that is judged has to be one;
        left out, they are about all masks with at least as many zeros in the layer (in each group of a convolution).
    samples : int, optional
        How many of them are drawn; left out, 1,000, or all if there are fewer.
    damping, dampening_frac : float
        λ, as ``prune`` takes it.
    bound_time : float, optional
        Seconds for the bounds of all layers together; the best bounds found by then are reported. The first bound of
        each layer is waited for, even beyond that.
    targets, ignore : patterns
        Names of layers, as ``prune`` takes them.
    seed : int
        Seed of the draw of samples.
    progress : callable, optional
        Called with a few words whenever another step begins. If left out, stderr shows them, a line at most every half
        minute where it is no terminal.

    Raises
    ------
    InputError
        The networks differ in their layers or shapes, or no sample reaches a layer that has zeros.
    PatternError
        A mask is not of the pattern, or M does not divide the number of input channels of a layer.
    """
    tell = progress or (lambda words: None)
    x, y, count = calibrating(data, samples, needs_labels=False)
    count, of_samples = clipped(count, len(x))
    for note in of_samples:
        log.warning("certify: %s", note)
    used = drawn(x, y, count, seed)
    n_of_m = None if pattern is None else Asked("pattern", pattern).n_of_m
    dense = own_copy(model)
    found_targets = find_targets(dense, targets, ignore)
    left = Left(dense, found_targets, pruned)
    chosen = [target for target in found_targets if (left.matrix(target) == 0).any()]
    if not chosen:
        raise InputError("the pruned network has no zeros in the layers that are to be judged; there is no mask")
    if others := left.beside(found_targets):
        log.warning(
            "certify: %s beside the layers that are judged differ from the dense network (%s); that is not judged",
            counted(len(others), "tensor"),
            ", ".join(others[:3]) + (", …" if len(others) > 3 else ""),
        )
    called = first_calls(dense, used.x, [target.name for target in chosen])
    for target in chosen:
        if target.name not in called:
            log.warning("certify: layer %s: is not judged, the network does not call it for any sample", target.name)
    chosen = [target for target in chosen if target.name in called]
    if not chosen:
        raise InputError("data: no sample reaches any of the layers that have zeros; give others")
    if n_of_m is not None:
        require_divisible(chosen, *n_of_m)
    damping, dampening_frac = damping_asked(damping, dampening_frac)
    layers = sequential_layers(
        dense,
        used.x,
        chosen,
        damping=damping,
        dampening_frac=dampening_frac,
        goal="pruned",
        numbers=used.numbers,
        proving=True,
    )
    found = []
    budget = BoundTime(bound_time, sum(target.numel for target in chosen))
    for number, layer in enumerate(layers, 1):
        tell(f"bounding layer {number} of {len(chosen)}, {layer.name}")
        with layer.target.naming():
            found.append(judge_layer(layer, left.matrix(layer.target), budget, n_of_m))
    return tuple(found)


def judge_layer(
    layer: LayerModel, weight: Matrix, budget: BoundTime, n_of_m: tuple[int, int] | None = None
) -> LayerJudgement:
    """Judge a layer that has the weights (out, in); each group of a grouped convolution is a problem of its own."""
    started = time.perf_counter()
    parts: list[Judgement] = []
    nothing = 0.0
    for group, rows in groups(layer.target):
        mask = weight[rows] != 0
        pattern = Cardinality(mask.size, int(mask.size - mask.sum()))
        problem = group_problem(layer, group, rows, pattern)
        limit = budget.share(mask.size)
        rivals = None if n_of_m is None else _rivals(layer, mask, *n_of_m)
        judged = certify(problem, mask.ravel(), weight[rows].ravel(), time_limit=0.0, bound_time=limit, pattern=rivals)
        budget.charge(mask.size, judged.seconds)
        parts.append(judged)
        nothing += problem.objective(np.zeros(problem.n))
    given = sum(part.given_objective or 0.0 for part in parts)
    return LayerJudgement(
        name=layer.name,
        n=layer.target.numel,
        pruned=sum(part.pruned for part in parts),
        given=given,
        objective=sum(part.objective for part in parts),
        bound=total_bound([part.bound for part in parts]),
        relative=given / nothing if nothing > 0 else 0.0,
        damping=layer.damping,
        dominance=layer.dominance,
        gap=_gap([(part.given_objective or 0.0, part.bound, part.given_gap or 0.0) for part in parts]),
        mask_gap=_gap([(part.objective, part.bound, part.gap) for part in parts]),
        seconds=time.perf_counter() - started,
    )


def _rivals(layer: LayerModel, mask: NDArray[np.bool_], keep: int, of: int) -> Pattern:
    """The pattern N:M for the rows of a mask (rows, in), which has to be one of its masks."""
    pattern = n_of_m_pattern(layer.target, len(mask), keep, of)
    if not pattern.contains(mask.ravel()):
        raise PatternError(
            f"layer {layer.name}: its mask is not of the pattern {keep}:{of}, which keeps at most {keep} of every {of} "
            "consecutive input channels; leave the pattern out to judge it against all masks with as many zeros"
        )
    return pattern


def _gap(parts: list[tuple[float, float, float]]) -> float:
    """The gap of sums, from (f, bound, gap) of each part; round-off is accounted for in the parts' own gaps."""
    if len(parts) == 1:
        return parts[0][2]
    total = abs(sum(value for value, _, _ in parts))
    open_part = sum(gap * abs(value) for value, _, gap in parts)
    return open_part / total if total > 0 else open_part
