"""The coupled sets of a network, found by tracing it with one sample (``torch.export``).

The traced graph is walked once with numbers of channels in place of activations (``numbering``, ``rules``). Channels
whose numbers are tied together form a unit, and units in the same tensors a set. No architecture is treated specially.
The network's inputs and outputs are never removed, nor are channels that pass through an operation without a rule, nor
any of ``torch.nn.MultiheadAttention``, which computes the width of its heads from its own width and their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import InputError
from cbs_opt.network.inputs import Inputs
from cbs_opt.network.samples import answer
from cbs_opt.network.targets import Target
from cbs_opt.structure.channels import Axis, CoupledSet, Slices
from cbs_opt.structure.cost import Cost, Factor, Term, counted
from cbs_opt.structure.numbering import Numbering, positions_of
from cbs_opt.structure.rules import rule_of
from cbs_opt.structure.step import Parameter, Product, Step, unknown

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Coupling:
    """The coupled sets of a network, and its cost as a function of what is kept.

    Parameters
    ----------
    sets : tuple of CoupledSet
        The sets whose units can be removed, in the order of the network's tensors.
    flops : Cost
        Operations of all matrix products and convolutions for one sample; a multiplication with an addition counts as
        two.
    parameters : Cost
        The number of entries of all parameters.
    notes : tuple of str
        Which channels cannot be removed because an operation mixes them.
    """

    sets: tuple[CoupledSet, ...]
    flops: Cost
    parameters: Cost
    notes: tuple[str, ...]


def coupling(model: torch.nn.Module, inputs: Inputs, readers: Iterable[Target]) -> Coupling:
    """Find which channels of a network must be removed together.

    Parameters
    ----------
    model : torch.nn.Module
        The network in eval mode; it is not changed.
    inputs : Inputs
        One sample.
    readers : targets
        The layers whose inputs may be removed. A channel that any other layer computes with stays.

    Raises
    ------
    InputError
        The network cannot take the sample, or ``torch.export`` cannot trace it, for instance because its code decides
        by the values of its inputs.
    """
    program = _exported(model, inputs)
    numbering, products = Numbering(), list[Product]()
    _walk(program, numbering, products)
    _keep_attention(model, numbering)
    axes = {(target.tensor, 0 if target.kind == "conv1d" else 1) for target in readers if target.groups == 1}
    sets, unit_of, set_of = _sets(model, numbering, axes)

    def factor(numbers: NDArray[np.int64]) -> Factor:
        return counted(set_of[unit_of[numbers]], [part.units for part in sets])

    parameters = [_by_axis(name, tuple(value.shape), numbering, factor) for name, value in model.named_parameters()]
    flops = [Term(factor(p.rows.numpy()), factor(p.columns.numpy()), p.amount) for p in products]
    return Coupling(
        tuple(sets),
        Cost.of_terms(len(sets), flops),
        Cost.of_terms(len(sets), parameters),
        tuple(_mixing_notes(numbering, unit_of, set_of)),
    )


def _exported(model: torch.nn.Module, inputs: Inputs) -> Any:
    import torch

    class Network(torch.nn.Module):
        """The network, returning only the tensors of its answer."""

        def __init__(self) -> None:
            super().__init__()
            self.traced = model

        def forward(self, *positional: Any, **named: Any) -> list[torch.Tensor]:
            return list(_tensors_of(self.traced(*positional, **named)))

    with torch.no_grad():
        answer(model, inputs)
    try:
        with torch.no_grad():
            return torch.export.export(Network(), inputs.positional, dict(inputs.named))
    except Exception as error:  # whatever the network's own code raises while it is traced
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"model: cannot be traced by torch.export ({words[0]}), so what its channels are coupled to is not known; "
            "its code must not decide by the values of its inputs"
        ) from error


def _tensors_of(returned: Any) -> Iterator[torch.Tensor]:
    """All tensors in what a network returns; the cache of a language model is not looked into."""
    import torch

    if isinstance(returned, torch.Tensor):
        yield returned
    elif isinstance(returned, (Mapping, tuple, list)):
        for part in returned.values() if isinstance(returned, Mapping) else returned:
            yield from _tensors_of(part)


def _walk(program: Any, numbering: Numbering, products: list[Product]) -> None:
    """Carry the numbers through the graph."""
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    values: dict[Any, Any] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            name = names.get(node.name)
            shape = tuple(node.meta["val"].shape)
            values[node] = None if name is None else Parameter(name.removeprefix("traced."), shape)
        elif node.op == "output":
            results = node.all_input_nodes
            unknown(Step("the output", None, [values[result] for result in results], [], (), numbering, products))
        elif node.op == "call_function":
            values[node] = _carried(node, values, numbering, products)


def _carried(node: Any, values: Mapping[Any, Any], numbering: Numbering, products: list[Product]) -> Any:
    if not hasattr(node.target, "_schema"):  # operator.getitem
        source, place = node.args[:2]
        found = values.get(source)
        if isinstance(found, list):
            return found[place]
        if found is not None and place and node.users:  # rules return the first result only: channels of others stay
            numbering.stay(found)
        return found if place == 0 else None
    arguments: list[Any] = []
    shapes: list[tuple[Any, ...]] = []
    for given in _in_order(node):
        listed = isinstance(given, (list, tuple)) and any(hasattr(part, "meta") for part in given)
        parts = list(given) if listed else [given]
        found = [values[part] if hasattr(part, "meta") else part for part in parts]
        sizes = [tuple(getattr(part.meta.get("val"), "shape", ())) if hasattr(part, "meta") else () for part in parts]
        arguments.append(found if listed else found[0])
        shapes.append(tuple(sizes) if listed else sizes[0])
    out = node.meta.get("val")
    out = out[0] if isinstance(out, (list, tuple)) and out else out
    step = Step(node.name, node.target, arguments, shapes, tuple(getattr(out, "shape", ())), numbering, products)
    return rule_of(node.target)(step)


def _in_order(node: Any) -> list[Any]:
    """The arguments of an operation by position, with the defaults of its schema where none is given."""
    given = list(node.args)
    for argument in node.target._schema.arguments[len(given) :]:
        if argument.name in node.kwargs:
            given.append(node.kwargs[argument.name])
        elif argument.kwarg_only or not argument.has_default_value():
            break
        else:
            given.append(argument.default_value)
    return given


def _keep_attention(model: torch.nn.Module, numbering: Numbering) -> None:
    import torch

    prefixes = tuple(
        f"{name}." if name else ""
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.MultiheadAttention)
    )
    for (tensor, _), numbers in list(numbering.axes.items()):
        if prefixes and tensor.startswith(prefixes):
            numbering.stay(torch.from_numpy(numbers))


def _sets(
    model: torch.nn.Module, numbering: Numbering, readers: set[Axis]
) -> tuple[list[CoupledSet], NDArray[np.int64], NDArray[np.int64]]:
    """The sets, the unit of each number, and the set of each unit (−1 if it stays)."""
    unit_of, stay = numbering.components()
    places: dict[int, dict[Axis, NDArray[np.int64]]] = {}
    order = {name: place for place, name in enumerate(model.state_dict())}
    for axis in sorted(numbering.axes, key=lambda axis: (order.get(axis[0], len(order)), axis[1])):
        for unit, positions in positions_of(numbering.axes[axis], unit_of):
            if not stay[unit]:
                places.setdefault(unit, {})[axis] = positions
    by_place: dict[tuple[tuple[Axis, int], ...], list[int]] = {}
    for unit, axes in places.items():
        by_place.setdefault(tuple((axis, len(found)) for axis, found in axes.items()), []).append(unit)
    sets: list[CoupledSet] = []
    set_of = np.full(int(unit_of.max()) + 1, -1)
    for signature, units in by_place.items():
        read = [axis for axis, _ in signature if axis in numbering.read]
        if len(units) < 2 or not read or not set(read) <= readers:
            continue
        set_of[units] = len(sets)
        sets.append(_coupled(signature, [places[unit] for unit in units], set(read)))
    return sets, unit_of, set_of


def _coupled(
    signature: Sequence[tuple[Axis, int]], units: Sequence[Mapping[Axis, NDArray[np.int64]]], readers: set[Axis]
) -> CoupledSet:
    slices = [Slices(*axis, np.stack([unit[axis] for unit in units]), axis in readers) for axis, _ in signature]
    makers = [part for part in slices if not part.reads] or slices
    return CoupledSet(makers[0].tensor.rpartition(".")[0], tuple(slices))


def _by_axis(
    name: str, shape: tuple[int, ...], numbering: Numbering, factor: Callable[[NDArray[np.int64]], Factor]
) -> Term:
    """The size of a parameter as a ``Term``: rows · columns · the product of its other dimensions."""
    factors: list[Factor] = []
    rest = 1.0
    for dim, size in enumerate(shape):
        if (name, dim) in numbering.axes and len(factors) < 2:
            factors.append(factor(numbering.axes[name, dim]))
        else:
            rest *= size
    rows, columns, *_ = (*factors, Factor(1.0, {}), Factor(1.0, {}))
    return Term(rows, columns, rest)


def _mixing_notes(numbering: Numbering, unit_of: NDArray[np.int64], set_of: NDArray[np.int64]) -> list[str]:
    """One note for each operation that mixes channels, with the layers whose outputs stay for that reason."""
    blame: dict[int, str] = {}
    for node, number in numbering.mixers:
        if node != "the output":
            blame.setdefault(int(unit_of[number]), node)
    found: dict[str, list[str]] = {}
    layers = {tensor for tensor, _ in numbering.read}
    for (tensor, dim), numbers in numbering.axes.items():
        made = tensor in layers and (tensor, dim) not in numbering.read and len(numbers) > 1
        blamed = [blame[unit] for unit in unit_of[numbers].tolist() if unit in blame and set_of[unit] < 0]
        if made and blamed:
            found.setdefault(blamed[0], []).append(tensor.rpartition(".")[0])
    return [
        f"the outputs of {', '.join(dict.fromkeys(modules))} stay: operation {node} mixes or keeps them"
        for node, modules in found.items()
    ]
