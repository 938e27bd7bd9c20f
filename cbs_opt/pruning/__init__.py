"""Whole networks: prune, re-tune, certify."""

from cbs_opt.pruning.certify_network import certify_network
from cbs_opt.pruning.prune import prune
from cbs_opt.pruning.result import LayerReport, Pruned, StageReport

__all__ = ["LayerReport", "Pruned", "StageReport", "certify_network", "prune"]
