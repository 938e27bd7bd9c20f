"""Many blocks, many methods: solved in parallel, resumed after any interruption, kept in a store."""

from cbs_opt.batch.asked import Asked
from cbs_opt.batch.plan import Plan
from cbs_opt.batch.run import BatchResult, Failure, Watcher, plan_batch, run_batch
from cbs_opt.batch.settings import Settings, read_study

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
