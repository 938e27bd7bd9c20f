"""What one stage of pruning is given and hands back, whatever its curvature."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import InputError
from cbs_opt.pruning.weights import Weights
from cbs_opt.result import relative_gap

Report = Callable[[str], None]


@dataclass(frozen=True)
class LayerLoss:
    """Objective and proven bound of one layer's own problem; −inf: no bound."""

    objective: float
    bound: float


@dataclass(frozen=True, eq=False)
class Stage:
    """The outcome of one stage.

    Parameters
    ----------
    weights : Weights
    objective : float
        f of the stage's quadratic model at the float64 weights, relative to the weights the stage began with
        (``fisher``, ``gauss-newton``) or to the dense network's (``gram``, ``sequential``).
    bound : float
        Proven lower bound on it over all masks of the stage's pattern; −inf: none.
    round_off : float
        What float64 may have got wrong in the objective.
    damping : float or mapping of layer to float
        The λ used.
    layers : mapping of module name to LayerLoss
        Where each layer is a problem of its own.
    notes : tuple of str
    """

    weights: Weights
    objective: float
    bound: float
    damping: float | Mapping[str, float]
    round_off: float = 0.0
    layers: Mapping[str, LayerLoss] = field(default_factory=dict)
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
        self._report = report

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
            self._report(f"{self.stage}: {words}" if self.stage else words)


def check_samples(samples: int, there: int, average: int = 1) -> None:
    """Raise where ``samples`` cannot be drawn from as many as ``there`` are, or make not even one row of ``average``.

    Raises
    ------
    InputError
    """
    if isinstance(samples, bool) or not isinstance(samples, (int, np.integer)) or not 1 <= samples <= there:
        raise InputError(f"samples: is {samples!r}; a whole number between 1 and the {there} there are is needed")
    if samples < average:
        raise InputError(f"average: is {average}, but there are {samples} samples to average; give more samples")


def draw(there: int, samples: int, seed: int) -> NDArray[np.int64]:
    """Which ``samples`` of the calibration samples are used, without replacement, in the order of the draw.

    Raises
    ------
    InputError
        More than there are.
    """
    check_samples(samples, there)
    return np.random.default_rng(seed).permutation(there)[:samples]


class Drawn(NamedTuple):
    """Calibration samples and what errors call them.

    Parameters
    ----------
    x, y : arrays, shape (m, ...)
        Inputs and labels; None without labels.
    numbers : int array, shape (m,)
        Their positions in the data they were drawn from.
    """

    x: NDArray[Any]
    y: Any
    numbers: NDArray[np.int64]


def drawn(x: NDArray[Any], y: NDArray[Any] | None, samples: int, seed: int) -> Drawn:
    """The samples that ``draw`` draws."""
    chosen = draw(len(x), samples, seed)
    return Drawn(x[chosen], None if y is None else y[chosen], chosen)


def total_bound(bounds: list[float]) -> float:
    """The sum of bounds of separate problems; −inf where one has none."""
    return -math.inf if any(bound == -math.inf for bound in bounds) else float(sum(bounds))
