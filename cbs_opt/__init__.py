"""cbs-opt: mathematical optimization for pruning neural networks, with proven gaps."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cbs_opt.assembly import assemble
    from cbs_opt.bound import LowerBound, lower_bound
    from cbs_opt.comparator import Comparison, compare
    from cbs_opt.curvature import (
        BlockDiagonalCurvature,
        Curvature,
        DenseCurvature,
        DiagonalCurvature,
        FactorCurvature,
        RowsCurvature,
    )
    from cbs_opt.extraction import extract
    from cbs_opt.patterns import Cardinality, Pattern, Quotas
    from cbs_opt.problem import PruningProblem
    from cbs_opt.proof import Proof, Verification, prove, verify
    from cbs_opt.registry import MethodSpec
    from cbs_opt.result import Solution
    from cbs_opt.run import methods, register, solve
    from cbs_opt.update import obs_update

__version__ = "0.1.0"

# Where each public name lives; imported on first use, so that `import cbs_opt` stays light.
_HOME = {
    "BlockDiagonalCurvature": "curvature",
    "Cardinality": "patterns",
    "Comparison": "comparator",
    "Curvature": "curvature",
    "DenseCurvature": "curvature",
    "DiagonalCurvature": "curvature",
    "FactorCurvature": "curvature",
    "LowerBound": "bound",
    "MethodSpec": "registry",
    "Pattern": "patterns",
    "Proof": "proof",
    "Pruned": "pruning",
    "PruningProblem": "problem",
    "Quotas": "patterns",
    "RowsCurvature": "curvature",
    "Solution": "result",
    "Verification": "proof",
    "assemble": "assembly",
    "compare": "comparator",
    "extract": "extraction",
    "lower_bound": "bound",
    "methods": "run",
    "obs_update": "update",
    "prove": "proof",
    "prune": "pruning",
    "register": "run",
    "solve": "run",
    "verify": "proof",
}

__all__ = [
    "BlockDiagonalCurvature",
    "Cardinality",
    "Comparison",
    "Curvature",
    "DenseCurvature",
    "DiagonalCurvature",
    "FactorCurvature",
    "LowerBound",
    "MethodSpec",
    "Pattern",
    "Proof",
    "Pruned",
    "PruningProblem",
    "Quotas",
    "RowsCurvature",
    "Solution",
    "Verification",
    "assemble",
    "compare",
    "extract",
    "lower_bound",
    "methods",
    "obs_update",
    "prove",
    "prune",
    "register",
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
