"""Layer by layer: each layer is fitted to the dense layer's outputs, on the inputs that the network pruned so far
gives it (see ``cbs_opt.collect.layer_model`` for the model).

    layers = sequential_layers(model, x, find_targets(model), dampening_frac=1e-3)
    for layer in layers:                       # in the order of execution
        layers.replace(layer, solve(layer))    # new weights (out, in)
    pruned = layers.network()
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cbs_opt.collect.layer_model import LayerModel, LayerSums
from cbs_opt.collect.memory import available_memory
from cbs_opt.collect.replay import Plan, Replay
from cbs_opt.errors import InputError
from cbs_opt.kernel.arrays.types import Matrix
from cbs_opt.network.inputs import Inputs, SamplesLike, as_samples
from cbs_opt.network.samples import Precision, batches, copy_in_precision, run
from cbs_opt.network.targets import Target

if TYPE_CHECKING:
    import torch

Goal = Literal["dense", "pruned"]


class SequentialLayers:
    """The layers of a network, one after the other, each with the inputs that the layers before it leave it.

    Made by ``sequential_layers``. Iterating yields a ``LayerModel`` a layer; before the next one is asked for,
    ``replace`` puts the layer's new weights into the pruned network (without it the layer keeps its own).

    Attributes
    ----------
    order : tuple of Target
        The targets in the order of execution.
    notes : list of str
        What was altered, as it happens.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        x: SamplesLike,
        targets: Iterable[Target],
        *,
        damping: float | None,
        dampening_frac: float | None,
        goal: Goal,
        precision: Precision | None,
        batch: int | None,
        memory: float | None,
        numbers: NDArray[np.int64] | None,
    ) -> None:
        import torch

        if goal not in ("dense", "pruned"):
            raise InputError(f"goal: is {goal!r}; there are dense and pruned")
        self._original, self._samples, self._goal = model, as_samples(x), goal
        self._damping = {"damping": damping, "dampening_frac": dampening_frac}
        self._numbers = np.arange(len(self._samples)) if numbers is None else numbers
        self._memory = available_memory() / 2 if memory is None else memory
        # Two streams of activations; for the goal 'pruned' one is enough.
        self._pruned = Replay(copy_in_precision(model, precision))
        self._dense = Replay(copy_in_precision(model, precision)) if goal == "dense" else None
        self._weights: dict[str, Matrix] = {}
        self.notes: list[str] = []
        with torch.no_grad():
            one, chosen = self._samples.take(slice(1)), tuple(targets)
            run(self._pruned.model, one)  # raises a clear error where the samples do not fit
            sample = one.inputs(self._pruned.model)
            if not chosen:
                raise InputError("targets: are none; choose them with find_targets")
            self._plan = self._pruned.plan(sample, [target.name for target in chosen])
            self.order = _in_order(chosen, self._plan)
            self._stops = _stops(self.order, self._plan)
            # Tried out now, while the weights are those of the plan.
            self._needed = self._needed_at_stops(sample) if self._memory > 0 else {}
            largest = max(x.numel() for x in self._plan.inputs.values())
            self._plan.forget_tensors()
        self._batches = list(batches(model, self._samples, batch, largest))

    def __iter__(self) -> Iterator[LayerModel]:
        import torch

        finished = frozenset[str]()
        for together in self._stops:
            first = together[0]
            with torch.no_grad():
                keep = self._keep(first, last=together is self._stops[-1])
                layers = self._sums(together, finished, keep).models(**self._damping)
            finished = self._plan.finished(first.name) if keep else frozenset()
            for layer in layers:
                self.notes += layer.notes
                yield layer

    def _needed_at_stops(self, sample: Inputs) -> dict[str, frozenset[str] | None]:
        """Whose answers each stop but the last has to keep; None where the network cannot go on from there."""
        needed: dict[str, frozenset[str] | None] = {}
        then: frozenset[str] | None = frozenset()
        for stop, following in reversed(list(pairwise(names := [together[0].name for together in self._stops]))):
            then = self._pruned.needed(self._plan, sample, stop, following, then or frozenset())
            needed[stop] = then
        assert len(needed) == len(names) - 1, "each module is called once"
        return needed

    def replace(self, layer: LayerModel, weights: Any) -> None:
        """Put new weights (out, in) in place of the layer's; they are rounded to the network's precision.

        Raises
        ------
        InputError
            Wrong shape, NaN or infinity.
        """
        import torch

        target = layer.target
        matrix = np.asarray(weights, dtype=np.float64)
        if matrix.shape != (target.outputs, target.inputs):
            raise InputError(
                f"layer {target.name}: the new weights have shape {matrix.shape}; "
                f"({target.outputs}, {target.inputs}) is needed"
            )
        if not np.isfinite(matrix).all():
            raise InputError(f"layer {target.name}: the new weights hold NaN or infinity")
        self._weights[target.name] = matrix.copy()
        _replace(self._pruned.model, target, torch.from_numpy(self._weights[target.name]))

    def network(self) -> torch.nn.Module:
        """A copy of the network with all replaced weights, in its own precision."""
        import torch

        result = copy.deepcopy(self._original)
        for target in self.order:
            if target.name in self._weights:
                _write(result, target, torch.from_numpy(self._weights[target.name]))
        return result

    def _keep(self, target: Target, last: bool) -> frozenset[str]:
        """Whose answers to keep at this layer, so that the next run can go on from here."""
        if last or self._memory <= 0:
            return frozenset()
        needed = self._needed[target.name]
        if needed is None:
            self.notes.append(
                f"layer {target.name}: the network cannot go on from here (it changes in place what a "
                "module returned, or is random); the next layer's inputs are computed from scratch"
            )
            return frozenset()
        streams = 1 if self._dense is None else 2
        size = self._plan.size(needed) * len(self._samples) * streams
        if size > self._memory:
            self.notes.append(
                f"layer {target.name}: the activations kept at it ({size / 1e9:.2g} GB) exceed "
                f"{self._memory / 1e9:.2g} GB; the next layer's inputs are computed from scratch"
            )
            return frozenset()
        return needed

    def _sums(self, together: tuple[Target, ...], finished: frozenset[str], keep: frozenset[str]) -> LayerSums:
        original = (self._dense or self._pruned).model
        target, *others = together
        siblings = [(other, original.get_submodule(other.name)) for other in others]
        sums = LayerSums(target, original.get_submodule(target.name), siblings)
        for number, part in enumerate(self._batches):
            inputs = self._samples.take(part).inputs(self._pruned.model)
            x = self._pruned.to(target.name, inputs, number, finished, keep)
            dense = None
            if self._dense is not None:
                dense = self._dense.to(target.name, inputs, number, finished, keep)
            sums.add(x, dense, numbers=self._numbers[part], counted=inputs.counted)
        return sums


