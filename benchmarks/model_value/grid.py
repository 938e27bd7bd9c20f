"""Which quadratic models are compared, at which sparsities, with which selectors on each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

SPARSITIES: Mapping[str, tuple[float, ...]] = {
    "digits": (0.8, 0.9),
    "mlpnet": (0.8, 0.9, 0.95, 0.98),
    "resnet20": (0.7, 0.9),
}

FAMILIES = (
    "Fisher, whole network",
    "Fisher by layer",
    "Fisher by chunks of 500",
    "Fisher by row",
    "layer Gram",
    "sequential layer Gram",
)
"""The kinds of curvature, in the order of the plots' colours."""

SELECTORS = ("magnitude", "woodfisher", "cbs", "iht", "relaxation", "greedy-obs", "swap", "rows-relaxation")
"""In the order of the plots' markers."""


@dataclass(frozen=True)
class Model:
    """One quadratic model of the loss, and the selectors that are run on it.

    Parameters
    ----------
    curvature : str
        As ``cbs_opt.prune`` names it.
    samples : int
    methods : tuple of str
    damping, dampening_frac : float, one of the two
    partition : str or int
        Of the Fisher.
    """

    curvature: str
    samples: int
    methods: tuple[str, ...]
    damping: float | None = None
    dampening_frac: float | None = None
    partition: str | int = "network"

    def arguments(self) -> dict[str, Any]:
        """For ``cbs_opt.prune``; with sparsity and seed they say which model it is."""
        told: dict[str, Any] = {"curvature": self.curvature, "samples": self.samples}
        if self.partition != "network":
            told["partition"] = self.partition
        told |= {"damping": self.damping} if self.damping is not None else {"dampening_frac": self.dampening_frac}
        return told


def _fisher(samples: int, damping: float, *methods: str, partition: str | int = "network") -> Model:
    return Model("fisher", samples, methods, damping=damping, partition=partition)


FACTOR = ("magnitude", "woodfisher", "iht", "relaxation", "cbs")
ENDS = ("magnitude", "relaxation")

NOTHING = "nothing kept"
"""In the place of a selector: the model's value with every weight pruned, the unit of the relative objective."""

GRID: Mapping[str, tuple[Model, ...]] = {
    "digits": (
        _fisher(200, 1e-3, "magnitude", "woodfisher", "relaxation"),
        _fisher(200, 1e-3, *ENDS, partition="layer"),
        Model("gram", 200, ("magnitude", "rows-relaxation"), damping=1e-2),
        Model("sequential", 200, ("magnitude", "greedy-obs"), damping=1e-2),
    ),
    "mlpnet": (
        _fisher(1000, 1e-3, *FACTOR),
        _fisher(1000, 1e-2, *ENDS),
        _fisher(1000, 1e-4, *ENDS),
        _fisher(1000, 1e-3, *ENDS, partition="layer"),
        _fisher(3000, 1e-3, *ENDS),
        Model("sequential", 10_000, ("magnitude", "greedy-obs"), damping=1e-2),
        Model("gram", 10_000, ("magnitude", "greedy-obs", "rows-relaxation"), damping=1e-2),
        Model("gram", 1000, ("magnitude", "greedy-obs"), damping=1e-2),
        _fisher(1000, 1e-3, *ENDS, partition=500),
        _fisher(1000, 1e-3, *ENDS, partition="row"),
    ),
    "resnet20": (
        Model("sequential", 1000, ("greedy-obs",), dampening_frac=1e-3),
        _fisher(1000, 1e-3, *ENDS),
        _fisher(1000, 1e-3, *ENDS, partition=500),
    ),
}


def points(network: str) -> Iterator[tuple[Model, str, float]]:
    """Model, selector and sparsity of every run, in the order in which they are run."""
    for model in GRID[network]:
        yield model, NOTHING, 1.0
        for sparsity in SPARSITIES[network]:
            for method in model.methods:
                yield model, method, sparsity


def family(arguments: Mapping[str, Any]) -> str:
    """The kind of curvature that the arguments ask for."""
    if arguments["curvature"] == "fisher":
        partition = arguments.get("partition", "network")
        if partition == "network":
            return FAMILIES[0]
        return f"Fisher by chunks of {partition}" if isinstance(partition, int) else f"Fisher by {partition}"
    return "layer Gram" if arguments["curvature"] == "gram" else "sequential layer Gram"


def model_name(arguments: Mapping[str, Any]) -> str:
    """The model in words: curvature, samples, damping."""
    damping = (
        f"λ = {arguments['damping']:g}"
        if "damping" in arguments
        else f"λ = {arguments['dampening_frac']:g} · mean diagonal"
    )
    return f"{family(arguments)}, m = {arguments['samples']:,}, {damping}"
