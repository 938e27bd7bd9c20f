"""cbs-opt: mathematical optimization for pruning neural networks, with proven gaps.

A ``PruningProblem`` is a quadratic model of the loss of one block of weights. ``solve`` prunes it by one method,
``compare`` by several, ``lower_bound`` proves how low the loss of any mask can be, and ``certify`` judges a mask from
any other tool by it. ``prune`` does this for a whole network (``certify_layers`` and ``certify_network`` judge one that
another tool has pruned), ``shrink`` removes whole channels, and ``best_subset`` selects the columns of a least-squares
problem.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cbs_opt.version import __version__ as __version__

if TYPE_CHECKING:
    from cbs_opt.blocks import extract
    from cbs_opt.blocks.assemble import assemble
    from cbs_opt.evaluation.catalogue import methods, register
    from cbs_opt.evaluation.certify import Judgement, certify
    from cbs_opt.evaluation.comparator import Comparison, compare
    from cbs_opt.evaluation.lower_bound import LowerBound, lower_bound
    from cbs_opt.evaluation.pattern_prices import PatternPrices, compare_patterns
    from cbs_opt.evaluation.solve import solve
    from cbs_opt.kernel.curvature import (
        BlockDiagonalCurvature,
        Curvature,
        DenseCurvature,
        DiagonalCurvature,
        FactorCurvature,
        RowsCurvature,
    )
    from cbs_opt.kernel.method import MethodSpec, Objective
    from cbs_opt.kernel.patterns import (
        Budget,
        Cardinality,
        Groups,
        Labels,
        Linear,
        Pattern,
        Quotas,
        intersect,
    )
    from cbs_opt.kernel.problem import PruningProblem
    from cbs_opt.kernel.result import Outcome, Solution
    from cbs_opt.kernel.update import obs_update
    from cbs_opt.models import Formulation, register_formulation
    from cbs_opt.proof import Proof, Verification, prove, verify
    from cbs_opt.pruning import Pruned, prune
    from cbs_opt.pruning.certify_layers import LayerJudgement, certify_layers
    from cbs_opt.pruning.certify_network import certify_network
    from cbs_opt.regression import Subset, best_subset
    from cbs_opt.structure import Allocation, Shrunk, allocate, load_shrunk, shrink

# Where each public name lives; imported on first use, so that `import cbs_opt` stays light.
_HOME = {
    "Allocation": "structure",
    "BlockDiagonalCurvature": "kernel.curvature",
    "Budget": "kernel.patterns",
    "Cardinality": "kernel.patterns",
    "Comparison": "evaluation.comparator",
    "Curvature": "kernel.curvature",
    "DenseCurvature": "kernel.curvature",
    "DiagonalCurvature": "kernel.curvature",
    "FactorCurvature": "kernel.curvature",
    "Formulation": "models",
    "Groups": "kernel.patterns",
    "Judgement": "evaluation.certify",
    "Labels": "kernel.patterns",
    "LayerJudgement": "pruning.certify_layers",
    "Linear": "kernel.patterns",
    "LowerBound": "evaluation.lower_bound",
    "MethodSpec": "kernel.method",
    "Objective": "kernel.method",
    "Outcome": "kernel.result",
    "Pattern": "kernel.patterns",
    "Proof": "proof",
    "Pruned": "pruning",
    "PatternPrices": "evaluation.pattern_prices",
    "PruningProblem": "kernel.problem",
    "Quotas": "kernel.patterns",
    "RowsCurvature": "kernel.curvature",
    "Shrunk": "structure",
    "Solution": "kernel.result",
    "Subset": "regression",
    "Verification": "proof",
    "allocate": "structure",
    "assemble": "blocks.assemble",
    "best_subset": "regression",
    "certify": "evaluation.certify",
    "certify_layers": "pruning.certify_layers",
    "certify_network": "pruning.certify_network",
    "compare": "evaluation.comparator",
    "compare_patterns": "evaluation.pattern_prices",
    "extract": "blocks",
    "intersect": "kernel.patterns",
    "load_shrunk": "structure",
    "lower_bound": "evaluation.lower_bound",
    "methods": "evaluation.catalogue",
    "obs_update": "kernel.update",
    "prove": "proof",
    "prune": "pruning",
    "register": "evaluation.catalogue",
    "register_formulation": "models",
    "shrink": "structure",
    "solve": "evaluation.solve",
    "verify": "proof",
}

__all__ = [
    "Allocation",
    "BlockDiagonalCurvature",
    "Budget",
    "Cardinality",
    "Comparison",
    "Curvature",
    "DenseCurvature",
    "DiagonalCurvature",
    "FactorCurvature",
    "Formulation",
    "Groups",
    "Judgement",
    "Labels",
    "LayerJudgement",
    "Linear",
    "LowerBound",
    "MethodSpec",
    "Objective",
    "Outcome",
    "Pattern",
    "PatternPrices",
    "Proof",
    "Pruned",
    "PruningProblem",
    "Quotas",
    "RowsCurvature",
    "Shrunk",
    "Solution",
    "Subset",
    "Verification",
    "allocate",
    "assemble",
    "best_subset",
    "certify",
    "certify_layers",
    "certify_network",
    "compare",
    "compare_patterns",
    "extract",
    "intersect",
    "load_shrunk",
    "lower_bound",
    "methods",
    "obs_update",
    "prove",
    "prune",
    "register",
    "register_formulation",
    "shrink",
    "solve",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'cbs_opt' has no attribute {name!r}")
    value = getattr(import_module(f"cbs_opt.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
