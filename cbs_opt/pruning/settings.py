"""What a pruning run is asked for, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cbs_opt.errors import InputError, UnsupportedError, unknown_name
from cbs_opt.evaluation.catalogue import method as method_named
from cbs_opt.kernel.curvature import resolve_damping
from cbs_opt.kernel.curvature.factor import DEFAULT_DAMPING
from cbs_opt.network.samples import PRECISIONS, Precision
from cbs_opt.pruning.allocation import ALLOCATIONS

PARTITIONS = ("network", "layer", "row")


@dataclass(frozen=True)
class CurvatureSpec:
    """What the stages on one curvature ask of the settings; how they run is said in ``prune.STAGES``.

    Parameters
    ----------
    default_method : str
    own_settings : tuple of str
        Settings that have a meaning for it, beside those that have one for every curvature.
    needs_labels : bool
    needs_damping : bool
        λ = 0 is an error.
    methods : tuple of str
        Those it takes, none of which has an option; empty: any method.
    why_these : str
        The reason, for the message.
    """

    default_method: str
    own_settings: tuple[str, ...] = ()
    needs_labels: bool = True
    needs_damping: bool = True
    methods: tuple[str, ...] = ()
    why_these: str = ""


_OF_LAYERS = CurvatureSpec("swap", ("revive", "allocation"), needs_labels=False, needs_damping=False)

CURVATURES = {
    "fisher": CurvatureSpec("relaxation", ("partition", "average", "first_order", "loss", "precision", "revive")),
    "gram": _OF_LAYERS,
    "sequential": _OF_LAYERS,
    "gauss-newton": CurvatureSpec(
        "magnitude", methods=("magnitude", "obd"), why_these="never forms its curvature; it takes magnitude or obd"
    ),
}


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
            object.__setattr__(self, "method", self.spec.default_method)
        if self.damping is None and self.dampening_frac is None:
            object.__setattr__(self, "damping", DEFAULT_DAMPING)
        self._check_damping()
        if isinstance(self.seed, bool) or not isinstance(self.seed, (int, np.integer)) or self.seed < 0:
            raise InputError(f"seed: is {self.seed!r}; a whole number of at least 0 is needed")
        if self.precision not in PRECISIONS:
            raise InputError(f"precision: is {self.precision!r}; there are {' and '.join(PRECISIONS)}")
        whole = isinstance(self.partition, int) and not isinstance(self.partition, bool)
        if (whole and int(self.partition) < 1) or not (whole or self.partition in PARTITIONS):
            raise InputError(
                f"partition: is {self.partition!r}; give {', '.join(PARTITIONS)} or a number of weights a chunk"
            )
        if self.allocation not in ALLOCATIONS:
            raise unknown_name("allocation", self.allocation, list(ALLOCATIONS))
        if isinstance(self.average, bool) or not isinstance(self.average, int) or self.average < 1:
            raise InputError(f"average: is {self.average!r}; a whole number of samples a row is needed")
        self._check_fit()
        self._check_method()

    @property
    def spec(self) -> CurvatureSpec:
        """What the curvature asks of the settings."""
        return CURVATURES[self.curvature]

    def _check_method(self) -> None:
        """The method and its options."""
        if not isinstance(self.options, Mapping):
            raise InputError(f"options: is a {type(self.options).__name__}; give a mapping of names to values")
        if "seed" in self.options:
            raise InputError("options: seed is given as seed=, not among the method's options")
        if self.spec.methods:
            if self.method not in self.spec.methods:
                raise UnsupportedError(f"method {self.method}: {self.curvature} {self.spec.why_these}")
            if self.options:
                raise UnsupportedError(f"method {self.method}: has no option {next(iter(self.options))}")
        else:
            spec = method_named(self.method)
            spec.check_options(self.options)
            if "device" in spec.options and "device" not in self.options:
                object.__setattr__(self, "options", {**self.options, "device": self.device})

    def _check_damping(self) -> None:
        given = "dampening_frac" if self.damping is None else "damping"
        if resolve_damping(self.damping, self.dampening_frac, 1.0) == 0 and self.spec.needs_damping:
            raise InputError(f"{given}: is 0; {self.curvature} needs a {given} > 0")

    def _check_fit(self) -> None:
        """Options that belong to another curvature are errors, not ignored."""
        for name in dict.fromkeys(name for spec in CURVATURES.values() for name in spec.own_settings):
            default = self.__dataclass_fields__[name].default
            if getattr(self, name) != default and name not in self.spec.own_settings:
                owners = ", ".join(other for other, spec in CURVATURES.items() if name in spec.own_settings)
                raise InputError(f"{name}: belongs to the curvature {owners}; leave it out for {self.curvature}")
