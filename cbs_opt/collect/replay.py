"""Runs a network to one layer after the other without starting from scratch each time.

A forward pass that is to end at layer ℓ is replayed from its beginning, but every module that was finished at the last
stop returns its kept output instead of computing it. So each module computes once, whatever the network's graph, and
the numbers are those of the plain pass. Only outputs that are still needed are kept. Which ones these are is tried out
on one sample, with stand-ins in their place that raise as soon as their numbers are needed (``collect.stand_in``).

The input of the layer at the last stop can be kept, too. That is done if some outputs are used for nothing but this
input: the product of two outputs, as in the MLP of most language models, takes half the memory of the two.

The output of a module that changes its input in place is never kept, since the input would stay unchanged in a replay;
nor is that of a module that returns its input, or a part of it, since a later change of the one would not reach the
other. Whatever else cannot be replayed is found by the trial, which compares the outputs of modules, and the inputs of
layers, with those of the plain pass.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import count
from typing import TYPE_CHECKING, Any

from cbs_opt.collect.plan import Call, Kept, Plan, Point
from cbs_opt.collect.routing import Followed, following
from cbs_opt.collect.stand_in import Needed, is_stand_in, outline, refuse, stand_in
from cbs_opt.collect.values import Value, copied, equal, flat, is_apart, is_plain, size, versions
from cbs_opt.network.inputs import Inputs, Samples
from cbs_opt.network.placement import Placement
from cbs_opt.network.samples import answer

if TYPE_CHECKING:
    import torch


NOT_REACHED: Value = object()
"""Returned in place of an input or output if a pass does not come to the point."""


class Reached(Exception):
    """A pass has come to its point; carries the layer's input, or what the module returned."""

    def __init__(self, x: Any) -> None:
        super().__init__("reached")
        self.x = x


