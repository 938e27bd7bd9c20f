"""One row: prune, judge every layer by the evaluation all rows share, measure perplexity."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.llm.dense_layers import dense_layers
from benchmarks.llm.protocol import DENSE, Bounds, Protocol
from benchmarks.llm.selectors import SELECTORS
from benchmarks.networks.timing import held_bytes, peak_bytes
from benchmarks.recording import Row
from cbs_opt.collect import LayerModel
from cbs_opt.kernel.environment import environment
from cbs_opt.network.hugging_face import load_model
from cbs_opt.network.measures import Perplexity
from cbs_opt.network.targets import find_targets
from cbs_opt.pruning.bound_time import BoundTime
from cbs_opt.pruning.certify_layers import judge_layer

if TYPE_CHECKING:
    import torch


def tell(words: str) -> None:
    """Say what is going on, with the time, to whoever watches."""
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)  # noqa: T201


def measured_with() -> dict[str, str]:
    """Versions, threads, machine."""
    return {**environment(), "transformers": metadata.version("transformers")}


def measured(
    protocol: Protocol, selector: str, pattern: str, seed: int, bounds: Bounds, judge: Path | None = None
) -> Row:
    """The row; in a process of its own its memory and its seconds are its own.

    ``judge`` is a folder where rows of the same seed leave each other the dense network's layer models.

    ``memory`` has ``held``, the bytes of the process with the network and the windows loaded, ``peak_loaded``, the most
    until then, ``peak``, the most until the network was pruned, and ``peak_evaluated``, until all was measured.
    ``seconds`` are those of the selector's phases; ``seconds_in_all`` is its wall time, and ``seconds_evaluated`` that
    of the evaluation after it.

    Raises
    ------
    CbsOptError
    """
    model = load_model(protocol.model)
    test = protocol.test()
    if selector == DENSE:
        return {
            "part": DENSE,
            "selector": DENSE,
            "perplexity": _perplexity(model, test),
            "environment": measured_with(),
        }
    x = protocol.calibration(seed)
    held, peak_loaded = held_bytes(), peak_bytes()
    started = time.perf_counter()
    found = SELECTORS[selector].prune(model, x, pattern, tell)
    pruned = time.perf_counter()
    peak = peak_bytes()
    layers = errors(dense_layers(model, x, judge), found.model, bounds)
    perplexity = _perplexity(found.model, test)
    return {
        "part": "row",
        "selector": selector,
        "pattern": pattern,
        "seed": seed,
        "perplexity": perplexity,
        "error": fmean(layer["error"] for layer in layers),
        "gap": fmean(layer["gap"] for layer in layers) if bounds.asked else None,
        "bound_time": bounds.seconds,
        "seconds": dict(found.seconds),
        "seconds_in_all": pruned - started,
        "seconds_evaluated": time.perf_counter() - pruned,
        "memory": {"held": held, "peak_loaded": peak_loaded, "peak": peak, "peak_evaluated": peak_bytes()},
        "blocks": list(found.blocks),
        "layers": layers,
        "settings": dict(found.settings),
        "notes": list(found.notes),
        "environment": measured_with(),
    }


def errors(layers: Iterable[LayerModel], pruned: torch.nn.Module, bounds: Bounds) -> list[Row]:
    """The relative error of each layer's weights as they are, on the dense network's inputs, in the order of execution.

    It is ½·mean‖X(w − w̄)‖² + λ/2‖w − w̄‖² summed over the rows, divided by that of removing the whole layer. With
    ``bounds`` also the gap, and the bound relative to the loss of removing the layer (``certify_layers``).
    """
    told = []
    budget = BoundTime(bounds.seconds, sum(target.numel for target in find_targets(pruned)))
    for number, layer in enumerate(layers, 1):
        tell(f"judging layer {number}, {layer.name}")
        w = layer.target.matrix_in(pruned)
        lost, all_lost = (float(layer.losses(matrix).sum()) for matrix in (w, np.zeros_like(w)))
        row: Row = {
            "name": layer.name,
            "n": w.size,
            "pruned": int((w == 0).sum()),
            "error": _short(lost / all_lost if all_lost > 0 else 0.0),
        }
        if bounds.asked:
            found = judge_layer(layer, w, budget)
            row["gap"] = _short(found.gap)
            row["bound"] = _short(found.bound / found.given * found.relative) if found.given > 0 else 0.0
            row["seconds_bounding"] = round(found.seconds, 2)
        told.append(row)
    return told


def _short(value: float) -> float:
    """Seven digits, for a log that is read by people, too."""
    return float(f"{value:.7g}")


def _perplexity(model: torch.nn.Module, test: Any) -> float:
    measure = Perplexity(test)
    return measure.of(model, lambda done, count: tell(f"measuring perplexity, {done} of {count}"))
