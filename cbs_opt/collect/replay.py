"""Running a network to one layer after the other without starting from scratch each time.

A forward pass that is to end at layer ℓ is replayed from its beginning, but every module that was finished before the
last stop answers from memory instead of computing; so each module computes once, whatever the network's graph, and
the numbers are those of the plain pass. Only what is still needed is kept: which answers these are is tried out on one
sample, with stand-ins in their place that raise as soon as anybody needs their numbers (``collect.stand_in``).

What the layer of the last stop was called with can be kept, too. It is called with that where nothing else than its
input is made of some answers: the product of two of them, as in the MLP of most language models, takes half of what the
two do.

A module that changes its input in place never answers from memory, or its input would stay unchanged in a replay; nor
does one that returns its input, or a part of it, since a later change of the one would not reach the other. For
whatever else cannot be replayed, the trial compares what modules return, and the inputs of layers, with the plain pass.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from cbs_opt.collect.stand_in import Needed, is_stand_in, outline, refuse, stand_in
from cbs_opt.collect.values import Value, copied, equal, flat, is_apart, is_plain, size, versions
from cbs_opt.errors import InputError
from cbs_opt.network.inputs import Inputs, Samples
from cbs_opt.network.placement import Placement
from cbs_opt.network.samples import answer

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Call:
    """One module's only call in a forward pass: when it began and ended, inside whose call, how many bytes it was given
    and returned for one sample, and whether what it returned can stand for calling it again."""

    begin: int
    end: int
    parent: str | None
    given: int
    bytes: int
    keepable: bool


@dataclass(frozen=True, eq=False)
class Plan:
    """The order of a network's calls on one sample, how often each module is called, what the modules returned (where
    that can be kept), and the layers' inputs.

    ``same`` names for each layer the first one that was called with the very same tensor, unchanged since.
    """

    calls: dict[str, Call]
    counts: dict[str, int]
    values: dict[str, Value]
    inputs: dict[str, torch.Tensor]
    same: dict[str, str]

    def time(self, point: Point) -> int:
        """When a pass comes to this point."""
        call = self.calls[point.name]
        return call.end if point.returned else call.begin

    def finished(self, point: Point) -> frozenset[str]:
        """The outermost modules that have returned, something that can be kept, at this point."""
        now = self.time(point)
        done = {name for name, call in self.calls.items() if call.end <= now and call.keepable}
        return frozenset(name for name in done if not self._inside(name, done))

    def size(self, keep: Collection[Kept]) -> int:
        """Bytes that what is kept takes, for the sample the plan was made with."""
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


class Point(NamedTuple):
    """A moment of a forward pass: a layer is called, or a module has returned."""

    name: str
    returned: bool = False


class Kept(NamedTuple):
    """Kept of a moment: the layer's input or the module's answer, or only the answer's shape, type and device."""

    at: Point
    numbers: bool = True


