"""Running a network to one layer after the other without starting from scratch each time.

A forward pass that is to end at layer ℓ is replayed from its beginning, but every module that was finished before the
last stop answers from memory instead of computing; so each module computes once, whatever the network's graph, and
the numbers are those of the plain pass. Only the answers that are still needed are kept: which these are is tried
out on one sample, with stand-ins in place of the answers that raise as soon as anybody computes with them.

A module that changes its input in place never answers from memory, or its input would stay unchanged in a replay; nor
does one that returns its input, or a part of it, since a later change of the one would not reach the other. For
whatever else cannot be replayed, the trial compares what modules return, and the inputs of layers, with the plain pass.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any

from cbs_opt.collect.plan import Call, Plan, Point, Value
from cbs_opt.collect.routing import Followed, following
from cbs_opt.errors import InputError
from cbs_opt.network.inputs import Inputs, Samples
from cbs_opt.network.placement import Placement
from cbs_opt.network.samples import answer

if TYPE_CHECKING:
    import torch


NOT_REACHED: Value = object()
"""Stands for the input of a layer that a pass does not come to."""


class Reached(Exception):
    """A pass has come to its point; carries the layer's input, or what the module returned."""

    def __init__(self, x: Any) -> None:
        super().__init__("reached")
        self.x = x


