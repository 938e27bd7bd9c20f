"""The certified gap of each network in a store, by method and request, and of each of its layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from cbs_opt.blocks.manifest import Manifest, load_manifest
from cbs_opt.errors import InputError
from cbs_opt.kernel.arrays.types import Mask, Vector
from cbs_opt.kernel.curvature.damping import dominance_note, dominance_said
from cbs_opt.kernel.result import finite_or_none
from cbs_opt.kernel.text import as_path
from cbs_opt.report.measures.bounds import Indices
from cbs_opt.report.measures.network import Aggregate, aggregate
from cbs_opt.report.measures.quantiles import quantiles
from cbs_opt.report.records import Records

BEST = "best of all"
"""The name of the row that takes each block's best answer, whichever method found it."""


@dataclass(frozen=True, eq=False)
class Network:
    """Blocks that were cut from one network.

    Parameters
    ----------
    name : str
        The network's name, and which of its layers were cut if not all; empty for blocks from files without a
        manifest. No two networks of a report have the same name.
    blocks : array of int
        Positions in ``Records.blocks``; a block that occurs at several places of the network appears as often.
    tensor : tuple of str
        The layer that each block belongs to.
    first : array of int
        The first index of each block in its flattened tensor.
    absent : mapping of str to int
        How many blocks of each layer are in the manifest, but have no result in the store.
    mixed_units : bool
        Whether its blocks' objectives are in different units, so that sums count each block relative to the loss of
        removing it whole.
    doubt : str
        Why these may not be all blocks of the network, in a sentence; empty if they are known to be.
    note : str
        What was left out, in a sentence; empty if nothing was.
    warning : str
        A sentence, if λ dominates the curvature; else empty.
    manifest : Path or None
        The manifest's file, if it could be read.
    """

    name: str
    blocks: Indices
    tensor: tuple[str, ...]
    first: Indices
    absent: Mapping[str, int]
    mixed_units: bool
    doubt: str = ""
    note: str = ""
    warning: str = ""
    manifest: Path | None = None

    def layers(self) -> dict[str, Indices]:
        """The positions in ``blocks`` of each layer's blocks, in the order of the network."""
        found: dict[str, list[int]] = {}
        for position, tensor in enumerate(self.tensor):
            found.setdefault(tensor, []).append(position)
        return {tensor: np.array(positions, dtype=np.intp) for tensor, positions in found.items()}


def find_networks(records: Records) -> tuple[Network, ...]:
    """One network for each manifest that blocks came with, and then one of all blocks that came without a manifest."""
    blocks = records.blocks
    found: list[tuple[Network, str]] = []
    manifests = np.array(blocks.manifest, dtype=object)
    for manifest in dict.fromkeys(name for name in blocks.manifest if name):
        mine = np.flatnonzero(manifests == manifest)
        found.append((_from_manifest(records, str(manifest), mine), str(manifest)))
    named = Counter(network.name for network, _ in found)
    networks = [
        network if named[network.name] == 1 else replace(network, name=f"{network.name} ({manifest})")
        for network, manifest in found
    ]
    loose = np.flatnonzero(manifests == "")
    if len(loose):
        names = ("",) * len(loose)
        first = np.zeros(len(loose), dtype=np.intp)
        networks.append(
            Network("", loose, names, first, {}, mixed_units=len(loose) > 1, warning=_dominated(records, loose))
        )
    return tuple(networks)


