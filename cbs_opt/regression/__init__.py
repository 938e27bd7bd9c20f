"""Best subset selection: a least-squares problem as a pruning problem, and its proven answer in terms of the data."""

from cbs_opt.regression.best_subset import best_subset
from cbs_opt.regression.result import Subset

__all__ = ["Subset", "best_subset"]
