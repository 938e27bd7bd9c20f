"""Patterns Z: which supports are allowed, each with its linear oracle."""

from cbs_opt.patterns.base import Pattern
from cbs_opt.patterns.cardinality import Cardinality, prune_count

__all__ = ["Cardinality", "Pattern", "prune_count"]