def _from_manifest(records: Records, manifest: str, mine: Indices) -> Network:
    """The network of a manifest: all blocks that it lists, or, if it cannot be read any more, those in the store."""
    blocks, own = records.blocks, _dominated(records, mine)
    try:
        file = found_manifest(manifest, Path(records.source).parent)
        read = load_manifest(file)
        known = {content: position for position, content in enumerate(blocks.content)}
        places = [entry for entry in read.blocks if entry.content in known]
        if not places:
            raise InputError(f"{manifest}: lists none of them")
    except InputError as error:
        tensors = tuple(blocks.tensor[block] for block in mine)
        doubt = f"whether these are all its blocks is unknown ({error})"
        return Network(manifest, mine, tensors, blocks.first[mine], {}, len(set(tensors)) > 1, doubt, warning=own)
    tensors = tuple(entry.tensor for entry in places)
    # Fisher blocks are all about the network's loss; Gram blocks are about the outputs of their own layer.
    mixed = read.facts["curvature"] != "fisher" and len({entry.tensor for entry in read.blocks}) > 1
    return Network(
        name=_name(read, manifest),
        blocks=np.array([known[entry.content] for entry in places], dtype=np.intp),
        tensor=tensors,
        first=np.array([entry.first for entry in places], dtype=np.intp),
        absent=Counter(entry.tensor for entry in read.blocks if entry.content not in known),
        mixed_units=mixed,
        doubt=_uncovered(read),
        note=_left_out(manifest, len({blocks.content[block] for block in mine} - {entry.content for entry in places})),
        warning=_told(read) or own,
        manifest=file,
    )


def _told(read: Manifest) -> str:
    """The manifest's note that λ dominates, if it has one; blocks that hold H itself no longer know their λ."""
    notes = read.facts.get("notes", [])
    told = [note for note in notes if isinstance(note, str) and dominance_said(note) > 1]
    return told[0] if told else ""


def _dominated(records: Records, blocks: Indices) -> str:
    """A sentence if λ dominates the curvature of some of these blocks, by the notes of their results; else empty."""
    return "".join(dominance_note(records.blocks.dominance[blocks].tolist(), "blocks"))


def _name(read: Manifest, manifest: str) -> str:
    """The network's name, with the layers that were cut into blocks if these need not be all."""
    taken, ignored = read.facts.get("targets", ["*"]), read.facts.get("ignore", [])
    parts = [f"layers {_listed(taken)}"] if taken != ["*"] else []
    parts += [f"without {_listed(ignored)}"] if ignored else []
    name = read.network or manifest
    return f"{name}, {' '.join(parts)}" if parts else name


def _listed(names: object) -> str:
    return ", ".join(map(str, names)) if isinstance(names, list) else str(names)


def _uncovered(read: Manifest) -> str:
    """A sentence if some weights of the manifest's tensors are in no block; empty if all are."""
    weights = sum(prod(tensor["shape"]) for tensor in read.tensors.values()) - sum(block.n for block in read.blocks)
    return f"{weights:,} weights of its layers lie in no block of the manifest" if weights else ""


def _left_out(manifest: str, blocks: int) -> str:
    if not blocks:
        return ""
    return f"{manifest} was written again; blocks of the store that it does not list, and no sum has: {blocks:,}"


def found_manifest(manifest: str, beside: Path) -> Path:
    """The file of a manifest: its path as the batch named it, or the same path seen from the folder of the store."""
    for place in (Path(manifest), beside / manifest, Path(as_path(manifest))):
        try:
            if place.is_file():
                return place
        except (OSError, ValueError):
            continue
    raise InputError(f"{manifest}: is not there")


@dataclass(frozen=True)
class NetworkGap:
    """A method's sums over the blocks of a network, or of one ``layer`` (empty: the whole network), for one request.

    ``accuracy`` is that of the network with these answers, ``accuracy_dense`` that of the dense network; both are None
    if they were not measured.
    """

    network: str
    layer: str
    asked: str
    method: str
    weights: int
    relative: bool
    sums: Aggregate
    proven: int
    worst_gap: float
    seconds: float
    doubt: str
    accuracy: float | None = None
    accuracy_dense: float | None = None

    @property
    def of_the_network(self) -> bool:
        """Whether ``sums.gap`` is the certified gap of the network (or layer): nothing is missing or in doubt."""
        return bool(self.network) and self.sums.complete and not self.doubt

    def missing(self) -> str:
        """What keeps the sums from being the network's, in words; empty if nothing does."""
        sums = self.sums
        counts = (
            (sums.without_answer, "without a result"),
            (sums.without_bound, "without a bound"),
            (sums.without_unit, "without a unit"),
            (sums.broken, "with a broken bound"),
        )
        parts = [f"{count:,} {words}" for count, words in counts if count]
        reasons = [f"of {sums.blocks:,} blocks {', '.join(parts)}"] if parts else []
        return "; ".join([*reasons, self.doubt] if self.doubt else reasons)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; ``gap`` is None unless it is the network's, ``partial_gap`` is over the blocks that have both."""
        sums = self.sums
        return {
            "network": self.network,
            "layer": self.layer,
            "asked": self.asked,
            "method": self.method,
            "blocks": sums.blocks,
            "weights": self.weights,
            "without_answer": sums.without_answer,
            "without_bound": sums.without_bound,
            "without_unit": sums.without_unit,
            "broken": sums.broken,
            "objective": finite_or_none(sums.objective),
            "bound": finite_or_none(sums.bound),
            "relative_to_removal": self.relative,
            "gap": finite_or_none(sums.gap) if self.of_the_network else None,
            "partial_gap": finite_or_none(sums.partial_gap),
            "proven": self.proven,
            "worst_gap": finite_or_none(self.worst_gap),
            "seconds": finite_or_none(self.seconds),
            "accuracy": self.accuracy,
            "accuracy_dense": self.accuracy_dense,
            "missing": self.missing(),
        }


