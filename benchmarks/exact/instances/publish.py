"""What the package ships of an instance, made anew: optimum or best bound, and a certificate small enough to ship."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from cbs_opt import solve
from cbs_opt.kernel.files import write_whole
from cbs_opt.kernel.result import GAP_TOLERANCE, Solution
from cbs_opt.library import Instance, instances
from cbs_opt.library.catalogue import Published
from cbs_opt.proof import Proof, from_records, verify
from cbs_opt.proof.certificate.digest import block_digest
from cbs_opt.solvers.exact.bnb_nodes import NodeRecord

FOLDER = Path(__file__).parents[3] / "cbs_opt" / "library"

MOST_NODES = 4_000
MOST_BYTES = 600_000
"""Of a certificate that proves the optimum,"""
FEW_BYTES = 50_000
"""and of one that does not: then it proves what so few nodes can."""


def publish(instance: Instance, time_limit: float) -> Published:
    """Solve ``instance``, write its certificate into the package, and return what is known of it then.

    What was published before counts on: its mask is where the search starts, and its bound is one still.
    """
    problem, before = instance.problem(), instance.published
    start = None if before is None else instance.certificate().mask
    best = solve(problem, "bnb", time_limit=time_limit, start=start)
    file = FOLDER / "certificates" / f"{instance.name}.npz"
    nodes = MOST_NODES
    while True:
        proof, searched = _certificate(instance, best, nodes)
        proof.save(file)
        size = file.stat().st_size
        if size <= (MOST_BYTES if searched.gap <= GAP_TOLERANCE else FEW_BYTES):
            break
        nodes = int(0.9 * searched.nodes * min(1.0, FEW_BYTES / size))
    verification = verify(problem, Proof.load(file))
    bounds = [best.bound, verification.bound, *([] if before is None else [before.bound])]
    return Published(
        digest=block_digest(problem),
        objective=verification.objective,
        bound=min(max(bounds), verification.objective),
        certified=verification.bound,
        nodes=verification.nodes,
    )


def _certificate(instance: Instance, best: Solution, nodes: int) -> tuple[Proof, Solution]:
    """Of the tree that a search of so many nodes grows, with the best mask known."""
    problem = instance.problem()
    records: list[NodeRecord] = []
    searched = solve(problem, "bnb", node_limit=nodes, record=records.append, start=best.mask)
    return from_records(problem, searched, records), searched


def write(fresh: Mapping[str, Published]) -> None:
    """Write ``published.json`` with what is known of all instances, ``fresh`` in the place of what was."""
    known = {name: fresh.get(name, one.published) for name, one in instances().items()}
    table = {name: asdict(published) for name, published in known.items() if published is not None}
    text = json.dumps(table, indent=1) + "\n"
    write_whole(FOLDER / "published.json", lambda stream: stream.write(text.encode()))
