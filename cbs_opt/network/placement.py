"""Runs a network that is too large for a device: its blocks stay in memory, and one at a time is on the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from cbs_opt.network.blocks import entries

if TYPE_CHECKING:
    import torch

SHARE = 4
"""A network is put on a device as a whole only if it takes at most 1/SHARE of the free memory there: two networks run
side by side, and their activations and a layer's problem need room, too."""


class _Home(NamedTuple):
    """Where a tensor of the block on the device came from, and how often it had been changed in place by then."""

    memory: torch.Tensor
    tensor: torch.Tensor
    version: int


class Placement:
    """Moves the blocks of a network to a device and back.

    Modules that are in no block (an embedding, a head) are on the device all the time.

    Parameters
    ----------
    model : torch.nn.Module
        The network, in memory. Its parameters are objects of its own, but may share memory with another network's.
    device : torch.device
        The device that it is to run on.
    beside : Placement, optional
        The placement of another network that shares memory with this one: tensors that are on the device already are
        not put there twice.
    """

    def __init__(self, model: torch.nn.Module, device: torch.device, beside: Placement | None = None) -> None:
        self.device = device
        self._model, self._blocks = model, frozenset(entries(model))
        self._homes: dict[str, _Home] = {}
        self.inside: str | None = None
        in_blocks = {id(x) for name in self._blocks for _, x in self._tensors(name)}
        self._outside = [(x, x.data) for x in (*model.parameters(), *model.buffers()) if id(x) not in in_blocks]
        there = {} if beside is None else {memory.data_ptr(): x.data for x, memory in beside._outside}
        for x, memory in self._outside:
            found = there.get(memory.data_ptr())
            x.data = self._on_device(memory) if found is None or found.shape != memory.shape else found

    def enter(self, name: str) -> None:
        """Put the block ``name`` on the device and take any other off; if ``name`` is no block, nothing changes."""
        if name == self.inside or name not in self._blocks:
            return
        self.leave()
        for key, x in self._tensors(name):
            memory = x.data
            x.data = self._on_device(memory)
            self._homes[key] = _Home(memory, x, x._version)
        self.inside = name

    def leave(self) -> None:
        """Take the block off the device: unchanged tensors return to their old memory, changed ones to new memory."""
        if self.inside is None:
            return
        for key, x in self._tensors(self.inside):
            home = self._homes.get(key)
            as_it_was = home is not None and home.tensor is x and home.version == x._version
            x.data = home.memory if home is not None and as_it_was else x.data.to("cpu")
        self._homes.clear()
        self.inside = None

    def end(self) -> None:
        """Take all of the network off the device, to where it came from."""
        self.leave()
        for x, memory in self._outside:
            x.data = memory

    def _on_device(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self.device)

    def _tensors(self, name: str) -> Sequence[tuple[str, torch.Tensor]]:
        module = self._model.get_submodule(name)
        return [*module.named_parameters(), *module.named_buffers()]


def fits(model: torch.nn.Module, device: torch.device) -> bool:
    """Whether the network may be put on the device as a whole."""
    import torch

    if device.type != "cuda":
        return True
    size = sum(x.numel() * x.element_size() for x in (*model.parameters(), *model.buffers()))
    return SHARE * size <= torch.cuda.mem_get_info(device)[0]


def is_on(model: torch.nn.Module, device: torch.device) -> bool:
    """Whether the network is on a device of this kind."""
    return next(model.parameters()).device.type == device.type


@contextmanager
def running_on(model: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """Inside, the network runs on the device: block by block if it is in memory, where it is again afterwards."""
    if is_on(model, device):
        yield
        return
    placement, blocks = Placement(model, device), entries(model)
    hooks = [
        model.get_submodule(name).register_forward_pre_hook(lambda module, args, name=name: placement.enter(name))
        for name in blocks
    ]
    try:
        for name in blocks[:1]:  # the network's first parameter says where it runs
            placement.enter(name)
        yield
    finally:
        for hook in hooks:
            hook.remove()
        placement.end()
