"""Patterns Z: which supports are allowed, each with its linear oracle."""

from cbs_opt.kernel.patterns.base import Pattern
from cbs_opt.kernel.patterns.cardinality import Cardinality, prune_count
from cbs_opt.kernel.patterns.labelled import Labelled
from cbs_opt.kernel.patterns.quotas import Quotas

__all__ = ["Cardinality", "Labelled", "Pattern", "Quotas", "prune_count"]
