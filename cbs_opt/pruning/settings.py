"""What a pruning run is asked for, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cbs_opt.collect.samples import Precision
from cbs_opt.errors import InputError, UnsupportedError
from cbs_opt.pruning.allocation import ALLOCATIONS
from cbs_opt.registry import unknown_name
from cbs_opt.run import method as method_named

CURVATURES = ("fisher", "gram", "sequential", "gauss-newton")
DEFAULT_METHOD = {"fisher": "relaxation", "gram": "swap", "sequential": "swap", "gauss-newton": "magnitude"}
DEFAULT_DAMPING = 1e-3
PARTITIONS = ("network", "layer", "row")
LAYERWISE = ("gram", "sequential")


@dataclass(frozen=True)
class Settings:
    """See ``cbs_opt.prune`` for what each of these means."""

    curvature: str = "fisher"
    method: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    partition: str | int = "network"
    allocation: str = "sensitivity"
    damping: float | None = None
    dampening_frac: float | None = None
    average: int = 1
    first_order: bool = False
    revive: bool = False
    loss: Callable[..., Any] | None = None
    precision: Precision = "float32"
    device: str = "cpu"
    bound: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.curvature not in CURVATURES:
            raise unknown_name("curvature", self.curvature, list(CURVATURES))
        if not self.method:
            object.__setattr__(self, "method", DEFAULT_METHOD[self.curvature])
        if self.damping is None and self.dampening_frac is None:
            object.__setattr__(self, "damping", DEFAULT_DAMPING)
        whole = isinstance(self.partition, int) and not isinstance(self.partition, bool)
        if (whole and int(self.partition) < 1) or not (whole or self.partition in PARTITIONS):
            raise InputError(f"partition: is {self.partition!r}; give {', '.join(PARTITIONS)} or a number of weights a "
                             "chunk")
        if self.allocation not in ALLOCATIONS:
            raise unknown_name("allocation", self.allocation, list(ALLOCATIONS))
        if isinstance(self.average, bool) or not isinstance(self.average, int) or self.average < 1:
            raise InputError(f"average: is {self.average!r}; a whole number of samples a row is needed")
        self._check_fit()
        if self.curvature == "gauss-newton":
            if self.method not in ("magnitude", "obd"):
                raise UnsupportedError(f"method {self.method}: gauss-newton never forms its curvature; it takes "
                                       "magnitude or obd")
            if self.options:
                raise UnsupportedError(f"method {self.method}: has no option {next(iter(self.options))}")
        else:
            spec = method_named(self.method)
            spec.check_options({**self.options, "seed": 0} if "seed" in spec.options else self.options)
            if "device" in spec.options and "device" not in self.options:
                object.__setattr__(self, "options", {**self.options, "device": self.device})

    def _check_fit(self) -> None:
        """Options that belong to another curvature are errors, not ignored."""
        belongs = {
            "partition": (self.partition != "network", ("fisher",)),
            "average": (self.average != 1, ("fisher",)),
            "first_order": (self.first_order, ("fisher",)),
            "loss": (self.loss is not None, ("fisher",)),
            "allocation": (self.allocation != "sensitivity", LAYERWISE),
        }
        for name, (given, curvatures) in belongs.items():
            if given and self.curvature not in curvatures:
                raise InputError(f"{name}: belongs to the curvature {' and '.join(curvatures)}; leave it out for "
                                 f"{self.curvature}")
