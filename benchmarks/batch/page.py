"""The page of what the experiments recorded: one section each, every figure from the rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks import recording
from benchmarks.exact.summary import short, table
from benchmarks.recording import Row

INTRODUCTION = """\
# Batches: what was measured

Written by `python -m benchmarks.batch`; every row is in [batch.jsonl](batch.jsonl). Blocks of 32 weights: chunks of the
embedded digits network, each with the Fisher of 500 training samples of its own. Seconds are of the wall. Load is the
load average at the end, the batch's own processes included: more than the workers means that the cores were shared."""


def write_page(rows: Sequence[Row], folder: Path) -> Path:
    """Write ``batch.md``; return where."""
    return recording.write_page(folder / "batch.md", INTRODUCTION, SECTIONS, rows)


def _throughput(rows: Sequence[Row]) -> list[str]:
    return [
        "## Throughput",
        "",
        "Every block solved exactly by `bnb`, one thread a worker. The overhead of a block is what the workers spent",
        "on it beyond the solve: workers × seconds / blocks − seconds of a solve, start-up and planning included.",
        "",
        *table(
            [
                "blocks",
                "workers",
                "cores",
                "load",
                "proven",
                "s",
                "blocks/s",
                "nodes",
                "ms a solve",
                "ms overhead",
                "ms CPU",
                "parent MB after a quarter",
                "at the end",
                "most",
            ],
            [
                [
                    f"{row['blocks']:,}",
                    row["jobs"],
                    row["cores"],
                    short(row["load_average"]),
                    f"{row['proven']:,}",
                    short(row["seconds"]),
                    short(row["blocks_per_second"]),
                    short(row["nodes_per_block"]),
                    short(row["solve_ms_per_block"]),
                    short(row["overhead_ms_per_block"]),
                    short(row["processor_ms_per_block"]),
                    short(row["parent_mb_at_a_quarter"]),
                    short(row["parent_mb_at_the_end"]),
                    short(row["parent_mb_most"]),
                ]
                for row in rows
            ],
        ),
    ]


def _killed(rows: Sequence[Row]) -> list[str]:
    return [
        "## Killed again and again",
        "",
        "All processes of a batch by two methods killed (SIGKILL) at random moments; the store at the end is compared",
        "with that of an undisturbed run, byte for byte where answers are concerned.",
        "",
        *table(
            [
                "kills",
                "results",
                "of the undisturbed run",
                "different answers",
                "finished rows changed later",
                "solved twice",
                "damaged stores",
            ],
            [
                [
                    row["kills"],
                    f"{row['results']:,}",
                    f"{row['results_of_the_undisturbed_run']:,}",
                    row["different_answers"],
                    row["finished_rows_changed_later"],
                    row["solved_twice"],
                    row["damaged_stores"],
                ]
                for row in rows
            ],
        ),
    ]


def _bad(rows: Sequence[Row]) -> list[str]:
    lines = ["## Bad blocks among good ones"]
    for row in rows:
        counts, failed = row["counts"], sorted(row["failed"].items())
        lines += [
            "",
            f"{counts['done']:,} blocks solved; {counts['failed']} failed, as follows; exit code {row['exit_code']}.",
            "",
            *table(["block", "reason"], [[name, why.replace("|", "\\|")] for name, why in failed]),
        ]
    return lines


SECTIONS = {"throughput": _throughput, "killed": _killed, "bad": _bad}
