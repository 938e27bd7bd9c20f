"""The layers of one block of a network: their models one after the other, and the error of the block's output."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from cbs_opt.collect.layer_model import LayerModel
from cbs_opt.collect.output_error import OutputError, detached
from cbs_opt.collect.plan import Point
from cbs_opt.network.attention import modules_called
from cbs_opt.network.targets import Target

if TYPE_CHECKING:
    import torch

    from cbs_opt.collect.sequential import SequentialLayers


class Call(NamedTuple):
    """A call of a block with a batch of samples: the batch's number, the arguments, and which positions count."""

    number: int
    positional: tuple[Any, ...]
    named: dict[str, Any]
    counted: torch.Tensor | None

    def of(self, block: torch.nn.Module) -> Any:
        """Call ``block`` so, and return its output."""
        with modules_called():
            return block(*self.positional, **self.named)


class BlockLayers:
    """The layers of one block of a network; iterating yields their models, see ``SequentialLayers``.

    Attributes
    ----------
    name : str
        The block's name in ``named_modules()``.
    stops : list of list of Target
        The block's layers in the order of execution, those with the same input together.
    end : Point or None
        The point at which the block returns; None if its output cannot be compared: the block is called several times,
        returns something that cannot be kept, or sees only tokens that the network chooses.
    """

    def __init__(self, layers: SequentialLayers, name: str, stops: list[list[Target]]) -> None:
        self._layers, self.name, self.stops = layers, name, stops
        self.end: Point | None = None

    @property
    def targets(self) -> tuple[Target, ...]:
        """The block's layers in the order of execution."""
        return tuple(target for stop in self.stops for target in stop)

    def __iter__(self) -> Iterator[LayerModel]:
        import torch

        for together in self.stops:
            with torch.no_grad():
                found = self._layers.sums(together)
            for layer in found:
                self._layers.notes += layer.notes
                yield layer

    def error(self, goals: list[Any] | None = None) -> float | None:
        """Σ‖ŷ − y‖²/Σ‖y‖² of the block's output ŷ in the pruned network and y in the dense one; None if unknown.

        Parameters
        ----------
        goals : list
            Is filled with y: for each batch a tensor on the CPU, or None if the block is not called for it.
        """
        import torch

        if self.end is None:
            return None
        total = OutputError()
        with torch.no_grad():
            for reached in self._layers.walk(self.end):
                total.add(reached.x, reached.dense, reached.counted)
                if goals is not None:
                    goals.append(detached(reached.dense))
        return total.relative

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Inside, keep the arguments that the pruned network calls the block with (see ``call``).

        It has to be entered before the first layer of the block is reached.
        """
        if self.end is not None:
            self._layers.watch(self.name)
        try:
            yield
        finally:
            self._layers.watch(None)

    @property
    def module(self) -> torch.nn.Module:
        """The block of the pruned network."""
        return self._layers.pruned.model.get_submodule(self.name)

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """The weights of the block's layers in the pruned network, by the layers' names."""
        if self._layers.pruned.placement is not None:
            self._layers.pruned.placement.enter(self.name)
        return {t.name: self._layers.pruned.model.get_parameter(t.tensor) for t in self.targets}

    def call(self, number: int) -> Call | None:
        """The pruned network's call of the block for batch ``number``, with copies, which the block may change.

        None if the network does not call the block for any sample of the batch.
        """
        watched = self._layers.pruned.watched(number)
        if watched is None:
            return None
        part = self._layers.samples.take(self._layers.batches[number])
        return Call(number, *watched, self._layers.pruned.inputs(part).counted)

    def answer(self, number: int, value: Any) -> None:
        """Replace the block's kept output for batch ``number`` by ``value``, after its weights have changed."""
        self._layers.pruned.put(self.name, number, value)