def sequential_layers(
    model: torch.nn.Module,
    x: SamplesLike,
    targets: Iterable[Target],
    *,
    damping: float | None = None,
    dampening_frac: float | None = None,
    goal: Goal = "dense",
    precision: Precision | None = None,
    batch: int | None = None,
    memory: float | None = None,
    numbers: NDArray[np.int64] | None = None,
) -> SequentialLayers:
    """The targets' layer models, in the order of execution, each on the network pruned so far.

    Parameters
    ----------
    model : torch.nn.Module
        Left as it is; copies are run, in eval mode, on the model's device.
    x : array, shape (m, ...), or other samples (``cbs_opt.network.inputs``)
        Calibration samples; no labels are needed.
    targets : targets
        From ``find_targets``.
    damping, dampening_frac : float
        Exactly one: λ itself, or λ as a fraction of each layer's mean diagonal.
    goal : 'dense' or 'pruned'
        What a layer's outputs shall stay close to: those of the dense layer on the dense network's inputs, X w̄
        (the default), or on the pruned network's, X̂ w̄ (then g = 0).
    precision : 'float32' or 'float64', optional
        What the network computes in; its own if left out. Sums over samples are float64 always.
    batch : int, optional
        Samples fed to the network at once.
    memory : float, optional
        Most bytes of activations kept from one layer to the next (half of what is free, if left out). Where they do
        not fit, or for 0, the next layer's inputs are computed from scratch, with the same numbers; that is noted.
    numbers : int array, shape (m,), optional
        What errors call the samples; their positions in ``x`` if left out.

    Raises
    ------
    InputError
        A target that the network calls never or several times, samples that do not fit, inputs that are not finite.
    """
    return SequentialLayers(
        model,
        x,
        targets,
        damping=damping,
        dampening_frac=dampening_frac,
        goal=goal,
        precision=precision,
        batch=batch,
        memory=memory,
        numbers=numbers,
    )


def _in_order(targets: Iterable[Target], plan: Plan) -> tuple[Target, ...]:
    chosen = tuple(targets)
    for target in chosen:
        calls = plan.counts.get(target.name, 0)
        if calls != 1:
            often = "never" if calls == 0 else f"{calls} times in one pass"
            raise InputError(
                f"layer {target.name}: the network calls it {often}; layer by layer each must be called "
                "once, so ignore it, or take curvature gram or fisher"
            )
    return tuple(sorted(chosen, key=lambda target: plan.calls[target.name].begin))


def _stops(order: Sequence[Target], plan: Plan) -> tuple[tuple[Target, ...], ...]:
    """The layers in groups that are summed together: those right behind each other, called with the very same input."""
    stops: list[list[Target]] = []
    for target in order:
        if stops and plan.same[target.name] == stops[-1][0].name and target.kind != "conv2d":
            stops[-1].append(target)
        else:
            stops.append([target])
    return tuple(map(tuple, stops))


def _replace(model: torch.nn.Module, target: Target, matrix: torch.Tensor) -> None:
    """Put a new parameter in place of the target's, in its type and on its device; the old tensor stays as it is."""
    import torch

    before = model.get_parameter(target.tensor)
    module, _, name = target.tensor.rpartition(".")
    new = target.weight(matrix).to(before.device, before.dtype).contiguous()
    setattr(model.get_submodule(module), name, torch.nn.Parameter(new, requires_grad=before.requires_grad))


def _write(model: torch.nn.Module, target: Target, matrix: torch.Tensor) -> None:
    import torch

    with torch.no_grad():
        weight = model.get_parameter(target.tensor)
        weight.copy_(target.weight(matrix))