def network_gaps(records: Records, network: Network) -> Iterator[NetworkGap]:
    """The sums over a network for each request: of each method, and, if there are several, of the best answers."""
    yield from _gaps(records, network, "", network.blocks, network.mixed_units)


def layer_gaps(records: Records, network: Network) -> Iterator[NetworkGap]:
    """The same sums over each layer of a network, in the layer's own unit."""
    for tensor, places in network.layers().items():
        yield from _gaps(records, network, tensor, network.blocks[places], False)


def _gaps(records: Records, network: Network, layer: str, blocks: Indices, relative: bool) -> Iterator[NetworkGap]:
    unit: Vector | float = records.blocks.unit[blocks] if relative else 1.0
    weights = int(records.blocks.n[blocks].sum())
    doubt = network.doubt
    absent = network.absent.get(layer, 0) if layer else sum(network.absent.values())
    if absent:
        reason = f"on {absent:,} blocks of its manifest the store has no result yet"
        doubt = f"{doubt}; {reason}" if doubt else reason
    for request, asked in enumerate(records.asked):
        bound = records.best_of_problem[blocks * max(1, len(records.asked)) + request]
        answers = []
        for method, name in enumerate(records.methods):
            rows = records.of(method, request)
            objective = records.at_blocks(rows, records.objective, np.nan)[blocks]
            if np.isnan(objective).all():
                continue
            broken = records.at_blocks(rows, records.broken.astype(float), 0.0)[blocks] > 0
            seconds = records.at_blocks(rows, records.seconds, np.nan)[blocks]
            proven = records.at_blocks(rows, records.proven.astype(float), 0.0)[blocks] > 0
            answers.append((name, objective, broken, proven, seconds))
        if len(answers) > 1:
            answers.insert(0, _best(answers))
        for name, objective, broken, proven, seconds in answers:
            sums = aggregate(objective, bound, broken, unit)
            gap = np.where(broken, np.inf, _relative(objective, bound))
            known = gap[np.isfinite(gap)]
            yield NetworkGap(
                network=network.name,
                layer=layer,
                asked=asked,
                method=name,
                weights=weights,
                relative=relative,
                sums=sums,
                proven=int(proven.sum()),
                worst_gap=quantiles(known, (1.0,))[0],
                seconds=float(np.nansum(seconds)),
                doubt=doubt,
            )


def _best(answers: list[tuple[str, Vector, Mask, Mask, Vector]]) -> tuple[str, Vector, Mask, Mask, Vector]:
    """Each block's smallest objective; broken or proven if any answer is; the time is that of all methods together."""
    _, objectives, broken, proven, seconds = zip(*answers, strict=True)
    return (
        BEST,
        np.fmin.reduce(objectives),
        np.any(broken, axis=0),
        np.any(proven, axis=0),
        np.nansum(seconds, axis=0),
    )


def _relative(objective: Vector, bound: Vector) -> Vector:
    """(objective − bound)/|objective|, and 0 where the objective does not exceed the bound."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        gap = (objective - bound) / np.abs(objective)
    return np.where(objective <= bound, 0.0, np.where(np.isnan(gap), np.inf, gap))
