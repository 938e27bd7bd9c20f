"""The course of a network's forward pass on a sample or a few: which modules are called when, and what they return."""

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
    """Kept of a moment: the layer's input or the module's answer, or only the answer's shape, type and device."""

    at: Point
    numbers: bool = True


@dataclass(frozen=True, eq=False)
class Call:
    """One module's only call in a forward pass: when it began and ended, inside whose call, how many bytes it was given
    and returned, whether what it returned can stand for calling it again, and how many operations the pass had done
    when it began and ended."""

    begin: int
    end: int
    parent: str | None
    given: int
    bytes: int
    keepable: bool
    done: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Plan:
    """The order of a network's calls on some samples, how often each module is called, what the modules returned (where
    that can be kept), and the layers' inputs.

    ``same`` names for each layer the first one that was called with the very same tensor, unchanged since; ``routed``
    are the points at which a layer is called with tokens which the network has chosen, or a module answers with such
    (see ``routing``).
    """

    calls: dict[str, Call]
    counts: dict[str, int]
    values: dict[str, Value]
    inputs: dict[str, torch.Tensor]
    same: dict[str, str]
    routed: frozenset[Point]

    def time(self, point: Point) -> int:
        """When a pass comes to this point."""
        call = self.calls[point.name]
        return call.end if point.returned else call.begin

    def in_order(self, targets: Sequence[Target]) -> tuple[Target, ...]:
        """The targets in the order of execution.

        Raises
        ------
        InputError
            One that the network calls never or several times.
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
        """Additions and multiplications of matrix products that the pass does up to this point."""
        return self.calls[point.name].done[point.returned]

    def finished(self, point: Point) -> frozenset[str]:
        """The outermost modules that have returned, something that can be kept, at this point."""
        now = self.time(point)
        done = {name for name, call in self.calls.items() if call.end <= now and call.keepable}
        return frozenset(name for name in done if not self._inside(name, done))

    def size(self, keep: Collection[Kept]) -> int:
        """Bytes that what is kept takes, for the samples the plan was made with."""
        moments = [(self.calls[kept.at.name], kept.at.returned) for kept in keep if kept.numbers]
        return sum(call.bytes if returned else call.given for call, returned in moments)

    def forget_tensors(self) -> None:
        """Let go of what the modules took and returned, which only ``Replay.needed`` looks at."""
        self.values.clear()
        self.inputs.clear()

    def _inside(self, name: str, modules: set[str]) -> bool:
        parent = self.calls[name].parent
        while parent is not None and parent in self.calls:
            if parent in modules:
                return True
            parent = self.calls[parent].parent
        return False