class Needed(Exception):
    """Somebody computes with the answer of a finished module."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Replay:
    """One network that is run to one layer after the other.

    Parameters
    ----------
    model : torch.nn.Module
        In eval mode; its modules' ``forward`` are wrapped, so hand over a copy.
    """

    def __init__(self, model: torch.nn.Module, placement: Placement | None = None) -> None:
        self.model, self.placement = model, placement
        self._stop: Point | None = None
        self._answers: Callable[[str], Value] | None = None
        self._finished: Collection[str] = ()
        self._returned: Callable[[str, Value], None] = lambda name, value: None
        self._began: Callable[[str, tuple[Value, ...], dict[str, Value]], None] = lambda name, args, kwargs: None
        self._kept: dict[tuple[str, int], Value] = {}
        self._watched: str | None = None
        self._watched_calls: dict[int, tuple[tuple[Value, ...], dict[str, Value]]] = {}
        for name, module in model.named_modules():
            if name:
                module.forward = self._wrapped(name, module.forward)

    def plan(self, x: Inputs, layers: Collection[str]) -> Plan:
        """Run the whole network on some samples and note the order of calls and the inputs of ``layers``.

        Raises
        ------
        InputError
            The network cannot take such samples.
        """
        from torch.utils.flop_counter import FlopCounterMode

        calls: dict[str, Call] = {}
        values: dict[str, Value] = {}
        # Began when and after how many operations, the tensors among the inputs with the counts of their changes in
        # place, name.
        running: list[tuple[int, int, list[tuple[torch.Tensor, int]], str]] = []
        counts: dict[str, int] = {}
        inputs: dict[str, torch.Tensor] = {}
        seen: list[tuple[str, Value, int]] = []  # kept alive: a tensor is known by being the same object
        same: dict[str, str] = {}
        clock, counter, followed = count(), FlopCounterMode(display=False), Followed(self.model)
        routed: set[str] = set()

        def began(name: str, args: tuple[Value, ...], kwargs: dict[str, Value]) -> None:
            given = [*args, *kwargs.values()]
            if name in layers:
                inputs[name] = _copied(given[0])
                if followed.is_routed(given[0]):
                    routed.add(name)
                version = getattr(given[0], "_version", 0)
                same[name] = next((n for n, x, v in seen if x is given[0] and v == version), name)
                seen.append((name, given[0], version))
            counts[name] = counts.get(name, 0) + 1
            running.append((next(clock), counter.get_total_flops(), _versions(given), name))

        def returned(name: str, value: Value) -> None:
            begin, before, versions, _ = running.pop()
            changed = any(tensor._version != version for tensor, version in versions)
            parent = running[-1][3] if running else None
            keepable = _is_plain(value) and not changed and _is_apart(value, [tensor for tensor, _ in versions])
            done = before, counter.get_total_flops()
            calls[name] = Call(begin, next(clock), parent, _bytes(value), keepable, done)
            if keepable:
                values[name] = _copied(value)

        self._began, self._returned = began, returned
        try:
            with counter, following(followed):
                answer(self.model, x)
        finally:
            self._began, self._returned = (lambda name, args, kwargs: None), (lambda name, value: None)
        once = {name: call for name, call in calls.items() if counts[name] == 1}
        kept = {name: values[name] for name in once if name in values}
        return Plan(once, counts, kept, inputs, same, frozenset(routed))

    def needed(
        self, plan: Plan, x: Inputs, point: Point, following: Point, then: frozenset[str] = frozenset()
    ) -> frozenset[str] | None:
        """Which answers of the modules finished at ``point`` a replay needs to go on to the point ``following``.

        Parameters
        ----------
        x : Inputs
            The samples the plan was made with; the weights are those it was made with.
        then : set of names
            Those needed to go on from ``following``: what is finished by now of them is kept, the others have to come
            out of the replay.

        Returns
        -------
        set of names
            None where the replay does not compute what the plain pass does.
        """
        finished = plan.finished(point)
        required = set(then & finished)
        expected = plan.values[following.name] if following.returned else plan.inputs[following.name]
        faithful = True

        def answer(name: str) -> Value:
            return _copied(plan.values[name]) if name in required else _stand_in(name)

        def returned(name: str, value: Value) -> None:
            nonlocal faithful
            stand_ins: list[Any] = [part for part in _flat(value) if type(part) is _stand_in_class()]
            if stand_ins and (name in then or name == following.name):
                raise Needed(stand_ins[0].module)
            if name in plan.values and not stand_ins:
                faithful &= _equal(value, plan.values[name])

        while True:
            faithful, self._returned = True, returned
            try:
                reached = self._to(following, x, finished, answer)
            except Needed as needed:
                required.add(needed.name)
            else:
                return frozenset(required) if faithful and _equal(reached, expected) else None
            finally:
                self._returned = lambda name, value: None

    def to(self, point: Point, x: Inputs, batch: int, finished: frozenset[str], keep: frozenset[str]) -> Value:
        """The layer's input, or what the module returns, at ``point`` for a batch of samples.

        ``NOT_REACHED`` where the network does not call the layer for any of them.

        Parameters
        ----------
        x : Inputs
            What the network is called with for them.
        batch : int
            The batch's number, under which answers are kept.
        finished : set of names
            Modules that answer from memory; empty: everything is computed.
        keep : set of names
            Modules whose answers are kept from now on; all others are forgotten.
        """

        def answer(name: str) -> Value:
            return _copied(self._kept[name, batch], self.device) if (name, batch) in self._kept else _stand_in(name)

        def returned(name: str, value: Value) -> None:
            if name in keep:
                self._kept[name, batch] = _copied(value, "cpu")

        def began(name: str, args: tuple[Value, ...], kwargs: dict[str, Value]) -> None:
            if name == self._watched and batch not in self._watched_calls:
                self._watched_calls[batch] = _copied(args, "cpu"), _copied(kwargs, "cpu")

        self._began, self._returned = began, returned
        try:
            reached = self._to(point, x, finished, answer)
        except Needed:  # the network takes another course than on the samples of the plan
            reached = self._to(point, x, frozenset(), answer)
        finally:
            self._began, self._returned = (lambda name, args, kwargs: None), (lambda name, value: None)
        for name, number in list(self._kept):
            if number == batch and name not in keep:
                del self._kept[name, number]
        return reached

    def watch(self, name: str | None) -> None:
        """From now on keep what the module ``name`` is called with, batch by batch; forget what was kept so far."""
        self._watched = name
        self._watched_calls.clear()

    def watched(self, batch: int) -> tuple[tuple[Value, ...], dict[str, Value]]:
        """What the watched module was called with in a batch, on the model's device."""
        positional, named = self._watched_calls[batch]
        return _copied(positional, self.device), _copied(named, self.device)

    def put(self, name: str, batch: int, value: Value) -> None:
        """Keep another answer of a module in place of the one that it gave."""
        self._kept[name, batch] = _copied(value, "cpu")

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return next(self.model.parameters()).device if self.placement is None else self.placement.device

    def answered(self, model: torch.nn.Module, samples: Samples) -> Value:
        """What the whole network, which is ``model``, returns for the samples."""
        return answer(model, self.inputs(samples))

    def inputs(self, samples: Samples) -> Inputs:
        """What the network is called with for the samples, where it runs."""
        return samples.inputs(self.model).each(lambda x: x.to(self.device))

    def _to(self, point: Point, x: Inputs, finished: frozenset[str], answers: Callable[[str], Value]) -> Value:
        self._stop, self._finished, self._answers = point, finished, answers
        try:
            x.call(self.model)
        except Reached as reached:
            return reached.x
        finally:
            self._stop, self._finished, self._answers = None, (), None
        if point.returned:
            raise InputError(f"{point.name}: the network does not call it for every batch; ignore the layers in it")
        return NOT_REACHED

    def _wrapped(self, name: str, forward: Callable[..., Value]) -> Callable[..., Value]:
        def run(*args: Value, **kwargs: Value) -> Value:
            given = [*args, *kwargs.values()]
            if self._stop == (name, False):
                raise Reached(given[0])  # what is no tensor is refused by whoever uses it
            if name in self._finished:
                assert self._answers is not None
                return self._answers(name)
            if self.placement is not None:
                self.placement.enter(name)
            self._began(name, args, kwargs)
            value = forward(*args, **kwargs)
            self._returned(name, value)
            if self._stop == (name, True):
                raise Reached(value)
            return value

        return run


