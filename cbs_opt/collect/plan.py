"""The course of a network's forward pass on a few samples: which modules are called when, and what they return."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from cbs_opt.collect.values import Value
from cbs_opt.errors import InputError
from cbs_opt.network.targets import Target

if TYPE_CHECKING:
    import torch


class Point(NamedTuple):
    """A moment of a forward pass: a layer is called, or a module has returned."""

    name: str
    returned: bool = False


class Kept(NamedTuple):
    """What is kept at a point: the layer's input or the module's output, or only its outline (without ``numbers``)."""

    at: Point
    numbers: bool = True


@dataclass(frozen=True, eq=False)
class Call:
    """A module's only call in a forward pass.

    Parameters
    ----------
    begin, end : int
        When the call began and ended; moments are counted over all calls of the pass.
    parent : str or None
        The module inside whose call it was.
    given, bytes : int
        How many bytes the module was given and returned.
    keepable : bool
        Whether what it returned can be kept and used in place of calling it again.
    done : (int, int)
        How many operations the pass had done when the call began and when it ended.
    """

    begin: int
    end: int
    parent: str | None
    given: int
    bytes: int
    keepable: bool
    done: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Plan:
    """The course of a network's forward pass on some samples.

    Parameters
    ----------
    calls : mapping of module name to Call
        The modules that are called once.
    counts : mapping of module name to int
        How often each module is called.
    values : mapping of module name to what it returned
        Modules that are called once and whose output can be kept.
    inputs : mapping of layer name to tensor
        The layers' inputs.
    same : mapping of layer name to layer name
        For each layer the first one that was called with the very same tensor, unchanged since.
    routed : set of Point
        The points at which a layer is called with tokens that the network has chosen, or a module returns such tokens
        (see ``routing``).
    """

    calls: dict[str, Call]
    counts: dict[str, int]
    values: dict[str, Value]
    inputs: dict[str, torch.Tensor]
    same: dict[str, str]
    routed: frozenset[Point]

    def time(self, point: Point) -> int:
        """The moment at which a pass comes to this point."""
        call = self.calls[point.name]
        return call.end if point.returned else call.begin

    def in_order(self, targets: Sequence[Target]) -> tuple[Target, ...]:
        """The targets in the order of execution.

        Raises
        ------
        InputError
            The network calls one of them never or several times.
        """
        for target in targets:
            calls = self.counts.get(target.name, 0)
            if calls != 1:
                often = "never" if calls == 0 else f"{calls} times in one pass"
                raise InputError(
                    f"layer {target.name}: the network calls it {often}; layer by layer each must be called "
                    "once, so ignore it, or take curvature gram or fisher"
                )
        return tuple(sorted(targets, key=lambda target: self.calls[target.name].begin))

    def operations(self, point: Point) -> int:
        """How many additions and multiplications of matrix products the pass has done up to this point."""
        return self.calls[point.name].done[point.returned]

    def finished(self, point: Point) -> frozenset[str]:
        """The outermost modules that have returned at this point and whose output can be kept."""
        now = self.time(point)
        done = {name for name, call in self.calls.items() if call.end <= now and call.keepable}
        return frozenset(name for name in done if not self._inside(name, done))

    def size(self, keep: Collection[Kept]) -> int:
        """How many bytes ``keep`` takes, for the samples that the plan was made with."""
        moments = [(self.calls[kept.at.name], kept.at.returned) for kept in keep if kept.numbers]
        return sum(call.bytes if returned else call.given for call, returned in moments)

    def forget_tensors(self) -> None:
        """Drop the inputs and outputs of the modules, which only ``Replay.needed`` looks at."""
        self.values.clear()
        self.inputs.clear()

    def _inside(self, name: str, modules: set[str]) -> bool:
        parent = self.calls[name].parent
        while parent is not None and parent in self.calls:
            if parent in modules:
                return True
            parent = self.calls[parent].parent
        return False
