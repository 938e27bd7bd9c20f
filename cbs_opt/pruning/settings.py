"""The settings of a pruning run, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cbs_opt.errors import InputError, UnsupportedError, unknown_name
from cbs_opt.evaluation.catalogue import method as method_named
from cbs_opt.kernel.asked import Asked
from cbs_opt.kernel.curvature.damping import damping_asked
from cbs_opt.network.samples import PRECISIONS, Precision
from cbs_opt.network.weights import Weights
from cbs_opt.pruning.allocation import ALLOCATIONS
from cbs_opt.pruning.bound_time import checked

LARGE = 5e11
"""The size of a network beyond which the faster method and allocation, and no bound, are the default. It is the sum
over the layers of outputs × inputs³, as the exact work on their rows is: 8e10 for ResNet20, 1e13 for a sentence encoder
of 10 million weights."""

PARTITIONS = ("network", "layer", "row")


@dataclass(frozen=True)
class CurvatureSpec:
    """Which settings the stages on one curvature take; ``prune.STAGES`` has the classes that run them.

    Parameters
    ----------
    default_method, large_method : str
        The method if none is asked for; the second one, if there is one, is for networks larger than ``LARGE``.
    own_settings : tuple of str
        Settings that have a meaning on this curvature, beside those that have one on every curvature.
    needs_labels : bool
        Whether the calibration samples need labels.
    needs_damping : bool
        Whether λ = 0 is an error.
    block_by_block : bool
        Whether a network may stay in memory, with one of its blocks at a time on the device.
    methods : tuple of str
        The methods it takes, without options; if empty, it takes any method, with its options.
    why_these : str
        The reason for these methods, for the error message.
    """

    default_method: str
    large_method: str = ""
    own_settings: tuple[str, ...] = ()
    needs_labels: bool = True
    needs_damping: bool = True
    block_by_block: bool = False
    methods: tuple[str, ...] = ()
    why_these: str = ""


_OF_LAYERS = CurvatureSpec(
    "swap", "admm", ("revive", "allocation", "pattern", "bound_time"), needs_labels=False, needs_damping=False
)
_IN_SEQUENCE = replace(_OF_LAYERS, own_settings=(*_OF_LAYERS.own_settings, "refine", "work"), block_by_block=True)

CURVATURES = {
    "fisher": CurvatureSpec(
        "relaxation", own_settings=("partition", "average", "first_order", "loss", "precision", "revive", "bound_time")
    ),
    "gram": _OF_LAYERS,
    "sequential": _IN_SEQUENCE,
    "gauss-newton": CurvatureSpec(
        "magnitude", methods=("magnitude", "obd"), why_these="never forms its curvature; it takes magnitude or obd"
    ),
}


@dataclass(frozen=True)
class Settings:
    """See ``cbs_opt.prune`` for what each of these means."""

    curvature: str = "sequential"
    pattern: str | None = None
    method: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    partition: str | int = "network"
    allocation: str = ""
    damping: float | None = None
    dampening_frac: float | None = None
    average: int = 1
    first_order: bool = False
    revive: bool = False
    loss: Callable[..., Any] | None = None
    precision: Precision = "float32"
    device: str = "cpu"
    bound: bool | None = None
    bound_time: float | None = None
    keep_zeros: bool = False
    refine: int = 0
    work: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.curvature not in CURVATURES:
            raise unknown_name("curvature", self.curvature, list(CURVATURES))
        if not self.method and not self.spec.large_method:
            object.__setattr__(self, "method", self.spec.default_method)
        needed_by = self.curvature if self.spec.needs_damping else ""
        damping, dampening_frac = damping_asked(self.damping, self.dampening_frac, needed_by)
        object.__setattr__(self, "damping", damping)
        object.__setattr__(self, "dampening_frac", dampening_frac)
        if isinstance(self.seed, bool) or not isinstance(self.seed, (int, np.integer)) or self.seed < 0:
            raise InputError(f"seed: is {self.seed!r}; a whole number of at least 0 is needed")
        object.__setattr__(self, "seed", int(self.seed))  # a NumPy integer is no JSON
        if self.precision not in PRECISIONS:
            raise InputError(f"precision: is {self.precision!r}; there are {' and '.join(PRECISIONS)}")
        whole = isinstance(self.partition, int) and not isinstance(self.partition, bool)
        if (whole and int(self.partition) < 1) or not (whole or self.partition in PARTITIONS):
            raise InputError(
                f"partition: is {self.partition!r}; give {', '.join(PARTITIONS)} or a number of weights a chunk"
            )
        if self.allocation and self.allocation not in ALLOCATIONS:
            raise unknown_name("allocation", self.allocation, list(ALLOCATIONS))
        if isinstance(self.average, bool) or not isinstance(self.average, int) or self.average < 1:
            raise InputError(f"average: is {self.average!r}; a whole number of samples a row is needed")
        if self.bound_time is not None:
            if self.bound is False:
                raise InputError("bound_time: is given, but no bound is asked for; leave one of them out")
            checked(self.bound_time)
            object.__setattr__(self, "bound", True)
        if isinstance(self.refine, bool) or not isinstance(self.refine, int) or self.refine < 0:
            raise InputError(f"refine: is {self.refine!r}; a whole number of passes is needed, 0 for none")
        self._check_fit()
        if self.revive and self.keep_zeros:
            raise InputError("revive: takes back what was pruned, and keep_zeros does not; leave one of them out")
        if self.n_of_m is not None and self.allocation:
            raise InputError("allocation: has no meaning with a pattern, which says what each row loses; leave it out")
        self._check_method()

    @property
    def n_of_m(self) -> tuple[int, int] | None:
        """N and M of the pattern; None if a sparsity is asked for."""
        return None if self.pattern is None else Asked("pattern", self.pattern).n_of_m

    @property
    def spec(self) -> CurvatureSpec:
        """Which settings the curvature takes."""
        return CURVATURES[self.curvature]

    def chosen_for(self, weights: Weights) -> Settings:
        """These settings, with method, allocation and bound chosen by the size of the layers where left open."""
        large = bool(self.spec.large_method) and sum(t.outputs * t.inputs**3 for t in weights.targets) > LARGE
        method = self.method or (self.spec.large_method if large else self.spec.default_method)
        bound = not large if self.bound is None else self.bound
        fits = "allocation" in self.spec.own_settings and self.n_of_m is None
        allocation = self.allocation or ("layer" if large else "sensitivity") if fits else ""
        return replace(self, method=method, allocation=allocation, bound=bound)

    def told(self) -> dict[str, Any]:
        """The settings that decide the outcome, as plain data for JSON."""
        told = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("loss", "work")}
        told["options"] = dict(self.options)
        told["loss"] = "cross-entropy" if self.loss is None else getattr(self.loss, "__name__", "given")
        return told

    def _check_method(self) -> None:
        """Raise if the method is unknown, does not fit the curvature, or does not have the options."""
        if not self.method:
            if self.options:
                raise InputError("options: belong to a method; name it, too")
            return
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

    def _check_fit(self) -> None:
        """Raise if a setting is given that only another curvature takes: it would be ignored."""
        for name in dict.fromkeys(name for spec in CURVATURES.values() for name in spec.own_settings):
            default = self.__dataclass_fields__[name].default
            if getattr(self, name) != default and name not in self.spec.own_settings:
                owners = ", ".join(other for other, spec in CURVATURES.items() if name in spec.own_settings)
                raise InputError(f"{name}: belongs to the curvature {owners}; leave it out for {self.curvature}")
