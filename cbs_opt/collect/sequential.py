"""Fits layer after layer to the dense layer's outputs, on the inputs that the network pruned so far gives it.

The model of each layer is that of ``cbs_opt.collect.layer_model``:

    layers = sequential_layers(model, x, find_targets(model), dampening_frac=1e-3)
    for layer in layers:                       # in the order of execution
        layers.replace(layer, solve(layer))    # new weights (out, in)
    pruned = layers.network()
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cbs_opt.collect.block_layers import BlockLayers
from cbs_opt.collect.keeping import Keeping, needed_at
from cbs_opt.collect.layer_model import LayerModel
from cbs_opt.collect.layer_sums import LayerSums, operations_a_column
from cbs_opt.collect.memory import available_memory, give_back
from cbs_opt.collect.plan import Point
from cbs_opt.collect.replay import NOT_REACHED, Replay
from cbs_opt.collect.routing import OWN_OUTPUTS, note_of
from cbs_opt.errors import InputError
from cbs_opt.kernel.device import device_named
from cbs_opt.kernel.operations import Operations
from cbs_opt.network.blocks import block_of
from cbs_opt.network.inputs import Inputs, SamplesLike, as_samples
from cbs_opt.network.placement import Placement
from cbs_opt.network.samples import Precision, batches, copy_in_precision, first_calls
from cbs_opt.network.targets import Target

if TYPE_CHECKING:
    import torch

Goal = Literal["dense", "pruned"]

RUN = 16
"""After so many batches the memory that they freed is returned to the system."""


class Reach(NamedTuple):
    """A batch of samples at a point of the networks.

    Parameters
    ----------
    number : int
        The number of the batch.
    x, dense : tensor, or what a module returns
        What there is at the point in the pruned network, and in the dense one (None for the goal 'pruned'); None if
        the network does not come there for any sample of the batch.
    counted : boolean tensor, shape (samples, length)
        True at the positions that are no padding; None if no position is padding.
    numbers : int array, shape (samples,)
        The numbers by which errors name the samples.
    """

    number: int
    x: Any
    dense: Any
    counted: torch.Tensor | None
    numbers: NDArray[np.int64]


class SequentialLayers:
    """The layers of a network, one after the other, each with the inputs that the layers pruned before it give.

    Made by ``sequential_layers``. Iterating yields a ``LayerModel`` for each layer; before the next one is asked for,
    ``replace`` puts the layer's new weights into the pruned network (without it the layer keeps its own).

    Attributes
    ----------
    order : tuple of Target
        The targets in the order of execution.
    blocks : tuple of BlockLayers
        The same layers, those of each block of the network together (``network.blocks``).
    samples : Samples
        The calibration samples.
    batches : list of slice
        The samples that are run at once, one slice for each batch.
    pruned : Replay
        The network pruned so far.
    notes : list of str
        What was altered; it grows while the layers are iterated over.
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
        least_batches: int,
        memory: float | None,
        numbers: NDArray[np.int64] | None,
        device: str | None,
        proving: bool,
    ) -> None:
        import torch

        if goal not in ("dense", "pruned"):
            raise InputError(f"goal: is {goal!r}; there are dense and pruned")
        self._original, self.samples = model, as_samples(x)
        self._proving = proving
        self._damping = {"damping": damping, "dampening_frac": dampening_frac}
        self._numbers = np.arange(len(self.samples)) if numbers is None else numbers
        # Two streams of activations; for the goal 'pruned' one is enough.
        self._streams = 1 if goal == "pruned" else 2
        self.pruned = _replay(model, precision, device, None)
        self._dense = _replay(model, precision, device, self.pruned.placement) if goal == "dense" else None
        self._replaced: list[Target] = []
        self.notes: list[str] = []
        with torch.no_grad():
            chosen = tuple(targets)
            if not chosen:
                raise InputError("targets: are none; choose them with find_targets")
            sample = self._planned_on(np.zeros(1, dtype=np.int64), chosen)
            missing = [target.name for target in chosen if target.name not in self._plan.counts]
            if missing:  # experts, perhaps
                calls = first_calls(self.pruned.model, self.samples, missing, self.pruned.answered)
                sample = self._planned_on(np.unique([0, *calls.values()]), chosen)
            self.order = self._plan.in_order(chosen)
            if self._dense is not None:
                self.notes += note_of([target.name for target in self.order if Point(target.name) in self._plan.routed])
            self.blocks = self._in_blocks()
            # What to keep is tried out now, while the weights are those of the plan.
            memory = available_memory() / 2 if memory is None else memory
            needed = needed_at(self.pruned, self._plan, sample, self.blocks) if memory > 0 else {}
            largest = max(x.numel() for x in self._plan.inputs.values()) // self._planned
            self._plan.forget_tensors()
        sizes = {"planned": self._planned, "samples": len(self.samples), "streams": self._streams}
        self._keeping = Keeping(self._plan, needed, memory=memory, **sizes)
        self.batches = list(batches(model, self.samples, batch, largest, least_batches))
        self._finished = frozenset[str]()

    def __iter__(self) -> Iterator[LayerModel]:
        for block in self.blocks:
            yield from block

    def _planned_on(self, which: NDArray[np.int64], targets: Sequence[Target]) -> Inputs:
        """Make the plan with the samples at the positions ``which``, and return what the network is called with."""
        some = self.pruned.inputs(self.samples.take(which))
        self._planned = len(which)
        self._plan = self.pruned.plan(some, [target.name for target in targets])
        return some

    def _note(self, target: Target, what: str) -> None:
        self.notes.append(f"layer {target.name}: {what}")

    def _in_blocks(self) -> tuple[BlockLayers, ...]:
        blocks: list[BlockLayers] = []
        for target in self.order:
            name = block_of(self._original, target.name)
            last = blocks[-1].stops[-1] if blocks else []
            convolved = "conv2d" in (target.kind, *(other.kind for other in last[:1]))
            if last and self._plan.same[target.name] == last[0].name and not convolved:
                last.append(target)  # the next in the order of execution, with the very same input
            elif blocks and blocks[-1].name == name:
                blocks[-1].stops.append([target])
            else:
                blocks.append(BlockLayers(self, name, [[target]]))
        return tuple(blocks)

    def replace(self, layer: LayerModel | Target, weights: Any) -> None:
        """Put new weights (out, in) in place of the layer's; they are rounded to the network's precision.

        Raises
        ------
        InputError
            The weights have the wrong shape, or hold NaN or infinity.
        """
        import torch

        target = layer if isinstance(layer, Target) else layer.target
        matrix = np.asarray(weights, dtype=np.float64)
        if matrix.shape != (target.outputs, target.inputs):
            raise InputError(
                f"layer {target.name}: the new weights have shape {matrix.shape}; "
                f"({target.outputs}, {target.inputs}) is needed"
            )
        if not np.isfinite(matrix).all():
            raise InputError(f"layer {target.name}: the new weights hold NaN or infinity")
        self._replaced.append(target)
        _replace(self.pruned.model, target, torch.from_numpy(matrix))

    def network(self) -> torch.nn.Module:
        """A copy of the network with all replaced weights, in its own precision."""
        import torch

        result = copy.deepcopy(self._original)
        with torch.no_grad():
            for target in self._replaced:
                result.get_parameter(target.tensor).copy_(self.pruned.model.get_parameter(target.tensor))
        return result

    def watch(self, block: str | None) -> None:
        """From now on keep the arguments that a block of the pruned network is called with; None drops them.

        They count as kept activations. So do the outputs of the dense network's block, which the caller keeps.
        """
        self.pruned.watch(block)
        self._keeping.watch(block)

    def walk(self, point: Point) -> Iterator[Reach]:
        """Run both networks to ``point``, batch by batch, and keep what is needed to go on from there."""
        keep = self._keeping.at(point, self.notes)
        for number, part in enumerate(self.batches):
            if number % RUN == 0:
                give_back()
            inputs = self.pruned.inputs(self.samples.take(part))
            x = self.pruned.to(point, inputs, number, self._finished, keep)
            dense = None
            if self._dense is not None:
                dense = self._dense.to(point, inputs, number, self._finished, keep)
            x, dense = (None if found is NOT_REACHED else found for found in (x, dense))
            yield Reach(number, x, dense, inputs.counted, self._numbers[part])
        give_back()
        self._finished = self._plan.finished(point) if keep else frozenset()

    def operations(self) -> list[Operations]:
        """The operations of each block: running the networks to its layers and its end, and the layers' sums."""
        found, before, samples = [], 0, len(self.samples) / self._planned
        for block in self.blocks:
            total = 0.0
            sums = 0.0
            for point in (*(Point(stop[0].name) for stop in block.stops), *((block.end,) if block.end else ())):
                total += self._streams * (self._plan.operations(point) - before)
                before = self._plan.operations(point) if self._keeping.goes_on_from(point) else 0
            for stop in block.stops:
                two = self._dense is not None and Point(stop[0].name) not in self._plan.routed
                sums += self._columns(stop[0]) * operations_a_column(stop, two)
            of_sums = Operations(double=sums * samples) if self._proving else self._in_own_precision(sums * samples)
            found.append(self._in_own_precision(total * samples).and_(of_sums))
        return found

    def _in_own_precision(self, operations: float) -> Operations:
        """Operations in the precision of the network."""
        import torch

        double = next(self.pruned.model.parameters()).dtype == torch.float64
        return Operations(double=operations) if double else Operations(single=operations)

    def _columns(self, target: Target) -> float:
        """How many columns of inputs the samples of the plan give the layer (of a convolution, one per position)."""
        begin, end = self._plan.calls[target.name].done
        return (end - begin) / (2 * target.numel)

    def of_call(self, block: BlockLayers) -> Operations:
        """The operations of running the block on all samples, in one network."""
        begin, end = self._plan.calls[block.name].done
        return self._in_own_precision((end - begin) * len(self.samples) / self._planned)

    def sums(self, together: Sequence[Target]) -> list[LayerModel]:
        """The models of layers that are called with the same input."""
        original = (self._dense or self.pruned).model
        target, *others = together
        siblings = [(other, original.get_submodule(other.name)) for other in others]
        routed = Point(target.name) in self._plan.routed

        def empty() -> LayerSums:
            module = original.get_submodule(target.name)
            return LayerSums(target, module, siblings, self.pruned.device, not routed, self._proving)

        sums, elsewhere = empty(), None
        for reached in self.walk(Point(target.name)):
            counted = None if routed else reached.counted
            if reached.x is not None:
                sums.add(reached.x, reached.dense, numbers=reached.numbers, counted=counted)
            if self._dense is None or (reached.x is None) == (reached.dense is None):
                continue
            sums.paired = False
            if reached.dense is not None and not sums.columns:
                elsewhere = elsewhere or empty()
                elsewhere.add(reached.dense, numbers=reached.numbers, counted=counted)
        if elsewhere is not None and not sums.columns:
            sums = elsewhere
            self._note(target, "no token reaches it in the pruned network, so those that do in the dense one are taken")
        elif not sums.paired and not routed:
            self._note(target, f"sees others in the pruned network than in the dense one, so {OWN_OUTPUTS}")
        return sums.models(**self._damping)


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
    least_batches: int = 1,
    memory: float | None = None,
    numbers: NDArray[np.int64] | None = None,
    device: str | None = None,
    proving: bool = False,
) -> SequentialLayers:
    """The quadratic models of the targets, in the order of execution, each on the inputs in the network pruned so far.

    Parameters
    ----------
    model : torch.nn.Module
        The dense network, which stays as it is; copies are run, in eval mode, on the network's device.
    x : array, shape (m, ...), or other samples (``cbs_opt.network.inputs``)
        Calibration samples; no labels are needed.
    targets : targets
        The layers, from ``find_targets``.
    damping, dampening_frac : float
        Exactly one of them: λ itself, or λ as a fraction of each layer's mean diagonal.
    goal : 'dense' or 'pruned'
        What a layer's outputs are to stay close to: the dense layer's outputs on the dense network's inputs, X w̄
        (the default), or on those of the pruned network, X̂ w̄ (then g = 0).
    precision : 'float32' or 'float64', optional
        The precision in which the network computes; its own if left out. Sums over samples are always float64.
    batch : int, optional
        How many samples the network is given at once.
    least_batches : int
        If ``batch`` is left out, there are at least so many batches, if there are so many samples.
    memory : float, optional
        The most bytes of activations kept from one layer to the next (half of what is free, if left out). If they do
        not fit, or for 0, the next layer's inputs are computed from scratch, with the same numbers; a note says so.
    numbers : int array, shape (m,), optional
        The numbers by which errors name the samples; their positions in ``x`` if left out.
    device : str, optional
        A device that is too small for the whole network: one block at a time is run there.
    proving : bool
        Whether bounds on the f of the layers' inputs are to be proven, as ``layer_grams`` takes it.

    Raises
    ------
    InputError
        The network calls a target never or several times, cannot take the samples, or a layer's inputs are not finite.
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
        least_batches=least_batches,
        memory=memory,
        numbers=numbers,
        device=device,
        proving=proving,
    )


def _replay(
    model: torch.nn.Module, precision: Precision | None, device: str | None, beside: Placement | None
) -> Replay:
    own = copy_in_precision(model, precision)
    return Replay(own, None if device is None else Placement(own, device_named(device), beside))


def _replace(model: torch.nn.Module, target: Target, matrix: torch.Tensor) -> None:
    """Put a new parameter in place of the target's, in its type and on its device; the old tensor stays as it is."""
    import torch

    before = model.get_parameter(target.tensor)
    module, _, name = target.tensor.rpartition(".")
    new = target.weight(matrix).to(before.device, before.dtype, copy=True).contiguous()
    setattr(model.get_submodule(module), name, torch.nn.Parameter(new, requires_grad=before.requires_grad))
