"""`python -m benchmarks.exact.instances`: the library of instances by every exact engine, and the library made anew.

Engines take turns on each instance, on one thread, compiled loops loaded beforehand; every bound is checked against the
objectives of all others and the published optimum, and a contradiction aborts the run. Rows of the same instance and
engine are replaced in ``instances.jsonl``, and the page ``instances.md`` is written anew from all of them. With
--publish optima and certificates are computed again and written into the package instead.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from benchmarks.exact import families
from benchmarks.exact.instances.page import write_page
from benchmarks.exact.instances.publish import publish, write
from benchmarks.exact.measure import Engine, measure
from benchmarks.recording import Row, replace_rows
from cbs_opt.evaluation.catalogue import method
from cbs_opt.kernel.environment import environment
from cbs_opt.library import Instance, instances
from cbs_opt.library.catalogue import Published
from cbs_opt.solvers.exact import bnb

ENGINES = ("bnb", "highs-oa", "scip", "gurobi")
GAP = 1e-4


def main(arguments: list[str] | None = None) -> int:
    """Measure, record, write the page; or publish."""
    asked = _parser().parse_args(arguments)
    chosen = [one for one in instances().values() if fnmatch(one.name, asked.names)]
    if asked.publish:
        _publish(chosen, asked.time_limit)
        return 0
    log = asked.out / "instances.jsonl"
    rows = replace_rows(log, [], _key)
    if not asked.page:
        bnb.prepare()
        names = asked.engines.split(",")
        engines = [Engine.parse(name) for name in names if method(name).unavailable_because() is None]
        # What is loaded with the first solve is not charged to an instance.
        list(_measured(instances()["digits-fc3-row03-gram16-strong-s50"], engines, 1.0))
    for one in () if asked.page else chosen:
        fresh = list(_measured(one, engines, asked.time_limit))
        for row in fresh:
            print(json.dumps(row), file=sys.stderr, flush=True)  # noqa: T201
        # After each instance: what was measured is not lost when the run is.
        rows = replace_rows(log, fresh, _key)
    print(f"wrote {write_page(rows, asked.out)}")  # noqa: T201
    return 0


def _key(row: Row) -> object:
    return row["instance"], row["engine"]


def _measured(one: Instance, engines: list[Engine], time_limit: float) -> Iterator[Row]:
    optimum = one.known.objective if one.known.optimal else None
    posed = families.Instance(one.name, one.recipe.family, one.problem(), optimum)
    known = environment()
    shared = {"part": "instances", "asked": str(one.asked), "time_limit": time_limit, "cbs-opt": known["cbs-opt"]}
    for record in measure(posed, engines, time_limit, GAP, 1):
        yield shared | record.to_dict()


def _publish(chosen: list[Instance], time_limit: float) -> None:
    fresh: dict[str, Published] = {}
    for one in chosen:
        fresh[one.name] = publish(one, time_limit)
        write(fresh)
        print(f"{one.name}: {fresh[one.name]}", file=sys.stderr, flush=True)  # noqa: T201


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.exact.instances",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--names", default="*", help="instances, as 'diabetes*'")
    parser.add_argument("--engines", default=",".join(ENGINES), help="those that are not installed are left out")
    parser.add_argument("--time-limit", type=float, default=60.0, help="seconds for each engine")
    parser.add_argument("--publish", action="store_true", help="write optima and certificates into the package")
    parser.add_argument("--page", action="store_true", help="write the page only")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    return parser
