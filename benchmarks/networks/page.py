"""The page of what was recorded: one section per part, every figure from the rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks import recording
from benchmarks.exact.summary import short, table
from benchmarks.recording import Row

INTRODUCTION = """\
# Whole networks: what was measured

Written by `python -m benchmarks.networks`; every row is in [networks.jsonl](networks.jsonl). Times are of selection,
update, evaluation and bound together, in a process that has loaded its libraries; per-sample gradients are collected
before, and their time is given apart. The machine was shared: processor seconds count, wall seconds may be longer. The
gap is about the quadratic model of the loss, not about accuracy."""


def write_page(rows: Sequence[Row], folder: Path) -> Path:
    """Write ``networks.md``; return where."""
    return recording.write_page(folder / "networks.md", INTRODUCTION, SECTIONS, rows)


def _gaps(rows: Sequence[Row]) -> list[str]:
    lines = ["## Certified gaps of `relaxation`, whole-network Fisher"]
    for name, m in dict.fromkeys((row["instance"], row["m"]) for row in rows):
        mine = [row for row in rows if (row["instance"], row["m"]) == (name, m)]
        mine.sort(key=lambda row: (-row["damping"], row["sparsity"], row["device"]))
        collection = mine[0]["collection"]
        lines += [
            "",
            f"{name}, {mine[0]['n']:,} weights, m = {m} training images (seed {mine[0]['seed']}); their gradients, in "
            f"float32, took {short(collection['cpu'])} CPU s ({short(collection['seconds'])} s).",
            "",
            *table(
                ["λ", "sparsity", "objective", "proven bound", "gap", "CPU s", "s", "threads", "device", "peak GiB"],
                [
                    [
                        f"{row['damping']:g}",
                        row["sparsity"],
                        short(row["objective"], 6),
                        short(row["bound"], 6),
                        _percent(row["gap"]),
                        short(row["cpu"]),
                        short(row["seconds"]),
                        row["threads"],
                        row["device"],
                        _gib(row),
                    ]
                    for row in mine
                ],
            ),
        ]
    return [*lines, "", "The peak is that of the whole process so far, images and gradients included."]


CHITA = """\
MLPNet, m = {m}, λ = {damping:g}: objective / CPU s. CHITA's figures are those recorded with the instance: its own code,
100 iterations of IHT, not run again here. The last column names the method with the lowest objective among those below
CHITA's in at most a third of its processor time, and what share of it that is.
Ours: threads {threads}, median of {runs} runs."""

THIRD = 1 / 3
"""The share of CHITA's processor time that a method may take to be named."""


def _chita(rows: Sequence[Row]) -> list[str]:
    body = []
    for sparsity in sorted({row["sparsity"] for row in rows}):
        mine = [row for row in rows if row["sparsity"] == sparsity]
        objective, cpu = mine[0]["chita_objective"], mine[0]["chita_cpu"]
        fits = [row for row in mine if row["objective"] < objective and row["cpu"] <= THIRD * cpu]
        best = min(fits, key=lambda row: float(row["objective"]), default=None)
        verdict = f"{best['method']}, {best['cpu'] / cpu:.2f}" if best else "none"
        body.append([sparsity, f"{objective:.6f} / {short(cpu)}", *(_entry(row) for row in mine), verdict])
    methods = list(dict.fromkeys(row["method"] for row in rows))
    words = CHITA.format(m=rows[0]["m"], damping=rows[0]["damping"], threads=rows[0]["threads"], runs=rows[0]["repeat"])
    head = ["sparsity", "CHITA", *methods, "best within a third"]
    return ["## Against CHITA on the same gradients", "", words, "", *table(head, body)]


def _entry(row: Row) -> str:
    return f"{row['objective']:.6f} / {short(row['cpu'])}"


def _synthetic(rows: Sequence[Row]) -> list[str]:
    lines = [
        "## A factor of millions of weights",
        "",
        "Random float32 factor, columns in units that spread over two orders of magnitude: `lower_bound`, and how far",
        "magnitude with the exact update lies above it.",
        "",
        *table(
            [
                "n",
                "m",
                "λ / mean diagonal",
                "sparsity",
                "bound",
                "magnitude and update",
                "gap at most",
                "evaluations",
                "CPU s",
                "s",
                "threads",
                "device",
                "peak GiB",
            ],
            [
                [
                    f"{row['n']:,}",
                    row["m"],
                    row["dampening_frac"],
                    row["sparsity"],
                    short(row["bound"], 6),
                    short(row["magnitude_objective"], 6),
                    _percent(1 - row["bound"] / row["magnitude_objective"]),
                    row["evaluations"],
                    short(row["cpu"]),
                    short(row["seconds"]),
                    row["threads"],
                    row["device"],
                    _gib(row),
                ]
                for row in rows
            ],
        ),
    ]
    if not any(str(row["device"]).startswith("cuda") for row in rows):
        lines += ["", "Not measured on a CUDA device: there was none."]
    return lines


FUZZ = """\
Tiny problems (n ≤ 7) of every awkward kind: scales 1e±10, λ from 1e-14 of the mean diagonal, duplicated and zero
columns, float32 factors, zeros in w̄, first-order terms, offsets, forced and forbidden weights, quotas, block-diagonal
curvatures. The optimum is enumerated and evaluated in rational arithmetic; a bound above it, by however little, is a
violation. *Refused*: not positive definite in float64, said so."""


def _fuzz(rows: Sequence[Row]) -> list[str]:
    head = ["bound", "problems", "refused", "violations"]
    body = [[row["method"], row["problems"], row["refused"], len(row["violations"])] for row in rows]
    return ["## Bounds against exact optima", "", FUZZ, "", *table(head, body)]


SECTIONS = {"gaps": _gaps, "chita": _chita, "synthetic": _synthetic, "fuzz": _fuzz}


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.3g} %"


def _gib(row: Row) -> str:
    return f"{row['peak_bytes'] / 2**30:.2f}"
