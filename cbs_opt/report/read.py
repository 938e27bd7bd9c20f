"""Reads a store into ``Records``, also while a batch writes to it."""

from __future__ import annotations

import json
import math
import os
import re
from array import array
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from cbs_opt.errors import StoreError
from cbs_opt.kernel.curvature.damping import dominance_said
from cbs_opt.report.records import Blocks, Records
from cbs_opt.store import Result, Store
from cbs_opt.store.key import LIMITS

Variant = tuple[str, str, int | None, str]
"""Method, options (JSON), seed and library version: results that agree in these are one row of the report."""

_NUMBERS = re.compile(r"([0-9]+(?:\.[0-9]+)?)")


def read_records(store: Store) -> Records:
    """Every result of the store as it is now, without masks and weights.

    Raises
    ------
    StoreError
        The store cannot be read.
    """
    environments = store.environments()
    columns = {
        name: array("d") for name in ("objective", "bound", "selection", "selection_bound", "round_off", "seconds")
    }
    block, request, variant, nodes, identity, done = (array("q") for _ in range(6))
    status: list[str] = []
    reason: list[str] = []
    error: list[str] = []
    requests: dict[str, int] = {}
    variants: dict[Variant, int] = {}
    dominance: dict[int, float] = {}
    for result in store.results():
        said = max(map(dominance_said, result.notes), default=0.0)
        dominance[result.block] = max(said, dominance.get(result.block, 0.0))
        block.append(result.block)
        request.append(requests.setdefault(result.asked, len(requests)))
        variant.append(variants.setdefault(_variant(result, environments), len(variants)))
        identity.append(result.id)
        done.append(result.done)
        nodes.append(result.nodes or 0)
        columns["objective"].append(_or(result.objective if result.done else None, math.nan))
        columns["selection"].append(_or(result.selection_objective if result.done else None, math.nan))
        columns["bound"].append(_or(result.bound if result.done else None, -math.inf))
        columns["selection_bound"].append(_or(result.selection_bound if result.done else None, -math.inf))
        columns["round_off"].append(_or(result.round_off, 0.0))
        columns["seconds"].append(_or(result.seconds, math.nan))
        status.append(result.solution_status or "")
        reason.append(result.reason or "")
        error.append(result.error or "")
    # Blocks are read after the results, so that every result has its block even if the store grows meanwhile.
    blocks, positions = _blocks(store, dominance)
    methods = tuple(variants)
    labels = variant_labels(methods)
    by_label = sorted(range(len(methods)), key=lambda v: (_first_of(methods, v), _natural(labels[v])))
    by_request = sorted(requests, key=_natural)
    missing = [number for number in set(block) if number not in positions]
    if missing:
        raise StoreError(f"{store.path}: has results of block {missing[0]}, which it does not have; it is damaged")

    def reals(name: str) -> np.ndarray[Any, Any]:
        return np.frombuffer(columns[name], dtype=float).copy() if len(columns[name]) else np.empty(0)

    def places(values: Iterable[int], order: list[int]) -> np.ndarray[Any, Any]:
        rank = {old: new for new, old in enumerate(order)}
        return np.array([rank[value] for value in values], dtype=np.intp)

    return Records(
        blocks=blocks,
        methods=tuple(labels[v] for v in by_label),
        asked=tuple(by_request),
        block=np.array([positions[number] for number in block], dtype=np.intp),
        method=places(variant, by_label),
        request=places(request, [requests[asked] for asked in by_request]),
        done=np.array(done, dtype=bool),
        objective=reals("objective"),
        bound=reals("bound"),
        selection_objective=reals("selection"),
        selection_bound=reals("selection_bound"),
        round_off=reals("round_off"),
        seconds=reals("seconds"),
        nodes=np.array(nodes, dtype=np.intp),
        status=tuple(status),
        reason=tuple(reason),
        error=tuple(error),
        identity=np.array(identity, dtype=np.int64),
        environments=tuple(environments.values()),
        source=os.fspath(store.path),
        facts=dict(store.facts),
    )


def _or(value: float | None, unknown: float) -> float:
    return unknown if value is None else float(value)


def _variant(result: Result, environments: Mapping[int, Mapping[str, str]]) -> Variant:
    options = {name: value for name, value in result.options.items() if name not in LIMITS}
    version = environments.get(result.environment or 0, {}).get("cbs-opt", "")
    # A patch release of the library changes no answer, so it does not count.
    return result.method, json.dumps(options, sort_keys=True), result.seed, ".".join(version.split(".")[:2])


def variant_labels(variants: tuple[Variant, ...]) -> list[str]:
    """The method's name for each variant, with whatever tells it from other variants of the same method."""
    labels = []
    for method, options, seed, version in variants:
        same = [other for other in variants if other[0] == method]
        parts = []
        if len({other[1] for other in same}) > 1:
            parts += [f"{name}={_plain(value)}" for name, value in json.loads(options).items()] or ["no options"]
        if len({other[2] for other in same}) > 1:
            parts.append(f"seed {seed}")
        if len({other[3] for other in same}) > 1:
            parts.append(f"cbs-opt {version or 'unknown'}")
        labels.append(f"{method} ({', '.join(parts)})" if parts else method)
    return labels


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _first_of(variants: tuple[Variant, ...], position: int) -> int:
    """The position of the method's first variant; sorting by it keeps variants together and methods in their order."""
    return next(i for i, other in enumerate(variants) if other[0] == variants[position][0])


def _natural(text: str) -> list[tuple[float, str]]:
    """A sort key that puts 'prune 9' before 'prune 10'."""
    parts = _NUMBERS.split(text)  # words and numbers by turns
    return [(float(part), "") if place % 2 else (-1.0, part) for place, part in enumerate(parts)]


def _blocks(store: Store, dominance: Mapping[int, float]) -> tuple[Blocks, dict[int, int]]:
    """The blocks that have results, and the position of each id among them; the keys of ``dominance`` are these ids."""
    rows = [row for row in store.blocks() if row.id in dominance]
    blocks = Blocks(
        name=tuple(row.name for row in rows),
        content=tuple(row.content for row in rows),
        tensor=tuple(row.tensor or "" for row in rows),
        first=np.array([row.first or 0 for row in rows], dtype=np.intp),
        n=np.array([row.n or 0 for row in rows], dtype=np.intp),
        manifest=tuple(row.manifest or "" for row in rows),
        unit=np.array([_or(row.unit, math.nan) for row in rows], dtype=float),
        dominance=np.array([dominance[row.id] for row in rows], dtype=float),
    )
    return blocks, {row.id: position for position, row in enumerate(rows)}
