"""`python -m benchmarks.gpu [--layers FOLDER]`: everything to be had from a device, in one command of a few minutes.

    tests    the tests marked gpu, in a process of their own
    layers   `admm` and the bound of all rows of each layer in the folder (`benchmarks.layers` says what it holds)
    made     the same for one large layer whose spectrum is known
    factor   the bound on a factor of millions of weights

Every row is written down as soon as it is there (``gpu.jsonl``, ``gpu.md``), so that a command that is ended leaves
what it has done. Without --device it is CUDA; with `--device cpu` all is tried without one, and says so.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.gpu.layers import DECAY, made_layer
from benchmarks.layers.command import pattern_of, read_layer
from benchmarks.networks.instances import synthetic_problem
from benchmarks.networks.timing import timed
from benchmarks.recording import Row, read_rows, replace_rows, write_page
from cbs_opt import PruningProblem, lower_bound, solve
from cbs_opt.errors import CbsOptError, InputError
from cbs_opt.kernel.device import device_named
from cbs_opt.kernel.environment import environment

ROOT = Path(__file__).parents[2]
LOG, PAGE = "gpu.jsonl", "gpu.md"
KEY = ("part", "name", "pattern", "device")

INTRODUCTION = """\
# On a CUDA device

Seconds of wall time, the processor's beside the device's, and what each found: the relative objective of `admm`'s mask
with the exact update, and the relative value of the bound, which is proven in float64 either way. Written by
`python -m benchmarks.gpu`; every row is in [gpu.jsonl](gpu.jsonl)."""


def main(arguments: list[str] | None = None) -> int:
    """Do all parts; 1 where one failed, 2 where the device is not there."""
    asked = _parser().parse_args(arguments)
    try:
        device_named(asked.device)
    except CbsOptError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    devices = list(dict.fromkeys(["cpu", asked.device]))
    failed = False
    for part in asked.parts.split(","):
        try:
            for row in PARTS[part](asked, devices):
                fresh = {"part": part, **row, "environment": environment()}
                rows = replace_rows(asked.out / LOG, [fresh], lambda row: tuple(row.get(name) for name in KEY))
                write_page(asked.out / PAGE, INTRODUCTION, SECTIONS, rows)
                print(time.strftime("%H:%M:%S"), row, flush=True)  # noqa: T201
                failed |= bool(row.get("failed"))
        except CbsOptError as error:
            failed = True
            print(f"{part}: {error}", file=sys.stderr, flush=True)  # noqa: T201
    print(f"wrote {asked.out / PAGE} ({len(read_rows(asked.out / LOG))} rows)")  # noqa: T201
    return int(failed)


def tests(asked: argparse.Namespace, devices: Sequence[str]) -> Iterator[Row]:
    """How the tests that need a device ended."""
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-m", "gpu", "-p", "no:cacheprovider", *asked.tests.split()]
    with timed() as spent:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr.strip()
    told = {"name": "tests marked gpu", "device": devices[-1], "ended": last, "failed": done.returncode != 0}
    if done.returncode:
        print(done.stdout[-4000:], file=sys.stderr)  # noqa: T201
    yield {**told, "seconds": spent["seconds"]}


def layers(asked: argparse.Namespace, devices: Sequence[str]) -> Iterator[Row]:
    """Selection and bound of each layer from a file; none where no folder is given."""
    files = sorted(asked.layers.glob("*.npz")) if asked.layers else []
    if asked.layers and not files:
        raise InputError(f"{asked.layers}: holds no layer (*.npz); name a folder that does")
    for file in files:
        yield from _of_layer(read_layer(file), asked, devices)


def made(asked: argparse.Namespace, devices: Sequence[str]) -> Iterator[Row]:
    """The same for the layer with a known spectrum; on the device alone if it is large and there is one."""
    few = devices if asked.size <= 1024 else devices[-1:]
    yield from _of_layer(made_layer(asked.size), asked, few)


def factor(asked: argparse.Namespace, devices: Sequence[str]) -> Iterator[Row]:
    """A bound where no matrix of all weights could be formed."""
    problem = synthetic_problem(asked.weights, 100, 0, dampening_frac=0.1).at_sparsity(0.9)
    everything = problem.objective(np.zeros(problem.n))
    for device in devices:
        bound = lower_bound(problem, device)
        told = {"name": f"factor of {problem.n:,} weights", "pattern": "0.9", "device": device}
        yield {**told, "bound": bound.value / everything, "bounding": bound.seconds}


def _of_layer(layer: PruningProblem, asked: argparse.Namespace, devices: Sequence[str]) -> Iterator[Row]:
    rows = layer.curvature.rows
    for pattern in asked.patterns.split(","):
        problem = layer.within(pattern_of(pattern, rows, layer.n // rows))
        everything = problem.objective(np.zeros(problem.n))
        for device in devices:
            with timed() as spent:
                found = solve(problem, "admm", device=device)
            bound = lower_bound(problem, device, asked.bound_time)
            yield {
                "name": f"{layer.name}, {rows} × {layer.n // rows}",
                "pattern": pattern,
                "device": device,
                "objective": found.objective / everything,
                "selecting": spent["seconds"],
                "bound": bound.value / everything,
                "bounding": bound.seconds,
            }


PARTS: dict[str, Callable[[argparse.Namespace, Sequence[str]], Iterator[Row]]] = {
    "tests": tests,
    "layers": layers,
    "made": made,
    "factor": factor,
}


def _tests_section(rows: Sequence[Row]) -> list[str]:
    return ["## Tests", "", *(f"- {row['name']} on {row['device']}: {row['ended']}" for row in rows)]


def _table(title: str) -> Callable[[Sequence[Row]], list[str]]:
    def section(rows: Sequence[Row]) -> list[str]:
        lines = [f"## {title}", "", "| problem | pattern | device | `admm` | s | bound | s |"]
        lines.append("|---|---|---|---:|---:|---:|---:|")
        for row in rows:
            cells = [row["name"], row["pattern"], row["device"]]
            for value, seconds in (("objective", "selecting"), ("bound", "bounding")):
                cells += [f"{row[value]:.6f}", f"{row[seconds]:.1f}"] if value in row else ["–", "–"]
            lines.append(f"| {' | '.join(cells)} |")
        return lines

    return section


SECTIONS = {
    "tests": _tests_section,
    "layers": _table("Layers of a language model"),
    "made": _table(f"A layer whose i-th eigenvalue is i^−{DECAY:g}"),
    "factor": _table("A factor of the whole network's size"),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="beside the processor")
    parser.add_argument("--parts", type=_parts, default=",".join(PARTS), help="comma between them")
    parser.add_argument("--layers", type=Path, help="folder of layers")
    parser.add_argument("--patterns", default="0.5,2:4", help="comma between them")
    parser.add_argument("--size", type=int, default=4096, help="rows and inputs of the made layer")
    parser.add_argument("--bound-time", type=float, default=60.0, help="seconds for the bound of one layer")
    parser.add_argument("--weights", type=int, default=4_200_000, help="of the factor")
    parser.add_argument("--tests", default="tests", help="what pytest collects")
    parser.add_argument("--out", type=Path, default=Path("docs/results"), help="folder of the log and the page")
    return parser


def _parts(words: str) -> str:
    for part in words.split(","):
        if part not in PARTS:
            raise argparse.ArgumentTypeError(f"{part!r} is no part; there are {', '.join(PARTS)}")
    return words
