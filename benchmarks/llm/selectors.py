"""The rows of the table: how each prunes a network, and what the page says about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cbs_opt
from benchmarks.llm import untouched
from cbs_opt.pruning.stage import Clock

if TYPE_CHECKING:
    import torch

DAMPENING_FRAC = 0.01
"""λ as a share of the mean diagonal of each layer, for the selectors and for the one evaluation of them all."""


@dataclass(frozen=True, eq=False)
class Found:
    """A pruned network, seconds by phase, and what ``cbs_opt.prune`` says about the run, where it made it."""

    model: torch.nn.Module
    seconds: Mapping[str, float]
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    blocks: tuple[Mapping[str, Any], ...] = ()


Prune = Callable[["torch.nn.Module", Any, str, Callable[[str], None]], Found]
"""(network, calibration windows, pattern in words, progress) → Found."""


@dataclass(frozen=True)
class Selector:
    """One row.

    Parameters
    ----------
    prune : callable
    words : str
        For the page.
    refined : bool
        Its kept weights were tuned on whole blocks, which no layer error is about.
    """

    prune: Prune
    words: str
    refined: bool = False


def _by_prune(**own: Any) -> Prune:
    def run(model: torch.nn.Module, x: Any, pattern: str, progress: Callable[[str], None]) -> Found:
        asked = {"pattern": pattern} if ":" in pattern else {"sparsity": float(pattern), "allocation": "layer"}
        found = cbs_opt.prune(
            model,
            x,
            **asked,
            curvature="sequential",
            dampening_frac=DAMPENING_FRAC,
            bound=False,
            samples=len(x),
            progress=progress,
            **own,
        )
        told = found.to_dict()
        return Found(found.model, found.seconds, told["settings"], found.notes, tuple(told["blocks"]))

    return run


def _magnitude(model: torch.nn.Module, x: Any, pattern: str, progress: Callable[[str], None]) -> Found:
    clock = Clock(progress)
    with clock.phase("selection", "removing the smallest weights"):
        pruned = untouched.magnitude(model, pattern)
    return Found(pruned, clock.seconds)


def _wanda(model: torch.nn.Module, x: Any, pattern: str, progress: Callable[[str], None]) -> Found:
    clock = Clock(progress)
    with clock.phase("selection"):
        pruned = untouched.wanda(model, x, pattern, progress)
    return Found(pruned, clock.seconds)


SELECTORS: Mapping[str, Selector] = {
    "magnitude": Selector(_magnitude, "the smallest weights of each layer become zero, the others stay as they were"),
    "wanda": Selector(
        _wanda,
        "as its paper has it: the smallest |w|·‖x‖ of each output row become zero, the others stay as they were "
        "(`method='wanda'` of this package re-tunes them; that is another row than this)",
    ),
    "sparsegpt": Selector(
        _by_prune(method="sparsegpt"),
        "this package's `sparsegpt`; zeros shared by the whole layer, then the exact update",
    ),
    "admm": Selector(
        _by_prune(method="admm"),
        "this package's `admm`, of ALPS's family; zeros shared by the whole layer, then the exact update",
    ),
    "admm+refine": Selector(
        _by_prune(method="admm", refine=3),
        "`admm`, then three passes over each block that re-tune its kept weights against the dense block's outputs",
        refined=True,
    ),
    "admm+refine5": Selector(_by_prune(method="admm", refine=5), "the same with five passes", refined=True),
    "ours": Selector(_by_prune(method="swap"), "`swap`: from ADMM's mask, exchanges on the joint objective"),
    "ours+refine": Selector(
        _by_prune(method="swap", refine=3),
        "`swap`, refined likewise",
        refined=True,
    ),
}