def _versions(given: list[Value]) -> list[tuple[torch.Tensor, int]]:
    """The tensors among a call's inputs, with the counts of their in-place changes so far."""
    import torch

    return [(value, value._version) for value in _flat(given) if isinstance(value, torch.Tensor)]


def _is_plain(value: Value) -> bool:
    import torch

    if type(value) in (tuple, list):
        return all(_is_plain(part) for part in value)
    if type(value) is dict:
        return all(_is_plain(part) for part in value.values())
    return value is None or isinstance(value, (torch.Tensor, bool, int, float, str))


def _is_apart(value: Value, given: list[torch.Tensor]) -> bool:
    """Whether the tensors of a value share no memory with each other, nor with those that were ``given``."""
    import torch

    own = [part for part in _flat(value) if isinstance(part, torch.Tensor) and part.numel()]
    places = [part.untyped_storage().data_ptr() for part in own]
    return len(set(places)) == len(places) and not set(places) & {x.untyped_storage().data_ptr() for x in given}


def _equal(x: Value, y: Value) -> bool:
    """Whether the tensors of two values agree, up to what a device that adds in no fixed order may change."""
    import torch

    ours, theirs = _flat(x), _flat(y)
    return len(ours) == len(theirs) and all(
        _same_numbers(one, other) for one, other in zip(ours, theirs, strict=True) if isinstance(other, torch.Tensor)
    )


def _same_numbers(x: Value, y: torch.Tensor) -> bool:
    import torch

    if type(x) is not torch.Tensor or x.shape != y.shape:
        return False
    if x.device.type == "cpu" or not x.is_floating_point():
        return torch.equal(x, y)
    return bool(torch.allclose(x, y, rtol=0, atol=1e-4 * float(y.abs().max())))


def _copied(value: Value, device: torch.device | str | None = None) -> Value:
    """A copy that later in-place operations on the original cannot reach."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.detach().to(device or value.device, copy=True)
    if type(value) in (tuple, list):
        return type(value)(_copied(part, device) for part in value)
    if type(value) is dict:
        return {key: _copied(part, device) for key, part in value.items()}
    return copy.deepcopy(value)  # a cache that a block adds to, for example


def _bytes(value: Value) -> int:
    import torch

    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if type(value) in (tuple, list):
        return sum(_bytes(part) for part in value)
    return sum(_bytes(part) for part in value.values()) if type(value) is dict else 0


def _stand_in(name: str) -> torch.Tensor:
    """A tensor that raises ``Needed`` as soon as anything is computed with it."""
    import torch

    tensor: Any = torch.Tensor._make_subclass(_stand_in_class(), torch.empty(0))
    tensor.module = name
    return tensor


@cache
def _stand_in_class() -> type[torch.Tensor]:
    import torch

    class StandIn(torch.Tensor):
        module: str

        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            for value in _flat((args, kwargs or {})):
                if type(value) is cls:
                    raise Needed(value.module)
            raise AssertionError("a stand-in is among the arguments")

    return StandIn


def _flat(value: Value) -> list[Value]:
    if isinstance(value, (tuple, list)):
        return [leaf for part in value for leaf in _flat(part)]
    if isinstance(value, dict):
        return [leaf for part in value.values() for leaf in _flat(part)]
    return [value]
