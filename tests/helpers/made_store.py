"""Stores for the tests of the report: single results by hand, and a large one drawn at random."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from cbs_opt.store import Block, Record, Result, StoreWriter, TracePoint, result_key

VERSIONS = {"cbs-opt": "0.1.0", "numpy": "2.4.6"}


def content(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def block(name: str, n: int = 4, **more: Any) -> Block:
    return Block(content=content(name), name=name, file=f"blocks/{name}.npz", n=n, **{"unit": 1.0, **more})


def done(
    of: Block,
    method: str,
    objective: float,
    bound: float | None = None,
    *,
    asked: str = "sparsity 0.5",
    seconds: float = 1.0,
    seed: int | None = None,
    options: dict[str, Any] | None = None,
    trace: Iterable[tuple[float, float | None, float | None]] = (),
    **more: Any,
) -> Record:
    """An answer; the selection problem's is 10 % worse."""
    n = of.n or 0
    proven = bound is not None and objective - bound <= 1e-6 * abs(objective)
    values: dict[str, Any] = {
        "solution_status": "optimal" if proven else "feasible",
        "termination_condition": "convergenceCriteriaSatisfied",
        "selection_objective": objective + 0.1 * abs(objective),
        "round_off": 0.0,
        "nodes": 0,
    }
    result = Result(
        key=result_key(of.content, method, asked, seed, options or {}),
        block=0,
        method=method,
        asked=asked,
        seed=seed,
        options=options or {},
        status="done",
        objective=objective,
        bound=bound,
        seconds=seconds,
        n=n,
        pruned=n // 2,
        finished="2026-01-01T00:00:00+00:00",
        **{**values, **more},
    )
    points = tuple(TracePoint(*point) for point in trace)
    return Record(of, result, bytes(-(-n // 8)), bytes(8 * n), points, VERSIONS)


def failed(of: Block, method: str, reason: str, error: str, asked: str = "sparsity 0.5") -> Record:
    result = Result(
        key=result_key(of.content, method, asked, None, {}),
        block=0,
        method=method,
        asked=asked,
        seed=None,
        options={},
        status="failed",
        reason=reason,
        error=error,
        seconds=2.0,
        finished="2026-01-01T00:00:00+00:00",
    )
    return Record(of, result, environment=VERSIONS)


def write_store(path: Path, records: Iterable[Record]) -> Path:
    with StoreWriter(path) as store:
        store.write(records)
    return path


def write_manifest(path: Path, blocks: Iterable[Block], curvature: str = "fisher", network: str = "toy") -> Path:
    """A manifest that lists these blocks; each tensor as long as its blocks need."""
    entries = [
        {
            "file": f"{b.content[:12]}-{place}.npz",
            "content": b.content,
            "tensor": b.tensor,
            "first": b.first,
            "n": b.n,
            "damping": 0.1,
        }
        for place, b in enumerate(blocks)
    ]
    sizes: dict[str, int] = {}
    for entry in entries:
        sizes[entry["tensor"]] = max(sizes.get(entry["tensor"], 0), entry["first"] + entry["n"])
    path.write_text(
        json.dumps(
            {
                "format": 1,
                "network": network,
                "weights": {},
                "partition": "chunks",
                "curvature": curvature,
                "tensors": {name: {"shape": [1, size], "rows": 1} for name, size in sizes.items()},
                "blocks": entries,
            }
        ),
        encoding="utf-8",
    )
    return path


def large_store(folder: Path, blocks: int = 1_000, seed: int = 0, failures: int = 7) -> Path:
    """Three methods at two sparsities on the blocks of six layers; bnb proves most, and traces what it does."""
    rng = np.random.default_rng(seed)
    layers = {
        f"layer{i + 1}.{part}": share
        for i, (part, share) in enumerate(
            [("conv1", 0.05), ("conv1", 0.1), ("conv2", 0.15), ("conv1", 0.2), ("conv2", 0.3), ("fc", 0.2)]
        )
    }
    cut: list[Block] = []
    for number, (layer, share) in enumerate(layers.items()):
        first = 0
        for index in range(max(2, round(share * blocks))):
            n = int(rng.choice([16, 24, 32, 48, 64]))
            name = f"{layer}[{index}]"
            cut.append(
                block(
                    name,
                    n,
                    tensor=f"{layer}.weight",
                    first=first,
                    manifest=str(folder / "manifest.json"),
                    unit=float(rng.lognormal(number - 3, 0.3)),
                )
            )
            first += n
    cut = cut[:blocks]
    write_manifest(folder / "manifest.json", cut, network="resnet-toy")

    def results() -> Iterable[Record]:
        for asked, hardness in (("sparsity 0.5", 0.3), ("sparsity 0.8", 1.0)):
            for position, b in enumerate(cut):
                n = b.n or 0
                optimum = float(rng.lognormal(-3 - 2 * (1 - hardness), 0.6)) * (b.unit or 1.0)
                yield done(
                    b,
                    "magnitude",
                    optimum * (1 + rng.gamma(2.0, 0.08) * hardness),
                    asked=asked,
                    seconds=float(rng.lognormal(-9, 0.2)),
                )
                worse = 1 + rng.gamma(1.0, 0.004) * hardness * (rng.random() < 0.6)
                yield done(b, "greedy-obs", optimum * worse, asked=asked, seconds=float(rng.lognormal(-7, 0.3)))
                if asked == "sparsity 0.8" and position % (len(cut) // failures or 1) == 3:
                    reasons = ("time limit", "memory limit", "worker died", "error", "bad input")
                    yield failed(b, "bnb", reasons[position % 5], "the task did not end as it should: 512 MiB", asked)
                    continue
                seconds = float(rng.lognormal(-6 + n / 12, 0.8)) * hardness
                unproven = seconds > 4
                seconds, left = min(seconds, 4.0), float(rng.gamma(1.0, 0.01)) if unproven else 0.0
                steps = np.sort(rng.random(12)) * seconds
                trace = [
                    (
                        float(t),
                        optimum * (1 + 0.02 * (1 - t / seconds) ** 3),
                        optimum * (1 - left - 0.5 * (1 - t / seconds) ** 2),
                    )
                    for t in steps
                ]
                yield done(
                    b,
                    "bnb",
                    optimum,
                    optimum * (1 - left),
                    asked=asked,
                    seconds=seconds,
                    trace=trace,
                    nodes=int(1000 * seconds),
                )

    return write_store(folder / "results.sqlite", results())
