"""What a stage of pruning takes and returns, the same for every curvature."""

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
"""A function that draws the calibration samples of a stage, by its number from 0."""


@dataclass(frozen=True)
class LayerLoss:
    """How well a layer's own problem was solved.

    Parameters
    ----------
    objective, bound : float
        f, and the proven lower bound on it; −inf without a bound.
    emptied : float
        f of the layer with all weights zero.
    round_off : float
        What float64 may have got wrong in the objective.
    seconds : float
        How long selection, update and bound took.
    """

    objective: float
    bound: float
    emptied: float
    round_off: float = 0.0
    seconds: float = 0.0

    @property
    def relative(self) -> float:
        """``objective`` divided by ``emptied``; 0 if nothing flows through the layer."""
        return self.objective / self.emptied if self.emptied > 0 else 0.0

    @property
    def gap(self) -> float:
        """(objective − bound)/|objective|; inf without a bound."""
        return relative_gap(self.objective, self.bound, self.round_off)


@dataclass(frozen=True, eq=False)
class LayerOutcome:
    """The outcome of pruning a layer.

    Parameters
    ----------
    weights, mask : arrays (out, in)
        The new weights, and the mask (1 keeps).
    loss : LayerLoss
        How well the layer's problem was solved.
    damping, dominance : float
        λ, and λ divided by the mean diagonal of the curvature without it.
    """

    weights: Matrix
    mask: Mask
    loss: LayerLoss
    damping: float
    dominance: float


@dataclass(frozen=True, eq=False)
class BlockOutcome:
    """The outcome of pruning a block: of its layers by name, the error of its output, and the notes."""

    layers: Mapping[str, LayerOutcome]
    report: BlockReport | None
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Stage:
    """The outcome of one stage.

    Parameters
    ----------
    weights : Weights
        The network's prunable weights after the stage, and their mask.
    objective : float
        f of the stage's quadratic model at the float64 weights: the change of the loss from the weights that the
        stage began with (``fisher``, ``gauss-newton``) or from the dense network's (``gram``, ``sequential``). If
        blocks were refined, it is f at the weights before that.
    bound : float
        Proven lower bound on f over all masks of the stage's pattern; −inf without a bound.
    damping : float or mapping of layer to float
        The λ used.
    round_off : float
        What float64 may have got wrong in the objective.
    dominance : mapping of str to float
        λ divided by the mean diagonal of the curvature without it, by layer, or of the one curvature there is; empty
        if λ is no part of a bound.
    layers : mapping of module name to LayerLoss
        The layers, if each is a problem of its own.
    blocks : tuple of BlockReport
        The blocks, if the network is pruned block by block.
    notes : tuple of str
        Everything that was altered or cut short.
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
    """Measures the seconds of each phase, and tells ``report`` in words what is being done."""

    def __init__(self, report: Report | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self.stage = ""
        """Words such as 'stage 2 of 3', which are put before those of every phase."""
        self._part = ""
        self._report = report

    @contextmanager
    def part(self, words: str) -> Iterator[None]:
        """Inside, words such as 'block 7 of 30' are put before those of every phase, too."""
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
        """Tell ``report`` what is being done, in a few words."""
        if self._report is not None:
            self._report(": ".join(part for part in (self.stage, self._part, words) if part))


class Stages(Protocol):
    """The stages of one run on one curvature; ``prune.STAGES`` lists the classes."""

    def __init__(self, dense: torch.nn.Module, weights: Weights, settings: Settings, draw: Draw) -> None:
        """Begin a run on the network ``dense``, which holds ``weights`` and stays as it is."""

    @staticmethod
    def check(weights: Weights, settings: Settings) -> None:
        """Raise, before anything is computed, if the settings do not fit the network."""

    def stage(self, number: int, now: torch.nn.Module, weights: Weights, prune: int, clock: Clock) -> Stage:
        """Prune at least ``prune`` weights of the network ``now``, counting those that ``weights`` has pruned."""
        ...