class Replay:
    """A network that is run to one layer after the other.

    Parameters
    ----------
    model : torch.nn.Module
        The network in eval mode; its modules' ``forward`` are wrapped, so hand over a copy.
    placement : Placement, optional
        Puts one block of the network after the other on a device; left out, the network stays where it is.
    """

    def __init__(self, model: torch.nn.Module, placement: Placement | None = None) -> None:
        self.model, self.placement = model, placement
        self._stop: Point | None = None
        self._recall: Callable[[Point, Value], Value] = lambda at, otherwise: otherwise
        self._finished: Collection[str] = ()
        self._returned: Callable[[str, Value], None] = lambda name, value: None
        self._began: Callable[[str, tuple[Value, ...], dict[str, Value]], None] = lambda name, args, kwargs: None
        self._kept: dict[tuple[Kept, int], Value] = {}
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
        # For each call that has not returned yet: when it began, the bytes of its inputs, the operations until then,
        # the tensors among its inputs with the counts of their changes in place, and the module's name.
        running: list[tuple[int, int, int, list[tuple[torch.Tensor, int]], str]] = []
        counts: dict[str, int] = {}
        inputs: dict[str, torch.Tensor] = {}
        seen: list[tuple[str, Value, int]] = []  # kept alive: a tensor is known by being the same object
        same: dict[str, str] = {}
        clock, counter, followed = count(), FlopCounterMode(display=False), Followed(self.model)
        routed: set[Point] = set()

        def began(name: str, args: tuple[Value, ...], kwargs: dict[str, Value]) -> None:
            given = [*args, *kwargs.values()]
            if name in layers:
                inputs[name] = copied(given[0])
                if followed.is_routed(given[0]):
                    routed.add(Point(name))
                version = getattr(given[0], "_version", 0)
                same[name] = next((n for n, x, v in seen if x is given[0] and v == version), name)
                seen.append((name, given[0], version))
            counts[name] = counts.get(name, 0) + 1
            done = counter.get_total_flops()
            running.append((next(clock), size(given), done, versions(given), name))

        def returned(name: str, value: Value) -> None:
            begin, given, done, before, _ = running.pop()
            if name in layers:
                followed.answered(value)
            if any(map(followed.is_routed, flat(value))):
                routed.add(Point(name, returned=True))
            changed = any(tensor._version != version for tensor, version in before)
            parent = running[-1][-1] if running else None
            keepable = is_plain(value) and not changed and is_apart(value, [tensor for tensor, _ in before])
            operations = done, counter.get_total_flops()
            calls[name] = Call(begin, next(clock), parent, given, size(value), keepable, operations)
            if keepable:
                values[name] = copied(value)

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
        self, plan: Plan, x: Inputs, point: Point, following: Point, then: frozenset[Kept] = frozenset()
    ) -> frozenset[Kept] | None:
        """What a replay needs to go on from ``point`` to the point ``following``.

        These are outputs of modules that are finished at ``point``, and perhaps the input of its layer.

        Parameters
        ----------
        x : Inputs
            The samples that the plan was made with; the weights have to be those it was made with, too.
        then : set of Kept
            What is needed to go on from ``following``: outputs that exist at ``point`` are kept from there on, the
            others have to come out of the replay.

        Returns
        -------
        set of Kept
            None if the replay does not compute what the plain pass does.
        """
        finished = plan.finished(point)
        later = {kept.at.name for kept in then if kept.at.returned}
        required = {kept for kept in then if kept.at.returned and kept.at.name in finished}
        expected = plan.values[following.name] if following.returned else plan.inputs[following.name]
        faithful = called = True

        def recall(at: Point, otherwise: Value) -> Value:
            nonlocal called
            if not at.returned:
                called |= at == point
                return copied(plan.inputs[at.name]) if at == point else otherwise
            if Kept(at) in required:
                return copied(plan.values[at.name])
            asked = Kept(at, numbers=False) in required
            return stand_in(at.name, outline(plan.values[at.name], self.device) if asked else None)

        def returned(name: str, value: Value) -> None:
            nonlocal faithful
            if name in later:
                refuse(value)
            if name in plan.values and not any(map(is_stand_in, flat(value))):
                faithful &= equal(value, plan.values[name])

        while True:
            faithful, called, self._returned = True, False, returned
            try:
                reached = self._to(following, x, finished, recall)
            except Needed as needed:
                numbers = needed.numbers or outline(plan.values[needed.name], self.device) is None
                required.add(Kept(Point(needed.name, returned=True), numbers))
            else:
                if not faithful or not equal(reached, expected):
                    return None
                keep = {kept for kept in required if kept.numbers or Kept(kept.at) not in required}
                return frozenset(keep | {Kept(point)} if called else keep)
            finally:
                self._returned = lambda name, value: None

    def to(self, point: Point, x: Inputs, batch: int, finished: frozenset[str], keep: frozenset[Kept]) -> Value:
        """The layer's input, or the module's output, at ``point`` for a batch of samples.

        It is ``NOT_REACHED`` if the network does not come to the point for any of the samples.

        Parameters
        ----------
        x : Inputs
            What the network is called with for these samples.
        batch : int
            The number of the batch, under which outputs and inputs are kept.
        finished : set of names
            The modules that return what was kept of them; if there are none, everything is computed.
        keep : set of Kept
            What to keep from now on; all else is forgotten.
        """

        def recall(at: Point, otherwise: Value) -> Value:
            if (Kept(at), batch) in self._kept:
                return copied(self._kept[Kept(at), batch], self.device)
            outlined = self._kept.get((Kept(at, numbers=False), batch))
            return otherwise if outlined is None else stand_in(at.name, outlined)

        def returned(name: str, value: Value) -> None:
            self._keep(Point(name, returned=True), batch, value, keep)

        def began(name: str, args: tuple[Value, ...], kwargs: dict[str, Value]) -> None:
            if name == self._watched and batch not in self._watched_calls:
                self._watched_calls[batch] = copied(args, "cpu"), copied(kwargs, "cpu")

        self._began, self._returned = began, returned
        try:
            reached = self._to(point, x, finished, recall)
        except Needed:  # the network takes another course than on the samples of the plan
            reached = self._to(point, x, frozenset(), recall)
        finally:
            self._began, self._returned = (lambda name, args, kwargs: None), (lambda name, value: None)
        for kept in [kept for kept, number in self._kept if number == batch and kept not in keep]:
            assert kept.numbers or Kept(kept.at) not in keep, "what was let go of is needed later"
            self._keep(kept.at, batch, self._kept.pop((kept, batch)), keep)
        if not point.returned and reached is not NOT_REACHED:
            self._keep(point, batch, reached, keep)
        return reached

    def _keep(self, at: Point, batch: int, value: Value, keep: frozenset[Kept]) -> None:
        if Kept(at) in keep:
            self._kept[Kept(at), batch] = copied(value, "cpu")
        elif Kept(at, numbers=False) in keep:
            self._kept[Kept(at, numbers=False), batch] = outline(value, self.device)

    def watch(self, name: str | None) -> None:
        """From now on keep the arguments that the module ``name`` is called with, by batch, and forget older ones."""
        self._watched = name
        self._watched_calls.clear()

    def watched(self, batch: int) -> tuple[tuple[Value, ...], dict[str, Value]] | None:
        """The arguments of the watched module's call in a batch, on the network's device; None without a call."""
        if batch not in self._watched_calls:
            return None
        positional, named = self._watched_calls[batch]
        return copied(positional, self.device), copied(named, self.device)

    def put(self, name: str, batch: int, value: Value) -> None:
        """Replace the kept output of a module, if it is kept, by ``value``."""
        kept = Kept(Point(name, returned=True))
        if (kept, batch) in self._kept:
            self._kept[kept, batch] = copied(value, "cpu")

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return next(self.model.parameters()).device if self.placement is None else self.placement.device

    def answered(self, model: torch.nn.Module, samples: Samples) -> Value:
        """What the whole network, given as ``model``, returns for the samples."""
        return answer(model, self.inputs(samples))

    def inputs(self, samples: Samples) -> Inputs:
        """What the network is called with for the samples, on the device where it runs."""
        return samples.inputs(self.model).each(lambda x: x.to(self.device))

    def _to(self, point: Point, x: Inputs, finished: frozenset[str], recall: Callable[[Point, Value], Value]) -> Value:
        self._stop, self._finished, self._recall = point, finished, recall
        try:
            x.call(self.model)
        except Reached as reached:
            refuse(reached.x)
            return reached.x
        finally:
            self._stop, self._finished, self._recall = None, (), lambda at, otherwise: otherwise
        return NOT_REACHED

    def _wrapped(self, name: str, forward: Callable[..., Value]) -> Callable[..., Value]:
        called, ended = Point(name), Point(name, returned=True)

        def run(*args: Value, **kwargs: Value) -> Value:
            given = [*args, *kwargs.values()]
            if self._stop == called:
                raise Reached(given[0])  # if it is no tensor, the code that uses it will say so
            if name in self._finished:
                return self._recall(ended, stand_in(name))
            if given and is_stand_in(given[0]):
                given[0] = self._recall(called, given[0])
                args, kwargs = tuple(given[: len(args)]), dict(zip(kwargs, given[len(args) :], strict=True))
            if self.placement is not None:
                self.placement.enter(name)
            self._began(name, args, kwargs)
            value = forward(*args, **kwargs)
            self._returned(name, value)
            if self._stop == ended:
                raise Reached(value)
            return value

        return run
