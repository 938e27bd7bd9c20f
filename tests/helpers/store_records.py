"""Records as a batch writes them into a store, without solving anything."""

from __future__ import annotations

import hashlib

import numpy as np

from cbs_opt.store import Block, Record, Result, TracePoint, pack_mask, pack_weights, result_key

N = 11


def record(
    name: str = "b0", method: str = "bnb", objective: float = 2.0, bound: float | None = 2.0, **changes: object
) -> Record:
    """A result of a block of 11 weights that keeps every third."""
    content = hashlib.sha256(name.encode()).hexdigest()
    mask, weights = np.arange(N) % 3 == 0, np.linspace(-1, 1, N)
    facts = {
        "key": result_key(content, method, "sparsity 0.6", None, {"gap": 1e-4}),
        "block": 0,
        "method": method,
        "asked": "sparsity 0.6",
        "seed": None,
        "options": {"gap": 1e-4},
        "status": "done",
        "solution_status": "optimal",
        "termination_condition": "convergenceCriteriaSatisfied",
        "objective": objective,
        "bound": bound,
        "gap": None,
        "selection_objective": 3.0,
        "selection_bound": bound,
        "round_off": 1e-12,
        "seconds": 0.25,
        "nodes": 7,
        "n": N,
        "pruned": 7,
        "notes": ("damped", "λ"),
        "finished": "2030-01-01T00:00:00",
    } | changes
    result = Result(**facts)  # type: ignore[arg-type]
    block = Block(content, name, f"/x/{name}.npz", N, "fc1.weight", 32, "/x/manifest.json", 9.0)
    if result.status == "failed":
        return Record(block, result)
    trace = (TracePoint(0.1, 3.0, None), TracePoint(0.2, 2.0, 1.5))
    return Record(block, result, pack_mask(mask), pack_weights(weights), trace, {"python": "3"})
