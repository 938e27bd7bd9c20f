"""Structured pruning: which channels go together, which of them to remove, and the smaller network without them."""

from __future__ import annotations

from cbs_opt.structure.allocate import Allocation, allocate
from cbs_opt.structure.result import SetReport, Shrunk
from cbs_opt.structure.saved import load_shrunk
from cbs_opt.structure.shrink import shrink

__all__ = ["Allocation", "SetReport", "Shrunk", "allocate", "load_shrunk", "shrink"]
