"""What one stage of pruning is given and hands back, whatever its curvature."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from cbs_opt.kernel.arrays.types import Mask, Matrix
from cbs_opt.kernel.result import relative_gap
from cbs_opt.network.samples import Drawn
from cbs_opt.network.weights import Weights
from cbs_opt.pruning.result import BlockReport

if TYPE_CHECKING:
    import torch

    from cbs_opt.pruning.settings import Settings

Report = Callable[[str], None]

Draw = Callable[[int], Drawn]
"""The calibration samples drawn for the stage of this number, counted from 0."""


@dataclass(frozen=True)
class LayerLoss:
    """What became of one layer's own problem.

    Parameters
    ----------
    objective, bound : float
        f, and the proven lower bound on it; −inf: none.
    emptied : float
        f of the layer without any weight.
    round_off : float
        What float64 may have got wrong in the objective.
    seconds : float
        That selection, update and bound took.
    """

    objective: float
    bound: float
    emptied: float
    round_off: float = 0.0
    seconds: float = 0.0

    @property
    def relative(self) -> float:
        """``objective`` over ``emptied``; 0 where nothing flows through the layer."""
        return self.objective / self.emptied if self.emptied > 0 else 0.0

    @property
    def gap(self) -> float:
        """(objective − bound)/|objective|; inf without a bound."""
        return relative_gap(self.objective, self.bound, self.round_off)


@dataclass(frozen=True, eq=False)
class LayerOutcome:
    """What a layer's pruning ended with.

    Parameters
    ----------
    weights, mask : arrays (out, in)
    loss : LayerLoss
    damping, dominance : float
        λ, and λ over the mean diagonal of the curvature without it.
    """

    weights: Matrix
    mask: Mask
    loss: LayerLoss
    damping: float
    dominance: float


@dataclass(frozen=True, eq=False)
class BlockOutcome:
    """What a block's pruning ended with: of its layers by name, of its output, and what was noted."""

    layers: Mapping[str, LayerOutcome]
    report: BlockReport | None
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Stage:
    """The outcome of one stage.

    Parameters
    ----------
    weights : Weights
    objective : float
        f of the stage's quadratic model at the float64 weights, relative to the weights the stage began with
        (``fisher``, ``gauss-newton``) or to the dense network's (``gram``, ``sequential``); where blocks were refined,
        at the weights before that.
    bound : float
        Proven lower bound on it over all masks of the stage's pattern; −inf: none.
    round_off : float
        What float64 may have got wrong in the objective.
    damping : float or mapping of layer to float
        The λ used.
    dominance : mapping of str to float
        λ over the mean diagonal of the curvature without it, by layer, or of the one curvature there is; empty where
        λ is no part of a bound.
    layers : mapping of module name to LayerLoss
        Where each layer is a problem of its own.
    blocks : tuple of BlockReport
        Where the network is pruned block by block.
    notes : tuple of str
    """

    weights: Weights
    objective: float
    bound: float
    damping: float | Mapping[str, float]
    round_off: float = 0.0
    dominance: Mapping[str, float] = field(default_factory=dict)
    layers: Mapping[str, LayerLoss] = field(default_factory=dict)
    blocks: tuple[BlockReport, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def gap(self) -> float:
        """(objective − bound)/|objective|; inf without a bound."""
        return relative_gap(self.objective, self.bound, self.round_off)


class Clock:
    """Seconds by phase, and what is being done for whoever watches."""

    def __init__(self, report: Report | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self.stage = ""
        """Put before the words of every phase: 'stage 2 of 3'."""
        self._part = ""
        self._report = report

    @contextmanager
    def part(self, words: str) -> Iterator[None]:
        """Inside, these words are put before those of every phase, too: 'block 7 of 30'."""
        self._part = words
        try:
            yield
        finally:
            self._part = ""

    @contextmanager
    def phase(self, name: str, words: str = "") -> Iterator[None]:
        """Add the time spent inside to the phase ``name``."""
        self.tell(words or name)
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def tell(self, words: str) -> None:
        """Say what is going on."""
        if self._report is not None:
            self._report(": ".join(part for part in (self.stage, self._part, words) if part))


class Stages(Protocol):
    """The stages of one run on one curvature; ``prune.STAGES`` lists the classes."""

    def __init__(self, dense: torch.nn.Module, weights: Weights, settings: Settings, draw: Draw) -> None:
        """Begin a run on the network ``dense``, which holds ``weights`` and stays as it is."""

    @staticmethod
    def check(weights: Weights, settings: Settings) -> None:
        """Raise before anything is computed where the settings do not fit the network."""

    def stage(self, number: int, now: torch.nn.Module, weights: Weights, prune: int, clock: Clock) -> Stage:
        """Prune at least ``prune`` weights, those that ``weights`` of the network ``now`` has pruned among them."""
        ...
