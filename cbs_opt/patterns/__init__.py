"""Patterns Z: which supports are allowed, each with its linear oracle."""

from cbs_opt.patterns.base import Pattern
from cbs_opt.patterns.cardinality import Cardinality, prune_count
from cbs_opt.patterns.quotas import Quotas

__all__ = ["Cardinality", "Pattern", "Quotas", "prune_count"]
