"""`python -m benchmarks.networks PART …`: what is claimed about whole networks, measured and recorded.

    gaps        relaxation on the whole Fisher of a network: certified gap, time, memory (--network, --data)
    chita       the reference instance of MLPNet against the recorded figures of CHITA's own code (--data)
    synthetic   a bound on a factor of millions of weights (--weights, --samples, --device)
    fuzz        bounds against exact optima of tiny problems (--count)
    page        the page only

Each part replaces its own rows in ``networks.jsonl`` and writes the page ``networks.md`` anew from all of them. With
--device cuda a part says that it is skipped where there is no CUDA device. --data is the folder with the networks'
weights and images; the digits network needs none.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.networks import fuzz
from benchmarks.networks.instances import FILES, network_instance, synthetic_problem
from benchmarks.networks.page import write_page
from benchmarks.networks.timing import peak_bytes, setting, timed
from benchmarks.recording import Row, replace_rows
from cbs_opt import FactorCurvature, PruningProblem, lower_bound, solve
from cbs_opt.errors import UnavailableMethodError
from cbs_opt.kernel.device import device_named
from cbs_opt.kernel.environment import environment
from cbs_opt.kernel.result import Solution, finite_or_none

KEY = ("part", "instance", "m", "damping", "sparsity", "method", "device")
"""What two rows share of which the later replaces the earlier."""

RIVALS = ("magnitude", "iht", "block-swap", "relaxation")


def run_gaps(asked: argparse.Namespace) -> Iterator[Row]:
    """One row per damping and sparsity."""
    instance = network_instance(asked.network, asked.data, asked.samples, asked.seed, ignore=asked.ignore)
    _warm_up(asked.device)
    for damping in asked.dampings:
        for sparsity in asked.sparsities:
            problem = instance.problem(damping, sparsity)
            row = _measured(problem, "relaxation", asked.device, 1)
            yield {
                "m": len(instance.A),
                "damping": damping,
                "sparsity": sparsity,
                "seed": asked.seed,
                "collection": instance.collection,
                **row,
            }


def run_chita(asked: argparse.Namespace) -> Iterator[Row]:
    """Every rival at every sparsity of the instance; the selection is timed, the gradients are the same for all."""
    with np.load(asked.data / "mlpnet_reference_instance.npz") as archive:
        reference = {name: archive[name] for name in archive.files}
    damping = float(reference["damping"])
    instance = network_instance("mlpnet", asked.data, 0, 0, reference["idx"])
    _warm_up(asked.device)
    figures = zip(*(reference[key] for key in ("sparsity", "chita_iht_objective", "chita_iht_cpu_s")), strict=True)
    for sparsity, objective, cpu in figures:
        problem = instance.problem(damping, float(sparsity))
        for method in RIVALS:
            yield {
                "m": len(instance.A),
                "damping": damping,
                "sparsity": float(sparsity),
                "chita_objective": float(objective),
                "chita_cpu": float(cpu),
                **_measured(problem, method, asked.device, asked.repeat),
            }


def run_synthetic(asked: argparse.Namespace) -> Iterator[Row]:
    """The bound by itself, and how far magnitude with the exact update is above it."""
    problem = synthetic_problem(asked.weights, asked.samples, asked.seed, asked.dampening_frac)
    problem = problem.at_sparsity(asked.sparsities[0])
    _warm_up(asked.device)
    with timed() as spent:
        bound = lower_bound(problem, asked.device)
    peak = peak_bytes()
    magnitude = solve(problem, "magnitude")
    yield {
        "instance": "synthetic",
        "n": problem.n,
        "m": asked.samples,
        "damping": problem.curvature.damping,
        "dampening_frac": asked.dampening_frac,
        "sparsity": asked.sparsities[0],
        "method": "lower_bound",
        "device": asked.device,
        "bound": bound.value,
        "evaluations": bound.iterations,
        **spent,
        "peak_bytes": peak,
        "magnitude_objective": magnitude.objective,
    }


def run_fuzz(asked: argparse.Namespace) -> Iterator[Row]:
    """One row per bound."""
    with timed() as spent:
        rows = list(fuzz.fuzz(asked.count))
    for row in rows:
        yield {"method": row.pop("bound"), **row, "cpu": spent.get("cpu")}


def _warm_up(device: str) -> None:
    """What is loaded and compiled once in a process is not part of any time."""
    rng = np.random.default_rng(0)
    problem = PruningProblem(rng.normal(size=400), FactorCurvature(rng.normal(size=(20, 400)), 1.0)).at_sparsity(0.8)
    for method in RIVALS:
        _solved(problem, method, device)


def _solved(problem: PruningProblem, method: str, device: str) -> Solution:
    options: dict[str, Any] = {} if method == "magnitude" else {"device": device}
    return solve(problem, method, **options)


def _measured(problem: PruningProblem, method: str, device: str, repeat: int) -> Row:
    """Selection, update, evaluation and bound; the median of the times."""
    times, found = [], None
    for _ in range(repeat):
        with timed() as spent:
            found = _solved(problem, method, device)
        times.append(spent)
    assert isinstance(found, Solution)
    return {
        "instance": problem.name,
        "n": problem.n,
        "method": method,
        "device": device,
        "objective": found.objective,
        "bound": finite_or_none(found.bound),
        "gap": finite_or_none(found.gap),
        **{clock: statistics.median(spent[clock] for spent in times) for clock in ("cpu", "seconds")},
        "repeat": repeat,
        "peak_bytes": peak_bytes(),
        "notes": list(found.notes),
    }


PARTS: dict[str, Callable[[argparse.Namespace], Iterable[Row]]] = {
    "gaps": run_gaps,
    "chita": run_chita,
    "synthetic": run_synthetic,
    "fuzz": run_fuzz,
}


def _numbers(text: str) -> list[float]:
    return [float(number) for number in text.split(",")]


def main(arguments: list[str] | None = None) -> int:
    """Run the part, record it, write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.networks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", choices=[*PARTS, "page"])
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--data", type=Path, help="folder with weights, images and the reference instance")
    parser.add_argument("--ignore", default="", help="layers that are not pruned, by name pattern")
    parser.add_argument("--network", choices=[*FILES, "digits"], default="mlpnet")
    parser.add_argument("--dampings", type=_numbers, default=[1e-3, 1e-4])
    parser.add_argument("--sparsities", type=_numbers, default=[0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98])
    parser.add_argument("--samples", type=int, default=1000, help="rows of the factor")
    parser.add_argument("--weights", type=int, default=4_200_000, help="of the synthetic factor")
    parser.add_argument("--dampening-frac", type=float, default=0.1, help="of the synthetic factor")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--repeat", type=int, default=3, help="runs of which the median time counts, against CHITA")
    parser.add_argument("--count", type=int, default=4000, help="problems of the fuzz")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    if asked.data is None and (asked.part == "chita" or (asked.part == "gaps" and asked.network != "digits")):
        parser.error(f"{asked.part}: say where the weights and images are (--data)")
    try:
        device_named(asked.device)
    except UnavailableMethodError as error:
        print(f"skipped: {error}")  # noqa: T201
        return 0
    fresh: list[Row] = []
    if asked.part != "page":
        for row in PARTS[asked.part](asked):
            fresh.append({"part": asked.part, "cbs-opt": environment()["cbs-opt"], **setting(), **row})
            print(json.dumps(fresh[-1]), file=sys.stderr, flush=True)  # noqa: T201
    rows = replace_rows(asked.out / "networks.jsonl", fresh, _key)
    print(f"wrote {write_page(rows, asked.out)}")  # noqa: T201
    return 0


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in KEY)
