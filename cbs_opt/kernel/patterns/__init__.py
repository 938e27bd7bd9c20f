"""Patterns: the sets Z of masks that are allowed, each with its linear oracle."""

from cbs_opt.kernel.patterns.base import Pattern
from cbs_opt.kernel.patterns.budget import Budget
from cbs_opt.kernel.patterns.cardinality import Cardinality, prune_count
from cbs_opt.kernel.patterns.grouped import Grouped
from cbs_opt.kernel.patterns.groups import Groups
from cbs_opt.kernel.patterns.intersect import intersect
from cbs_opt.kernel.patterns.labelled import Labelled
from cbs_opt.kernel.patterns.labels import Labels
from cbs_opt.kernel.patterns.linear import Linear
from cbs_opt.kernel.patterns.quotas import Quotas
from cbs_opt.kernel.patterns.rows import Named, Rows

__all__ = [
    "Budget",
    "Cardinality",
    "Grouped",
    "Groups",
    "Labelled",
    "Labels",
    "Linear",
    "Named",
    "Pattern",
    "Quotas",
    "Rows",
    "intersect",
    "prune_count",
]
