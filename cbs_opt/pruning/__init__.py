"""Whole networks: prune, re-tune, certify."""

from cbs_opt.pruning.certify import certify_network
from cbs_opt.pruning.result import LayerReport, Pruned, StageReport
from cbs_opt.pruning.run import prune

__all__ = ["LayerReport", "Pruned", "StageReport", "certify_network", "prune"]
