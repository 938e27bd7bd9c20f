"""Prunes, re-tunes and certifies whole networks."""

from cbs_opt.pruning.certify_network import certify_network
from cbs_opt.pruning.prune import prune
from cbs_opt.pruning.result import BlockReport, LayerReport, Pruned, StageReport

__all__ = ["BlockReport", "LayerReport", "Pruned", "StageReport", "certify_network", "prune"]