class Reached(Exception):
    """A pass has come to its point; carries the layer's input, or what the module returned."""

    def __init__(self, x: Any) -> None:
        super().__init__("reached")
        self.x = x


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
        """Run the whole network on one sample and note the order of calls and the inputs of ``layers``.

        Raises
        ------
        InputError
            The network cannot take such samples.
        """
        calls: dict[str, Call] = {}
        values: dict[str, Value] = {}
        # Began when, bytes of the inputs, the tensors among them with the counts of their changes in place, name.
        running: list[tuple[int, int, list[tuple[torch.Tensor, int]], str]] = []
        counts: dict[str, int] = {}
        inputs: dict[str, torch.Tensor] = {}
        seen: list[tuple[str, Value, int]] = []  # kept alive: a tensor is known by being the same object
        same: dict[str, str] = {}
        clock = count()

        def began(name: str, args: tuple[Value, ...], kwargs: dict[str, Value]) -> None:
            given = [*args, *kwargs.values()]
            if name in layers:
                inputs[name] = copied(given[0])
                version = getattr(given[0], "_version", 0)
                same[name] = next((n for n, x, v in seen if x is given[0] and v == version), name)
                seen.append((name, given[0], version))
            counts[name] = counts.get(name, 0) + 1
            running.append((next(clock), size(given), versions(given), name))

        def returned(name: str, value: Value) -> None:
            begin, given, before, _ = running.pop()
            changed = any(tensor._version != version for tensor, version in before)
            parent = running[-1][-1] if running else None
            keepable = is_plain(value) and not changed and is_apart(value, [tensor for tensor, _ in before])
            calls[name] = Call(begin, next(clock), parent, given, size(value), keepable)
            if keepable:
                values[name] = copied(value)

        self._began, self._returned = began, returned
        try:
            answer(self.model, x)
        finally:
            self._began, self._returned = (lambda name, args, kwargs: None), (lambda name, value: None)
        once = {name: call for name, call in calls.items() if counts[name] == 1}
        return Plan(once, counts, {name: values[name] for name in once if name in values}, inputs, same)

    def needed(
        self, plan: Plan, x: Inputs, point: Point, following: Point, then: frozenset[Kept] = frozenset()
    ) -> frozenset[Kept] | None:
        """What a replay needs to go on from ``point`` to the point ``following``: of the modules finished at ``point``,
        and perhaps its layer's input.

        Parameters
        ----------
        x : Inputs
            The sample the plan was made with; the weights are those it was made with.
        then : set of Kept
            What is needed to go on from ``following``: the answers that are there by now are kept, the others have to
            come out of the replay.

        Returns
        -------
        set of Kept
            None where the replay does not compute what the plain pass does.
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
        """The layer's input, or what the module returns, at ``point`` for a batch of samples.

        Parameters
        ----------
        x : Inputs
            What the network is called with for them.
        batch : int
            The batch's number, under which answers and inputs are kept.
        finished : set of names
            Modules that answer from memory; empty: everything is computed.
        keep : set of Kept
            From now on; all else is forgotten.
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
        except Needed as needed:
            raise InputError(
                f"x: the network takes another course on batch {batch} than on the first sample "
                f"({needed.name} is needed); give memory=0 to compute every input from scratch"
            ) from None
        finally:
            self._began, self._returned = (lambda name, args, kwargs: None), (lambda name, value: None)
        for kept in [kept for kept, number in self._kept if number == batch and kept not in keep]:
            self._keep(kept.at, batch, self._kept.pop((kept, batch)), keep)
        if not point.returned:
            self._keep(point, batch, reached, keep)
        return reached

    def _keep(self, at: Point, batch: int, value: Value, keep: frozenset[Kept]) -> None:
        if Kept(at) in keep:
            self._kept[Kept(at), batch] = copied(value, "cpu")
        elif Kept(at, numbers=False) in keep:
            self._kept[Kept(at, numbers=False), batch] = outline(value, self.device)

    def watch(self, name: str | None) -> None:
        """From now on keep what the module ``name`` is called with, batch by batch; forget what was kept so far."""
        self._watched = name
        self._watched_calls.clear()

    def watched(self, batch: int) -> tuple[tuple[Value, ...], dict[str, Value]]:
        """What the watched module was called with in a batch, on the model's device."""
        positional, named = self._watched_calls[batch]
        return copied(positional, self.device), copied(named, self.device)

    def put(self, name: str, batch: int, value: Value) -> None:
        """Keep another answer of a module in place of the one that it gave, if that is kept."""
        kept = Kept(Point(name, returned=True))
        if (kept, batch) in self._kept:
            self._kept[kept, batch] = copied(value, "cpu")

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return next(self.model.parameters()).device if self.placement is None else self.placement.device

    def inputs(self, samples: Samples) -> Inputs:
        """What the network is called with for the samples, where it runs."""
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
        raise InputError(f"layer {point.name}: is not reached on every batch; ignore it")

    def _wrapped(self, name: str, forward: Callable[..., Value]) -> Callable[..., Value]:
        called, ended = Point(name), Point(name, returned=True)

        def run(*args: Value, **kwargs: Value) -> Value:
            given = [*args, *kwargs.values()]
            if self._stop == called:
                raise Reached(given[0])  # what is no tensor is refused by whoever uses it
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
