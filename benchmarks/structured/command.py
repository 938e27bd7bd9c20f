"""`python -m benchmarks.structured --data FOLDER`: a network at a share of its operations, measured and recorded.

Every selection with every allocation, re-tuned alike: by the exact update of each layer alone (refine 0), and with
passes that re-tune each block as a whole. Of each network the accuracy on the test images, with the statistics of the
dense network's batch normalization and with such as are estimated anew from the calibration samples; how far the
rebuilt network's outputs are from the masked one's; and the processor time of both dense and small network, one after
the other in turns. Calibration samples are training images, without their labels.

A row replaces that of the same settings in ``structured.jsonl``; rows that are there already are not measured again.
``structured.md`` is written anew from all of them.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.networks.instances import FILES
from benchmarks.networks.timing import setting, timed
from benchmarks.recording import Row, read_rows, replace_rows
from benchmarks.structured.page import write
from cbs_opt import Shrunk, shrink
from cbs_opt.kernel.environment import environment
from cbs_opt.network.data import Data, digits_data, load_data
from cbs_opt.network.load import load_network
from cbs_opt.network.samples import accuracy, drawn
from cbs_opt.pruning.batchnorm import reestimate

KEY = ("network", "share", "selection", "allocation", "refine", "samples", "seed")
"""What two rows share of which the later replaces the earlier."""

ROUNDS, BATCH = 15, 64
"""Calls of each network that are timed, and images in a call."""


def main(arguments: list[str] | None = None) -> int:
    """Measure what is not there yet, and write the page."""
    asked = _parser().parse_args(arguments)
    log = asked.results / "structured.jsonl"
    there = {_key(row) for row in read_rows(log)}
    network, data = _network(asked.network, asked.data)
    dense: float | None = None
    for settings in _settings(asked):
        if _key(settings) in there:
            continue
        if dense is None:
            dense = accuracy(network, data.test_x, data.test_y)
        row = {"part": "shrink", **settings, "dense": dense, **_measured(network, data, settings)}
        replace_rows(log, [row], _key)
        print({name: row[name] for name in (*KEY[2:], "accuracy", "accuracy_batchnorm")}, flush=True)  # noqa: T201
    write(asked.results / "structured.md", read_rows(log))
    return 0


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEY)


def _network(name: str, folder: Path | None) -> tuple[Any, Data]:
    if folder is None:
        return load_network(name), digits_data()
    weights, data = FILES[name]
    return load_network(name, folder / weights), load_data(folder / data, name)


def _settings(asked: argparse.Namespace) -> Iterator[Row]:
    for seed in range(asked.seeds):
        for refine in asked.refine:
            for selection, allocation in (pair.split("/") for pair in asked.rows.split(",")):
                yield {
                    "network": asked.network,
                    "share": asked.share,
                    "selection": selection,
                    "allocation": allocation,
                    "refine": refine,
                    "samples": asked.samples,
                    "seed": seed,
                }


def _measured(network: Any, data: Data, settings: Row) -> Row:
    options = {name: settings[name] for name in ("selection", "allocation", "refine", "samples", "seed")}
    with timed() as spent:
        found = shrink(network, (data.train_x, None), flops=settings["share"], **options)
    return {
        "accuracy": accuracy(found.model, data.test_x, data.test_y),
        "accuracy_batchnorm": _with_new_statistics(found, data, settings),
        "difference": _difference(found, data),
        "flops": found.flops / found.flops_dense,
        "parameters": found.parameters / found.parameters_dense,
        "loss": found.loss,
        "bound": found.to_dict()["bound"],
        "kept": {part.name: [len(part.kept), part.units] for part in found.sets},
        "shrinking": spent,
        "seconds": dict(found.seconds),
        **_times(network, found.model, data),
        "setting": setting(),
        "environment": environment(),
    }


def _with_new_statistics(found: Shrunk, data: Data, settings: Row) -> float | None:
    """Accuracy with statistics of the same calibration samples; None where the network has none."""
    model = copy.deepcopy(found.model)
    if not reestimate(model, drawn(data.train_x, None, settings["samples"], settings["seed"]).x):
        return None
    return accuracy(model, data.test_x, data.test_y)


def _difference(found: Shrunk, data: Data) -> float:
    """The largest difference of the two networks' outputs on 1,000 test images, over the largest output."""
    import torch

    x = torch.from_numpy(data.test_x[:1000])
    with torch.inference_mode():
        y, z = found.masked(x), found.model(x)
    return float((y - z).abs().max() / y.abs().max())


def _times(dense: Any, small: Any, data: Data) -> Row:
    """Median processor seconds of a batch, the networks in turns."""
    import torch

    x, spent = torch.from_numpy(data.test_x[:BATCH]), {"dense": list[float](), "small": list[float]()}
    with torch.inference_mode():
        for _ in range(ROUNDS):
            for name, model in (("dense", dense), ("small", small)):
                start = time.process_time()
                model(x)
                spent[name].append(time.process_time() - start)
    return {f"cpu_{name}": statistics.median(each[1:]) for name, each in spent.items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.structured",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--network", default="resnet20", help="resnet20, mlpnet, or digits (which needs no --data)")
    parser.add_argument("--data", type=Path, help="folder of the network's weights and images")
    parser.add_argument("--share", type=float, default=0.5, help="of the operations that may be left")
    parser.add_argument("--samples", type=int, default=2000, help="calibration images")
    parser.add_argument("--seeds", type=int, default=1, help="draws of the calibration images")
    parser.add_argument("--refine", type=int, nargs="+", default=[5, 0], help="passes that re-tune blocks")
    parser.add_argument(
        "--rows",
        default="joint/curves,magnitude/uniform,magnitude/curves,joint/uniform",
        help="selection/allocation, separated by commas",
    )
    parser.add_argument("--results", type=Path, default=Path("docs/results"), help="where log and page go")
    return parser
