"""One point of the study: prune by one model with one selector, and measure model and network."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

import cbs_opt
from benchmarks.model_value.grid import NOTHING
from benchmarks.paper.runs import Log, Subject
from cbs_opt.kernel.environment import environment
from cbs_opt.network.data import Data
from cbs_opt.network.samples import draw
from cbs_opt.network.weights import Weights


def measured(
    subject: Subject, data: Data, log: Log, arguments: Mapping[str, Any], method: str, sparsity: float, seed: int
) -> dict[str, Any] | None:
    """The new entry of this point, appended to the log; None where the log has it already."""
    key = {"network": subject.name, "model": dict(arguments), "method": method, "sparsity": sparsity, "seed": seed}
    if log.find(**key):
        return None
    told = {**arguments, "samples": min(arguments["samples"], len(data.train_y))}
    # Each layer of the sequential curvature is a problem of its own for every selector, and so is its bound. In the
    # other models all selectors share one problem, bounded by the relaxation among them.
    bound = arguments["curvature"] == "sequential" and method != NOTHING
    selector = "magnitude" if method == NOTHING else method
    started = time.process_time()
    found = cbs_opt.prune(subject.model, data, sparsity, method=selector, seed=seed, bound=bound, **told)
    cpu = time.process_time() - started
    plain = found.to_dict()
    moved = found.weights.values - Weights.of(subject.model, found.weights.targets).values
    chosen = draw(len(data.train_x), told["samples"], seed)
    own = data.train_x[chosen], data.train_y[chosen]
    entry = {
        **key,
        "accuracy": found.accuracy,
        "accuracy_dense": found.accuracy_dense,
        "loss": cross_entropy(found.model, data.test_x, data.test_y),
        "loss_dense": cross_entropy(subject.model, data.test_x, data.test_y),
        "own_loss": cross_entropy(found.model, *own),
        "own_loss_dense": cross_entropy(subject.model, *own),
        "objective": plain["objective"],
        "bound": plain["bound"],
        "moved": float(moved @ moved),
        "pruned": plain["pruned"],
        "n": plain["n"],
        "samples": told["samples"],
        "validation": len(data.test_y),
        "damping": plain["damping"],
        "seconds": sum(found.seconds.values()),
        "cpu_seconds": cpu,
        "notes": plain["notes"],
        "environment": environment(),
    }
    log.add(entry)
    return entry


def cross_entropy(model: Any, x: NDArray[Any], y: NDArray[np.int64] | None) -> float:
    """Mean cross-entropy of the samples x (m, ...) at their labels y (m,)."""
    import torch

    assert y is not None, "the data has labels"
    total = 0.0
    with torch.inference_mode():
        for start in range(0, len(y), 500):
            outputs = model(torch.from_numpy(x[start : start + 500]))
            labels = torch.from_numpy(y[start : start + 500])
            total += float(torch.nn.functional.cross_entropy(outputs.double(), labels, reduction="sum"))
    return total / len(y)
