"""Batches: many blocks are solved by many methods in parallel, resumed after interruptions, and kept in a store."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cbs_opt.batch.plan import Plan
    from cbs_opt.batch.runner import BatchResult, Failure, Watcher, plan_batch, run_batch
    from cbs_opt.batch.settings import Settings, read_study
    from cbs_opt.kernel.asked import Asked

# Where each name lives; imported on first use, so that a worker, which needs none of them, starts without the wait.
_HOME = {
    "Asked": "cbs_opt.kernel.asked",
    "BatchResult": "cbs_opt.batch.runner",
    "Failure": "cbs_opt.batch.runner",
    "Plan": "cbs_opt.batch.plan",
    "Settings": "cbs_opt.batch.settings",
    "Watcher": "cbs_opt.batch.runner",
    "plan_batch": "cbs_opt.batch.runner",
    "read_study": "cbs_opt.batch.settings",
    "run_batch": "cbs_opt.batch.runner",
}

__all__ = [
    "Asked",
    "BatchResult",
    "Failure",
    "Plan",
    "Settings",
    "Watcher",
    "plan_batch",
    "read_study",
    "run_batch",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
