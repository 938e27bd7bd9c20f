"""What the tests of extraction and assembly share: blocks solved into a store, and networks that cut in odd ways."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cbs_opt.blocks.manifest import Manifest, ManifestBlock
from cbs_opt.evaluation.solve import solve
from cbs_opt.kernel.asked import Asked
from cbs_opt.kernel.problem import PruningProblem
from cbs_opt.kernel.result import Solution, finite_or_none
from cbs_opt.store import Block, Record, Result, StoreWriter, pack_mask, pack_weights, result_key


def record(plan: Manifest, block: ManifestBlock, asked: str, found: Solution, seed: int | None = None) -> Record:
    """A solution as a batch stores it."""
    return Record(
        Block(block.content, found.name, str(plan.path(block)), block.n, block.tensor, block.first, str(plan.file)),
        Result(
            key=result_key(block.content, found.method, asked, seed, {}),
            block=0,
            method=found.method,
            asked=asked,
            seed=seed,
            options={},
            status="done",
            solution_status=str(found.solution_status),
            termination_condition=str(found.termination_condition),
            objective=found.objective,
            bound=finite_or_none(found.bound),
            gap=finite_or_none(found.gap),
            selection_objective=found.selection_objective,
            selection_bound=finite_or_none(found.selection_bound),
            round_off=found.round_off,
            seconds=found.seconds,
            nodes=found.nodes,
            n=found.n,
            pruned=found.pruned,
            notes=found.notes,
            finished="2026-01-01T00:00:00+00:00",
        ),
        pack_mask(found.mask),
        pack_weights(found.weights),
    )


def failure(plan: Manifest, block: ManifestBlock, asked: str, method: str, reason: str) -> Record:
    """A failed task as a batch stores it."""
    return Record(
        Block(block.content, block.file, str(plan.path(block)), block.n, block.tensor, block.first, str(plan.file)),
        Result(
            key=result_key(block.content, method, asked, None, {}),
            block=0,
            method=method,
            asked=asked,
            seed=None,
            options={},
            status="failed",
            reason=reason,
            error="it took too long",
        ),
    )


def solve_into(
    store: Path, plan: Manifest, methods: Iterable[str], asked: str, blocks: Iterable[ManifestBlock] | None = None
) -> list[Solution]:
    """Solve blocks of a manifest (all of them by default) into a store; the solutions, method by method."""
    chosen = plan.blocks if blocks is None else list(blocks)
    tasks = [(method, block) for method in methods for block in chosen]
    solutions = [solve(Asked.parse(asked).of(PruningProblem.load(plan.path(block))), name) for name, block in tasks]
    with StoreWriter(store) as writer:
        writer.write(record(plan, block, asked, found) for (_, block), found in zip(tasks, solutions, strict=True))
    return solutions


def transformer_like() -> Any:
    """linear(3→4) – Conv1D(4→6) that stores its weight as (in, out), as transformers do – linear(6→3)."""
    import torch
    from torch import nn

    class Conv1D(nn.Module):
        def __init__(self, nf: int, nx: int) -> None:
            super().__init__()
            self.nf = nf
            self.weight = nn.Parameter(torch.randn(nx, nf))
            self.bias = nn.Parameter(torch.zeros(nf))

        def forward(self, x: Any) -> Any:
            return x @ self.weight + self.bias

    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), Conv1D(6, 4), nn.Tanh(), nn.Linear(6, 3)).eval()
